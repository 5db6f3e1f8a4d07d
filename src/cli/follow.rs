//! A stream that is followed through every loss of its connection.
//!
//! Invariant: each sequence that the stream owes is given exactly once and in
//! order, however often the connection is lost.

use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{RequestBuilder, Response};
use serde::Deserialize;

use super::backoff::Backoff;
use super::client::Client;
use super::cursor::{Cursor, Position, Start};
use super::failure::Failure;
use super::limits::STREAM_SILENCE;
use super::output::plain;
use super::refusal::Refusal;
use super::sse::{Block, Parser};

/// What a stream gives.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// A message, as the server sent it.
    Message(Vec<u8>),
    /// Messages that nobody holds any more, bounds inclusive.
    Gap(Gap),
    /// Everything older than this moment has been given.
    CaughtUp,
}

/// The data of a `gap` event.
#[derive(Debug, Deserialize, PartialEq, Eq)]
pub struct Gap {
    from: u64,
    to: u64,
    #[serde(default)]
    reason: String,
}

#[derive(Deserialize)]
struct Ready {
    #[serde(default)]
    replaying: bool,
}

/// One stream across its connections.
#[derive(Debug)]
pub struct Follow {
    client: Client,
    query: Vec<(&'static str, String)>,
    cursor: Cursor,
    connection: Option<(Response, Parser)>,
    backoff: Backoff,
    /// Whether a connection ever became ready: from then on, never give up.
    was_ready: bool,
    /// Whether the present outage was told.
    outage_told: bool,
    retry: Duration,
}

impl std::fmt::Display for Gap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let reason = match self.reason.as_str() {
            "expired" => "older than what is kept".to_owned(),
            "abandoned" => "left behind on another bus".to_owned(),
            "ahead_of_log" => "beyond the end of this log; is it another deployment?".to_owned(),
            other => plain(other),
        };
        write!(f, "gap: nobody holds {} to {} ({reason})", self.from, self.to)
    }
}

