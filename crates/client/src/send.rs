//! Sends one message.
//!
//! Invariant: every message has an id or a key before its first attempt. So if a response is lost, the message is sent
//! again, and the log still has it once.

use bytes::Bytes;
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde::Deserialize;
use uuid::Uuid;

use crate::client::Client;
use crate::document::{Document, read};
use crate::envelope::Envelope;
use crate::error::Error;
use crate::message::Message;
use crate::new_message::{NewMessage, encode};
use crate::problem::Problem;

/// What must have happened before the server responds to a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AckLevel {
    /// The bus has stored the message.
    #[default]
    Stored,
    /// The store has committed the message to disk too. The server waits up to 5 s for that; after that it
    /// responds with `stored`.
    Committed,
}

/// Options for sending a message.
#[derive(Clone, Debug, Default)]
pub struct SendOptions {
    /// What must have happened before the server responds.
    pub ack: AckLevel,
    /// Identifies the message if it has no id: 1 to 255 visible characters (contract, section 3).
    pub idempotency_key: Option<String>,
}

/// The acknowledgement of one message.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Sent {
    /// The message's sequence.
    pub seq: u64,
    /// The message's id.
    pub id: String,
    /// The NATS subject; empty in the results of a batch.
    pub subject: String,
    /// When the server accepted the message (RFC 3339); empty in the results of a batch.
    pub created_at: String,
    /// Whether the message had already been sent.
    pub duplicate: bool,
    /// `stored` or `committed`.
    pub durability: String,
    /// How the message breaks a schema that only warns (contract, section 13).
    pub warnings: Vec<Problem>,
}

impl AckLevel {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Committed => "committed",
        }
    }
}

impl Client {
    /// Sends one message. Without an id it gets a new one, so that retries do not send it twice.
    ///
    /// # Errors
    /// The server refuses the message or cannot be reached. After a transient error the message may be in the
    /// log: send it again under an id of your own, and the log will have it once.
    pub async fn send(&self, message: &NewMessage) -> Result<Sent, Error> {
        self.send_with(message, &SendOptions::default()).await
    }

    /// Like [`Client::send`], with options.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn send_with(
        &self,
        message: &NewMessage,
        options: &SendOptions,
    ) -> Result<Sent, Error> {
        self.send_json(encode(message)?, options).await?.parse()
    }

    /// Sends one message that is a JSON object already, byte for byte. If it has neither id nor key, it gets a new id.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn send_json(
        &self,
        message: impl Into<Bytes>,
        options: &SendOptions,
    ) -> Result<Document<Sent>, Error> {
        let mut message = message.into();
        let key = options.idempotency_key.as_ref();
        // A body that is not an object is sent too: the server reports what is wrong.
        if key.is_none()
            && let Ok(envelope) = Envelope::parse(&message)
            && !envelope.has_id()
        {
            message = envelope.encode(Some(Uuid::now_v7())).into();
        }
        let query = [("ack", options.ack.as_str().to_owned())];
        let mut request = self.request(Method::POST, "/v1/messages", &query);
        request = request.header(CONTENT_TYPE, "application/json").body(message);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        self.call(request).await.map(Document::new)
    }

    /// The message with this id.
    ///
    /// # Errors
    /// There is no such message, or the key may not read it; the server refuses or cannot be reached.
    pub async fn message(&self, id: Uuid) -> Result<Document<Message>, Error> {
        self.call(self.get(&format!("/v1/messages/{id}"), &[])).await.map(Document::new)
    }

    /// Erases what the messages with this id said, everywhere and for good. Returns the sequence of the first.
    ///
    /// # Errors
    /// There is no such message, or the key may not read or not erase it; the server refuses or cannot be reached.
    pub async fn erase(&self, id: Uuid, reason: &str) -> Result<u64, Error> {
        #[derive(Deserialize)]
        struct Erased {
            seq: u64,
        }
        let path = format!("/v1/messages/{id}/erase");
        let erased = self.call(self.post(&path, &serde_json::json!({ "reason": reason }))).await?;
        read::<Erased>(&erased).map(|erased| erased.seq)
    }
}
