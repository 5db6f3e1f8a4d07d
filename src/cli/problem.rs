//! A refusal of the server, in words for a person.
//!
//! Invariant: nothing is lost on the way: title, detail and every pointer or
//! parameter are shown, and a body that is no problem document (RFC 9457), as
//! from a proxy, is shown by its first line.

use serde::Deserialize;

use super::output::{plain, shortened};

/// A problem document, or the `error` of a batch's result.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Problem {
    title: Option<String>,
    detail: Option<String>,
    code: Option<String>,
    errors: Vec<Fault>,
    /// Of a 503: whether the message may have been sent.
    outcome: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Fault {
    pointer: Option<String>,
    parameter: Option<String>,
    detail: String,
}

impl Problem {
    /// Reads the body of an answer that is no success.
    #[must_use]
    pub fn read(body: &[u8]) -> Self {
        serde_json::from_slice(body).unwrap_or_else(|_| {
            let text = String::from_utf8_lossy(body);
            let line = text.lines().next().unwrap_or_default().trim();
            if line.is_empty() { Self::default() } else { Self::said(line) }
        })
    }

    /// A problem of which no more is known than this.
    #[must_use]
    pub fn said(detail: &str) -> Self {
        Self { detail: Some(detail.to_owned()), ..Self::default() }
    }

    /// One line of what is wrong, and a line for each fault.
    #[must_use]
    pub fn words(&self, status: u16) -> String {
        let mut words = match (&self.title, &self.detail) {
            (Some(title), Some(detail)) if title != detail => format!("{title}: {detail}"),
            (Some(one), _) | (None, Some(one)) => one.clone(),
            (None, None) => "the server gave no reason".to_owned(),
        };
        words = shortened(&plain(&words));
        match &self.code {
            Some(code) => words.push_str(&format!(" ({status} {})", plain(code))),
            None => words.push_str(&format!(" ({status})")),
        }
        if let Some(outcome) = &self.outcome {
            words.push_str(&format!(", outcome {}", plain(outcome)));
        }
        for fault in &self.errors {
            let place = fault.pointer.as_deref().or(fault.parameter.as_deref());
            let place = match place {
                None | Some("") => "the message",
                Some(place) => place,
            };
            words.push_str(&format!("\n  {}: {}", plain(place), plain(&fault.detail)));
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_every_fault_and_no_escape_sequence() {
        let body = br#"{"type":"about:blank","title":"Invalid message","status":422,"code":"invalid",
            "errors":[{"pointer":"/type","detail":"is \u001b[31mbad"},{"parameter":"limit","detail":"too big"}]}"#;
        let words = Problem::read(body).words(422);
        assert_eq!(words, "Invalid message (422 invalid)\n  /type: is ␛[31mbad\n  limit: too big");
    }

    #[test]
    fn a_proxys_page_is_shown_by_its_first_line() {
        assert_eq!(Problem::read(b"Bad Gateway\n<html>").words(502), "Bad Gateway (502)");
        assert_eq!(Problem::read(b"").words(500), "the server gave no reason (500)");
        assert_eq!(Problem::read(b"[1]").words(500), "[1] (500)");
    }
}
