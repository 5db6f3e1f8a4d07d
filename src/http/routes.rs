//! The table of routes: for each call of a service the handler, whose attribute describes method, path, parameters and
//! responses.
//!
//! Invariant: the router and the description of the interface are built from this table. So every call has a route,
//! every route a description, and a row in [`crate::services::calls`] that says what it needs.

use std::sync::LazyLock;

use axum::Router;
use axum::http::{Method, Uri};
use utoipa_axum::router::UtoipaMethodRouter;
use utoipa_axum::routes;

use super::describe::Described;
use super::problem::Problem;
use super::route_layer::RouteLayer;
use super::state::AppState;
use super::{
    agents, audit, console, consumers, dead_letters, describe, health, history, inbox, keys,
    leases, messages, queues, schemas, session, stats, stream, tasks, webhooks,
};
use crate::limits::MAX_SHOWN_PATH;
use crate::services::Code;
use crate::services::calls::Call;

/// A route.
#[derive(Clone, Debug)]
pub struct Route {
    /// The method.
    pub method: String,
    /// The path, with names in braces.
    pub path: String,
    /// The call behind it.
    pub call: Call,
}

macro_rules! table {
    ($($call:ident => $handler:path;)*) => {
        /// The handler of a call, with the description of its route.
        fn served(call: Call) -> UtoipaMethodRouter<AppState> {
            match call { $(Call::$call => routes!($handler),)* }
        }
    };
}

table! {
    Publish => messages::create;
    ReadHistory => history::page;
    PublishBatch => messages::create_batch;
    ReadMessage => history::one;
    EraseMessage => history::erase;
    OpenStream => stream::open;
    MakeTicket => session::make_ticket;
    ListAgents => agents::page;
    ReadAgent => agents::one;
    ReadInbox => inbox::page;
    AckInbox => inbox::ack;
    ListTasks => tasks::page;
    ReadTask => tasks::one;
    ListQueues => queues::list;
    ReadQueue => queues::one;
    PutQueue => queues::put;
    DeleteQueue => queues::delete;
    Enqueue => queues::enqueue;
    EnqueueBatch => queues::enqueue_batch;
    Lease => leases::lease;
    SettleBatch => leases::settle_batch;
    Settle => leases::settle;
    ListConsumers => consumers::list;
    PauseConsumer => consumers::pause;
    ResumeConsumer => consumers::resume;
    ResetConsumer => consumers::reset;
    ListDeadLetters => dead_letters::page;
    ReadDeadLetter => dead_letters::one;
    RedriveDeadLetters => dead_letters::redrive_all;
    RedriveDeadLetter => dead_letters::redrive;
    DiscardDeadLetter => dead_letters::discard;
    ListWebhooks => webhooks::list;
    CreateWebhook => webhooks::create;
    ReadWebhook => webhooks::one;
    ChangeWebhook => webhooks::change;
    RemoveWebhook => webhooks::remove;
    ReadStats => stats::stats;
    ReadMetrics => stats::metrics;
    ReadStatus => health::status;
    ReadOpenApi => describe::openapi;
    ReadAsyncApi => describe::asyncapi;
    CheckLife => health::livez;
    CheckReadiness => health::readyz;
    ListKeys => keys::list;
    CreateKey => keys::create;
    ReadKey => keys::one;
    ChangeKey => keys::change;
    RevokeKey => keys::revoke;
    RotateKey => keys::rotate;
    ListSchemas => schemas::list;
    ReadSchema => schemas::one;
    ReadSchemaVersions => schemas::versions;
    PutSchema => schemas::put;
    DeleteSchema => schemas::delete;
    ReadAudit => audit::page;
    WhoAmI => session::me;
    LogIn => session::log_in;
    LogOut => session::log_out;
}

/// All routes of the API, in the order of their calls.
pub static ROUTES: LazyLock<Vec<Route>> = LazyLock::new(|| {
    let route = |Described { call, method, path, .. }| Route { method, path, call };
    described().into_iter().map(route).collect()
});

/// The descriptions of all routes.
pub(super) fn described() -> Vec<Described> {
    Call::ALL.iter().map(|&call| description(call)).collect()
}

fn description(call: Call) -> Described {
    let (schemas, paths, _) = served(call);
    let (path, item) = paths.paths.into_iter().next().unwrap_or_default();
    // A path item is an object with one member for its one method.
    let operations = serde_json::to_value(item).unwrap_or_default();
    let operation = operations.as_object().and_then(|object| object.iter().next());
    let (method, operation) = operation.map_or_else(Default::default, |(method, operation)| {
        (method.to_ascii_uppercase(), operation.clone())
    });
    Described { call, method, path, operation, schemas }
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
        api(&ROUTES).merge(console::routes().layer(RouteLayer { limited: false, call: None })),
    )
    .with_state(state)
}

/// The router of the listener for monitoring (`METRICS_ADDR`): metrics and health.
pub(super) fn monitoring(state: AppState) -> Router {
    let is_shown =
        |call| matches!(call, Call::ReadMetrics | Call::CheckLife | Call::CheckReadiness);
    let shown: Vec<Route> = ROUTES.iter().filter(|route| is_shown(route.call)).cloned().collect();
    with_fallbacks(api(&shown)).with_state(state)
}

fn api(routes: &[Route]) -> Router<AppState> {
    routes.iter().fold(Router::new(), |router, route| {
        let layer = RouteLayer { limited: is_limited(route.call), call: Some(route.call) };
        router.route(&route.path, served(route.call).2.route_layer(layer))
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
    Problem::new(Code::NotFound, detail)
}

async fn wrong_method(method: Method, uri: Uri) -> Problem {
    let detail = format!("{} does not support {method}", shown_path(&uri));
    Problem::new(Code::MethodNotAllowed, detail)
}
