//! Presets: grants for the common kinds of keys (contract, section 11).
//!
//! Invariant: a preset gives what its users need and nothing for convenience. The console offers the same presets, in the
//! JSON that the tests below spell out.

use super::capability::Capability;
use super::grants::{Grants, Names, Subjects};
use super::principal::KeyKind;
use crate::message::{SubjectPattern, Token};

/// A common kind of key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Preset {
    /// An agent of this name. It reads what it sent and what was sent to it.
    Agent(Token),
    /// A person of this name at the console: an agent that also reads everything, and sees how the servers do. Pausing
    /// consumers and redriving dead letters is for an operator: the grants `process` and `dead_letters`.
    Human(Token),
    /// A screen or a dashboard: reads everything, and sees how the servers do.
    Watcher,
    /// A worker of this queue. It has no name: its leases show the id of its key.
    Worker(Token),
    /// Everything. Its kind is `human`, since keys of people are made by people only.
    Admin,
}

impl Preset {
    /// Who uses such a key.
    #[must_use]
    pub fn kind(&self) -> KeyKind {
        match self {
            Self::Agent(_) | Self::Worker(_) => KeyKind::Agent,
            Self::Human(_) | Self::Admin => KeyKind::Human,
            Self::Watcher => KeyKind::Service,
        }
    }

    /// What such a key may do.
    #[must_use]
    pub fn grants(&self) -> Grants {
        match self {
            Self::Agent(name) => agent(name),
            Self::Human(name) => {
                let can = vec![Capability::Observe];
                Grants { read: Subjects::all(), can, ..agent(name) }
            }
            Self::Watcher => {
                let can = vec![Capability::Observe];
                Grants { read: Subjects::all(), can, ..Grants::default() }
            }
            Self::Worker(queue) => {
                Grants { work: Names::of(vec![queue.clone()]), ..Grants::default() }
            }
            Self::Admin => Grants::everything(),
        }
    }
}

/// Messages, the agent's own status, events of tasks, jobs for any queue.
fn agent(name: &Token) -> Grants {
    let status = format!("agent.status.{name}.>");
    let subjects = ["agent.message.>", &status, "agent.task.>"];
    // A token is a valid part of a pattern, so none is left out.
    let publish: Vec<SubjectPattern> =
        subjects.iter().filter_map(|subject| subject.parse().ok()).collect();
    Grants {
        names: Names::of(vec![name.clone()]),
        publish: Subjects::of(publish),
        enqueue: Names::any(),
        ..Grants::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str) -> Token {
        text.parse().expect("a token")
    }

    #[test]
    fn each_preset_gives_exactly_this() {
        let publish = r#""publish":["agent.message.>","agent.status.ann.>","agent.task.>"]"#;
        let agent = format!(r#"{{"as":["ann"],{publish},"enqueue":["*"]}}"#);
        let human = format!(
            r#"{{"as":["ann"],{publish},"read":["agent.>"],"enqueue":["*"],"can":["observe"]}}"#
        );
        let admin = r#"{"as":["*"],"publish":["agent.>"],"read":["agent.>"],"enqueue":["*"],"work":["*"],"can":["observe","process","webhooks","dead_letters","import","erase","schemas","claims","keys"]}"#;
        for (preset, kind, json) in [
            (Preset::Agent(token("ann")), "agent", &*agent),
            (Preset::Human(token("ann")), "human", &*human),
            (Preset::Watcher, "service", r#"{"read":["agent.>"],"can":["observe"]}"#),
            (Preset::Worker(token("builds")), "agent", r#"{"work":["builds"]}"#),
            (Preset::Admin, "human", admin),
        ] {
            let given = serde_json::to_string(&preset.grants()).expect("JSON");
            assert_eq!((preset.kind().as_str(), &*given), (kind, json));
        }
    }

    #[test]
    fn an_agent_writes_only_under_its_own_name() {
        let grants = Preset::Agent(token("ann")).grants();
        assert!(grants.publish.allows("agent.status.ann.online"));
        for other in ["agent.status.bob.online", "agent.status.ann_2.online"] {
            assert!(!grants.publish.allows(other), "{other}");
        }
        assert!(grants.names.allows("ann") && !grants.names.allows("bob"));
        assert!(grants.read.is_empty() && grants.work.is_empty() && grants.can.is_empty());
    }

    #[test]
    fn an_admin_may_make_every_other_preset() {
        let name = token("ann");
        for preset in [
            Preset::Agent(name.clone()),
            Preset::Human(name.clone()),
            Preset::Watcher,
            Preset::Worker(name),
        ] {
            assert!(Preset::Admin.grants().covers(&preset.grants()), "{preset:?}");
            assert!(!preset.grants().covers(&Preset::Admin.grants()), "{preset:?}");
        }
    }
}
