//! `agentbus audit`: who did what.

use std::process::ExitCode;

use agentbus_client::{Actor, AuditEntry};
use clap::Args;
use serde_json::Value;

use super::address::ShowArgs;
use super::failure::Failure;
use super::table::Table;
use super::terminal::{eprint_line, local_time};

/// Examples that `--help` shows.
pub const EXAMPLES: &str = "\
Examples:
  agentbus audit                                the oldest 100 entries
  agentbus audit --after 1041                   what came after entry 1041
  agentbus audit --all > audit.ndjson           everything, as NDJSON
  agentbus audit --all | jq -c 'select(.outcome != \"done\")'

It needs a key that can `keys`. In a pipe the output is one JSON object a line.";

const TITLES: &[&str] = &["SEQ", "TIME", "ACTOR", "ACTION", "TARGET", "OUTCOME", "DETAIL"];

/// `agentbus audit`.
#[derive(Args, Clone, Debug)]
pub struct AuditArgs {
    /// Only entries after this number
    #[arg(long, value_name = "SEQ")]
    after: Option<u64>,

    /// Largest number of entries
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u64,

    /// All, however many there are
    #[arg(long, conflicts_with = "limit")]
    all: bool,

    #[command(flatten)]
    show: ShowArgs,
}

/// Shows the entries.
///
/// # Errors
/// The server refuses or cannot be reached.
pub async fn run(args: AuditArgs) -> Result<ExitCode, Failure> {
    let limit = (!args.all).then_some(args.limit);
    let mut pages = args.show.server.client()?.audit(args.after, limit);
    let mut table = Table::new(TITLES);
    let mut has_more = false;
    while let Some(page) = pages.next_page().await? {
        table.print(&page.items, args.show.format, row)?;
        has_more = page.next.is_some();
    }
    let cursor = pages.cursor().filter(|_| has_more && args.show.format.is_text());
    if let Some((_, seq)) = cursor {
        eprint_line(&format!(
            "agentbus: there are more: use --all, a larger --limit, or --after {seq}"
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn row(entry: AuditEntry) -> Vec<String> {
    let Actor { id, name } = entry.actor;
    let actor = id.map_or_else(|| name.clone(), |id| format!("{name} ({id})"));
    let detail = match entry.detail {
        Value::Null => String::new(),
        Value::String(text) => text,
        other => other.to_string(),
    };
    let time = local_time(&entry.at, true);
    vec![entry.seq.to_string(), time, actor, entry.action, entry.target, entry.outcome, detail]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(json: &str) -> Vec<String> {
        let mut cells = row(serde_json::from_str(json).expect("an entry"));
        cells.remove(1);
        cells
    }

    #[test]
    fn an_entry_is_one_row() {
        let by_key = r#"{"seq":7,"at":"2026-01-01T00:00:00Z","actor":{"id":"k1","name":"root"},
            "action":"key.revoke","target":"k2","detail":{"n":1},"outcome":"done"}"#;
        assert_eq!(cells(by_key), ["7", "root (k1)", "key.revoke", "k2", "done", r#"{"n":1}"#]);
        let by_operator = r#"{"seq":1,"at":"x","actor":{"id":null,"name":"operator"},
            "action":"key.create","target":"k1","detail":null,"outcome":"done"}"#;
        assert_eq!(cells(by_operator), ["1", "operator", "key.create", "k1", "done", ""]);
    }
}
