//! The patterns of all filters, and which of them a subject matches.
//!
//! Invariant: a pattern is a subject with some tokens replaced by `*` and perhaps its end by `>`. So those
//! that match are found by replacing, in each way that any pattern does, and looking up what that gives.
//! There are 31 ways for the four tokens of a subject of ours, and one entry for a pattern however long.

use std::collections::{BTreeMap, HashMap};

use super::Term;
use crate::message::SubjectPattern;

/// For each token before a `>`, whether it is `*`.
type Shape = Box<[bool]>;

#[derive(Debug, Default)]
pub(super) struct Patterns {
    terms: HashMap<SubjectPattern, Term>,
    /// Under how many tokens a pattern has before its `>`, if it has one, and whether it has: which of them
    /// are `*`, and in how many patterns.
    shapes: BTreeMap<(usize, bool), HashMap<Shape, usize>>,
}

impl Patterns {
    /// Adds every pattern that a subject matches; maybe twice, where the subject itself has wildcards.
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

    /// Changes a pattern's term, which is made if it is new, and dropped when no filter uses it.
    pub(super) fn change<T>(
        &mut self,
        pattern: &SubjectPattern,
        change: impl FnOnce(&mut Term) -> T,
    ) -> T {
        if !self.terms.contains_key(pattern) {
            let (at, shape) = shape(pattern);
            *self.shapes.entry(at).or_default().entry(shape).or_default() += 1;
        }
        let changed = super::entry(&mut self.terms, pattern, change);
        if !self.terms.contains_key(pattern) {
            self.forget(pattern);
        }
        changed
    }

    fn forget(&mut self, pattern: &SubjectPattern) {
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
