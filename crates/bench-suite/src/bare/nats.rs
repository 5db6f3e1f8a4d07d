//! JetStream without agentbus: a stream with the same limits, published to and read as async-nats does it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::context::{
    Context, ContextBuilder, GetStreamByNameErrorKind, PublishAckFuture,
};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream;
use bytes::Bytes;
use futures_util::StreamExt as _;
use uuid::Uuid;

use crate::error::SuiteError;

/// Publishes that await their acks at once where as many as possible are wanted.
const WINDOW: usize = 4_000;
/// Messages of one pull, and the most that are handed on at once.
const PULL: usize = 1_000;
const HANDED_ON: usize = 2_000;
/// All subjects of agentbus's streams.
const OURS: [&str; 3] = ["agent.>", "jobs.>", "leases.>"];

/// Messages that a stream keeps: more than any item sends, so that nothing is dropped before it is read.
pub(crate) const MAX_MESSAGES: i64 = 20_000_000;
/// Other limits of the stream: the defaults of agentbus.
const MAX_AGE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

/// A stream of its own, with the limits of agentbus's.
#[derive(Clone)]
pub struct BareStream {
    context: Context,
    name: String,
    subject: String,
}

/// Reads such a stream from its start.
pub struct BareReader {
    pull: futures_util::stream::ReadyChunks<pull::Stream>,
    acks: bool,
}

fn failed(error: impl std::fmt::Display) -> SuiteError {
    SuiteError::Nats(error.to_string())
}

async fn connect(url: &str) -> Result<Context, SuiteError> {
    let client = async_nats::ConnectOptions::new().name("agentbus bench").connect(url).await;
    Ok(ContextBuilder::new().build(client.map_err(failed)?))
}

impl BareStream {
    /// Connects, and makes a stream of that name; its subject is that name too.
    ///
    /// # Errors
    /// No server, no JetStream, or a name that is taken.
    pub async fn make(url: &str, name: &str) -> Result<Self, SuiteError> {
        let context = connect(url).await?;
        let wanted = stream::Config {
            name: name.to_owned(),
            subjects: vec![format!("{name}.>")],
            max_messages: MAX_MESSAGES,
            max_age: MAX_AGE,
            duplicate_window: DUPLICATE_WINDOW,
            storage: stream::StorageType::File,
            discard: stream::DiscardPolicy::Old,
            num_replicas: 1,
            allow_direct: true,
            ..stream::Config::default()
        };
        context.create_stream(wanted).await.map_err(failed)?;
        Ok(Self { context, name: name.to_owned(), subject: format!("{name}.message") })
    }

