//! Every way to authenticate to NATS: a server starts, publishes and streams; and with a wrong secret one clear line says so.

use std::time::Duration;

use nkeys::KeyPair;

use super::document::{Allowed, PASSWORD};
use super::jwt::Operator;
use crate::support::agentbus::Builder;
use crate::support::folder::Folder;
use crate::support::tls::Tls;
use crate::support::{Agentbus, Nats, Postgres, eventually, exec};

const LIMIT: Duration = Duration::from_secs(60);

/// Settings of agentbus.
type Env<'a> = [(&'a str, &'a str)];

async fn configured(nats_url: &str, env: &Env<'_>) -> Builder {
    let pg_url = Postgres::shared().await.database().await;
    let builder = Agentbus::builder().nats(nats_url, &pg_url);
    env.iter().fold(builder, |builder, (name, value)| builder.env(name, value))
}

/// A server with these settings publishes and streams.
async fn works(nats_url: &str, env: &Env<'_>) {
    let server = configured(nats_url, env).await.start().await;
    let http = server.http();
    let mut live = http.stream("", None).await;
    live.expect_ready().await;
    exec::post_many(&http, "good", 3).await;
    assert_eq!(live.collect_messages(3, LIMIT).await.len(), 3);
    server.terminate().await;
}

/// A server with these settings waits and says why, once, however often it tries.
async fn waits(nats: &Nats, nats_url: &str, env: &Env<'_>, why: &str) {
    let tried = || nats.log().lines().filter(|line| line.contains("error")).count();
    let before = tried();
    let server = configured(nats_url, env).await.start_listening().await;
    let again = async || (tried() >= before + 3).then_some(());
    eventually(LIMIT, "it has tried three times", again).await;
    let log = server.log();
    let about: Vec<_> =
        log.lines().filter(|line| line.contains("NATS") || line.contains("async_nats")).collect();
    let wait: Vec<_> = about.iter().filter(|line| line.contains("waiting for NATS")).collect();
    assert!(wait.len() == 1 && wait[0].contains(why), "{why}\n{log}");
    assert!(!log.contains(PASSWORD) && !log.contains("SUA"), "{log}");
    assert_eq!(log.lines().filter(|line| line.contains("ERROR")).count(), 0, "{log}");
    let readyz = server.http().get("/readyz").await.expect(503).text();
    assert!(readyz.contains(why), "{readyz}");
}

#[tokio::test]
async fn a_user_with_a_password() {
    let users = format!("authorization {{ users: [{{ user: ann, password: {PASSWORD} }}] }}");
    let nats = Nats::builder().config(&users).start().await;
    let url = nats.url();
    works(&url, &[("NATS_USER", "ann"), ("NATS_PASSWORD", PASSWORD)]).await;
    let in_url = url.replace("nats://", &format!("nats://ann:{PASSWORD}@"));
    works(&in_url, &[]).await;
    let wrong = [("NATS_USER", "ann"), ("NATS_PASSWORD", "other")];
    waits(&nats, &url, &wrong, "it refuses NATS_USER with NATS_PASSWORD: authorization violation")
        .await;
    waits(&nats, &in_url.replace("ann:", "bob:"), &[], "it refuses the user in NATS_URL").await;
    waits(&nats, &url, &[], "it refuses a client without credentials").await;
}

#[tokio::test]
async fn a_token() {
    let nats =
        Nats::builder().config(&format!("authorization {{ token: {PASSWORD} }}")).start().await;
    works(&nats.url(), &[("NATS_TOKEN", PASSWORD)]).await;
    waits(&nats, &nats.url(), &[("NATS_TOKEN", "other")], "it refuses NATS_TOKEN").await;
}

#[tokio::test]
async fn an_nkey() {
    let (folder, key, other) = (Folder::new("nkey"), KeyPair::new_user(), KeyPair::new_user());
    let seed = |name: &str, key: &KeyPair| {
        let path = folder.join(name);
        std::fs::write(&path, key.seed().expect("a seed") + "\n").expect("written");
        path.display().to_string()
    };
    let (good, bad) = (seed("good", &key), seed("bad", &other));
    let user = Allowed::of("agentbus").user(&format!("nkey: {}", key.public_key()));
    let nats =
        Nats::builder().config(&format!("authorization {{ users: [{user}] }}")).start().await;
    let inbox = ("NATS_INBOX_PREFIX", "_INBOX.agentbus");
    works(&nats.url(), &[("NATS_NKEY", &good), inbox]).await;
    waits(&nats, &nats.url(), &[("NATS_NKEY", &bad)], "it refuses the key of NATS_NKEY").await;
}

#[tokio::test]
async fn a_creds_file() {
    let (operator, other, folder) = (Operator::new(), Operator::new(), Folder::new("creds"));
    let file = |name: &str, content: String| {
        let path = folder.join(name);
        std::fs::write(&path, content).expect("written");
        path.display().to_string()
    };
    let allowed = Allowed::of("agentbus");
    let (good, bad) = (file("good", operator.creds(&allowed)), file("bad", other.creds(&allowed)));
    let nats = Nats::builder().config(&operator.config).start().await;
    let inbox = ("NATS_INBOX_PREFIX", "_INBOX.agentbus");
    works(&nats.url(), &[("NATS_CREDS", &good), inbox]).await;
    assert!(!nats.log().contains("Violation"), "{}", nats.log());
    waits(&nats, &nats.url(), &[("NATS_CREDS", &bad)], "it refuses the user of NATS_CREDS").await;
}

