//! Reads the stream in order, for ever.
//!
//! Invariant: what [`Reader::next`] returns begins right after what it returned before:
//! [`StreamReader::position`] alone decides, and every way of reading (a consumer's
//! session, or entry by entry) starts at the position and is dropped when in doubt.
//!
//! **Entry by entry.** A foreign publisher can store what async-nats 0.51 cannot
//! read: a subject or header that is not UTF-8, a header name that is not ASCII, an odd
//! status line. The client then breaks its connection, at every delivery anew (or
//! its task panics: a lone CR in a header value). So after every break of the
//! reading connection the next entries are fetched by `STREAM.MSG.GET`, whose
//! answer is JSON, over the other connection. After an ordinary break that costs
//! next to nothing.

mod session;

use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::Instant;

pub(super) use session::PullError;
use session::Session;

use super::error::ApiError;
use super::read_connection::ReadConnection;
use super::requester::Requester;
use crate::backoff::Backoff;
use crate::bus::{BusError, Reader};
use crate::limits::{
    NATS_READ_BYTES, NATS_READ_MESSAGES, NATS_READER_RETRY_FIRST, NATS_READER_RETRY_LONGEST,
    NATS_STEPS_AFTER_BREAK,
};
use crate::message::LogEntry;

/// What all readers of one bus share.
pub(super) struct ReaderContext {
    pub requester: Arc<Requester>,
    pub link: Arc<ReadConnection>,
    pub stream: String,
    /// Counted up when the stream may have become another one.
    pub suspicions: Arc<watch::Sender<u64>>,
}

/// Kept across calls of [`Reader::next`]: a caller that often stops waiting must not
/// start it anew each time.
type Question = Pin<Box<dyn Future<Output = Answer> + Send>>;

enum Answer {
    Session(Result<Box<Session>, PullError>),
    /// The next entry, asked for because none had come (`idle`) or to step over what breaks us.
    Entry {
        fetched: Result<Option<LogEntry>, ApiError>,
        idle: bool,
    },
}

/// A reader at a position. Its consumer, when dropped, is removed by the server
/// ([`crate::limits::NATS_CONSUMER_IDLE`]): no task is spawned to do it.
pub(super) struct StreamReader {
    shared: Arc<ReaderContext>,
    /// The last sequence that was returned, or that is not wanted.
    position: u64,
    session: Option<Box<Session>>,
    /// What the bus is being asked; the position does not change meanwhile.
    question: Option<Question>,
    /// How many entries to fetch one by one before there is a session again.
    steps: u32,
    /// When the last session was opened.
    opened: Option<Instant>,
    retry_at: Option<Instant>,
    backoff: Backoff,
    /// Whether the current trouble has been logged.
    troubled: bool,
}

impl StreamReader {
    pub(super) fn new(shared: Arc<ReaderContext>, from: u64) -> Self {
        Self {
            shared,
            position: from.max(1) - 1,
            session: None,
            question: None,
            steps: 0,
            opened: None,
            retry_at: None,
            backoff: Backoff::new(NATS_READER_RETRY_FIRST, NATS_READER_RETRY_LONGEST),
            troubled: false,
        }
    }

    /// One step. Cancel safe: questions to the bus go on at the next call, and what came out
    /// of a session is returned without a further wait.
    async fn advance(&mut self) -> Result<Vec<LogEntry>, PullError> {
        if let Some(at) = self.retry_at {
            tokio::time::sleep_until(at).await;
            self.retry_at = None;
        }
        if let Some(question) = &mut self.question {
            let answer = question.await;
            self.question = None;
            return self.take_answer(answer);
        }
        let Some(session) = &mut self.session else {
            self.question = Some(if self.steps > 0 { self.fetch(false) } else { self.open() });
            return Ok(Vec::new());
        };
        match session.wait().await? {
            session::Event::Entry(first) => {
                let (mut batch, mut bytes) = (vec![first], 0);
                while batch.len() < NATS_READ_MESSAGES
                    && bytes < NATS_READ_BYTES
                    && let Some(entry) = session.ready_entry()
                {
                    bytes += entry.payload.len();
                    batch.push(entry);
                }
                return Ok(self.accept(batch));
            }
            session::Event::Nothing => self.recovered(),
            // Nothing came for a while: is there nothing?
            session::Event::Idle => self.question = Some(self.fetch(true)),
            session::Event::TooLong => {
                self.session = None;
                self.steps = 1;
            }
        }
        Ok(Vec::new())
    }

