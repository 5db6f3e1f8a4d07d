//! What the maker of a webhook may read: the webhook delivers no more (contract, section 11).

use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::access::Keyring;
use crate::message::Scope;

/// Why a webhook whose key a restore has disabled is paused. It goes on when the key is enabled.
pub const MAKER_DISABLED: &str = "the key that made it is disabled, since its store was restored";

/// Looks up the keys that made webhooks.
#[derive(Clone)]
pub struct Makers {
    /// The keys.
    pub keyring: Keyring,
    /// Whether every request needs a credential, so that a webhook needs a key, too.
    pub is_required: bool,
}

impl Makers {
    /// What a webhook that this key made may deliver now; `None`: everything.
    ///
    /// # Errors
    /// Why it may deliver nothing.
    pub fn scope(
        &self,
        key_id: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<Option<Arc<Scope>>, &'static str> {
        match key_id {
            Some(id) => match self.keyring.principal_of(id, now) {
                Some(maker) => Ok(maker.scope()),
                None if self.keyring.is_disabled(id) => Err(MAKER_DISABLED),
                None => Err("the key that made it was revoked or has expired"),
            },
            None if self.is_required => Err("it was made without a key, and AUTH=required"),
            None => Ok(None),
        }
    }
}