/// The `tls` block of a server with the files of `tls`.
fn tls_block(tls: &Tls, more: &str) -> String {
    let [cert, key, ca] = [tls.cert(), tls.key(), tls.ca()].map(|path| path.display().to_string());
    format!("tls {{ cert_file: \"{cert}\", key_file: \"{key}\", ca_file: \"{ca}\"\n{more} }}")
}

#[tokio::test]
async fn tls_with_an_authority_of_ones_own() {
    let (tls, other) = (Tls::new(), Tls::new());
    let nats = Nats::builder().config(&tls_block(&tls, "")).start().await;
    let [ca, wrong] = [tls.ca(), other.ca()].map(|path| path.display().to_string());
    works(&nats.url(), &[("NATS_TLS_CA", &ca)]).await;
    let why = "its certificate is not accepted, see NATS_TLS_CA";
    waits(&nats, &nats.url(), &[("NATS_TLS_CA", &wrong)], why).await;
    // The system's authorities do not know it either.
    waits(&nats, &nats.url().replace("nats://", "tls://"), &[], why).await;
}

#[tokio::test]
async fn a_client_certificate() {
    let (tls, other) = (Tls::new(), Tls::new());
    let users = format!("authorization {{ users: [{{ user: ann, password: {PASSWORD} }}] }}");
    let nats =
        Nats::builder().config(&tls_block(&tls, "verify: true")).config(&users).start().await;
    let ca = tls.ca().display().to_string();
    let [cert, key] = tls.files_of("ann", &tls.issue_client("ann"));
    let [wrong_cert, wrong_key] = other.files_of("ann", &other.issue_client("ann"));
    let user = [("NATS_TLS_CA", &*ca), ("NATS_USER", "ann"), ("NATS_PASSWORD", PASSWORD)];
    let with = |cert, key| [&user[..], &[("NATS_TLS_CERT", cert), ("NATS_TLS_KEY", key)]].concat();
    works(&nats.url(), &with(&cert, &key)).await;
    let why = "it does not accept the client's certificate, see NATS_TLS_CERT";
    waits(&nats, &nats.url(), &with(&wrong_cert, &wrong_key), why).await;
    waits(&nats, &nats.url(), &user, why).await;
}

#[tokio::test]
async fn a_client_certificate_that_is_the_user() {
    let tls = Tls::new();
    let users = "authorization { users: [{ user: ann }] }";
    let nats = Nats::builder()
        .config(&tls_block(&tls, "verify_and_map: true"))
        .config(users)
        .start()
        .await;
    let ca = tls.ca().display().to_string();
    let of = |name: &str| {
        let [cert, key] = tls.files_of(name, &tls.issue_client(name));
        [("NATS_TLS_CA", ca.clone()), ("NATS_TLS_CERT", cert), ("NATS_TLS_KEY", key)]
    };
    let (ann, bob) = (of("ann"), of("bob"));
    let ann = ann.each_ref().map(|(name, value)| (*name, value.as_str()));
    let bob = bob.each_ref().map(|(name, value)| (*name, value.as_str()));
    works(&nats.url(), &ann).await;
    waits(&nats, &nats.url(), &bob, "it refuses the certificate of NATS_TLS_CERT as a user").await;
}

#[tokio::test]
async fn files_that_cannot_be_used_stop_the_start() {
    let (tls, folder) = (Tls::new(), Folder::new("secrets"));
    let [cert, _] = tls.files_of("ann", &tls.issue_client("ann"));
    let empty = folder.join("empty");
    std::fs::write(&empty, "nothing").expect("written");
    let (empty, missing) =
        (empty.display().to_string(), folder.join("missing").display().to_string());
    for (env, line) in [
        (vec![("NATS_CREDS", &missing)], format!("NATS_CREDS={missing}: No such file")),
        (vec![("NATS_CREDS", &empty)], format!("NATS_CREDS={empty}: holds no user JWT")),
        (vec![("NATS_NKEY", &empty)], format!("NATS_NKEY={empty}: holds no seed")),
        (vec![("NATS_TLS_CA", &empty)], format!("NATS_TLS_CA={empty}: holds no certificate")),
        (vec![("NATS_TLS_CA", &missing)], format!("NATS_TLS_CA={missing}: No such file")),
        (
            vec![("NATS_TLS_CERT", &cert), ("NATS_TLS_KEY", &empty)],
            format!("NATS_TLS_KEY={empty}: holds no private key"),
        ),
        (vec![("NATS_TLS_CERT", &cert)], "NATS_TLS_CERT needs NATS_TLS_KEY".to_owned()),
        (
            vec![("NATS_CREDS", &empty), ("NATS_TOKEN", &empty)],
            "NATS_CREDS and NATS_TOKEN are both set".to_owned(),
        ),
    ] {
        let env: Vec<_> = env.into_iter().map(|(name, value)| (name, value.as_str())).collect();
        let refusal = configured("nats://127.0.0.1:1", &env).await.expect_refusal().await;
        assert!(refusal.contains(&line), "{line}\n{refusal}");
    }
}
