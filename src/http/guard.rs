//! What stands around every route: the `Host` check, cross-origin rules, the
//! overload limit, panics, and what is counted.

use std::any::Any;
use std::collections::HashMap;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use metrics::{Counter, Histogram};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower_http::cors::{AllowOrigin, CorsLayer};
use tower_layer::Layer;
use tower_service::Service;

use super::problem::Problem;
use crate::config::{HostRule, HttpConfig};

/// Refuses a request whose `Host` is not ours: a page of another origin can
/// point its own name at our address (DNS rebinding), but not change the name.
pub(super) async fn check_host(
    State(rule): State<Arc<HostRule>>,
    request: Request,
    next: Next,
) -> Response {
    if names_us(&request, &rule) { next.run(request).await } else { unknown_host().into_response() }
}

fn names_us<B>(request: &Request<B>, rule: &HostRule) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (host, another) = (hosts.next(), hosts.next());
    let named = request
        .uri()
        .authority()
        .map(|authority| authority.as_str())
        .or_else(|| host?.to_str().ok());
    // With two of them, a proxy before us may have gone by the other one.
    another.is_none() && named.is_some_and(|host| rule.allows(host))
}

fn unknown_host() -> Problem {
    Problem::new(
        StatusCode::MISDIRECTED_REQUEST,
        "unknown_host",
        "the Host of this request is not a name of this server; see PUBLIC_HOST",
    )
}

/// What every request goes through: checks the `Host`, finds a place, counts and times the request,
/// and answers for a handler that panics. One layer, and one of our own: each of axum's
/// `from_fn` costs a request several allocations, and moves it.
#[derive(Clone)]
pub(super) struct Around {
    hosts: Arc<HostRule>,
    counts: Arc<Counts>,
    /// The places for requests at work; `None` for routes that wait or must always answer.
    places: Option<Arc<Semaphore>>,
}

impl Around {
    /// Without a limit on requests at work.
    pub(super) fn new(config: &HttpConfig) -> Self {
        Self { hosts: Arc::new(config.hosts.clone()), counts: Arc::default(), places: None }
    }

    /// The same, with one.
    pub(super) fn limited(&self, places: &Arc<Semaphore>) -> Self {
        Self { places: Some(Arc::clone(places)), ..self.clone() }
    }

    /// Lets a request in, to the place it is given where there are places, or refuses it.
    pub(super) fn enter<B>(&self, request: &Request<B>) -> (Entry, Result<Option<Slot>, Problem>) {
        let (begun, method) = (Instant::now(), known_method(request.method()));
        let admitted = self.admit(request);
        let slot = admitted.as_ref().ok().cloned().flatten();
        (Entry { begun, method, slot, counts: Arc::clone(&self.counts) }, admitted)
    }

    /// Checks the `Host`, and finds a place where there is a limit, which the request can give up by itself; refuses
    /// at once when more is at work than can be done.
    fn admit<B>(&self, request: &Request<B>) -> Result<Option<Slot>, Problem> {
        if !names_us(request, &self.hosts) {
            return Err(unknown_host());
        }
        let Some(places) = &self.places else { return Ok(None) };
        let Ok(place) = Arc::clone(places).try_acquire_owned() else {
            metrics::counter!("agentbus_http_overloaded_total").increment(1);
            return Err(Problem::overloaded("more requests at once than this server works on"));
        };
        Ok(Some(Slot(Arc::new(Mutex::new(Some(place))))))
    }
}

/// A request that has come in.
pub(super) struct Entry {
    begun: Instant,
    method: &'static str,
    slot: Option<Slot>,
    counts: Arc<Counts>,
}

impl Entry {
    /// Answers by `work`, or with the refusal, and counts the request for its route.
    pub(super) async fn answer<F>(
        self,
        route: impl AsRef<str>,
        work: Result<F, Problem>,
    ) -> Response
    where
        F: Future<Output = Response>,
    {
        let Self { begun, method, slot, counts } = self;
        let response = match work {
            Ok(work) => {
                let response = AssertUnwindSafe(work).catch_unwind().await;
                if let Some(slot) = slot {
                    slot.release();
                }
                response.unwrap_or_else(panicked)
            }
            Err(refusal) => refusal.into_response(),
        };
        let (route, status, elapsed) = (route.as_ref(), response.status(), begun.elapsed());
        counts.count(route, method, status, elapsed);
        tracing::debug!(method, route, status = status.as_u16(), ?elapsed, "request");
        response
    }
}

