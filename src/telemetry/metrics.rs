//! The recorder of the metrics of this process, with the help text of each.

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// Upper bounds of the latency histograms, in seconds.
const SECONDS: [f64; 12] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0];

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
    use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
    describe_counter!(
        "agentbus_http_requests_total",
        "Requests answered, by route, method and status"
    );
    describe_histogram!(
        "agentbus_http_request_seconds",
        Unit::Seconds,
        "Time to the head of the response"
    );
    describe_counter!(
        "agentbus_http_overloaded_total",
        "Requests refused because too many were in progress"
    );
    describe_gauge!("agentbus_streams_open", "Server-Sent Event streams open now");
    describe_gauge!("agentbus_filter_groups", "Distinct filters with a subscription now");
    describe_gauge!("agentbus_ring_head", "Newest sequence in the broadcaster's ring");
    describe_gauge!("agentbus_committed_through", "Everything up to this sequence is in the store");
    describe_gauge!("agentbus_projector_lag", "Messages in the log and not yet in the store");
    describe_gauge!("agentbus_projector_active", "1 while this process projects");
    describe_gauge!("agentbus_bus_up", "1 while the bus can be published to");
    describe_gauge!("agentbus_membership_held", "1 while the membership of this server is good");
    describe_counter!(
        "agentbus_publish_batches_total",
        "Atomic batches that were published, by outcome"
    );
    describe_counter!("agentbus_publish_batched_total", "Messages stored by atomic batches");
    describe_counter!("agentbus_projected_total", "Messages this process wrote to the store");
    describe_counter!("agentbus_projector_faults_total", "Interruptions of projecting");
    describe_counter!(
        "agentbus_schema_violations_total",
        "Messages that did not match the schema of their type, by outcome: refused, warned, foreign"
    );
    describe_counter!(
        "agentbus_schema_unchecked_total",
        "Foreign messages that came too fast to be compared with their schema"
    );
    describe_counter!(
        "agentbus_projector_bare_rows_total",
        "Rows kept without the columns the store refused"
    );
}
