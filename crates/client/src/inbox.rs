//! The inbox of one agent: the messages for it, at its own pace (contract, section 7).
//!
//! Invariant: a message is acknowledged only after it was returned and the caller came back for another one, or called
//! [`Inbox::ack`]. So an agent that dies gets its last messages again.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use crate::agents::InboxPosition;
use crate::client::Client;
use crate::document::{Document, list, read};
use crate::error::Error;
use crate::filter::Query;
use crate::limits::{INBOX_MESSAGES, INBOX_WAIT};
use crate::message::Message;

/// One page of an inbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InboxPage {
    /// The messages, oldest first.
    pub messages: Vec<Document<Message>>,
    /// The `after` of the next page; `None` for the last one.
    pub next: Option<u64>,
    /// The sequence up to which the store has the log; 0 when a wait ended without a message.
    pub committed_through: u64,
}

/// Which messages of an inbox to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InboxOptions {
    /// Only messages after this sequence; `None` for those after what is consumed.
    pub after: Option<u64>,
    /// The most messages; `None` for 100.
    pub limit: Option<usize>,
    /// How long to wait for a message, at most 60 s, in whole seconds.
    pub wait: Duration,
    /// Whether messages without a recipient are meant too.
    pub broadcast: bool,
}

/// Reads the inbox of one agent, message by message.
#[derive(Debug)]
pub struct Inbox {
    client: Client,
    agent: String,
    options: InboxOptions,
    ready: VecDeque<Document<Message>>,
    /// The sequence of the last message that was returned.
    returned: u64,
    /// The sequence through which messages are acknowledged.
    acked: u64,
    acks_by_itself: bool,
    /// Whether the server has answered: from then on, it is retried for ever.
    connected: bool,
}

#[derive(Deserialize)]
struct Rest {
    next: Option<u64>,
    #[serde(default)]
    committed_through: u64,
}

#[derive(Deserialize)]
struct Sequence {
    seq: u64,
}

impl Client {
    /// Reads the inbox of `agent`: what was sent to it, from the oldest message that it has not consumed. Sends
    /// nothing before the first [`Inbox::next`].
    #[must_use]
    pub fn inbox(&self, agent: &str) -> Inbox {
        Inbox {
            client: self.clone(),
            agent: agent.to_owned(),
            options: InboxOptions {
                limit: Some(INBOX_MESSAGES),
                wait: INBOX_WAIT,
                ..InboxOptions::default()
            },
            ready: VecDeque::new(),
            returned: 0,
            acked: 0,
            acks_by_itself: true,
            connected: false,
        }
    }

    /// One page of the inbox of `agent`.
    ///
    /// # Errors
    /// The server refuses or cannot be reached.
    pub async fn inbox_page(
        &self,
        agent: &str,
        options: &InboxOptions,
    ) -> Result<InboxPage, Error> {
        let wait = options.wait.as_secs();
        let mut query: Query = Vec::new();
        query.extend(options.after.map(|seq| ("after", seq.to_string())));
        query.extend(options.limit.map(|limit| ("limit", limit.to_string())));
        query.extend(options.broadcast.then(|| ("broadcast", "true".to_owned())));
        query.extend((wait > 0).then(|| ("wait", wait.to_string())));
        let request = self.get(&format!("/v1/agents/{agent}/inbox"), &query);
        let body = self.call_waiting(request, options.wait).await?;
        if body.is_empty() {
            return Ok(InboxPage::default());
        }
        let Rest { next, committed_through } = read(&body)?;
        Ok(InboxPage { messages: list(&body, "messages")?, next, committed_through })
    }

    /// Acknowledges everything through the sequence `through` in the inbox of `agent`. A lower one changes nothing.
    ///
    /// # Errors
    /// `through` is above what the store has; the server refuses or cannot be reached.
    pub async fn ack_inbox(&self, agent: &str, through: u64) -> Result<InboxPosition, Error> {
        let path = format!("/v1/agents/{agent}/inbox/ack");
        read(&self.call(self.post(&path, &json!({ "through": through }))).await?)
    }
}

impl Inbox {
    /// Includes messages without a recipient.
    #[must_use]
    pub fn broadcast(mut self) -> Self {
        self.options.broadcast = true;
        self
    }

    /// Acknowledges nothing by itself: only [`Inbox::ack`] does.
    #[must_use]
    pub fn manual_acks(mut self) -> Self {
        self.acks_by_itself = false;
        self
    }

    /// Waits for the next message, for any time. To ask for it says that those before it are done: they are acknowledged
    /// before more are read, or by [`Inbox::ack`].
    ///
    /// Cancel safe: a message that was not returned is returned by the next call.
    ///
    /// # Errors
    /// The server refuses, or was never reached in the time for which the client retries. Once it has been reached,
    /// there is no time limit for retries.
    pub async fn next(&mut self) -> Result<Document<Message>, Error> {
        loop {
            if let Some(message) = self.ready.front() {
                let Sequence { seq } = read(message.json())?;
                self.returned = seq;
                if let Some(message) = self.ready.pop_front() {
                    return Ok(message);
                }
            }
            if self.acks_by_itself {
                self.ack().await?;
            }
            let mut options = self.options;
            options.after = (self.returned > 0).then_some(self.returned);
            let page = self.client.inbox_page(&self.agent, &options).await?;
            if !std::mem::replace(&mut self.connected, true) {
                self.client = self.client.clone().retry_for(Duration::MAX);
            }
            self.ready.extend(page.messages);
        }
    }

    /// Acknowledges every message that was returned. Does nothing if there is none.
    ///
    /// # Errors
    /// The server refuses or cannot be reached.
    pub async fn ack(&mut self) -> Result<(), Error> {
        if self.returned > self.acked {
            self.client.ack_inbox(&self.agent, self.returned).await?;
            self.acked = self.returned;
        }
        Ok(())
    }
}
