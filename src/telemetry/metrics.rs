//! The recorder of the metrics of this process, with the help text of each.
//!
//! Invariant: each metric that code records is described in [`FAMILIES`]; those with series that come and go are
//! written by [`text`](super::text). `docs/operations.md` has the same metrics, which a test compares.

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// Upper bounds of the latency histograms, in seconds.
const SECONDS: [f64; 13] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 5.0, 10.0];

/// What a metric is. A counter begins at zero, so that its first event is an increase too; a counter with labels does
/// so if their values are known.
#[derive(Clone, Copy)]
enum Kind {
    /// Without labels.
    Counter,
    /// With one label, which has these values.
    Each(&'static str, &'static [&'static str]),
    /// With other labels.
    Counters,
    Gauge,
    Histogram,
}

use Kind::{Counter, Counters, Each, Gauge, Histogram};

/// The pools whose exhaustion refuses requests.
const POOLS: &[&str] =
    &["requests", "body_bytes", "answer_bytes", "reply_waits", "streams", "connections"];

/// The name, the kind and the meaning of each metric.
const FAMILIES: &[(&str, Kind, &str)] = &[
    ("agentbus_http_requests_total", Counters, "Requests answered, by route, method and status"),
    ("agentbus_http_request_seconds", Histogram, "Time to the head of the response"),
    (
        "agentbus_http_overloaded_total",
        Each("pool", POOLS),
        "Requests refused because too many were in progress",
    ),
    (
        "agentbus_http_unread_total",
        Counter,
        "Responses cut off because the client read nothing of them",
    ),
    ("agentbus_denied_total", Counter, "Calls denied: no valid credential, or a grant is missing"),
    ("agentbus_streams_open", Gauge, "Server-Sent Event streams open now"),
    ("agentbus_streams_replaying", Gauge, "Streams that read older messages from store or bus"),
    ("agentbus_stream_bytes", Gauge, "Bytes that streams hold for clients"),
    (
        "agentbus_stream_delivery_seconds",
        Histogram,
        "Time from the log to a stream that waited for the message",
    ),
    ("agentbus_filter_groups", Gauge, "Distinct filters with a subscription now"),
    ("agentbus_ring_head", Gauge, "Newest sequence in the broadcaster's ring"),
    ("agentbus_committed_through", Gauge, "Everything up to this sequence is in the store"),
    ("agentbus_projector_lag", Gauge, "Messages in the log and not yet in the store"),
    ("agentbus_projector_lag_seconds", Gauge, "Age of the oldest message not yet in the store"),
    ("agentbus_projector_active", Gauge, "1 while this process projects"),
    ("agentbus_projected_total", Counter, "Messages this process wrote to the store"),
    ("agentbus_projector_faults_total", Counter, "Interruptions of projecting"),
    (
        "agentbus_projector_bare_rows_total",
        Counter,
        "Rows kept without the columns the store refused",
    ),
    ("agentbus_store_write_seconds", Histogram, "Time to write a batch of messages to the store"),
    ("agentbus_log_messages", Gauge, "Messages in the stream of the bus"),
    ("agentbus_log_bytes", Gauge, "Bytes of the stream of the bus"),
    (
        "agentbus_log_uncommitted_ratio",
        Gauge,
        "How full the stream is of messages that are not in the store: publishing stops at 0.8",
    ),
    ("agentbus_bus_up", Gauge, "1 while the bus can be published to"),
    ("agentbus_nats_connection_up", Gauge, "1 while this connection to NATS is up"),
    ("agentbus_nats_connects_total", Counters, "How often this connection to NATS was made"),
    ("agentbus_nats_requests_in_flight", Gauge, "Requests to NATS that wait for their answer"),
    ("agentbus_publish_batches_total", Counters, "Atomic batches that were published, by outcome"),
    ("agentbus_publish_batched_total", Counters, "Messages stored by atomic batches"),
    ("agentbus_ready", Gauge, "1 while this server can publish"),
    ("agentbus_part_ok", Gauge, "1 while this part of the server is in order"),
    ("agentbus_membership_held", Gauge, "1 while the membership of this server is good"),
    ("agentbus_keys_age_seconds", Gauge, "Age of this server's copy of the keys"),
    ("agentbus_schemas_age_seconds", Gauge, "Age of this server's copy of the schemas"),
    ("agentbus_erasures_age_seconds", Gauge, "Age of this server's copy of the erasures"),
    ("agentbus_erasures_pending", Gauge, "Erasures that were begun and are not finished"),
    ("agentbus_jwks_age_seconds", Gauge, "Age of the keys of an issuer of tokens"),
    (
        "agentbus_schema_violations_total",
        Counters,
        "Messages that did not match the schema of their type, by outcome: refused, warned, foreign",
    ),
    (
        "agentbus_schema_unchecked_total",
        Counter,
        "Foreign messages that came too fast to be compared with their schema",
    ),
    (
        "agentbus_webhook_deliveries_total",
        Each("result", &["delivered", "failed"]),
        "Attempts to deliver to webhooks, by result",
    ),
    (
        "agentbus_webhooks_paused_total",
        Each("reason", &["gone", "failing"]),
        "Webhooks that this process paused, by reason",
    ),
    ("agentbus_jobs_dead_total", Counter, "Jobs that became dead letters in this process"),
    ("agentbus_inbox_expired_total", Counter, "Expired messages that reads of inboxes skipped"),
    ("agentbus_lapsed_statuses_total", Counter, "Lapsed statuses that this process ended"),
    (
        "agentbus_tls_reloads_total",
        Each("result", &["served", "refused"]),
        "Changed files of the certificate, by result",
    ),
    ("agentbus_tls_handshakes_failed_total", Counter, "TLS handshakes that failed"),
    (
        "agentbus_tls_certificate_expiry_seconds",
        Gauge,
        "When the certificate that is served ends, in seconds since 1970",
    ),
    (
        "agentbus_survey_faults_total",
        Each("of", &["consumers", "queues", "inboxes"]),
        "Reads for the metrics that failed",
    ),
];

/// Installs a recorder for the metrics of this process, if there is none; returns its handle.
///
/// # Errors
/// The bounds of the histograms are refused.
pub fn metrics() -> Result<PrometheusHandle, String> {
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
        .map_err(|error| error.to_string())?
        .build_recorder();
    let handle = recorder.handle();
    let _ = metrics::set_global_recorder(recorder);
    describe();
    Ok(handle)
}

fn describe() {
    for &(name, kind, help) in FAMILIES {
        match kind {
            Counter | Counters | Each(..) => metrics::describe_counter!(name, help),
            Gauge => metrics::describe_gauge!(name, help),
            Histogram => metrics::describe_histogram!(name, help),
        }
        match kind {
            Counter => metrics::counter!(name).increment(0),
            Each(label, values) => {
                values
                    .iter()
                    .for_each(|value| metrics::counter!(name, label => *value).increment(0));
            }
            Counters | Gauge | Histogram => {}
        }
    }
}
