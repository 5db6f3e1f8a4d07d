//! Publishes to a JetStream stream and reads from it with plain async-nats.

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

/// Pipelined publishes in flight.
const WINDOW: usize = 4_000;
/// Messages of one pull request.
const PULL: usize = 1_000;
/// Most messages that a reader returns at once.
const READY_CHUNK: usize = 2_000;
/// Subjects of agentbus's streams.
const AGENTBUS_SUBJECTS: [&str; 3] = ["agent.>", "jobs.>", "leases.>"];

/// Limit of messages in a stream: more than any item sends, so that none is dropped before it is read.
pub(crate) const MAX_MESSAGES: i64 = 20_000_000;
/// Further limits of a stream: the defaults of agentbus.
const MAX_AGE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

/// A stream with the limits of agentbus's.
#[derive(Clone)]
pub struct BareStream {
    context: Context,
    name: String,
    subject: String,
}

/// Reads a stream from its start.
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
    /// Connects, and creates a stream with this name, which is also the prefix of its subjects.
    ///
    /// # Errors
    /// The server cannot be reached, has no JetStream, or has another stream with this name.
    pub async fn create(url: &str, name: &str) -> Result<Self, SuiteError> {
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

    /// Connects, to read a stream that agentbus created.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub async fn open(url: &str, name: &str) -> Result<Self, SuiteError> {
        let context = connect(url).await?;
        Ok(Self { context, name: name.to_owned(), subject: format!("{name}.message") })
    }

    /// The name of a stream with subjects of agentbus, if the server has one.
    ///
    /// # Errors
    /// The server cannot be reached, or has no JetStream.
    pub async fn find_agentbus(url: &str) -> Result<Option<String>, SuiteError> {
        let context = connect(url).await?;
        for subject in AGENTBUS_SUBJECTS {
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

    /// Publishes a message and waits for its ack; returns its sequence.
    ///
    /// # Errors
    /// The ack is missing.
    pub async fn publish(&self, payload: Bytes) -> Result<u64, SuiteError> {
        Ok(self.send(payload, false).await?.await.map_err(failed)?.sequence)
    }

    /// Publishes messages in order, then waits for all acks; returns the last sequence.
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

    /// Publishes for a time with at most [`WINDOW`] in flight; returns messages a second.
    ///
    /// # Errors
    /// An ack is missing.
    pub async fn pipelined(
        &self,
        payload: &Bytes,
        ids: bool,
        duration: Duration,
    ) -> Result<f64, SuiteError> {
        let started = Instant::now();
        let mut acks = VecDeque::with_capacity(WINDOW);
        let mut count = 0_u64;
        while started.elapsed() < duration {
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
        Ok(count as f64 / started.elapsed().as_secs_f64())
    }

    /// Publishes one message at a time for a time; returns the latency of each.
    ///
    /// # Errors
    /// An ack is missing.
    pub async fn one_by_one(
        &self,
        payload: &Bytes,
        duration: Duration,
    ) -> Result<Vec<Duration>, SuiteError> {
        let mut latencies = Vec::new();
        let started = Instant::now();
        while started.elapsed() < duration {
            let sent = Instant::now();
            self.publish(payload.clone()).await?;
            latencies.push(sent.elapsed());
        }
        Ok(latencies)
    }

    /// Reads from the start, without acks.
    ///
    /// # Errors
    /// The consumer cannot be created.
    pub async fn reader(&self) -> Result<BareReader, SuiteError> {
        let config = pull::Config { ack_policy: AckPolicy::None, ..pull::Config::default() };
        Ok(BareReader { pull: self.pull(config).await?, acks: false })
    }

    /// Reads from the start with a durable consumer, and acknowledges each message.
    ///
    /// # Errors
    /// The consumer cannot be created.
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
        Ok(pulls.messages().await.map_err(failed)?.ready_chunks(READY_CHUNK))
    }

    /// The server's version.
    #[must_use]
    pub fn server_version(&self) -> String {
        self.context.client().server_info().version
    }

    /// Deletes a stream, if it exists.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub async fn delete(url: &str, name: &str) -> Result<(), SuiteError> {
        // An error means that it does not exist.
        let _ = connect(url).await?.delete_stream(name).await;
        Ok(())
    }
}

impl BareReader {
    /// The next messages with their sequences: at least one.
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
