//! The names and kinds of metrics: as they are served, and as `docs/operations.md` has them.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::support::programs;

/// The metrics that a response of `/metrics` has values of, with their kinds.
pub fn served(text: &str) -> BTreeMap<String, String> {
    let mut kind = ("", "");
    let mut served = BTreeMap::new();
    for line in text.lines() {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            kind = family.split_once(' ').expect("a name and a kind");
        } else if !line.is_empty() && !line.starts_with('#') {
            served.insert(kind.0.to_owned(), kind.1.to_owned());
        }
    }
    served
}

/// The metrics of the table of `docs/operations.md`, with their kinds.
pub fn documented() -> BTreeMap<String, String> {
    let page = include_str!("../../../docs/operations.md");
    let (_, section) = page.split_once("\n## Metrics\n").expect("the section of metrics");
    let (section, _) = section.split_once("\n## ").expect("the next section");
    let mut documented = BTreeMap::new();
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        for name in cells[1].split('`').skip(1).step_by(2) {
            let (name, _) = name.split_once('{').unwrap_or((name, ""));
            documented.insert(name.to_owned(), cells[2].to_owned());
        }
    }
    documented
}

/// Fails unless `promtool check metrics` has nothing to say about the names.
pub fn check(text: &str) {
    let mut promtool = Command::new(programs::prometheus("promtool"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool runs");
    promtool.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("written");
    let run = promtool.wait_with_output().expect("promtool ends");
    let said = [run.stdout, run.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(run.status.success() && said.concat().trim().is_empty(), "{said:?}");
}
