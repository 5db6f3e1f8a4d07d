//! Sends requests on a plain socket that no well-behaved client would send.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Agentbus, within};

const LIMIT: Duration = Duration::from_secs(20);

/// The `host:port` of a server.
pub fn address(server: &Agentbus) -> &str {
    server.url().trim_start_matches("http://")
}

/// Sends bytes on a new connection, and leaves it open. `None` if the server refuses the connection.
pub async fn send(server: &Agentbus, bytes: &[u8]) -> Option<TcpStream> {
    let mut socket = TcpStream::connect(address(server)).await.ok()?;
    socket.write_all(bytes).await.ok()?;
    Some(socket)
}

/// Sends bytes on a new connection, and reads until the server closes it.
pub async fn exchange(server: &Agentbus, bytes: &[u8]) -> String {
    let mut socket = TcpStream::connect(address(server)).await.expect("connected");
    socket.write_all(bytes).await.expect("sent");
    let mut answer = Vec::new();
    let read = socket.read_to_end(&mut answer);
    within(LIMIT, "the end of the answer", read).await.expect("read");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Reads the head of a response.
pub async fn head(socket: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let read = async {
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await.expect("a head"));
        }
    };
    within(LIMIT, "the head of an answer", read).await;
    String::from_utf8_lossy(&head).into_owned()
}
