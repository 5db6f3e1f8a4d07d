//! The metrics that are read at the scrape: what runs here, and the connections to the database.

use crate::store::PoolState;
use crate::telemetry::text::{Family, Kind};

const INFO: Family = Family("agentbus_build_info", Kind::Gauge, "1, with what runs here");
const CONNECTIONS: Family =
    Family("agentbus_pool_connections", Kind::Gauge, "Connections to the database, by state");
const MOST: Family =
    Family("agentbus_pool_max_connections", Kind::Gauge, "The most connections of a pool");
const WAITING: Family =
    Family("agentbus_pool_waiting", Kind::Gauge, "Calls that wait for a connection of the pool");

/// Appends the version of this server, its bus and its store.
pub(super) fn write_info(text: &mut String, bus: &str, store: &str) {
    let version = env!("CARGO_PKG_VERSION");
    let labels = format!("version=\"{version}\",bus=\"{bus}\",store=\"{store}\"");
    INFO.write(text, [(labels, 1)]);
}

/// Appends the state of the pools.
pub(super) fn write_pools(text: &mut String, pools: &[PoolState]) {
    let states = pools.iter().flat_map(|pool| {
        let of = |state| format!("pool=\"{}\",state=\"{state}\"", pool.name);
        [(of("in_use"), pool.in_use), (of("idle"), pool.idle)]
    });
    CONNECTIONS.write(text, states);
    let of = |pool: &PoolState| format!("pool=\"{}\"", pool.name);
    MOST.write(text, pools.iter().map(|pool| (of(pool), pool.max)));
    WAITING.write(text, pools.iter().map(|pool| (of(pool), pool.waiting)));
}
