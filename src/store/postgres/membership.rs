//! The membership on a database: an advisory lock of a session, exclusive on the memory bus, shared on NATS.
//!
//! Invariant: the lock lasts as long as its connection, so a killed server loses it at once. It decides which
//! servers may start. That only one server writes is ensured by the lease, since a server notices a lost
//! session only after a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection, Error, Row};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::connection::{Role, bounded, open};
use super::schema::difference;
use crate::limits::{JOIN_RETRY, JOIN_TIMEOUT, MEMBERSHIP_PING};
use crate::store::{BusKind, Membership, MembershipState, StoreError};

/// The key of a deployment's lock, from the name of its schema. Each database has its own advisory locks.
macro_rules! key {
    () => {
        "hashtextextended('agentbus ' || current_schema(), 0)"
    };
}

const SHARED: &str = concat!("SELECT pg_try_advisory_lock_shared(", key!(), ")");
const EXCLUSIVE: &str = concat!("SELECT pg_try_advisory_lock(", key!(), ")");

/// Selects the session that has the lock. The two halves of a 64-bit key are separate columns.
const HOLDER: &str = concat!(
    "SELECT l.mode = 'ExclusiveLock' AS alone, l.pid, host(a.client_addr) AS address \
     FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid) \
     WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 \
     AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
     AND (l.classid::bigint << 32) | l.objid::bigint = ",
    key!(),
    " AND l.pid <> pg_backend_pid() LIMIT 1"
);

/// The lock, which a task keeps. Dropping this releases the lock.
pub(super) struct PostgresMembership {
    held: Arc<AtomicBool>,
    keeper: JoinHandle<()>,
}

impl Membership for PostgresMembership {
    fn state(&self) -> MembershipState {
        if self.held.load(Ordering::Acquire) {
            MembershipState::Good
        } else {
            let fault =
                "the session that held the database ended; this server tries to lock it again";
            MembershipState::InDoubt(fault.to_owned())
        }
    }
}

impl Drop for PostgresMembership {
    fn drop(&mut self) {
        // The keeper owns the connection, which closes when the keeper ends.
        self.held.store(false, Ordering::Release);
        self.keeper.abort();
    }
}

/// Joins, or returns a message for an operator about the server that prevents it.
pub(super) async fn join(
    options: &PgConnectOptions,
    bus: BusKind,
) -> Result<Result<PostgresMembership, String>, StoreError> {
    let mut connection = open(options, Role::Member).await?;
    if let Err(reason) = lock(&mut connection, bus).await? {
        return Ok(Err(reason));
    }
    // A newer version may have changed the schema since this process opened it.
    if let Some(reason) = bounded(MEMBERSHIP_PING, difference(&mut connection)).await?.refusal() {
        return Ok(Err(reason));
    }
    let held = Arc::new(AtomicBool::new(true));
    let keeper = tokio::spawn(keep(options.clone(), bus, connection, Arc::clone(&held)));
    Ok(Ok(PostgresMembership { held, keeper }))
}

/// Locks the database as long as the connection lasts, or returns a message about the server that prevents
/// it.
pub(super) async fn lock(
    connection: &mut PgConnection,
    bus: BusKind,
) -> Result<Result<(), String>, StoreError> {
    let deadline = Instant::now() + JOIN_TIMEOUT;
    while !bounded(MEMBERSHIP_PING, try_lock(connection, bus)).await? {
        if Instant::now() >= deadline {
            return Ok(Err(bounded(MEMBERSHIP_PING, refusal(connection, bus)).await?));
        }
        tokio::time::sleep(JOIN_RETRY).await;
    }
    Ok(Ok(()))
}

async fn try_lock(connection: &mut PgConnection, bus: BusKind) -> Result<bool, Error> {
    let statement = match bus {
        BusKind::Memory => EXCLUSIVE,
        BusKind::Nats => SHARED,
    };
    sqlx::query_scalar(statement).fetch_one(connection).await
}

async fn refusal(connection: &mut PgConnection, bus: BusKind) -> Result<String, Error> {
    let Some(row) = sqlx::query(HOLDER).fetch_optional(connection).await? else {
        return Ok("another agentbus server was just running on this database; try again".into());
    };
    let alone: bool = row.try_get("alone")?;
    let pid: i32 = row.try_get("pid")?;
    let address: Option<String> = row.try_get("address")?;
    let other = if alone { BusKind::Memory } else { BusKind::Nats };
    let address = address.unwrap_or_else(|| "a local socket".to_owned());
    let why = match (bus, other) {
        (BusKind::Memory, BusKind::Memory) => "one server alone can run with it: stop it first",
        _ => "all servers of a database run with the same bus: stop it first",
    };
    Ok(format!(
        "another agentbus server is running on this database with MESSAGE_BUS={} \
         (connected from {address}, PostgreSQL process {pid}); {why}",
        other.as_str()
    ))
}

/// Checks the lock's session at intervals. After the session was lost, tries to lock again until that
/// succeeds.
async fn keep(
    options: PgConnectOptions,
    bus: BusKind,
    connection: PgConnection,
    held: Arc<AtomicBool>,
) {
    let mut connection = Some(connection);
    loop {
        tokio::time::sleep(MEMBERSHIP_PING).await;
        let good = match &mut connection {
            Some(open) => bounded(MEMBERSHIP_PING, open.ping()).await.is_ok(),
            None => false,
        };
        if good {
            continue;
        }
        if held.swap(false, Ordering::AcqRel) {
            tracing::warn!("lost the session that locks the database; locking it again");
        }
        // Closed first: if the connection is only slow, its session still holds the lock.
        drop(connection.take());
        connection = relock(&options, bus).await;
        held.store(connection.is_some(), Ordering::Release);
    }
}

async fn relock(options: &PgConnectOptions, bus: BusKind) -> Option<PgConnection> {
    let mut connection = open(options, Role::Member).await.ok()?;
    let locked = bounded(MEMBERSHIP_PING, try_lock(&mut connection, bus)).await.ok()?;
    let schema = bounded(MEMBERSHIP_PING, difference(&mut connection)).await.ok()?;
    (locked && schema.refusal().is_none()).then_some(connection)
}
