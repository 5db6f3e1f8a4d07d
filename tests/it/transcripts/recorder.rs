//! Requests and responses as text that is the same in every run: names replace ids, times, tokens and
//! durations.

use std::fmt::Write as _;
use std::time::Duration;

use regex::{Captures, Regex};
use reqwest::Method;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Answer, Deployment, Http, within};

/// Time limit for whatever a healthy server does by itself, a heartbeat included.
const LIMIT: Duration = Duration::from_secs(40);
/// How many characters of a request's body are recorded.
const SHOWN: usize = 600;
/// Members whose numbers depend on the clock, or on how the server splits its work.
const VOLATILE: &str = "uptime_s|total_duration|oldest_age_s|seconds|duration_ms|lag_s|age_s";

/// A conversation with one server.
pub struct Recorder {
    http: Http,
    text: String,
    /// Method and path of each recorded request.
    pub asked: Vec<(Method, String)>,
}

/// An open stream. Its events are recorded when they are read.
pub struct Stream {
    socket: TcpStream,
    request: String,
    read: Vec<u8>,
}

impl Stream {
    /// Waits until it has begun.
    pub async fn is_ready(&mut self) {
        let read = async {
            while !self.read.ends_with(b"event: ready") {
                self.read.push(self.socket.read_u8().await.expect("the stream goes on"));
            }
        };
        within(LIMIT, "a stream begins", read).await;
    }
}

impl Recorder {
    pub fn new(deployment: &Deployment) -> Self {
        Self { http: deployment.http().clone(), text: String::new(), asked: Vec::new() }
    }

    /// A client whose requests are not recorded.
    pub fn http(&self) -> Http {
        self.http.clone()
    }

    pub fn chapter(&mut self, title: &str) {
        write!(self.text, "\n=== {title}\n").expect("a string takes all");
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.ask(Method::GET, path, &[], "").await
    }

    pub async fn delete(&mut self, path: &str) -> Answer {
        self.ask(Method::DELETE, path, &[], "").await
    }

    /// `POST` without a body.
    pub async fn post(&mut self, path: &str) -> Answer {
        self.ask(Method::POST, path, &[], "").await
    }

    pub async fn post_json(&mut self, path: &str, body: &Value) -> Answer {
        self.json(Method::POST, path, body).await
    }

    pub async fn json(&mut self, method: Method, path: &str, body: &Value) -> Answer {
        let headers = [("content-type", "application/json")];
        self.ask(method, path, &headers, &body.to_string()).await
    }

    /// Sends a request, and records it and the response.
    pub async fn ask(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let answer = self.http.request(method.clone(), path, headers, body.to_owned()).await;
        let answer = answer.unwrap_or_else(|error| panic!("{method} {path}: {error:?}"));
        self.record(method, path, headers, body, &answer);
        answer
    }

    /// Records a request that other code has sent, and its response.
    pub fn record(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
        answer: &Answer,
    ) {
        write!(self.text, "\n> {method} {path}\n").expect("a string takes all");
        for (name, value) in headers {
            writeln!(self.text, "> {name}: {value}").expect("a string takes all");
        }
        if !body.is_empty() {
            let shown: String = body.chars().take(SHOWN).collect();
            writeln!(self.text, "> {}", shown.replace('\n', "\n> ")).expect("a string takes all");
        }
        writeln!(self.text, "< {}", answer.status).expect("a string takes all");
        let skipped = ["date", "content-length"];
        let mut lines: Vec<String> = answer
            .headers
            .iter()
            .filter(|(name, _)| !skipped.contains(&name.as_str()))
            .map(|(name, value)| format!("< {name}: {}", String::from_utf8_lossy(value.as_bytes())))
            .collect();
        lines.sort();
        for line in lines {
            writeln!(self.text, "{line}").expect("a string takes all");
        }
        let kind = answer.header("content-type").unwrap_or_default();
        let body = match kind {
            _ if path == "/metrics" => families(&answer.text()),
            "application/json" | "application/problem+json" => answer.text(),
            _ if answer.bytes.is_empty() => String::new(),
            _ => "{file}".to_owned(),
        };
        if !body.is_empty() {
            writeln!(self.text, "< {}", body.replace('\n', "\n< ")).expect("a string takes all");
        }
        self.asked.push((method, path.to_owned()));
    }

