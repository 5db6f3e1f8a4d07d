//! Reads a JSON object that a client sent, member by member.
//!
//! Invariant: all faults are reported together, each with a JSON pointer (RFC 6901), so that a client can
//! correct a body in one round: members that are missing, invalid, unknown or repeated.

use std::borrow::Cow;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::json::{CompactError, Member, Members, compact, string};
use super::{BodyError, FieldError, parse_uuid};
use crate::limits::{MAX_MEMBERS, MAX_NAMED_ERRORS, MAX_SHOWN_NAME};

/// A JSON object that is being read: the members that were not read yet, and the faults so far.
///
/// ```
/// use agentbus_message::ObjectReader;
///
/// let mut object = ObjectReader::parse(br#"{"max": 5}"#)?;
/// let max = object.whole("max", 1, 100);
/// assert_eq!(object.finish("a lease request", max)?, 5);
/// # Ok::<(), agentbus_message::BodyError>(())
/// ```
pub struct ObjectReader<'a> {
    members: Vec<Member<'a>>,
    errors: Vec<FieldError>,
}

impl<'a> ObjectReader<'a> {
    /// Parses an object.
    ///
    /// # Errors
    /// The text is not JSON, is not an object, or has more than [`MAX_MEMBERS`] members.
    pub fn parse(json: &'a [u8]) -> Result<Self, BodyError> {
        let all = members(json)?;
        let mut object = Self { members: Vec::with_capacity(all.len()), errors: Vec::new() };
        for (name, value) in all {
            if object.has(&name) {
                object.fail(&name, "appears more than once");
            } else {
                object.members.push((name, value));
            }
        }
        Ok(object)
    }

