//! The caller of a service, and its grants.
//!
//! Invariant: a principal never changes. When its key is changed, revoked, rotated away or expired, it ends, with the reason;
//! what was opened on its behalf and lasts (a stream, a wait) watches for that.

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::{Arc, LazyLock, OnceLock};

use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use utoipa::ToSchema;

use super::capability::Capability;
use super::grants::Grants;
use super::key::KeyId;
use super::limits::Meter;
use super::seals::Holder;
use crate::message::{Scope, Token};

/// The caller. Clones share one identity.
#[derive(Clone, Debug)]
pub struct Principal(Arc<Identity>);

#[derive(Debug)]
struct Identity {
    role: Role,
    grants: Grants,
    scope: Option<Arc<Scope>>,
    ended: CancellationToken,
    reason: OnceLock<EndReason>,
    /// The principal of the key whose session this is.
    parent: Option<Principal>,
}

/// Who the caller is.
#[derive(Debug)]
enum Role {
    /// A caller without a credential.
    Anonymous,
    /// The command line on the store, and parts of the server.
    Operator,
    /// A caller with a key, or with a token, which counts as a key of its issuer.
    Key { info: KeyInfo, meter: Arc<Meter>, holder: Holder },
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

/// Who uses a key. Only a `human` may answer questions to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeyKind {
    /// A program that acts by itself.
    Agent,
    /// A person.
    Human,
    /// A part of the infrastructure.
    Service,
}

/// Watches for the end of a principal on behalf of what lasts for days and waits again and again, such as a stream.
#[derive(Debug)]
pub struct EndWatch {
    principal: Principal,
    /// Registered once, since each registration takes a lock that all streams of the principal share. `None`: it never
    /// ends.
    wait: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
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
    /// A caller without a credential where none is needed: it may do everything but manage keys and read the audit log.
    #[must_use]
    pub fn anonymous() -> Self {
        static ANONYMOUS: LazyLock<Principal> = LazyLock::new(|| {
            let mut grants = Grants::everything();
            grants.can.retain(|&capability| capability != Capability::Keys);
            Principal::new(Role::Anonymous, grants, None)
        });
        ANONYMOUS.clone()
    }

    /// A caller without a credential where one is needed: it may do nothing.
    #[must_use]
    pub fn without_grants() -> Self {
        static WITHOUT_GRANTS: LazyLock<Principal> =
            LazyLock::new(|| Principal::new(Role::Anonymous, Grants::default(), None));
        WITHOUT_GRANTS.clone()
    }

    /// The command line on the store, and parts of the server itself: it may do everything.
    #[must_use]
    pub fn operator() -> Self {
        static OPERATOR: LazyLock<Principal> =
            LazyLock::new(|| Principal::new(Role::Operator, Grants::everything(), None));
        OPERATOR.clone()
    }

    /// A caller with this key or token.
    #[must_use]
    pub fn with_key(info: KeyInfo, holder: Holder, grants: Grants, meter: Arc<Meter>) -> Self {
        Self::new(Role::Key { info, meter, holder }, grants, None)
    }

    /// A session of this caller. It ends with it, or before.
    #[must_use]
    pub fn session(&self) -> Self {
        let role = match &self.0.role {
            Role::Anonymous => Role::Anonymous,
            Role::Operator => Role::Operator,
            Role::Key { info, meter, holder } => {
                Role::Key { info: info.clone(), meter: Arc::clone(meter), holder: holder.clone() }
            }
        };
        Self::new(role, self.0.grants.clone(), Some(self.clone()))
    }

