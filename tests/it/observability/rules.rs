//! The rules of `deploy/prometheus`: they load, each alert fires and resolves in a test of theirs, and each has a
//! runbook.

use std::path::Path;
use std::process::Command;

use crate::support::programs;
use crate::support::prometheus::deploy;

/// An alert as the rules have it.
struct Alert {
    name: String,
    text: String,
}

/// The alerts. The file is in YAML; each alert begins with a line of its own.
fn alerts() -> Vec<Alert> {
    let text = std::fs::read_to_string(deploy().join("prometheus/alerts.rules.yml"));
    let text = text.expect("the alerts");
    let mut alerts: Vec<Alert> = Vec::new();
    for part in text.split("- alert: ").skip(1) {
        let (name, rest) = part.split_once('\n').expect("more lines");
        alerts.push(Alert { name: name.trim().to_owned(), text: rest.to_owned() });
    }
    assert!(alerts.len() > 20, "{} alerts", alerts.len());
    alerts
}

fn promtool(args: &[&str]) -> String {
    let run = Command::new(programs::prometheus("promtool"))
        .args(args)
        .current_dir(deploy().join("prometheus"))
        .output()
        .expect("promtool runs");
    let text = [run.stdout, run.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(run.status.success(), "promtool {args:?}: {text:?}");
    text.concat()
}

#[test]
fn every_alert_fires_and_resolves() {
    promtool(&["check", "config", "prometheus.yml"]);
    let tested = ["tests/alerts.test.yml", "tests/slow.test.yml"];
    promtool(&["test", "rules", tested[0], tested[1]]);
    let cases: String = tested
        .iter()
        .map(|file| std::fs::read_to_string(deploy().join("prometheus").join(file)).expect(file))
        .collect();
    for Alert { name, .. } in alerts() {
        let fires = format!("labels: '{{alertname=\"{name}\"}}', value: 1");
        assert!(cases.contains(&fires), "no test has {name} firing");
    }
}

#[test]
fn every_alert_has_a_runbook() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for Alert { name, text } in alerts() {
        for part in ["summary: ", "description: ", "severity: "] {
            assert!(text.contains(part), "{name} has no {part}");
        }
        let url = text.lines().find_map(|line| line.trim().strip_prefix("runbook_url: "));
        let (file, anchor) = url.and_then(|url| url.split_once('#')).expect("a link to a heading");
        let runbook = std::fs::read_to_string(root.join(file));
        let runbook = runbook.unwrap_or_else(|error| panic!("{name}: {file}: {error}"));
        let heading = runbook.lines().find(|line| *line == format!("### {name}"));
        assert!(heading.is_some(), "{file} does not explain {name}");
        assert_eq!(anchor, name.to_lowercase());
    }
}
