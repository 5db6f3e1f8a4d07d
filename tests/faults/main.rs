//! What is promised when things fail, on real servers: every acknowledgement and every event is recorded, and afterwards
//! held against the stream, the store and each other.
//!
//! The usual run is short; `scripts/test --faults-long` (`AGENTBUS_FAULTS_LONG=1`) repeats each fault as often as the
//! promise deserves.

#[path = "../common/mod.rs"]
mod common;
#[path = "../processing/mod.rs"]
mod processing;
#[path = "../streaming/mod.rs"]
mod streaming;

mod clock;
mod cluster;
mod continuity;
mod disk;
mod frozen;
mod kills;
mod load;
mod network;
mod overload;
mod poison;
mod processors;
mod proxy;
mod readers;
mod small_disk;
mod starting;
mod stores;
mod switching;
mod verdict;
mod write_errors;

/// How often a fault is repeated: `short` usually, `long` in a long run.
fn times(short: usize, long: usize) -> usize {
    if std::env::var_os("AGENTBUS_FAULTS_LONG").is_some() { long } else { short }
}
