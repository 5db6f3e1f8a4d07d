//! What the client says about itself, and what it notices about the server.

use agentbus_client::Client;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::{LIMIT, Notices};
use crate::support::within;

/// Answers requests with this body until it is dropped; returns the heads of those that came.
async fn answers(listener: TcpListener, body: &str, count: usize) -> Vec<String> {
    let mut heads = Vec::new();
    while heads.len() < count {
        let (mut socket, _) = listener.accept().await.expect("a connection");
        let mut head = vec![0; 4_096];
        let size = socket.read(&mut head).await.expect("a request");
        heads.push(String::from_utf8_lossy(&head[..size]).to_ascii_lowercase());
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        socket.write_all(answer.as_bytes()).await.expect("an answer");
    }
    heads
}

#[tokio::test]
async fn each_request_names_the_client_and_its_key() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let client = Client::new(&url).and_then(|client| client.with_key("hunter2")).expect("a client");
    assert!(!format!("{client:?}").contains("hunter2"));
    let calls = async {
        client.status().await.expect("answered");
        client.me().await.expect("answered");
    };
    let (heads, ()) =
        within(LIMIT, "requests", async { tokio::join!(answers(listener, "{}", 2), calls) }).await;
    let version = env!("CARGO_PKG_VERSION");
    for head in heads {
        assert!(head.contains(&format!("user-agent: agentbus-rust/{version}\r\n")), "{head}");
        assert!(head.contains("authorization: bearer hunter2\r\n"), "{head}");
    }
}

#[tokio::test]
async fn another_major_version_of_the_server_is_told_once() {
    for (version, told) in [("9.1.0", 1), (env!("CARGO_PKG_VERSION"), 0)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let notices = Notices::default();
        let client = notices.clone().of(Client::new(&url).expect("a client"));
        let body = format!(r#"{{"name":"agentbus","version":"{version}"}}"#);
        let checks = async {
            client.check_version().await;
            client.clone().check_version().await;
        };
        let both = async { tokio::join!(answers(listener, &body, 1), checks) };
        within(LIMIT, "one request", both).await;
        assert_eq!(notices.count("the server has version"), told, "{version}");
    }
}
