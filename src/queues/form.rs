//! A JSON object's members while they are taken out one by one.
//!
//! Invariant: every fault is named at once, with a JSON pointer (RFC 6901), and a
//! member that nobody took is one of them.

use std::str::FromStr;
use std::time::Duration;

use serde_json::value::RawValue;
use uuid::Uuid;

use crate::limits::MAX_NAMED_ERRORS;
use crate::message::{DraftError, FieldError, json_members, parse_uuid};

/// The members not yet taken, and what was wrong with those that were.
pub(super) struct Form<'a> {
    members: Vec<(String, &'a RawValue)>,
    errors: Vec<FieldError>,
}

impl<'a> Form<'a> {
    /// Reads an object.
    pub(super) fn parse(json: &'a [u8]) -> Result<Self, DraftError> {
        let all = json_members(json)?;
        let mut form = Self { members: Vec::with_capacity(all.len()), errors: Vec::new() };
        for (name, value) in all {
            if form.members.iter().any(|(known, _)| *known == name) {
                form.fail(&name, "stands more than once");
            } else {
                form.members.push((name, value));
            }
        }
        Ok(form)
    }

    /// Reads an object, or nothing at all as an empty one.
    pub(super) fn parse_optional(json: &'a [u8]) -> Result<Self, DraftError> {
        if json.trim_ascii().is_empty() {
            return Ok(Self { members: Vec::new(), errors: Vec::new() });
        }
        Self::parse(json)
    }

    /// What was read, if nothing is wrong and nothing is left over.
    pub(super) fn finish<T>(mut self, what: &str, read: Option<T>) -> Result<T, DraftError> {
        for (name, _) in std::mem::take(&mut self.members) {
            self.fail(&name, &format!("is not a member of {what}"));
        }
        match read {
            Some(read) if self.errors.is_empty() => Ok(read),
            _ => {
                self.errors.truncate(MAX_NAMED_ERRORS);
                Err(DraftError::Invalid(self.errors))
            }
        }
    }

    /// The raw value of a member.
    pub(super) fn take(&mut self, name: &str) -> Option<&'a RawValue> {
        let at = self.members.iter().position(|(known, _)| known == name)?;
        Some(self.members.swap_remove(at).1)
    }

    /// The raw value of a member that must be there.
    pub(super) fn required(&mut self, name: &str) -> Option<&'a RawValue> {
        let value = self.take(name);
        if value.is_none() {
            self.fail(name, "is required");
        }
        value
    }

    /// A member that parses from a string.
    pub(super) fn text<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, &'static str>,
    ) -> Option<T> {
        let raw = self.take(name)?.get();
        let text =
            if raw.starts_with('"') { serde_json::from_str::<String>(raw).ok() } else { None };
        let parsed = match &text {
            None => Err("must be a string"),
            Some(text) if text.contains('\0') => Err("must not hold U+0000"),
            Some(text) => parse(text),
        };
        self.or_fail(name, parsed)
    }

    /// A member that parses from a string and must be there.
    pub(super) fn required_text<T: FromStr<Err = &'static str>>(
        &mut self,
        name: &str,
    ) -> Option<T> {
        if !self.members.iter().any(|(known, _)| known == name) {
            self.fail(name, "is required");
        }
        self.text(name, str::parse)
    }

    /// A UUID.
    pub(super) fn uuid(&mut self, name: &str) -> Option<Uuid> {
        self.text(name, parse_uuid)
    }

    /// A whole number within bounds.
    pub(super) fn whole(&mut self, name: &str, from: u64, to: u64) -> Option<u64> {
        let raw = self.take(name)?.get();
        let number = raw.parse::<u64>().ok().filter(|number| (from..=to).contains(number));
        if number.is_none() {
            self.fail(name, &format!("must be a whole number from {from} to {to}"));
        }
        number
    }

    /// Seconds, whole or with a fraction, within bounds.
    pub(super) fn seconds(&mut self, name: &str, from: u64, to: u64) -> Option<Duration> {
        let raw = self.take(name)?.get();
        let seconds = seconds(raw, from, to);
        if seconds.is_none() {
            self.fail(name, &format!("must be a number of seconds from {from} to {to}"));
        }
        seconds
    }

    /// Names a fault.
    pub(super) fn fail(&mut self, name: &str, detail: &str) {
        let escaped = name.replace('~', "~0").replace('/', "~1");
        self.errors.push(FieldError { pointer: format!("/{escaped}"), detail: detail.to_owned() });
    }

    fn or_fail<T>(&mut self, name: &str, parsed: Result<T, &'static str>) -> Option<T> {
        parsed.map_err(|rule| self.fail(name, rule)).ok()
    }
}

/// A JSON number of seconds, to microseconds.
pub(super) fn seconds(raw: &str, from: u64, to: u64) -> Option<Duration> {
    let is_number = raw.starts_with(|c: char| c.is_ascii_digit() || c == '-');
    let number = raw.parse::<f64>().ok().filter(|_| is_number)?;
    #[expect(clippy::cast_precision_loss, reason = "bounds are far below 2^53")]
    let within = (from as f64..=to as f64).contains(&number);
    let micros = Duration::try_from_secs_f64(number).ok()?.as_micros();
    within.then(|| Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)))
}
