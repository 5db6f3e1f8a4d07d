//! A message that can be published.

use async_nats::HeaderMap;
use bytes::Bytes;

use crate::message::{HEADER_MSG_ID, HEADER_NATIVE, HEADER_NATIVE_V1, Outgoing};

/// A message that can be published.
pub(crate) trait Publishable: Sync {
    /// Its subject.
    fn subject(&self) -> &str;
    /// Its headers, the id by which a repeat is recognised among them.
    fn headers(&self) -> HeaderMap;
    /// Its payload.
    fn payload(&self) -> Bytes;
    /// Whether the client chose the id, so that it may be a repeat.
    fn id_is_clients(&self) -> bool;
    /// The id that the client chose, of a message that may be part of an atomic batch.
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
