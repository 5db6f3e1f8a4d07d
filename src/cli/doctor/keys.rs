//! Keys that open more, or for longer, than they need to.

use chrono::{DateTime, TimeDelta, Utc};

use super::report::Report;
use crate::access::{Capability, Grants, KeyKind};
use crate::clock::Clock;
use crate::message::ObjectReader;
use crate::store::{KeyRow, Store};

/// Days without use after which a key is reported.
const UNUSED_DAYS: i64 = 90;

/// Checks all keys of the store.
pub(super) async fn check(store: &dyn Store, report: &mut Report) {
    let keys = match store.keys().await {
        Ok(table) => table.keys,
        Err(error) => return report.bad("keys", &error.to_string()),
    };
    let now = Clock::system().now();
    let mut found = false;
    for key in &keys {
        for finding in findings(key, now) {
            found = true;
            report.note("keys", &format!("{} ({}) {finding}", key.id, key.name));
        }
    }
    if !found {
        let text = match keys.len() {
            0 => "there are none".to_owned(),
            count => format!("{count} in the store, all in use, narrow and with an end"),
        };
        report.good("keys", &text);
    }
}

/// What is wrong with a key, and how to fix it. An expired key opens nothing, so nothing is wrong with it.
fn findings(key: &KeyRow, now: DateTime<Utc>) -> Vec<String> {
    if key.expires_at.is_some_and(|end| end <= now) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    if key.last_used_at.unwrap_or(key.created_at) < now - TimeDelta::days(UNUSED_DAYS) {
        findings.push(format!(
            "was not used for {UNUSED_DAYS} days: `agentbus keys revoke {} --yes`, unless something will need it",
            key.id
        ));
    }
    if key.expires_at.is_none() {
        findings.push(format!(
            "never expires: set expires_at with PATCH /v1/keys/{}, or replace it by one made with --expires-in",
            key.id
        ));
    }
    match wide_grants(key) {
        Some(wide) if !wide.is_empty() => findings.push(format!(
            "is an agent's and may {}: make one for its use (--agent NAME, --worker QUEUE) and revoke this one, or \
             give one that is not an agent's the kind service or human",
            wide.join(", ")
        )),
        Some(_) => {}
        None => findings.push(format!(
            "cannot be read by this version, and opens nothing: `agentbus keys revoke {} --yes`",
            key.id
        )),
    }
    findings
}

/// The grants that no agent needs, if the key is one of an agent; `None` if the row cannot be read.
fn wide_grants(key: &KeyRow) -> Option<Vec<&'static str>> {
    let kind: KeyKind = key.kind.parse().ok()?;
    let mut object = ObjectReader::parse(key.grants.as_bytes()).ok()?;
    let grants = Grants::parse(&mut object);
    let grants = object.finish("grants", grants).ok()?;
    let wide = [
        (grants.names.is_any(), "write as anyone"),
        (grants.publish.is_all(), "publish everything"),
        (grants.read.is_all(), "read everything"),
        (grants.can(Capability::Keys), "make keys"),
        (grants.can(Capability::Erase), "erase messages"),
    ];
    let wide = wide.into_iter().filter(|(has, _)| *has && kind == KeyKind::Agent);
    Some(wide.map(|(_, what)| what).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(day: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::days(day)
    }

    fn key(kind: &str, grants: &str) -> KeyRow {
        KeyRow {
            id: "k1".to_owned(),
            name: "ann's".to_owned(),
            kind: kind.to_owned(),
            grants: grants.to_owned(),
            limits: "{}".to_owned(),
            created_at: at(0),
            created_by: None,
            expires_at: Some(at(1_000)),
            last_used_at: Some(at(100)),
            change: uuid::Uuid::nil(),
        }
    }

    #[test]
    fn a_key_in_use_that_is_narrow_and_has_an_end_is_good() {
        assert!(
            findings(&key("agent", r#"{"as":["ann"],"read":["agent.task.>"]}"#), at(101))
                .is_empty()
        );
        assert!(findings(&key("service", r#"{"read":["agent.>"]}"#), at(101)).is_empty());
    }

    #[test]
    fn a_key_unused_for_90_days_is_found() {
        let mut idle = key("agent", "{}");
        assert!(findings(&idle, at(190)).is_empty());
        assert!(findings(&idle, at(191))[0].contains("keys revoke k1"));
        idle.last_used_at = None;
        assert_eq!((findings(&idle, at(90)).len(), findings(&idle, at(91)).len()), (0, 1));
        assert!(findings(&idle, at(1_000)).is_empty(), "it has expired");
    }

    #[test]
    fn a_key_without_an_end_is_found() {
        let endless = KeyRow { expires_at: None, ..key("agent", "{}") };
        let found = findings(&endless, at(101));
        assert!(found.len() == 1 && found[0].contains("never expires"), "{found:?}");
    }

    #[test]
    fn a_wide_key_of_an_agent_is_found() {
        for (grants, what) in [
            (r#"{"as":["*"]}"#, "write as anyone"),
            (r#"{"publish":["agent.>"]}"#, "publish everything"),
            (r#"{"read":["agent.>"]}"#, "read everything"),
            (r#"{"can":["keys"]}"#, "make keys"),
            (r#"{"can":["erase"]}"#, "erase messages"),
        ] {
            let found = findings(&key("agent", grants), at(101));
            assert!(found.len() == 1 && found[0].contains(what), "{found:?}");
            assert!(findings(&key("human", grants), at(101)).is_empty(), "{grants}");
        }
        assert!(
            findings(&key("agent", r#"{"can":["fly"]}"#), at(101))[0].contains("cannot be read")
        );
    }
}
