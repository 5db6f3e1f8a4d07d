//! The span of publishing.

use super::receipt::{IngestError, Receipt};
use crate::message::Outgoing;
use crate::telemetry::traces::{KeyValue, Span, SpanKind, destination, messaging};

/// Begins the span of publishing these messages, and puts it into them as the cause of what follows. Those of one call
/// have one trace.
pub(super) fn begin(messages: &mut [Outgoing]) -> Span {
    let parent = messages.first().and_then(|message| message.trace.clone());
    let span = Span::begin(SpanKind::Producer, parent, || describe(messages));
    if span.is_recorded() {
        messages.iter_mut().for_each(|message| message.trace = span.context().cloned());
    }
    span
}

fn describe(messages: &[Outgoing]) -> (String, Vec<KeyValue>) {
    let mut attributes = messaging("publish", "send");
    let [message] = messages else {
        let count = i64::try_from(messages.len()).unwrap_or(i64::MAX);
        attributes.push(KeyValue::new("messaging.batch.message_count", count));
        return ("publish agent.>".to_owned(), attributes);
    };
    let template = destination(message.subject.kind());
    attributes.push(KeyValue::new("messaging.destination.name", message.subject.to_string()));
    attributes.push(KeyValue::new("messaging.destination.template", template));
    attributes.push(KeyValue::new("messaging.message.id", message.id.to_string()));
    (format!("publish {template}"), attributes)
}

/// Ends the span. It has failed if no message was accepted.
pub(super) fn end(mut span: Span, results: &[Result<Receipt, IngestError>]) {
    span.record(|span| {
        if let [Ok(Receipt { seq, duplicate, .. })] = results {
            span.set(KeyValue::new("agentbus.seq", i64::try_from(*seq).unwrap_or(i64::MAX)));
            span.set(KeyValue::new("agentbus.duplicate", *duplicate));
        }
        if let (true, Some(Err(error))) = (results.iter().all(Result::is_err), results.first()) {
            let kind = match error {
                IngestError::TooLarge { .. } => "too_large",
                IngestError::Conflict { .. } => "idempotency_conflict",
                IngestError::Bus { .. } => "bus_unavailable",
                IngestError::StoreBehind { .. } => "store_behind",
            };
            span.fail(kind);
        }
    });
}
