//! Sends spans to a receiver by OTLP over HTTP, as protobuf.
//!
//! Invariants: who ends a span never waits. Spans that wait to be sent are bounded; what does not fit, or cannot be
//! sent, is dropped and counted. A receiver that is away is told once in the log, and so is its return.

use std::time::Duration;

use metrics::Counter;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{Context, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::resource::TelemetryResourceDetector;
use opentelemetry_sdk::trace::{SdkTracerProvider, Span, SpanData, SpanProcessor};
use prost::Message as _;
use reqwest::header::CONTENT_TYPE;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::traces;
use crate::config::TraceConfig;
use crate::limits::TRACES_FLUSH;
use crate::tls;

/// The sending of spans, from its start to [`Exporter::stop`].
pub struct Exporter {
    sending: JoinHandle<()>,
    stop: CancellationToken,
}

impl Exporter {
    /// Turns traces on: from now on spans are made and sent. Must be called within a runtime.
    ///
    /// # Errors
    /// The HTTP client or its TLS cannot be set up.
    pub fn start(config: &TraceConfig) -> Result<Self, String> {
        let client = tls::http_client()?
            .timeout(config.timeout)
            .default_headers(config.headers.clone())
            .build()
            .map_err(|error| format!("no HTTP client for traces: {error}"))?;
        metrics::describe_counter!("agentbus_trace_spans_total", "Spans by outcome: sent, dropped");
        let (waiting, spans) = mpsc::channel(config.queue);
        let (resource, stop) = (resource(config), CancellationToken::new());
        let sender = Sender {
            client,
            config: config.clone(),
            resource: ResourceAttributesWithSchema::from(&resource),
            sent: metrics::counter!("agentbus_trace_spans_total", "outcome" => "sent"),
            dropped: dropped(),
            unsent: 0,
        };
        let provider = SdkTracerProvider::builder()
            .with_sampler(config.sampler.clone())
            .with_resource(resource)
            .with_span_processor(Queue { waiting, dropped: dropped() })
            .build();
        let scope = InstrumentationScope::builder("agentbus")
            .with_version(env!("CARGO_PKG_VERSION"))
            .with_schema_url(traces::CONVENTIONS);
        traces::enable(provider.tracer_with_scope(scope.build()));
        let sending = tokio::spawn(sender.run(spans, stop.clone()));
        Ok(Self { sending, stop })
    }

    /// Sends what waits, for [`TRACES_FLUSH`] at most.
    pub async fn stop(mut self) {
        self.stop.cancel();
        match tokio::time::timeout(TRACES_FLUSH, &mut self.sending).await {
            Ok(Ok(())) => {}
            Ok(Err(fault)) => tracing::error!(%fault, "the sending of traces ended early"),
            Err(_) => self.sending.abort(),
        }
    }
}

fn dropped() -> Counter {
    metrics::counter!("agentbus_trace_spans_total", "outcome" => "dropped")
}

fn resource(config: &TraceConfig) -> Resource {
    let given =
        config.resource.iter().map(|(name, value)| KeyValue::new(name.clone(), value.clone()));
    Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new("service.instance.id", uuid::Uuid::new_v4().to_string()))
        .with_attributes(given)
        .build()
}

/// The spans that wait to be sent.
#[derive(Debug)]
struct Queue {
    waiting: mpsc::Sender<SpanData>,
    dropped: Counter,
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.waiting.try_send(span).is_err() {
            self.dropped.increment(1);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Sends spans in batches, one after the other.
struct Sender {
    client: reqwest::Client,
    config: TraceConfig,
    resource: ResourceAttributesWithSchema,
    sent: Counter,
    dropped: Counter,
    /// Spans that could not be sent since the last success.
    unsent: u64,
}

impl Sender {
    async fn run(mut self, mut spans: mpsc::Receiver<SpanData>, stop: CancellationToken) {
        let mut batch = Vec::with_capacity(self.config.batch);
        while self.fill(&mut batch, &mut spans, &stop).await {
            let spans = batch.len() as u64;
            match self.send(std::mem::take(&mut batch)).await {
                Ok(()) => self.succeeded(spans),
                Err(error) => self.failed(spans, &error),
            }
        }
    }

    /// Waits for spans, and then a while for more. Returns `false` when there are none and none will come.
    async fn fill(
        &self,
        batch: &mut Vec<SpanData>,
        spans: &mut mpsc::Receiver<SpanData>,
        stop: &CancellationToken,
    ) -> bool {
        let mut until = None;
        while batch.len() < self.config.batch {
            let room = self.config.batch - batch.len();
            let is_over = async {
                match until {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                1.. = spans.recv_many(batch, room) => {
                    until.get_or_insert(Instant::now() + self.config.delay);
                }
                () = is_over => break,
                () = stop.cancelled() => break,
            }
        }
        !batch.is_empty()
    }

    async fn send(&self, batch: Vec<SpanData>) -> Result<(), String> {
        let resource_spans = group_spans_by_resource_and_scope(batch, &self.resource);
        let body = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
        let request = self.client.post(self.config.endpoint.clone());
        let request = request.header(CONTENT_TYPE, "application/x-protobuf").body(body);
        match request.send().await {
            Ok(response) if response.status().is_success() => Ok(()),
            Ok(response) => Err(format!("the receiver answered {}", response.status())),
            Err(error) if error.is_timeout() => Err("no answer in time".to_owned()),
            // Without the URL, which may contain a secret.
            Err(error) => Err(format!("no answer: {}", tls::root_cause(&error.without_url()))),
        }
    }

    fn succeeded(&mut self, spans: u64) {
        self.sent.increment(spans);
        let unsent = std::mem::take(&mut self.unsent);
        if unsent > 0 {
            tracing::info!(unsent, "traces are sent again");
        }
    }

    fn failed(&mut self, spans: u64, error: &str) {
        self.dropped.increment(spans);
        if self.unsent == 0 {
            tracing::warn!(
                error,
                "traces cannot be sent: their spans are dropped until the receiver is back"
            );
        }
        self.unsent += spans;
    }
}