    fn take_answer(&mut self, answer: Answer) -> Result<Vec<LogEntry>, PullError> {
        match answer {
            Answer::Session(session) => {
                self.session = Some(session?);
                self.opened = Some(Instant::now());
            }
            Answer::Entry { fetched: Ok(Some(entry)), .. } => {
                // An entry that the stream has and a session did not bring ends the session.
                self.session = None;
                self.steps = self.steps.saturating_sub(1);
                return Ok(self.accept(vec![entry]));
            }
            Answer::Entry { fetched: Ok(None), .. } => self.steps = 0,
            // A bus that cannot be asked shows by its missing heartbeats.
            Answer::Entry { fetched: Err(_), idle: true } => {}
            Answer::Entry { fetched: Err(error), idle: false } => return Err(error.into()),
        }
        Ok(Vec::new())
    }

    fn open(&self) -> Question {
        let (shared, from) = (self.shared.clone(), self.position + 1);
        Box::pin(async move { Answer::Session(Session::open(&shared, from).await.map(Box::new)) })
    }

    fn fetch(&self, idle: bool) -> Question {
        let (shared, from) = (self.shared.clone(), self.position + 1);
        Box::pin(async move {
            let fetched = shared.requester.entry_from(&shared.stream, from).await;
            Answer::Entry { fetched, idle }
        })
    }

    /// Entries to return: beyond the position, rising. A consumer that was made for a
    /// sequence the stream has not reached starts earlier.
    fn accept(&mut self, mut entries: Vec<LogEntry>) -> Vec<LogEntry> {
        entries.retain(|entry| {
            let beyond = entry.seq > self.position;
            self.position = self.position.max(entry.seq);
            beyond
        });
        if !entries.is_empty() {
            self.recovered();
        }
        entries
    }

    fn recovered(&mut self) {
        self.shared.link.answered();
        if !self.is_young() {
            self.backoff.reset();
        }
        if std::mem::take(&mut self.troubled) {
            tracing::info!(stream = self.shared.stream, position = self.position, "reading again");
        }
    }

    /// Whether the last session was opened just now.
    fn is_young(&self) -> bool {
        self.opened.is_some_and(|at| at.elapsed() < NATS_READER_RETRY_LONGEST)
    }

    /// Drops the session and decides when and how to go on.
    fn give_up(&mut self, trouble: &PullError) {
        self.session = None;
        if matches!(trouble, PullError::Broken) {
            self.steps = NATS_STEPS_AFTER_BREAK;
        }
        if matches!(trouble, PullError::Deleted) {
            // With its stream, perhaps, which may be there again in a moment and end earlier: whoever
            // publishes must not be quicker than the next look at it.
            self.shared.suspicions.send_modify(|count| *count += 1);
        }
        let hasty = match trouble {
            PullError::Broken => self.troubled,
            // Sessions that end early in a row would leave the server many consumers.
            PullError::Lost(_) | PullError::Deleted => self.is_young(),
            PullError::Unavailable(_) | PullError::Refused(_) => true,
        };
        if hasty {
            self.retry_at = Some(Instant::now() + self.backoff.jittered());
        }
        if !std::mem::replace(&mut self.troubled, true) {
            let (stream, position) = (&self.shared.stream, self.position);
            tracing::warn!(stream, position, reason = %trouble, "reading was interrupted");
        }
    }
}

#[async_trait]
impl Reader for StreamReader {
    /// # Errors
    /// What JetStream refuses outright, such as a consumer on a stream that is gone. Asking
    /// again tries again, after a pause. An unreachable bus is waited for.
    async fn next(&mut self) -> Result<Vec<LogEntry>, BusError> {
        loop {
            match self.advance().await {
                Ok(entries) if entries.is_empty() => {}
                Ok(entries) => return Ok(entries),
                Err(trouble) => {
                    self.give_up(&trouble);
                    match trouble {
                        PullError::Refused(error) => return Err(error.into()),
                        PullError::Lost(_) => self.shared.link.unanswered().await,
                        PullError::Broken | PullError::Deleted | PullError::Unavailable(_) => {}
                    }
                }
            }
        }
    }
}
