//! The contract, tested on real servers: one module for each section, in every mode to which the section
//! applies.

#![expect(
    clippy::disallowed_methods,
    reason = "tests compare what servers say with the machine's clock"
)]

#[path = "../support/mod.rs"]
mod support;

mod access;
mod backup;
mod bench;
mod cli;
mod client;
mod conformance;
mod console;
mod describe;
mod docs;
mod erasure;
mod harness;
mod history;
mod inbox;
mod locks;
mod messages;
mod observability;
mod processing;
mod queues;
mod schemas;
mod servers;
mod state;
mod stream;
mod tls;
mod traces;
mod transcripts;
