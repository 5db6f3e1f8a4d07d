//! A subscription to the stream that survives the loss of connections.
//!
//! Invariant: every message that the subscription selects is reported exactly once and in order, however
//! often the connection is lost. Only a `denied` event ends the subscription: its credential is no longer valid.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use reqwest::Response;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use serde::Deserialize;

use crate::backoff::Backoff;
use crate::client::Client;
use crate::cursor::{Cursor, Position, Start};
use crate::document::Document;
use crate::error::Error;
use crate::filter::Query;
use crate::limits::RECONNECT;
use crate::message::Message;
use crate::notice::Notice;
use crate::sse::{self, Parser};

/// What [`Subscription::next`] reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A message was published.
    Message(Document<Message>),
    /// Sequences that the subscription asked for and that neither bus nor store holds.
    Gap(Gap),
    /// All messages that were stored when the connection began have been reported. Those that follow are
    /// live.
    CaughtUp,
}

/// A range of sequences that readers cannot get any more.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Gap {
    /// The first missing sequence.
    pub from: u64,
    /// The last missing sequence.
    pub to: u64,
    /// Why they are missing: `expired`, `abandoned` or `ahead_of_log` (contract, section 4).
    #[serde(default)]
    pub reason: String,
}

#[derive(Deserialize)]
struct Denied {
    code: String,
}

#[derive(Deserialize)]
struct Ready {
    #[serde(default)]
    replaying: bool,
}

/// A subscription to `/v1/stream`.
#[derive(Debug)]
pub struct Subscription {
    client: Client,
    query: Query,
    cursor: Cursor,
    connection: Option<Response>,
    /// The parser of the current connection.
    parser: Parser,
    backoff: Backoff,
    /// Whether the current outage was reported.
    outage_reported: bool,
    /// The longest first wait before a reconnect: what the server asks for.
    reconnect: Duration,
    /// What was read and not returned.
    ready: VecDeque<Event>,
    /// The last gap that was reported. A connection that was lost right after it tells it again.
    last_gap: Option<Gap>,
    /// Whether a connection was ever ready: from then on, there is no time limit for retries.
    was_ready: bool,
    /// The code of the `denied` event that has ended the subscription.
    denied: Option<String>,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = match self.reason.as_str() {
            "expired" => "older than what is kept",
            "abandoned" => "left behind on another bus",
            "ahead_of_log" => "beyond the end of this log; is it another deployment?",
            other => other,
        };
        write!(f, "gap: no messages from {} to {} ({reason})", self.from, self.to)
    }
}

impl Client {
    /// Streams the messages that pass the filter (contract, section 5), from `start` on, for ever: the connection is
    /// resumed whenever it is lost. Sends nothing before the first [`Subscription::next`].
    #[must_use]
    pub fn stream(&self, filter: impl Into<Query>, start: Start) -> Subscription {
        Subscription {
            backoff: self.backoff(),
            client: self.clone(),
            query: filter.into(),
            cursor: Cursor::new(start),
            connection: None,
            parser: Parser::default(),
            outage_reported: false,
            reconnect: RECONNECT,
            ready: VecDeque::new(),
            last_gap: None,
            was_ready: false,
            denied: None,
        }
    }
}

