//! The parts that agentbus is made of, used plainly: what a careful user of async-nats and sqlx writes.
//!
//! Nothing is checked, repeated or measured beyond that. agentbus makes its schema; nothing else of its bus or store is used.

pub(crate) mod nats;
pub(crate) mod postgres;
pub(crate) mod sqlite;
