//! Payload schemas: what `content` and `metadata` of the messages of a type must be (contract, section 13).
//!
//! Invariants: checking a message does no I/O. What it can cost is computed beforehand from the schema and the shape of
//! the message ([`cost`]), and is bounded by the message's size; a message that could cost more does not pass. Nothing
//! outside of a schema is ever fetched. The rules of JSON Schema themselves are the crate `jsonschema`'s.

mod automaton;
mod cost;
mod counted;
mod document;
mod fault;
mod foreign;
mod graph;
mod reference;
mod registry;
mod schema;
mod shape;
mod subschema;
#[cfg(test)]
mod tests;

pub use counted::count_violation;
pub use document::ContentForm;
pub use fault::Violation;
pub use foreign::{ForeignChecks, ForeignQueue};
pub use registry::{Active, Mode, Registry};
pub use schema::{Prepared, Schema};