impl Follow {
    /// A stream of what passes the filter parameters in `query`.
    #[must_use]
    pub fn new(client: Client, query: Vec<(&'static str, String)>, start: Start) -> Self {
        Self {
            backoff: Backoff::trying_for(client.retry_for()),
            client,
            query,
            cursor: Cursor::new(start),
            connection: None,
            was_ready: false,
            outage_told: false,
            retry: Duration::from_secs(2),
        }
    }

    /// The next events, at least one; waits for them however long it takes.
    ///
    /// # Errors
    /// The server refuses the stream, or was never reached.
    pub async fn next(&mut self) -> Result<Vec<Event>, Failure> {
        loop {
            let Some((answer, parser)) = &mut self.connection else {
                self.connect().await?;
                continue;
            };
            let chunk = match tokio::time::timeout(STREAM_SILENCE, answer.chunk()).await {
                Ok(Ok(Some(chunk))) => chunk,
                Ok(_) => {
                    self.lost("the connection ended").await;
                    continue;
                }
                Err(_) => {
                    self.lost("the connection fell silent").await;
                    continue;
                }
            };
            let mut blocks = Vec::new();
            let fed = parser.feed(&chunk, &mut blocks);
            self.retry = parser.retry().unwrap_or(self.retry);
            let mut events = Vec::with_capacity(blocks.len());
            for block in blocks {
                self.take(block, &mut events)?;
            }
            if fed.is_err() {
                return Err(Failure::Failed("an event is larger than any can be".to_owned()));
            }
            if !events.is_empty() {
                return Ok(events);
            }
        }
    }

    fn take(&mut self, block: Block, events: &mut Vec<Event>) -> Result<(), Failure> {
        let id = match &block.id {
            Some(id) => Some(id.parse::<u64>().map_err(|_| strange(&block.event))?),
            None => None,
        };
        match (block.event.as_str(), id, block.data) {
            ("ready", Some(id), Some(data)) => {
                let ready: Ready = parsed("ready", &data)?;
                self.ready(id);
                if !ready.replaying {
                    events.push(Event::CaughtUp);
                }
            }
            ("gap", None, Some(data)) => events.push(Event::Gap(parsed("gap", &data)?)),
            ("caught_up", None, _) => events.push(Event::CaughtUp),
            // Whatever has an id of its own is a message, of whatever kind.
            (_, Some(id), Some(data)) => {
                if self.cursor.pass(id) {
                    events.push(Event::Message(data));
                }
            }
            (_, Some(id), None) => {
                self.cursor.pass(id);
            }
            (_, None, _) => {}
        }
        Ok(())
    }

    fn ready(&mut self, id: u64) {
        self.cursor.ready(id);
        if self.outage_told {
            self.client.notice("connected again");
        }
        self.was_ready = true;
        self.outage_told = false;
        self.backoff = Backoff::trying_for(Duration::MAX);
    }

    /// Ends the connection, and waits part of the time that the server asked for.
    async fn lost(&mut self, why: &str) {
        self.connection = None;
        if !self.outage_told {
            self.client.notice(&format!("{why}; connecting again"));
            self.outage_told = true;
        }
        let wait = self.retry.mul_f64(0.5 + fastrand::f64() / 2.0);
        let slowest = self.backoff.next_wait(Some(wait));
        tokio::time::sleep(slowest.unwrap_or(wait)).await;
    }

    async fn connect(&mut self) -> Result<(), Failure> {
        loop {
            let (refusal, asked_for) = match self.client.open(self.request()).await {
                Ok(answer) if is_event_stream(&answer) => {
                    self.connection = Some((answer, Parser::default()));
                    return Ok(());
                }
                Ok(_) => {
                    return Err(Failure::Failed("the server sends no event stream".to_owned()));
                }
                Err((refusal, _)) if !refusal.is_passing() => return Err(refusal.into()),
                Err(passing) => passing,
            };
            self.wait(&refusal, asked_for).await?;
        }
    }

    async fn wait(
        &mut self,
        refusal: &Refusal,
        asked_for: Option<Duration>,
    ) -> Result<(), Failure> {
        let Some(wait) = self.backoff.next_wait(asked_for) else {
            return Err(Failure::Failed(refusal.words()));
        };
        if !self.outage_told {
            self.client.notice(&format!("{}; trying again", refusal.words()));
            self.outage_told = true;
        }
        tokio::time::sleep(wait).await;
        Ok(())
    }

    fn request(&self) -> RequestBuilder {
        let mut query = self.query.clone();
        let resume = match self.cursor.position() {
            Position::Start(start) => {
                query.push(("from", start.to_string()));
                None
            }
            Position::After(seq) => Some(seq),
        };
        let request = self.client.get("/v1/stream", &query).header(ACCEPT, "text/event-stream");
        match resume {
            Some(seq) => request.header("last-event-id", seq.to_string()),
            None => request,
        }
    }
}

fn is_event_stream(answer: &Response) -> bool {
    let media = answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    media.is_some_and(|media| media.trim_start().starts_with("text/event-stream"))
}

fn parsed<'a, T: Deserialize<'a>>(event: &str, data: &'a [u8]) -> Result<T, Failure> {
    serde_json::from_slice(data).map_err(|_| strange(event))
}

fn strange(event: &str) -> Failure {
    Failure::Failed(format!("the server sent an event that cannot be read: {}", plain(event)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follow(start: Start) -> Follow {
        let client = Client::new("http://127.0.0.1:1", Duration::ZERO).expect("a client").quiet();
        Follow::new(client, Vec::new(), start)
    }

    fn feed(follow: &mut Follow, stream: &str) -> Vec<Event> {
        let (mut blocks, mut events) = (Vec::new(), Vec::new());
        Parser::default().feed(stream.as_bytes(), &mut blocks).expect("small");
        for block in blocks {
            follow.take(block, &mut events).expect("readable");
        }
        events
    }

    fn message(data: &str) -> Event {
        Event::Message(data.as_bytes().to_vec())
    }

    const READY_4: &str =
        "retry: 2000\n\nid: 4\nevent: ready\ndata: {\"head\":9,\"first\":1,\"replaying\":true}\n\n";

    #[test]
    fn gives_each_sequence_once_across_connections() {
        let mut stream = follow(Start::At(5));
        assert_eq!(feed(&mut stream, READY_4), []);
        assert_eq!(feed(&mut stream, "id: 5\nevent: task\ndata: five\n\n"), [message("five")]);
        assert_eq!(stream.cursor.position(), Position::After(5));
        let again = "id: 5\nevent: ready\ndata: {\"replaying\":false}\n\nid: 5\ndata: five\n\nid: 6\ndata: six\n\n";
        assert_eq!(feed(&mut stream, again), [Event::CaughtUp, message("six")]);
        assert_eq!(feed(&mut stream, "id: 40\n\n"), []);
        assert_eq!(stream.cursor.position(), Position::After(40));
    }

    #[test]
    fn control_events_move_no_cursor() {
        let mut stream = follow(Start::Beginning);
        let events = feed(
            &mut stream,
            &format!(
                "{READY_4}event: gap\ndata: {{\"from\":1,\"to\":4,\"reason\":\"expired\"}}\n\nevent: caught_up\ndata: {{\"seq\":9}}\n\nevent: news\ndata: x\n\n"
            ),
        );
        assert!(matches!(&events[..], [Event::Gap(gap), Event::CaughtUp] if gap.to == 4));
        assert_eq!(stream.cursor.position(), Position::After(4));
    }
}
