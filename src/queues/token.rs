//! The lease token: the lease itself, encrypted and authenticated.
//!
//! Invariant: only a server with the store's secret can make a token that opens. So the content of a token
//! that opens can be trusted. Each token has its own key (HKDF over a random salt, RFC 5869), so no nonce is
//! used twice with the same key.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use chrono::{DateTime, Utc};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Prk, Salt};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

const SALT_BYTES: usize = 16;
const PURPOSE: &[&[u8]] = &[b"agentbus lease token v1"];

/// A lease, as its token describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The name of the queue.
    pub queue: String,
    /// The job's sequence in the queue's log.
    pub seq: u64,
    /// The number of the attempt that the lease is for; the first is 1.
    pub attempt: u32,
    /// When the lease runs out, unless it is extended, in microseconds since 1970.
    pub expires_us: i64,
    /// Identifies the lease in store or bus. Named `grant` in tokens, since tokens with this name are in use.
    #[serde(rename = "grant")]
    pub handle: LeaseHandle,
}

/// Identifies a lease in the store or the bus that keeps the job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LeaseHandle {
    /// In the store: the id in the job's row.
    Store(Uuid),
    /// In JetStream: a delivery.
    JetStream {
        /// The ack subject of the delivery.
        ack: String,
        /// The lease's id in the ledger.
        lease: Uuid,
        /// The id of the job.
        job: Uuid,
    },
}

impl Lease {
    /// When the lease runs out, unless it is extended.
    #[must_use]
    pub fn expires_at(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.expires_us).unwrap_or(DateTime::UNIX_EPOCH)
    }
}

/// Seals and opens tokens.
pub struct Sealer {
    secret: [u8; 32],
    random: SystemRandom,
}

impl Sealer {
    /// Uses the secret that all servers of a deployment share.
    #[must_use]
    pub fn new(secret: [u8; 32]) -> Self {
        Self { secret, random: SystemRandom::new() }
    }

    /// A secret for a new deployment; `None` when the system has no randomness.
    #[must_use]
    pub fn fresh_secret() -> Option<[u8; 32]> {
        let mut secret = [0; 32];
        SystemRandom::new().fill(&mut secret).ok()?;
        Some(secret)
    }

    /// Makes the token of a lease; `None` if the system has no randomness.
    #[must_use]
    pub fn seal(&self, lease: &Lease) -> Option<String> {
        let mut token = vec![0; SALT_BYTES];
        self.random.fill(&mut token).ok()?;
        let key = self.key(&token)?;
        let mut body = serde_json::to_vec(lease).ok()?;
        let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
        key.seal_in_place_append_tag(nonce, Aad::empty(), &mut body).ok()?;
        token.append(&mut body);
        Some(BASE64.encode(token))
    }

    /// Opens a token; `None` if no server of this deployment sealed it.
    #[must_use]
    pub fn open(&self, token: &str) -> Option<Lease> {
        let mut bytes = BASE64.decode(token).ok()?;
        let (salt, body) = bytes.split_at_mut_checked(SALT_BYTES)?;
        let key = self.key(salt)?;
        let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
        let plain = key.open_in_place(nonce, Aad::empty(), body).ok()?;
        serde_json::from_slice(plain).ok()
    }

    fn key(&self, salt: &[u8]) -> Option<LessSafeKey> {
        let prk: Prk = Salt::new(HKDF_SHA256, salt).extract(&self.secret);
        let derived = prk.expand(PURPOSE, &CHACHA20_POLY1305).ok()?;
        Some(LessSafeKey::new(UnboundKey::from(derived)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease() -> Lease {
        Lease {
            queue: "q".to_owned(),
            seq: 7,
            attempt: 2,
            expires_us: 1_700_000_000_000_001,
            handle: LeaseHandle::JetStream {
                ack: "$JS.ACK.agent-jobs.q-high.1.7.7.1.0".to_owned(),
                lease: Uuid::nil(),
                job: Uuid::max(),
            },
        }
    }

    #[test]
    fn a_token_opens_under_its_own_secret_alone() {
        let (ours, theirs) = (Sealer::new([1; 32]), Sealer::new([2; 32]));
        let token = ours.seal(&lease()).expect("randomness");
        assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
        assert_ne!(Some(&token), ours.seal(&lease()).as_ref());
        assert_eq!(Sealer::new([1; 32]).open(&token), Some(lease()));
        assert_eq!(theirs.open(&token), None);
    }

    #[test]
    fn a_changed_token_does_not_open() {
        let sealer = Sealer::new([1; 32]);
        let token = sealer.seal(&lease()).expect("randomness");
        for at in [0, 20, 30, token.len() - 1] {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).expect("ASCII");
            assert_eq!(sealer.open(&changed), None, "{at}");
        }
        for odd in ["", "A", "not a token", "AAAA"] {
            assert_eq!(sealer.open(odd), None);
        }
    }
}
