//! The table of routes: method, path, and the call of a service behind it.
//!
//! Invariant: the router is built from this table, so every route has a call, and the call a row in
//! [`crate::services::calls`] that says what it needs.

use axum::Router;
use axum::http::{Method, StatusCode, Uri};
use axum::routing::{MethodRouter, delete, get, patch, post, put};

use super::problem::Problem;
use super::route_layer::RouteLayer;
use super::state::AppState;
use super::{
    agents, audit, console, consumers, dead_letters, health, history, inbox, keys, leases,
    messages, queues, schemas, session, stats, stream, tasks, webhooks,
};
use crate::limits::MAX_SHOWN_PATH;
use crate::services::calls::Call;

/// A route.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// The method.
    pub method: &'static str,
    /// The path, with names in braces.
    pub path: &'static str,
    /// The call behind it.
    pub call: Call,
}

macro_rules! routes {
    ($($method:ident $path:expr => $call:ident, $handler:expr;)*) => {
        /// All routes of the API.
        pub const ROUTES: &[Route] = &[$(Route {
            method: stringify!($method),
            path: $path,
            call: Call::$call,
        }),*];

        fn handler(call: Call) -> MethodRouter<AppState> {
            match call { $(Call::$call => on!($method, $handler),)* }
        }
    };
}

macro_rules! on {
    (GET, $handler:expr) => {
        get($handler)
    };
    (POST, $handler:expr) => {
        post($handler)
    };
    (PUT, $handler:expr) => {
        put($handler)
    };
    (PATCH, $handler:expr) => {
        patch($handler)
    };
    (DELETE, $handler:expr) => {
        delete($handler)
    };
}

routes! {
    POST messages::PATH => Publish, messages::create;
    GET messages::PATH => ReadHistory, history::page;
    POST "/v1/messages/batch" => PublishBatch, messages::create_batch;
    GET "/v1/messages/{id}" => ReadMessage, history::one;
    GET stream::PATH => OpenStream, stream::open;
    POST "/v1/tickets" => MakeTicket, session::make_ticket;
    GET "/v1/agents" => ListAgents, agents::page;
    GET "/v1/agents/{id}" => ReadAgent, agents::one;
    GET "/v1/agents/{id}/inbox" => ReadInbox, inbox::page;
    POST "/v1/agents/{id}/inbox/ack" => AckInbox, inbox::ack;
    GET "/v1/tasks" => ListTasks, tasks::page;
    GET "/v1/tasks/{id}" => ReadTask, tasks::one;
    GET "/v1/queues" => ListQueues, queues::list;
    GET "/v1/queues/{queue}" => ReadQueue, queues::one;
    PUT "/v1/queues/{queue}" => PutQueue, queues::put;
    DELETE "/v1/queues/{queue}" => DeleteQueue, queues::delete;
    POST "/v1/queues/{queue}/jobs" => Enqueue, queues::enqueue;
    POST "/v1/queues/{queue}/jobs/batch" => EnqueueBatch, queues::enqueue_batch;
    POST "/v1/queues/{queue}/lease" => Lease, leases::lease;
    POST "/v1/leases/settle" => SettleBatch, leases::settle_batch;
    POST "/v1/leases/{token}/{action}" => Settle, leases::settle;
    GET "/v1/consumers" => ListConsumers, consumers::list;
    POST "/v1/consumers/{name}/pause" => PauseConsumer, consumers::pause;
    POST "/v1/consumers/{name}/resume" => ResumeConsumer, consumers::resume;
    POST "/v1/consumers/{name}/reset" => ResetConsumer, consumers::reset;
    GET "/v1/dead-letters" => ListDeadLetters, dead_letters::page;
    GET "/v1/dead-letters/{id}" => ReadDeadLetter, dead_letters::one;
    POST "/v1/dead-letters/redrive" => RedriveDeadLetters, dead_letters::redrive_all;
    POST "/v1/dead-letters/{id}/redrive" => RedriveDeadLetter, dead_letters::redrive;
    DELETE "/v1/dead-letters/{id}" => DiscardDeadLetter, dead_letters::discard;
    GET "/v1/webhooks" => ListWebhooks, webhooks::list;
    POST "/v1/webhooks" => CreateWebhook, webhooks::create;
    GET "/v1/webhooks/{id}" => ReadWebhook, webhooks::one;
    PATCH "/v1/webhooks/{id}" => ChangeWebhook, webhooks::change;
    DELETE "/v1/webhooks/{id}" => RemoveWebhook, webhooks::remove;
    GET "/v1/stats" => ReadStats, stats::stats;
    GET "/metrics" => ReadMetrics, stats::metrics;
    GET "/v1/status" => ReadStatus, health::status;
    GET "/livez" => CheckLife, health::livez;
    GET "/readyz" => CheckReadiness, health::readyz;
    GET "/v1/keys" => ListKeys, keys::list;
    POST "/v1/keys" => CreateKey, keys::create;
    GET "/v1/keys/{id}" => ReadKey, keys::one;
    PATCH "/v1/keys/{id}" => ChangeKey, keys::change;
    DELETE "/v1/keys/{id}" => RevokeKey, keys::revoke;
    POST "/v1/keys/{id}/rotate" => RotateKey, keys::rotate;
    GET "/v1/schemas" => ListSchemas, schemas::list;
    GET "/v1/schemas/{kind}/{type}" => ReadSchema, schemas::one;
    GET "/v1/schemas/{kind}/{type}/versions" => ReadSchemaVersions, schemas::versions;
    PUT "/v1/schemas/{kind}/{type}" => PutSchema, schemas::put;
    DELETE "/v1/schemas/{kind}/{type}" => DeleteSchema, schemas::delete;
    GET "/v1/audit" => ReadAudit, audit::page;
    GET "/v1/me" => WhoAmI, session::me;
    POST "/v1/session" => LogIn, session::log_in;
    DELETE "/v1/session" => LogOut, session::log_out;
}

