//! Connections: opening, settings, time-outs, classification of errors.

use std::future::Future;
use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Error, Executor};

use crate::limits::{
    SCHEMA_LOCK_WAIT, STORE_ACQUIRE_TIMEOUT, STORE_GRACE, STORE_READ_TIMEOUT, STORE_STATEMENTS,
    STORE_WRITE_TIMEOUT,
};
use crate::loopback::is_loopback;
use crate::store::error::StoreError;

/// What a connection is used for, which decides its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Reads history.
    Read,
    /// Lease, watermark, partitions, pings.
    Control,
    /// Writes rows.
    Write,
    /// Background processing.
    Work,
    /// Holds the membership lock.
    Member,
    /// Brings the schema up to date. This may take long, but waits for locks only shortly.
    Schema,
}

/// Makes a commit return only when it is on disk, whatever the default of role, database or server (with
/// `off` a crash loses the latest commits). A stricter setting stays. A later change of the server's default
/// has no effect on this session.
const SYNCED: &str = "SELECT set_config('synchronous_commit', \
    CASE setting WHEN 'off' THEN 'on' ELSE setting END, false) \
    FROM pg_settings WHERE name = 'synchronous_commit';";

impl Role {
    fn settings(self) -> String {
        let timeout = match self {
            Self::Schema => {
                return format!("{SYNCED} SET lock_timeout = {};", SCHEMA_LOCK_WAIT.as_millis());
            }
            Self::Read | Self::Member => STORE_READ_TIMEOUT,
            Self::Control | Self::Write | Self::Work => STORE_WRITE_TIMEOUT,
        };
        let mut sql = format!("{SYNCED} SET statement_timeout = {};", timeout.as_millis());
        // The module `plan` chooses the plan, so other kinds of scans and joins get a high cost. JIT is off
        // because PostgreSQL would conclude from that cost that the statement runs long.
        sql.push_str("SET jit = off; SET max_parallel_workers_per_gather = 0;");
        let disabled: &[&str] = match self {
            Self::Read => &["seqscan", "bitmapscan", "sort", "hashjoin", "mergejoin"],
            // These tables fill and empty again, so statistics do not show their size.
            Self::Work => &["seqscan", "bitmapscan", "hashjoin", "mergejoin"],
            // A plan that was made for a small table stays in use when the table has grown.
            Self::Write => &["seqscan", "bitmapscan"],
            Self::Control | Self::Member | Self::Schema => &[],
        };
        for other in disabled {
            sql.push_str(&format!("SET enable_{other} = off;"));
        }
        match self {
            Self::Read => sql.push_str("SET default_transaction_read_only = on;"),
            // This session holds the lock on the database. After a network failure it must not outlive this
            // process by the two hours of the system's default.
            Self::Member => sql.push_str(
                "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3;",
            ),
            _ => {}
        }
        sql
    }
}

/// Parses `DATABASE_URL`.
pub(super) fn options(url: &str) -> Result<PgConnectOptions, StoreError> {
    let options = PgConnectOptions::from_str(url)
        .map_err(|error| StoreError::Refused(format!("DATABASE_URL cannot be read: {error}")))?;
    Ok(options
        .application_name("agentbus")
        .statement_cache_capacity(STORE_STATEMENTS)
        .disable_statement_logging())
}

/// A warning for the operator if the connection crosses a network and does not authenticate the server;
/// otherwise `None`.
#[must_use]
pub fn exposure(url: &str) -> Option<String> {
    let options = PgConnectOptions::from_str(url).ok()?;
    let host = options.get_host();
    if options.get_socket().is_some() || host.starts_with('/') || is_loopback(host) {
        return None;
    }
    let lack = match options.get_ssl_mode() {
        PgSslMode::VerifyCa | PgSslMode::VerifyFull => return None,
        PgSslMode::Require => {
            "encrypts, but does not verify the server: an impostor on the network can read and change everything"
        }
        PgSslMode::Disable | PgSslMode::Allow | PgSslMode::Prefer => {
            "does not enforce encryption and does not verify the server: others on the network can read and change everything"
        }
    };
    let mode = format!("{:?}", options.get_ssl_mode()).to_lowercase();
    Some(format!(
        "DATABASE_URL: sslmode={mode} to {host} {lack}. Use sslmode=verify-full with sslrootcert=FILE"
    ))
}

