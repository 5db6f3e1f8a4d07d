//! Safe defaults: which settings the server refuses, which processes may share its files, which web pages may
//! read from it.

use crate::support::agentbus::Builder;
use crate::support::folder::Folder;
use crate::support::wire;
use crate::support::wire::{JSON, MESSAGES};
use crate::support::{Agentbus, Answer, Deployment, Mode, Postgres};
use reqwest::Method;

const APP: &str = "https://app.example.com";
const OTHER: &str = "https://evil.example.com";

/// Starts a server that must refuse these variables; returns its standard error.
async fn refusal(variables: &[(&str, &str)]) -> String {
    let builder = Agentbus::builder().memory_sqlite();
    with(builder, variables).expect_refusal().await
}

fn with(builder: Builder, variables: &[(&str, &str)]) -> Builder {
    variables.iter().fold(builder, |builder, (name, value)| builder.env(name, value))
}

/// The names of the CORS headers of a response.
fn cors(answer: &Answer) -> Vec<String> {
    let names = answer.headers.keys().map(|name| name.as_str().to_owned());
    names.filter(|name| name.starts_with("access-control-")).collect()
}

async fn preflight(agentbus: &Agentbus, path: &str, origin: &str) -> Answer {
    let headers = [
        ("origin", origin),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type,idempotency-key"),
    ];
    agentbus.http().request(Method::OPTIONS, path, &headers, "").await.expect("an answer")
}

async fn get(agentbus: &Agentbus, path: &str, origin: &str) -> Answer {
    agentbus.http().request(Method::GET, path, &[("origin", origin)], "").await.expect("an answer")
}

/// Whether a list in a header contains a word, in any case.
fn has(answer: &Answer, header: &str, word: &str) -> bool {
    let values = answer.headers.get_all(header).iter();
    let list: Vec<_> = values.map(|value| value.to_str().expect("text").to_owned()).collect();
    list.join(",").split(',').any(|it| it.trim() == "*" || it.trim().eq_ignore_ascii_case(word))
}

#[tokio::test]
async fn a_public_address_is_refused_unless_allowed() {
    for addr in ["0.0.0.0:0", "[::]:0", "192.0.2.1:8080", "[2001:db8::1]:80"] {
        for anonymous in ["", "false"] {
            let error = refusal(&[("HTTP_ADDR", addr), ("ALLOW_ANONYMOUS", anonymous)]).await;
            assert!(error.contains("HTTP_ADDR") && error.contains("ALLOW_ANONYMOUS"), "{error}");
        }
    }
}

#[tokio::test]
async fn loopback_needs_no_permission() {
    for variables in [&[][..], &[("ALLOW_ANONYMOUS", "false")], &[("ALLOW_ANONYMOUS", "true")]] {
        let agentbus = with(Agentbus::builder().memory_sqlite(), variables).start().await;
        agentbus.http().post_json(MESSAGES, &wire::good()).await.expect(201);
    }
}

#[tokio::test]
async fn each_bad_setting_is_named() {
    let bad = [
        ("MESSAGE_BUS", "kafka"),
        ("DATABASE_URL", "mysql://localhost/x"),
        ("DATABASE_URL", "nonsense"),
        ("HTTP_ADDR", "nonsense"),
        ("HTTP_ADDR", "127.0.0.1"),
        ("HTTP_ADDR", "127.0.0.1:99999"),
        ("ALLOW_ANONYMOUS", "perhaps"),
        ("CORS_ORIGINS", "app.example.com"),
        ("CORS_ORIGINS", "https://app.example.com/"),
        ("MAX_CONNECTIONS", "many"),
        ("MAX_CONNECTIONS", "0"),
        ("DRAIN_S", "soon"),
        ("DRAIN_S", "-1"),
        ("RING_SIZE", "many"),
        ("RING_SIZE", "0"),
        ("NATS_MAX_MSGS", "x"),
        ("NATS_MAX_MSGS", "0"),
        ("NATS_MAX_AGE_DAYS", "x"),
        ("NATS_MAX_AGE_DAYS", "0"),
        ("NATS_REPLICAS", "x"),
        ("NATS_REPLICAS", "9"),
        ("NATS_DUPLICATE_WINDOW_S", "x"),
        ("NATS_DUPLICATE_WINDOW_S", "99999999"),
        ("NATS_STREAM_NAME", "a.b c"),
        ("NATS_TLS_CERT", "cert.pem"),
        ("LOG_FORMAT", "xml"),
    ];
    let mut unnamed = Vec::new();
    for (name, value) in bad {
        let agentbus = with(Agentbus::builder().memory_sqlite(), &[(name, value)]);
        let error = agentbus.expect_refusal().await;
        assert!(!error.contains("panicked"), "{error}");
        if !error.contains(name) {
            unnamed.push(format!("{name}={value}: {error}"));
        }
    }
    assert!(unnamed.is_empty(), "not named:\n{}", unnamed.join("\n"));
}

