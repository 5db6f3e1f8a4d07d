//! References inside of a schema: `#`, `#/a/json/pointer`, `#anchor`.

use percent_encoding::percent_decode_str;
use serde_json::Value;

/// What a `$ref` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reference {
    /// The value at a JSON pointer of the document.
    Pointer(String),
    /// The schema with this `$anchor`.
    Anchor(String),
}

impl Reference {
    /// Reads a `$ref`.
    ///
    /// # Errors
    /// It leaves the document, or is no reference.
    pub(super) fn parse(value: &Value) -> Result<Self, &'static str> {
        const RULE: &str =
            "must be a reference within this schema: #, #/ and a JSON pointer, or # and an anchor";
        let fragment = value.as_str().and_then(|text| text.strip_prefix('#')).ok_or(RULE)?;
        let fragment = percent_decode_str(fragment).decode_utf8().map_err(|_| RULE)?;
        if fragment.is_empty() || fragment.starts_with('/') {
            return Ok(Self::Pointer(fragment.into_owned()));
        }
        Ok(Self::Anchor(fragment.into_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn references_stay_in_the_document() {
        let read = |value: Value| Reference::parse(&value).ok();
        let pointer = |text: &str| Some(Reference::Pointer(text.to_owned()));
        assert_eq!(read(json!("#")), pointer(""));
        assert_eq!(read(json!("#/$defs/a%5Bb%5D~1c")), pointer("/$defs/a[b]~1c"));
        assert_eq!(read(json!("#name")), Some(Reference::Anchor("name".to_owned())));
        for outside in [
            json!(""),
            json!(7),
            json!("other.json"),
            json!("file:///etc/passwd"),
            json!("http://127.0.0.1/x#/a"),
            json!("/a"),
            json!("#%ff"),
        ] {
            assert_eq!(read(outside.clone()), None, "{outside}");
        }
    }
}
