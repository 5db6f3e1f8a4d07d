//! The issuers of a deployment, and the callers that have tokens of them.
//!
//! Invariants: a token opens nothing after its `exp`. The same token has the same principal for as long as that holds
//! something open. A token that was verified is verified again once its issuer's keys were fetched anew.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::crypto;
use super::file::{self, IssuerSettings};
use super::key_source::KeySource;
use super::token::{Signer, TokenFault, Unverified, Verified};
use crate::access::grants::Grants;
use crate::access::key::{KeyHash, KeyId};
use crate::access::limits::{KeyLimits, Meter};
use crate::access::principal::{EndReason, KeyInfo, KeyKind, Principal};
use crate::access::refusal::Refusal;
use crate::access::row::read_object;
use crate::access::seals::{Holder, TokenBearer};
use crate::limits::{MAX_KNOWN_TOKENS, MAX_METERED_SUBJECTS};
use crate::message::Token;

/// Whose tokens are accepted.
#[derive(Default)]
pub struct Issuers {
    all: Vec<Issuer>,
    tokens: Mutex<HashMap<String, KnownToken>>,
    /// What subjects have used of their limits, by identity.
    meters: Mutex<HashMap<String, Arc<Meter>>>,
}

struct Issuer {
    name: String,
    issuer: String,
    signer: Signer,
    keys: KeySource,
    kind: KeyKind,
    sub_as: bool,
    most: Grants,
    limits: KeyLimits,
}

/// A token that was verified, or one whose bearer opened a session.
struct KnownToken {
    principal: Principal,
    until: DateTime<Utc>,
    issuer: String,
    /// Of the keys that it was verified with; 0: it was not.
    generation: u64,
}

impl Issuers {
    /// The issuers in this file.
    ///
    /// # Errors
    /// All faults of the file, as a text for the operator.
    pub fn load(path: &Path) -> Result<Self, String> {
        crypto::install();
        let issuer = |settings: IssuerSettings| {
            let IssuerSettings { issuer, audience, algorithm, .. } = &settings;
            let signer = Signer::new(*algorithm, issuer, audience);
            let IssuerSettings { name, issuer, keys, kind, sub_as, most, limits, .. } = settings;
            Issuer { name, issuer, signer, keys, kind, sub_as, most, limits }
        };
        let all = file::read(path)?.into_iter().map(issuer).collect();
        Ok(Self { all, ..Self::default() })
    }

    /// Whether a text has the form of a token.
    #[must_use]
    pub fn is_token(text: &str) -> bool {
        text.bytes().filter(|&byte| byte == b'.').count() == 2
    }

