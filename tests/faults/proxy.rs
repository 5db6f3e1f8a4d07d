//! A TCP proxy that can block (as a half-open connection does), delay, or cut connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

const BUFFER: usize = 64 * 1024;

/// How the proxy treats data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Open,
    /// Nothing passes; connections stay open.
    Blocked,
    /// Each piece of data is delayed by this time.
    Slow(Duration),
}

/// A proxy for connections to one port. Dropped, it ends them.
pub struct Proxy {
    address: SocketAddr,
    way: watch::Sender<Way>,
    /// Incremented to end all existing connections.
    cuts: watch::Sender<u64>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// A proxy to `127.0.0.1:port`.
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (way, cuts) = (watch::Sender::new(Way::Open), watch::Sender::new(0));
        let task = tokio::spawn(accept(listener, port, way.subscribe(), cuts.subscribe()));
        Self { address, way, cuts, task }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Blocks both directions, of existing and of new connections.
    pub fn block(&self) {
        self.way.send_replace(Way::Blocked);
    }

    /// Delays each piece of data.
    pub fn slow(&self, by: Duration) {
        self.way.send_replace(Way::Slow(by));
    }

    /// Passes everything on again, without delay.
    pub fn open(&self) {
        self.way.send_replace(Way::Open);
    }

    /// Ends every existing connection.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
        self.task.abort();
    }
}

async fn accept(
    listener: TcpListener,
    port: u16,
    way: watch::Receiver<Way>,
    cuts: watch::Receiver<u64>,
) {
    while let Ok((client, _)) = listener.accept().await {
        let (way, mut cuts) = (way.clone(), cuts.clone());
        cuts.mark_unchanged();
        tokio::spawn(async move {
            let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
            let (client_in, client_out) = client.into_split();
            let (server_in, server_out) = server.into_split();
            let way = Arc::new(way);
            tokio::select! {
                () = pass(client_in, server_out, way.clone()) => {}
                () = pass(server_in, client_out, way) => {}
                _ = cuts.changed() => {}
            }
        });
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, way: Arc<watch::Receiver<Way>>) {
    let mut way = (*way).clone();
    let mut buffer = vec![0; BUFFER];
    loop {
        let Ok(count @ 1..) = from.read(&mut buffer).await else { return };
        let Ok(now) = way.wait_for(|way| *way != Way::Blocked).await.map(|way| *way) else {
            return;
        };
        if let Way::Slow(by) = now {
            sleep(by).await;
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