impl<S> Layer<S> for Around {
    type Service = Surrounded<S>;

    fn layer(&self, inner: S) -> Surrounded<S> {
        Surrounded { inner, around: self.clone() }
    }
}

/// A route with [`Around`] around it.
#[derive(Clone)]
pub(super) struct Surrounded<S> {
    inner: S,
    around: Around,
}

impl<S> Service<Request> for Surrounded<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let route = Route(request.extensions().get::<MatchedPath>().cloned());
        let (entry, admitted) = self.around.enter(&request);
        let work = admitted.map(|slot| {
            if let Some(slot) = slot {
                request.extensions_mut().insert(slot);
            }
            self.inner.call(request).map(|Ok(response)| response)
        });
        entry.answer(route, work).map(Ok).boxed()
    }
}

/// The route of a request, as metrics name it.
struct Route(Option<MatchedPath>);

impl AsRef<str> for Route {
    fn as_ref(&self) -> &str {
        self.0.as_ref().map_or("unmatched", MatchedPath::as_str)
    }
}

/// Lets the configured origins call from browsers. The `Host` is checked
/// before a preflight is answered.
pub(super) fn cross_origin(router: Router, config: &HttpConfig) -> Router {
    let origins = if config.cors_origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        let listed = config.cors_origins.iter().filter_map(|o| HeaderValue::from_str(o).ok());
        AllowOrigin::list(listed)
    };
    let layer = CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers([
            header::CONTENT_TYPE,
            HeaderName::from_static("idempotency-key"),
            HeaderName::from_static("last-event-id"),
        ])
        .expose_headers([header::LOCATION, header::RETRY_AFTER]);
    let hosts = Arc::new(config.hosts.clone());
    router.layer(layer).layer(from_fn_with_state(hosts, check_host))
}

/// A request's place among those at work.
#[derive(Clone, Debug)]
pub(super) struct Slot(Arc<Mutex<Option<OwnedSemaphorePermit>>>);

impl Slot {
    /// Gives the place up: from now on the request only waits.
    pub fn release(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// Counts and times requests by route, through handles that are looked up once each: a label
/// is text, and a look-up by labels costs more than the rest of the layer.
#[derive(Default)]
pub(super) struct Counts(RwLock<HashMap<String, RouteCounts>>);

struct RouteCounts {
    seconds: Histogram,
    /// By method and status: a handful.
    answers: Vec<(&'static str, StatusCode, Counter)>,
}

impl RouteCounts {
    fn new(route: &str) -> Self {
        let seconds =
            metrics::histogram!("agentbus_http_request_seconds", "route" => route.to_owned());
        Self { seconds, answers: Vec::new() }
    }

    fn answer(&self, method: &str, status: StatusCode) -> Option<&Counter> {
        let same = |known: &&(&str, StatusCode, Counter)| known.0 == method && known.1 == status;
        self.answers.iter().find(same).map(|(_, _, counter)| counter)
    }
}

impl Counts {
    fn count(&self, route: &str, method: &'static str, status: StatusCode, elapsed: Duration) {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(counts) = known.get(route)
            && let Some(counter) = counts.answer(method, status)
        {
            counter.increment(1);
            counts.seconds.record(elapsed.as_secs_f64());
            return;
        }
        drop(known);
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let counts = known.entry(route.to_owned()).or_insert_with(|| RouteCounts::new(route));
        counts.seconds.record(elapsed.as_secs_f64());
        let labels = [
            ("route", route.to_owned()),
            ("method", method.to_owned()),
            ("status", status.as_str().to_owned()),
        ];
        let counter = metrics::counter!("agentbus_http_requests_total", &labels);
        counter.increment(1);
        // Another request may have added it meanwhile.
        if counts.answer(method, status).is_none() {
            counts.answers.push((method, status, counter));
        }
    }
}

/// The method as a label; a client may invent others without end.
fn known_method(method: &Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
}

/// A handler that panicked costs one answer.
fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let detail = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    tracing::error!(detail, "a handler panicked");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", "an error inside the server")
        .into_response()
}