    /// The bearer of this token.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn authenticate(&self, text: &str, now: DateTime<Utc>) -> Result<Principal, Refusal> {
        if self.all.is_empty() {
            return Err(Refusal::Unknown);
        }
        let id = BASE64.encode(KeyHash::of_text(text).as_bytes());
        if let Some(known) = self.tokens.lock().get(&id)
            && self.issuer(&known.issuer).is_some_and(|i| i.keys.generation() == known.generation)
        {
            return match known.until > now {
                true => Ok(known.principal.clone()),
                false => Err(TokenFault::Expired.into()),
            };
        }
        let token = Unverified::parse(text)?;
        let issuer = self.all.iter().find(|known| known.issuer == token.issuer);
        let issuer = issuer.ok_or(TokenFault::Issuer)?;
        // Read before the keys: what is verified with newer ones is at worst verified once more.
        let generation = issuer.keys.generation();
        let keys = issuer.keys.keys();
        let verified = issuer.signer.verify(text, &token, keys.as_deref(), now)?;
        let Verified { subject, grants, until } = verified;
        let granted = grants.intersection(&issuer.most).ok_or(TokenFault::TooManyGrants)?;
        self.open(issuer, subject, granted, until, id, generation)
    }

    /// The bearer of a token who opened a session or made a ticket.
    ///
    /// # Errors
    /// The token has expired; its issuer is none of this deployment any more.
    pub fn bearer(&self, bearer: &TokenBearer, now: DateTime<Utc>) -> Result<Principal, Refusal> {
        let issuer = self.issuer(&bearer.issuer).ok_or(TokenFault::Issuer)?;
        if bearer.until() <= now {
            return Err(TokenFault::Expired.into());
        }
        if let Some(known) = self.tokens.lock().get(&bearer.token) {
            return Ok(known.principal.clone());
        }
        let subject: Token = bearer.subject.parse().map_err(|_| TokenFault::Subject)?;
        let grants = read_object(&bearer.grants, Grants::parse).ok_or(TokenFault::Grants)?;
        let granted = grants.intersection(&issuer.most).ok_or(TokenFault::TooManyGrants)?;
        self.open(issuer, subject, granted, bearer.until(), bearer.token.clone(), 0)
    }

    /// The principal of a token, which stays the same while it is known.
    fn open(
        &self,
        issuer: &Issuer,
        subject: Token,
        granted: Grants,
        until: DateTime<Utc>,
        token: String,
        generation: u64,
    ) -> Result<Principal, Refusal> {
        let mut tokens = self.tokens.lock();
        if tokens.len() >= MAX_KNOWN_TOKENS && tokens.len() == tokens.capacity() {
            tokens.retain(|_, known| known.principal.is_held());
            let kept = tokens.len();
            tokens.reserve(kept);
        }
        if let Some(known) = tokens.get_mut(&token) {
            known.generation = known.generation.max(generation);
            return Ok(known.principal.clone());
        }
        let principal = self.principal(issuer, subject, granted, until, &token);
        let issuer = issuer.name.clone();
        let known = KnownToken { principal: principal.clone(), until, issuer, generation };
        tokens.insert(token, known);
        Ok(principal)
    }

    fn principal(
        &self,
        issuer: &Issuer,
        subject: Token,
        granted: Grants,
        until: DateTime<Utc>,
        token: &str,
    ) -> Principal {
        let info = KeyInfo {
            id: KeyId::of_issuer(&issuer.name),
            name: subject.to_string(),
            kind: issuer.kind,
            expires_at: Some(until),
        };
        let meter = self.meter(format!("{}/{subject}", info.id), issuer.limits);
        let holder = Holder::Token(TokenBearer {
            issuer: issuer.name.clone(),
            subject: subject.to_string(),
            grants: serde_json::to_string(&granted).unwrap_or_default(),
            expires_s: until.timestamp(),
            token: token.to_owned(),
        });
        let grants = if issuer.sub_as { granted.with_name(subject) } else { granted };
        Principal::with_key(info, holder, grants, meter)
    }

    fn meter(&self, identity: String, limits: KeyLimits) -> Arc<Meter> {
        if limits == KeyLimits::default() {
            return Arc::new(Meter::new(limits));
        }
        let mut meters = self.meters.lock();
        if meters.len() >= MAX_METERED_SUBJECTS && meters.len() == meters.capacity() {
            meters.retain(|_, meter| Arc::strong_count(meter) > 1);
            let kept = meters.len();
            meters.reserve(kept);
        }
        Arc::clone(meters.entry(identity).or_insert_with(|| Arc::new(Meter::new(limits))))
    }

    fn issuer(&self, name: &str) -> Option<&Issuer> {
        self.all.iter().find(|issuer| issuer.name == name)
    }

    /// The kind of the bearers of an issuer's tokens, by the id that their messages carry.
    #[must_use]
    pub fn kind_of(&self, key_id: &str) -> Option<KeyKind> {
        let issuer = |issuer: &&Issuer| KeyId::of_issuer(&issuer.name).as_str() == key_id;
        self.all.iter().find(issuer).map(|issuer| issuer.kind)
    }

    /// Ends the bearers whose tokens have expired.
    pub fn expire(&self, now: DateTime<Utc>) {
        self.tokens.lock().retain(|_, known| {
            let is_over = known.until <= now;
            if is_over {
                known.principal.end(EndReason::Expired);
            }
            !is_over
        });
    }

    /// Waits until the keys of this token's issuer were fetched again, if that is due. Returns whether they were.
    pub async fn refresh(&self, text: &str) -> bool {
        let Ok(token) = Unverified::parse(text) else { return false };
        match self.all.iter().find(|issuer| issuer.issuer == token.issuer) {
            Some(issuer) => issuer.keys.refresh().await,
            None => false,
        }
    }

    /// Keeps the keys of all issuers, until cancelled.
    pub async fn keep(self: Arc<Self>, cancel: CancellationToken) {
        join_all(self.all.iter().map(|issuer| issuer.keys.keep(cancel.clone()))).await;
        // Without a JWKS there is nothing to fetch, but a task that ends by itself stops the server.
        cancel.cancelled().await;
    }

    /// Fetches the keys of each issuer once: its name, and how many keys it has or why they cannot be fetched.
    pub async fn check(&self) -> Vec<(&str, Result<usize, String>)> {
        let check = async |issuer: &'_ Issuer| issuer.keys.check().await;
        let checked = join_all(self.all.iter().map(check)).await;
        self.all.iter().map(|issuer| &*issuer.name).zip(checked).collect()
    }
}

