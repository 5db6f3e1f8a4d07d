//! Seals values that clients carry: leases, sessions, tickets.
//!
//! Invariant: only a server with the store's secret can seal a value that opens, and one sealed for a purpose opens for
//! no other. So the content of what opens can be trusted. Each value has its own key (HKDF over a random salt,
//! RFC 5869), so no nonce is used twice with the same key.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Prk, Salt};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::Serialize;
use serde::de::DeserializeOwned;

const SALT_BYTES: usize = 16;

/// What a sealed value is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The token of a lease.
    Lease,
    /// The session of a browser.
    Session,
    /// A ticket that opens a stream.
    Ticket,
}

/// Seals values for one purpose, and opens them.
#[derive(Clone)]
pub struct Sealer {
    secret: [u8; 32],
    purpose: Purpose,
    random: SystemRandom,
}

impl Sealer {
    /// Uses the secret that all servers of a deployment share.
    #[must_use]
    pub fn new(secret: [u8; 32], purpose: Purpose) -> Self {
        Self { secret, purpose, random: SystemRandom::new() }
    }

    /// A secret for a new deployment; `None` when the system has no randomness.
    #[must_use]
    pub fn fresh_secret() -> Option<[u8; 32]> {
        let mut secret = [0; 32];
        SystemRandom::new().fill(&mut secret).ok()?;
        Some(secret)
    }

    /// Seals a value as text of `A-Z a-z 0-9 _ -`; `None` if the system has no randomness.
    #[must_use]
    pub fn seal(&self, value: &impl Serialize) -> Option<String> {
        let mut token = vec![0; SALT_BYTES];
        self.random.fill(&mut token).ok()?;
        let key = self.key(&token)?;
        let mut body = serde_json::to_vec(value).ok()?;
        let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
        key.seal_in_place_append_tag(nonce, Aad::empty(), &mut body).ok()?;
        token.append(&mut body);
        Some(BASE64.encode(token))
    }

    /// Opens a sealed value; `None` if no server of this deployment sealed it for this purpose.
    #[must_use]
    pub fn open<T: DeserializeOwned>(&self, token: &str) -> Option<T> {
        let mut bytes = BASE64.decode(token).ok()?;
        let (salt, body) = bytes.split_at_mut_checked(SALT_BYTES)?;
        let key = self.key(salt)?;
        let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
        let plain = key.open_in_place(nonce, Aad::empty(), body).ok()?;
        serde_json::from_slice(plain).ok()
    }

    fn key(&self, salt: &[u8]) -> Option<LessSafeKey> {
        let purpose: &[&[u8]] = match self.purpose {
            Purpose::Lease => &[b"agentbus lease token v1"],
            Purpose::Session => &[b"agentbus session v1"],
            Purpose::Ticket => &[b"agentbus ticket v1"],
        };
        let prk: Prk = Salt::new(HKDF_SHA256, salt).extract(&self.secret);
        let derived = prk.expand(purpose, &CHACHA20_POLY1305).ok()?;
        Some(LessSafeKey::new(UnboundKey::from(derived)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_opens_under_its_own_secret_and_purpose_alone() {
        let ours = Sealer::new([1; 32], Purpose::Lease);
        let token = ours.seal(&"lease").expect("randomness");
        assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
        assert_ne!(Some(&token), ours.seal(&"lease").as_ref());
        let opened = |sealer: Sealer| sealer.open::<String>(&token);
        assert_eq!(opened(Sealer::new([1; 32], Purpose::Lease)).as_deref(), Some("lease"));
        assert_eq!(opened(Sealer::new([2; 32], Purpose::Lease)), None);
        assert_eq!(opened(Sealer::new([1; 32], Purpose::Session)), None);
        assert_eq!(opened(Sealer::new([1; 32], Purpose::Ticket)), None);
    }

    #[test]
    fn a_changed_token_does_not_open() {
        let sealer = Sealer::new([1; 32], Purpose::Lease);
        let token = sealer.seal(&"a lease of a job").expect("randomness");
        for at in [0, 20, 30, token.len() - 1] {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).expect("ASCII");
            assert_eq!(sealer.open::<String>(&changed), None, "{at}");
        }
        for odd in ["", "A", "not a token", "AAAA"] {
            assert_eq!(sealer.open::<String>(odd), None);
        }
    }
}
