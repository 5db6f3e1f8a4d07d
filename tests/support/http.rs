//! A small HTTP client: requests to one server, and responses with their bytes as they came.
//!
//! The short methods (`get`, `post_json`) fail the test when there is no response; a test that disturbs the
//! server uses [`Http::request`] and gets the error.

use std::net::IpAddr;
use std::sync::Once;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Client, Method};
use serde_json::Value;

use super::sse::{Sse, Stop};

/// Time limit of a request: longer than the longest wait that a request may ask for, 60 s.
const LIMIT: Duration = Duration::from_secs(90);

/// A client of the server at one address. Clones share connections.
#[derive(Clone)]
pub struct Http {
    base: String,
    client: Client,
    /// The key that each request sends.
    key: Option<String>,
}

/// A response, read completely.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as it came.
    pub bytes: Bytes,
}

impl Http {
    /// A client of the server at `base`, as `http://127.0.0.1:8080`.
    pub fn new(base: &str) -> Self {
        Self { base: base.trim_end_matches('/').to_owned(), client: client(None), key: None }
    }

    /// A client of a server with TLS, which trusts this authority alone.
    pub fn trusting(base: &str, ca_pem: &str) -> Self {
        let ca = reqwest::Certificate::from_pem(ca_pem.as_bytes()).expect("a certificate");
        let client = built(None, vec![ca]);
        Self { base: base.trim_end_matches('/').to_owned(), client, key: None }
    }

    /// A client that connects from another address of this machine.
    pub fn from_address(base: &str, address: IpAddr) -> Self {
        Self {
            base: base.trim_end_matches('/').to_owned(),
            client: client(Some(address)),
            key: None,
        }
    }

    /// This client, sending a key with each request.
    pub fn with_key(&self, key: &str) -> Self {
        Self { key: Some(key.to_owned()), ..self.clone() }
    }

    /// The server's address, without a slash at the end.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// `GET path`.
    pub async fn get(&self, path: &str) -> Answer {
        self.must(Method::GET, path, &[], Bytes::new()).await
    }

    /// `POST path` with a JSON body.
    pub async fn post_json(&self, path: &str, body: &Value) -> Answer {
        self.post(path, "application/json", body.to_string()).await
    }

    /// `PUT path` with a JSON body.
    pub async fn put_json(&self, path: &str, body: &Value) -> Answer {
        let headers = [("content-type", "application/json")];
        self.must(Method::PUT, path, &headers, body.to_string()).await
    }

    /// `POST path` with any body.
    pub async fn post(&self, path: &str, content_type: &str, body: impl Into<Bytes>) -> Answer {
        self.must(Method::POST, path, &[("content-type", content_type)], body).await
    }

    /// `POST path` with one message a line (NDJSON).
    pub async fn post_ndjson(&self, path: &str, messages: &[Value]) -> Answer {
        let lines: Vec<String> = messages.iter().map(Value::to_string).collect();
        self.post(path, "application/x-ndjson", lines.join("\n")).await
    }

    /// `DELETE path`.
    pub async fn delete(&self, path: &str) -> Answer {
        self.must(Method::DELETE, path, &[], Bytes::new()).await
    }

    /// Any request with any headers; an error when no complete response came.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Answer, reqwest::Error> {
        let mut request =
            self.client.request(method.clone(), format!("{}{path}", self.base)).timeout(LIMIT);
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = body.into();
        if !body.is_empty() {
            request = request.body(body);
        }
        let answer = Answer::read(request.send().await?).await?;
        super::described::check(&method, path, &answer);
        Ok(answer)
    }

    /// Opens `/v1/stream?query`, as a browser does that reconnects with `last_event_id`.
    pub async fn stream(&self, query: &str, last_event_id: Option<u64>) -> Sse {
        match self.try_stream(query, last_event_id).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(answer)) => panic!("no stream for ?{query}: {answer:?}"),
            Err(error) => panic!("no stream for ?{query}: {error:?}"),
        }
    }

    /// Like [`Http::stream`]; returns the response if that is not a stream, and the error if there is no
    /// response.
    pub async fn try_stream(
        &self,
        query: &str,
        last_event_id: Option<u64>,
    ) -> Result<Result<Sse, Answer>, reqwest::Error> {
        let mut request = self.client.get(format!("{}/v1/stream?{query}", self.base));
        request = request.header("accept", "text/event-stream");
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let response = request.send().await?;
        let content_type =
            response.headers().get(CONTENT_TYPE).map(|value| value.as_bytes().to_owned());
        let streams = content_type.is_some_and(|value| value.starts_with(b"text/event-stream"));
        if response.status() == 200 && streams {
            return Ok(Ok(Sse::new(response)));
        }
        Answer::read(response).await.map(Err)
    }

    async fn must(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        match self.request(method.clone(), path, headers, body).await {
            Ok(answer) => answer,
            Err(error) => panic!("{method} {path}: no answer: {error:?}"),
        }
    }
}

impl Answer {
    async fn read(response: reqwest::Response) -> Result<Self, reqwest::Error> {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Self { status, headers, bytes: response.bytes().await? })
    }

    /// The body as JSON; fails the test if it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|error| {
            panic!("the body is not JSON: {error}: {} {}", self.status, self.text())
        })
    }

    /// The sequence in a response to a POST; fails the test if there is none.
    pub fn seq(&self) -> u64 {
        self.json()["seq"].as_u64().unwrap_or_else(|| panic!("no sequence: {}", self.text()))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// The value of a header, if it is present.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Fails the test unless the status is `status`, and then shows the body.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }
}

/// A client of any server, without the checks of this module.
pub fn client(address: Option<IpAddr>) -> Client {
    built(address, Vec::new())
}

fn built(address: Option<IpAddr>, authorities: Vec<reqwest::Certificate>) -> Client {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        // An error means that a provider is installed already, which is all that reqwest needs.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    Client::builder()
        .local_address(address)
        .no_proxy()
        .tls_certs_only(authorities)
        .build()
        .expect("an HTTP client")
}