    /// Parses an object. An empty body counts as an object without members.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_optional(json: &'a [u8]) -> Result<Self, BodyError> {
        if json.is_empty() {
            return Ok(Self { members: Vec::new(), errors: Vec::new() });
        }
        Self::parse(json)
    }

    /// Ends the reading: returns `read` if there was no fault and no member is left. `what` is the name of
    /// the object in errors.
    ///
    /// # Errors
    /// Every fault of the object.
    pub fn finish<T>(mut self, what: &str, read: Option<T>) -> Result<T, BodyError> {
        for (name, _) in std::mem::take(&mut self.members) {
            self.fail(&name, format!("is not a member of {what}"));
        }
        match read {
            Some(read) if self.errors.is_empty() => Ok(read),
            _ => {
                self.errors.truncate(MAX_NAMED_ERRORS);
                Err(BodyError::Invalid(self.errors))
            }
        }
    }

    /// Ends the reading: returns an error if there was a fault or a member is left.
    ///
    /// # Errors
    /// Every fault of the object.
    pub fn end(self) -> Result<(), BodyError> {
        self.finish("this body", Some(()))
    }

    /// Whether the object has the member and it was not read yet.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.members.iter().any(|(known, _)| known == name)
    }

    /// Reads a member of type `T`. `rule` is the error if it has another type. `None` if it is absent or
    /// invalid.
    pub fn take<T: DeserializeOwned>(&mut self, name: &str, rule: impl Display) -> Option<T> {
        let raw = self.raw(name)?.get();
        // `null` is refused. Deserialized to an `Option` it would count as absent, but a client must leave
        // the member out instead.
        let value = if raw == "null" { None } else { serde_json::from_str(raw).ok() };
        if value.is_none() {
            self.fail(name, rule);
        }
        value
    }

    /// Reads a required member of type `T`.
    pub fn required<T: DeserializeOwned>(&mut self, name: &str, rule: impl Display) -> Option<T> {
        self.require(name);
        self.take(name, rule)
    }

    fn require(&mut self, name: &str) {
        if !self.has(name) {
            self.fail(name, "is required");
        }
    }

    /// Takes a member whose value is `null`; returns whether there was one.
    pub fn take_null(&mut self, name: &str) -> bool {
        let null = |(known, value): &Member<'_>| known == name && value.get() == "null";
        let Some(at) = self.members.iter().position(null) else { return false };
        self.members.swap_remove(at);
        true
    }

    /// Takes the raw JSON value of a member.
    pub fn raw(&mut self, name: &str) -> Option<&'a RawValue> {
        let at = self.members.iter().position(|(known, _)| known == name)?;
        Some(self.members.swap_remove(at).1)
    }

    /// Takes the raw JSON value of a required member.
    pub fn required_raw(&mut self, name: &str) -> Option<&'a RawValue> {
        self.require(name);
        self.raw(name)
    }

    /// Reads a string. It is borrowed unless it has escapes.
    pub fn string(&mut self, name: &str) -> Option<Cow<'a, str>> {
        let raw = self.raw(name)?;
        let fault = match string(raw) {
            _ if raw.get() == "null" => "must be a string; leave the member out instead of null",
            _ if !raw.get().starts_with('"') => "must be a string",
            Ok(text) if text.contains('\0') => "must not hold U+0000",
            Ok(text) => return Some(text),
            Err(_) => "holds an unpaired surrogate",
        };
        self.fail(name, fault);
        None
    }

    /// Reads a string and parses it.
    pub fn text<T, E: Display>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.string(name)?;
        parse(&text).map_err(|rule| self.fail(name, rule)).ok()
    }

    /// Reads a required string and parses it.
    pub fn required_text<T: FromStr<Err: Display>>(&mut self, name: &str) -> Option<T> {
        self.require(name);
        self.text(name, str::parse)
    }

    /// Removes the white space between the tokens of a member's value. The value may nest at most `max_depth`
    /// deep.
    pub fn compact(&mut self, name: &str, value: &RawValue, max_depth: usize) -> Option<String> {
        let mut out = String::with_capacity(value.get().len());
        match compact(value.get(), max_depth, &mut out) {
            Ok(()) => return Some(out),
            Err(CompactError::Nul) => self.fail(name, "must not hold U+0000"),
            Err(CompactError::Surrogate) => self.fail(name, "holds an unpaired surrogate"),
            Err(CompactError::Depth) => {
                self.fail(name, format!("must nest at most {max_depth} deep"))
            }
        }
        None
    }

    /// Reads a list of strings and parses each; faults name the entry. At most `max` entries.
    pub fn list<T, E: Display>(
        &mut self,
        name: &str,
        max: usize,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<Vec<T>> {
        let rule = format!("must be a list of at most {max} strings");
        let texts: Vec<String> = self.take(name, &rule)?;
        if texts.len() > max {
            self.fail(name, rule);
            return None;
        }
        let before = self.errors.len();
        let mut values = Vec::with_capacity(texts.len());
        for (at, text) in texts.iter().enumerate() {
            match parse(text) {
                Ok(value) => values.push(value),
                Err(rule) => self.fail_at(format!("{}/{at}", pointer(name)), rule),
            }
        }
        (self.errors.len() == before).then_some(values)
    }

    /// Reads a member that is an object: `read` reads its members, and its faults are reported below its name.
    pub fn object<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&mut ObjectReader<'a>) -> Option<T>,
    ) -> Option<T> {
        let raw = self.raw(name)?.get();
        let read = ObjectReader::parse(raw.as_bytes()).and_then(|mut inner| {
            let value = read(&mut inner);
            inner.finish(name, value)
        });
        match read {
            Ok(value) => Some(value),
            Err(BodyError::Invalid(errors)) => {
                for error in errors {
                    self.fail_at(format!("{}{}", pointer(name), error.pointer), error.detail);
                }
                None
            }
            Err(BodyError::Syntax { detail, .. }) => {
                self.fail(name, detail);
                None
            }
        }
    }

    /// Reads a UUID.
    pub fn uuid(&mut self, name: &str) -> Option<Uuid> {
        self.text(name, parse_uuid)
    }

    /// Reads a whole number between `from` and `to`, both inclusive. `5.0` and `5e0` are whole, as JSON Schema has it.
    pub fn whole(&mut self, name: &str, from: u64, to: u64) -> Option<u64> {
        let raw = self.raw(name)?.get();
        let number = whole(raw).filter(|number| (from..=to).contains(number));
        if number.is_none() {
            self.fail(name, format!("must be a whole number from {from} to {to}"));
        }
        number
    }

    /// Reads a number of seconds, whole or with a fraction, between `from` and `to`, both inclusive.
    pub fn seconds(&mut self, name: &str, from: u64, to: u64) -> Option<Duration> {
        let raw = self.raw(name)?.get();
        let seconds = seconds(raw, from, to);
        if seconds.is_none() {
            self.fail(name, format!("must be a number of seconds from {from} to {to}"));
        }
        seconds
    }

    /// Records a fault of a member.
    pub fn fail(&mut self, name: &str, detail: impl Display) {
        self.fail_at(pointer(name), detail);
    }

    /// Records a fault at a JSON pointer.
    pub(super) fn fail_at(&mut self, pointer: String, detail: impl Display) {
        self.errors.push(FieldError { pointer, detail: detail.to_string() });
    }
}

/// Parses a whole number, if it is one that each JSON parser reads exactly.
fn whole(raw: &str) -> Option<u64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let rounded =
        || raw.parse().ok().filter(|n: &f64| n.fract() == 0.0 && (0.0..EXACT).contains(n));
    raw.parse().ok().or_else(|| rounded().map(|number| number as u64))
}

/// The JSON pointer of a member (RFC 6901).
fn pointer(name: &str) -> String {
    format!("/{}", shorten_name(name).replace('~', "~0").replace('/', "~1"))
}

