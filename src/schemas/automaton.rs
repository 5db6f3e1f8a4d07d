//! Checks that the regular expressions of a schema are cheap to match.
//!
//! The crate `regex` matches in time linear in the text, but for each byte it may take as many steps as the expression
//! has states. An expression whose deterministic automaton is small takes one step a byte. So each is made into such an
//! automaton once, within a limit, and the automaton is dropped.

use std::borrow::Cow;
use std::collections::HashSet;

use regex_automata::dfa::dense::{Builder, Config};
use regex_automata::nfa::thompson;

use crate::limits::{MAX_AUTOMATA_BYTES, MAX_AUTOMATON_BYTES};

/// The regular expressions of a schema.
#[derive(Default)]
pub(super) struct Automata {
    known: HashSet<String>,
    bytes: usize,
}

impl Automata {
    /// Checks an expression of ECMA 262, as `pattern` has it.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(super) fn add(&mut self, pattern: &str) -> Result<(), String> {
        if self.known.contains(pattern) {
            return Ok(());
        }
        let bytes = automaton_bytes(pattern)?;
        self.bytes += bytes;
        if self.bytes > MAX_AUTOMATA_BYTES {
            return Err("is too much, together with the other regular expressions".to_owned());
        }
        self.known.insert(pattern.to_owned());
        Ok(())
    }
}

/// The bytes of the deterministic automaton.
fn automaton_bytes(pattern: &str) -> Result<usize, String> {
    const UNKNOWN: &str =
        "is no regular expression that can be used here (no look-around, no back-references)";
    let rust: Cow<'_, str> = jsonschema_regex::to_rust_regex(pattern).map_err(|()| UNKNOWN)?;
    let limits = Config::new()
        .dfa_size_limit(Some(MAX_AUTOMATON_BYTES))
        .determinize_size_limit(Some(MAX_AUTOMATON_BYTES));
    let within = thompson::Config::new().nfa_size_limit(Some(MAX_AUTOMATON_BYTES));
    let built = Builder::new().configure(limits).thompson(within).build(&rust);
    let automaton = built.map_err(|error| match error.is_size_limit_exceeded() {
        true => "is a regular expression that takes too many states".to_owned(),
        false => format!("{UNKNOWN}: {error}"),
    })?;
    Ok(automaton.memory_usage())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_expressions_are_small() {
        let mut all = Automata::default();
        for pattern in [
            "^[a-z]+$",
            r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?Z$",
            "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
            r"^(feat|fix|docs|refactor|test)(\(.+\))?: .+",
            r"^[^@\s]+@[^@\s]+\.[a-z]{2,}$",
            r"\w+\s*=\s*.*",
            r"^\p{L}+$",
            r"^.{1,200}$",
            "^(a+)+$",
        ] {
            assert_eq!(all.add(pattern), Ok(()), "{pattern}");
        }
    }

    #[test]
    fn what_needs_many_states_or_steps_is_refused() {
        for pattern in [
            "[01]*1[01]{24}",
            "(a?){1000}a{1000}.{1000}",
            "((a{100}){100}){100}",
            r"(\w+)\1",
            "(?=a)b",
            "(",
        ] {
            let begun = std::time::Instant::now();
            assert!(Automata::default().add(pattern).is_err(), "{pattern}");
            assert!(begun.elapsed().as_secs() < 2, "{pattern}: {:?}", begun.elapsed());
        }
    }
}
