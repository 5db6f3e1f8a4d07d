//! Reads the stream in order, without end.
//!
//! Invariant: what [`Reader::next`] returns begins right after what it returned before.
//! [`StreamReader::position`] alone decides that. There are two ways of reading: a session of a consumer, or
//! entry by entry. Both start at the position, and are dropped in case of doubt.
//!
//! **Entry by entry.** A foreign publisher (a NATS client that is not agentbus) can store entries that
//! async-nats 0.51 cannot read: a subject or header that is not UTF-8, a header name that is not ASCII, an
//! invalid status line. Each delivery of such an entry breaks the client's connection (or, with a lone CR in
//! a header value, makes its task panic). So after the reading connection broke, the next entries are fetched
//! with `STREAM.MSG.GET`, whose response is JSON, over the other connection. After an ordinary break that
//! costs little.

mod context;
mod session;

use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::Instant;

pub(super) use context::ReaderContext;
use session::{Event, Session};

use super::error::ApiError;
use super::pull::{PullError, Retry};
use crate::bus::{BusError, Reader};
use crate::limits::{
    NATS_READ_BYTES, NATS_READ_MESSAGES, NATS_READER_RETRY_LONGEST, NATS_STEPS_AFTER_BREAK,
};
use crate::message::LogEntry;

/// A request in progress. It is kept across calls of [`Reader::next`], so that a caller that often cancels a
/// call does not start it anew each time.
type Request = Pin<Box<dyn Future<Output = Response> + Send>>;

enum Response {
    Session(Result<Box<Session>, PullError>),
    /// The next entry. `idle` says why it was requested: true if the session had delivered nothing for a
    /// while, false to read past an entry that breaks the connection.
    Entry {
        fetched: Result<Option<LogEntry>, ApiError>,
        idle: bool,
    },
}

/// A reader with a position. When it is dropped, the server removes its consumer after
/// [`crate::limits::NATS_CONSUMER_IDLE`]; no task is spawned for that.
pub(super) struct StreamReader {
    context: Arc<ReaderContext>,
    /// The last sequence that was returned or skipped.
    position: u64,
    session: Option<Box<Session>>,
    /// While there is one, the position does not change.
    request: Option<Request>,
    /// How many entries to fetch one by one before the next session.
    steps: u32,
    /// When the last session was opened.
    opened: Option<Instant>,
    retry: Retry,
}

impl StreamReader {
    pub(super) fn new(context: Arc<ReaderContext>, from: u64) -> Self {
        Self {
            context,
            position: from.max(1) - 1,
            session: None,
            request: None,
            steps: 0,
            opened: None,
            retry: Retry::default(),
        }
    }

    /// Does one step. Cancel safe: a request goes on at the next call, and entries of a session are returned
    /// without a further wait.
    async fn advance(&mut self) -> Result<Vec<LogEntry>, PullError> {
        self.retry.due().await;
        if let Some(request) = &mut self.request {
            let response = request.await;
            self.request = None;
            return self.take(response);
        }
        let Some(session) = &mut self.session else {
            self.request = Some(if self.steps > 0 { self.fetch(false) } else { self.open() });
            return Ok(Vec::new());
        };
        match session.wait().await? {
            Event::Entry(first) => {
                let (mut entries, mut bytes) = (vec![first], 0);
                while entries.len() < NATS_READ_MESSAGES
                    && bytes < NATS_READ_BYTES
                    && let Some(entry) = session.ready_entry()
                {
                    bytes += entry.payload.len();
                    entries.push(entry);
                }
                return Ok(self.accept(entries));
            }
            Event::Heartbeat => self.resume(),
            // The stream may hold entries that the consumer missed.
            Event::Idle => self.request = Some(self.fetch(true)),
            Event::TooLong => {
                self.session = None;
                self.steps = 1;
            }
        }
        Ok(Vec::new())
    }

