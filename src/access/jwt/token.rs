//! One token: from its text to what its issuer says of its bearer.
//!
//! Invariant: nothing of a token is believed before its signature is verified, except which issuer and which of its keys
//! to verify it with.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use chrono::{DateTime, Utc};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation, decode};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::key_set::KeySet;
use crate::access::grants::Grants;
use crate::access::row::read_object;
use crate::limits::JWT_NOT_BEFORE_LEEWAY;
use crate::message::Token;

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    /// It cannot be read.
    #[error("the credential is no JWT that can be read")]
    Malformed,
    /// No issuer of this deployment has its `iss`.
    #[error("the issuer (iss) of the token is not one of this deployment")]
    Issuer,
    /// Its `alg` is not that of its issuer.
    #[error("the algorithm (alg) of the token is not the one of its issuer")]
    Algorithm,
    /// Its `kid` is not one of the issuer's keys.
    #[error("the key (kid) of the token is not one of its issuer's")]
    UnknownKey,
    /// The issuer's keys were not fetched yet.
    #[error("the keys of the token's issuer cannot be fetched now")]
    NoKeys,
    /// The signature is not by that key.
    #[error("the signature of the token is not valid")]
    Signature,
    /// It is for somebody else.
    #[error("the audience (aud) of the token is another one")]
    Audience,
    /// Its time is over.
    #[error("the token has expired (exp)")]
    Expired,
    /// Its time has not come.
    #[error("the token is not valid yet (nbf)")]
    NotYetValid,
    /// Its `exp` is missing or no time.
    #[error("the token has no time at which it ends (exp)")]
    NoEnd,
    /// Its subject cannot be a sender.
    #[error("the subject (sub) of the token must be 1 to 64 characters of A-Z a-z 0-9 _ -")]
    Subject,
    /// Its claim `agentbus` holds no grants.
    #[error("the claim agentbus of the token must be an object of grants")]
    Grants,
    /// Its claim and the issuer's most multiply.
    #[error("the claim agentbus has too many subjects that its issuer's most covers in part")]
    TooManyGrants,
}

/// What a token says of itself, before anything is verified.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unverified {
    pub(super) algorithm: String,
    pub(super) key_id: Option<String>,
    pub(super) issuer: String,
}

/// Who signs tokens, and how.
#[derive(Debug)]
pub(super) struct Signer {
    pub(super) algorithm: Algorithm,
    validation: Validation,
}

/// What the issuer says of a token's bearer.
#[derive(Debug)]
pub(super) struct Verified {
    pub(super) subject: Token,
    /// The claim `agentbus`.
    pub(super) grants: Grants,
    pub(super) until: DateTime<Utc>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
}

#[derive(Deserialize)]
struct Issuer {
    iss: String,
}

#[derive(Deserialize)]
struct Claims {
    sub: Option<String>,
    exp: Option<f64>,
    nbf: Option<f64>,
    agentbus: Option<Box<RawValue>>,
}

impl Unverified {
    /// Reads header and issuer.
    pub(super) fn parse(text: &str) -> Result<Self, TokenFault> {
        fn part<T: for<'a> Deserialize<'a>>(text: Option<&str>) -> Result<T, TokenFault> {
            let json = text.and_then(|text| BASE64.decode(text).ok());
            let parsed = json.and_then(|json| serde_json::from_slice(&json).ok());
            parsed.ok_or(TokenFault::Malformed)
        }
        let mut parts = text.split('.');
        let header: Header = part(parts.next())?;
        let Issuer { iss: issuer } = part(parts.next())?;
        if parts.count() != 1 {
            return Err(TokenFault::Malformed);
        }
        Ok(Self { algorithm: header.alg, key_id: header.kid, issuer })
    }
}

impl Signer {
    pub(super) fn new(algorithm: Algorithm, issuer: &str, audience: &str) -> Self {
        let mut validation = Validation::new(algorithm);
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[audience]);
        validation.set_required_spec_claims(&["iss", "aud"]);
        // By the server's clock, which `jsonwebtoken` does not know.
        validation.validate_exp = false;
        Self { algorithm, validation }
    }

    /// Verifies a token with the keys that may have signed it; there are none if they were not fetched yet.
    pub(super) fn verify(
        &self,
        text: &str,
        token: &Unverified,
        keys: Option<&KeySet>,
        now: DateTime<Utc>,
    ) -> Result<Verified, TokenFault> {
        if token.algorithm != format!("{:?}", self.algorithm) {
            return Err(TokenFault::Algorithm);
        }
        let keys = keys.ok_or(TokenFault::NoKeys)?;
        let mut fault = TokenFault::UnknownKey;
        for key in keys.candidates(token.key_id.as_deref()) {
            match decode::<Claims>(text, key, &self.validation) {
                Ok(token) => return token.claims.read(now),
                Err(error) => fault = fault_of(error.kind()),
            }
            if fault != TokenFault::Signature {
                break;
            }
        }
        Err(fault)
    }
}

fn fault_of(error: &ErrorKind) -> TokenFault {
    match error {
        ErrorKind::InvalidSignature => TokenFault::Signature,
        ErrorKind::InvalidAlgorithm => TokenFault::Algorithm,
        ErrorKind::InvalidIssuer => TokenFault::Issuer,
        ErrorKind::InvalidAudience => TokenFault::Audience,
        ErrorKind::MissingRequiredClaim(claim) | ErrorKind::InvalidClaimFormat(claim)
            if claim == "aud" =>
        {
            TokenFault::Audience
        }
        _ => TokenFault::Malformed,
    }
}

impl Claims {
    fn read(self, now: DateTime<Utc>) -> Result<Verified, TokenFault> {
        let until = self.exp.and_then(time).ok_or(TokenFault::NoEnd)?;
        if until <= now {
            return Err(TokenFault::Expired);
        }
        if let Some(from) = self.nbf {
            let from = time(from).ok_or(TokenFault::NotYetValid)?;
            if from > now + JWT_NOT_BEFORE_LEEWAY {
                return Err(TokenFault::NotYetValid);
            }
        }
        let subject = self.sub.and_then(|sub| sub.parse().ok()).ok_or(TokenFault::Subject)?;
        let grants = match self.agentbus {
            Some(claim) => read_object(claim.get(), Grants::parse).ok_or(TokenFault::Grants)?,
            None => Grants::default(),
        };
        Ok(Verified { subject, grants, until })
    }
}

/// A time in seconds since 1970 (RFC 7519, NumericDate). A fraction ends it early.
fn time(seconds: f64) -> Option<DateTime<Utc>> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let is_time = (0.0..EXACT).contains(&seconds);
    DateTime::from_timestamp(seconds as i64, 0).filter(|_| is_time)
}
