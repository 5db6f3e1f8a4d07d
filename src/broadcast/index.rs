//! Finds the groups that a message may be for, without asking every group.
//!
//! Invariant: for a message that passes a group's filter, [`Index::candidates`]
//! yields the group (see [`Filter::keys`]); it may yield others too.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use uuid::Uuid;

use crate::message::{Filter, FilterKey, Record, Token};

/// Ids of groups by the one value their messages must have.
#[derive(Debug, Default)]
pub(super) struct Index {
    in_reply_to: HashMap<Uuid, HashSet<u64>>,
    conversations: HashMap<Token, HashSet<u64>>,
    tasks: HashMap<Token, HashSet<u64>>,
    recipients: HashMap<Token, HashSet<u64>>,
    broadcasts: HashSet<u64>,
    senders: HashMap<Token, HashSet<u64>>,
    types: HashMap<Token, HashSet<u64>>,
    subject_keys: HashMap<String, HashSet<u64>>,
    subject_types: HashMap<String, HashSet<u64>>,
    /// Groups whose filters name no exact value.
    unkeyed: HashSet<u64>,
}

impl Index {
    pub(super) fn insert(&mut self, filter: &Filter, group: u64) {
        self.update(filter, |ids| {
            ids.insert(group);
        });
    }

    pub(super) fn remove(&mut self, filter: &Filter, group: u64) {
        self.update(filter, |ids| {
            ids.remove(&group);
        });
    }

    fn update(&mut self, filter: &Filter, change: impl Fn(&mut HashSet<u64>)) {
        let Some(keys) = filter.keys() else {
            change(&mut self.unkeyed);
            return;
        };
        for key in keys {
            match key {
                FilterKey::InReplyTo(key) => entry(&mut self.in_reply_to, key, &change),
                FilterKey::Conversation(key) => entry(&mut self.conversations, key, &change),
                FilterKey::Task(key) => entry(&mut self.tasks, key, &change),
                FilterKey::Recipient(key) => entry(&mut self.recipients, key, &change),
                FilterKey::Broadcast => change(&mut self.broadcasts),
                FilterKey::Sender(key) => entry(&mut self.senders, key, &change),
                FilterKey::Type(key) => entry(&mut self.types, key, &change),
                FilterKey::SubjectKey(key) => entry(&mut self.subject_keys, key, &change),
                FilterKey::SubjectType(key) => entry(&mut self.subject_types, key, &change),
            }
        }
    }

    /// Calls `visit` for every group that the message may be for, some twice
    /// never: a group stands under keys of one dimension, one value each.
    pub(super) fn candidates(&self, record: &Record, mut visit: impl FnMut(u64)) {
        let mut subject = record.subject.as_str().split('.').skip(2);
        let (key, type_) = (subject.next(), subject.next());
        let found = [
            record.in_reply_to.as_ref().and_then(|k| self.in_reply_to.get(k)),
            record.conversation_id.as_ref().and_then(|k| self.conversations.get(k)),
            record.task_id.as_ref().and_then(|k| self.tasks.get(k)),
            record.recipient_id.as_ref().map_or(Some(&self.broadcasts), |k| self.recipients.get(k)),
            self.senders.get(&record.sender_id),
            self.types.get(&record.type_),
            key.and_then(|k| self.subject_keys.get(k)),
            type_.and_then(|k| self.subject_types.get(k)),
            Some(&self.unkeyed),
        ];
        for ids in found.into_iter().flatten() {
            ids.iter().copied().for_each(&mut visit);
        }
    }
}

/// Changes the ids under a key and drops the key when none is left.
fn entry<K: Hash + Eq + Clone>(
    map: &mut HashMap<K, HashSet<u64>>,
    key: K,
    change: impl Fn(&mut HashSet<u64>),
) {
    let ids = map.entry(key.clone()).or_default();
    change(ids);
    if ids.is_empty() {
        map.remove(&key);
    }
}
