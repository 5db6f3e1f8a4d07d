//! Grants: what a credential may do (contract, section 11).
//!
//! Invariant: a missing list grants nothing. [`Grants::covers`] is the one rule by which a key may hand out grants: it
//! never says yes to a grant that gives more, and may say no where several entries together would give as much.

use serde::{Serialize, Serializer};

use super::capability::Capability;
use crate::limits::MAX_GRANT_VALUES;
use crate::message::{ObjectReader, Scope, SubjectPattern, Token};

/// What a credential may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Grants {
    /// Sender ids that it may write as. It may read and acknowledge their inboxes.
    #[serde(rename = "as", skip_serializing_if = "Names::is_empty")]
    pub names: Names,
    /// Subjects that it may publish on.
    #[serde(skip_serializing_if = "Subjects::is_empty")]
    pub publish: Subjects,
    /// Subjects that it may read, live and in history.
    #[serde(skip_serializing_if = "Subjects::is_empty")]
    pub read: Subjects,
    /// Queues that it may put jobs into.
    #[serde(skip_serializing_if = "Names::is_empty")]
    pub enqueue: Names,
    /// Queues that it may lease jobs from.
    #[serde(skip_serializing_if = "Names::is_empty")]
    pub work: Names,
    /// What else it may do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub can: Vec<Capability>,
}

/// Names of agents or queues, sorted; or any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    pub(super) any: bool,
    pub(super) listed: Vec<Token>,
}

/// Subject patterns, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subjects(Vec<SubjectPattern>);

/// Stands for any name.
const ANY: &str = "*";

impl Names {
    /// Any name.
    #[must_use]
    pub fn any() -> Self {
        Self { any: true, listed: Vec::new() }
    }

    /// These names.
    #[must_use]
    pub fn of(mut names: Vec<Token>) -> Self {
        names.sort_unstable();
        names.dedup();
        Self { any: false, listed: names }
    }

    fn parse(entries: Vec<Option<Token>>) -> Self {
        let any = entries.contains(&None);
        Self { any, ..Self::of(entries.into_iter().flatten().collect()) }
    }

    /// Whether no name is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.any && self.listed.is_empty()
    }

    /// Whether it is of any name.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.any
    }

    /// The names that are listed, sorted.
    #[must_use]
    pub fn listed(&self) -> &[Token] {
        &self.listed
    }

    /// Whether the name is listed or any is allowed.
    #[must_use]
    pub fn allows(&self, name: &str) -> bool {
        self.any || self.lists(name)
    }

    /// Whether the name is listed by itself.
    #[must_use]
    pub fn lists(&self, name: &str) -> bool {
        self.listed.binary_search_by(|token| token.as_str().cmp(name)).is_ok()
    }

    /// The first name of `other` that is not in it.
    fn lacking<'a>(&self, other: &'a Self) -> Option<&'a str> {
        if self.any {
            return None;
        }
        let any = other.any.then_some(ANY);
        any.or_else(|| other.listed.iter().map(Token::as_str).find(|name| !self.lists(name)))
    }
}

impl Subjects {
    /// These patterns.
    #[must_use]
    pub fn of(mut patterns: Vec<SubjectPattern>) -> Self {
        patterns.sort_unstable();
        patterns.dedup();
        Self(patterns)
    }

    /// Every subject.
    #[must_use]
    pub fn all() -> Self {
        Self(vec![SubjectPattern::all()])
    }

    /// Whether no subject matches.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether every subject matches.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.lacking(&Self::all()).is_none()
    }

    /// The patterns, sorted.
    #[must_use]
    pub fn patterns(&self) -> &[SubjectPattern] {
        &self.0
    }

    /// Whether the subject matches one of the patterns.
    #[must_use]
    pub fn allows(&self, subject: &str) -> bool {
        self.0.iter().any(|pattern| pattern.matches(subject))
    }

    /// The first pattern of `other` that no pattern of it covers.
    fn lacking<'a>(&self, other: &'a Self) -> Option<&'a str> {
        let uncovered = |narrow: &&SubjectPattern| !self.0.iter().any(|wide| wide.covers(narrow));
        other.0.iter().find(uncovered).map(SubjectPattern::as_str)
    }
}

