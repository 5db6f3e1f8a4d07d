//! Runs one attempt: calls the handlers of one message.
//!
//! Invariant: an attempt always has an outcome. A panic is a failed attempt. Every handler of the message
//! runs, whatever the outcomes of the others.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;

use super::handler::{Delivery, Handler, Outcome};
use crate::message::Record;
use crate::telemetry::traces::{KeyValue, Span, SpanKind, destination, messaging};

/// Runs every handler whose subjects match the message, one after the other.
pub(super) async fn run(handlers: &[Arc<dyn Handler>], message: &Record, attempt: u32) -> Outcome {
    let mut all = Outcome::Done;
    for handler in handlers {
        if handler.subjects().matches(message.subject.as_str()) {
            let mut span = span_of(&**handler, message, attempt);
            let delivery = Delivery { message, attempt, trace: span.context() };
            let one = AssertUnwindSafe(handler.handle(delivery)).catch_unwind().await;
            let one = one.unwrap_or_else(|panic| Outcome::Retry {
                after: None,
                error: format!("{} panicked: {}", handler.name(), text_of(&*panic)),
            });
            span.record(|span| match &one {
                Outcome::Done => {}
                Outcome::Retry { .. } => span.fail("retry"),
                Outcome::Reject { .. } => span.fail("reject"),
            });
            all = both(all, one);
        }
    }
    all
}

/// Begins the span of an attempt.
fn span_of(handler: &dyn Handler, message: &Record, attempt: u32) -> Span {
    Span::begin(SpanKind::Consumer, message.trace.clone(), || {
        let template = destination(message.subject.kind());
        let mut attributes = messaging("process", "process");
        attributes.extend([
            KeyValue::new("messaging.destination.name", message.subject.to_string()),
            KeyValue::new("messaging.destination.template", template),
            KeyValue::new("messaging.consumer.group.name", handler.name().to_owned()),
            KeyValue::new("messaging.message.id", message.id.to_string()),
            KeyValue::new("agentbus.seq", i64::try_from(message.seq).unwrap_or(i64::MAX)),
            KeyValue::new("agentbus.attempt", i64::from(attempt)),
        ]);
        (format!("process {template}"), attributes)
    })
}

/// Combines two outcomes. If one handler wants another attempt and another rejects the message, there is
/// another attempt.
fn both(a: Outcome, b: Outcome) -> Outcome {
    use Outcome::{Done, Reject, Retry};
    match (a, b) {
        (Done, other) | (other, Done) => other,
        (Retry { after: x, error: a }, Retry { after: y, error: b }) => {
            Retry { after: x.max(y), error: format!("{a}; {b}") }
        }
        (Retry { after, error: a }, Reject { error: b })
        | (Reject { error: a }, Retry { after, error: b }) => {
            Retry { after, error: format!("{a}; {b}") }
        }
        (Reject { error: a }, Reject { error: b }) => Reject { error: format!("{a}; {b}") },
    }
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no reason given")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Subject, SubjectPattern, decode_body};

    struct Says {
        subjects: SubjectPattern,
        what: fn() -> Outcome,
    }

    #[async_trait::async_trait]
    impl Handler for Says {
        fn name(&self) -> &str {
            "says"
        }

        fn subjects(&self) -> &SubjectPattern {
            &self.subjects
        }

        async fn handle(&self, _delivery: Delivery<'_>) -> Outcome {
            (self.what)()
        }
    }

    fn says(subjects: &str, what: fn() -> Outcome) -> Arc<dyn Handler> {
        Arc::new(Says { subjects: subjects.parse().expect("a pattern"), what })
    }

    #[tokio::test]
    async fn a_panic_is_a_failed_attempt_and_whoever_is_for_the_message_gets_its_turn() {
        let subject = Subject::from_log("agent.task.t.step".to_owned());
        let body = bytes::Bytes::from_static(b"{\"kind\":\"task\"}");
        let message = decode_body(7, subject, body, chrono::DateTime::UNIX_EPOCH);
        let reject = || Outcome::Reject { error: "never".to_owned() };
        let handlers = [
            says("agent.task.>", || panic!("out of {}", "paper")),
            says("agent.status.>", || panic!("not for me")),
            says("agent.task.t.*", reject),
        ];
        let error = "says panicked: out of paper; never".to_owned();
        assert_eq!(run(&handlers, &message, 1).await, Outcome::Retry { after: None, error });
        assert_eq!(run(&handlers[1..2], &message, 1).await, Outcome::Done);
    }

    #[test]
    fn another_attempt_wins_over_a_rejection() {
        let retry = || Outcome::Retry { after: None, error: "busy".to_owned() };
        let reject = || Outcome::Reject { error: "never".to_owned() };
        assert_eq!(both(Outcome::Done, retry()), retry());
        assert_eq!(both(reject(), Outcome::Done), reject());
        let both = both(reject(), retry());
        assert_eq!(both, Outcome::Retry { after: None, error: "never; busy".to_owned() });
    }
}
