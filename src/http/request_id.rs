//! `X-Request-Id`: the value that the client sent, if it is usable, else a new UUID.
//!
//! The id is returned in the response's header and in problem documents as `request_id`, and is written to
//! the log.

use std::fmt;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

use crate::limits::MAX_REQUEST_ID;

/// The id of one request.
#[derive(Clone, Debug)]
pub(super) enum RequestId {
    /// An id from the client: visible ASCII.
    Given(HeaderValue),
    /// An id made by the server.
    Generated(Uuid),
}

impl RequestId {
    pub(super) const HEADER: HeaderName = HeaderName::from_static("x-request-id");

    /// The `X-Request-Id` of the request, if there is exactly one and it is visible ASCII within
    /// [`MAX_REQUEST_ID`]; else a new id.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(Self::HEADER).iter();
        match (values.next(), values.next()) {
            (Some(value), None) if is_usable(value.as_bytes()) => Self::Given(value.clone()),
            _ => Self::new(),
        }
    }

    /// A new id.
    pub(super) fn new() -> Self {
        Self::Generated(Uuid::new_v4())
    }

    /// The id as the value of a header.
    pub(super) fn to_header(&self) -> HeaderValue {
        match self {
            Self::Given(value) => value.clone(),
            Self::Generated(id) => {
                let mut text = Uuid::encode_buffer();
                let text = id.hyphenated().encode_lower(&mut text);
                HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
            }
        }
    }
}

fn is_usable(value: &[u8]) -> bool {
    (1..=MAX_REQUEST_ID).contains(&value.len()) && value.iter().all(u8::is_ascii_graphic)
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(value) => f.write_str(value.to_str().unwrap_or_default()),
            Self::Generated(id) => write!(f, "{id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_of(values: &[&[u8]]) -> RequestId {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(RequestId::HEADER, HeaderValue::from_bytes(value).expect("a value"));
        }
        RequestId::of(&headers)
    }

    #[test]
    fn a_usable_id_is_kept_and_any_other_replaced() {
        let longest = [b'x'; MAX_REQUEST_ID];
        for usable in [b"7".as_slice(), b"a-\"{b}/~!", &longest] {
            let id = id_of(&[usable]);
            assert_eq!(id.to_header().as_bytes(), usable);
            assert_eq!(id.to_string().as_bytes(), usable);
        }
        let too_long = [b'x'; MAX_REQUEST_ID + 1];
        let bad: [&[&[u8]]; 7] =
            [&[], &[b""], &[b"a b"], &[b"a\tb"], &[b"\xff"], &[&too_long], &[b"a", b"b"]];
        for bad in bad {
            let id = id_of(bad);
            assert!(matches!(id, RequestId::Generated(_)), "{bad:?}");
            assert_eq!(id.to_header().as_bytes(), id.to_string().as_bytes());
        }
    }
}
