//! The index finds the groups whose filters a message passes, without asking every group.
//!
//! Invariants: [`Index::passing`] visits exactly the groups whose filters match, each once. The cost of a
//! message does not grow with the number of values that filters list. For that, each value has a number; the
//! patterns of all filters are matched together; and a group found by one name is checked with one look-up in
//! a sorted list for each other name that its filter uses.

mod patterns;
mod term;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::limits::INDEX_GROUPS_PER_VALUE;
use crate::message::{Filter, FilterTerm, NameTerms, Record};
use patterns::Patterns;
use term::{GroupTerms, Term, change};

/// The groups. Each is listed under the values of one of the names that its filter uses.
#[derive(Debug, Default)]
pub(super) struct Index {
    terms: Terms,
    groups: HashMap<u64, Arc<GroupTerms>>,
    /// Groups whose filters are empty.
    unfiltered: HashSet<u64>,
    next_term: u64,
}

/// Every value that at least one filter lists.
#[derive(Debug, Default)]
struct Terms {
    /// All values except patterns.
    values: HashMap<FilterTerm, Term>,
    patterns: Patterns,
}

/// The values of a message that filters list, in the order of [`FilterTerm::NAMES`]: at most one for each name,
/// but any number of patterns.
struct MessageTerms<'a> {
    terms: Vec<&'a Term>,
    /// For each name, the position behind its terms.
    ends: [usize; FilterTerm::NAMES],
}

impl<'a> MessageTerms<'a> {
    /// The first position of a name's terms. Those of a scope are the terms of recipient, sender and subject.
    fn start(&self, name: usize) -> usize {
        let first = if name == FilterTerm::SCOPE { FilterTerm::RECIPIENT } else { name };
        first.checked_sub(1).map_or(0, |before| self.ends[before])
    }

    fn under(&self, name: usize) -> &[&'a Term] {
        &self.terms[self.start(name)..self.ends[name]]
    }

    /// Whether a group's filter matches. For the name by which it is indexed this is known already.
    fn pass(&self, group: &GroupTerms) -> bool {
        group
            .names
            .iter()
            .all(|(name, _)| *name == group.indexed_by || group.lists_any(*name, self.under(*name)))
    }
}

impl Index {
    pub(super) fn insert(&mut self, filter: &Filter, group: u64) {
        let names = filter.terms();
        let indexed_by = self.most_selective(&names);
        let mut numbers = Vec::with_capacity(names.len());
        for NameTerms { name, terms } in &names {
            let mut listed: Vec<u64> = terms.iter().map(|term| self.add_use(term)).collect();
            listed.sort_unstable();
            numbers.push((*name, listed.into_boxed_slice()));
        }
        let listed = Arc::new(GroupTerms { names: numbers, indexed_by });
        if names.is_empty() {
            self.unfiltered.insert(group);
        }
        for term in names.iter().filter(|of| of.name == indexed_by).flat_map(|of| &of.terms) {
            self.terms.change(term, |term| term.groups.push((group, Arc::clone(&listed))));
        }
        self.groups.insert(group, listed);
    }

    pub(super) fn remove(&mut self, filter: &Filter, group: u64) {
        let Some(listed) = self.groups.remove(&group) else { return };
        self.unfiltered.remove(&group);
        for NameTerms { name, terms } in filter.terms() {
            let is_indexed = name == listed.indexed_by;
            for term in &terms {
                self.terms.change(term, |term| {
                    term.uses -= 1;
                    let at = term.groups.iter().position(|(other, _)| *other == group);
                    if let Some(at) = at.filter(|_| is_indexed) {
                        term.groups.swap_remove(at);
                    }
                });
            }
        }
    }

    /// Adds one to the uses of a value. Returns the number that identifies the value.
    fn add_use(&mut self, term: &FilterTerm) -> u64 {
        let next = &mut self.next_term;
        self.terms.change(term, |term| {
            if term.uses == 0 {
                *next += 1;
                term.number = *next;
            }
            term.uses += 1;
            term.number
        })
    }

    /// The name to index a filter by: the first one, from the most selective on, whose values index fewer
    /// than [`INDEX_GROUPS_PER_VALUE`] groups. If there is none, the one with the fewest groups.
    fn most_selective(&self, names: &[NameTerms]) -> usize {
        let groups = |of: &NameTerms| {
            let terms = of.terms.iter().filter_map(|term| self.terms.get(term));
            terms.map(|term| term.groups.len()).sum::<usize>()
        };
        let first = names.iter().find(|of| groups(of) < INDEX_GROUPS_PER_VALUE);
        let chosen = first.or_else(|| names.iter().min_by_key(|of| groups(of)));
        chosen.map_or(0, |of| of.name)
    }

    /// Calls `visit` with every group whose filter the message passes.
    pub(super) fn passing(&self, record: &Record, mut visit: impl FnMut(u64)) {
        let message = self.terms.of(record);
        for (at, term) in message.terms.iter().enumerate() {
            for (group, listed) in &term.groups {
                // Several patterns and terms of a scope may match. A group that lists more than one of them is
                // visited only for the last, which is usually a pattern, with many groups and none after it.
                let later = &message.terms[at + 1..message.ends[listed.indexed_by]];
                let is_repeat = || listed.lists_any(listed.indexed_by, later);
                if message.pass(listed) && (later.is_empty() || !is_repeat()) {
                    visit(*group);
                }
            }
        }
        self.unfiltered.iter().copied().for_each(visit);
    }
}

