//! A TCP proxy that can block (as a half-open connection does), delay, or cut connections, lose answers, and answer as
//! an HTTP proxy does whose server is away.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

const BUFFER: usize = 64 * 1024;
/// For how long the rest of a request is read that was answered already.
const DISCARD: Duration = Duration::from_secs(1);

/// How the proxy treats data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Open,
    /// Nothing passes; connections stay open.
    Blocked,
    /// Each piece of data is delayed by this time.
    Slow(Duration),
    /// Requests pass; the first piece of an answer ends the connection instead.
    Deaf,
    /// Each request gets this answer, and the connection ends. The server sees nothing.
    Answer(&'static str),
}

/// A proxy for connections to one port. Dropped, it ends them.
pub struct Proxy {
    address: SocketAddr,
    way: watch::Sender<Way>,
    /// Incremented to end all existing connections.
    cuts: watch::Sender<u64>,
    /// How many answers the proxy has lost or given itself.
    faults: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// A proxy to `127.0.0.1:port`.
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (way, cuts) = (watch::Sender::new(Way::Open), watch::Sender::new(0));
        let faults = Arc::new(AtomicU64::new(0));
        let door =
            Door { port, way: way.subscribe(), cuts: cuts.subscribe(), faults: faults.clone() };
        let task = tokio::spawn(accept(listener, door));
        Self { address, way, cuts, faults, task }
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

    /// Its address as a server, `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Passes requests on, and loses their answers: the connection ends instead.
    pub fn lose_answers(&self) {
        self.way.send_replace(Way::Deaf);
    }

    /// Gives this answer to each request, without its server: a status line, and headers with their line ends. Ends
    /// every existing connection.
    pub fn answer(&self, head: &'static str) {
        self.way.send_replace(Way::Answer(head));
        self.cut();
    }

    /// How many answers the proxy has lost or given itself.
    pub fn faults(&self) -> u64 {
        self.faults.load(Ordering::SeqCst)
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

/// What the proxy needs for each connection.
#[derive(Clone)]
struct Door {
    port: u16,
    way: watch::Receiver<Way>,
    cuts: watch::Receiver<u64>,
    faults: Arc<AtomicU64>,
}

async fn accept(listener: TcpListener, door: Door) {
    while let Ok((client, _)) = listener.accept().await {
        let mut door = door.clone();
        door.cuts.mark_unchanged();
        tokio::spawn(async move {
            let mut cuts = door.cuts.clone();
            tokio::select! {
                () = serve(client, door) => {}
                _ = cuts.changed() => {}
            }
        });
    }
}

async fn serve(client: TcpStream, door: Door) {
    let (mut client_in, mut client_out) = client.into_split();
    let way = *door.way.borrow();
    if let Way::Answer(head) = way {
        // An answer before the request would be none.
        let Ok(1..) = client_in.read(&mut [0; 1024]).await else { return };
        door.faults.fetch_add(1, Ordering::SeqCst);
        let answer = format!("HTTP/1.1 {head}content-length: 0\r\nconnection: close\r\n\r\n");
        let _ = client_out.write_all(answer.as_bytes()).await;
        // What is not read would reset the connection, and the answer with it.
        let _ = tokio::time::timeout(DISCARD, discard(client_in)).await;
        return;
    }
    let Ok(server) = TcpStream::connect(("127.0.0.1", door.port)).await else { return };
    let (server_in, server_out) = server.into_split();
    tokio::select! {
        () = pass(client_in, server_out, door.way.clone(), None) => {}
        () = pass(server_in, client_out, door.way, Some(&door.faults)) => {}
    }
}

async fn discard(mut from: OwnedReadHalf) {
    let mut buffer = vec![0; BUFFER];
    while let Ok(1..) = from.read(&mut buffer).await {}
}

/// Passes data on. `answers` counts the answers that are lost, if the data are answers.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut way: watch::Receiver<Way>,
    answers: Option<&AtomicU64>,
) {
    let mut buffer = vec![0; BUFFER];
    loop {
        let Ok(count @ 1..) = from.read(&mut buffer).await else { return };
        let Ok(now) = way.wait_for(|way| *way != Way::Blocked).await.map(|way| *way) else {
            return;
        };
        match (now, answers) {
            (Way::Slow(by), _) => sleep(by).await,
            (Way::Deaf, Some(lost)) => {
                lost.fetch_add(1, Ordering::SeqCst);
                return;
            }
            _ => {}
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
