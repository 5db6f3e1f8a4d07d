//! Certificates: each bad one by its name, at the start, while a server runs, and in `agentbus doctor`.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use chrono::{TimeDelta, Utc};

use super::server;
use crate::support::agentbus::Builder;
use crate::support::http2::tls;
use crate::support::tls::{Pair, Tls};
use crate::support::{Agentbus, eventually, metrics};

const LIMIT: Duration = Duration::from_secs(20);

fn settings(files: &Tls) -> Builder {
    files.settings(Agentbus::builder().memory_sqlite())
}

/// Pairs that cannot be served, each with what is said of it.
fn bad_pairs(files: &Tls) -> Vec<(&'static str, Pair, String)> {
    let good = files.issue();
    let other = files.issue();
    let (cert, key) = (files.cert().display().to_string(), files.key().display().to_string());
    let in_cert = |fault: &str| format!("HTTP_TLS_CERT={cert}: {fault}");
    let in_key = |fault: &str| format!("HTTP_TLS_KEY={key}: {fault}");
    let with_cert = |cert: &str| Pair { cert: cert.to_owned(), ..good.clone() };
    let with_key = |key: &str| Pair { key: key.to_owned(), ..good.clone() };
    let cut = |pem: &str| pem[..pem.len() / 2].to_owned();
    let pem = |label: &str, content: &str| {
        format!("-----BEGIN {label}-----\n{content}\n-----END {label}-----\n")
    };
    vec![
        ("an empty certificate", with_cert(""), in_cert("holds no certificate")),
        ("a key for a certificate", with_cert(&good.key), in_cert("holds no certificate")),
        ("half a certificate", with_cert(&cut(&good.cert)), in_cert("is no valid PEM file")),
        (
            "a certificate that is none",
            with_cert(&pem("CERTIFICATE", "aGVsbG8=")),
            in_cert("its first certificate cannot be read"),
        ),
        ("an empty key", with_key(""), in_key("holds no private key")),
        ("a certificate for a key", with_key(&good.cert), in_key("holds no private key")),
        ("half a key", with_key(&cut(&good.key)), in_key("is no valid PEM file")),
        (
            "a key that is none",
            with_key(&pem("PRIVATE KEY", "aGVsbG8=")),
            in_key("is no key that TLS can use"),
        ),
        ("an encrypted key", with_key(&encrypted(&good.key)), in_key("is encrypted")),
        (
            "an encrypted key of the old form",
            with_key(&pem(
                "EC PRIVATE KEY",
                "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\naGVsbG8=",
            )),
            in_key("is encrypted"),
        ),
        (
            "a key of another certificate",
            with_key(&other.key),
            in_key("is not the key of the first certificate in HTTP_TLS_CERT"),
        ),
    ]
}

fn encrypted(key: &str) -> String {
    let folder = crate::support::folder::Folder::new("openssl");
    let file = folder.join("key.pem");
    std::fs::write(&file, key).expect("written");
    let made = Command::new("openssl")
        .args(["pkcs8", "-topk8", "-v2", "aes256", "-passout", "pass:x", "-in"])
        .arg(file)
        .output()
        .expect("openssl runs");
    String::from_utf8(made.stdout).expect("PEM")
}

#[tokio::test]
async fn every_bad_certificate_stops_the_start_by_its_name() {
    let files = Tls::new();
    for (what, pair, said) in bad_pairs(&files) {
        files.install(&pair);
        let error = settings(&files).expect_refusal().await;
        assert!(error.contains(&said), "{what}: {error}");
        assert!(!error.contains("aGVsbG8"), "{what}: {error}");
    }
    files.install(&files.issue());
    for (missing, set) in [("HTTP_TLS_CERT", "HTTP_TLS_KEY"), ("HTTP_TLS_KEY", "HTTP_TLS_CERT")] {
        let error = settings(&files).env(missing, "").expect_refusal().await;
        let said = format!("{set} is set and {missing} is not: TLS needs both");
        assert!(error.contains(&said), "{error}");
        let error = settings(&files).env(missing, "/nowhere/x.pem").expect_refusal().await;
        assert!(error.contains(&format!("{missing}=/nowhere/x.pem: No such file")), "{error}");
    }
    let error = settings(&files).arg("--demo").expect_refusal().await;
    assert!(error.contains("--demo needs a server without TLS"), "{error}");
}

