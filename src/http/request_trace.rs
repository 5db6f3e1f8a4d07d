//! The trace of a request: the caller's context, and the span of the request if traces are on.
//!
//! Invariant: a context that is not valid is ignored, as W3C Trace Context says. No span names a path or query, since
//! paths contain lease tokens.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, Method, Request, StatusCode};

use super::metering::known_method;
use super::request_id::RequestId;
use crate::message::{HEADER_TRACEPARENT, HEADER_TRACESTATE, TraceContext};
use crate::telemetry::traces::{KeyValue, Span, SpanKind};

const PARENT: HeaderName = HeaderName::from_static(HEADER_TRACEPARENT);
const STATE: HeaderName = HeaderName::from_static(HEADER_TRACESTATE);
/// What monitoring asks for all the time: no trace begins with it.
const PROBES: [&str; 3] = ["/livez", "/readyz", "/metrics"];

/// The trace of one request.
pub(super) struct RequestTrace(Span);

impl RequestTrace {
    /// Begins the span of a request.
    pub(super) fn begin<B>(request: &Request<B>) -> Self {
        let caller = of_caller(request.headers());
        if caller.is_none() && PROBES.contains(&request.uri().path()) {
            return Self(Span::default());
        }
        Self(Span::begin(SpanKind::Server, caller, || {
            let method = known_method(request.method());
            (method, vec![KeyValue::new("http.request.method", method)])
        }))
    }

    /// The context for what the request causes.
    pub(super) fn context(&self) -> Option<&Arc<TraceContext>> {
        self.0.context()
    }

    /// Ends the span: the head of the response is known.
    pub(super) fn end(
        mut self,
        route: Option<&str>,
        method: &Method,
        status: StatusCode,
        id: &RequestId,
        key: Option<&str>,
    ) {
        self.0.record(|span| {
            if let Some(route) = route.filter(|route| route.starts_with('/')) {
                span.rename(format!("{} {route}", known_method(method)));
                span.set(KeyValue::new("http.route", route.to_owned()));
            }
            span.set(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
            span.set(KeyValue::new("agentbus.request_id", id.to_string()));
            if let Some(key) = key {
                span.set(KeyValue::new("agentbus.key_id", key.to_owned()));
            }
            if status.is_server_error() {
                span.fail(status.as_str().to_owned());
            }
        });
    }
}

fn of_caller(headers: &HeaderMap) -> Option<Arc<TraceContext>> {
    // What is not ASCII is not valid, so it may be read as anything that is not.
    let values = |name| headers.get_all(name).iter().map(|value| value.to_str().unwrap_or("?"));
    TraceContext::read(values(&PARENT), values(&STATE))
}
