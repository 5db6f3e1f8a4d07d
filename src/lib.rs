//! agentbus: a message backend for squads of software agents.
//!
//! **The log is the truth and the sequence is the cursor.** The bus gives every message a sequence. That one
//! number is the SSE `id`, the primary key in SQL, the page cursor in REST and the position of a consumer.
//! Everything else reads the log with a cursor of its own, and can be deleted and rebuilt.
//!
//! Dependencies point one way:
//!
//! ```text
//! main → cli → app → http → services → { broadcast, ingest, … } → continuity → { bus, store } → message
//!              app → { projector, switch }       → { broadcast, continuity }
//! ```
//!
//! These invariants hold for the whole server:
//!
//! 1. No sequence that was acknowledged and committed is given to other content ([`continuity`] is the gate
//!    before publishing).
//! 2. The store has a prefix of the log up to `committed_through`. Rows, counters and watermark change in one
//!    transaction, under a lease that fences other writers ([`projector`], [`store`]).
//! 3. No reader skips messages: one that falls behind the ring reads the store, and what the store lacks it
//!    reads from the bus ([`broadcast`]).
//! 4. Every queue, buffer, batch and body has a named limit ([`limits`]), and every task is tracked until it
//!    ends ([`shutdown`]).
//! 5. One message cannot stop the flow: a payload that is no envelope is kept as content ([`message`]).
//! 6. An event is encoded once, and all who get it share its bytes.
//!
//! `docs/architecture.md` follows one message through all of this.

#[cfg(test)]
extern crate self as agentbus;

pub mod access;
pub mod app;
mod backoff;
pub mod backup;
pub mod broadcast;
pub mod bus;
pub mod cli;
pub mod clock;
pub mod committed;
pub mod config;
pub mod continuity;
pub mod erased;
pub mod erasures;
#[cfg(test)]
mod fuzzing;
pub mod http;
pub mod ingest;
pub mod limits;
mod loopback;
pub mod membership;
pub mod open_files;
pub mod presence;
pub mod processor;
pub mod projector;
pub mod queues;
pub mod renewal;
pub mod schemas;
pub mod seal;
pub mod services;
pub mod shutdown;
mod singleflight;
pub mod store;
pub mod switch;
pub mod telemetry;
mod tls;
pub mod webhooks;
pub mod yielding;

pub use agentbus_message as message;
