//! The trace context of the caller, in the header `traceparent` (W3C Trace Context).

use opentelemetry::Context;
use opentelemetry::trace::{
    FutureExt as _, SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId,
};
use reqwest::RequestBuilder;

use crate::queues::Job;

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

/// Runs a future in the trace of who enqueued the job: its spans and requests continue it.
pub(crate) fn continued<F: Future>(job: &Job, work: F) -> impl Future<Output = F::Output> + use<F> {
    let parent = job.traceparent.as_deref().and_then(|text| parse(text, job.tracestate.as_deref()));
    let context = parent.map_or_else(Context::current, |parent| {
        Context::current().with_remote_span_context(parent)
    });
    work.with_context(context)
}

/// Reads what the server sends, which is version 00.
fn parse(parent: &str, state: Option<&str>) -> Option<SpanContext> {
    let mut fields = parent.split('-').skip(1);
    let trace = TraceId::from_hex(fields.next()?).ok()?;
    let span = SpanId::from_hex(fields.next()?).ok()?;
    let flags = TraceFlags::new(u8::from_str_radix(fields.next()?, 16).ok()?);
    let state = state.and_then(|state| state.parse().ok()).unwrap_or_default();
    Some(SpanContext::new(trace, span, flags, true, state)).filter(SpanContext::is_valid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::trace::TraceState;

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

    #[tokio::test]
    async fn a_handler_runs_in_the_trace_of_its_job() {
        let sent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let job = |traceparent: &str| -> Job {
            let json = serde_json::json!({"job_id": "1", "type": "t", "payload": 1, "attempt": 1,
                "enqueued_at": "", "lease_token": "", "lease_expires_at": "",
                "traceparent": traceparent, "tracestate": "a=1"});
            serde_json::from_value(json).expect("a job")
        };
        let seen = continued(&job(sent), async { traceparent() }).await;
        assert_eq!(seen.as_deref(), Some(sent));
        assert_eq!(continued(&job("00-x"), async { traceparent() }).await, None);
    }
}
