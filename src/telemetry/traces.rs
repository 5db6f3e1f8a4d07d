//! Spans: what agentbus itself does for a trace.
//!
//! Invariant: while traces are off, no span is made, and what begins one costs a load of an atomic. A span never
//! changes what is done. The trace context of a caller is passed on in any case: as it came, unless a span of this
//! process takes its place.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use opentelemetry::Context;
pub use opentelemetry::KeyValue;
pub use opentelemetry::trace::SpanKind;
use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanId, Status, TraceContextExt as _, TraceFlags, TraceId,
    TraceState, Tracer as _,
};
use opentelemetry_sdk::trace::{SdkTracer, Span as SdkSpan};

use crate::message::{Kind, TraceContext};

/// The version of OpenTelemetry's semantic conventions after which spans and attributes are named. The part about
/// messaging is not stable there: a change of this version is a change of what dashboards read.
pub const CONVENTIONS: &str = "https://opentelemetry.io/schemas/1.45.0";

static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// Makes spans from now on. The first tracer of a process stays.
pub(super) fn enable(tracer: SdkTracer) {
    let _ = TRACER.set(tracer);
}

/// A span, or only the context to pass on if this trace is not recorded here. It ends when this is dropped.
#[derive(Default)]
pub struct Span {
    recorded: Option<SdkSpan>,
    context: Option<Arc<TraceContext>>,
}

impl Span {
    /// Begins a span. `describe` gives its name and attributes; it is called only if traces are on.
    #[must_use]
    pub fn begin<N: Into<Cow<'static, str>>>(
        kind: SpanKind,
        parent: Option<Arc<TraceContext>>,
        describe: impl FnOnce() -> (N, Vec<KeyValue>),
    ) -> Self {
        let Some(tracer) = TRACER.get() else { return Self { recorded: None, context: parent } };
        let (name, attributes) = describe();
        let builder = SpanBuilder::from_name(name).with_kind(kind).with_attributes(attributes);
        let remote = parent.as_deref().and_then(span_context);
        let context = match remote {
            Some(remote) => Context::new().with_remote_span_context(remote),
            None => Context::new(),
        };
        let span = tracer.build_with_context(builder, &context);
        let is_recorded = span.is_recording();
        // A trace that begins here and is not recorded is passed on too, so that its parts are not sampled again.
        let context = match parent {
            Some(parent) if !is_recorded => parent,
            _ => Arc::new(trace_context(span.span_context())),
        };
        Self { recorded: is_recorded.then_some(span), context: Some(context) }
    }

    /// The context for what this span causes.
    #[must_use]
    pub fn context(&self) -> Option<&Arc<TraceContext>> {
        self.context.as_ref()
    }

    /// Whether the span is recorded.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        self.recorded.is_some()
    }

    /// Adds to the span if it is recorded.
    pub fn record(&mut self, add: impl FnOnce(&mut Recording<'_>)) {
        if let Some(span) = &mut self.recorded {
            add(&mut Recording(span));
        }
    }
}

/// A span that is recorded.
pub struct Recording<'a>(&'a mut SdkSpan);

impl Recording<'_> {
    /// Gives the span another name.
    pub fn rename(&mut self, name: String) {
        self.0.update_name(name);
    }

    /// Adds an attribute.
    pub fn set(&mut self, attribute: KeyValue) {
        self.0.set_attribute(attribute);
    }

    /// Marks the span as failed. `kind` is one of few values. The text of an error stays out: it may quote a message or
    /// the response of a webhook.
    pub fn fail(&mut self, kind: impl Into<Cow<'static, str>>) {
        self.0.set_attribute(KeyValue::new("error.type", kind.into()));
        self.0.set_status(Status::error(""));
    }
}

/// The subjects of a kind of message, as a destination with few values.
#[must_use]
pub fn destination(kind: Kind) -> &'static str {
    match kind {
        Kind::Message => "agent.message.{sender_role}.{type}",
        Kind::Status => "agent.status.{sender_id}.{type}",
        Kind::Task => "agent.task.{task_id}.{type}",
    }
}

/// The attributes of an operation with messages. `kind` is `send` or `process`.
#[must_use]
pub fn messaging(operation: &'static str, kind: &'static str) -> Vec<KeyValue> {
    vec![
        KeyValue::new("messaging.system", "agentbus"),
        KeyValue::new("messaging.operation.name", operation),
        KeyValue::new("messaging.operation.type", kind),
    ]
}

fn span_context(context: &TraceContext) -> Option<SpanContext> {
    let trace = TraceId::from_hex(context.trace_id()).ok()?;
    let span = SpanId::from_hex(context.span_id()).ok()?;
    let flags = if context.is_sampled() { TraceFlags::SAMPLED } else { TraceFlags::default() };
    // A state that OpenTelemetry refuses, as one with a key that it does not know, is left out.
    let state = context.state().and_then(|state| state.parse::<TraceState>().ok());
    Some(SpanContext::new(trace, span, flags, true, state.unwrap_or_default()))
}

fn trace_context(span: &SpanContext) -> TraceContext {
    let (trace, id) = (span.trace_id().to_bytes(), span.span_id().to_bytes());
    let state = span.trace_state().header();
    TraceContext::new(trace, id, span.is_sampled(), (!state.is_empty()).then_some(&state))
}
