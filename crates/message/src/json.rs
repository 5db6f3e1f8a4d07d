//! Handles JSON as text: splits an object into members, and removes the white space between tokens.
//!
//! Invariant: only that white space changes. Numbers, escapes, the order of members and repeated members of
//! `metadata` reach every reader as they were sent.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// One member of a JSON object. The name is borrowed unless it has escapes.
pub type Member<'a> = (Cow<'a, str>, &'a RawValue);

/// The members of one JSON object, in order. Repeated names are kept.
#[derive(Debug)]
pub struct Members<'a>(pub Vec<Member<'a>>);

/// The name of a member. A type of its own, because serde borrows into a `Cow` only with an explicit
/// attribute.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::with_capacity(16);
        while let Some((Name(name), value)) = map.next_entry()? {
            members.push((name, value));
        }
        Ok(Members(members))
    }
}

/// The text of a raw value that is a string, borrowed unless it has escapes.
///
/// # Errors
/// The value is not a string, or holds an unpaired surrogate.
pub fn string(raw: &RawValue) -> Result<Cow<'_, str>, serde_json::Error> {
    let json = raw.get();
    let inner = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    match inner.filter(|inner| !inner.as_bytes().contains(&b'\\')) {
        // The string was already checked when the raw value was parsed. Without a backslash it has no
        // escapes.
        Some(plain) => Ok(Cow::Borrowed(plain)),
        None => serde_json::from_str(json).map(Cow::Owned),
    }
}

/// Why valid JSON is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompactError {
    /// The JSON holds U+0000, which PostgreSQL's `jsonb` and `text` do not accept.
    Nul,
    /// The JSON holds an unpaired surrogate, which is not Unicode text (RFC 8259, section 8.2).
    Surrogate,
    /// Objects and arrays are nested deeper than allowed.
    Depth,
}

/// Appends valid JSON to `out` without the white space between its tokens.
///
/// # Errors
/// The value is refused. The contents of `out` are then undefined.
pub fn compact(json: &str, max_depth: usize, out: &mut String) -> Result<(), CompactError> {
    let bytes = json.as_bytes();
    let (mut depth, mut at) = (0_usize, 0_usize);
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' => at += 1,
            b'"' => {
                let end = string_end(bytes, at)?;
                out.push_str(&json[at..end]);
                at = end;
            }
            _ => {
                match byte {
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                if depth > max_depth {
                    return Err(CompactError::Depth);
                }
                out.push(char::from(byte));
                at += 1;
            }
        }
    }
    Ok(())
}

/// The index behind the string that opens at `open`.
fn string_end(bytes: &[u8], open: usize) -> Result<usize, CompactError> {
    let mut at = open + 1;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => return Ok(at + 1),
            b'\\' if bytes.get(at + 1) == Some(&b'u') => at = escape_end(bytes, at)?,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    Ok(bytes.len())
}

/// The index behind the `\u` escape at `at`, or behind the pair of escapes of a surrogate pair.
fn escape_end(bytes: &[u8], at: usize) -> Result<usize, CompactError> {
    match code_unit(bytes, at) {
        Some(0) => Err(CompactError::Nul),
        Some(0xD800..=0xDBFF) => match code_unit(bytes, at + 6) {
            Some(0xDC00..=0xDFFF) => Ok(at + 12),
            _ => Err(CompactError::Surrogate),
        },
        Some(0xDC00..=0xDFFF) => Err(CompactError::Surrogate),
        _ => Ok(at + 6),
    }
}

/// The UTF-16 code unit of the escape in the six bytes at `at`.
fn code_unit(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn compacted(json: &str) -> Result<String, CompactError> {
        let mut out = String::new();
        compact(json, 32, &mut out).map(|()| out)
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[^\u{0}]{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                proptest::collection::btree_map("[a-z \\\\\"]{0,5}", inner, 0..5)
                    .prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn pretty_and_compact_spellings_compact_alike(value in value()) {
            let pretty = serde_json::to_string_pretty(&value).expect("serialises");
            let plain = value.to_string();
            prop_assert_eq!(compacted(&pretty), Ok(plain.clone()));
            prop_assert_eq!(compacted(&plain), Ok(plain));
        }
    }

    #[test]
    fn numbers_and_escapes_survive() {
        let odd = r#"{"b":1.50e+3,"a":12345678901234567890123,"b":"\u00e9\/\\u0000","n":-0.0}"#;
        assert_eq!(compacted(odd).as_deref(), Ok(odd));
        assert_eq!(compacted("{ \"a b\" : [ 1 , 2 ]\r\n}").as_deref(), Ok(r#"{"a b":[1,2]}"#));
    }

    #[test]
    fn refuses_nul_and_half_pairs_wherever_they_hide() {
        assert_eq!(compacted(r#"{"a":["\u0000"]}"#), Err(CompactError::Nul));
        assert_eq!(compacted(r#"{"\u0000":1}"#), Err(CompactError::Nul));
        assert_eq!(compacted(r#"["\\\u0000"]"#), Err(CompactError::Nul));
        assert!(compacted(r#"["\\u0000"]"#).is_ok());
        assert_eq!(compacted(r#"["\ud83d"]"#), Err(CompactError::Surrogate));
        assert_eq!(compacted(r#"["\ude00"]"#), Err(CompactError::Surrogate));
        assert!(compacted(r#"["\ud83d\ude00"]"#).is_ok());
    }

    #[test]
    fn depth_counts_the_containers() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(compacted(&nested(32)).is_ok());
        assert_eq!(compacted(&nested(33)), Err(CompactError::Depth));
        assert_eq!(compacted(&nested(300_000)), Err(CompactError::Depth));
    }
}
