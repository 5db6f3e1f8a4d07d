//! Why an item could not be measured.

/// Why an item has no figures.
#[derive(Debug, thiserror::Error)]
pub enum SuiteError {
    /// What it needs was not given.
    #[error("skipped: {0} is not given")]
    Lacks(&'static str),
    /// The generator's.
    #[error(transparent)]
    Bench(#[from] agentbus_bench::BenchError),
    /// NATS.
    #[error("NATS: {0}")]
    Nats(String),
    /// A database.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// agentbus's own store, where it makes its schema.
    #[error(transparent)]
    Store(#[from] agentbus::store::StoreError),
    /// The system, or what a server of ours said.
    #[error("{0}")]
    Failed(String),
    /// It took longer than it may.
    #[error("given up after {} s", .0.as_secs())]
    TooLong(std::time::Duration),
}

impl From<std::io::Error> for SuiteError {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}
