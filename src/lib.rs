//! agentbus: a message backend for squads of software agents.
//!
//! **The log is the truth and the sequence is the cursor.** The bus gives every
//! message a sequence. That one number is the SSE `id`, the primary key in SQL,
//! the page cursor in REST and the position of a consumer. Everything else is a
//! reader of the log, holds its own cursor, and can be thrown away and rebuilt.
//!
//! Dependencies point one way:
//!
//! ```text
//! main → cli → app → http → services → { broadcast, ingest, … } → continuity → { bus, store } → message
//!              app → { projector, switch }       → { broadcast, continuity }
//! ```
//!
//! The invariants that hold the whole together:
//!
//! 1. No sequence that was acknowledged and committed is given to other content
//!    ([`continuity`] is the gate before publishing).
//! 2. The store holds a prefix of the log up to `committed_through`; rows,
//!    counters and watermark move in one transaction, under a lease that fences
//!    ([`projector`], [`store`]).
//! 3. No reader is skipped ahead: who falls behind the ring reads the store, and
//!    behind the store the bus ([`broadcast`]).
//! 4. Every queue, buffer, batch and body has a named limit ([`limits`]); no
//!    task is spawned and forgotten ([`shutdown`]).
//! 5. One message cannot stop the flow: what cannot be read as an envelope is
//!    kept as content ([`message`]).
//! 6. An event is encoded once and its bytes are shared by all who get it.
//!
//! `docs/architecture.md` walks one message through all of it.

#[cfg(test)]
extern crate self as agentbus;

pub mod access;
pub mod app;
mod backoff;
pub mod broadcast;
pub mod bus;
pub mod cli;
pub mod clock;
pub mod committed;
pub mod config;
pub mod continuity;
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
pub mod services;
pub mod shutdown;
mod singleflight;
pub mod store;
pub mod switch;
pub mod telemetry;
pub mod webhooks;
pub mod yielding;

pub use agentbus_message as message;