#[tokio::test]
async fn a_certificate_that_clients_refuse_is_served_with_a_warning() {
    let files = Tls::new();
    let names = ["localhost", "127.0.0.1"];
    let yesterday = Utc::now() - TimeDelta::days(1);
    for (pair, said) in [
        (files.issue_for(&names, 2020, Some(yesterday)), "the certificate expired at"),
        (files.issue_for(&names, 3020, None), "the certificate is valid from 3020"),
    ] {
        files.install(&pair);
        let server = settings(&files).start_listening().await;
        assert!(server.log().contains(said), "{}", server.log());
        let refused = tls(server.url(), &files.ca_pem(), &[], false).await;
        assert!(refused.is_err(), "{said}");
    }
}

/// The certificate that a new connection gets.
async fn served(server: &Agentbus, files: &Tls) -> Vec<u8> {
    let socket = tls(server.url(), &files.ca_pem(), &[], false).await.expect("TLS");
    let certificates = socket.get_ref().1.peer_certificates().expect("a certificate");
    certificates[0].to_vec()
}

#[tokio::test]
async fn a_bad_pair_beside_a_running_server_is_refused_once_and_the_last_good_one_stays() {
    let (server, files) = server().await;
    let refused = r#"agentbus_tls_reloads_total{result="refused"}"#;
    let good = served(&server, &files).await;
    let mut refusals = 0.0;
    for (what, pair, said) in bad_pairs(&files) {
        files.install(&pair);
        refusals += 1.0;
        eventually(LIMIT, what, async || {
            (metrics::value(&server.http(), refused).await >= refusals).then_some(())
        })
        .await;
        let log = server.log();
        assert_eq!(
            log.matches(&said).count(),
            1 + seen_before(&files, what, &said),
            "{what}: {log}"
        );
        assert_eq!(served(&server, &files).await, good, "{what}");
    }
    std::fs::remove_file(files.key()).expect("removed");
    eventually(LIMIT, "a missing file", async || {
        (metrics::value(&server.http(), refused).await > refusals).then_some(())
    })
    .await;
    assert_eq!(metrics::value(&server.http(), refused).await, refusals + 1.0);
    let next = files.issue();
    files.install(&next);
    eventually(LIMIT, "the new certificate", async || {
        (served(&server, &files).await == next.der).then_some(())
    })
    .await;
    assert!(server.is_running());
}

/// How many bad pairs before this one have the same text.
fn seen_before(files: &Tls, what: &str, said: &str) -> usize {
    let pairs = bad_pairs(files);
    pairs.iter().take_while(|(name, ..)| *name != what).filter(|(.., text)| text == said).count()
}

#[tokio::test]
async fn doctor_reports_certificates_that_end_do_not_fit_or_are_open() {
    let files = Tls::new();
    let server = settings(&files).start().await;
    let doctor = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_agentbus"));
        let output = command.arg("doctor").env_clear().envs(server.env()).output().expect("runs");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        text.lines().filter(|line| line.contains(r#""part":"tls""#)).collect::<Vec<_>>().join("\n")
    };
    let names = ["localhost"];
    let until = |days| files.issue_for(&names, 2020, Some(Utc::now() + TimeDelta::days(days)));
    for (pair, grade, said) in [
        (until(40), "good", "is valid until"),
        (until(20), "note", "days: see that it is renewed"),
        (until(-2), "bad", "the certificate expired at"),
        (Pair { key: files.issue().key, ..files.issue() }, "bad", "is not the key of"),
    ] {
        files.install(&pair);
        std::fs::set_permissions(files.key(), Permissions::from_mode(0o640)).expect("a mode");
        let grade = if grade == "good" { "ok" } else { grade };
        let found = doctor();
        assert!(found.contains(&format!(r#""grade":"{grade}""#)), "{found}");
        assert!(found.contains(said) && found.lines().count() == 1, "{found}");
    }
    files.install(&until(40));
    std::fs::set_permissions(files.key(), Permissions::from_mode(0o644)).expect("a mode");
    let found = doctor();
    assert!(found.contains("set its mode to 0600"), "{found}");
}
