//! Problem documents of the server (RFC 9457).

use std::fmt;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, LOCATION, RETRY_AFTER};
use serde::Deserialize;

use crate::code;
use crate::kind::ErrorKind;
use crate::limits::FOREIGN_TEXT_CHARS;

/// Why the server refused a request or one message of a batch. If the body is not a problem document (such as
/// a proxy's page), `detail` is its first line.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Problem {
    /// The HTTP status of the response; 0 for a problem that did not come over HTTP.
    #[serde(skip)]
    pub status: u16,
    /// The kind of problem, as a text for people.
    pub title: Option<String>,
    /// What happened in this case, as a text for people.
    pub detail: Option<String>,
    /// The stable machine-readable code (contract, section 3).
    pub code: Option<String>,
    /// All faults of the body or the query.
    pub errors: Vec<Fault>,
    /// The grant that the credential lacks (403), such as `publish agent.task.t1.done`.
    pub needs: Option<String>,
    /// In an outage, whether the message was sent: `not_sent` or `unknown`.
    pub outcome: Option<String>,
    /// The id of the message or job, if the problem is about one.
    pub id: Option<String>,
    /// The sequence of the message or job, if the problem is about one.
    pub seq: Option<u64>,
    /// The id of the request: the server's log names the cause under it.
    pub request_id: Option<String>,
    /// How long the server asks to wait before the next attempt (`Retry-After` in seconds; a date is
    /// ignored).
    #[serde(skip)]
    pub retry_after: Option<Duration>,
}

/// One fault in a body or a query.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Fault {
    /// JSON pointer to the faulty member (RFC 6901); empty for the whole body.
    pub pointer: Option<String>,
    /// The name of the faulty query parameter.
    pub parameter: Option<String>,
    /// The rule that is broken.
    pub detail: String,
}

impl Problem {
    /// Reads the problem from a response that is not a success.
    pub(crate) fn of_response(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let mut problem = match header(LOCATION) {
            Some(location) if status.is_redirection() => {
                Self::with_detail(&format!("the server is at {location}"))
            }
            _ => Self::read(body),
        };
        problem.status = status.as_u16();
        problem.retry_after =
            header(RETRY_AFTER).and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
        problem
    }

    fn read(body: &[u8]) -> Self {
        serde_json::from_slice(body).unwrap_or_else(|_| {
            let text = String::from_utf8_lossy(body);
            let line = text.lines().next().unwrap_or_default().trim();
            if line.is_empty() { Self::default() } else { Self::with_detail(line) }
        })
    }

    fn with_detail(detail: &str) -> Self {
        let detail = match detail.char_indices().nth(FOREIGN_TEXT_CHARS) {
            None => detail.to_owned(),
            Some((cut, _)) => format!("{}…", &detail[..cut]),
        };
        Self { detail: Some(detail), ..Self::default() }
    }

    /// Whether the same request can succeed later: after too many requests, or an outage of the server or of
    /// what is behind a proxy. Any other problem is one of the request itself.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self.kind(), ErrorKind::TooMany | ErrorKind::Unavailable)
    }

    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self.status {
            401 => ErrorKind::Unauthenticated,
            403 => ErrorKind::Forbidden,
            404 => ErrorKind::NotFound,
            409 => ErrorKind::Conflict,
            410 => ErrorKind::LeaseLost,
            422 => ErrorKind::Invalid,
            429 => ErrorKind::TooMany,
            504 if self.code.as_deref() == Some(code::NO_REPLY) => ErrorKind::NoReply,
            502..=504 => ErrorKind::Unavailable,
            _ => ErrorKind::Other,
        }
    }
}

/// Writes one line for the problem, and one for each fault. Line breaks in the server's texts become spaces.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |text: &str| text.replace(['\r', '\n'], " ");
        match (&self.title, &self.detail) {
            (Some(title), Some(detail)) if title != detail => {
                write!(f, "{}: {}", line(title), line(detail))?;
            }
            (Some(one), _) | (None, Some(one)) => f.write_str(&line(one))?,
            (None, None) => f.write_str("the server gave no reason")?,
        }
        match &self.code {
            Some(code) if self.status == 0 => write!(f, " ({})", line(code))?,
            Some(code) => write!(f, " ({} {})", self.status, line(code))?,
            None => write!(f, " ({})", self.status)?,
        }
        if let Some(outcome) = &self.outcome {
            write!(f, ", outcome {}", line(outcome))?;
        }
        if let Some(needs) = &self.needs {
            write!(f, "\n  the credential lacks: {}", line(needs))?;
        }
        for fault in &self.errors {
            let member = fault.pointer.as_deref().or(fault.parameter.as_deref());
            let member = member.filter(|name| !name.is_empty()).unwrap_or("the message");
            write!(f, "\n  {}: {}", line(member), line(&fault.detail))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::{HeaderName, HeaderValue};

    fn refused(status: u16, headers: &[(&'static str, &'static str)], body: &[u8]) -> Problem {
        let pairs = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let status = StatusCode::from_u16(status).expect("a status");
        Problem::of_response(status, &pairs.collect(), body)
    }

    #[test]
    fn shows_every_fault() {
        let body = br#"{"type":"about:blank","title":"Invalid message","status":422,"code":"invalid",
            "errors":[{"pointer":"/type","detail":"is\nbad"},{"parameter":"limit","detail":"too big"}]}"#;
        let words = refused(422, &[], body).to_string();
        assert_eq!(words, "Invalid message (422 invalid)\n  /type: is bad\n  limit: too big");
    }

    #[test]
    fn shows_the_grant_that_lacks() {
        let body = br#"{"title":"Forbidden","code":"forbidden","needs":"as ann\n"}"#;
        let words = refused(403, &[], body).to_string();
        assert_eq!(words, "Forbidden (403 forbidden)\n  the credential lacks: as ann ");
    }

    #[test]
    fn a_proxys_page_is_shown_by_its_first_line() {
        let words = |body: &[u8], status| refused(status, &[], body).to_string();
        assert_eq!(words(b"Bad Gateway\n<html>", 502), "Bad Gateway (502)");
        assert_eq!(words(b"", 500), "the server gave no reason (500)");
        assert_eq!(words(b"[1]", 500), "[1] (500)");
    }

    #[test]
    fn an_outage_is_transient_and_a_bad_request_is_not() {
        let outage = refused(503, &[("retry-after", " 7")], b"");
        assert!(outage.is_transient());
        assert_eq!(outage.retry_after, Some(Duration::from_secs(7)));
        for status in [400, 404, 409, 413, 422, 500] {
            assert!(!refused(status, &[], b"").is_transient(), "{status}");
        }
        let dated = refused(503, &[("retry-after", "Fri, 20 Nov 2026 12:00:00 GMT")], b"");
        assert_eq!(dated.retry_after, None);
    }

    #[test]
    fn a_redirect_says_where_the_server_is() {
        let moved = refused(308, &[("location", "https://a.example/")], b"");
        assert!(!moved.is_transient());
        assert_eq!(moved.to_string(), "the server is at https://a.example/ (308)");
    }
}
