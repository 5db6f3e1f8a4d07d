//! Principals and grants for tests.

use std::sync::Arc;

use proptest::prelude::*;

use super::{
    Capability, Grants, Holder, KeyInfo, KeyKind, KeyLimits, Meter, Names, Principal, SecretId,
    Subjects,
};
use crate::message::ObjectReader;

/// An agent's principal with these grants.
pub(crate) fn principal(json: &str) -> Principal {
    let id = "abcdefghijkl".parse().expect("an id");
    let key = KeyInfo { id, name: "a test".to_owned(), kind: KeyKind::Agent, expires_at: None };
    let secret: SecretId = serde_json::from_str(r#"{"k":"abcdefghijkl","h":"0"}"#).expect("an id");
    let meter = Arc::new(Meter::new(KeyLimits::default()));
    Principal::with_key(key, Holder::Key(secret), grants(json), meter)
}

/// Grants from JSON.
pub(crate) fn grants(json: &str) -> Grants {
    let mut object = ObjectReader::parse(json.as_bytes()).expect("an object");
    let read = Grants::parse(&mut object);
    object.finish("grants", read).unwrap_or_else(|error| panic!("{json}: {error:?}"))
}

fn names() -> impl Strategy<Value = Names> {
    (any::<bool>(), proptest::collection::vec("[ab]", 0..3)).prop_map(|(any, names)| {
        let names = names.iter().map(|name| name.parse().expect("a token")).collect();
        Names { any, ..Names::of(names) }
    })
}

fn subjects() -> impl Strategy<Value = Subjects> {
    let pattern = ("(message|task|\\*)", "([ab*]\\.[x*]|>)");
    proptest::collection::vec(pattern, 0..3).prop_map(|patterns| {
        let parse = |(kind, rest)| format!("agent.{kind}.{rest}").parse().expect("valid");
        Subjects::of(patterns.into_iter().map(parse).collect())
    })
}

prop_compose! {
    /// Grants of few names and subjects, so that they often meet.
    pub(crate) fn any_grants()(names in names(), publish in subjects(), read in subjects(),
                    enqueue in names(), work in names(),
                    can in proptest::sample::subsequence(Capability::ALL.to_vec(), 0..3)) -> Grants {
        Grants { names, publish, read, enqueue, work, can }
    }
}
