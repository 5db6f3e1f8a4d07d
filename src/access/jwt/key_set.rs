//! The keys of an issuer: one secret, or the public keys of a JSON Web Key Set (RFC 7517).
//!
//! Invariant: every key fits the issuer's algorithm. Others are left out, so no token can choose one of another kind.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

use crate::limits::MAX_JWKS_KEYS;

/// The keys that an issuer signs with now.
#[derive(Debug)]
pub(super) struct KeySet {
    keys: Vec<SetKey>,
    /// Whether its keys have ids, as those of a JWKS do.
    has_ids: bool,
}

#[derive(Debug)]
struct SetKey {
    id: Option<String>,
    key: DecodingKey,
}

/// The members of a key that matter here.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
}

impl KeySet {
    /// The secret of HS256; `None` if it is empty.
    pub(super) fn secret(secret: &[u8]) -> Option<Self> {
        let key = DecodingKey::from_secret(secret).ok()?;
        Some(Self { keys: vec![SetKey { id: None, key }], has_ids: false })
    }

    /// Reads a JWKS; keys that do not fit the algorithm are left out.
    ///
    /// # Errors
    /// It is no JWKS, or has too many keys that fit.
    pub(super) fn parse(json: &[u8], algorithm: Algorithm) -> Result<Self, String> {
        let document: Value =
            serde_json::from_slice(json).map_err(|error| format!("is not JSON: {error}"))?;
        let Some(listed) = document.get("keys").and_then(Value::as_array) else {
            return Err("is no JWKS: it has no list \"keys\"".to_owned());
        };
        let jwks = listed.iter().filter_map(|key| Jwk::deserialize(key).ok());
        let keys: Vec<SetKey> =
            jwks.filter_map(|jwk| jwk.key(algorithm)).take(MAX_JWKS_KEYS + 1).collect();
        if keys.len() > MAX_JWKS_KEYS {
            return Err(format!("has more than {MAX_JWKS_KEYS} keys"));
        }
        Ok(Self { keys, has_ids: true })
    }

    /// How many keys there are.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The keys that may have signed a token with this `kid`. One without may be signed by the only key there is.
    pub(super) fn candidates<'a>(
        &'a self,
        id: Option<&'a str>,
    ) -> impl Iterator<Item = &'a DecodingKey> {
        let is_only = self.keys.len() == 1;
        let fits = move |key: &&SetKey| match id {
            Some(id) => !self.has_ids || key.id.as_deref() == Some(id),
            None => is_only,
        };
        self.keys.iter().filter(fits).map(|key| &key.key)
    }
}

impl Jwk {
    /// The key, if it is one to verify this algorithm with.
    fn key(self, algorithm: Algorithm) -> Option<SetKey> {
        // RFC 9864 has a name of its own for EdDSA with this curve.
        let is_alias = |alg: &str| algorithm == Algorithm::EdDSA && alg == "Ed25519";
        let named = |alg: &str| alg == format!("{algorithm:?}") || is_alias(alg);
        let verifies = self.alg.as_deref().is_none_or(named)
            && self.purpose.as_deref().is_none_or(|purpose| purpose == "sig")
            && self.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        let key = match (algorithm, &*self.kty, self.crv.as_deref()) {
            (Algorithm::RS256, "RSA", None) => rsa(self.n?.as_str(), self.e?.as_str()),
            (Algorithm::ES256, "EC", Some("P-256")) => {
                DecodingKey::from_ec_components(part(&self.x?)?, part(&self.y?)?).ok()
            }
            (Algorithm::EdDSA, "OKP", Some("Ed25519")) => {
                DecodingKey::from_ed_components(part(&self.x?)?).ok()
            }
            _ => None,
        };
        Some(SetKey { id: self.kid, key: key.filter(|_| verifies)? })
    }
}

/// A part of a key on these curves: 32 bytes.
fn part(text: &str) -> Option<&str> {
    (BASE64.decode(text).ok()?.len() == 32).then_some(text)
}