impl Grants {
    /// Every grant there is.
    #[must_use]
    pub fn everything() -> Self {
        Self {
            names: Names::any(),
            publish: Subjects::all(),
            read: Subjects::all(),
            enqueue: Names::any(),
            work: Names::any(),
            can: Capability::ALL.to_vec(),
        }
    }

    /// Reads the members of `grants`.
    pub fn parse(object: &mut ObjectReader<'_>) -> Option<Self> {
        let mut names = |name| {
            let entry = |text: &str| if text == ANY { Ok(None) } else { text.parse().map(Some) };
            let has = object.has(name);
            let entries = object.list(name, MAX_GRANT_VALUES, entry);
            if has { entries.map(Names::parse) } else { Some(Names::default()) }
        };
        let (senders, enqueue, work) = (names("as"), names("enqueue"), names("work"));
        let mut subjects = |name| {
            let has = object.has(name);
            let entries = object.list(name, MAX_GRANT_VALUES, pattern);
            if has { entries.map(Subjects::of) } else { Some(Subjects::default()) }
        };
        let (publish, read) = (subjects("publish"), subjects("read"));
        let has_can = object.has("can");
        let can = object.list("can", MAX_GRANT_VALUES, str::parse::<Capability>);
        let mut can = if has_can { can? } else { Vec::new() };
        can.sort_unstable();
        can.dedup();
        let (names, enqueue, work) = (senders?, enqueue?, work?);
        Some(Self { names, publish: publish?, read: read?, enqueue, work, can })
    }

    /// Whether it has this capability.
    #[must_use]
    pub fn can(&self, capability: Capability) -> bool {
        self.can.contains(&capability)
    }

    /// The messages that it may read: those that `read` covers, and those sent by or to a name that `as` lists.
    /// `None`: all.
    #[must_use]
    pub fn scope(&self) -> Option<Scope> {
        let limited = !self.read.is_all();
        limited.then(|| Scope { subjects: self.read.0.clone(), names: self.names.listed.clone() })
    }

    /// Whether these grants give everything that `other` gives.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.lacking(other).is_none()
    }

    /// The first grant of `other` that these do not give, such as `publish agent.task.>`. A listed name gives reading
    /// besides writing, so `*` covers it only together with reading everything.
    #[must_use]
    pub fn lacking(&self, other: &Self) -> Option<String> {
        // Without reading everything, `*` counts for `*` alone, and not for a name.
        let counts_for_names = self.read.is_all();
        let listed = other.names.listed.iter().map(Token::as_str);
        let mut names =
            listed.filter(|name| !(self.names.any && counts_for_names || self.names.lists(name)));
        let any = (other.names.any && !self.names.any).then_some(ANY);
        let names = any.or_else(|| names.next());
        let names = names.map(|name| format!("as {name}"));
        let publish = || Some(format!("publish {}", self.publish.lacking(&other.publish)?));
        let read = || Some(format!("read {}", self.read.lacking(&other.read)?));
        let enqueue = || Some(format!("enqueue {}", self.enqueue.lacking(&other.enqueue)?));
        let work = || Some(format!("work {}", self.work.lacking(&other.work)?));
        let can = || {
            let capability = other.can.iter().find(|&&capability| !self.can(capability))?;
            Some(format!("can {capability}"))
        };
        names.or_else(publish).or_else(read).or_else(enqueue).or_else(work).or_else(can)
    }
}

/// A pattern of subjects of the log. All of them begin with `agent`, so a wildcard as the first token means `agent`.
fn pattern(text: &str) -> Result<SubjectPattern, &'static str> {
    let parsed: SubjectPattern = text.parse()?;
    match parsed.as_str().split_once('.') {
        None if parsed.as_str() == ">" => Ok(SubjectPattern::all()),
        Some((ANY, rest)) => format!("agent.{rest}").parse(),
        Some(("agent", _)) => Ok(parsed),
        _ => Err("must begin with agent. and match subjects of messages"),
    }
}

impl Serialize for Names {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let any = self.any.then_some(ANY);
        serializer.collect_seq(any.into_iter().chain(self.listed.iter().map(Token::as_str)))
    }
}

