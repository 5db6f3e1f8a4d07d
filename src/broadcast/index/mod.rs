//! Finds the groups whose filters a message passes, without asking every group.
//!
//! Invariants: [`Index::passing`] yields exactly the groups whose filters match, each once. What a
//! message costs here does not grow with the values that filters list: each value is known by a number,
//! the patterns of all filters are matched at once, and a group that does not pass is left after one
//! look-up in a sorted list for each name that its filter uses.

mod patterns;

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use uuid::Uuid;

use crate::limits::INDEX_GROUPS_PER_VALUE;
use crate::message::{Filter, FilterTerm, Kind, Record, Token};
use patterns::Patterns;

/// The groups, each under the terms of one of the names that its filter uses.
#[derive(Debug, Default)]
pub(super) struct Index {
    terms: Terms,
    groups: HashMap<u64, Arc<Listed>>,
    /// Groups whose filters use no name.
    unfiltered: HashSet<u64>,
    next_term: u64,
}

/// Each value that some filter lists.
#[derive(Debug, Default)]
struct Terms {
    in_reply_to: HashMap<Uuid, Term>,
    conversations: HashMap<Token, Term>,
    tasks: HashMap<Token, Term>,
    recipients: HashMap<Token, Term>,
    broadcast: HashMap<(), Term>,
    senders: HashMap<Token, Term>,
    types: HashMap<Token, Term>,
    kinds: HashMap<Kind, Term>,
    patterns: Patterns,
}

/// One value of filters.
#[derive(Debug, Default)]
struct Term {
    number: u64,
    /// Filters that list it.
    uses: usize,
    /// Those of them that are found by it. A list: most have one entry, and many are kept.
    groups: Vec<(u64, Arc<Listed>)>,
}

/// A group and what its filter lists.
#[derive(Debug)]
struct Listed {
    /// For each name that the filter uses, the sorted numbers of its values.
    names: Vec<(usize, Box<[u64]>)>,
    /// The name by whose values it is found.
    found_by: usize,
}

/// The terms that a message has: one at most under each name but the subject's.
struct Present<'a> {
    names: [Option<&'a Term>; FilterTerm::NAMES],
    patterns: Vec<&'a Term>,
}

impl<'a> Present<'a> {
    fn under(&self, name: usize) -> &[&'a Term] {
        if name == FilterTerm::SUBJECT { &self.patterns } else { self.names[name].as_slice() }
    }
}

impl Index {
    pub(super) fn insert(&mut self, filter: &Filter, group: u64) {
        let names = filter.terms();
        let found_by = self.least_crowded(&names);
        let mut numbers = Vec::with_capacity(names.len());
        for terms in &names {
            let mut listed: Vec<u64> = terms.iter().map(|term| self.number(term)).collect();
            listed.sort_unstable();
            numbers.extend(terms.first().map(|term| (term.name(), listed.into_boxed_slice())));
        }
        let listed = Arc::new(Listed { names: numbers, found_by });
        let terms = names.iter().flatten().filter(|term| term.name() == found_by);
        if names.is_empty() {
            self.unfiltered.insert(group);
        }
        for term in terms {
            self.terms.change(term, |term| term.groups.push((group, Arc::clone(&listed))));
        }
        self.groups.insert(group, listed);
    }

    pub(super) fn remove(&mut self, filter: &Filter, group: u64) {
        let Some(listed) = self.groups.remove(&group) else { return };
        self.unfiltered.remove(&group);
        for term in filter.terms().iter().flatten() {
            let finds = term.name() == listed.found_by;
            self.terms.change(term, |term| {
                term.uses -= 1;
                let at = term.groups.iter().position(|(other, _)| *other == group);
                if let Some(at) = at.filter(|_| finds) {
                    term.groups.swap_remove(at);
                }
            });
        }
    }

    /// Counts a use of a value, and gives its number.
    fn number(&mut self, term: &FilterTerm) -> u64 {
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

    /// The first name, from the rarest to the commonest, by whose values few groups are found yet;
    /// else the one with the fewest.
    fn least_crowded(&self, names: &[Vec<FilterTerm>]) -> usize {
        let crowd = |terms: &Vec<FilterTerm>| {
            terms.iter().map(|term| self.terms.found_by(term)).sum::<usize>()
        };
        let first = names.iter().find(|terms| crowd(terms) < INDEX_GROUPS_PER_VALUE);
        let chosen = first.or_else(|| names.iter().min_by_key(|terms| crowd(terms)));
        chosen.and_then(|terms| terms.first()).map_or(0, FilterTerm::name)
    }

    /// Calls `visit` for every group whose filter the message passes.
    pub(super) fn passing(&self, record: &Record, mut visit: impl FnMut(u64)) {
        let present = self.terms.of(record);
        for name in 0..FilterTerm::NAMES {
            let terms = present.under(name);
            for (at, term) in terms.iter().enumerate() {
                for (group, listed) in &term.groups {
                    // One that lists several patterns is visited by the first.
                    let again = || listed.has(name, &terms[..at]);
                    if listed.passes(&present, name) && (at == 0 || !again()) {
                        visit(*group);
                    }
                }
            }
        }
        self.unfiltered.iter().copied().for_each(visit);
    }
}

impl Listed {
    /// Whether it passes; what it was found by, it has.
    fn passes(&self, present: &Present<'_>, found_by: usize) -> bool {
        self.names
            .iter()
            .all(|(name, _)| *name == found_by || self.has(*name, present.under(*name)))
    }