/// Whether requests of a route count against the limit on active requests: all that are short.
const fn is_limited(call: Call) -> bool {
    !matches!(
        call,
        Call::OpenStream
            | Call::ReadStatus
            | Call::CheckLife
            | Call::CheckReadiness
            | Call::ReadMetrics
    )
}

/// The router of the whole API and the console.
pub(super) fn router(state: AppState) -> Router {
    with_fallbacks(
        api(ROUTES).merge(console::routes().layer(RouteLayer { limited: false, call: None })),
    )
    .with_state(state)
}

/// The router of the listener for monitoring (`METRICS_ADDR`): metrics and health.
pub(super) fn monitoring(state: AppState) -> Router {
    let is_shown =
        |call| matches!(call, Call::ReadMetrics | Call::CheckLife | Call::CheckReadiness);
    let shown: Vec<Route> = ROUTES.iter().copied().filter(|route| is_shown(route.call)).collect();
    with_fallbacks(api(&shown)).with_state(state)
}

fn api(routes: &[Route]) -> Router<AppState> {
    routes.iter().fold(Router::new(), |router, route| {
        let layer = RouteLayer { limited: is_limited(route.call), call: Some(route.call) };
        router.route(route.path, handler(route.call).route_layer(layer))
    })
}

fn with_fallbacks(router: Router<AppState>) -> Router<AppState> {
    use axum::handler::Handler as _;
    let layer = RouteLayer { limited: false, call: None };
    router
        .fallback(unknown_path.layer(layer.clone()))
        .method_not_allowed_fallback(wrong_method.layer(layer))
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_call_has_one_route() {
        let routed: HashSet<Call> = ROUTES.iter().map(|route| route.call).collect();
        assert_eq!(routed.len(), ROUTES.len());
        for call in Call::ALL {
            assert!(routed.contains(call), "{call:?} has no route");
        }
    }
}