impl Terms {
    fn of(&self, record: &Record) -> MessageTerms<'_> {
        let recipient = || record.recipient_id.clone();
        let values = (!self.values.is_empty()).then(|| {
            [
                record.in_reply_to.map(FilterTerm::InReplyTo),
                record.conversation_id.clone().map(FilterTerm::Conversation),
                record.task_id.clone().map(FilterTerm::Task),
                Some(recipient().map_or(FilterTerm::Broadcast, FilterTerm::Recipient)),
                Some(FilterTerm::Sender(record.sender_id.clone())),
                // The name of subjects, whose terms are the patterns, and that of scopes.
                None,
                None,
                Some(FilterTerm::Type(record.type_.clone())),
                Some(FilterTerm::Kind(record.kind)),
            ]
        });
        let (mut terms, mut ends) = (Vec::new(), [0; FilterTerm::NAMES]);
        for (name, value) in values.unwrap_or_default().iter().enumerate() {
            terms.extend(value.as_ref().and_then(|value| self.values.get(value)));
            if name == FilterTerm::SUBJECT {
                self.patterns.matching(record.subject.as_str(), &mut terms);
            }
            ends[name] = terms.len();
        }
        MessageTerms { terms, ends }
    }

    /// Changes the term of a value. Adds it if it is new, and removes it once no filter uses it.
    fn change<T>(&mut self, term: &FilterTerm, apply: impl FnOnce(&mut Term) -> T) -> T {
        match term {
            FilterTerm::Subject(pattern) => self.patterns.change(pattern, apply),
            value => change(&mut self.values, value, apply),
        }
    }

    fn get(&self, term: &FilterTerm) -> Option<&Term> {
        match term {
            FilterTerm::Subject(pattern) => self.patterns.get(pattern),
            value => self.values.get(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::message::testing::record;
    use crate::message::{Kind, Scope};

    fn values() -> impl Strategy<Value = (&'static str, String)> {
        let name = prop_oneof!["[ab]", Just("true".to_owned())];
        let pattern = "agent\\.(task|\\*)(\\.[ab*]){1,3}(\\.>)?|agent\\.>";
        prop_oneof![
            (
                prop_oneof![
                    Just("type"),
                    Just("sender"),
                    Just("recipient"),
                    Just("task"),
                    Just("broadcast")
                ],
                name
            ),
            (Just("subject"), pattern.prop_map(|text| text.to_string())),
            (Just("kind"), prop_oneof![Just("task".to_owned()), Just("status".to_owned())]),
        ]
    }

    /// No scope, an empty one, or one of some names and patterns, of which several may match one message.
    fn scope() -> impl Strategy<Value = Option<Scope>> {
        let patterns = vec!["agent.*.a.*", "agent.task.>", "agent.task.a.b", "agent.task.b.*"];
        let subjects = proptest::sample::subsequence(patterns, 0..=3);
        let names = proptest::sample::subsequence(vec!["a", "b", "c"], 0..=2);
        proptest::option::of((subjects, names).prop_map(|(subjects, names)| Scope {
            subjects: subjects.iter().map(|text| text.parse().expect("a pattern")).collect(),
            names: names.iter().map(|text| text.parse().expect("a token")).collect(),
        }))
    }

    fn filter((values, scope): &(Vec<(&str, String)>, Option<Scope>)) -> Filter {
        let mut filter = Filter::default().within(scope.clone().map(Arc::new));
        for (name, value) in values {
            let _ = filter.parse_parameter(name, value);
        }
        filter.normalised()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn yields_exactly_the_groups_whose_filters_match(
            filters in proptest::collection::vec(
                (proptest::collection::vec(values(), 0..6), scope()), 0..20),
            names in proptest::array::uniform4("[ab]"),
            direct in any::<bool>(),
            removed in any::<usize>(),
        ) {
            let [a, b, c, d] = &names;
            let message = record(1, Kind::Task, [a, b, if direct { c } else { "" }, d]);
            let filters: Vec<Filter> = filters.iter().map(filter).collect();
            let mut index = Index::default();
            for (group, filter) in (0..).zip(&filters) {
                index.insert(filter, group);
            }
            let mut present: Vec<(u64, &Filter)> = (0..).zip(&filters).collect();
            if !present.is_empty() {
                let (group, filter) = present.remove(removed % filters.len());
                index.remove(filter, group);
            }
            let mut found = Vec::new();
            index.passing(&message, |group| found.push(group));
            let wanted: BTreeSet<u64> =
                present.iter().filter(|(_, f)| f.matches(&message)).map(|(group, _)| *group).collect();
            prop_assert_eq!(found.len(), wanted.len(), "each once");
            prop_assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), wanted);
            for (group, filter) in present {
                index.remove(filter, group);
            }
            prop_assert!(index.is_empty(), "{:?}", index);
        }
    }

    impl Index {
        fn is_empty(&self) -> bool {
            self.groups.is_empty()
                && self.unfiltered.is_empty()
                && self.terms.values.is_empty()
                && self.terms.patterns.is_empty()
        }
    }
}
