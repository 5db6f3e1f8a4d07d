//! What is left of agentbus when everything that it promises is taken away: an HTTP server that publishes
//! what it is sent and answers when JetStream has it, and beside it, if asked for, a loop that reads the
//! stream and inserts rows.
//!
//! It speaks as much of agentbus's contract as the generator needs, so that both are measured by the
//! same code.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::serve::ListenerExt as _;
use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use super::error::SuiteError;
use crate::bare::nats::{BareReader, BareStream};
use crate::bare::postgres::{BareDatabase, BareTable};
use agentbus_bench::address::Address;

/// A server with threads of its own. Dropped, it ends.
pub(super) struct BareServer {
    address: Address,
    runtime: Option<Runtime>,
}

struct Shared {
    stream: BareStream,
    acknowledged: AtomicU64,
    /// What the table has, where there is one.
    inserted: Option<Arc<AtomicU64>>,
}

/// What it stands on.
pub(super) struct Ground {
    /// Where NATS is.
    pub(super) nats: String,
    /// The stream that it makes there.
    pub(super) stream: String,
    /// The database whose table it fills, if it projects.
    pub(super) database: Option<Arc<BareDatabase>>,
}

impl BareServer {
    /// Starts it.
    pub(super) async fn start(ground: Ground) -> Result<Self, SuiteError> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let mut server = Self { address: Address::local(0), runtime: None };
        let ended = |error| SuiteError::Failed(format!("the bare server ended: {error}"));
        // Everything of it is made there, so that none of its I/O is driven by the generator's threads.
        let port = runtime.spawn(start(ground));
        // From here on dropped as it must be.
        server.runtime = Some(runtime);
        server.address = Address::local(port.await.map_err(ended)??);
        Ok(server)
    }

    /// Where it listens.
    pub(super) fn address(&self) -> &Address {
        &self.address
    }
}

impl Drop for BareServer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A runtime cannot be waited for within another.
            runtime.shutdown_background();
        }
    }
}

async fn start(ground: Ground) -> Result<u16, SuiteError> {
    let stream = BareStream::make(&ground.nats, &ground.stream).await?;
    let mut inserted = None;
    if let Some(database) = ground.database {
        let (reader, table) = (stream.reader().await?, database.table().await?);
        let through = Arc::new(AtomicU64::new(0));
        // Ends with the runtime.
        tokio::spawn(project(reader, table, Arc::clone(&through)));
        inserted = Some(through);
    }
    let shared = Arc::new(Shared { stream, acknowledged: AtomicU64::new(0), inserted });
    let router = Router::new()
        .route("/v1/messages", post(one))
        .route("/v1/messages/batch", post(many))
        .route("/v1/stats", get(stats))
        .route("/readyz", get(async || "ready"))
        .with_state(shared);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let listener = listener.tap_io(|socket| {
        let _ = socket.set_nodelay(true);
    });
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(port)
}

async fn one(State(shared): State<Arc<Shared>>, body: Bytes) -> (StatusCode, String) {
    match shared.stream.publish(body).await {
        Ok(seq) => {
            shared.acknowledged.fetch_max(seq, Ordering::Relaxed);
            (StatusCode::CREATED, format!("{{\"seq\":{seq}}}"))
        }
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    }
}

async fn many(State(shared): State<Arc<Shared>>, body: Bytes) -> (StatusCode, String) {
    let lines: Vec<Bytes> =
        body.split(|byte| *byte == b'\n').map(|line| body.slice_ref(line)).collect();
    let count = lines.len();
    match shared.stream.publish_all(lines).await {
        Ok(seq) => {
            shared.acknowledged.fetch_max(seq, Ordering::Relaxed);
            let answer =
                format!("{{\"accepted\":{count},\"rejected\":0,\"results\":[{{\"seq\":{seq}}}]}}");
            (StatusCode::OK, answer)
        }
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    }
}

async fn stats(State(shared): State<Arc<Shared>>) -> String {
    let last = shared.acknowledged.load(Ordering::Relaxed);
    let through = match &shared.inserted {
        Some(inserted) => inserted.load(Ordering::Relaxed),
        None => last,
    };
    let lag = last.saturating_sub(through);
    format!("{{\"projector\":{{\"committed_through\":{through},\"lag\":{lag}}}}}")
}

/// Reads and inserts until either fails; then what is inserted stands still, which the generator tells.
async fn project(mut reader: BareReader, mut table: BareTable, through: Arc<AtomicU64>) {
    while let Ok(entries) = reader.next().await {
        let Some((first, _)) = entries.first() else { continue };
        let (first, last) = (*first, entries.last().map_or(*first, |(seq, _)| *seq));
        let bodies: Vec<Bytes> = entries.into_iter().map(|(_, body)| body).collect();
        if let Err(error) = table.insert(first, &bodies).await {
            eprintln!("the bare projector ends: {error}");
            return;
        }
        through.store(last, Ordering::Relaxed);
    }
}