/// Opens one connection outside of the pools.
pub(super) async fn open(
    options: &PgConnectOptions,
    role: Role,
) -> Result<PgConnection, StoreError> {
    bounded(STORE_ACQUIRE_TIMEOUT, async {
        let mut connection = options.connect().await?;
        connection.execute(AssertSqlSafe(role.settings())).await?;
        Ok(connection)
    })
    .await
}

/// A pool that opens its connections when needed and keeps them.
pub(super) fn pool(options: &PgConnectOptions, role: Role, connections: u32) -> PgPool {
    pool_options(role, connections).test_before_acquire(false).connect_lazy_with(options.clone())
}

/// A pool for work that must not be repeated. It tests a connection before it lends it, so that one that has
/// ended is replaced before the work begins.
pub(super) fn tested_pool(options: &PgConnectOptions, role: Role, connections: u32) -> PgPool {
    pool_options(role, connections).test_before_acquire(true).connect_lazy_with(options.clone())
}

fn pool_options(role: Role, connections: u32) -> PgPoolOptions {
    PgPoolOptions::new()
        .min_connections(connections)
        .max_connections(connections)
        .acquire_timeout(STORE_ACQUIRE_TIMEOUT)
        .after_connect(move |connection, _| {
            Box::pin(async move {
                connection.execute(AssertSqlSafe(role.settings())).await?;
                Ok(())
            })
        })
}

/// Settings of the server with which a crash can lose commits, as messages for an operator.
pub(super) async fn weaknesses(pool: &PgPool) -> Result<Vec<String>, Error> {
    let sql = "SELECT name FROM pg_settings \
               WHERE name IN ('fsync', 'synchronous_commit') AND setting = 'off' ORDER BY name";
    let off: Vec<String> = sqlx::query_scalar(sql).fetch_all(pool).await?;
    let message = |name: String| {
        format!(
            "PostgreSQL runs with {name} = off: a commit is not synced to disk, \
             and a crash of its machine can lose it or the whole database. Set {name} = on"
        )
    };
    Ok(off.into_iter().map(message).collect())
}

/// Runs work on the database within a time limit, to which [`STORE_GRACE`] is added for the network.
pub(super) async fn bounded<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(limit.saturating_add(STORE_GRACE), work).await {
        Ok(done) => done.map_err(classify),
        Err(_) => Err(StoreError::Unavailable(format!(
            "PostgreSQL did not answer within {} s",
            limit.saturating_add(STORE_GRACE).as_secs()
        ))),
    }
}

/// Runs work on a pool, and repeats it if its connection had ended. After a restart of the database every
/// connection of the pool has ended. The work may be done twice, so it must be idempotent.
pub(super) async fn on_pool<T, F>(
    pool: &PgPool,
    limit: Duration,
    work: impl Fn() -> F,
) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, Error>>,
{
    bounded(limit, async {
        for _ in 0..pool.options().get_max_connections() {
            match work().await {
                Err(error) if had_ended(&error) => {}
                done => return done,
            }
        }
        work().await
    })
    .await
}

/// Whether the error is that the connection has ended (57P01: by an administrator, 57P02: by a crash).
fn had_ended(error: &Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    matches!(error, Error::Io(_)) || matches!(code.as_deref(), Some("57P01" | "57P02"))
}

/// Tells whether the database refused the content or is unavailable.
pub(super) fn classify(error: Error) -> StoreError {
    let database = error.as_database_error();
    let code = database.and_then(|e| e.code()).unwrap_or_default();
    // A row without a partition fails a check that has no name. The row itself is fine.
    let no_partition = code == "23514" && database.is_some_and(|e| e.constraint().is_none());
    let about_content = code == "P0001"
        || (["22", "23", "54"].iter().any(|class| code.starts_with(class)) && !no_partition);
    if about_content || matches!(error, Error::Encode(_)) {
        StoreError::Refused(error.to_string())
    } else {
        StoreError::Unavailable(error.to_string())
    }
}