    /// One that is there: a stream that agentbus made.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub async fn of(url: &str, name: &str) -> Result<Self, SuiteError> {
        let context = connect(url).await?;
        Ok(Self { context, name: name.to_owned(), subject: format!("{name}.message") })
    }

    /// The name of a stream that takes subjects of agentbus, if there is one.
    ///
    /// # Errors
    /// The server cannot be reached, or has no JetStream.
    pub async fn taken(url: &str) -> Result<Option<String>, SuiteError> {
        let context = connect(url).await?;
        for subject in OURS {
            match context.stream_by_subject(subject).await {
                Ok(name) => return Ok(Some(name)),
                Err(error) if error.kind() == GetStreamByNameErrorKind::NotFound => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(None)
    }

    async fn send(&self, payload: Bytes, id: bool) -> Result<PublishAckFuture, SuiteError> {
        let message = PublishMessage::build().payload(payload);
        let message = match id {
            true => message.message_id(Uuid::now_v7().to_string()),
            false => message,
        };
        self.context.send_publish(self.subject.clone(), message).await.map_err(failed)
    }

    /// Publishes one, and waits for its ack; gives its sequence.
    ///
    /// # Errors
    /// No ack.
    pub async fn publish(&self, payload: Bytes) -> Result<u64, SuiteError> {
        Ok(self.send(payload, false).await?.await.map_err(failed)?.sequence)
    }

    /// Publishes many in order, then waits for every ack; gives the last sequence.
    ///
    /// # Errors
    /// An ack is missing.
    pub async fn publish_all(
        &self,
        payloads: impl IntoIterator<Item = Bytes>,
    ) -> Result<u64, SuiteError> {
        let mut acks = Vec::new();
        for payload in payloads {
            acks.push(self.send(payload, false).await?);
        }
        let mut last = 0;
        for ack in acks {
            last = ack.await.map_err(failed)?.sequence;
        }
        Ok(last)
    }

    /// Publishes for a while, a window of 4,000 ahead of the acks; gives messages a second.
    ///
    /// # Errors
    /// An ack is missing.
    pub async fn pipelined(
        &self,
        payload: &Bytes,
        ids: bool,
        lasts: Duration,
    ) -> Result<f64, SuiteError> {
        let begun = Instant::now();
        let mut acks = VecDeque::with_capacity(WINDOW);
        let mut count = 0_u64;
        while begun.elapsed() < lasts {
            acks.push_back(self.send(payload.clone(), ids).await?);
            count += 1;
            if acks.len() >= WINDOW
                && let Some(oldest) = acks.pop_front()
            {
                oldest.await.map_err(failed)?;
            }
        }
        for ack in acks {
            ack.await.map_err(failed)?;
        }
        Ok(count as f64 / begun.elapsed().as_secs_f64())
    }

    /// Publishes one after the other for a while; gives how long each took.
    ///
    /// # Errors
    /// An ack is missing.
    pub async fn one_by_one(
        &self,
        payload: &Bytes,
        lasts: Duration,
    ) -> Result<Vec<Duration>, SuiteError> {
        let mut took = Vec::new();
        let begun = Instant::now();
        while begun.elapsed() < lasts {
            let sent = Instant::now();
            self.publish(payload.clone()).await?;
            took.push(sent.elapsed());
        }
        Ok(took)
    }

    /// Reads from the start, without acks.
    ///
    /// # Errors
    /// The consumer cannot be made.
    pub async fn reader(&self) -> Result<BareReader, SuiteError> {
        let config = pull::Config { ack_policy: AckPolicy::None, ..pull::Config::default() };
        Ok(BareReader { pull: self.pull(config).await?, acks: false })
    }

    /// Reads from the start by a durable consumer, and acknowledges each message.
    ///
    /// # Errors
    /// The consumer cannot be made.
    pub async fn acknowledging_reader(&self) -> Result<BareReader, SuiteError> {
        let config = pull::Config {
            durable_name: Some("bare".to_owned()),
            ack_policy: AckPolicy::Explicit,
            ..pull::Config::default()
        };
        Ok(BareReader { pull: self.pull(config).await?, acks: true })
    }

    async fn pull(
        &self,
        config: pull::Config,
    ) -> Result<futures_util::stream::ReadyChunks<pull::Stream>, SuiteError> {
        let stream = self.context.get_stream(&self.name).await.map_err(failed)?;
        let consumer: PullConsumer = stream.create_consumer(config).await.map_err(failed)?;
        let pulls = consumer.stream().max_messages_per_batch(PULL);
        Ok(pulls.messages().await.map_err(failed)?.ready_chunks(HANDED_ON))
    }

    /// The server's version.
    #[must_use]
    pub fn server_version(&self) -> String {
        self.context.client().server_info().version
    }

    /// Deletes a stream, of ours or not; one that is not there is as good.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub async fn delete(url: &str, name: &str) -> Result<(), SuiteError> {
        // An error says that it is gone already.
        let _ = connect(url).await?.delete_stream(name).await;
        Ok(())
    }
}

impl BareReader {
    /// What has come: at least one message, with its sequence.
    ///
    /// # Errors
    /// The pull ended.
    pub async fn next(&mut self) -> Result<Vec<(u64, Bytes)>, SuiteError> {
        let arrived = self.pull.next().await.ok_or_else(|| failed("the pull ended"))?;
        let mut read = Vec::with_capacity(arrived.len());
        for message in arrived {
            let message = message.map_err(failed)?;
            if self.acks {
                message.ack().await.map_err(failed)?;
            }
            read.push((message.info().map_err(failed)?.stream_sequence, message.message.payload));
        }
        Ok(read)
    }
}
