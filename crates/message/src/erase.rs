//! The erased form of an envelope: what it said is gone, and everything else stays (contract, section 17).
//!
//! Invariant: only the values of `content` and `metadata` change. The erased form of an erased form is itself.

use bytes::Bytes;

use super::json::Members;
use super::record::Record;

const ERASED: [(&str, &str); 2] = [("content", r#""""#), ("metadata", r#"{"erased":true}"#)];

/// The erased form of a body, with or without `seq`. Every `content` and `metadata` is replaced, if another program wrote
/// several; one that is missing is added at the end.
#[must_use]
pub fn erase(body: &[u8]) -> Bytes {
    let Ok(Members(members)) = serde_json::from_slice::<Members<'_>>(body) else {
        return Bytes::from(format!("{{{}}}", missing(&[])));
    };
    let mut out = Vec::with_capacity(body.len());
    let (mut copied, mut found) = (0, Vec::with_capacity(ERASED.len()));
    for (name, value) in &members {
        let Some((name, erased)) = ERASED.into_iter().find(|(erased, _)| erased == name) else {
            continue;
        };
        // The value is a part of the body.
        let at = value.get().as_ptr() as usize - body.as_ptr() as usize;
        out.extend_from_slice(&body[copied..at]);
        out.extend_from_slice(erased.as_bytes());
        copied = at + value.get().len();
        found.push(name);
    }
    out.extend_from_slice(&body[copied..]);
    let missing = missing(&found);
    if !missing.is_empty() {
        out.truncate(out.trim_ascii_end().len() - 1);
        let comma = if members.is_empty() { "" } else { "," };
        out.extend_from_slice(format!("{comma}{missing}}}").as_bytes());
    }
    Bytes::from(out)
}

fn missing(found: &[&str]) -> String {
    let missing = ERASED.into_iter().filter(|(name, _)| !found.contains(name));
    let members: Vec<String> = missing.map(|(name, value)| format!("\"{name}\":{value}")).collect();
    members.join(",")
}

impl Record {
    /// The record of the erased message. It has no headers either, and so belongs to no trace.
    #[must_use]
    pub fn erased(self) -> Self {
        Self { body: erase(&self.body), foreign: None, trace: None, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn erased(body: &str) -> String {
        String::from_utf8(erase(body.as_bytes()).to_vec()).expect("UTF-8")
    }

    #[test]
    fn all_but_content_and_metadata_stays_byte_for_byte() {
        assert_eq!(
            erased(
                r#"{"id":"x","n":1.0e2, "content":"secret","metadata":{"content":[1]},"key_id":"k"}"#
            ),
            r#"{"id":"x","n":1.0e2, "content":"","metadata":{"erased":true},"key_id":"k"}"#
        );
        assert_eq!(
            erased(r#"{"metadata":7,"cont\u0065nt":["secret"],"x":{"content":"not ours"}}"#),
            r#"{"metadata":{"erased":true},"cont\u0065nt":"","x":{"content":"not ours"}}"#
        );
    }

    #[test]
    fn every_repeat_is_erased_and_what_is_missing_is_added() {
        let rest = r#""metadata":{"erased":true}"#;
        assert_eq!(
            erased(r#"{"content":"a","content":"b"}"#),
            format!(r#"{{"content":"","content":"",{rest}}}"#)
        );
        assert_eq!(erased("{}"), format!(r#"{{"content":"",{rest}}}"#));
        assert_eq!(erased("{ \t}"), format!("{{ \t\"content\":\"\",{rest}}}"));
        assert_eq!(erased(r#"{"a":1 }"#), format!(r#"{{"a":1 ,"content":"",{rest}}}"#));
    }

    proptest! {
        #[test]
        fn nothing_of_the_content_is_left(content in "[a-z]{8,40}", text in "[^\u{0}]{0,40}") {
            let json = serde_json::json!({"id": 1, "content": format!("{content}{text}"),
                "metadata": {&content: &content}, "type": "t"}).to_string();
            let once = erased(&json);
            prop_assert!(!once.contains(&content));
            prop_assert_eq!(&erased(&once), &once);
            let read: serde_json::Value = serde_json::from_str(&once).expect("JSON");
            prop_assert_eq!(read, serde_json::json!({"id": 1, "content": "",
                "metadata": {"erased": true}, "type": "t"}));
        }
    }
}
