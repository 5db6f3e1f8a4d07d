//! A JSON object that a client sent, its members taken out one by one.
//!
//! Invariant: every fault is named at once, with a JSON pointer (RFC 6901): what is
//! missing, wrong, unknown or stands twice. Messages have a form of their own
//! ([`super::Draft`]), with rules that other bodies do not need.

use std::borrow::Cow;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::json::Member;
use super::{DraftError, FieldError, json_members, parse_uuid};
use crate::limits::{MAX_NAMED_ERRORS, MAX_SHOWN_NAME};

/// The members not yet taken, and what was wrong with those that were.
pub struct ObjectReader<'a> {
    members: Vec<Member<'a>>,
    errors: Vec<FieldError>,
}

impl<'a> ObjectReader<'a> {
    /// Reads an object.
    ///
    /// # Errors
    /// It is no JSON, or no object.
    pub fn parse(json: &'a [u8]) -> Result<Self, DraftError> {
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
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_optional(json: &'a [u8]) -> Result<Self, DraftError> {
        if json.trim_ascii().is_empty() {
            return Ok(Self { members: Vec::new(), errors: Vec::new() });
        }
        Self::parse(json)
    }

    /// What was read, if nothing is wrong and nothing is left over of this `what`.
    ///
    /// # Errors
    /// Every fault of the object.
    pub fn finish<T>(mut self, what: &str, read: Option<T>) -> Result<T, DraftError> {
        for (name, _) in std::mem::take(&mut self.members) {
            self.fail(&name, format!("is no member of {what}"));
        }
        match read {
            Some(read) if self.errors.is_empty() => Ok(read),
            _ => {
                self.errors.truncate(MAX_NAMED_ERRORS);
                Err(DraftError::Invalid(self.errors))
            }
        }
    }

    /// Refuses what was not taken.
    ///
    /// # Errors
    /// Every fault of the object.
    pub fn end(self) -> Result<(), DraftError> {
        self.finish("this body", Some(()))
    }

    /// Whether the member is there and was not taken yet.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.members.iter().any(|(known, _)| known == name)
    }

    /// A member of this type; `rule` says what it must be. `None` when it is not there or wrong.
    pub fn take<T: DeserializeOwned>(&mut self, name: &str, rule: impl Display) -> Option<T> {
        let raw = self.raw(name)?.get();
        // An `Option` would take it for absent, which a client says by leaving it out.
        let value = if raw == "null" { None } else { serde_json::from_str(raw).ok() };
        if value.is_none() {
            self.fail(name, rule);
        }
        value
    }

    /// A member that must be there, of this type.
    pub fn required<T: DeserializeOwned>(&mut self, name: &str, rule: impl Display) -> Option<T> {
        self.require(name);
        self.take(name, rule)
    }

    fn require(&mut self, name: &str) {
        if !self.has(name) {
            self.fail(name, "is required");
        }
    }

    /// The raw value of a member.
    pub fn raw(&mut self, name: &str) -> Option<&'a RawValue> {
        let at = self.members.iter().position(|(known, _)| known == name)?;
        Some(self.members.swap_remove(at).1)
    }

    /// The raw value of a member that must be there.
    pub fn required_raw(&mut self, name: &str) -> Option<&'a RawValue> {
        self.require(name);
        self.raw(name)
    }

    /// A member that parses from a string.
    pub fn text<T, E: Display>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text: String = self.take(name, "must be a string")?;
        if text.contains('\0') {
            self.fail(name, "must not hold U+0000");
            return None;
        }
        parse(&text).map_err(|rule| self.fail(name, rule)).ok()
    }

    /// A member that parses from a string and must be there.
    pub fn required_text<T: FromStr<Err = &'static str>>(&mut self, name: &str) -> Option<T> {
        self.require(name);
        self.text(name, str::parse)
    }

    /// A UUID.
    pub fn uuid(&mut self, name: &str) -> Option<Uuid> {
        self.text(name, parse_uuid)
    }

    /// A whole number within bounds.
    pub fn whole(&mut self, name: &str, from: u64, to: u64) -> Option<u64> {
        let raw = self.raw(name)?.get();
        let number = raw.parse::<u64>().ok().filter(|number| (from..=to).contains(number));
        if number.is_none() {
            self.fail(name, format!("must be a whole number from {from} to {to}"));
        }
        number
    }

    /// Seconds, whole or with a fraction, within bounds.
    pub fn seconds(&mut self, name: &str, from: u64, to: u64) -> Option<Duration> {
        let raw = self.raw(name)?.get();
        let seconds = seconds(raw, from, to);
        if seconds.is_none() {
            self.fail(name, format!("must be a number of seconds from {from} to {to}"));
        }
        seconds
    }

    /// Names a fault.
    pub fn fail(&mut self, name: &str, detail: impl Display) {
        let escaped = shorten_name(name).replace('~', "~0").replace('/', "~1");
        self.errors.push(FieldError { pointer: format!("/{escaped}"), detail: detail.to_string() });
    }
}

/// A name that a client gave, as an error tells it: as a whole unless it is longer than any
/// name there is ([`MAX_SHOWN_NAME`]), so that a long one does not come back in full.
#[must_use]
pub fn shorten_name(name: &str) -> Cow<'_, str> {
    match name.char_indices().nth(MAX_SHOWN_NAME) {
        None => Cow::Borrowed(name),
        Some((end, _)) => Cow::Owned(format!("{}…", &name[..end])),
    }
}

/// A JSON number of seconds, to microseconds.
pub fn seconds(raw: &str, from: u64, to: u64) -> Option<Duration> {
    let is_number = raw.starts_with(|c: char| c.is_ascii_digit() || c == '-');
    let number = raw.parse::<f64>().ok().filter(|_| is_number)?;
    #[expect(clippy::cast_precision_loss, reason = "bounds are far below 2^53")]
    let within = (from as f64..=to as f64).contains(&number);
    let micros = Duration::try_from_secs_f64(number).ok()?.as_micros();
    within.then(|| Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_named_at_once() {
        let mut form = ObjectReader::parse(br#"{"a":1,"a":2,"b":null,"c":"x","d/e":0,"f":7}"#)
            .expect("an object");
        assert_eq!(form.take::<u32>("a", "must be a number"), Some(1));
        assert_eq!(form.take::<u32>("b", "must be a number"), None);
        assert_eq!(form.text("c", |_| Err::<(), _>("must be y")), None);
        assert_eq!(form.text("f", |text| Ok::<_, String>(text.to_owned())), None);
        assert_eq!(form.take::<u32>("absent", "must be a number"), None);
        let Err(DraftError::Invalid(errors)) = form.end() else { panic!("five faults") };
        let mut pointers: Vec<&str> = errors.iter().map(|error| error.pointer.as_str()).collect();
        pointers.sort_unstable();
        assert_eq!(pointers, ["/a", "/b", "/c", "/d~1e", "/f"]);
    }

    #[test]
    fn what_is_no_object_is_refused() {
        let is_syntax =
            |body: &[u8]| matches!(ObjectReader::parse(body), Err(DraftError::Syntax { .. }));
        assert!(is_syntax(b"{") && is_syntax(b""));
        assert!(matches!(ObjectReader::parse(b"[]"), Err(DraftError::Invalid(_))));
        assert!(ObjectReader::parse_optional(b" ").is_ok_and(|form| form.end().is_ok()));
        assert!(ObjectReader::parse(b"{}").is_ok_and(|form| form.end().is_ok()));
    }
}
