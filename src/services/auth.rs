//! From a credential to the caller: keys, tokens, sessions, tickets (contract, section 11).
//!
//! Invariants: with `AUTH=required` no credential means no caller, whatever the state of store and keyring. A bad
//! credential is refused in any mode. Failed credentials of one address get slow; a good one is never refused for them.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use super::Error;
use super::audit::Audit;
use super::calls::Call;
use crate::access::{
    Grants, Holder, KeyLimits, Keyring, Needs, Principal, Refusal, Renewal, Session, Ticket,
    TokenFault,
};
use crate::clock::Clock;
use crate::limits::{
    FAILED_ADDRESSES, FAILED_CREDENTIALS_BURST, MAX_SESSION_BYTES, MAX_TICKET_BYTES, SESSION_LIFE,
};
use crate::message::{FieldError, Filter, format_micros};
use crate::seal::Sealer;
use crate::store::Store;

/// The credential of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential<'a> {
    /// None.
    Absent,
    /// A key, or the token of an issuer.
    Key(&'a str),
    /// The sealed session of a cookie.
    Session(&'a str),
    /// A sealed ticket.
    Ticket(&'a str),
    /// Something that is none of these.
    Malformed,
}

/// What a caller is and may do.
#[derive(Clone, Debug, Serialize)]
pub struct Me {
    id: Option<String>,
    name: String,
    kind: Option<&'static str>,
    grants: Grants,
    limits: KeyLimits,
    expires_at: Option<String>,
}

/// A ticket for another origin's page.
#[derive(Clone, Debug, Serialize)]
pub struct NewTicket {
    ticket: String,
    expires_at: String,
}

/// Authenticates callers.
pub struct Auth {
    pub(super) renewal: Arc<Renewal>,
    pub(super) store: Arc<dyn Store>,
    pub(super) audit: Audit,
    pub(super) clock: Clock,
    pub(super) sessions: Sealer,
    pub(super) tickets: Sealer,
    /// Whether every call needs a credential (`AUTH=required`).
    pub(super) is_required: bool,
    pub(super) failures: Failures,
}

/// Failed credentials by address.
pub(super) struct Failures(DefaultKeyedRateLimiter<IpAddr>);

impl Default for Failures {
    fn default() -> Self {
        let burst = NonZeroU32::new(FAILED_CREDENTIALS_BURST).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(NonZeroU32::MIN).allow_burst(burst);
        Self(RateLimiter::keyed(quota))
    }
}

impl Failures {
    /// Counts a failure. Returns the seconds to wait if the address has failed too often.
    fn count(&self, address: IpAddr) -> Option<u64> {
        if self.0.len() > FAILED_ADDRESSES {
            self.0.retain_recent();
        }
        let until = self.0.check_key(&address).err()?;
        Some(until.wait_time_from(DefaultClock::default().now()).as_secs() + 1)
    }
}

impl Auth {
    fn keyring(&self) -> &Keyring {
        self.renewal.keyring()
    }

    /// The caller with this credential. `address` is where its request came from, asked only if it is refused. Waits only
    /// for the keys of a token's issuer, if its `kid` is unknown.
    ///
    /// # Errors
    /// `unauthenticated`; `rate_limited`: too many failures from this address, or requests of this key; `overloaded`: the
    /// keys of the token's issuer were never fetched.
    pub async fn authenticate(
        &self,
        credential: Credential<'_>,
        address: impl FnOnce() -> IpAddr,
    ) -> Result<Principal, Error> {
        let now = self.clock.now();
        let found = match credential {
            Credential::Absent if self.is_required => {
                let detail = "this server needs a credential: send Authorization: Bearer KEY";
                return Err(Error::unauthenticated(detail));
            }
            Credential::Absent => return Ok(Principal::anonymous()),
            Credential::Key(text) => match self.keyring().authenticate(text, now) {
                Err(Refusal::Token(TokenFault::UnknownKey | TokenFault::NoKeys)) => {
                    self.authenticate_with_new_keys(text).await
                }
                found => found,
            },
            Credential::Session(sealed) => match self.sessions.open::<Session>(sealed) {
                Some(session) => self.keyring().session(&session, now),
                None => Err(Refusal::Unknown),
            },
            Credential::Ticket(sealed) => match self.ticket(sealed) {
                Some(ticket) => self.holder(&ticket),
                None => Err(Refusal::Unknown),
            },
            Credential::Malformed => Err(Refusal::Unknown),
        };
        if let Err(refusal @ Refusal::Token(TokenFault::NoKeys)) = found {
            return Err(Error::overloaded(refusal.to_string()));
        }
        let principal = found.map_err(|refusal| self.refuse(refusal, address()))?;
        if let Some(meter) = principal.meter() {
            meter.request()?;
        }
        Ok(principal)
    }

    /// The bearer of a token whose key is unknown, once its issuer's keys were fetched again.
    async fn authenticate_with_new_keys(&self, text: &str) -> Result<Principal, Refusal> {
        self.keyring().issuers().refresh(text).await;
        self.keyring().authenticate(text, self.clock.now())
    }

    /// Whether every call needs a credential.
    #[must_use]
    pub fn is_required(&self) -> bool {
        self.is_required
    }

    fn refuse(&self, refusal: Refusal, address: IpAddr) -> Error {
        if let Some(wait) = self.failures.count(address) {
            let detail = "too many failed credentials from this address";
            return Error::over_limit("failed_credentials", wait, detail);
        }
        self.audit.denied(
            &Principal::without_grants(),
            "authenticate",
            &address.to_string(),
            &refusal.to_string(),
        );
        Error::unauthenticated(refusal.to_string())
    }

    /// What the caller is and may do.
    ///
    /// # Errors
    /// None; the caller is authenticated.
    pub fn me(&self, principal: &Principal) -> Result<Me, Error> {
        Call::WhoAmI.check(principal)?;
        let key = principal.key();
        Ok(Me {
            id: key.map(|key| key.id.to_string()),
            name: principal.name().to_owned(),
            kind: key.map(|key| key.kind.as_str()),
            grants: principal.grants().clone(),
            limits: principal.meter().map(|meter| meter.limits()).unwrap_or_default(),
            expires_at: key.and_then(|key| key.expires_at).map(format_micros),
        })
    }

    /// Opens a session for the browser of a caller with a key; returns it sealed, and how long it lasts.
    ///
    /// # Errors
    /// The caller has no key; the grants of its token are too long for a cookie.
    pub async fn log_in(&self, principal: &Principal) -> Result<(String, Duration), Error> {
        Call::LogIn.check(principal)?;
        let (Some(holder), Some(key)) = (principal.holder(), principal.key()) else {
            return Err(Error::unauthenticated("send the key in Authorization to log in"));
        };
        let now = self.clock.now();
        let left = key.expires_at.and_then(|end| (end - now).to_std().ok());
        let life = left.map_or(SESSION_LIFE, |left| left.min(SESSION_LIFE));
        let session = Session {
            id: Uuid::new_v4(),
            holder: holder.clone(),
            expires_s: (now + life).timestamp(),
        };
        let sealed = self.sessions.seal(&session);
        let sealed = sealed.ok_or_else(|| Error::overloaded("no session could be made now"))?;
        if sealed.len() > MAX_SESSION_BYTES {
            return Err(Needs("a token whose grants fit into a cookie".to_owned()).into());
        }
        self.audit.done(principal, "session.create", &session.id.to_string(), json!({})).await;
        Ok((sealed, life))
    }

    /// Ends a session on every server, with the streams that it opened. One that is not valid needs no end.
    ///
    /// # Errors
    /// The end cannot be recorded now.
    pub async fn log_out(&self, principal: &Principal, sealed: Option<&str>) -> Result<(), Error> {
        Call::LogOut.check(principal)?;
        let session = sealed.and_then(|sealed| self.sessions.open::<Session>(sealed));
        let Some(session) = session else { return Ok(()) };
        let now = self.clock.now();
        self.store.revoke_session(session.id, session.until(), now).await?;
        self.renewal.load().await?;
        self.audit.done(principal, "session.revoke", &session.id.to_string(), json!({})).await;
        Ok(())
    }

    /// Makes a ticket that opens streams with this filter and no other.
    ///
    /// # Errors
    /// The caller may read nothing; the filter is too long for a URL.
    pub fn make_ticket(
        &self,
        principal: &Principal,
        session: Option<&str>,
        filter: Vec<(String, String)>,
        life: Duration,
    ) -> Result<NewTicket, Error> {
        Call::MakeTicket.check(principal)?;
        let bytes: usize = filter.iter().map(|(name, value)| name.len() + value.len()).sum();
        let bytes = bytes + principal.holder().map_or(0, Holder::grant_bytes);
        if bytes > MAX_TICKET_BYTES {
            let detail = format!(
                "the filter, and the grants of a token, have {bytes} bytes; a ticket holds {MAX_TICKET_BYTES}"
            );
            return Err(Error::body(vec![FieldError { pointer: String::new(), detail }]));
        }
        let expires = self.clock.now() + life;
        let session: Option<Session> = session.and_then(|sealed| self.sessions.open(sealed));
        let ticket = Ticket {
            holder: principal.holder().filter(|_| session.is_none()).cloned(),
            session,
            filter,
            expires_s: expires.timestamp(),
        };
        let sealed = self.tickets.seal(&ticket);
        let sealed = sealed.ok_or_else(|| Error::overloaded("no ticket could be made now"))?;
        Ok(NewTicket { ticket: sealed, expires_at: format_micros(ticket.until()) })
    }

    /// The filter of a ticket that opens streams now.
    ///
    /// # Errors
    /// It is no ticket of this deployment, or it has expired.
    pub fn ticket_filter(&self, sealed: &str) -> Result<Filter, Error> {
        let ticket = self.ticket(sealed);
        let ticket = ticket.ok_or_else(|| Error::unauthenticated("the ticket is not valid"))?;
        let mut filter = Filter::default();
        for (name, value) in &ticket.filter {
            if !matches!(filter.parse_parameter(name, value), Some(Ok(()))) {
                return Err(Error::unauthenticated("the ticket was made by another version"));
            }
        }
        Ok(filter)
    }

    fn ticket(&self, sealed: &str) -> Option<Ticket> {
        let ticket: Ticket = self.tickets.open(sealed)?;
        (ticket.until() > self.clock.now()).then_some(ticket)
    }

    /// The caller that made a ticket.
    fn holder(&self, ticket: &Ticket) -> Result<Principal, Refusal> {
        let now = self.clock.now();
        match (&ticket.session, &ticket.holder) {
            (Some(session), _) => self.keyring().session(session, now),
            (None, Some(holder)) => self.keyring().holder(holder, now),
            (None, None) if self.is_required => Err(Refusal::Unknown),
            (None, None) => Ok(Principal::anonymous()),
        }
    }

    /// Records that a call was refused.
    pub fn record_denial(&self, principal: &Principal, call: &str, needs: &str) {
        self.audit.denied(principal, call, "", needs);
    }
}
