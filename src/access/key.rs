//! The text of a key: `ab_<id>_<secret><checksum>` (contract, section 11).
//!
//! Invariant: `Debug` never shows a secret, and only its SHA-256 is kept; [`KeyText::reveal`] is for the one response
//! that contains it. The secret has 190 random bits, so a plain SHA-256 is enough: there is nothing to guess. The
//! checksum finds a key that was cut or mistyped without a look at the table, and lets scanners find leaked keys.

use std::fmt;
use std::str::FromStr;

use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

/// What every key begins with.
const PREFIX: &str = "ab_";
/// What the ids of issuers begin with.
const ISSUER_PREFIX: &str = "jwt-";
/// Characters of an id: 36^12 ids, so that two of one deployment never meet.
const ID_CHARS: usize = 12;
/// The most characters of an id that is read: one of another version may be longer.
const MAX_ID_CHARS: usize = 32;
/// Characters of a secret: 190 bits.
const SECRET_CHARS: usize = 32;
/// Characters of the checksum: one of 62^6, which misses one mistyped key in 56 billion.
const CHECKSUM_CHARS: usize = 6;
/// The alphabet of secrets and checksums; its first 36 characters are that of ids.
const ALPHABET: &[u8; 62] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
const ID_ALPHABET: usize = 36;

/// The id of a key: public, part of its text, 1 to 32 characters of `a-z0-9`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(String);

/// A whole key as its owner has it.
pub struct KeyText {
    id: KeyId,
    secret: String,
}

/// Names a secret of a key without showing anything of it. Sessions and tickets carry it, and end with the secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretId {
    /// The id of the key.
    #[serde(rename = "k")]
    key: String,
    /// The first half of the hash.
    #[serde(rename = "h")]
    hash: String,
}

/// The SHA-256 of a key's text: what is kept of it.
#[derive(Clone)]
pub struct KeyHash([u8; SHA256_OUTPUT_LEN]);

impl KeyId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl KeyId {
    /// The id of the key in `ROOT_KEY_FILE`.
    #[must_use]
    pub fn root() -> Self {
        Self("root".to_owned())
    }

    /// The id that stands for all tokens of an issuer with this name. No key has it: theirs have no `-`.
    #[must_use]
    pub fn of_issuer(name: &str) -> Self {
        Self(format!("{ISSUER_PREFIX}{name}"))
    }
}

impl FromStr for KeyId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_valid = (1..=MAX_ID_CHARS).contains(&text.len())
            && text.bytes().all(|b| ALPHABET[..ID_ALPHABET].contains(&b));
        if is_valid {
            Ok(Self(text.to_owned()))
        } else {
            Err("must be 1 to 32 characters of a-z 0-9")
        }
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl KeyText {
    /// A key with a new id; `None` when the system gives no random bytes.
    #[must_use]
    pub fn generate() -> Option<Self> {
        let id = random_text(&ALPHABET[..ID_ALPHABET], ID_CHARS)?;
        Self::generate_for(KeyId(id))
    }

    /// A new secret for a key; `None` when the system gives no random bytes.
    #[must_use]
    pub fn generate_for(id: KeyId) -> Option<Self> {
        Some(Self { id, secret: random_text(ALPHABET, SECRET_CHARS)? })
    }

    /// The public part.
    #[must_use]
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// The text itself, for the client that makes or rotates the key.
    #[must_use]
    pub fn reveal(&self) -> String {
        let plain = format!("{PREFIX}{}_{}", self.id, self.secret);
        let checksum = checksum(&plain);
        plain + &checksum
    }

    /// What is kept of it.
    #[must_use]
    pub fn hash(&self) -> KeyHash {
        KeyHash::of_text(&self.reveal())
    }
}

impl FromStr for KeyText {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const RULE: &str = "is not a key of agentbus, or was cut or mistyped";
        let (id, rest) =
            text.strip_prefix(PREFIX).and_then(|text| text.split_once('_')).ok_or(RULE)?;
        let is_plain = rest.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !is_plain || rest.len() != SECRET_CHARS + CHECKSUM_CHARS {
            return Err(RULE);
        }
        let id = id.parse().map_err(|_| RULE)?;
        let (plain, given) = text.split_at(text.len() - CHECKSUM_CHARS);
        if checksum(plain) != given {
            return Err(RULE);
        }
        Ok(Self { id, secret: rest[..SECRET_CHARS].to_owned() })
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}_***", self.id)
    }
}

