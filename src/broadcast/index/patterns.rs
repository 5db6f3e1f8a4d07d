//! The patterns of all filters, and the search for those that a subject matches.
//!
//! Invariant: a pattern is a subject of which some tokens are replaced by `*`, and perhaps the end by `>`.
//! The shape of a pattern says which. To find the matching patterns, the tokens of the subject are replaced
//! in each shape that occurs, and the result is looked up. For a subject derived by agentbus, which has four
//! tokens, there are at most 31 shapes. Each pattern is one entry, however long it is.

use std::collections::{BTreeMap, HashMap};

use super::term::{self, Term};
use crate::message::SubjectPattern;

/// Which tokens of a pattern are `*`, without a final `>`.
type Shape = Box<[bool]>;

#[derive(Debug, Default)]
pub(super) struct Patterns {
    terms: HashMap<SubjectPattern, Term>,
    /// The shapes that occur, and how many patterns have each. The key is the number of tokens before a final
    /// `>`, and whether there is a `>`.
    shapes: BTreeMap<(usize, bool), HashMap<Shape, usize>>,
}

impl Patterns {
    /// Appends the term of every pattern that a subject matches. If the subject itself contains wildcards, a
    /// term may be appended twice.
    pub(super) fn matching<'a>(&'a self, subject: &str, found: &mut Vec<&'a Term>) {
        if self.terms.is_empty() {
            return;
        }
        let tokens: Vec<&str> = subject.split('.').collect();
        let mut pattern = String::with_capacity(subject.len() + 2);
        for ((length, open), shapes) in self.shapes.range(..=(tokens.len(), false)) {
            if *length != tokens.len() && !open {
                continue;
            }
            for shape in shapes.keys() {
                pattern.clear();
                for (token, any) in tokens.iter().zip(shape) {
                    pattern.push_str(if *any { "*" } else { token });
                    pattern.push('.');
                }
                if *open {
                    pattern.push('>');
                } else {
                    pattern.pop();
                }
                found.extend(self.terms.get(pattern.as_str()));
            }
        }
    }

    pub(super) fn get(&self, pattern: &SubjectPattern) -> Option<&Term> {
        self.terms.get(pattern)
    }

    /// Changes the term of a pattern. Adds it if it is new, and removes it once no filter uses it.
    pub(super) fn change<T>(
        &mut self,
        pattern: &SubjectPattern,
        apply: impl FnOnce(&mut Term) -> T,
    ) -> T {
        if !self.terms.contains_key(pattern) {
            let (at, shape) = shape(pattern);
            *self.shapes.entry(at).or_default().entry(shape).or_default() += 1;
        }
        let result = term::change(&mut self.terms, pattern, apply);
        if !self.terms.contains_key(pattern) {
            self.remove_shape(pattern);
        }
        result
    }

    fn remove_shape(&mut self, pattern: &SubjectPattern) {
        let (at, shape) = shape(pattern);
        let Some(shapes) = self.shapes.get_mut(&at) else { return };
        if let Some(patterns) = shapes.get_mut(&shape) {
            *patterns -= 1;
            if *patterns == 0 {
                shapes.remove(&shape);
            }
        }
        if shapes.is_empty() {
            self.shapes.remove(&at);
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.terms.is_empty() && self.shapes.is_empty()
    }
}

fn shape(pattern: &SubjectPattern) -> ((usize, bool), Shape) {
    let open = pattern.tokens().last() == Some(">");
    let tokens = pattern.tokens().filter(|token| *token != ">");
    let shape: Shape = tokens.map(|token| token == "*").collect();
    ((shape.len(), open), shape)
}
