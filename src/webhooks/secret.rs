//! The secret that signs a webhook's deliveries, and the signature.
//!
//! Invariant: `Debug` never shows a secret; [`Secret::reveal`] returns it, for the one response that contains
//! it. The scheme is the symmetric one of Standard Webhooks (standardwebhooks.com, specification 1.0):
//! HMAC-SHA256 over `id.timestamp.body` with the decoded secret, in Base64, after `v1,`.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

/// The prefix of every secret.
const PREFIX: &str = "whsec_";
/// How many bytes a secret may have, by the specification.
const SIZES: std::ops::RangeInclusive<usize> = 24..=64;
/// Bytes of a generated secret: the output size of HMAC-SHA256.
const GENERATED: usize = 32;

/// A valid secret.
#[derive(Clone)]
pub struct Secret {
    text: String,
    key: hmac::Key,
}

impl Secret {
    /// Generates a secret; `None` if the system gives no random bytes.
    #[must_use]
    pub fn generate() -> Option<Self> {
        let mut bytes = [0_u8; GENERATED];
        SystemRandom::new().fill(&mut bytes).ok()?;
        Some(Self::of(&bytes))
    }

    fn of(bytes: &[u8]) -> Self {
        let text = format!("{PREFIX}{}", STANDARD.encode(bytes));
        Self { text, key: hmac::Key::new(hmac::HMAC_SHA256, bytes) }
    }

    /// The text of the secret, for the client that creates the webhook, and for the store.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// The value of `webhook-signature` for a body that is sent with this `webhook-id` and this
    /// `webhook-timestamp` (seconds since 1970).
    #[must_use]
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let mut signing = hmac::Context::with_key(&self.key);
        signing.update(format!("{id}.{timestamp}.").as_bytes());
        signing.update(body);
        format!("v1,{}", STANDARD.encode(signing.sign()))
    }
}

impl FromStr for Secret {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const RULE: &str = "must be whsec_ and the Base64 of 24 to 64 bytes";
        let encoded = text.strip_prefix(PREFIX).ok_or(RULE)?;
        let bytes = STANDARD.decode(encoded).map_err(|_| RULE)?;
        if SIZES.contains(&bytes.len()) { Ok(Self::of(&bytes)) } else { Err(RULE) }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("whsec_***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn signs_as_the_reference_implementations_do() {
        // The vector with which the libraries of Standard Webhooks are tested.
        let secret: Secret = KNOWN.parse().expect("a valid secret");
        let signature =
            secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn only_secrets_of_the_specification_are_taken() {
        let with = |bytes: usize| format!("whsec_{}", STANDARD.encode(vec![7_u8; bytes]));
        for good in [KNOWN.to_owned(), with(24), with(64)] {
            assert_eq!(good.parse::<Secret>().map(|s| s.reveal().to_owned()), Ok(good));
        }
        let bad = [with(23), with(65), String::new(), "whsec_".to_owned(), "whsec_%%%%".to_owned()];
        for bad in bad.iter().map(String::as_str).chain([&KNOWN[6..], &with(25)[..39]]) {
            assert!(bad.parse::<Secret>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_generated_secret_is_valid_new_and_hidden() {
        let make = || Secret::generate().expect("random bytes");
        let (a, b) = (make(), make());
        assert!(a.reveal().parse::<Secret>().is_ok() && a.reveal() != b.reveal());
        assert!(!format!("{a:?}").contains(&a.reveal()[6..]));
    }
}
