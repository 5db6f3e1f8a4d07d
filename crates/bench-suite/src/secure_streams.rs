//! Memory of idle streams over TLS: over HTTP/1.1 a connection each, over HTTP/2 many on one.

use std::any::Any;
use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentbus_bench::open_files;
use agentbus_bench::server::{Server, unique_folder};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::error::SuiteError;
use super::row::Row;
use super::testbed::Testbed;

/// Number of idle streams of each kind. A handshake costs a millisecond of both sides.
const STREAMS: usize = 2_000;
/// Streams that allocate memory that all streams share; they do not count.
const FIRST: usize = 200;
/// Streams of one HTTP/2 connection.
const SHARED: usize = 50;
/// Time between the opening of the last stream and the reading of memory.
const SETTLE: Duration = Duration::from_secs(2);
/// Longest time until the server serves streams.
const START_TIMEOUT: Duration = Duration::from_secs(60);
const NAME: &str = "localhost";

/// An open stream, or many of them.
type Open = Box<dyn Any + Send>;

struct Target {
    server: Server,
    tls: Arc<ClientConfig>,
    protocol: &'static str,
}

pub(super) async fn idle(testbed: &Testbed) -> Result<Vec<Row>, SuiteError> {
    open_files::allow(STREAMS)?;
    let single = measure(testbed, "http/1.1").await?;
    let shared = measure(testbed, "h2").await?;
    Ok(vec![
        Row::new("over TLS, at 2,000: resident memory each", "bytes", single.0).note(single.1),
        Row::new("over HTTP/2, 50 on a connection: resident memory each", "bytes", shared.0)
            .note(shared.1),
    ])
}

async fn measure(testbed: &Testbed, protocol: &'static str) -> Result<(f64, String), SuiteError> {
    let folder = unique_folder(&std::env::temp_dir());
    let made = start(testbed, &folder, protocol).await;
    let _ = std::fs::remove_dir_all(&folder);
    let target = made?;
    let first = target.open(FIRST).await?;
    tokio::time::sleep(SETTLE).await;
    let before = target.server.resident();
    let all = target.open(STREAMS - FIRST).await?;
    tokio::time::sleep(SETTLE).await;
    let after = target.server.resident();
    let each = (after - before) / (STREAMS - FIRST) as f64;
    drop((first, all));
    target.server.stop().await;
    Ok((each, format!("{:.0} MiB resident with 2,000", after / 1_048_576.0)))
}

/// Starts a server with a certificate of its own, and waits until it serves streams.
async fn start(
    testbed: &Testbed,
    folder: &std::path::Path,
    protocol: &'static str,
) -> Result<Target, SuiteError> {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).map_err(failed)?;
    std::fs::create_dir_all(folder)?;
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    std::fs::write(&cert, made.cert.pem())?;
    std::fs::write(&key, made.signing_key.serialize_pem())?;
    let (cert, key) = (cert.display().to_string(), key.display().to_string());
    let files = [("HTTP_TLS_CERT", &*cert), ("HTTP_TLS_KEY", &*key)];
    let server = testbed.on_sqlite(&files).await?;
    let target = Target { server, tls: client(made.cert.der(), protocol)?, protocol };
    let started = Instant::now();
    loop {
        match target.open(1).await {
            Ok(_) => return Ok(target),
            Err(error) if started.elapsed() > START_TIMEOUT => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// TLS that trusts one certificate.
fn client(trusted: &CertificateDer<'_>, protocol: &str) -> Result<Arc<ClientConfig>, SuiteError> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone().into_owned()).map_err(failed)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().map_err(failed)?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    Ok(Arc::new(config))
}

impl Target {
    async fn open(&self, count: usize) -> Result<Vec<Open>, SuiteError> {
        let mut open: Vec<Open> = Vec::new();
        if self.protocol == "h2" {
            for _ in 0..count.div_ceil(SHARED) {
                open.push(self.open_shared(count.min(SHARED)).await?);
            }
        } else {
            for _ in 0..count {
                open.push(self.open_single().await?);
            }
        }
        Ok(open)
    }

    async fn connect(&self) -> Result<TlsStream<TcpStream>, SuiteError> {
        let socket = TcpStream::connect(self.server.address().socket()).await?;
        let name = ServerName::try_from(NAME).map_err(failed)?;
        Ok(TlsConnector::from(Arc::clone(&self.tls)).connect(name, socket).await?)
    }

    async fn open_single(&self) -> Result<Open, SuiteError> {
        let mut socket = self.connect().await?;
        let head = self.server.address().head("GET", "/v1/stream");
        socket.write_all(format!("{head}\r\n").as_bytes()).await?;
        let (mut answer, mut piece) = (Vec::new(), [0; 4_096]);
        while !is_ready(&answer) {
            match socket.read(&mut piece).await? {
                0 => return Err(failed("no stream over TLS")),
                read => answer.extend_from_slice(&piece[..read]),
            }
        }
        Ok(Box::new(socket))
    }

    async fn open_shared(&self, count: usize) -> Result<Open, SuiteError> {
        let handshake = h2::client::handshake(self.connect().await?);
        let (mut sender, connection) = handshake.await.map_err(failed)?;
        let ended = tokio::spawn(connection);
        let mut bodies = Vec::new();
        for _ in 0..count {
            let (host, port) = self.server.address().socket();
            let request = axum::http::Request::get(format!("https://{host}:{port}/v1/stream"));
            sender = sender.ready().await.map_err(failed)?;
            let request = request.body(()).map_err(failed)?;
            let (response, _) = sender.send_request(request, true).map_err(failed)?;
            let mut body = response.await.map_err(failed)?.into_body();
            let mut answer = Vec::new();
            while !is_ready(&answer) {
                let data = body.data().await.ok_or_else(|| failed("no stream over HTTP/2"))?;
                answer.extend_from_slice(&data.map_err(failed)?);
            }
            bodies.push(body);
        }
        Ok(Box::new((sender, bodies, ended)))
    }
}

fn is_ready(answer: &[u8]) -> bool {
    memchr::memmem::find(answer, b"event: ready").is_some()
}

fn failed(error: impl Display) -> SuiteError {
    SuiteError::Failed(error.to_string())
}
