//! Reads the stream in order, for ever.
//!
//! Invariant: what [`Reader::next`] returns begins right after what it returned before.
//! [`StreamReader::position`] alone decides that: every way of reading (a session of a consumer, or entry by
//! entry) starts there and is dropped when in doubt.
//!
//! **Entry by entry.** A foreign publisher can store what async-nats 0.51 cannot read: a subject or header
//! that is not UTF-8, a header name that is not ASCII, an odd status line. The client then breaks its
//! connection at every delivery (or its task panics: a lone CR in a header value). So after the reading
//! connection broke, the next entries are fetched with `STREAM.MSG.GET`, whose response is JSON, over the
//! other connection. After an ordinary break that costs next to nothing.

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

/// A request in progress. It is kept across calls of [`Reader::next`]: a caller that often stops waiting must
/// not start it anew each time.
type Request = Pin<Box<dyn Future<Output = Response> + Send>>;

enum Response {
    Session(Result<Box<Session>, PullError>),
    /// The next entry. `idle`: requested because none had come, and not to step over what breaks the
    /// connection.
    Entry {
        fetched: Result<Option<LogEntry>, ApiError>,
        idle: bool,
    },
}

/// A reader at a position. The server removes the consumer of a dropped reader after
/// [`crate::limits::NATS_CONSUMER_IDLE`]; no task is spawned to do it.
pub(super) struct StreamReader {
    context: Arc<ReaderContext>,
    /// The last sequence that was returned, or that is not wanted.
    position: u64,
    session: Option<Box<Session>>,
    /// The position does not change while there is one.
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

    /// One step. Cancel safe: requests go on at the next call, and entries of a session are returned without
    /// a further wait.
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
            // The consumer may have missed entries that the stream holds.
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
                // The session did not deliver an entry that the stream has: it is of no use any more.
                self.session = None;
                self.steps = self.steps.saturating_sub(1);
                return Ok(self.accept(vec![entry]));
            }
            Response::Entry { fetched: Ok(None), .. } => self.steps = 0,
            // If JetStream cannot be reached, heartbeats will be missing.
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

    /// The entries beyond the position. A consumer that was created for a sequence that the stream has not
    /// reached starts earlier.
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

    /// Whether the last session was opened just now.
    fn is_young(&self) -> bool {
        self.opened.is_some_and(|at| at.elapsed() < NATS_READER_RETRY_LONGEST)
    }

    /// Drops the session and decides when and how to go on.
    fn interrupt(&mut self, error: &PullError) {
        self.session = None;
        let delayed = match error {
            PullError::Disconnected => {
                self.steps = NATS_STEPS_AFTER_BREAK;
                self.retry.is_interrupted()
            }
            // Sessions that end early in a row would leave many consumers on the server.
            PullError::Lost(_) => self.is_young(),
            PullError::Deleted => {
                // Perhaps with its stream, which may exist again in a moment and end earlier: the continuity
                // check must come before the next publish.
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
    /// What JetStream refuses outright, such as a consumer on a stream that does not exist. Another call
    /// tries again, after a pause. An unreachable bus is waited for.
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