#[tokio::test]
async fn all_bad_settings_are_named_at_once() {
    let error = refusal(&[
        ("MESSAGE_BUS", "nats"),
        ("HTTP_ADDR", "0.0.0.0:80"),
        ("RING_SIZE", "many"),
        ("LOG_FORMAT", "xml"),
    ])
    .await;
    // With NATS but without PostgreSQL there is no store that servers can share.
    for name in ["DATABASE_URL", "ALLOW_ANONYMOUS", "RING_SIZE", "LOG_FORMAT"] {
        assert!(error.contains(name), "{name} is not named:\n{error}");
    }
}

#[tokio::test]
async fn an_unknown_setting_is_refused_where_a_person_wrote_it() {
    let builder = || Agentbus::builder().memory_sqlite();
    let error = builder().arg("--set").arg("RING_SISE=128").expect_refusal().await;
    assert!(error.contains("RING_SISE"), "{error}");
    let error = builder().arg("--no-such-flag").expect_refusal().await;
    assert!(error.contains("--no-such-flag"), "{error}");
    let folder = Folder::new("settings");
    let file = folder.join("agentbus.toml");
    std::fs::write(&file, "ring_sise = 128\n").expect("write a file");
    let file = file.display().to_string();
    let error = builder().arg("--config").arg(&file).expect_refusal().await;
    assert!(error.to_lowercase().contains("ring_sise"), "{error}");
    std::fs::write(&file, "ring_size = \n").expect("write a file");
    let error = builder().arg("--config").arg(&file).expect_refusal().await;
    assert!(error.contains("agentbus.toml"), "{error}");
}

#[tokio::test]
async fn a_refusal_shows_no_password() {
    let bad = [
        ("DATABASE_URL", "mysql://me:hunter2@localhost/x"),
        ("DATABASE_URL", "postgres://me:hunter2@127.0.0.1:bad/x"),
        ("NATS_URL", "nats://me:hunter2@127.0.0.1:bad"),
    ];
    for (name, value) in bad {
        let bus = if name == "NATS_URL" { "nats" } else { "memory" };
        let mut variables = vec![("MESSAGE_BUS", bus), (name, value)];
        if bus == "nats" {
            variables.push(("DATABASE_URL", "postgres://me:hunter2@127.0.0.1:1/x"));
            variables.push(("RING_SIZE", "many"));
        }
        let error = refusal(&variables).await;
        assert!(!error.contains("hunter2"), "{name}: {error}");
    }
}

#[tokio::test]
async fn an_unusable_data_folder_is_refused_by_name() {
    let folder = Folder::new("data");
    let file = folder.join("file");
    std::fs::write(&file, "not a folder").expect("write a file");
    for path in [file.clone(), file.join("below")] {
        let path = path.display().to_string();
        let error = refusal(&[("DATA_DIR", &path)]).await;
        assert!(error.contains(&path), "{error}");
        assert!(!error.contains("panicked"), "{error}");
    }
    assert_eq!(std::fs::read_to_string(&file).expect("read it"), "not a folder");
}

#[tokio::test]
async fn an_address_in_use_is_reported() {
    let first = Agentbus::builder().memory_sqlite().start().await;
    let addr = first.url().trim_start_matches("http://");
    let error = refusal(&[("HTTP_ADDR", addr)]).await;
    assert!(error.contains(addr) && error.to_lowercase().contains("in use"), "{error}");
    first.http().post_json(MESSAGES, &wire::good()).await.expect(201);
}

#[tokio::test]
async fn a_second_process_on_the_same_sqlite_store_is_refused() {
    let first = Agentbus::builder().memory_sqlite().start().await;
    let folder = first.data_dir().display().to_string();
    let second = || first.like().env("DATA_DIR", &folder);
    let error = second().expect_refusal().await;
    assert!(error.contains("another") && !error.contains("panicked"), "{error}");
    first.http().post_json(MESSAGES, &wire::good()).await.expect(201);
    // The store is free as soon as the first process has ended, even after a kill.
    first.kill9();
    let second = second().start().await;
    let ack = second.http().post_json(MESSAGES, &wire::good()).await.expect(201).json();
    assert_eq!(wire::seqs_of(&wire::page(&second.http(), "").await.messages).len(), 2, "{ack}");
}