impl Subscription {
    /// Waits for the next event. The wait has no time limit, and the connection is resumed whenever it is lost. A caller
    /// that is slow is no problem: nothing is read ahead but what one read of the connection completed.
    ///
    /// Cancel safe: events that were not returned are reported by the next call.
    ///
    /// # Errors
    /// The server refuses the stream, or was never reached in the time for which the client retries. After the first
    /// connection there is no time limit for retries. [`Error::Denied`] once the server has ended the stream because the
    /// credential was revoked or has expired; then the client does not reconnect, and each further call returns that
    /// error.
    pub async fn next(&mut self) -> Result<Event, Error> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            let events = self.read().await?;
            self.ready.extend(events);
        }
    }

    /// Waits for the next events: at least one, and all those that one read of the connection completes. For output that
    /// is flushed when there is nothing more to write.
    ///
    /// Cancel safe, as [`Subscription::next`].
    ///
    /// # Errors
    /// As [`Subscription::next`].
    pub async fn next_many(&mut self) -> Result<Vec<Event>, Error> {
        if self.ready.is_empty() {
            return self.read().await;
        }
        Ok(std::mem::take(&mut self.ready).into())
    }

    /// The sequence up to which every message was returned or filtered out; `None` before the first connection. A later
    /// stream goes on after it with [`Start::After`].
    #[must_use]
    pub fn position(&self) -> Option<u64> {
        match self.cursor.position() {
            Position::Start(_) => None,
            Position::After(seq) => Some(seq),
        }
    }

    async fn read(&mut self) -> Result<Vec<Event>, Error> {
        loop {
            if let Some(code) = &self.denied {
                self.connection = None;
                return Err(Error::Denied(code.clone()));
            }
            let Some(response) = &mut self.connection else {
                self.connect().await?;
                continue;
            };
            let chunk = match tokio::time::timeout(self.client.silence, response.chunk()).await {
                Ok(Ok(Some(chunk))) => chunk,
                Ok(_) => {
                    self.disconnected("the connection ended").await?;
                    continue;
                }
                Err(_) => {
                    self.disconnected("the server sent no heartbeat").await?;
                    continue;
                }
            };
            let events = self.events(&chunk)?;
            if !events.is_empty() {
                return Ok(events);
            }
        }
    }

    fn events(&mut self, chunk: &[u8]) -> Result<Vec<Event>, Error> {
        let (mut events, mut failed) = (Vec::new(), None);
        let mut parser = std::mem::take(&mut self.parser);
        let fed = parser.feed(chunk, |event| match self.event(&event) {
            Ok(event) => events.extend(event),
            Err(error) => failed = failed.take().or(Some(error)),
        });
        self.parser = parser;
        match (failed, fed) {
            (Some(error), _) => Err(error),
            (None, Err(too_large)) => Err(Error::Unexpected(too_large.to_string())),
            (None, Ok(())) => Ok(events),
        }
    }

    fn event(&mut self, event: &sse::Event<'_>) -> Result<Option<Event>, Error> {
        if let Some(retry) = event.retry {
            self.reconnect = retry;
            self.backoff.set_base(retry);
        }
        let seq = event.seq();
        if event.id.is_some() && seq.is_none() {
            return Err(unreadable(event.name));
        }
        Ok(match (event.name, seq, event.data) {
            (b"ready", Some(seq), Some(data)) => {
                let ready: Ready = parsed(event.name, data)?;
                self.began(seq);
                (!ready.replaying).then_some(Event::CaughtUp)
            }
            (b"gap", None, Some(data)) => self.gap(parsed(event.name, data)?),
            (b"caught_up", None, Some(_)) => Some(Event::CaughtUp),
            (b"denied", None, Some(data)) => {
                let denied: Denied = parsed(event.name, data)?;
                self.denied = Some(denied.code);
                None
            }
            // An event with an id is a message of any kind, or, if it has no data, a heartbeat.
            (_, Some(seq), data) => {
                let is_new = self.cursor.pass(seq);
                data.filter(|_| is_new)
                    .map(|data| Event::Message(Document::new(Bytes::copy_from_slice(data))))
            }
            (_, None, _) => None,
        })
    }

    fn gap(&mut self, gap: Gap) -> Option<Event> {
        let is_new = self.last_gap.as_ref() != Some(&gap);
        self.last_gap = Some(gap.clone());
        is_new.then_some(Event::Gap(gap))
    }

    fn began(&mut self, seq: u64) {
        self.cursor.ready(seq);
        self.was_ready = true;
        if std::mem::take(&mut self.outage_reported) {
            self.client.notify(&Notice::Reconnected);
        }
        self.backoff = Backoff::new(Duration::MAX);
        self.backoff.set_base(self.reconnect);
    }

    /// Waits before a reconnect: up to the time that the server asked for, longer if the connection is lost again and
    /// again.
    async fn disconnected(&mut self, reason: &str) -> Result<(), Error> {
        self.connection = None;
        let Some(wait) = self.backoff.next_wait(None) else {
            let detail = format!("{}: {reason}", self.client.address());
            return Err(Error::Unreachable { detail, maybe_sent: true });
        };
        if !std::mem::replace(&mut self.outage_reported, true) {
            self.client.notify(&Notice::Disconnected(reason));
        }
        tokio::time::sleep(wait).await;
        Ok(())
    }

    async fn connect(&mut self) -> Result<(), Error> {
        if !self.was_ready && self.backoff.is_first() {
            self.backoff = self.client.backoff();
        }
        loop {
            let error = match self.open().await {
                Ok(response) => {
                    self.connection = Some(response);
                    self.parser = Parser::default();
                    self.client.check_version().await;
                    return Ok(());
                }
                Err(error) if error.is_transient() || self.was_ready && is_fault(&error) => error,
                Err(error) => return Err(error),
            };
            let Some(wait) = self.backoff.next_wait(error.retry_after()) else {
                return Err(error);
            };
            if !std::mem::replace(&mut self.outage_reported, true) {
                self.client.notify(&Notice::Retrying(&error));
            }
            tokio::time::sleep(wait).await;
        }
    }

    async fn open(&self) -> Result<Response, Error> {
        let mut query = self.query.clone();
        let resume = match self.cursor.position() {
            Position::Start(start) => {
                query.push(("from", start.to_string()));
                None
            }
            Position::After(seq) => Some(seq),
        };
        let mut request = self.client.get("/v1/stream", &query).header(ACCEPT, "text/event-stream");
        if let Some(seq) = resume {
            request = request.header("last-event-id", seq);
        }
        let response = self.client.open(request).await?;
        let media = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if media.is_some_and(|media| media.trim_start().starts_with("text/event-stream")) {
            Ok(response)
        } else {
            Err(Error::Unexpected("the response is not an event stream".to_owned()))
        }
    }
}

