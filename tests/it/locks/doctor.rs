//! Runs `agentbus doctor`.

use std::collections::BTreeMap;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;

use crate::support::agentbus::BINARY;
use crate::support::within;

const LIMIT: Duration = Duration::from_secs(60);

/// The findings of `agentbus doctor` with this environment.
pub async fn doctor(env: &BTreeMap<String, String>, args: &[&str]) -> Vec<Value> {
    let output = run(env, &[&["doctor"], args].concat()).await;
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(!text.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Runs a command to its end.
pub async fn run(env: &BTreeMap<String, String>, args: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    command.args(args).env_clear().envs(env);
    let ended = tokio::task::spawn_blocking(move || command.output());
    within(LIMIT, "the command ends", ended).await.expect("no panic").expect("the binary runs")
}

/// The findings about one part, as `GRADE DETAIL`.
pub fn about(findings: &[Value], part: &str) -> Vec<String> {
    let text = |finding: &Value, name: &str| finding[name].as_str().expect("a text").to_owned();
    let shown = |finding: &Value| format!("{} {}", text(finding, "grade"), text(finding, "detail"));
    findings.iter().filter(|finding| finding["part"] == part).map(shown).collect()
}