impl SecretId {
    /// Names the secret of a key with this hash.
    #[must_use]
    pub fn new(key: &KeyId, hash: &KeyHash) -> Self {
        Self { key: key.to_string(), hash: hash.prefix() }
    }

    /// The id of the key; `None` if another version has written it.
    #[must_use]
    pub fn key(&self) -> Option<KeyId> {
        self.key.parse().ok()
    }

    /// Whether it names the secret with this hash.
    #[must_use]
    pub fn names(&self, hash: &KeyHash) -> bool {
        hash.prefix() == self.hash
    }
}

impl KeyHash {
    /// The first half of it as text.
    fn prefix(&self) -> String {
        use std::fmt::Write as _;
        let half = &self.0[..SHA256_OUTPUT_LEN / 2];
        half.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// The hash of a key's text.
    #[must_use]
    pub fn of_text(text: &str) -> Self {
        let mut hash = [0; SHA256_OUTPUT_LEN];
        hash.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
        Self(hash)
    }

    /// The hash that the store has.
    #[must_use]
    pub const fn of_bytes(bytes: [u8; SHA256_OUTPUT_LEN]) -> Self {
        Self(bytes)
    }

    /// Its bytes, for the store.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; SHA256_OUTPUT_LEN] {
        &self.0
    }

    /// Whether both are of the same key, in a time that does not depend on where they differ.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:***")
    }
}

/// Random characters. Bytes beyond the largest multiple of the alphabet's size are dropped, so that each is as likely.
fn random_text(alphabet: &[u8], chars: usize) -> Option<String> {
    let random = SystemRandom::new();
    let fair = 256 - 256 % alphabet.len();
    let mut text = String::with_capacity(chars);
    let mut bytes = [0_u8; 64];
    while text.len() < chars {
        random.fill(&mut bytes).ok()?;
        let indices = bytes.iter().map(|&byte| usize::from(byte)).filter(|&index| index < fair);
        text.extend(
            indices
                .take(chars - text.len())
                .map(|index| char::from(alphabet[index % alphabet.len()])),
        );
    }
    Some(text)
}

/// The checksum of a key without it: the begin of its SHA-256, in the alphabet of secrets.
fn checksum(plain: &str) -> String {
    let hash = digest(&SHA256, plain.as_bytes());
    let mut number =
        hash.as_ref().iter().take(8).fold(0_u64, |number, &byte| number << 8 | u64::from(byte));
    let mut text = String::with_capacity(CHECKSUM_CHARS);
    for _ in 0..CHECKSUM_CHARS {
        let digit = usize::try_from(number % 62).unwrap_or_default();
        text.push(char::from(ALPHABET[digit]));
        number /= 62;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_back_and_shows_nothing_of_its_secret() {
        let key = KeyText::generate().expect("random bytes");
        let text = key.reveal();
        assert_eq!(text.len(), 3 + 12 + 1 + 32 + 6);
        let read: KeyText = text.parse().expect("a key");
        assert_eq!((read.id(), read.reveal()), (key.id(), text.clone()));
        assert!(read.hash().is(&key.hash()));
        let other = KeyText::generate_for(key.id().clone()).expect("random bytes");
        assert!(!other.hash().is(&key.hash()), "a new secret is another one");
        assert_eq!(format!("{key:?}"), format!("ab_{}_***", key.id()));
        assert!(!format!("{:?}", key.hash()).contains(&text[20..]));
    }

    #[test]
    fn a_key_with_one_other_character_is_refused() {
        let text = KeyText::generate().expect("random bytes").reveal();
        for at in 0..text.len() {
            let other = if text.as_bytes()[at] == b'x' { 'y' } else { 'x' };
            let mut wrong = text.clone();
            wrong.replace_range(at..=at, &other.to_string());
            assert!(wrong.parse::<KeyText>().is_err(), "{wrong}");
        }
        for wrong in
            ["", "ab_", "ab__", "Bearer", &text[..text.len() - 1], &format!("{text}x"), "ab_é_x"]
        {
            assert!(wrong.parse::<KeyText>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn each_character_is_as_likely() {
        let text = random_text(&ALPHABET[..36], 36_000).expect("random bytes");
        for &letter in &ALPHABET[..36] {
            let count = text.bytes().filter(|&byte| byte == letter).count();
            assert!((800..1_200).contains(&count), "{} stands {count} times", char::from(letter));
        }
    }
}
