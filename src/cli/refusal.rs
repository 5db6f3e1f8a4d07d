//! Why a request had no success, and whether the same one may have it later.
//!
//! Invariant: only what tells of the moment is tried again; what tells of the
//! request itself is refused at once.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, LOCATION, RETRY_AFTER};

use super::failure::Failure;
use super::problem::Problem;

/// Why a request had no success.
#[derive(Debug)]
pub enum Refusal {
    /// Nobody could be asked, in words.
    Unreachable(String),
    /// The server's answer.
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it said.
        problem: Problem,
    },
}

impl Refusal {
    /// Of an answer that is no success.
    #[must_use]
    pub fn answered(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let place = headers.get(LOCATION).and_then(|place| place.to_str().ok());
        let problem = match place {
            Some(place) if status.is_redirection() => {
                Problem::said(&format!("the server is at {place}"))
            }
            _ => Problem::read(body),
        };
        Self::Refused { status: status.as_u16(), problem }
    }

    /// What happened, in words.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Unreachable(words) => words.clone(),
            Self::Refused { status, problem } => problem.words(*status),
        }
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Refused { status, .. } => is_passing(*status),
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Failed(refusal.words())
    }
}

/// Whether a status tells of the moment and not of the request: too many
/// requests, or an outage, of the server or behind a proxy.
fn is_passing(status: u16) -> bool {
    matches!(status, 429 | 502 | 503 | 504)
}

/// How long the server asks to wait, in seconds; a date is not heeded.
#[must_use]
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, headers: &[(&'static str, &'static str)]) -> (Refusal, HeaderMap) {
        let pairs = headers.iter().map(|(name, value)| {
            (
                reqwest::header::HeaderName::from_static(name),
                reqwest::header::HeaderValue::from_static(value),
            )
        });
        let headers: HeaderMap = pairs.collect();
        let status = StatusCode::from_u16(status).expect("a status");
        (Refusal::answered(status, &headers, b""), headers)
    }

    #[test]
    fn an_outage_passes_and_a_bad_request_does_not() {
        let (outage, headers) = refused(503, &[("retry-after", " 7")]);
        assert!(outage.is_passing());
        assert_eq!(retry_after(&headers), Some(Duration::from_secs(7)));
        for status in [400, 404, 409, 413, 422, 500] {
            assert!(!refused(status, &[]).0.is_passing(), "{status}");
        }
        let dated = refused(503, &[("retry-after", "Fri, 20 Nov 2026 12:00:00 GMT")]).1;
        assert_eq!(retry_after(&dated), None);
    }

    #[test]
    fn a_redirect_says_where_the_server_is() {
        let (moved, _) = refused(308, &[("location", "https://a.example/")]);
        assert!(!moved.is_passing());
        assert_eq!(moved.words(), "the server is at https://a.example/ (308)");
    }
}
