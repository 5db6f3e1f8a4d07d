//! Drills: each runbook of `docs/runbooks` is walked on real servers. The fault is made, what the runbook
//! quotes is seen, its alerts fire, its commands are run as they stand, the alerts resolve, and every promise is
//! checked afterwards.

mod alerts;
mod certificate;
mod changes;
mod operator;
mod parts;
mod processing;
mod restore;
mod runbook;
mod slow;
mod upgrade;

use std::path::Path;

use alerts::{Alerts, Pace};
use operator::Operator;
use runbook::Runbook;

/// Sections with this heading end every runbook.
const OVER: &str = "It is over when";
/// The section with the commands, where there is one case alone.
const ACTION: &str = "What to do";

/// What drills say, in which sections and alerts are named.
fn is_named(text: &str) -> bool {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults");
    let entries = |folder| std::fs::read_dir(folder).expect("the drills");
    entries(folder.join("drills"))
        .chain(entries(folder))
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .any(|path| {
            let source = std::fs::read_to_string(path).expect("a source");
            source.contains(&format!("\"{text}\""))
        })
}

#[test]
fn every_alert_is_drilled() {
    let text = std::fs::read_to_string(
        crate::support::prometheus::deploy().join("prometheus/alerts.rules.yml"),
    );
    let text = text.expect("the alerts");
    let names: Vec<&str> =
        text.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(names.len() > 20, "{} alerts", names.len());
    for name in &names {
        assert!(is_named(name), "no drill waits for {name}");
    }
}

/// Each section with commands is named in a drill: `"NAME"` of the runbook, and its heading unless that is one of
/// the usual two.
#[test]
fn every_section_with_commands_is_walked() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut walked = 0;
    for entry in std::fs::read_dir(root.join("docs/runbooks")).expect("the runbooks") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().and_then(|stem| stem.to_str()).expect("a name");
        if name == "README" {
            continue;
        }
        assert!(is_named(name), "no drill walks docs/runbooks/{name}.md");
        for block in Runbook::read(name).blocks().iter().filter(|block| block.kind == "sh") {
            let usual = [OVER, ACTION].contains(&block.section.as_str());
            assert!(
                usual || is_named(&block.section),
                "{name}: nobody walks \"{}\"",
                block.section
            );
            walked += 1;
        }
    }
    assert!(walked >= 20, "{walked} blocks of commands");
}
