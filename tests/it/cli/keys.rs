//! `agentbus keys` and `audit`: the first key is made on the store, without a server; with it others are made over HTTP,
//! rotated and revoked. No output shows a key but that of the command which makes it.

use std::path::Path;
use std::process::Output;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::{command, finish};
use crate::support::folder::Folder;
use crate::support::{Agentbus, Deployment, eventually, for_each_mode, within};

/// Variables of a command.
type Env<'a> = &'a [(&'a str, &'a str)];

async fn run(args: &[&str], dir: &Path, env: Env<'_>) -> Output {
    let mut command = command(args, "", dir);
    command.envs(env.iter().copied());
    finish(command, "").await
}

async fn succeed(args: &[&str], dir: &Path, env: Env<'_>) -> String {
    let output = run(args, dir, env).await;
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Runs a command that must fail; returns its standard error.
async fn fail(args: &[&str], dir: &Path, env: Env<'_>) -> String {
    let output = run(args, dir, env).await;
    assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
    String::from_utf8(output.stderr).expect("UTF-8")
}

/// The one document that a command has printed.
fn one(text: &str) -> Value {
    let mut lines = text.lines();
    let document = lines.next().and_then(|line| serde_json::from_str(line).ok());
    assert_eq!(lines.next(), None, "{text}");
    document.unwrap_or_else(|| panic!("no JSON: {text}"))
}

fn text<'a>(document: &'a Value, member: &str) -> &'a str {
    document[member].as_str().unwrap_or_else(|| panic!("no {member} in {document}"))
}

/// The settings by which a command finds the store of a deployment.
fn settings(deployment: &Deployment) -> Vec<(String, String)> {
    let dir = deployment.agentbus().data_dir().display().to_string();
    let mut settings = vec![("DATA_DIR".to_owned(), dir)];
    settings.extend(deployment.pg_url().map(|url| ("DATABASE_URL".to_owned(), url.to_owned())));
    settings
}

fn borrowed(settings: &[(String, String)]) -> Vec<(&str, &str)> {
    settings.iter().map(|(name, value)| (&**name, &**value)).collect()
}

#[tokio::test]
async fn the_first_key_is_made_on_the_store_without_a_server() {
    let folder = Folder::new("keys");
    let (dir, data) = (folder.path(), folder.join("data"));
    let data_dir = data.display().to_string();
    let env: Env<'_> = &[("DATA_DIR", &data_dir)];
    let error = fail(&["keys", "list"], dir, env).await;
    assert!(error.contains("does not exist") && !data.exists(), "{error}");

    let made = one(&succeed(&["keys", "create", "--admin", "--name", "root"], dir, env).await);
    let (id, key) = (text(&made, "id"), text(&made, "key"));
    assert!(key.starts_with(&format!("ab_{id}_")), "{made}");
    assert_eq!((&made["kind"], &made["grants"]["as"][0]), (&"human".into(), &"*".into()));

    let listed = succeed(&["keys", "list"], dir, env).await;
    let shown = succeed(&["keys", "show", id], dir, env).await;
    for output in [&listed, &shown] {
        assert_eq!(text(&one(output), "name"), "root");
        assert!(!output.contains(key), "{output}");
    }
    let table = succeed(&["keys", "list", "--format", "text"], dir, env).await;
    assert!(table.contains("root") && table.contains("never") && !table.contains(key), "{table}");
    let shown_once = ["keys", "create", "--watcher", "--name", "w", "--format", "text"];
    let once = succeed(&shown_once, dir, env).await;
    assert!(once.contains("ab_") && once.contains("not shown again"), "{once}");
    let unknown = fail(&["keys", "show", "000000000000"], dir, env).await;
    assert!(unknown.contains("no key with this id"), "{unknown}");
}

