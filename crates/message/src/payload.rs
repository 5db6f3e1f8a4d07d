//! The part of a message that its senders and readers agree on: content and metadata.

use std::borrow::Cow;

use serde_json::value::RawValue;

/// The members that a payload schema describes.
#[derive(serde::Deserialize)]
struct Payload<'a> {
    #[serde(borrow, default)]
    content: Cow<'a, str>,
    #[serde(borrow, default)]
    metadata: Option<&'a RawValue>,
}

/// `content`, and `metadata` as JSON, of a body. `None` if the body has something else in their place: only messages of
/// other NATS clients do.
#[must_use]
pub fn content_and_metadata(body: &[u8]) -> Option<(Cow<'_, str>, &str)> {
    // serde reads a struct from an array too.
    if !body.trim_ascii_start().starts_with(b"{") {
        return None;
    }
    let Payload { content, metadata } = serde_json::from_slice(body).ok()?;
    let metadata = metadata.map_or("{}", RawValue::get);
    metadata.starts_with('{').then_some((content, metadata))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_are_read_as_they_are() {
        let read = |body: &'static str| {
            content_and_metadata(body.as_bytes())
                .map(|(content, rest)| (content.into_owned(), rest))
        };
        let body = r#"{"id":"x","content":"a\n","metadata":{"n":1e999},"more":[1]}"#;
        assert_eq!(read(body), Some(("a\n".to_owned(), r#"{"n":1e999}"#)));
        assert_eq!(read("{}"), Some((String::new(), "{}")));
        for odd in ["[]", " []", r#"{"content":1}"#, r#"{"metadata":"x"}"#, "x"] {
            assert_eq!(read(odd), None, "{odd}");
        }
    }
}
