//! The promises under faults, on real servers: every acknowledgement and every event is recorded, and
//! afterwards compared with the stream, the store and each other.
//!
//! The usual run is short; `scripts/test --long` (`AGENTBUS_LONG=1`) repeats each fault more often.

#![expect(
    clippy::disallowed_methods,
    reason = "tests compare what servers say with the machine's clock"
)]

#[path = "../support/mod.rs"]
mod support;

mod background_kills;
mod chores;
mod clients;
mod clock;
mod cluster;
mod continuity;
mod disk;
mod drills;
mod erasing;
mod frozen;
mod kills;
mod leaf;
mod load;
mod network;
mod outages;
mod overload;
mod poison;
mod processors;
mod queue_kills;
mod readers;
mod regions;
mod small_disk;
mod soak;
mod starting;
mod stores;
mod switching;
mod upgrade;
mod verdict;
mod write_errors;
