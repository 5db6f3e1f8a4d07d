//! A term: one value that filters list, with the groups indexed by it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

/// One value that filters list.
#[derive(Debug, Default)]
pub(super) struct Term {
    pub(super) number: u64,
    /// How many filters list the value.
    pub(super) uses: usize,
    /// The groups that are indexed by this value, be it as a value of its own name or of their scope. A list and not a map, since there are many terms and most
    /// have one group.
    pub(super) groups: Vec<(u64, Arc<GroupTerms>)>,
}

/// The values that the filter of a group lists.
#[derive(Debug)]
pub(super) struct GroupTerms {
    /// For each name that the filter uses, the sorted numbers of its values.
    pub(super) names: Vec<(usize, Box<[u64]>)>,
    /// The name by whose values the group is indexed.
    pub(super) indexed_by: usize,
}

impl GroupTerms {
    /// Whether the filter lists any of these terms for a name.
    pub(super) fn lists_any(&self, name: usize, terms: &[&Term]) -> bool {
        let numbers = self.names.iter().find(|(used, _)| *used == name).map(|(_, numbers)| numbers);
        numbers.is_some_and(|numbers| {
            terms.iter().any(|term| numbers.binary_search(&term.number).is_ok())
        })
    }
}

/// Changes the term of a value. Adds it if it is new, and removes it once no filter uses it.
pub(super) fn change<K: Hash + Eq + Clone, T>(
    terms: &mut HashMap<K, Term>,
    value: &K,
    apply: impl FnOnce(&mut Term) -> T,
) -> T {
    let term = terms.entry(value.clone()).or_default();
    let result = apply(term);
    if term.uses == 0 {
        terms.remove(value);
    }
    result
}
