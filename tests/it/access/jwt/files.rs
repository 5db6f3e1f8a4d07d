//! `JWT_ISSUERS_FILE`: what is wrong with it stops the start, by name.

use std::os::unix::fs::PermissionsExt as _;

use super::Corp;
use crate::support::folder::Folder;
use crate::support::jwt::SigningKey;
use crate::support::{Agentbus, Mode};

async fn refusal(folder: &Folder, text: &str) -> String {
    let file = folder.join("issuers.toml");
    std::fs::write(&file, text).expect("the file is written");
    let path = file.to_str().expect("a path of UTF-8");
    let error = Agentbus::builder().env("JWT_ISSUERS_FILE", path).expect_refusal().await;
    assert!(error.contains(&format!("JWT_ISSUERS_FILE={path}: ")), "{error}");
    error
}

#[tokio::test]
async fn a_wrong_file_of_issuers_stops_the_start_by_name() {
    let folder = Folder::new("issuers");
    let missing = folder.join("missing").display().to_string();
    let error = Agentbus::builder().env("JWT_ISSUERS_FILE", &missing).expect_refusal().await;
    assert!(error.contains(&format!("JWT_ISSUERS_FILE={missing}: ")), "{error}");
    let error =
        refusal(&folder, "[issuers.corp]\naudience = 7\nalgorithm = \"none\"\nsecret = \"x\"\n")
            .await;
    for fault in [
        "issuer: is required",
        "audience: must be",
        "algorithm: must be",
        "most: is required",
        "secret: is not",
    ] {
        assert!(error.contains(&format!("issuer corp: {fault}")), "{fault}:\n{error}");
    }
    let key = SigningKey::new("HS256", "x");
    let text = format!(
        "[issuers.corp]\nissuer = \"a\"\naudience = \"b\"\nalgorithm = \"HS256\"\nsecret_file = {:?}\nmost = {{}}\n",
        key.file()
    );
    let file = folder.join("issuers.toml");
    std::fs::write(&file, &text).expect("the file is written");
    let good = Agentbus::builder().memory_sqlite();
    let good = good.env("JWT_ISSUERS_FILE", file.to_str().expect("UTF-8")).start().await;
    let token = key.token(&crate::support::jwt::claims("a", "ann", &serde_json::json!({})));
    good.http().with_key(&token).get("/v1/me").await.expect(401);
    let mut claims = crate::support::jwt::claims("a", "ann", &serde_json::json!({}));
    claims["aud"] = serde_json::json!("b");
    good.http().with_key(&key.token(&claims)).get("/v1/me").await.expect(200);
    let open = std::fs::Permissions::from_mode(0o640);
    std::fs::set_permissions(key.file(), open).expect("its mode is set");
    let error = refusal(&folder, &text).await;
    assert!(error.contains("issuer corp: secret_file=") && error.contains("0600"), "{error}");
    std::fs::write(key.file(), "0123456789012345678901234567890\n").expect("31 bytes");
    crate::support::jwt::private(key.file().as_ref());
    let error = refusal(&folder, &text).await;
    assert!(error.contains("less than 32 bytes") && !error.contains("0123456789"), "{error}");
}

#[tokio::test]
async fn doctor_reports_issuers_whose_file_or_keys_are_wrong() {
    let mut corp = Corp::start(Mode::MemorySqlite, "").await;
    let doctor = async |env: std::collections::BTreeMap<String, String>| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_agentbus"));
        let output = command.arg("doctor").env_clear().envs(env).output().await.expect("runs");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        text.lines()
            .filter(|line| line.contains(r#""part":"tokens""#))
            .collect::<Vec<_>>()
            .join("\n")
    };
    let env = corp.secured.deployment.agentbus().env();
    let found = doctor(env.clone()).await;
    assert!(
        found.contains(r#""grade":"ok""#) && found.contains("issuer corp can be used: 1"),
        "{found}"
    );
    corp.jwks.set(crate::support::jwt::Jwks::of(&[]));
    let found = doctor(env.clone()).await;
    assert!(found.contains(r#""grade":"bad""#) && found.contains("no key that fits"), "{found}");
    corp.jwks.kill().await;
    let found = doctor(env.clone()).await;
    assert!(
        found.contains(r#""grade":"bad""#) && found.contains("issuer corp: no answer"),
        "{found}"
    );
    std::fs::write(corp.folder.join("issuers.toml"), "[issuers.corp]\n").expect("written");
    let found = doctor(env).await;
    assert!(found.contains("issuer corp: issuer: is required"), "{found}");
}