impl std::fmt::Debug for Issuers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.all.iter().map(|issuer| &issuer.name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use jsonwebtoken::Algorithm;
    use ring::hmac;
    use serde_json::{Value, json};

    use super::super::key_set::KeySet;
    use super::*;
    use crate::access::testing::grants;

    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + second, 0).expect("a time")
    }

    fn issuers(most: &str, limits: KeyLimits) -> Issuers {
        crypto::install();
        let issuer = Issuer {
            name: "corp".to_owned(),
            issuer: "me".to_owned(),
            signer: Signer::new(Algorithm::HS256, "me", "bus"),
            keys: KeySource::fixed(KeySet::secret(SECRET).expect("a secret")),
            kind: KeyKind::Agent,
            sub_as: false,
            most: grants(most),
            limits,
        };
        Issuers { all: vec![issuer], ..Issuers::default() }
    }

    /// A token that ends at this second.
    fn token(subject: &str, end: i64, grants: &Value) -> String {
        let claims = json!({
            "iss": "me", "aud": "bus", "sub": subject, "exp": at(end).timestamp(), "agentbus": grants,
        });
        let message = format!(
            "{}.{}",
            BASE64.encode(r#"{"alg":"HS256"}"#),
            BASE64.encode(claims.to_string())
        );
        let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), message.as_bytes());
        format!("{message}.{}", BASE64.encode(signature))
    }

    #[test]
    fn a_token_has_one_principal_until_it_expires() {
        let issuers = issuers(r#"{"read":["agent.task.>"]}"#, KeyLimits::default());
        let text = token("ann", 60, &json!({"read": ["agent.>"]}));
        let open = issuers.authenticate(&text, at(0)).expect("a token");
        assert_eq!(*open.grants(), grants(r#"{"read":["agent.task.>"]}"#));
        assert_eq!(open.identity().as_deref(), Some("jwt-corp/ann"));
        assert!(issuers.authenticate(&text, at(59)).expect("a token").is(&open));
        issuers.expire(at(59));
        assert_eq!(open.ended().now_or_never(), None);
        assert_eq!(issuers.authenticate(&text, at(60)).err(), Some(TokenFault::Expired.into()));
        issuers.expire(at(60));
        assert_eq!(open.ended().now_or_never(), Some(EndReason::Expired));
        assert_eq!(issuers.authenticate(&text, at(60)).err(), Some(TokenFault::Expired.into()));
    }

    #[test]
    fn the_bearer_of_a_session_has_no_more_than_the_most_of_now() {
        let read_all = json!({"read": ["agent.>"]});
        let before = issuers(r#"{"read":["agent.>"]}"#, KeyLimits::default());
        let open = before.authenticate(&token("ann", 60, &read_all), at(0)).expect("a token");
        let Some(Holder::Token(bearer)) = open.holder() else { panic!("a token") };
        assert!(before.bearer(bearer, at(0)).expect("the bearer").is(&open));
        let now = issuers(r#"{"read":["agent.task.t1.>"]}"#, KeyLimits::default());
        let narrow = now.bearer(bearer, at(0)).expect("the bearer");
        assert_eq!(*narrow.grants(), grants(r#"{"read":["agent.task.t1.>"]}"#));
        // The token itself is verified all the same.
        let same = now.authenticate(&token("ann", 60, &read_all), at(0)).expect("a token");
        assert!(same.is(&narrow));
        assert_eq!(now.bearer(bearer, at(60)).err(), Some(TokenFault::Expired.into()));
        let other = Issuers::default().bearer(bearer, at(0)).err();
        assert_eq!(other, Some(TokenFault::Issuer.into()));
    }

    #[test]
    fn tokens_that_hold_nothing_open_take_no_memory() {
        let issuers = issuers("{}", KeyLimits::default());
        let held = token("ann", 60, &json!({}));
        let open = issuers.authenticate(&held, at(0)).expect("a token");
        for n in 0..3 * MAX_KNOWN_TOKENS {
            let text = token(&format!("a{n}"), 60, &json!({}));
            issuers.authenticate(&text, at(0)).expect("a token");
        }
        let known = issuers.tokens.lock().len();
        assert!(known < 2 * MAX_KNOWN_TOKENS, "{known} tokens");
        assert!(issuers.authenticate(&held, at(0)).expect("a token").is(&open));
    }

    #[test]
    fn all_tokens_of_a_subject_use_its_limits() {
        let limits = KeyLimits { requests_per_s: Some(1), ..KeyLimits::default() };
        let issuers = issuers("{}", limits);
        let meter = |subject, end| {
            let open =
                issuers.authenticate(&token(subject, end, &json!({})), at(0)).expect("a token");
            Arc::clone(open.meter().expect("a meter"))
        };
        assert!(Arc::ptr_eq(&meter("ann", 60), &meter("ann", 61)));
        assert!(!Arc::ptr_eq(&meter("ann", 60), &meter("bob", 60)));
    }
}
