//! Metrics and the access log of requests.

use std::collections::HashMap;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, StatusCode};
use hyper::body::Body as _;
use metrics::{Counter, Histogram};
use parking_lot::RwLock;

use super::request_id::RequestId;

/// Counts and times requests by route. Caches metric handles: to look one up by its labels costs more than
/// everything else here.
pub(super) struct Metering {
    routes: RwLock<HashMap<String, RouteMetrics>>,
    access_log: bool,
}

/// What the access log says about a request.
pub(super) struct AccessLine<'a> {
    pub(super) route: Option<&'a str>,
    pub(super) method: &'a Method,
    pub(super) status: StatusCode,
    pub(super) id: &'a RequestId,
    /// The id of the caller's key.
    pub(super) key: Option<&'a str>,
    /// The trace that the request belongs to.
    pub(super) trace_id: Option<&'a str>,
}

/// The metrics of one route by method and status: few enough to search.
#[derive(Default)]
struct RouteMetrics(Vec<ResponseMetrics>);

struct ResponseMetrics {
    method: &'static str,
    status: StatusCode,
    counter: Counter,
    seconds: Histogram,
}

impl ResponseMetrics {
    fn new(route: &str, method: &'static str, status: StatusCode) -> Self {
        let labels = [
            ("route", route.to_owned()),
            ("method", method.to_owned()),
            ("status", status.as_str().to_owned()),
        ];
        let counter = metrics::counter!("agentbus_http_requests_total", &labels);
        let labels = [("route", route.to_owned()), ("outcome", outcome(status).to_owned())];
        let seconds = metrics::histogram!("agentbus_http_request_seconds", &labels);
        Self { method, status, counter, seconds }
    }

    fn count(&self, elapsed: Duration) {
        self.counter.increment(1);
        self.seconds.record(elapsed.as_secs_f64());
    }
}

impl RouteMetrics {
    fn responses(&self, method: &str, status: StatusCode) -> Option<&ResponseMetrics> {
        self.0.iter().find(|known| known.method == method && known.status == status)
    }
}

impl Metering {
    pub(super) fn new(access_log: bool) -> Self {
        Self { routes: RwLock::default(), access_log }
    }

    /// Counts a response and its time, unless the request had no route (a preflight).
    pub(super) fn count(
        &self,
        route: Option<&str>,
        method: &Method,
        status: StatusCode,
        elapsed: Duration,
    ) {
        let Some(route) = route else { return };
        let method = known_method(method);
        let known = self.routes.read();
        if let Some(metrics) = known.get(route)
            && let Some(responses) = metrics.responses(method, status)
        {
            responses.count(elapsed);
            return;
        }
        drop(known);
        let mut known = self.routes.write();
        let metrics = known.entry(route.to_owned()).or_default();
        // Another request may have added it meanwhile.
        if metrics.responses(method, status).is_none() {
            metrics.0.push(ResponseMetrics::new(route, method, status));
        }
        if let Some(responses) = metrics.responses(method, status) {
            responses.count(elapsed);
        }
    }

    /// Writes a line of the access log (`ACCESS_LOG`). It has the route, not the path or query, since
    /// paths contain lease tokens. The status of an `EventSource` that is sent away is the one that other
    /// clients would get.
    pub(super) fn log(&self, line: &AccessLine<'_>, body: &Body, elapsed: Duration) {
        if self.access_log {
            let AccessLine { route, method, status, id, key, trace_id } = *line;
            tracing::info!(
                target: "agentbus::access",
                method = known_method(method),
                route = route.unwrap_or("-"),
                status = status.as_u16(),
                duration_ms = elapsed.as_secs_f64() * 1e3,
                // Absent for a stream, whose line is written when it begins.
                bytes = body.size_hint().exact(),
                request_id = %id,
                // The id of the key, which is no secret; absent for a caller without one.
                key,
                trace_id,
                "request"
            );
        }
    }
}

/// The outcome as a label: of latencies three are told apart, since each has a dozen buckets.
fn outcome(status: StatusCode) -> &'static str {
    match status.as_u16() {
        ..400 => "ok",
        400..500 => "refused",
        500.. => "failed",
    }
}

/// The method as a label; `other` for unknown ones, so that clients cannot create unlimited labels.
pub(super) fn known_method(method: &Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
}
