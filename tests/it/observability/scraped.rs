//! Prometheus scrapes busy servers, two on NATS and two on the memory bus, one of them with TLS: every query of every dashboard has data, and
//! what the alerts and the docs name is served.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::load::Load;
use super::names;
use crate::support::agentbus::Builder;
use crate::support::folder::Folder;
use crate::support::prometheus::{Prometheus, deploy};
use crate::support::receiver::Receiver;
use crate::support::tls::Tls;
use crate::support::{Agentbus, Deployment, Http, Mode, eventually, exec, ports};
use regex::Regex;
use serde_json::Value;

/// Rates need two scrapes, recorded ratios two more evaluations, and a survey comes every 5 s.
const LIMIT: Duration = Duration::from_secs(60);

/// An issuer of tokens whose keys cannot be fetched.
const ISSUERS: &str = r#"
[issuers.corp]
issuer = "https://login.example"
audience = "agentbus"
algorithm = "EdDSA"
jwks_url = "http://127.0.0.1:1/keys"
most = { read = ["agent.>"] }
"#;

/// The queries of all dashboards, each with its dashboard and panel.
fn queries() -> Vec<(String, String)> {
    let folder = std::fs::read_dir(deploy().join("grafana/dashboards")).expect("dashboards");
    let mut queries = Vec::new();
    for file in folder {
        let path = file.expect("an entry").path();
        let dashboard = std::fs::read_to_string(&path).expect("a dashboard");
        let dashboard: Value = serde_json::from_str(&dashboard).expect("JSON");
        for panel in dashboard["panels"].as_array().expect("panels") {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let expression = target["expr"].as_str().expect("an expression");
                let place = format!("{}: {}", dashboard["title"], panel["title"]);
                queries.push((place, expression.replace("$__rate_interval", "10s")));
            }
        }
    }
    assert!(queries.len() > 50, "{} queries", queries.len());
    queries
}

/// The expressions of the alerts and the metrics that they and the recording rules name.
fn named_by_rules() -> BTreeSet<String> {
    let name = Regex::new(r"\b(?:job:)?(?:agentbus|process)_[a-z0-9_]+(?::[a-z0-9_]+)?\b")
        .expect("a pattern");
    let mut named = BTreeSet::new();
    for file in ["alerts", "slo"] {
        let path = deploy().join(format!("prometheus/{file}.rules.yml"));
        for line in std::fs::read_to_string(path).expect("rules").lines() {
            let is_prose = ["#", "summary:", "description:", "runbook_url:", "- name:"];
            if !is_prose.iter().any(|prose| line.trim().starts_with(prose)) {
                named.extend(name.find_iter(line).map(|found| found.as_str().to_owned()));
            }
        }
    }
    named
}

fn tuned(builder: Builder, port: u16) -> Builder {
    builder
        .env("METRICS_ADDR", &format!("127.0.0.1:{port}"))
        .env("PROCESSOR_EXEC", exec::COMMAND)
        .env("WEBHOOK_ALLOW_PRIVATE", "true")
        .env("NATS_SYNC_ALWAYS", "true")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
}

#[tokio::test]
async fn dashboards_alerts_and_docs_name_what_is_served() {
    let [first, second, alone, secure] = [(); 4].map(|()| ports::free());
    let receiver = Receiver::start().await;
    let issuers = Folder::new("issuers");
    std::fs::write(issuers.join("issuers.toml"), ISSUERS).expect("written");
    let with_issuers = |builder: Builder| {
        let file = issuers.join("issuers.toml").display().to_string();
        tuned(builder, first).env("JWT_ISSUERS_FILE", &file)
    };
    let on_nats = Deployment::tuned(Mode::Nats, with_issuers).await;
    let other = tuned(on_nats.agentbus().like(), second).start().await;
    let in_memory = Deployment::tuned(Mode::MemorySqlite, |builder| tuned(builder, alone)).await;
    let tls = Tls::new();
    let _secure = tls.settings(tuned(Agentbus::builder().memory_sqlite(), secure)).start().await;
    let target = |port: u16| format!("127.0.0.1:{port}");
    let memory = [target(alone), target(secure)];
    let cluster = [target(first), target(second)];
    let prometheus =
        Prometheus::start(&[("agentbus", &cluster), ("agentbus-memory", &memory)]).await;
    let servers = [on_nats.agentbus(), &other];
    let _load = Load::start(on_nats.http(), &servers, &receiver).await;
    let _more = Load::start(in_memory.http(), &[in_memory.agentbus()], &receiver).await;

    every_query_has_data(&prometheus).await;
    every_alert_can_be_asked(&prometheus).await;

    let mut served = BTreeMap::new();
    for port in [first, second, alone, secure] {
        let text =
            Http::new(&format!("http://{}", target(port))).get("/metrics").await.expect(200).text();
        names::check(&text);
        served.extend(names::served(&text));
    }
    assert_eq!(served, names::documented(), "what is served, and the table of docs/operations.md");
}

async fn every_query_has_data(prometheus: &Prometheus) {
    let mut missing = queries();
    let mut empty = String::new();
    let complete = crate::support::wait::poll(LIMIT, async || {
        let mut still = Vec::new();
        for (place, query) in std::mem::take(&mut missing) {
            let series = prometheus
                .query(&query)
                .await
                .unwrap_or_else(|error| panic!("{place}: {query}: {error}"));
            if series.is_empty() {
                still.push((place, query));
            }
        }
        missing = still;
        empty = format!("{missing:#?}");
        missing.is_empty().then_some(())
    });
    assert!(complete.await.is_some(), "no data within {LIMIT:?}: {empty}");
}

/// An expression with a misspelt name has no data, like one whose alert does not fire: so the names are compared.
async fn every_alert_can_be_asked(prometheus: &Prometheus) {
    let named = named_by_rules();
    assert!(named.len() > 30, "{named:?}");
    let mut unknown = named;
    let complete = crate::support::wait::poll(LIMIT, async || {
        let known: BTreeSet<String> = prometheus.names().await.into_iter().collect();
        unknown = &unknown - &known;
        unknown.is_empty().then_some(())
    });
    assert!(complete.await.is_some(), "rules name metrics that there are not: {unknown:?}");
    let rules = eventually(LIMIT, "all rules are evaluated without an error", async || {
        let rules = prometheus.rules().await;
        rules.iter().all(|rule| rule["health"] == "ok").then_some(rules)
    })
    .await;
    assert!(rules.len() > 40, "{} rules", rules.len());
    for rule in rules {
        let expression = rule["query"].as_str().expect("an expression");
        prometheus.query(expression).await.unwrap_or_else(|error| panic!("{expression}: {error}"));
    }
}