    fn take(&mut self, response: Response) -> Result<Vec<LogEntry>, PullError> {
        match response {
            Response::Session(session) => {
                self.session = Some(session?);
                self.opened = Some(Instant::now());
            }
            Response::Entry { fetched: Ok(Some(entry)), .. } => {
                // The stream has an entry that the session did not deliver, so the session is dropped.
                self.session = None;
                self.steps = self.steps.saturating_sub(1);
                return Ok(self.accept(vec![entry]));
            }
            Response::Entry { fetched: Ok(None), .. } => self.steps = 0,
            // If JetStream cannot be reached, missing heartbeats will end the session.
            Response::Entry { fetched: Err(_), idle: true } => {}
            Response::Entry { fetched: Err(error), idle: false } => return Err(error.into()),
        }
        Ok(Vec::new())
    }

    fn open(&self) -> Request {
        let (context, from) = (self.context.clone(), self.position + 1);
        Box::pin(
            async move { Response::Session(Session::open(&context, from).await.map(Box::new)) },
        )
    }

    fn fetch(&self, idle: bool) -> Request {
        let (context, from) = (self.context.clone(), self.position + 1);
        Box::pin(async move {
            let fetched = context.requester.entry_from(&context.stream, from).await;
            Response::Entry { fetched, idle }
        })
    }

    /// Drops the entries at or below the position, and moves the position. If a consumer is created for a
    /// sequence that the stream has not reached, it starts earlier.
    fn accept(&mut self, mut entries: Vec<LogEntry>) -> Vec<LogEntry> {
        entries.retain(|entry| {
            let beyond = entry.seq > self.position;
            self.position = self.position.max(entry.seq);
            beyond
        });
        if !entries.is_empty() {
            self.resume();
        }
        entries
    }

    fn resume(&mut self) {
        self.context.connection.answered();
        if !self.is_young() {
            self.retry.reset();
        }
        if self.retry.resume() {
            let (stream, position) = (&self.context.stream, self.position);
            tracing::info!(stream, position, "reading the stream again");
        }
    }

    /// Whether the last session was opened only a moment ago.
    fn is_young(&self) -> bool {
        self.opened.is_some_and(|at| at.elapsed() < NATS_READER_RETRY_LONGEST)
    }

    /// Drops the session, and decides when and how to continue.
    fn interrupt(&mut self, error: &PullError) {
        self.session = None;
        let delayed = match error {
            PullError::Disconnected => {
                self.steps = NATS_STEPS_AFTER_BREAK;
                self.retry.is_interrupted()
            }
            // If one session after another ends early, they leave many consumers on the server. So this
            // pauses first.
            PullError::Lost(_) => self.is_young(),
            PullError::Deleted => {
                // The stream may be deleted too. It may soon exist again and end earlier, so the continuity
                // check must run before the next publish.
                self.context.suspicions.send_modify(|count| *count += 1);
                self.is_young()
            }
            PullError::Unavailable(_) | PullError::Refused(_) => true,
        };
        if delayed {
            self.retry.delay();
        }
        if self.retry.interrupt() {
            let (stream, position) = (&self.context.stream, self.position);
            tracing::warn!(stream, position, reason = %error, "reading the stream was interrupted; it is retried");
        }
    }
}

#[async_trait]
impl Reader for StreamReader {
    /// # Errors
    /// A request that JetStream refuses, such as for a consumer on a stream that does not exist. The next
    /// call tries again after a pause. While the bus cannot be reached, this waits.
    async fn next(&mut self) -> Result<Vec<LogEntry>, BusError> {
        loop {
            match self.advance().await {
                Ok(entries) if entries.is_empty() => {}
                Ok(entries) => return Ok(entries),
                Err(error) => {
                    self.interrupt(&error);
                    match error {
                        PullError::Refused(error) => return Err(error.into()),
                        PullError::Lost(_) => self.context.connection.unanswered().await,
                        PullError::Disconnected
                        | PullError::Deleted
                        | PullError::Unavailable(_) => {}
                    }
                }
            }
        }
    }
}
