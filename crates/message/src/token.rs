//! Tokens are the names of agents, tasks, roles and types.
//!
//! Invariant: 1–64 characters of `A-Z a-z 0-9 _ -`. So a token is valid as a token of a NATS subject and as a
//! segment of a URL path, and safe in a log line.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use uuid::Uuid;

use crate::limits::MAX_TOKEN_CHARS;

/// A name of 1–64 characters of `A-Z a-z 0-9 _ -`, such as a UUID. Clones share the text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(Arc<str>);

impl Token {
    /// The token `unknown`: the role, type or sender of a message that does not name it.
    #[must_use]
    pub fn unknown() -> Self {
        Self("unknown".into())
    }

    /// The role of a sender that gave none.
    #[must_use]
    pub fn default_role() -> Self {
        Self("agent".into())
    }

    /// The type `offline`, of a status that reports its agent as offline.
    #[must_use]
    pub fn offline() -> Self {
        Self("offline".into())
    }

    /// The token as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The rule that a token must follow, as a text for the client.
pub const TOKEN_RULE: &str = "must be 1 to 64 characters of A-Z a-z 0-9 _ -";

impl FromStr for Token {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if text.is_empty() || text.len() > MAX_TOKEN_CHARS || !text.bytes().all(allowed) {
            return Err(TOKEN_RULE);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Parses a UUID with hyphens, in upper or lower case. Other forms are refused, so that an id has the same
/// text wherever ids are compared as text.
///
/// # Errors
/// The rule that the text breaks, as a text for the client.
pub fn parse_uuid(text: &str) -> Result<Uuid, &'static str> {
    const RULE: &str = "must be a hyphenated UUID";
    if text.len() != uuid::fmt::Hyphenated::LENGTH {
        return Err(RULE);
    }
    Uuid::try_parse(text).map_err(|_| RULE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn accepts_exactly_the_alphabet(text in ".{0,70}") {
            let model = (1..=64).contains(&text.chars().count())
                && text.chars().all(|c| matches!(c, 'A'..='Z' | 'a'..='z' | '0'..='9' | '_' | '-'));
            prop_assert_eq!(text.parse::<Token>().is_ok(), model);
        }

        #[test]
        fn every_well_formed_name_is_a_token(text in "[A-Za-z0-9_-]{1,64}") {
            let token = text.parse::<Token>();
            prop_assert_eq!(token.as_ref().map(Token::as_str), Ok(text.as_str()));
        }
    }

    #[test]
    fn uuids_are_hyphenated_only() {
        let id = "0192F0C4-7A1B-7C3D-8E4F-5A6B7C8D9E0F";
        assert_eq!(parse_uuid(id).map(|u| u.to_string()), Ok(id.to_ascii_lowercase()));
        assert!(parse_uuid("0192f0c47a1b7c3d8e4f5a6b7c8d9e0f").is_err());
        assert!(parse_uuid("urn:uuid:0192f0c4-7a1b-7c3d-8e4f-5a6b7c8d9e0f").is_err());
    }
}