#[tokio::test]
async fn a_second_process_on_the_same_postgres_database_is_refused() {
    let url = Postgres::shared().await.database().await;
    let builder = || Agentbus::builder().memory_postgres(&url);
    let first = builder().start().await;
    let error = builder().expect_refusal().await;
    assert!(error.contains("another") && !error.contains("panicked"), "{error}");
    assert!(!error.contains("127.0.0.1:8080"), "{error}");
    first.http().post_json(MESSAGES, &wire::good()).await.expect(201);
    first.terminate().await;
    let second = builder().start().await;
    second.http().post_json(MESSAGES, &wire::good()).await.expect(201);
    assert_eq!(wire::page(&second.http(), "").await.messages.len(), 2);
}

#[tokio::test]
async fn a_memory_bus_beside_nats_on_one_database_is_refused() {
    let nats = Deployment::start(Mode::Nats).await;
    nats.http().post_json(MESSAGES, &wire::good()).await.expect(201);
    let url = nats.pg_url().expect("PostgreSQL");
    let error = Agentbus::builder().memory_postgres(url).expect_refusal().await;
    assert!(!error.contains("panicked"), "{error}");
    nats.http().post_json(MESSAGES, &wire::good()).await.expect(201);
}

#[tokio::test]
async fn no_other_origin_may_read_by_default() {
    let agentbus = Agentbus::builder().memory_sqlite().start().await;
    for path in [MESSAGES, "/v1/stats", "/livez", "/nowhere", "/", "/v1/messages?limit=x"] {
        for origin in [OTHER, "http://localhost:3000", "null"] {
            assert_eq!(cors(&get(&agentbus, path, origin).await), [""; 0], "{path}");
            assert_eq!(cors(&preflight(&agentbus, path, origin).await), [""; 0], "{path}");
        }
    }
    let stream = agentbus.http().stream("", None).await;
    assert_eq!(stream.header("access-control-allow-origin"), None);
    // A request that a browser sends without a preflight is refused because of its origin.
    for simple in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
        let headers = [("origin", OTHER), ("content-type", simple)];
        let body = wire::good().to_string();
        let answer = agentbus.http().request(Method::POST, MESSAGES, &headers, body).await;
        wire::problem(&answer.expect("an answer"), 403);
    }
}

#[tokio::test]
async fn only_the_configured_origins_may_read() {
    let origins = format!("{APP}, http://localhost:3000");
    let agentbus = Agentbus::builder().memory_sqlite().env("CORS_ORIGINS", &origins).start().await;
    for origin in [APP, "http://localhost:3000"] {
        for path in [MESSAGES, "/v1/stats", "/nowhere", "/v1/messages?limit=x"] {
            let answer = get(&agentbus, path, origin).await;
            assert_eq!(answer.header("access-control-allow-origin"), Some(origin), "{path}");
            assert!(has(&answer, "vary", "origin"), "{path}: {answer:?}");
        }
        for path in [MESSAGES, "/v1/messages/batch"] {
            let answer = preflight(&agentbus, path, origin).await;
            assert!(answer.status < 300, "{answer:?}");
            assert_eq!(answer.header("access-control-allow-origin"), Some(origin));
            assert!(has(&answer, "access-control-allow-methods", "POST"), "{answer:?}");
            for header in ["content-type", "idempotency-key"] {
                assert!(has(&answer, "access-control-allow-headers", header), "{answer:?}");
            }
        }
        let headers = [("origin", origin), ("content-type", JSON)];
        let body = wire::good().to_string();
        let posted = agentbus.http().request(Method::POST, MESSAGES, &headers, body).await;
        let posted = posted.expect("an answer").expect(201);
        assert_eq!(posted.header("access-control-allow-origin"), Some(origin));
        // Without this header a page cannot read `Location` or `Retry-After`.
        for header in ["location", "retry-after"] {
            assert!(has(&posted, "access-control-expose-headers", header), "{header}: {posted:?}");
        }
    }
    for origin in [OTHER, "https://app.example.com.evil.com", "http://app.example.com", "null"] {
        let answer = get(&agentbus, MESSAGES, origin).await;
        assert_eq!(answer.header("access-control-allow-origin"), None, "{origin}");
        let answer = preflight(&agentbus, MESSAGES, origin).await;
        assert_eq!(answer.header("access-control-allow-origin"), None, "{origin}");
    }
}

#[tokio::test]
async fn every_origin_can_be_allowed() {
    let agentbus = Agentbus::builder().memory_sqlite().env("CORS_ORIGINS", "*").start().await;
    for answer in
        [get(&agentbus, MESSAGES, OTHER).await, preflight(&agentbus, MESSAGES, OTHER).await]
    {
        let allowed = answer.header("access-control-allow-origin");
        assert!(matches!(allowed, Some("*" | OTHER)), "{answer:?}");
        assert_eq!(answer.header("access-control-allow-credentials"), None, "there are none");
    }
}
