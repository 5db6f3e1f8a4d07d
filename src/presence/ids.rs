//! The ids of the messages that report lapsed statuses.
//!
//! Invariant: all servers of a deployment derive the same ids, so a lapse is published once. No client can
//! predict an id and use it first. Both hold because the ids derive from the secret of the deployment. The
//! derived key is used for nothing else, so ids reveal nothing about lease tokens.

use ring::hmac::{HMAC_SHA256, Key, sign};
use uuid::{Builder, Uuid};

use crate::message::Token;

const PURPOSE: &[u8] = b"agentbus lapse id v1";

/// Makes the ids of messages that report lapsed statuses.
#[derive(Clone)]
pub struct LapseIds(Key);

impl LapseIds {
    /// Derives the key from the deployment's secret.
    #[must_use]
    pub fn new(secret: &[u8; 32]) -> Self {
        let own = sign(&Key::new(HMAC_SHA256, secret), PURPOSE);
        Self(Key::new(HMAC_SHA256, own.as_ref()))
    }

    /// The id of the message for a lapsed status: that of `agent` at sequence `expired`. A UUID of
    /// version 8 (RFC 9562). Each `retry` gives another id, in case another message has the previous one.
    #[must_use]
    pub fn id(&self, agent: &Token, expired: u64, retry: u32) -> Uuid {
        // Names contain no U+0000, so no two inputs give the same text.
        let name = format!("{agent}\0{expired}\0{retry}");
        let tag = sign(&self.0, name.as_bytes());
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(tag.as_ref()).for_each(|(byte, tag)| *byte = *tag);
        Builder::from_custom_bytes(bytes).into_uuid()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_the_same_for_all_who_have_the_secret_and_for_nothing_else() {
        let agent = |name: &str| name.parse::<Token>().expect("a token");
        let (ours, theirs) = (LapseIds::new(&[1; 32]), LapseIds::new(&[2; 32]));
        let id = ours.id(&agent("a"), 42, 0);
        assert_eq!(id, LapseIds::new(&[1; 32]).id(&agent("a"), 42, 0));
        assert_eq!(id.get_version_num(), 8);
        let others = [
            theirs.id(&agent("a"), 42, 0),
            ours.id(&agent("b"), 42, 0),
            ours.id(&agent("a"), 43, 0),
            ours.id(&agent("a"), 42, 1),
            ours.id(&agent("a"), 4, 20),
            Uuid::new_v5(&Uuid::NAMESPACE_URL, b"ttl\x00a\x0042"),
        ];
        assert!(!others.contains(&id));
    }
}
