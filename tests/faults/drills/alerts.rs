//! The alerts of `deploy/prometheus` in a drill: a real Prometheus scrapes the servers, and time passes faster in its
//! rules.

use std::time::Duration;

use crate::support::folder::Folder;
use crate::support::prometheus::{Prometheus, deploy};
use crate::support::{Agentbus, eventually};

/// Time limit for an alert: its `for`, its windows and the survey of consumers, all in fast time.
const LIMIT: Duration = Duration::from_secs(90);
/// Limits of conditions that a drill would reach too late, and their stand-ins.
const LIMITS: [(&str, &str); 4] = [
    ("_seconds) > 600", "_seconds) > 10"),
    ("_seconds) > 900", "_seconds) > 15"),
    ("} > 300", "} > 5"),
    ("> 1e9", "> 1e8"),
];
/// The shortest window, in seconds: a rate needs two samples, and there is one a second.
const SHORTEST_WINDOW: u64 = 4;

/// How fast time passes in the rules: by this factor.
#[derive(Clone, Copy)]
pub struct Pace(pub u64);

impl Pace {
    /// A minute is a second.
    pub const MINUTE: Self = Self(60);
    /// An hour is a second, for alerts whose windows are days.
    pub const HOUR: Self = Self(3_600);
}

/// A Prometheus with fast rules.
pub struct Alerts {
    prometheus: Prometheus,
    _rules: Folder,
}

impl Alerts {
    /// Watches these servers as one deployment; a minute is a second.
    pub async fn of(servers: &[&Agentbus]) -> Self {
        Self::paced(servers, Pace::MINUTE).await
    }

    /// Like [`Self::of`], at another pace.
    pub async fn paced(servers: &[&Agentbus], pace: Pace) -> Self {
        let targets: Vec<String> = servers
            .iter()
            .map(|server| server.url().trim_start_matches("http://").to_owned())
            .collect();
        Self::at(&targets, pace).await
    }

    /// Watches what answers `/metrics` at these addresses, without a key.
    pub async fn at(targets: &[String], pace: Pace) -> Self {
        let rules = Folder::new("rules");
        for file in ["alerts.rules.yml", "slo.rules.yml"] {
            let text = std::fs::read_to_string(deploy().join("prometheus").join(file));
            let mut text = faster(&text.expect("rules"), pace);
            if file == "alerts.rules.yml" {
                for (limit, stand_in) in LIMITS {
                    assert!(text.contains(limit), "no alert has {limit}");
                    text = text.replace(limit, stand_in);
                }
            }
            std::fs::write(rules.join(file), text).expect("written");
        }
        let rule_files = rules.join("*.rules.yml");
        let prometheus = Prometheus::with_rules(&rule_files, &[("agentbus", targets)]).await;
        Self { prometheus, _rules: rules }
    }

    /// Waits until a metric or recorded series has been scraped, from which a change can then be seen.
    pub async fn know(&self, series: &str) {
        eventually(LIMIT, &format!("Prometheus has {series}"), async || {
            let found = self.prometheus.query(series).await.expect("a result");
            (!found.is_empty()).then_some(())
        })
        .await;
    }

    /// Waits until each of these alerts fires.
    pub async fn fire(&self, names: &[&str]) {
        for name in names {
            self.is(name, "firing").await;
        }
    }

    /// Waits until none of these alerts fires any more.
    pub async fn resolve(&self, names: &[&str]) {
        for name in names {
            self.is(name, "inactive").await;
        }
    }

    /// Whether this alert fires now.
    pub async fn is_firing(&self, name: &str) -> bool {
        self.state(name).await.is_some_and(|state| state == "firing")
    }

    async fn is(&self, name: &str, wanted: &str) {
        eventually(LIMIT, &format!("{name} is {wanted}"), async || {
            (self.state(name).await? == wanted).then_some(())
        })
        .await;
    }

    /// `None` for a moment after the start, while Prometheus has no rules.
    async fn state(&self, name: &str) -> Option<String> {
        let rules = self.prometheus.rules().await;
        let rule = rules.iter().find(|rule| rule["name"] == name)?;
        Some(rule["state"].as_str()?.to_owned())
    }
}

/// The rules with every duration divided.
fn faster(rules: &str, pace: Pace) -> String {
    let mut text = String::new();
    for word in rules.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
        let shortest = if text.ends_with('[') { SHORTEST_WINDOW } else { 1 };
        text += &divided(word, pace.0, shortest);
    }
    text
}

fn divided(word: &str, factor: u64, shortest: u64) -> String {
    let end = word.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(word.len());
    let (bare, rest) = word.split_at(end);
    let seconds = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400)]
        .iter()
        .find_map(|(unit, seconds)| Some(bare.strip_suffix(unit)?.parse::<u64>().ok()? * seconds));
    seconds.map_or_else(
        || word.to_owned(),
        |seconds| format!("{}s{rest}", seconds.div_ceil(factor).max(shortest)),
    )
}

#[test]
fn time_passes_faster() {
    let rules = "expr: a:ratio_rate1h > 2 and rate(x[5m]) > 600\nfor: 30s\nx: [3d]";
    let minute = "expr: a:ratio_rate1h > 2 and rate(x[5s]) > 600\nfor: 1s\nx: [4320s]";
    let hour = "expr: a:ratio_rate1h > 2 and rate(x[4s]) > 600\nfor: 1s\nx: [72s]";
    assert_eq!(faster(rules, Pace::MINUTE), minute);
    assert_eq!(faster(rules, Pace::HOUR), hour);
}
