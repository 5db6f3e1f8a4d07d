//! What a key may do besides publishing, reading and work queues: the list `can` (contract, section 11).

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use utoipa::ToSchema;

/// Something that a key may do beyond messages and jobs: one entry of `can`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum Capability {
    /// Read stats, metrics, status, verbose readiness, consumers.
    Observe,
    /// Pause, resume, reset consumers; create and delete queues.
    Process,
    /// Create, read, change and remove webhooks.
    Webhooks,
    /// List, redrive and discard dead letters.
    DeadLetters,
    /// Publish ids of UUID version 5.
    Import,
    /// Erase messages.
    Erase,
    /// Change payload schemas.
    Schemas,
    /// End claims of other holders.
    Claims,
    /// Make, change and revoke keys; read the audit log.
    Keys,
}

impl Capability {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Observe,
        Self::Process,
        Self::Webhooks,
        Self::DeadLetters,
        Self::Import,
        Self::Erase,
        Self::Schemas,
        Self::Claims,
        Self::Keys,
    ];

    /// Its name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Process => "process",
            Self::Webhooks => "webhooks",
            Self::DeadLetters => "dead_letters",
            Self::Import => "import",
            Self::Erase => "erase",
            Self::Schemas => "schemas",
            Self::Claims => "claims",
            Self::Keys => "keys",
        }
    }
}

impl FromStr for Capability {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const RULE: &str = "must be observe, process, webhooks, dead_letters, import, erase, schemas, claims or keys";
        Self::ALL.into_iter().find(|known| known.as_str() == text).ok_or(RULE)
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Capability {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
