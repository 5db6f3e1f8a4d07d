//! Request and reply (contract, section 9).

use std::time::Duration;

use bytes::Bytes;
use reqwest::Method;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::client::Client;
use crate::document::{Document, read};
use crate::error::Error;
use crate::kind::ErrorKind;
use crate::limits::REPLY_WAIT;
use crate::message::Message;
use crate::new_message::NewMessage;
use crate::send::Sent;

#[derive(Deserialize)]
struct Exchange<'a> {
    #[serde(borrow)]
    reply: &'a RawValue,
}

impl Client {
    /// Sends a message and waits for the first reply to it, at most `within` (whole seconds, rounded up). A reply is a
    /// message whose `in_reply_to` is its id, such as [`Client::answer`] sends. Asked again under the same id, a reply
    /// that came meanwhile is found.
    ///
    /// # Errors
    /// [`ErrorKind::NoReply`]: none came in time. The message stays in the log, and [`Problem::id`](crate::Problem::id)
    /// names it. Otherwise as [`Client::send`].
    pub async fn ask(
        &self,
        message: &NewMessage,
        within: Duration,
    ) -> Result<Document<Message>, Error> {
        let message = message.with_id();
        let deadline = Instant::now() + within;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let part = left.min(REPLY_WAIT).max(Duration::from_secs(1));
            let seconds = part.as_secs() + u64::from(part.subsec_nanos() > 0);
            let query = [("reply_within", seconds.to_string())];
            let request = self.request(Method::POST, "/v1/messages", &query).json(&message);
            match self.call_waiting(request, Duration::from_secs(seconds)).await {
                Ok(body) => return reply(&body),
                Err(error)
                    if error.kind() == ErrorKind::NoReply
                        && deadline > Instant::now() + Duration::from_secs(1) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends `answer` as the reply to `message`: to its sender, in its conversation and about its task, unless the
    /// answer says something else.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn answer(&self, message: &Message, answer: NewMessage) -> Result<Sent, Error> {
        let mut answer = answer;
        answer.in_reply_to = Some(message.id.clone());
        answer.recipient_id = answer.recipient_id.or_else(|| Some(message.sender_id.clone()));
        answer.conversation_id = answer.conversation_id.or_else(|| message.conversation_id.clone());
        answer.task_id = answer.task_id.or_else(|| message.task_id.clone());
        self.send(&answer).await
    }
}

fn reply(body: &Bytes) -> Result<Document<Message>, Error> {
    let Exchange { reply } = read(body)?;
    Ok(Document::new(body.slice_ref(reply.get().as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reply_keeps_its_bytes() {
        let body = Bytes::from_static(
            br#"{"request":{"seq":1},"reply":{"seq":2,"metadata":{"n":1.0e+2}}}"#,
        );
        let reply = reply(&body).expect("a reply");
        assert_eq!(reply.json(), br#"{"seq":2,"metadata":{"n":1.0e+2}}"#);
        assert!(super::reply(&Bytes::from_static(b"{}")).is_err());
    }
}
