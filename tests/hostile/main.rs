//! What a hostile client tries, and that other clients do not notice it.

#![expect(
    clippy::disallowed_methods,
    reason = "tests compare what servers say with the machine's clock"
)]

#[path = "../support/mod.rs"]
mod support;

mod clock;
mod data_dir;
mod displaced;
mod durability;
mod floods;
mod inboxes;
mod known_ids;
mod lapses;
mod log;
mod measure;
mod neighbour;
mod origins;
mod queues;
mod raw;
mod redrive;
mod requests;
mod restarts;
mod secrets;
mod small;
mod stats;
mod webhooks;