    /// Whether it lists any of these under a name.
    fn has(&self, name: usize, terms: &[&Term]) -> bool {
        let numbers = self.names.iter().find(|(used, _)| *used == name).map(|(_, numbers)| numbers);
        numbers.is_some_and(|numbers| {
            terms.iter().any(|term| numbers.binary_search(&term.number).is_ok())
        })
    }
}

impl Terms {
    fn of<'a>(&'a self, record: &Record) -> Present<'a> {
        fn one<'a, K: Hash + Eq>(
            known: &'a HashMap<K, Term>,
            value: Option<&K>,
        ) -> Option<&'a Term> {
            known.get(value?)
        }
        let mut patterns = Vec::new();
        self.patterns.matching(record.subject.as_str(), &mut patterns);
        let names = [
            one(&self.in_reply_to, record.in_reply_to.as_ref()),
            one(&self.conversations, record.conversation_id.as_ref()),
            one(&self.tasks, record.task_id.as_ref()),
            match &record.recipient_id {
                Some(recipient) => self.recipients.get(recipient),
                None => self.broadcast.get(&()),
            },
            self.senders.get(&record.sender_id),
            None,
            self.types.get(&record.type_),
            self.kinds.get(&record.kind),
        ];
        Present { names, patterns }
    }

    /// Changes a term, which is made if it is new, and dropped when no filter uses it.
    fn change<T>(&mut self, term: &FilterTerm, change: impl FnOnce(&mut Term) -> T) -> T {
        match term {
            FilterTerm::InReplyTo(id) => entry(&mut self.in_reply_to, id, change),
            FilterTerm::Conversation(name) => entry(&mut self.conversations, name, change),
            FilterTerm::Task(name) => entry(&mut self.tasks, name, change),
            FilterTerm::Recipient(name) => entry(&mut self.recipients, name, change),
            FilterTerm::Broadcast => entry(&mut self.broadcast, &(), change),
            FilterTerm::Sender(name) => entry(&mut self.senders, name, change),
            FilterTerm::Subject(pattern) => self.patterns.change(pattern, change),
            FilterTerm::Type(name) => entry(&mut self.types, name, change),
            FilterTerm::Kind(kind) => entry(&mut self.kinds, kind, change),
        }
    }

    /// How many groups are found by a value.
    fn found_by(&self, term: &FilterTerm) -> usize {
        let term = match term {
            FilterTerm::InReplyTo(id) => self.in_reply_to.get(id),
            FilterTerm::Conversation(name) => self.conversations.get(name),
            FilterTerm::Task(name) => self.tasks.get(name),
            FilterTerm::Recipient(name) => self.recipients.get(name),
            FilterTerm::Broadcast => self.broadcast.get(&()),
            FilterTerm::Sender(name) => self.senders.get(name),
            FilterTerm::Subject(pattern) => self.patterns.get(pattern),
            FilterTerm::Type(name) => self.types.get(name),
            FilterTerm::Kind(kind) => self.kinds.get(kind),
        };
        term.map_or(0, |term| term.groups.len())
    }
}

fn entry<K: Hash + Eq + Clone, T>(
    terms: &mut HashMap<K, Term>,
    value: &K,
    change: impl FnOnce(&mut Term) -> T,
) -> T {
    let term = terms.entry(value.clone()).or_default();
    let changed = change(term);
    if term.uses == 0 {
        terms.remove(value);
    }
    changed
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::message::testing::record;

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

    fn filter(values: &[(&str, String)]) -> Filter {
        let mut filter = Filter::default();
        for (name, value) in values {
            let _ = filter.parse_parameter(name, value);
        }
        filter.normalised()
    }

    proptest! {
        #[test]
        fn yields_exactly_the_groups_whose_filters_match(
            filters in proptest::collection::vec(proptest::collection::vec(values(), 0..6), 0..20),
            names in proptest::array::uniform4("[ab]"),
            direct in any::<bool>(),
            gone in any::<usize>(),
        ) {
            let [a, b, c, d] = &names;
            let message = record(1, Kind::Task, [a, b, if direct { c } else { "" }, d]);
            let filters: Vec<Filter> = filters.iter().map(|values| filter(values)).collect();
            let mut index = Index::default();
            for (group, filter) in (0..).zip(&filters) {
                index.insert(filter, group);
            }
            let mut there: Vec<(u64, &Filter)> = (0..).zip(&filters).collect();
            if !there.is_empty() {
                let (group, filter) = there.remove(gone % filters.len());
                index.remove(filter, group);
            }
            let mut found = Vec::new();
            index.passing(&message, |group| found.push(group));
            let wanted: BTreeSet<u64> =
                there.iter().filter(|(_, f)| f.matches(&message)).map(|(group, _)| *group).collect();
            prop_assert_eq!(found.len(), wanted.len(), "each once");
            prop_assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), wanted);
            for (group, filter) in there {
                index.remove(filter, group);
            }
            prop_assert!(index.is_empty(), "{:?}", index);
        }
    }

    impl Index {
        fn is_empty(&self) -> bool {
            let Terms {
                in_reply_to,
                conversations,
                tasks,
                recipients,
                broadcast,
                senders,
                types,
                kinds,
                patterns,
            } = &self.terms;
            let names = [conversations, tasks, recipients, senders, types];
            self.groups.is_empty()
                && self.unfiltered.is_empty()
                && names.iter().all(|known| known.is_empty())
                && in_reply_to.is_empty()
                && broadcast.is_empty()
                && kinds.is_empty()
                && patterns.is_empty()
        }
    }
}