    /// Whether a request or a stream holds it, besides its caller.
    #[must_use]
    pub fn is_held(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Whether it is a session of this caller.
    #[must_use]
    pub fn is_session_of(&self, holder: &Self) -> bool {
        self.0.parent.as_ref().is_some_and(|parent| parent.is(holder))
    }

    fn new(role: Role, grants: Grants, parent: Option<Self>) -> Self {
        let ended = match &parent {
            Some(parent) => parent.0.ended.child_token(),
            None => CancellationToken::new(),
        };
        let scope = grants.scope().map(Arc::new);
        Self(Arc::new(Identity { role, grants, scope, ended, reason: OnceLock::new(), parent }))
    }

    /// Whether both are the same principal.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Its key; `None` for a caller without a key.
    #[must_use]
    pub fn key(&self) -> Option<&KeyInfo> {
        match &self.0.role {
            Role::Key { info, .. } => Some(info),
            Role::Anonymous | Role::Operator => None,
        }
    }

    /// What its key has used of its limits; `None` for a caller without a key.
    #[must_use]
    pub fn meter(&self) -> Option<&Arc<Meter>> {
        match &self.0.role {
            Role::Key { meter, .. } => Some(meter),
            Role::Anonymous | Role::Operator => None,
        }
    }

    /// What it called with, for its sessions and tickets; `None` for a caller without a key.
    #[must_use]
    pub fn holder(&self) -> Option<&Holder> {
        match &self.0.role {
            Role::Key { holder, .. } => Some(holder),
            Role::Anonymous | Role::Operator => None,
        }
    }

    /// Whether it has a token of an issuer.
    #[must_use]
    pub fn has_token(&self) -> bool {
        matches!(self.holder(), Some(Holder::Token(_)))
    }

    /// Whom its leases belong to and its shares are counted for: its key, or issuer and subject of its token. `None` for
    /// a caller without a key.
    #[must_use]
    pub fn identity(&self) -> Option<Cow<'_, str>> {
        let key = self.key()?.id.as_str();
        Some(match self.holder() {
            // A `/` stands in no id and in no subject.
            Some(Holder::Token(bearer)) => Cow::Owned(format!("{key}/{}", bearer.subject)),
            _ => Cow::Borrowed(key),
        })
    }

    /// Whether it acts for a person: by a key of that kind, or on the command line of the store.
    #[must_use]
    pub fn is_human(&self) -> bool {
        match &self.0.role {
            Role::Key { info, .. } => info.kind == KeyKind::Human,
            Role::Operator => true,
            Role::Anonymous => false,
        }
    }

    /// Its name, for people and the audit log.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.0.role {
            Role::Key { info, .. } => &info.name,
            Role::Operator => "operator",
            Role::Anonymous => "anonymous",
        }
    }

    /// The id of its key, as messages carry it.
    #[must_use]
    pub fn key_id(&self) -> Option<Token> {
        self.key().and_then(|key| key.id.as_str().parse().ok())
    }

    /// The sender that it is if it names none: the only name that it may write as.
    #[must_use]
    pub fn default_sender(&self) -> Option<&Token> {
        match self.grants().names.listed() {
            [only] if !self.grants().names.is_any() => Some(only),
            _ => None,
        }
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

    /// Ends it; the first reason counts. A caller without a credential never ends.
    pub fn end(&self, reason: EndReason) {
        if self.key().is_some() {
            let _ = self.0.reason.set(reason);
            self.0.ended.cancel();
        }
    }

    /// Waits until it has ended.
    pub async fn ended(&self) -> EndReason {
        if self.key().is_none() {
            return std::future::pending().await;
        }
        self.0.ended.cancelled().await;
        self.reason().unwrap_or(EndReason::Revoked)
    }

    fn reason(&self) -> Option<EndReason> {
        let own = self.0.reason.get().copied();
        own.or_else(|| self.0.parent.as_ref().and_then(Self::reason))
    }

    /// # Errors
    /// It may read nothing.
    pub fn needs_read(&self) -> Result<(), Needs> {
        let reads = self.0.scope.as_ref().is_none_or(|scope| !scope.is_empty());
        allow(reads, || "read".to_owned())
    }

    /// Watches for its end.
    #[must_use]
    pub fn watch_end(&self) -> EndWatch {
        let wait = self.key().map(|_| Box::pin(self.0.ended.clone().cancelled_owned()));
        EndWatch { principal: self.clone(), wait }
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

impl EndWatch {
    /// Why the principal has ended; `None` if it has not. Takes no lock.
    #[must_use]
    pub fn reason(&self) -> Option<EndReason> {
        self.principal.reason()
    }

    /// Waits until the principal has ended. Cancel safe.
    pub async fn ended(&mut self) {
        match &mut self.wait {
            Some(wait) => wait.as_mut().await,
            None => std::future::pending().await,
        }
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
