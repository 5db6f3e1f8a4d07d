//! A JSON object that a client sent, its members taken out one by one.
//!
//! Invariant: every fault is named at once, with a JSON pointer (RFC 6901): what
//! is missing, wrong, unknown or stands twice. Messages have a form of their own
//! ([`crate::message::Draft`]), with rules that other bodies do not need.

use std::fmt::Display;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::problem::Problem;
use crate::limits::MAX_NAMED_ERRORS;
use crate::message::{FieldError, json_members};

/// The members of a body that have not been taken yet, and the faults found so far.
pub struct Form<'a> {
    members: Vec<(String, &'a RawValue)>,
    errors: Vec<FieldError>,
}

impl<'a> Form<'a> {
    /// The members of a body.
    ///
    /// # Errors
    /// 400 when it is no JSON, 422 when it is no object.
    pub fn parse(body: &'a [u8]) -> Result<Self, Problem> {
        let mut form = Self { members: Vec::new(), errors: Vec::new() };
        for (name, value) in json_members(body).map_err(Problem::body)? {
            if form.members.iter().any(|(known, _)| *known == name) {
                form.fail(&name, "stands more than once");
            } else {
                form.members.push((name, value));
            }
        }
        Ok(form)
    }

    /// A member of this type; `rule` says what it must be. `None` when it is not there or wrong.
    pub fn take<T: DeserializeOwned>(&mut self, name: &str, rule: impl Display) -> Option<T> {
        let at = self.members.iter().position(|(known, _)| known == name)?;
        let raw = self.members.swap_remove(at).1.get();
        // An `Option` would take it for absent, which a client says by leaving it out.
        let value = if raw == "null" { None } else { serde_json::from_str(raw).ok() };
        if value.is_none() {
            self.fail(name, rule);
        }
        value
    }

    /// A string that `parse` takes, whose error says what it must be.
    pub fn text<T, E: Display>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text: String = self.take(name, "must be a string")?;
        match parse(&text) {
            Ok(value) => Some(value),
            Err(rule) => {
                self.fail(name, rule);
                None
            }
        }
    }

    /// Whether the member is there and was not taken yet.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.members.iter().any(|(known, _)| known == name)
    }

    /// Names a fault of a member.
    pub fn fail(&mut self, name: &str, detail: impl Display) {
        let escaped = name.replace('~', "~0").replace('/', "~1");
        self.errors.push(FieldError { pointer: format!("/{escaped}"), detail: detail.to_string() });
    }

    /// Refuses what was not taken.
    ///
    /// # Errors
    /// 422 naming every fault of the body.
    pub fn end(mut self) -> Result<(), Problem> {
        for (name, _) in std::mem::take(&mut self.members) {
            self.fail(&name, "is no member of this body");
        }
        if self.errors.is_empty() {
            return Ok(());
        }
        self.errors.truncate(MAX_NAMED_ERRORS);
        Err(Problem::members(self.errors))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::StatusCode;

    fn told(problem: &Problem) -> String {
        serde_json::to_string(problem).expect("JSON")
    }

    #[test]
    fn every_fault_is_named_at_once() {
        let mut form =
            Form::parse(br#"{"a":1,"a":2,"b":null,"c":"x","d/e":0,"f":7}"#).expect("an object");
        assert_eq!(form.take::<u32>("a", "must be a number"), Some(1));
        assert_eq!(form.take::<u32>("b", "must be a number"), None);
        assert_eq!(form.text("c", |_| Err::<(), _>("must be y")), None);
        assert_eq!(form.text("f", |text| Ok::<_, String>(text.to_owned())), None);
        assert_eq!(form.take::<u32>("absent", "must be a number"), None);
        let problem = form.end().expect_err("five faults");
        for pointer in ["/a", "/b", "/c", "/d~1e", "/f"] {
            assert!(told(&problem).contains(&format!("\"pointer\":\"{pointer}\"")), "{problem:?}");
        }
        assert!(!told(&problem).contains("absent"));
    }

    #[test]
    fn what_is_no_object_is_refused() {
        let refusal = |body: &[u8]| Form::parse(body).err().expect("refused").status();
        assert_eq!(refusal(b"{"), StatusCode::BAD_REQUEST);
        assert_eq!(refusal(b""), StatusCode::BAD_REQUEST);
        assert_eq!(refusal(b"[]"), StatusCode::UNPROCESSABLE_ENTITY);
        assert!(Form::parse(b"{}").is_ok_and(|form| form.end().is_ok()));
    }
}
