//! The HTTP API: routes in one place, one file a resource.
//!
//! Invariant: a handler extracts, makes one domain call and answers; it holds
//! no SQL and no NATS. Every error is a [`problem::Problem`].

mod agents;
mod answer;
mod app;
mod batch;
mod body;
mod console;
mod consumers;
mod dead_letters;
mod feed;
pub mod frame;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod guard;
mod handover;
mod health;
mod history;
mod inbox;
mod items;
mod leases;
mod listener;
mod messages;
mod params;
mod problem;
mod queues;
mod refusal;
mod reply;
mod shares;
mod socket;
mod stats;
mod stream;
mod tasks;
mod webhooks;
mod work;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{Method, StatusCode, Uri};
use axum::routing::{get, post};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio_util::sync::CancellationToken;

use crate::broadcast::Broadcaster;
use crate::bus::Bus;
use crate::committed::Committed;
use crate::config::HttpConfig;
use crate::dead_letters::DeadLetters;
use crate::inbox::Inboxes;
use crate::ingest::Ingest;
use crate::limits::MAX_SHOWN_PATH;
use crate::membership::MembershipStatus;
use crate::processor::Processor;
use crate::queues::Queues;
use crate::store::Store;
use crate::webhooks::Registry;
pub use app::App;
use guard::Around;
pub use listener::{Listener, Stage, announce};
use problem::Problem;
pub use shares::Shares;

/// What the handlers work with. Cheap to clone.
pub type Shared = Arc<Api>;

/// The domain behind the routes.
pub struct Api {
    /// Takes messages in.
    pub ingest: Arc<Ingest>,
    /// Serves streams.
    pub broadcaster: Arc<Broadcaster>,
    /// The log.
    pub bus: Arc<dyn Bus>,
    /// History.
    pub store: Arc<dyn Store>,
    /// Background processing.
    pub processor: Arc<Processor>,
    /// What could not be processed.
    pub dead_letters: DeadLetters,
    /// Webhooks.
    pub webhooks: Registry,
    /// Work queues.
    pub queues: Arc<dyn Queues>,
    /// What is meant for one agent.
    pub inboxes: Inboxes,
    /// The watermark.
    pub committed: Arc<Committed>,
    /// How this server's hold on the store stands.
    pub standing: Arc<MembershipStatus>,
    /// Renders the metrics.
    pub metrics: PrometheusHandle,
    /// Cancelled when the server begins to drain.
    pub draining: CancellationToken,
    /// How long draining may take: streams end spread over it.
    pub drain: Duration,
    /// When the process began to serve.
    pub started: std::time::Instant,
}

impl Api {
    /// Whether this server must have the store for itself alone: on the memory bus.
    fn is_alone(&self) -> bool {
        self.bus.dedup_window().is_none()
    }
}

/// What answers all requests.
pub fn app(api: Shared, config: &HttpConfig) -> App {
    let around = Around::default();
    let routes = router(api.clone(), &around);
    if config.origins.is_empty() {
        App::new(config, around, routes).with_shortcut(api)
    } else {
        // What browsers are to be told stands around all routes.
        App::new(config, around, guard::cross_origin(routes, &config.origins))
    }
}

/// The routes, with the rules that hold for all of them around.
fn router(api: Shared, around: &Around) -> Router {
    // What is at work for a moment only, and so counted against the overload limit.
    let requests = Router::new()
        .route(messages::PATH, post(messages::create).get(history::page))
        .route("/v1/messages/batch", post(batch::create))
        .route("/v1/messages/{id}", get(history::one))
        .route("/v1/webhooks", get(webhooks::list).post(webhooks::create))
        .route(
            "/v1/webhooks/{id}",
            get(webhooks::one).patch(webhooks::change).delete(webhooks::remove),
        )
        .route("/v1/agents", get(agents::page))
        .route("/v1/agents/{id}", get(agents::one))
        .route("/v1/agents/{id}/inbox/ack", post(inbox::ack))
        .route("/v1/tasks", get(tasks::page))
        .route("/v1/tasks/{id}", get(tasks::one))
        .route("/v1/stats", get(stats::stats))
        .route("/v1/consumers", get(consumers::list))
        .route("/v1/consumers/{name}/pause", post(consumers::pause))
        .route("/v1/consumers/{name}/resume", post(consumers::resume))
        .route("/v1/consumers/{name}/reset", post(consumers::reset))
        .route("/v1/dead-letters", get(dead_letters::page))
        .route("/v1/dead-letters/redrive", post(dead_letters::redrive_all))
        .route("/v1/dead-letters/{id}", get(dead_letters::one).delete(dead_letters::discard))
        .route("/v1/dead-letters/{id}/redrive", post(dead_letters::redrive))
        .route("/v1/queues", get(queues::list))
        .route("/v1/queues/{queue}", get(queues::one).put(queues::put).delete(queues::delete))
        .route("/v1/queues/{queue}/jobs", post(queues::enqueue))
        .route("/v1/queues/{queue}/jobs/batch", post(queues::enqueue_batch))
        .route("/v1/queues/{queue}/lease", post(leases::lease))
        .route("/v1/agents/{id}/inbox", get(inbox::page))
        .route("/v1/leases/settle", post(leases::settle))
        .route("/v1/leases/{token}/{action}", post(leases::settle_one))
        .method_not_allowed_fallback(wrong_method)
        .layer(around.limited());
    let others = Router::new()
        .route("/v1/stream", get(stream::open))
        .route("/v1/status", get(health::status))
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(stats::metrics))
        .merge(console::routes())
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(around.clone());
    requests.merge(others).with_state(api)
}

/// What is answered before the server has its bus and its store.
pub fn starting(config: &HttpConfig, reason: Arc<dyn Fn() -> String + Send + Sync>) -> App {
    let not_ready = move || {
        let reason = reason();
        async move { Problem::new(StatusCode::SERVICE_UNAVAILABLE, "starting", reason) }
    };
    let routes = Router::new()
        .route("/livez", get(health::livez))
        .fallback(not_ready.clone())
        .method_not_allowed_fallback(not_ready);
    App::new(config, Around::default(), guard::cross_origin(routes, &config.origins))
}

/// A path as an error tells it.
fn shown_path(uri: &Uri) -> String {
    uri.path().chars().take(MAX_SHOWN_PATH).collect()
}

async fn unknown_path(uri: Uri) -> Problem {
    Problem::not_found(format!("there is nothing at {}", shown_path(&uri)))
}

async fn wrong_method(method: Method, uri: Uri) -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        format!("{method} is no method of {}", shown_path(&uri)),
    )
}
