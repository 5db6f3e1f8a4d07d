//! The HTTP API. All routes are here; each resource has a file.
//!
//! Invariant: a handler extracts, makes one call to a service and encodes the result; it knows neither SQL
//! nor NATS. Every error is a [`problem::Problem`].

mod admission;
mod agents;
mod app;
mod apps;
mod ask;
mod audit;
mod batch;
mod body;
mod console;
mod consumers;
mod cookie;
mod cutoff;
mod dead_letters;
mod describe;
mod encode;
pub mod frame;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod health;
mod history;
mod http1;
mod http2;
mod inbox;
mod keys;
mod leases;
mod listener;
mod messages;
mod metering;
mod paced_body;
mod params;
mod path;
mod peer;
mod problem;
mod queues;
mod raw_problem;
mod request;
mod request_id;
mod request_trace;
mod response_body;
mod route_layer;
mod routes;
mod schemas;
mod secure;
mod session;
mod shares;
mod socket;
mod state;
mod stats;
mod stream;
mod stream_body;
mod stream_writer;
mod takeover;
mod tasks;
mod timed_socket;
mod webhooks;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;

use crate::config::HttpConfig;
use crate::services::{Code, Services};
pub use app::App;
pub use apps::AppSlot;
use cookie::SessionCookie;
use describe::Documents;
pub use listener::{Listener, announce};
use problem::Problem;
pub use routes::{ROUTES, Route};
use state::AppState;

/// The app that serves all routes.
pub fn app(services: Services, config: &HttpConfig) -> App {
    let routes = routes::router(state(&services, config));
    if config.origins.is_empty() {
        App::new(config, routes, Some(services.clone())).with_shortcut(services)
    } else {
        // Preflights and CORS headers are the same for all routes.
        let routes = admission::cross_origin(routes, &config.origins);
        App::new(config, routes, Some(services))
    }
}

/// The app of the listener for monitoring: metrics and health for everyone who reaches it.
pub fn monitoring(services: Services, config: &HttpConfig) -> App {
    App::new(config, routes::monitoring(state(&services, config)), Some(services)).open()
}

/// The OpenAPI document, as `/openapi.json` serves it.
#[must_use]
pub fn openapi() -> &'static serde_json::Value {
    DOCUMENTS.openapi()
}

const DOCUMENTS: Documents = Documents(routes::described);

fn state(services: &Services, config: &HttpConfig) -> AppState {
    let cookie = SessionCookie { is_secure: config.is_public_tls };
    AppState { services: services.clone(), cookie, documents: DOCUMENTS }
}

/// The app until bus and store are open: every route except `/livez` responds 503 `starting` with this
/// reason.
pub fn starting(config: &HttpConfig, reason: Arc<dyn Fn() -> String + Send + Sync>) -> App {
    let not_ready = move || {
        let reason = reason();
        async move { Problem::new(Code::Starting, reason) }
    };
    let routes = Router::new()
        .route("/livez", get(health::livez))
        .fallback(not_ready.clone())
        .method_not_allowed_fallback(not_ready);
    App::new(config, admission::cross_origin(routes, &config.origins), None)
}
