//! The parts that agentbus consists of, as a careful user of async-nats and sqlx would use them.
//!
//! They do no checks and no retries. Of agentbus they use the database schema, limits and the encoding of events.

pub(crate) mod host;
pub(crate) mod nats;
pub(crate) mod postgres;
pub(crate) mod server;
pub(crate) mod sockets;
pub(crate) mod sqlite;