/// The members of a JSON object, in order. Repeated names are kept.
fn members(json: &[u8]) -> Result<Vec<Member<'_>>, BodyError> {
    let invalid = |detail: String| {
        Err(BodyError::Invalid(vec![FieldError { pointer: String::new(), detail }]))
    };
    match serde_json::from_slice(json) {
        Ok(Members(members)) if members.len() > MAX_MEMBERS => {
            invalid(format!("has more than {MAX_MEMBERS} members"))
        }
        Ok(Members(members)) => Ok(members),
        Err(error) if error.is_data() => invalid("must be a JSON object".to_owned()),
        Err(error) => Err(BodyError::Syntax {
            line: error.line(),
            column: error.column(),
            detail: syntax_detail(&error),
        }),
    }
}

/// serde_json's message without the position, for which [`BodyError::Syntax`] has fields.
fn syntax_detail(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// Cuts the name of a client's parameter or member to [`MAX_SHOWN_NAME`] characters, so that an error does
/// not repeat a very long name.
#[must_use]
pub fn shorten_name(name: &str) -> Cow<'_, str> {
    match name.char_indices().nth(MAX_SHOWN_NAME) {
        None => Cow::Borrowed(name),
        Some((end, _)) => Cow::Owned(format!("{}…", &name[..end])),
    }
}

/// Parses a JSON number of seconds between `from` and `to`, with microseconds. `None` if it is not a number
/// or out of range.
#[must_use]
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
    fn every_fault_is_reported_at_once() {
        let mut object = ObjectReader::parse(br#"{"a":1,"a":2,"b":null,"c":"x","d/e":0,"f":7}"#)
            .expect("an object");
        assert_eq!(object.take::<u32>("a", "must be a number"), Some(1));
        assert_eq!(object.take::<u32>("b", "must be a number"), None);
        assert_eq!(object.text("c", |_| Err::<(), _>("must be y")), None);
        assert_eq!(object.text("f", |text| Ok::<_, String>(text.to_owned())), None);
        assert_eq!(object.take::<u32>("absent", "must be a number"), None);
        let Err(BodyError::Invalid(errors)) = object.end() else { panic!("five faults") };
        let mut pointers: Vec<&str> = errors.iter().map(|error| error.pointer.as_str()).collect();
        pointers.sort_unstable();
        assert_eq!(pointers, ["/a", "/b", "/c", "/d~1e", "/f"]);
    }

    #[test]
    fn a_whole_number_may_have_a_fraction_of_zero() {
        for (raw, number) in
            [("5", Some(5)), ("5.0", Some(5)), ("5e0", Some(5)), ("5.5", None), ("-1.0", None)]
        {
            assert_eq!(whole(raw), number, "{raw}");
        }
        assert_eq!(whole("9007199254740993.0"), None, "not every parser reads it exactly");
    }

    #[test]
    fn faults_of_lists_and_objects_are_named_where_they_are() {
        let json = br#"{"l":["a","","b"],"m":[1],"o":{"x":"?","y":1},"p":7,"n":["a","b"]}"#;
        let mut object = ObjectReader::parse(json).expect("an object");
        let token = |text: &str| text.parse::<crate::Token>();
        assert_eq!(object.list("l", 3, token), None);
        assert_eq!(object.list("m", 3, token), None);
        assert_eq!(object.list("n", 1, token), None);
        assert_eq!(object.object("o", |inner| inner.text("x", token)), None);
        assert_eq!(object.object("p", |_| Some(())), None);
        let Err(BodyError::Invalid(errors)) = object.end() else { panic!("six faults") };
        let mut pointers: Vec<&str> = errors.iter().map(|error| error.pointer.as_str()).collect();
        pointers.sort_unstable();
        assert_eq!(pointers, ["/l/1", "/m", "/n", "/o/x", "/o/y", "/p"]);
        let mut object = ObjectReader::parse(br#"{"l":["a"],"o":{"x":"b"}}"#).expect("an object");
        assert_eq!(object.list("l", 3, token).map(|list| list.len()), Some(1));
        let inner = object.object("o", |inner| inner.text("x", token));
        assert_eq!(inner.map(|token| token.to_string()).as_deref(), Some("b"));
        assert!(object.end().is_ok());
    }

    #[test]
    fn what_is_no_object_is_refused() {
        let is_syntax =
            |body: &[u8]| matches!(ObjectReader::parse(body), Err(BodyError::Syntax { .. }));
        assert!(is_syntax(b"{") && is_syntax(b""));
        assert!(matches!(ObjectReader::parse(b"[]"), Err(BodyError::Invalid(_))));
        assert!(ObjectReader::parse_optional(b"").is_ok_and(|object| object.end().is_ok()));
        assert!(ObjectReader::parse_optional(b" ").is_err(), "no JSON");
        assert!(ObjectReader::parse(b"{}").is_ok_and(|object| object.end().is_ok()));
    }
}
