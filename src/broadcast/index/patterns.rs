//! The patterns of all filters, and which of them a subject matches.
//!
//! Invariant: a pattern is a subject with some tokens replaced by `*` and perhaps its end by `>`. So the patterns that
//! match are found by replacing tokens in each way that any pattern does, and looking the results up. The four tokens
//! of a subject that agentbus derives give at most 31 ways, and each pattern is one entry, however long.

use std::collections::{BTreeMap, HashMap};

use super::term::{self, Term};
use crate::message::SubjectPattern;

/// For each token before a `>`, whether it is `*`.
type Shape = Box<[bool]>;

#[derive(Debug, Default)]
pub(super) struct Patterns {
    terms: HashMap<SubjectPattern, Term>,
    /// By the number of tokens before a `>`, and whether there is a `>`: which tokens are `*`, and in how many
    /// patterns.
    shapes: BTreeMap<(usize, bool), HashMap<Shape, usize>>,
}

impl Patterns {
    /// Appends every pattern that a subject matches; perhaps twice, if the subject itself has wildcards.
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

    /// Changes a pattern's term, adding it if it is new and removing it when no filter uses it any more.
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