impl Serialize for Subjects {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(SubjectPattern::as_str))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::testing::{any_grants, grants};
    use crate::message::Kind;
    use crate::message::testing::record;
    use proptest::prelude::*;

    /// Everything that either gives.
    fn union(a: &Grants, b: &Grants) -> Grants {
        let names = |a: &Names, b: &Names| Names {
            any: a.any || b.any,
            ..Names::of([a.listed(), b.listed()].concat())
        };
        let subjects =
            |a: &Subjects, b: &Subjects| Subjects::of([a.patterns(), b.patterns()].concat());
        Grants {
            names: names(&a.names, &b.names),
            publish: subjects(&a.publish, &b.publish),
            read: subjects(&a.read, &b.read),
            enqueue: names(&a.enqueue, &b.enqueue),
            work: names(&a.work, &b.work),
            can: [a.can.clone(), b.can.clone()].concat(),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn what_is_covered_gives_nothing_more(a in any_grants(), narrow in any_grants(), joined in any::<bool>()) {
            let wide = if joined { union(&a, &narrow) } else { a };
            prop_assert!(!joined || wide.covers(&narrow));
            if !wide.covers(&narrow) {
                return Ok(());
            }
            for kind in [Kind::Message, Kind::Task] {
                for (key, sender, recipient) in
                    [("a", "a", "b"), ("b", "c", ""), ("c", "b", "c"), ("a", "c", "a"), ("c", "c", "b")]
                {
                    let message = record(1, kind, ["x", sender, recipient, key]);
                    let subject = message.subject.as_str();
                    let may_read = |grants: &Grants| grants.scope().is_none_or(|scope| scope.allows(&message));
                    prop_assert!(!may_read(&narrow) || may_read(&wide), "{message:?}");
                    prop_assert!(!narrow.publish.allows(subject) || wide.publish.allows(subject));
                    prop_assert!(!narrow.names.allows(sender) || wide.names.allows(sender));
                    prop_assert!(!narrow.enqueue.allows(key) || wide.enqueue.allows(key));
                    prop_assert!(!narrow.work.allows(key) || wide.work.allows(key));
                }
            }
            for capability in Capability::ALL {
                prop_assert!(!narrow.can(capability) || wide.can(capability));
            }
        }

        #[test]
        fn text_and_back(grants in any_grants()) {
            let json = serde_json::to_string(&grants).expect("JSON");
            prop_assert_eq!(self::grants(&json), grants);
        }

        #[test]
        fn everything_covers_all_and_each_covers_itself(grants in any_grants()) {
            prop_assert!(Grants::everything().covers(&grants));
            let explicit = Grants { read: Subjects::all(), ..grants.clone() };
            prop_assert!(explicit.covers(&explicit) && grants.covers(&Grants::default()));
        }
    }

    #[test]
    fn a_name_lies_within_any_name_only_with_reading_everything() {
        let name = grants(r#"{"as":["ann"]}"#);
        assert!(!grants(r#"{"as":["*"]}"#).covers(&name));
        assert!(grants(r#"{"as":["*"],"read":["agent.>"]}"#).covers(&name));
        assert!(grants(r#"{"as":["*","ann"]}"#).covers(&name));
        assert!(!name.covers(&grants(r#"{"as":["*"]}"#)));
        let any = grants(r#"{"as":["*"]}"#);
        assert!(any.covers(&any), "a key may make another of its own grants");
    }

    #[test]
    fn wildcards_for_the_first_token_mean_the_log() {
        assert!(grants(r#"{"read":[">"]}"#).read.is_all());
        assert!(grants(r#"{"read":["*.>"]}"#).read.is_all());
        assert_eq!(grants(r#"{"read":["*.task.>"]}"#), grants(r#"{"read":["agent.task.>"]}"#));
    }

    #[test]
    fn every_fault_of_grants_is_named() {
        let json = br#"{"as":["a b"],"read":["other.>"],"can":["fly"],"work":"*","x":1}"#;
        let mut object = ObjectReader::parse(json).expect("an object");
        let read = Grants::parse(&mut object);
        let error = object.finish("grants", read).expect_err("five faults");
        let text = format!("{error:?}");
        for pointer in ["/as/0", "/read/0", "/can/0", "/work", "/x"] {
            assert!(text.contains(&format!("{pointer:?}")), "{pointer} is missing in {text}");
        }
    }
}
