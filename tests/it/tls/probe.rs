//! What an independent client finds: the OpenSSL of the system, curl, and `agentbus` itself.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use super::server;
use crate::support::within;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const LIMIT: Duration = Duration::from_secs(20);

/// What `openssl s_client` says with these arguments. It allows whatever OpenSSL can do, so that a refusal is the
/// server's.
fn openssl(url: &str, args: &[&str]) -> String {
    let address = url.trim_start_matches("https://");
    let output = Command::new("openssl")
        .args(["s_client", "-connect", address, "-servername", "localhost"])
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("openssl runs");
    text(&output)
}

fn text(output: &Output) -> String {
    let all = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&all).into_owned()
}

/// Whether the handshake was completed.
fn is_agreed(said: &str) -> bool {
    said.contains("Verify return code: 0 (ok)") && !said.contains("Cipher is (NONE)")
}

#[tokio::test]
async fn openssl_finds_tls_1_2_and_1_3_and_nothing_weak() {
    let (server, files) = server().await;
    let (url, ca) = (server.url(), files.ca().display().to_string());
    let probe = |args: &[&str]| openssl(url, &[&["-CAfile", &ca], args].concat());
    let any = ["-cipher", "ALL:COMPLEMENTOFALL:@SECLEVEL=0"];
    for version in ["-tls1", "-tls1_1"] {
        let said = probe(&[&any[..], &[version]].concat());
        assert!(!is_agreed(&said) && said.contains("SSL alert number"), "{version}: {said}");
    }
    for (version, name) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let said = probe(&[version]);
        assert!(is_agreed(&said) && said.contains(name), "{version}: {said}");
        assert!(said.contains("Compression: NONE"), "{said}");
    }
    // Of all that OpenSSL has for TLS 1.2, only ciphers with forward secrecy and authentication are taken.
    let listed = Command::new("openssl")
        .args(["ciphers", "-s", "-tls1_2", any[1]])
        .output()
        .expect("openssl runs");
    let listed = String::from_utf8(listed.stdout).expect("names");
    let mut taken = Vec::new();
    for cipher in listed.trim().split(':') {
        let said = probe(&["-tls1_2", "-cipher", &format!("{cipher}:@SECLEVEL=0")]);
        if is_agreed(&said) {
            taken.push(cipher);
        }
    }
    let strong = |name: &&str| {
        name.starts_with("ECDHE-") && (name.contains("GCM") || name.contains("CHACHA20"))
    };
    assert!(listed.split(':').count() > 50 && !taken.is_empty(), "{listed}");
    assert!(taken.iter().all(strong), "{taken:?}");
    eprintln!("TLS 1.2: {taken:?}");
    for (offered, agreed) in [
        ("h2,http/1.1", "ALPN protocol: h2"),
        ("http/1.1", "ALPN protocol: http/1.1"),
        ("http/1.1,h2", "ALPN protocol: h2"),
    ] {
        let said = probe(&["-alpn", offered]);
        assert!(is_agreed(&said) && said.contains(agreed), "{offered}: {said}");
    }
    let said = probe(&["-alpn", "spdy/3"]);
    assert!(said.contains("alert no application protocol"), "{said}");
}

#[tokio::test]
async fn a_client_cannot_renegotiate() {
    let (server, files) = server().await;
    let address = server.url().trim_start_matches("https://");
    let mut client = Command::new("openssl")
        .args(["s_client", "-connect", address, "-tls1_2", "-CAfile"])
        .arg(files.ca())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl runs");
    // A line that is `R` asks for a renegotiation.
    let mut input = client.stdin.take().expect("a pipe");
    let asked = std::io::Write::write_all(&mut input, b"R\n");
    asked.expect("written");
    let ended = tokio::task::spawn_blocking(move || client.wait_with_output());
    let output = within(LIMIT, "the end", ended).await.expect("no panic").expect("an exit");
    drop(input);
    let said = text(&output);
    assert!(said.contains("RENEGOTIATING") && said.contains("no renegotiation"), "{said}");
}

#[tokio::test]
async fn curl_and_the_command_line_trust_an_authority_of_your_own() {
    let (server, files) = server().await;
    let by_name = server.url().replace("127.0.0.1", "localhost");
    let command = |ca: Option<&std::path::Path>, args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_agentbus"));
        command.args(args).args(["--url", &by_name, "--retry-for", "0"]).env_clear();
        if let Some(ca) = ca {
            command.env("SSL_CERT_FILE", ca);
        }
        command.stdin(Stdio::null()).output().expect("agentbus runs")
    };
    let args = ["send", "--sender", "ann", "hello"];
    let refused = command(None, &args);
    assert!(!refused.status.success(), "{}", text(&refused));
    let sent = command(Some(&files.ca()), &args);
    assert!(sent.status.success(), "{}", text(&sent));
    let found = command(Some(&files.ca()), &["history", "--all", "--format", "ndjson"]);
    assert!(text(&found).contains("\"content\":\"hello\""), "{}", text(&found));

    for version in ["--http2", "--http1.1"] {
        let output = Command::new("curl")
            .args([
                "--silent",
                "--show-error",
                version,
                "--write-out",
                " %{http_version}",
                "--cacert",
            ])
            .arg(files.ca())
            .arg(format!("{by_name}/v1/messages"))
            .output()
            .expect("curl runs");
        let said = text(&output);
        assert!(said.contains("\"content\":\"hello\""), "{said}");
        assert!(said.ends_with(if version == "--http2" { " 2" } else { " 1.1" }), "{said}");
    }
}

#[tokio::test]
async fn a_client_without_tls_is_told_and_one_that_says_nothing_is_disconnected() {
    let (server, _files) = server().await;
    let address = server.url().trim_start_matches("https://").to_owned();
    let mut silent = TcpStream::connect(&address).await.expect("connected");
    let mut plain = TcpStream::connect(&address).await.expect("connected");
    plain.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("sent");
    let mut said = String::new();
    within(LIMIT, "the end", plain.read_to_string(&mut said)).await.expect("read");
    assert!(said.starts_with("HTTP/1.1 400 ") && said.contains("this port speaks TLS"), "{said}");
    let mut garbage = TcpStream::connect(&address).await.expect("connected");
    garbage.write_all(&[22, 3, 1, 255, 255, 0]).await.expect("sent");
    let ended = within(LIMIT, "the end", garbage.read_to_end(&mut Vec::new())).await;
    assert!(
        ended.is_ok()
            || ended.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
    );
    let ended = within(LIMIT, "the end of a silent client", silent.read(&mut [0])).await;
    assert!(ended.is_ok_and(|read| read == 0));
}
