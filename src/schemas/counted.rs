//! The metric of messages that do not match their schema.

use crate::message::{Kind, Token};

/// Counts a message that does not match its schema: `refused`, `warned` or `foreign`. The names are those of schemas, so
/// there are few.
pub fn count_violation(kind: Kind, type_: &Token, outcome: &'static str) {
    let (kind, type_) = (kind.as_str(), type_.as_str().to_owned());
    let name = "agentbus_schema_violations_total";
    metrics::counter!(name, "kind" => kind, "type" => type_, "outcome" => outcome).increment(1);
}
