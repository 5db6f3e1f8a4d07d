//! A receiver of webhooks that records requests and responds as the test asks.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response, Uri};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::Value;
use tokio::net::TcpListener;

use super::eventually;

/// A request that was received.
#[derive(Clone, Debug)]
pub struct Got {
    pub at: Instant,
    /// Path and query.
    pub uri: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// The response to a request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// With this status.
    Status(u16),
    /// With this status and one header.
    With(u16, &'static str, String),
    /// No response.
    Silence,
}

/// A receiver; it ends with the test's runtime.
#[derive(Clone)]
pub struct Receiver {
    port: u16,
    state: Arc<Mutex<Inner>>,
}

struct Inner {
    got: Vec<Got>,
    next: VecDeque<Reply>,
    always: Reply,
}

impl Receiver {
    /// A receiver that accepts everything.
    pub async fn start() -> Self {
        let (receiver, listener) = Self::bind().await;
        let router = receiver.router();
        tokio::spawn(async move { axum::serve(listener, router).await });
        receiver
    }

    /// A receiver that speaks TLS as `localhost`, and its certificate, which no authority has signed.
    pub async fn start_tls() -> (Self, String) {
        let (receiver, listener) = Self::bind().await;
        let made =
            rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let (cert, pem) = (made.cert.der().clone(), made.cert.pem());
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![cert], key.into())
            .expect("the key is the certificate's");
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let service = TowerToHyperService::new(receiver.router());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, service) = (acceptor.clone(), service.clone());
                tokio::spawn(async move {
                    // A client that does not trust the certificate disconnects here.
                    let stream = acceptor.accept(stream).await?;
                    let served =
                        http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                    served.await.map_err(std::io::Error::other)
                });
            }
        });
        (receiver, pem)
    }

    async fn bind() -> (Self, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let inner = Inner { got: Vec::new(), next: VecDeque::new(), always: Reply::Status(204) };
        (Self { port, state: Arc::new(Mutex::new(inner)) }, listener)
    }

    fn router(&self) -> Router {
        Router::new().fallback(take).with_state(self.clone())
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook?a=b", self.port)
    }

    /// Sets the responses to the next requests; later requests get the usual response.
    pub fn next(&self, replies: impl IntoIterator<Item = Reply>) {
        self.with(|inner| inner.next.extend(replies));
    }

    /// Sets the usual response.
    pub fn always(&self, reply: Reply) {
        self.with(|inner| inner.always = reply);
    }

    /// The requests received so far.
    pub fn got(&self) -> Vec<Got> {
        self.with(|inner| inner.got.clone())
    }

    /// Waits for this many requests, and returns them; fails the test if there are more by then.
    pub async fn take(&self, count: usize, limit: Duration) -> Vec<Got> {
        let what = format!("{count} deliveries");
        let come = async || Some(self.got()).filter(|got| got.len() >= count);
        let got = eventually(limit, &what, come).await;
        assert_eq!(got.len(), count, "more came: {got:?}");
        got
    }

    fn with<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        act(&mut self.state.lock().expect("no panic"))
    }
}

impl Got {
    /// A header, which must be present.
    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).unwrap_or_else(|| panic!("no {name}: {self:?}"));
        value.to_str().expect("text")
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// The sequence of the message in the body.
    pub fn seq(&self) -> u64 {
        self.json()["seq"].as_u64().expect("seq")
    }
}

/// The sequences in requests, sorted, each once.
pub fn seqs(got: &[Got]) -> Vec<u64> {
    let mut seqs: Vec<u64> = got.iter().map(Got::seq).collect();
    seqs.sort_unstable();
    seqs.dedup();
    seqs
}

async fn take(
    State(receiver): State<Receiver>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let got = Got { at: Instant::now(), uri: uri.to_string(), headers, body };
    let reply = receiver.with(|inner| {
        inner.got.push(got);
        inner.next.pop_front().unwrap_or_else(|| inner.always.clone())
    });
    let answer = match reply {
        Reply::Silence => std::future::pending().await,
        Reply::Status(status) => Response::builder().status(status),
        Reply::With(status, name, value) => Response::builder().status(status).header(name, value),
    };
    answer.body(Body::empty()).expect("an answer")
}
