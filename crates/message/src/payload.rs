//! The part of a message that its senders and readers agree on: content and metadata.

use std::borrow::Cow;

use serde_json::value::RawValue;

/// The `metadata` of content that is bytes in Base64.
pub(crate) const BASE64_METADATA: &str = r#"{"encoding":"base64"}"#;

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

/// Whether the content of a body contains a text, compared as it is, upper and lower case included. Never, if the
/// content stands for bytes ([`BASE64_METADATA`]) or is not text.
#[must_use]
pub fn content_contains(body: &[u8], text: &str) -> bool {
    content_and_metadata(body)
        .is_some_and(|(content, metadata)| metadata != BASE64_METADATA && content.contains(text))
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

    #[test]
    fn a_text_is_found_in_the_content_alone_and_as_it_reads() {
        let body = br#"{"type":"need","content":"say \"hi\"\n\u00e9\ud83d\ude00","metadata":{"x":"need"}}"#;
        for text in ["say", "\"hi\"", "\n", "\u{e9}\u{1f600}"] {
            assert!(content_contains(body, text), "{text:?}");
        }
        for text in ["need", "SAY", "\\n", "e\u{301}"] {
            assert!(!content_contains(body, text), "{text:?}");
        }
    }

    #[test]
    fn bytes_are_no_text() {
        let (content, metadata) = crate::text_or_base64(&[0, 159]);
        let body = |metadata: &str| format!(r#"{{"content":"{content}","metadata":{metadata}}}"#);
        assert!(content_contains(body("{}").as_bytes(), &content));
        assert!(!content_contains(body(metadata).as_bytes(), &content));
        assert!(!content_contains(br#"{"content":["a"]}"#, "a"));
    }
}
