//! Recorded traffic of a real squad of agents. It is not part of the project: `AGENTBUS_SQUAD` names the
//! file, else `../shared/data/squad.ndjson` beside the project is used. If the file is absent, a test that
//! needs it prints a note and passes.

use std::path::{Path, PathBuf};

use serde_json::Value;

/// The messages, one envelope each as a client would post it; `None`, with a note, if the file is absent.
pub fn messages() -> Option<Vec<Value>> {
    let parse =
        |line: &str| serde_json::from_str(line).expect("a line of the squad's file is JSON");
    Some(text()?.lines().filter(|line| !line.trim().is_empty()).map(parse).collect())
}

/// The file's text, for a batch; `None`, with a note, if the file is absent.
pub fn text() -> Option<String> {
    let path = path();
    match std::fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(error) => {
            eprintln!(
                "not tested with a squad's real traffic: {}: {error} (AGENTBUS_SQUAD)",
                path.display()
            );
            None
        }
    }
}

fn path() -> PathBuf {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/squad.ndjson");
    std::env::var_os("AGENTBUS_SQUAD").map_or(beside, PathBuf::from)
}
