//! A message to be published, as raw JSON members.
//!
//! Invariant: only whole members are removed, or added in front; the bytes of every value stay the same. Only
//! the server validates the message, so that this client can send what a newer server accepts.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use uuid::Uuid;

/// Members that only the server may set, so it refuses them in a post.
const SERVER_MEMBERS: [&str; 4] = ["seq", "subject", "key_id", "created_at"];

/// The members of one JSON object, in order. Repeated names are kept.
#[derive(Debug)]
pub struct Envelope<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Envelope<'a> {
    /// Parses one JSON object.
    ///
    /// # Errors
    /// Why the text is not a JSON object, with the column.
    pub fn parse(json: &'a [u8]) -> Result<Self, String> {
        serde_json::from_slice(json).map_err(|error| {
            if error.is_data() {
                return "must be a JSON object".to_owned();
            }
            let text = error.to_string();
            let what = text.split(" at line ").next().unwrap_or_default();
            format!("is not JSON: {what} at column {}", error.column())
        })
    }

    /// Removes the members that only the server may set, so that a message that was read can be published
    /// again.
    #[must_use]
    pub fn without_server_members(mut self) -> Self {
        self.0.retain(|(name, _)| !SERVER_MEMBERS.contains(&name.as_str()));
        self
    }

    /// Whether the message has an id.
    #[must_use]
    pub fn has_id(&self) -> bool {
        self.0.iter().any(|(name, _)| name == "id")
    }

    /// Encodes the object. `id`, if given, becomes its first member.
    #[must_use]
    pub fn encode(&self, id: Option<Uuid>) -> Vec<u8> {
        let values: usize =
            self.0.iter().map(|(name, value)| name.len() + value.get().len() + 4).sum();
        let mut json = Vec::with_capacity(values + 64);
        json.push(b'{');
        if let Some(id) = id {
            json.extend_from_slice(format!("\"id\":\"{id}\"").as_bytes());
        }
        for (name, value) in &self.0 {
            if json.len() > 1 {
                json.push(b',');
            }
            json.extend_from_slice(serde_json::Value::from(name.as_str()).to_string().as_bytes());
            json.push(b':');
            json.extend_from_slice(value.get().as_bytes());
        }
        json.push(b'}');
        json
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Envelope<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Envelope<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::with_capacity(16);
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Envelope(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_bytes_of_what_it_keeps() {
        let json = br#" {"seq":7,"kind":"message", "metadata" : {"n":1.0e+2, "seq":1,"a":"\u00e9","n":0},"subject":"x",
            "key_id":"k1","created_at":"y","a\"b":1,"kind":"status"} "#;
        let envelope = Envelope::parse(json).expect("an object").without_server_members();
        assert!(!envelope.has_id());
        assert_eq!(
            String::from_utf8_lossy(&envelope.encode(Some(Uuid::nil()))),
            concat!(
                r#"{"id":"00000000-0000-0000-0000-000000000000","kind":"message","#,
                r#""metadata":{"n":1.0e+2, "seq":1,"a":"\u00e9","n":0},"a\"b":1,"kind":"status"}"#
            )
        );
        assert_eq!(Envelope::parse(b"{}").map(|e| e.encode(None)), Ok(b"{}".to_vec()));
    }

    #[test]
    fn says_what_is_no_object() {
        let wrong = |json: &[u8]| Envelope::parse(json).map(|_| ()).expect_err("must fail");
        assert_eq!(wrong(b"[1]"), "must be a JSON object");
        assert_eq!(wrong(b"7"), "must be a JSON object");
        assert!(wrong(b"{\"a\":}").starts_with("is not JSON: expected value at column"));
        assert!(wrong(b"{\"a\":\"\xff\"}").starts_with("is not JSON"));
        assert!(wrong(b"").starts_with("is not JSON"));
    }
}
