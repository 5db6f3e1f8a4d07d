//! An HTTP server without what agentbus promises: it publishes the body of a request and responds when JetStream has
//! acknowledged it. Optionally a projector reads the stream and inserts rows.
//!
//! It implements the part of agentbus's API that the generator needs, so that both are measured by the same code.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::serve::ListenerExt as _;
use bytes::Bytes;
use tokio::net::TcpListener;

use super::host::BareHost;
use super::nats::{BareReader, BareStream};
use super::postgres::{BareDatabase, BareTable};
use crate::error::SuiteError;

struct Shared {
    stream: BareStream,
    acknowledged: AtomicU64,
    /// The last sequence in the table; `None` without a projector.
    inserted: Option<Arc<AtomicU64>>,
}

/// The servers and names that a bare server uses.
pub(crate) struct BareServerConfig {
    /// Address of NATS.
    pub(crate) nats_url: String,
    /// Name of the stream that is created there.
    pub(crate) stream: String,
    /// The database of the projector; `None` without a projector.
    pub(crate) database: Option<Arc<BareDatabase>>,
}

/// Starts the server.
pub(crate) async fn start(config: BareServerConfig) -> Result<BareHost, SuiteError> {
    BareHost::start(serve(config)).await
}

async fn serve(config: BareServerConfig) -> Result<u16, SuiteError> {
    let stream = BareStream::create(&config.nats_url, &config.stream).await?;
    let mut inserted = None;
    if let Some(database) = config.database {
        let (reader, table) = (stream.reader().await?, database.table().await?);
        let through = Arc::new(AtomicU64::new(0));
        tokio::spawn(project(reader, table, Arc::clone(&through)));
        inserted = Some(through);
    }
    let shared = Arc::new(Shared { stream, acknowledged: AtomicU64::new(0), inserted });
    let router = Router::new()
        .route("/v1/messages", post(publish_one))
        .route("/v1/messages/batch", post(publish_batch))
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

async fn publish_one(State(shared): State<Arc<Shared>>, body: Bytes) -> (StatusCode, String) {
    match shared.stream.publish(body).await {
        Ok(seq) => {
            shared.acknowledged.fetch_max(seq, Ordering::Relaxed);
            (StatusCode::CREATED, format!("{{\"seq\":{seq}}}"))
        }
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    }
}

async fn publish_batch(State(shared): State<Arc<Shared>>, body: Bytes) -> (StatusCode, String) {
    let lines: Vec<Bytes> =
        body.split(|byte| *byte == b'\n').map(|line| body.slice_ref(line)).collect();
    let count = lines.len();
    match shared.stream.publish_all(lines).await {
        Ok(seq) => {
            shared.acknowledged.fetch_max(seq, Ordering::Relaxed);
            let response =
                format!("{{\"accepted\":{count},\"rejected\":0,\"results\":[{{\"seq\":{seq}}}]}}");
            (StatusCode::OK, response)
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

/// Reads and inserts until either fails. After that its position does not advance, which the report shows.
async fn project(mut reader: BareReader, mut table: BareTable, through: Arc<AtomicU64>) {
    while let Ok(entries) = reader.next().await {
        let Some((first, _)) = entries.first() else { continue };
        let (first, last) = (*first, entries.last().map_or(*first, |(seq, _)| *seq));
        let bodies: Vec<Bytes> = entries.into_iter().map(|(_, body)| body).collect();
        if let Err(error) = table.insert(first, &bodies).await {
            eprintln!("the bare projector failed: {error}");
            return;
        }
        through.store(last, Ordering::Relaxed);
    }
}
