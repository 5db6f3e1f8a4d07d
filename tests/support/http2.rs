//! A client of HTTP/2 over TLS, with windows that the test chooses.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::client::{Builder, ResponseFuture, SendRequest};
use reqwest::Method;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::sse_frame::{Frame, Parser};
use super::within;

const LIMIT: Duration = Duration::from_secs(30);
/// Receive buffer of the socket of a client that reads slowly.
const SLOW_BUFFER: u32 = 4 * 1024;

/// A TLS connection to a server, with these protocols offered by ALPN.
pub async fn tls(
    url: &str,
    ca_pem: &str,
    protocols: &[&str],
    is_slow: bool,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_slice(ca_pem.as_bytes()).expect("a certificate");
    roots.add(ca).expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().expect("versions");
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let address = url.trim_start_matches("https://").parse().expect("an address");
    let socket = TcpSocket::new_v4()?;
    if is_slow {
        socket.set_recv_buffer_size(SLOW_BUFFER)?;
    }
    let socket = socket.connect(address).await?;
    let name = ServerName::try_from("localhost").expect("a name");
    TlsConnector::from(Arc::new(config)).connect(name, socket).await
}

/// A connection. Dropped, it is closed.
pub struct Http2 {
    sender: SendRequest<Bytes>,
    /// The address that requests name.
    pub base: String,
    pub ended: JoinHandle<Result<(), h2::Error>>,
}

impl Drop for Http2 {
    fn drop(&mut self) {
        self.ended.abort();
    }
}

impl Http2 {
    /// Connects with the default windows.
    pub async fn connect(url: &str, ca_pem: &str) -> Self {
        Self::tuned(url, ca_pem, &mut Builder::new()).await
    }

    /// Connects with these settings.
    pub async fn tuned(url: &str, ca_pem: &str, settings: &mut Builder) -> Self {
        let socket = within(LIMIT, "TLS", tls(url, ca_pem, &["h2"], false)).await.expect("TLS");
        assert_eq!(socket.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (sender, connection) = settings.handshake(socket).await.expect("HTTP/2");
        let ended = tokio::spawn(connection);
        Self { sender, base: url.to_owned(), ended }
    }

    /// Sends a request without a body, once the server allows one more stream.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<ResponseFuture, h2::Error> {
        let mut request =
            axum::http::Request::builder().method(method).uri(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("a request");
        let mut sender = self.sender.clone().ready().await?;
        Ok(sender.send_request(request, true)?.0)
    }

    /// `GET path`: the status and the body, of which nothing is read.
    pub async fn get(&self, path: &str) -> Result<(u16, RecvStream), h2::Error> {
        self.ask(Method::GET, path, &[]).await
    }

    /// A request with headers: the status and the body, of which nothing is read.
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<(u16, RecvStream), h2::Error> {
        let response = self.send(method, path, headers).await?;
        let (head, body) = within(LIMIT, "a response", response).await?.into_parts();
        Ok((head.status.as_u16(), body))
    }

    /// Opens `/v1/stream?query`.
    pub async fn stream(&self, query: &str) -> Http2Stream {
        let (status, body) = self.get(&format!("/v1/stream?{query}")).await.expect("a response");
        assert_eq!(status, 200);
        Http2Stream::new(body)
    }
}

/// Reads a body to its end.
pub async fn read(body: &mut RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut whole = Vec::new();
    while let Some(data) = within(LIMIT, "more of a body", body.data()).await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        whole.extend_from_slice(&data);
    }
    Ok(whole)
}

/// Events of a stream.
pub struct Http2Stream {
    pub body: RecvStream,
    parser: Parser,
    waiting: VecDeque<Frame>,
}

impl Http2Stream {
    /// The events of a body.
    pub fn new(body: RecvStream) -> Self {
        Self { body, parser: Parser::default(), waiting: VecDeque::new() }
    }

    /// The next frame; `None` at the end.
    pub async fn frame(&mut self) -> Result<Option<Frame>, h2::Error> {
        loop {
            if let Some(frame) = self.waiting.pop_front() {
                return Ok(Some(frame));
            }
            let Some(data) = within(LIMIT, "more of a stream", self.body.data()).await else {
                return Ok(None);
            };
            let data = data?;
            self.body.flow_control().release_capacity(data.len())?;
            self.waiting.extend(self.parser.push(&data));
        }
    }

    /// The sequences of the next messages; fails the test if the stream ends before.
    pub async fn messages(&mut self, count: usize) -> Vec<u64> {
        let mut seqs = Vec::new();
        while seqs.len() < count {
            let frame = self.frame().await.expect("no reset").expect("no end");
            assert!(!frame.is("gap"), "{frame:?}");
            if frame.is_message() {
                seqs.push(frame.seq());
            }
        }
        seqs
    }
}