/// Whether a server, or a proxy in front of it, failed in a way that says nothing about the request.
fn is_fault(error: &Error) -> bool {
    error.problem().is_some_and(|problem| problem.status >= 500)
}

fn parsed<'a, T: Deserialize<'a>>(event: &[u8], data: &'a [u8]) -> Result<T, Error> {
    serde_json::from_slice(data).map_err(|_| unreadable(event))
}

fn unreadable(event: &[u8]) -> Error {
    let event = String::from_utf8_lossy(event);
    Error::Unexpected(format!("the server sent an event that cannot be read: {event}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscription(start: Start) -> Subscription {
        Client::new("http://127.0.0.1:1").expect("a client").stream(Vec::new(), start)
    }

    fn feed(subscription: &mut Subscription, stream: &str) -> Vec<Event> {
        subscription.parser = Parser::default();
        subscription.events(stream.as_bytes()).expect("readable")
    }

    fn message(data: &str) -> Event {
        Event::Message(Document::new(Bytes::copy_from_slice(data.as_bytes())))
    }

    const READY_4: &str =
        "retry: 2000\n\nid: 4\nevent: ready\ndata: {\"head\":9,\"first\":1,\"replaying\":true}\n\n";

    #[test]
    fn reports_each_sequence_once_across_connections() {
        let mut stream = subscription(Start::At(5));
        assert_eq!(feed(&mut stream, READY_4), []);
        assert_eq!(feed(&mut stream, "id: 5\nevent: task\ndata: five\n\n"), [message("five")]);
        assert_eq!(stream.cursor.position(), Position::After(5));
        let again = "id: 5\nevent: ready\ndata: {\"replaying\":false}\n\nid: 5\ndata: five\n\nid: 6\ndata: six\n\n";
        assert_eq!(feed(&mut stream, again), [Event::CaughtUp, message("six")]);
        assert_eq!(feed(&mut stream, "id: 40\n\n"), []);
        assert_eq!(stream.cursor.position(), Position::After(40));
    }

    #[tokio::test]
    async fn a_denied_event_ends_the_subscription_after_what_came_before() {
        let mut stream = subscription(Start::At(5));
        let last =
            "id: 5\nevent: task\ndata: five\n\nevent: denied\ndata: {\"code\":\"revoked\"}\n\n";
        assert_eq!(feed(&mut stream, last), [message("five")]);
        for _ in 0..2 {
            // A connection would be refused with another error.
            let error = stream.next().await.expect_err("denied");
            assert_eq!(
                (&error, error.code()),
                (&Error::Denied("revoked".to_owned()), Some("revoked"))
            );
            assert!(!error.is_transient());
        }
        assert_eq!(stream.cursor.position(), Position::After(5));
    }

    #[test]
    fn control_events_move_no_cursor() {
        let mut stream = subscription(Start::Beginning);
        let events = feed(
            &mut stream,
            &format!(
                "{READY_4}event: gap\ndata: {{\"from\":1,\"to\":4,\"reason\":\"expired\"}}\n\nevent: caught_up\ndata: {{\"seq\":9}}\n\nevent: news\ndata: x\n\n"
            ),
        );
        assert!(matches!(&events[..], [Event::Gap(gap), Event::CaughtUp] if gap.to == 4));
        let again = "event: gap\ndata: {\"from\":1,\"to\":4,\"reason\":\"expired\"}\n\n";
        assert_eq!(feed(&mut stream, again), []);
        assert_eq!(stream.cursor.position(), Position::After(4));
    }
}
