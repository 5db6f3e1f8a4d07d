//! Requests written to the socket as no well-behaved client would.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Agentbus, within};

const LIMIT: Duration = Duration::from_secs(20);

/// The `host:port` of a server.
pub fn address(server: &Agentbus) -> &str {
    server.url().trim_start_matches("http://")
}

/// Sends bytes on a connection of its own, and leaves it open. `None` when the server does not want it.
pub async fn send(server: &Agentbus, bytes: &[u8]) -> Option<TcpStream> {
    let mut socket = TcpStream::connect(address(server)).await.ok()?;
    socket.write_all(bytes).await.ok()?;
    Some(socket)
}

/// Sends bytes, and reads until the server ends the connection.
pub async fn exchange(server: &Agentbus, bytes: &[u8]) -> String {
    let mut socket = TcpStream::connect(address(server)).await.expect("connected");
    socket.write_all(bytes).await.expect("sent");
    let mut answer = Vec::new();
    let read = socket.read_to_end(&mut answer);
    within(LIMIT, "the end of the answer", read).await.expect("read");
    String::from_utf8_lossy(&answer).into_owned()
}

/// The first bytes of an answer, up to the end of its head.
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
