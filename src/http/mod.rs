//! The HTTP API. All routes are here; each resource has a file.
//!
//! Invariant: a handler extracts, makes one call to a service and encodes the result; it knows neither SQL
//! nor NATS. Every error is a [`problem::Problem`].

mod admission;
mod agents;
mod app;
mod ask;
mod batch;
mod body;
mod console;
mod consumers;
mod dead_letters;
mod encode;
pub mod frame;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod health;
mod history;
mod inbox;
mod leases;
mod listener;
mod messages;
mod metering;
mod params;
mod path;
mod peer;
mod problem;
mod queues;
mod raw_problem;
mod request;
mod request_id;
mod response_body;
mod route_layer;
mod shares;
mod socket;
mod stats;
mod stream;
mod stream_writer;
mod takeover;
mod tasks;
mod webhooks;

use std::sync::Arc;

use axum::Router;
use axum::http::{Method, StatusCode, Uri};
use axum::routing::{get, post};

use crate::config::HttpConfig;
use crate::limits::MAX_SHOWN_PATH;
use crate::services::Services;
pub use app::App;
pub use listener::{AppSlot, Listener, announce};
use problem::Problem;
use route_layer::RouteLayer;

/// The app that serves all routes.
pub fn app(services: Services, config: &HttpConfig) -> App {
    let routes = router(services.clone());
    if config.origins.is_empty() {
        App::new(config, routes).with_shortcut(services)
    } else {
        // Preflights and CORS headers are the same for all routes.
        App::new(config, admission::cross_origin(routes, &config.origins))
    }
}

/// The routes.
fn router(services: Services) -> Router {
    // Each of these requests is short, so they count against the limit on active requests.
    let requests = Router::new()
        .route(messages::PATH, post(messages::create).get(history::page))
        .route("/v1/messages/batch", post(messages::create_batch))
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
        .route("/v1/leases/settle", post(leases::settle_batch))
        .route("/v1/leases/{token}/{action}", post(leases::settle))
        .method_not_allowed_fallback(wrong_method)
        .layer(RouteLayer { limited: true });
    let others = Router::new()
        .route("/v1/stream", get(stream::open))
        .route("/v1/status", get(health::status))
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(stats::metrics))
        .merge(console::routes())
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(RouteLayer { limited: false });
    requests.merge(others).with_state(services)
}

/// The app until bus and store are open: every route except `/livez` responds 503 `starting` with this
/// reason.
pub fn starting(config: &HttpConfig, reason: Arc<dyn Fn() -> String + Send + Sync>) -> App {
    let not_ready = move || {
        let reason = reason();
        async move { Problem::new(StatusCode::SERVICE_UNAVAILABLE, "starting", reason) }
    };
    let routes = Router::new()
        .route("/livez", get(health::livez))
        .fallback(not_ready.clone())
        .method_not_allowed_fallback(not_ready);
    App::new(config, admission::cross_origin(routes, &config.origins))
}

/// The path of a request, cut for an error text.
fn shown_path(uri: &Uri) -> String {
    uri.path().chars().take(MAX_SHOWN_PATH).collect()
}

async fn unknown_path(uri: Uri) -> Problem {
    let detail = format!("there is nothing at {}", shown_path(&uri));
    Problem::new(StatusCode::NOT_FOUND, "not_found", detail)
}

async fn wrong_method(method: Method, uri: Uri) -> Problem {
    let detail = format!("{} does not support {method}", shown_path(&uri));
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
}
