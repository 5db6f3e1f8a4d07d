//! Reads the metrics of a server at `/metrics`.

use super::http::Http;

/// Atomic batches that JetStream has stored.
pub const BATCHES_STORED: &str = r#"agentbus_publish_batches_total{result="stored"}"#;
/// Messages in those atomic batches.
pub const BATCHED: &str = "agentbus_publish_batched_total";

/// The value of a metric, or 0 if it has none yet.
pub async fn value(http: &Http, name: &str) -> f64 {
    let text = http.get("/metrics").await.expect(200).text();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().expect("a number"))
}
