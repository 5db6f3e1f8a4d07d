//! NATS subject patterns. `*` stands for one token, and a final `>` for one or more.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use crate::limits::MAX_PATTERN_BYTES;

/// A valid NATS subject pattern.
///
/// ```
/// use agentbus_message::SubjectPattern;
///
/// let pattern: SubjectPattern = "agent.*.T1.>".parse()?;
/// assert!(pattern.matches("agent.task.T1.started"));
/// assert!(!pattern.matches("agent.task.T2.started"));
/// # Ok::<(), &str>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubjectPattern(String);

impl SubjectPattern {
    /// Matches every subject of the stream.
    #[must_use]
    pub fn all() -> Self {
        Self("agent.>".to_owned())
    }

    /// The pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the subject matches, by the rules of NATS.
    #[must_use]
    pub fn matches(&self, subject: &str) -> bool {
        let mut tokens = subject.split('.');
        for wanted in self.0.split('.') {
            match (wanted, tokens.next()) {
                (_, None) => return false,
                (">", Some(_)) => return true,
                ("*", Some(_)) => {}
                (literal, Some(token)) if literal == token => {}
                _ => return false,
            }
        }
        tokens.next().is_none()
    }

    /// Whether every subject that `other` matches is matched by this pattern too.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let mut tokens = other.0.split('.');
        for wanted in self.0.split('.') {
            match (wanted, tokens.next()) {
                (_, None) => return false,
                (">", Some(_)) => return true,
                (_, Some(">")) => return false,
                ("*", Some(_)) => {}
                (literal, Some(token)) if literal == token => {}
                _ => return false,
            }
        }
        tokens.next().is_none()
    }

    /// The pattern that matches what both match; `None` if nothing, or if it would be too long for a pattern.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        let (mut ours, mut theirs) = (self.tokens(), other.tokens());
        let mut common: Vec<&str> = Vec::new();
        loop {
            match (ours.next(), theirs.next()) {
                (None, None) => break,
                (Some(">"), Some(token)) => {
                    common.push(token);
                    common.extend(theirs);
                    break;
                }
                (Some(token), Some(">")) => {
                    common.push(token);
                    common.extend(ours);
                    break;
                }
                (Some("*"), Some(token)) | (Some(token), Some("*")) => common.push(token),
                (Some(one), Some(other)) if one == other => common.push(one),
                _ => return None,
            }
        }
        common.join(".").parse().ok()
    }

    /// The tokens of the pattern, wildcards included.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }
}

/// Allows to look up a pattern by its text: both compare and hash alike.
impl Borrow<str> for SubjectPattern {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for SubjectPattern {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() || text.len() > MAX_PATTERN_BYTES {
            return Err("must be a NATS subject of 1 to 512 bytes");
        }
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err("must hold no white space");
        }
        let mut tokens = text.split('.').peekable();
        while let Some(token) = tokens.next() {
            match token {
                "" => return Err("must hold no empty token"),
                ">" if tokens.peek().is_some() => return Err("'>' must be the last token"),
                ">" | "*" => {}
                _ if token.contains(['*', '>']) => {
                    return Err("a wildcard must be a whole token");
                }
                _ => {}
            }
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for SubjectPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reference model: NATS's rules, in the simplest code.
    fn model(pattern: &[&str], subject: &[&str]) -> bool {
        match (pattern, subject) {
            ([">"], [_, ..]) => true,
            (["*", p @ ..], [_, s @ ..]) => model(p, s),
            ([a, p @ ..], [b, s @ ..]) => a == b && model(p, s),
            ([], []) => true,
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn matches_as_the_model_does(
            mut pattern in proptest::collection::vec("[ab*]", 1..6),
            tail in any::<bool>(),
            subject in proptest::collection::vec("[ab]", 1..7),
        ) {
            if tail {
                pattern.push(">".to_owned());
            }
            let parsed: SubjectPattern = pattern.join(".").parse().expect("well-formed");
            let p: Vec<&str> = pattern.iter().map(String::as_str).collect();
            let s: Vec<&str> = subject.iter().map(String::as_str).collect();
            prop_assert_eq!(parsed.matches(&subject.join(".")), model(&p, &s));
        }

        #[test]
        fn covers_what_each_of_its_subjects_matches(
            mut wide in proptest::collection::vec("[ab*]", 1..4),
            mut narrow in proptest::collection::vec("[ab*]", 1..4),
            tails in any::<[bool; 2]>(),
        ) {
            for (tokens, has_tail) in [(&mut wide, tails[0]), (&mut narrow, tails[1])] {
                if has_tail {
                    tokens.push(">".to_owned());
                }
            }
            let parse = |tokens: &[String]| tokens.join(".").parse::<SubjectPattern>();
            let (wide, narrow) = (parse(&wide).expect("valid"), parse(&narrow).expect("valid"));
            // Three letters, one of which stands in no pattern, and one token more than a pattern has, are
            // enough to tell any two of these patterns apart.
            let mut subjects = vec![String::new()];
            let mut covered = true;
            for _ in 0..6 {
                subjects = subjects.iter().flat_map(|s| ["a", "b", "c"].map(|t| format!("{s}{t}."))).collect();
                covered &= subjects.iter().map(|s| &s[..s.len() - 1]).all(|s| !narrow.matches(s) || wide.matches(s));
            }
            prop_assert_eq!(wide.covers(&narrow), covered, "{} and {}", wide, narrow);
        }

        #[test]
        fn an_intersection_matches_what_both_match(
            mut one in proptest::collection::vec("[ab*]", 1..5),
            mut other in proptest::collection::vec("[ab*]", 1..5),
            tails in any::<[bool; 2]>(),
            subject in proptest::collection::vec("[abc]", 1..7),
        ) {
            for (tokens, has_tail) in [(&mut one, tails[0]), (&mut other, tails[1])] {
                if has_tail {
                    tokens.push(">".to_owned());
                }
            }
            let parse = |tokens: &[String]| tokens.join(".").parse::<SubjectPattern>();
            let (one, other) = (parse(&one).expect("valid"), parse(&other).expect("valid"));
            let subject = subject.join(".");
            let matched = one.intersection(&other).is_some_and(|both| both.matches(&subject));
            prop_assert_eq!(matched, one.matches(&subject) && other.matches(&subject));
        }

        #[test]
        fn never_panics(text in ".{0,40}") {
            if let Ok(pattern) = text.parse::<SubjectPattern>() {
                let _ = pattern.matches("agent.task.x.y");
            }
        }
    }

    #[test]
    fn refuses_what_nats_refuses() {
        for bad in ["", ".", "a.", ".a", "a..b", "a.>.b", "a b", "a*", "b.x>", "a\u{0}"] {
            assert!(bad.parse::<SubjectPattern>().is_err(), "{bad:?}");
        }
    }
}
