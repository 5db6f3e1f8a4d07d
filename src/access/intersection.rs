//! What two grants both give: what a token's claim may have of its issuer's most (contract, section 11, JWT).
//!
//! Invariant: the result never gives what one of the two does not give. It gives less than both where lists cannot say
//! it: reading that one gives by `read` and the other by a name in `as`.

use std::collections::BTreeSet;

use super::grants::{Grants, Names, Subjects};
use crate::limits::MAX_GRANT_VALUES;
use crate::message::{SubjectPattern, Token};

impl Grants {
    /// What both give; `None` if a list of it would be longer than one of grants may be.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        Some(Self {
            names: senders(self, other),
            publish: subjects(&self.publish, &other.publish)?,
            read: subjects(&self.read, &other.read)?,
            enqueue: queues(&self.enqueue, &other.enqueue),
            work: queues(&self.work, &other.work),
            can: self.can.iter().copied().filter(|&can| other.can(can)).collect(),
        })
    }

    /// These grants and this sender.
    #[must_use]
    pub fn with_name(mut self, name: Token) -> Self {
        self.names.listed.push(name);
        self.names = Names { any: self.names.any, ..Names::of(self.names.listed) };
        self
    }

    /// Whether it gives this sender with the reading that a listed name has. `*` does so only together with reading
    /// everything.
    fn gives_name(&self, name: &Token) -> bool {
        self.names.lists(name.as_str()) || self.names.any && self.read.is_all()
    }
}

fn senders(one: &Grants, other: &Grants) -> Names {
    let listed = one.names.listed.iter().chain(&other.names.listed);
    let common = listed.filter(|name| one.gives_name(name) && other.gives_name(name));
    Names { any: one.names.any && other.names.any, ..Names::of(common.cloned().collect()) }
}

fn queues(one: &Names, other: &Names) -> Names {
    if one.any {
        return other.clone();
    }
    Names::of(one.listed.iter().filter(|name| other.allows(name.as_str())).cloned().collect())
}

/// The patterns of what both match, without those that others of them cover.
fn subjects(one: &Subjects, other: &Subjects) -> Option<Subjects> {
    let pairs = one.patterns().iter().flat_map(|a| other.patterns().iter().map(move |b| (a, b)));
    let common: BTreeSet<SubjectPattern> = pairs.filter_map(|(a, b)| a.intersection(b)).collect();
    if common.len() > MAX_GRANT_VALUES * 8 {
        return None;
    }
    let is_covered = |pattern: &SubjectPattern| {
        common.iter().any(|wide| wide != pattern && wide.covers(pattern))
    };
    let kept: Vec<_> = common.iter().filter(|pattern| !is_covered(pattern)).cloned().collect();
    (kept.len() <= MAX_GRANT_VALUES).then(|| Subjects::of(kept))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Capability;
    use crate::access::testing::{any_grants, grants};
    use crate::message::Kind;
    use crate::message::testing::record;
    use proptest::prelude::*;

    /// The plain model: whether these grants alone allow each of a list of acts.
    fn acts(grants: &Grants) -> Vec<(String, bool)> {
        let mut acts = Vec::new();
        let mut act = |name: String, allowed| acts.push((name, allowed));
        let scope = grants.scope();
        for kind in [Kind::Message, Kind::Task] {
            for key in ["a", "b", "c"] {
                for sender in ["a", "b", "c"] {
                    for recipient in ["", "a", "b", "c"] {
                        let message = record(1, kind, ["x", sender, recipient, key]);
                        let subject = message.subject.as_str();
                        let reads = scope.as_ref().is_none_or(|scope| scope.allows(&message));
                        act(format!("read {subject} from {sender} to {recipient}"), reads);
                        act(format!("publish {subject}"), grants.publish.allows(subject));
                    }
                }
            }
        }
        for name in ["a", "b", "c"] {
            act(format!("as {name}"), grants.names.allows(name));
            act(format!("enqueue {name}"), grants.enqueue.allows(name));
            act(format!("work {name}"), grants.work.allows(name));
        }
        for capability in Capability::ALL {
            act(format!("can {capability}"), grants.can(capability));
        }
        acts
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn an_intersection_gives_nothing_that_one_of_both_does_not(one in any_grants(), other in any_grants()) {
            let both = one.intersection(&other).expect("short lists");
            let allowed = acts(&one).into_iter().zip(acts(&other)).zip(acts(&both));
            for (((act, one_allows), (_, other_allows)), (_, both_allow)) in allowed {
                let expected = one_allows && other_allows;
                prop_assert!(!both_allow || expected, "{act} is given by {both:?}");
                // Reading and names are given in two ways, so lists cannot always say what both give.
                let is_exact = ["publish", "enqueue", "work", "can"].iter().any(|kind| act.starts_with(kind));
                prop_assert!(!is_exact || both_allow == expected, "{act} lacks in {both:?}");
            }
            prop_assert!(one.covers(&both) && other.covers(&both), "{both:?}");
        }

        #[test]
        fn what_one_covers_is_all_of_the_intersection(narrow in any_grants(), more in any_grants()) {
            prop_assert_eq!(acts(&narrow.intersection(&Grants::everything()).expect("short")), acts(&narrow));
            if more.covers(&narrow) {
                prop_assert_eq!(acts(&more.intersection(&narrow).expect("short")), acts(&narrow));
            }
        }
    }

    #[test]
    fn a_name_needs_more_than_any_name() {
        let claim = grants(r#"{"as":["ann"],"read":["agent.task.>"]}"#);
        let most = |json| claim.intersection(&grants(json)).expect("short");
        assert!(most(r#"{"as":["*"],"read":["agent.task.t1.>"]}"#).names.is_empty());
        assert!(most(r#"{"as":["*"],"read":["agent.>"]}"#).names.lists("ann"));
        assert!(most(r#"{"as":["ann"]}"#).names.lists("ann"));
        let any = grants(r#"{"as":["*"]}"#);
        assert!(any.intersection(&grants(r#"{"as":["ann"]}"#)).expect("short").names.is_empty());
    }

    #[test]
    fn patterns_that_multiply_are_refused() {
        let list = |pattern: &dyn Fn(usize) -> String| {
            let patterns = (0..100).map(|n| pattern(n).parse().expect("valid")).collect();
            Grants { read: Subjects::of(patterns), ..Grants::default() }
        };
        let (left, right) =
            (list(&|n| format!("agent.task.t{n}.*")), list(&|n| format!("agent.task.*.x{n}")));
        assert_eq!(left.intersection(&right), None);
        assert_eq!(left.intersection(&left).as_ref(), Some(&left));
    }
}
