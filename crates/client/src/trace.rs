//! The trace context of the caller, in the header `traceparent` (W3C Trace Context).

use opentelemetry::Context;
use opentelemetry::trace::TraceContextExt as _;
use reqwest::RequestBuilder;

/// Adds the header if OpenTelemetry's current context has a span.
pub(crate) fn with_context(request: RequestBuilder) -> RequestBuilder {
    match traceparent() {
        Some(value) => request.header("traceparent", value),
        None => request,
    }
}

fn traceparent() -> Option<String> {
    let context = Context::current();
    let span = context.span().span_context().clone();
    let flags = span.trace_flags().to_u8();
    span.is_valid().then(|| format!("00-{}-{}-{flags:02x}", span.trace_id(), span.span_id()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

    #[test]
    fn the_current_span_is_named_as_the_standard_says() {
        assert_eq!(traceparent(), None);
        let span = SpanContext::new(
            TraceId::from(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736),
            SpanId::from(0x00f0_67aa_0ba9_02b7),
            TraceFlags::SAMPLED,
            true,
            TraceState::default(),
        );
        let _attached = Context::new().with_remote_span_context(span).attach();
        let expected = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(traceparent().as_deref(), Some(expected));
        let client = crate::Client::new("http://127.0.0.1:1").expect("a client");
        let request = with_context(client.get("/v1/status", &[])).build().expect("a request");
        assert_eq!(request.headers()["traceparent"], expected);
    }
}
