//! Metrics, alerts and dashboards, with a real Prometheus.

mod load;
mod names;
mod rules;
mod scraped;
