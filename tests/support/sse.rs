//! A strict reader of `/v1/stream`: every frame, in order, with its bytes.
//!
//! It reads ahead no more than the system's buffers take, so a reader that the test does not call is a slow
//! client.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::sse_frame::{Frame, Parser};

/// Time limit for the first frames of a stream.
const OPENING: Duration = Duration::from_secs(10);

/// An open stream. Dropped, the connection is closed.
pub struct Sse {
    response: reqwest::Response,
    parser: Parser,
    waiting: VecDeque<Frame>,
    last_event_id: Option<String>,
    seen: usize,
}

/// Why there is no frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The stream has ended, cleanly or with an error.
    Ended(Option<String>),
    /// The time limit has passed.
    Deadline,
}

/// The first event of a stream, `ready`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// The id of the event: the cursor that this stream starts from.
    pub id: u64,
    /// The last sequence of the log.
    pub head: u64,
    /// The first sequence that is kept.
    pub first: u64,
    /// Whether a replay follows, ended by `caught_up`.
    pub replaying: bool,
    /// The delay that the server asks for before a reconnect, in milliseconds.
    pub retry: u64,
}

impl Sse {
    /// Reads frames from a response with status 200.
    pub fn new(response: reqwest::Response) -> Self {
        let (parser, waiting) = (Parser::default(), VecDeque::new());
        Self { response, parser, waiting, last_event_id: None, seen: 0 }
    }

    /// A header of the response, if it is present.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// What a browser would send as `Last-Event-ID` now.
    pub fn last_event_id(&self) -> Option<u64> {
        self.last_event_id.as_ref()?.parse().ok()
    }

    /// The next frame, or why there is none.
    pub async fn try_next(&mut self, limit: Duration) -> Result<Frame, Stop> {
        self.next_by(Instant::now() + limit).await
    }

    /// The next frame; fails the test if there is none within `limit`.
    pub async fn next(&mut self, limit: Duration) -> Frame {
        self.try_next(limit).await.unwrap_or_else(|stop| self.fail("a frame", limit, &stop))
    }

    /// The next frame that is wanted, and all frames before it, in order; fails the test if there is none
    /// within `limit`.
    pub async fn until(
        &mut self,
        limit: Duration,
        mut wanted: impl FnMut(&Frame) -> bool,
    ) -> Vec<Frame> {
        let deadline = Instant::now() + limit;
        let mut frames = Vec::new();
        loop {
            match self.next_by(deadline).await {
                Ok(frame) => frames.push(frame),
                Err(stop) => self.fail(
                    &format!("a frame that is waited for, after {frames:?}"),
                    limit,
                    &stop,
                ),
            }
            if frames.last().is_some_and(&mut wanted) {
                return frames;
            }
        }
    }

    /// Reads the first frame of a stream, which must be `ready` with a `retry`.
    pub async fn expect_ready(&mut self) -> Ready {
        let frame = self.next(OPENING).await;
        let retry =
            frame.retry.unwrap_or_else(|| panic!("the first frame has no retry: {frame:?}"));
        assert!(frame.is("ready"), "the first frame is not ready: {frame:?}");
        let data = frame.json();
        let number =
            |name: &str| data[name].as_u64().unwrap_or_else(|| panic!("{name} of {frame:?}"));
        let replaying =
            data["replaying"].as_bool().unwrap_or_else(|| panic!("replaying of {frame:?}"));
        Ready { id: frame.seq(), head: number("head"), first: number("first"), replaying, retry }
    }

    /// The next `count` frames that carry a message, in order. Heartbeats, comments, `ready` and
    /// `caught_up` are skipped; any other frame, for example a `gap`, fails the test.
    pub async fn collect_messages(&mut self, count: usize, limit: Duration) -> Vec<Frame> {
        let deadline = Instant::now() + limit;
        let mut messages = Vec::with_capacity(count);
        while messages.len() < count {
            match self.next_by(deadline).await {
                Ok(frame) if frame.is_message() => messages.push(frame),
                Ok(Frame { data: None, .. }) => {}
                Ok(frame) if frame.is("ready") || frame.is("caught_up") => {}
                Ok(frame) => panic!("among {count} messages, after {}: {frame:?}", messages.len()),
                Err(stop) => {
                    self.fail(&format!("{count} messages, {} came", messages.len()), limit, &stop)
                }
            }
        }
        messages
    }

    /// Like [`Sse::collect_messages`], but returns the data as JSON.
    pub async fn collect_json(&mut self, count: usize, limit: Duration) -> Vec<Value> {
        self.collect_messages(count, limit).await.iter().map(Frame::json).collect()
    }

    /// Fails the test if a frame with an event or data comes, or the stream ends, before `period` is
    /// over.
    pub async fn expect_silence(&mut self, period: Duration) {
        let deadline = Instant::now() + period;
        loop {
            match self.next_by(deadline).await {
                Ok(Frame { data: None, .. }) => {}
                Ok(frame) => panic!("not silent: {frame:?}"),
                Err(Stop::Deadline) => return,
                Err(stop) => self.fail("silence", period, &stop),
            }
        }
    }

    /// Waits until the server ends the stream, and returns the frames that came before.
    pub async fn expect_end(&mut self, limit: Duration) -> Vec<Frame> {
        let deadline = Instant::now() + limit;
        let mut frames = Vec::new();
        loop {
            match self.next_by(deadline).await {
                Ok(frame) => frames.push(frame),
                Err(Stop::Ended(_)) => return frames,
                Err(stop) => self.fail("the end of the stream", limit, &stop),
            }
        }
    }

    async fn next_by(&mut self, deadline: Instant) -> Result<Frame, Stop> {
        loop {
            if let Some(frame) = self.waiting.pop_front() {
                self.seen += 1;
                if frame.id.is_some() {
                    self.last_event_id.clone_from(&frame.id);
                }
                return Ok(frame);
            }
            match timeout_at(deadline, self.response.chunk()).await {
                Err(_) => return Err(Stop::Deadline),
                Ok(Ok(Some(chunk))) => self.waiting.extend(self.parser.push(&chunk)),
                Ok(Ok(None)) => return Err(Stop::Ended(None)),
                Ok(Err(error)) => return Err(Stop::Ended(Some(format!("{error:?}")))),
            }
        }
    }

    fn fail(&self, waited_for: &str, limit: Duration, stop: &Stop) -> ! {
        let (url, seen, id) = (self.response.url(), self.seen, &self.last_event_id);
        panic!(
            "{url}: within {limit:?}: {waited_for}: {stop:?}; {seen} frames so far, last event id {id:?}"
        )
    }
}
