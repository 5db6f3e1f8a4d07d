//! Errors of the suite.

/// Why an item could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum SuiteError {
    /// A server that the item needs was not given; holds the name of the variable.
    #[error("skipped: {0} is not given")]
    NotGiven(&'static str),
    /// The load generator failed.
    #[error(transparent)]
    Bench(#[from] agentbus_bench::BenchError),
    /// NATS failed.
    #[error("NATS: {0}")]
    Nats(String),
    /// A database failed.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// The store could not create its schema.
    #[error(transparent)]
    Store(#[from] agentbus::store::StoreError),
    /// The operating system or a measured server failed.
    #[error("{0}")]
    Failed(String),
    /// The item took longer than [`Item::time_limit`](crate::Item::time_limit).
    #[error("given up after {} s", .0.as_secs())]
    TooLong(std::time::Duration),
}

impl From<std::io::Error> for SuiteError {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}
