//! The caller of a service, and its grants.
//!
//! Invariant: a principal never changes. When its key is changed, revoked, rotated away or expired, it ends, with the reason;
//! what was opened on its behalf and lasts (a stream, a wait) watches for that.

use std::sync::{Arc, LazyLock, OnceLock};

use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::capability::Capability;
use super::grants::Grants;
use super::key::KeyId;
use crate::message::{Scope, Token};

/// The caller. Clones share one identity.
#[derive(Clone, Debug)]
pub struct Principal(Arc<Identity>);

#[derive(Debug)]
struct Identity {
    key: Option<KeyInfo>,
    grants: Grants,
    scope: Option<Arc<Scope>>,
    ended: CancellationToken,
    reason: OnceLock<EndReason>,
}

/// What a caller may know of its own key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyInfo {
    /// The public id.
    pub id: KeyId,
    /// For people.
    pub name: String,
    /// Who uses it.
    pub kind: KeyKind,
    /// When it ends by itself.
    pub expires_at: Option<DateTime<Utc>>,
}

/// Who uses a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyKind {
    /// A program that acts by itself.
    Agent,
    /// A person.
    Human,
    /// A part of the infrastructure.
    Service,
}

/// Why a principal has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// Its key or secret was revoked.
    Revoked,
    /// Its key or secret has expired.
    Expired,
    /// Its grants are others now: what goes on is judged anew.
    Changed,
}

/// What a call needs and the caller lacks, as `needs` in a 403 shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needs(pub String);

impl Principal {
    /// A caller without a credential, who may do everything but manage keys and read the audit log.
    #[must_use]
    pub fn anonymous() -> Self {
        static ANONYMOUS: LazyLock<Principal> = LazyLock::new(|| {
            let mut grants = Grants::everything();
            grants.can.retain(|&capability| capability != Capability::Keys);
            Principal::new(None, grants)
        });
        ANONYMOUS.clone()
    }

    /// A caller with this key.
    #[must_use]
    pub fn with_key(key: KeyInfo, grants: Grants) -> Self {
        Self::new(Some(key), grants)
    }

    fn new(key: Option<KeyInfo>, grants: Grants) -> Self {
        let (ended, reason) = (CancellationToken::new(), OnceLock::new());
        let scope = grants.scope().map(Arc::new);
        Self(Arc::new(Identity { key, grants, scope, ended, reason }))
    }

    /// Whether both are the same principal.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Its key; `None` for a caller without a credential.
    #[must_use]
    pub fn key(&self) -> Option<&KeyInfo> {
        self.0.key.as_ref()
    }

    /// What it may do.
    #[must_use]
    pub fn grants(&self) -> &Grants {
        &self.0.grants
    }

    /// What it may read; `None`: everything.
    #[must_use]
    pub fn scope(&self) -> Option<Arc<Scope>> {
        self.0.scope.clone()
    }

    /// Ends it; the first reason counts.
    pub fn end(&self, reason: EndReason) {
        let _ = self.0.reason.set(reason);
        self.0.ended.cancel();
    }

    /// Waits until it has ended.
    pub async fn ended(&self) -> EndReason {
        self.0.ended.cancelled().await;
        self.0.reason.get().copied().unwrap_or(EndReason::Revoked)
    }

    /// # Errors
    /// It lacks this capability.
    pub fn needs(&self, capability: Capability) -> Result<(), Needs> {
        allow(self.grants().can(capability), || format!("can {capability}"))
    }

    /// # Errors
    /// It may not write as this sender.
    pub fn needs_name(&self, sender: &Token) -> Result<(), Needs> {
        allow(self.grants().names.allows(sender.as_str()), || format!("as {sender}"))
    }

    /// # Errors
    /// It may not publish on this subject.
    pub fn needs_publish(&self, subject: &str) -> Result<(), Needs> {
        allow(self.grants().publish.allows(subject), || format!("publish {subject}"))
    }

    /// # Errors
    /// It may not put jobs into this queue.
    pub fn needs_enqueue(&self, queue: &str) -> Result<(), Needs> {
        allow(self.grants().enqueue.allows(queue), || format!("enqueue {queue}"))
    }

    /// # Errors
    /// It may not lease jobs from this queue.
    pub fn needs_work(&self, queue: &str) -> Result<(), Needs> {
        allow(self.grants().work.allows(queue), || format!("work {queue}"))
    }
}

fn allow(allowed: bool, needs: impl FnOnce() -> String) -> Result<(), Needs> {
    if allowed { Ok(()) } else { Err(Needs(needs())) }
}

impl KeyKind {
    /// Its name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Human => "human",
            Self::Service => "service",
        }
    }
}

impl std::str::FromStr for KeyKind {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "agent" => Ok(Self::Agent),
            "human" => Ok(Self::Human),
            "service" => Ok(Self::Service),
            _ => Err("must be agent, human or service"),
        }
    }
}
