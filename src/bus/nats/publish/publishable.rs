//! What the publisher needs of a message.

use async_nats::HeaderMap;
use bytes::Bytes;

use crate::message::{HEADER_MSG_ID, HEADER_NATIVE, HEADER_NATIVE_V1, Outgoing};

/// What the publisher needs of a message: subject, headers, payload, and whether its id may be a repeat.
pub(crate) trait Publishable: Sync {
    /// The subject to publish on.
    fn subject(&self) -> &str;
    /// The headers, among them the id by which the stream recognises a repeat.
    fn headers(&self) -> HeaderMap;
    /// The payload.
    fn payload(&self) -> Bytes;
    /// Whether the client chose the id. If so, the message may be a repeat.
    fn id_is_clients(&self) -> bool;
    /// The id that the client chose, if the message may be part of an atomic batch.
    fn clients_id(&self) -> Option<u128> {
        None
    }
}

impl Publishable for Outgoing {
    fn subject(&self) -> &str {
        self.subject.as_str()
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER_NATIVE, HEADER_NATIVE_V1);
        let mut id = uuid::Uuid::encode_buffer();
        headers.insert(HEADER_MSG_ID, &*self.id.hyphenated().encode_lower(&mut id));
        if let Some(trace) = &self.trace {
            trace.headers().for_each(|(name, value)| headers.insert(name, value));
        }
        headers
    }

    fn payload(&self) -> Bytes {
        self.body.clone()
    }

    fn id_is_clients(&self) -> bool {
        self.id_is_clients
    }

    fn clients_id(&self) -> Option<u128> {
        self.id_is_clients.then(|| self.id.as_u128())
    }
}
