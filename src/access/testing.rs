//! Principals for tests.

use std::sync::Arc;

use super::{Grants, KeyInfo, KeyKind, KeyLimits, Meter, Principal, SecretId};
use crate::message::ObjectReader;

/// An agent's principal with these grants.
pub(crate) fn principal(grants: &str) -> Principal {
    let mut object = ObjectReader::parse(grants.as_bytes()).expect("an object");
    let read = Grants::parse(&mut object);
    let grants = object.finish("grants", read).expect("grants");
    let id = "abcdefghijkl".parse().expect("an id");
    let key = KeyInfo { id, name: "a test".to_owned(), kind: KeyKind::Agent, expires_at: None };
    let secret: SecretId = serde_json::from_str(r#"{"k":"abcdefghijkl","h":"0"}"#).expect("an id");
    Principal::with_key(key, secret, grants, Arc::new(Meter::new(KeyLimits::default())))
}