for_each_mode! {
    |builder| builder.env("AUTH", "required");

    async fn keys_are_made_used_rotated_and_revoked(deployment: &Deployment) {
        let (url, dir) = (deployment.bus(), deployment.agentbus().data_dir());
        std::fs::create_dir_all(&dir).expect("a folder");
        let (dir, settings) = (&*dir, settings(deployment));
        let on_store = borrowed(&settings);
        // Beside the running server.
        let root = ["keys", "create", "--admin", "--name", "root"];
        let root = one(&succeed(&root, dir, &on_store).await);
        let root_env: Env<'_> = &[("AGENTBUS_URL", url), ("AGENTBUS_KEY", text(&root, "key"))];
        let without: Env<'_> = &[("AGENTBUS_URL", url)];
        let refused = fail(&["history"], dir, without).await;
        assert!(refused.contains("401 unauthenticated") && refused.contains("AGENTBUS_KEY"), "{refused}");

        // The server learns of the first key within a second; the client does not retry a 401.
        eventually(super::LIMIT, "the first key works", async || {
            run(&["history"], dir, root_env).await.status.success().then_some(())
        })
        .await;
        let agent = ["keys", "create", "--agent", "ann", "--name", "ann's", "--expires-in", "90d",
            "--requests-per-s", "100"];
        let agent = one(&succeed(&agent, dir, root_env).await);
        let (id, key) = (text(&agent, "id"), text(&agent, "key"));
        let ann: Env<'_> = &[("AGENTBUS_URL", url), ("AGENTBUS_KEY", key)];
        succeed(&["send", "--sender", "ann", "--to", "bob", "hello"], dir, ann).await;
        let refused = fail(&["send", "--sender", "bob", "hello"], dir, ann).await;
        assert!(refused.contains("403 forbidden") && refused.contains("lacks: as bob"), "{refused}");
        let refused = fail(&["keys", "list"], dir, ann).await;
        assert!(refused.contains("lacks: can keys"), "{refused}");

        // In a file instead of the environment.
        std::fs::write(dir.join("ann.key"), format!("{key}\n")).expect("a file");
        succeed(&["send", "--sender", "ann", "hi", "--key-file", "ann.key"], dir, without).await;
        let shown = one(&succeed(&["keys", "show", id], dir, root_env).await);
        assert_eq!((text(&shown, "name"), &shown["limits"]["requests_per_s"]), ("ann's", &100.into()));
        assert!(shown["expires_at"].is_string() && shown["key"].is_null(), "{shown}");

        let rotated = one(&succeed(&["keys", "rotate", id, "--overlap", "0s"], dir, root_env).await);
        let send = ["send", "--sender", "ann", "hello"];
        assert!(fail(&send, dir, ann).await.contains("401 unauthenticated"));
        let new_key = text(&rotated, "key").to_owned();
        let ann: Env<'_> = &[("AGENTBUS_URL", url), ("AGENTBUS_KEY", &new_key)];
        succeed(&send, dir, ann).await;

        assert_eq!(run(&["keys", "revoke", id], dir, root_env).await.status.code(), Some(2));
        succeed(&send, dir, ann).await;
        succeed(&["keys", "revoke", id, "--yes"], dir, root_env).await;
        assert!(fail(&send, dir, ann).await.contains("401 unauthenticated"));
        let gone = fail(&["keys", "show", id], dir, root_env).await;
        assert!(gone.contains("404 not_found"), "{gone}");

        let audit = succeed(&["audit", "--all"], dir, root_env).await;
        let about_key = audit.lines().filter(|line| line.contains(id)).count();
        assert!(about_key >= 3, "made, rotated, revoked:\n{audit}");
        for secret in [key, &new_key, text(&root, "key")] {
            assert!(!audit.contains(secret) && !deployment.agentbus().log().contains(secret));
        }
    }
}

#[tokio::test]
async fn a_load_is_sent_with_the_key() {
    let server = Agentbus::builder().memory_sqlite().env("AUTH", "required").start().await;
    let (url, dir) = (server.url(), server.data_dir());
    let data_dir = dir.display().to_string();
    let key = [
        "keys",
        "create",
        "--name",
        "bench",
        "--as",
        "bench",
        "--publish",
        "agent.message.>",
        "--read",
        "agent.message.>",
        "--can",
        "observe",
    ];
    let key = one(&succeed(&key, &dir, &[("DATA_DIR", &data_dir)]).await);
    let load = [
        "bench",
        "--url",
        url,
        "--duration",
        "300ms",
        "--warmup",
        "0s",
        "--connections",
        "2",
        "--subscribers",
        "1",
        "--rate",
        "100",
    ];
    let refused = fail(&load, &dir, &[]).await;
    assert!(refused.contains("401"), "{refused}");
    let env: Env<'_> = &[("AGENTBUS_KEY", text(&key, "key"))];
    // The server learns of the key within a second.
    eventually(super::LIMIT, "the load is accepted", async || {
        run(&load, &dir, env).await.status.success().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_key_is_not_sent_to_the_host_of_a_redirect() {
    let folder = Folder::new("keys");
    let first = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let other = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", first.local_addr().expect("bound"));
    let elsewhere = format!("http://{}", other.local_addr().expect("bound"));
    let redirect = tokio::spawn(async move {
        let (mut stream, _) = first.accept().await.expect("a connection");
        let mut head = vec![0; 4_096];
        let length = stream.read(&mut head).await.expect("a request");
        let answer = format!(
            "HTTP/1.1 307 Temporary Redirect\r\nLocation: {elsewhere}/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(answer.as_bytes()).await.expect("sent");
        String::from_utf8_lossy(&head[..length]).into_owned()
    });
    let env: Env<'_> = &[("AGENTBUS_URL", &url), ("AGENTBUS_KEY", "hunter2")];
    let error = fail(&["history"], folder.path(), env).await;
    let head = within(super::LIMIT, "a request", redirect).await.expect("no panic");
    assert!(head.to_lowercase().contains("authorization: bearer hunter2"), "{head}");
    assert!(error.contains("307") && !error.contains("hunter2"), "{error}");
    // The command has ended, so a connection would be there.
    other.set_nonblocking(true).expect("set");
    assert!(other.accept().is_err(), "the redirect was followed");
}

#[tokio::test]
async fn the_doctor_reports_wide_keys_and_keys_without_an_end() {
    let folder = Folder::new("keys");
    let (dir, data_dir) = (folder.path(), folder.join("data").display().to_string());
    let env: Env<'_> = &[("DATA_DIR", &data_dir)];
    let narrow = ["keys", "create", "--agent", "ann", "--name", "narrow", "--expires-in", "30d"];
    succeed(&narrow, dir, env).await;
    assert!(succeed(&["doctor"], dir, env).await.contains("1 in the store, all in use"));
    let wide = ["keys", "create", "--name", "wide", "--as", "*", "--can", "erase"];
    succeed(&wide, dir, env).await;
    let report = succeed(&["doctor"], dir, env).await;
    let about =
        |what: &str| report.lines().any(|line| line.contains("wide") && line.contains(what));
    assert!(about("never expires") && about("write as anyone, erase messages"), "{report}");
    assert!(!report.contains("narrow"), "{report}");
}
