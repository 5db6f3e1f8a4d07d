//! Waits for the first reply to a message (contract, sections 9 and 11).
//!
//! Invariants: a waiter is registered before its request is published, so it misses no reply, even one through
//! another server. A reply counts only if the asker may read it and its sender may answer.

use std::sync::Arc;

use crate::access::{KeyKind, Keyring};
use crate::broadcast::{Broadcaster, FilterWatch, WatchEvent};
use crate::committed::Committed;
use crate::limits::{FAULT_PAUSE, MAX_PAGE_BYTES, MAX_REPLY_WAIT};
use crate::message::{Filter, Query, Scope, Token, key_id, splice_seq};
use crate::store::Store;
use uuid::Uuid;

/// The recipient of questions that any person may answer.
const HUMAN: &str = "human";

/// Knows which messages people have posted.
#[derive(Clone, Debug)]
pub(super) struct People {
    pub(super) keyring: Keyring,
    /// Whether every request needs a key. If not, a message without one may be a person's.
    pub(super) keys_required: bool,
}

impl People {
    fn may_have_posted(&self, body: &[u8]) -> bool {
        match key_id(body) {
            Some(key) => self.keyring.kind_of(key.as_str()) == Some(KeyKind::Human),
            None => !self.keys_required,
        }
    }
}

/// Which replies to a request count.
pub(super) struct Rule {
    request: Uuid,
    /// The agent that must answer.
    sender: Option<Token>,
    /// Set if a person must answer.
    people: Option<People>,
    /// What the asker may read.
    scope: Option<Arc<Scope>>,
}

impl Rule {
    /// The rule for a request with this recipient.
    pub(super) fn new(
        request: Uuid,
        recipient: Option<&Token>,
        scope: Option<Arc<Scope>>,
        people: &People,
    ) -> Self {
        let (sender, people) = match recipient {
            Some(recipient) if recipient.as_str() == HUMAN => (None, Some(people.clone())),
            recipient => (recipient.cloned(), None),
        };
        Self { request, sender, people, scope }
    }

    /// Matches every reply that counts, and others if a person must answer.
    fn filter(&self) -> Filter {
        let senders = self.sender.clone().into_iter().collect();
        let filter = Filter { in_reply_to: vec![self.request], senders, ..Filter::default() };
        filter.within(self.scope.clone())
    }

    /// Whether a message that passes the filter counts.
    fn counts(&self, body: &[u8]) -> bool {
        self.people.as_ref().is_none_or(|people| people.may_have_posted(body))
    }
}

/// Waits for the reply to one request.
pub(super) struct ReplyWaiter {
    watch: FilterWatch,
    store: Arc<dyn Store>,
    committed: Arc<Committed>,
    rule: Rule,
}

impl ReplyWaiter {
    /// Registers a waiter for replies to a message that is published later.
    pub(super) async fn register(
        broadcaster: &Arc<Broadcaster>,
        store: Arc<dyn Store>,
        committed: Arc<Committed>,
        rule: Rule,
    ) -> Self {
        let watch = broadcaster.watch(rule.filter()).await;
        Self { watch, store, committed, rule }
    }

    /// Waits for the first reply and returns its envelope. `repeated`: the request was in the log before,
    /// so its reply may be in history.
    pub(super) async fn reply(mut self, repeated: bool) -> Vec<u8> {
        // The sequence up to which history must be searched; `None` if the watch has missed nothing.
        let mut unseen = repeated.then(|| self.watch.since());
        loop {
            let event = match unseen {
                None => self.watch.next().await,
                Some(through) => {
                    let history = in_history(&*self.store, &self.committed, &self.rule, through);
                    tokio::select! {
                        biased;
                        found = history => match found {
                            Some(reply) => return reply,
                            None => {
                                unseen = None;
                                continue;
                            }
                        },
                        event = self.watch.next() => event,
                    }
                }
            };
            match event {
                WatchEvent::Message { seq, body } if self.rule.counts(&body) => {
                    return envelope(seq, &body);
                }
                WatchEvent::Message { .. } => {}
                WatchEvent::Missed { through } => unseen = Some(through),
            }
        }
    }
}

/// Searches history for the first reply up to a sequence, until the store has all messages up to there.
async fn in_history(
    store: &dyn Store,
    committed: &Committed,
    rule: &Rule,
    through: u64,
) -> Option<Vec<u8>> {
    let mut query = Query::new(rule.filter(), 1, MAX_PAGE_BYTES);
    loop {
        // The search comes first: a reply that is stored is returned at once, however far behind the
        // store is.
        match store.page(&query).await {
            Ok(page) => {
                committed.raise(page.committed_through);
                if let Some(reply) = page.messages.first() {
                    if rule.counts(&reply.body) {
                        return Some(envelope(reply.seq, &reply.body));
                    }
                    query.after = Some(reply.seq);
                    continue;
                }
                if page.next.is_some() {
                    query.after = page.next;
                    continue;
                }
                if page.committed_through >= through {
                    return None;
                }
                committed.wait_for(through, MAX_REPLY_WAIT).await;
            }
            Err(error) => {
                tracing::debug!(%error, "history cannot be searched for a reply; retrying");
                tokio::time::sleep(FAULT_PAUSE).await;
            }
        }
    }
}

fn envelope(seq: u64, body: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(body.len() + 32);
    splice_seq(seq, body, &mut message);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(recipient: Option<&str>, keys_required: bool) -> Rule {
        let recipient: Option<Token> = recipient.map(|text| text.parse().expect("a token"));
        let people = People { keyring: Keyring::default(), keys_required };
        Rule::new(Uuid::nil(), recipient.as_ref(), None, &people)
    }

    const UNKNOWN_KEY: &[u8] = br#"{"id":"x","key_id":"abcdefghijkl"}"#;
    const NO_KEY: &[u8] = br#"{"id":"x"}"#;

    #[test]
    fn only_the_recipient_answers() {
        let to_bob = rule(Some("bob"), true);
        assert_eq!(to_bob.filter().senders, ["bob".parse().expect("a token")]);
        assert!(to_bob.counts(NO_KEY) && to_bob.counts(UNKNOWN_KEY));
        let to_all = rule(None, true);
        assert!(to_all.filter().senders.is_empty() && to_all.counts(UNKNOWN_KEY));
    }

    #[test]
    fn a_person_answers_for_human() {
        let required = rule(Some("human"), true);
        assert!(required.filter().senders.is_empty());
        assert!(!required.counts(NO_KEY) && !required.counts(UNKNOWN_KEY));
        let not_required = rule(Some("human"), false);
        assert!(not_required.counts(NO_KEY), "the server has no keys");
        assert!(!not_required.counts(UNKNOWN_KEY), "a credential is held to what it is");
    }
}