/// An RSA key of 2048 to 8192 bits.
fn rsa(modulus: &str, exponent: &str) -> Option<DecodingKey> {
    let bytes = |text| BASE64.decode(text).ok();
    let (modulus, exponent) = (bytes(modulus)?, bytes(exponent)?);
    let plain = |bytes: &[u8]| bytes.iter().position(|&byte| byte != 0);
    let (modulus, exponent) = (&modulus[plain(&modulus)?..], &exponent[plain(&exponent)?..]);
    let is_strong = (256..=1_024).contains(&modulus.len()) && modulus[0] >= 0x80;
    is_strong.then(|| DecodingKey::from_rsa_raw_components(modulus, exponent))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(json: &str, algorithm: Algorithm) -> usize {
        KeySet::parse(json.as_bytes(), algorithm).expect("a JWKS").len()
    }

    #[test]
    fn a_key_that_does_not_fit_is_ignored() {
        let x = BASE64.encode([7; 32]);
        let good = format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}","kid":"a"}}"#);
        let count = |key: &str| keys(&format!(r#"{{"keys":[{key}]}}"#), Algorithm::EdDSA);
        assert_eq!(count(&good), 1);
        for more in
            [r#""use":"sig""#, r#""alg":"EdDSA""#, r#""alg":"Ed25519""#, r#""key_ops":["verify"]"#]
        {
            assert_eq!(count(&good.replace(r#""kid":"a""#, more)), 1, "{more}");
        }
        for other in [r#""use":"enc""#, r#""alg":"ES256""#, r#""key_ops":["sign"]"#] {
            assert_eq!(count(&good.replace(r#""kid":"a""#, other)), 0, "{other}");
        }
        for (from, to) in
            [("OKP", "EC"), ("Ed25519", "X25519"), (x.as_str(), "AAAA"), ("\"a\"", "7")]
        {
            assert_eq!(count(&good.replace(from, to)), 0, "{to}");
        }
        assert_eq!(keys(&format!(r#"{{"keys":[7,{{}},{good}]}}"#), Algorithm::ES256), 0);
        let secret = format!(r#"{{"kty":"oct","k":"{x}","alg":"HS256"}}"#);
        assert_eq!(keys(&format!(r#"{{"keys":[{secret}]}}"#), Algorithm::HS256), 0);
        for wrong in ["", "[]", "{}", r#"{"keys":{}}"#] {
            assert!(KeySet::parse(wrong.as_bytes(), Algorithm::EdDSA).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_weak_or_huge_rsa_key_is_ignored() {
        let count = |bytes: usize, first: u8| {
            let mut modulus = vec![1; bytes];
            modulus[0] = first;
            let n = BASE64.encode([&[0], &modulus[..]].concat());
            keys(&format!(r#"{{"keys":[{{"kty":"RSA","n":"{n}","e":"AQAB"}}]}}"#), Algorithm::RS256)
        };
        assert_eq!((count(256, 0x80), count(1_024, 0xff)), (1, 1));
        assert_eq!((count(256, 0x7f), count(128, 0x80), count(1_025, 0x80)), (0, 0, 0));
    }

    #[test]
    fn a_key_is_found_by_its_id() {
        let x = BASE64.encode([7; 32]);
        let key = |id: &str| format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}","kid":"{id}"}}"#);
        let set = |keys: &[String]| {
            let json = format!(r#"{{"keys":[{}]}}"#, keys.join(","));
            KeySet::parse(json.as_bytes(), Algorithm::EdDSA).expect("a JWKS")
        };
        let (one, two) = (set(&[key("a")]), set(&[key("a"), key("b")]));
        let count = |set: &KeySet, id| set.candidates(id).count();
        assert_eq!((count(&one, Some("a")), count(&one, Some("b")), count(&one, None)), (1, 0, 1));
        assert_eq!((count(&two, Some("b")), count(&two, None)), (1, 0));
        let many: Vec<String> = (0..=MAX_JWKS_KEYS).map(|n| key(&n.to_string())).collect();
        let json = format!(r#"{{"keys":[{}]}}"#, many.join(","));
        assert!(KeySet::parse(json.as_bytes(), Algorithm::EdDSA).is_err());
    }
}