    /// Opens a stream in HTTP/1.0, where the body is not chunked.
    pub async fn open(&mut self, path: &str, headers: &[(&str, &str)]) -> Stream {
        let address = self.http.base().trim_start_matches("http://").to_owned();
        let mut socket = TcpStream::connect(&address).await.expect("connected");
        let lines: String =
            headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n{lines}\r\n");
        socket.write_all(request.as_bytes()).await.expect("sent");
        self.asked.push((Method::GET, path.to_owned()));
        Stream { socket, request, read: Vec::new() }
    }

    /// Records a stream's head and its first events, and closes it.
    pub async fn blocks(&mut self, mut stream: Stream, count: usize) {
        // The head ends with an empty line, and so does each event.
        let whole = |read: &[u8]| {
            let text = String::from_utf8_lossy(read).replace('\r', "");
            text.matches("\n\n").count() > count
        };
        let read = async {
            while !whole(&stream.read) {
                let byte = stream.socket.read_u8().await.expect("the stream goes on");
                stream.read.push(byte);
            }
        };
        within(LIMIT, "blocks of a stream", read).await;
        let (asked, given) = (stream.request.trim_end(), String::from_utf8_lossy(&stream.read));
        let quoted = |text: &str, mark: &str| -> String {
            let lines = text.lines().filter(|line| !line.starts_with("date: "));
            lines.map(|line| format!("{mark} {line}").trim_end().to_owned() + "\n").collect()
        };
        write!(self.text, "\n{}{}", quoted(asked, ">"), quoted(given.trim_end(), "<"))
            .expect("a string takes all");
    }

    /// The whole recording.
    pub fn transcript(&self) -> String {
        // Each request has an id of its own, which must not use up the numbers of other ids.
        let text = regex(r#"(x-request-id: |"request_id":")[^"\n]+"#)
            .replace_all(&self.text, "${1}{request}");
        let text = numbered(&text, r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", "uuid");
        let text = numbered(&text, r#""lease_token":"([^"]+)""#, "lease");
        let text = numbered(&text, r#""secret":"([^"]+)""#, "secret");
        let same = [
            (r"20[2-9]\d-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z", "{time}"),
            (r"127\.0\.0\.1:\d+", "{address}"),
            (r"etag: .*", "etag: {etag}"),
            (r"retry: \d+", "retry: {ms}"),
            (r#""version":"[^"]+""#, r#""version":"{version}""#),
        ];
        let text = same.iter().fold(text, |text, (pattern, name)| {
            regex(pattern).replace_all(&text, *name).into_owned()
        });
        let numbers = regex(&format!(r#""({VOLATILE})":[0-9.e-]+"#));
        numbers.replace_all(&text, r#""$1":{number}"#).into_owned()
    }
}

/// Replaces each value that a pattern (or its first group) matches with a name and number, everywhere in the
/// text.
fn numbered(text: &str, pattern: &str, name: &str) -> String {
    let mut found: Vec<&str> = Vec::new();
    for captures in regex(pattern).captures_iter(text) {
        let value = captures.get(1).or_else(|| captures.get(0)).expect("a match").as_str();
        if !found.contains(&value) {
            found.push(value);
        }
    }
    let any = found.iter().map(|value| regex::escape(value)).collect::<Vec<_>>().join("|");
    if found.is_empty() {
        return text.to_owned();
    }
    let replaced = regex(&any).replace_all(text, |captures: &Captures<'_>| {
        let number = found.iter().position(|value| *value == &captures[0]).expect("found") + 1;
        format!("{{{name} {number}}}")
    });
    replaced.into_owned()
}

/// The names and types of metrics, without their values.
fn families(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().filter(|line| line.starts_with("# TYPE ")).collect();
    lines.sort_unstable();
    lines.join("\n")
}

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a pattern")
}
