//! The runbooks of `docs/runbooks`, as a drill uses them: what they quote must be seen, and their commands are
//! run as they stand.

use std::path::Path;
use std::time::Duration;

use crate::support::{Agentbus, eventually};

/// Time limit for a symptom to be seen.
const SEEN: Duration = Duration::from_secs(60);
const SYMPTOMS: &str = "What you see";

/// One runbook.
pub struct Runbook {
    name: String,
    blocks: Vec<Block>,
}

/// A fenced block: the heading above it, the words after the fence, the text.
pub struct Block {
    pub section: String,
    pub kind: String,
    pub text: String,
}

impl Runbook {
    /// Reads `docs/runbooks/NAME.md`.
    pub fn read(name: &str) -> Self {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("docs/runbooks/{name}.md"));
        let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{name}: {error}"));
        Self { name: name.to_owned(), blocks: blocks(&text) }
    }

    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// The commands of a section.
    pub fn commands(&self, section: &str) -> Vec<&str> {
        let here = |block: &&Block| block.section == section && block.kind == "sh";
        let found: Vec<&str> =
            self.blocks.iter().filter(here).map(|block| block.text.as_str()).collect();
        assert!(!found.is_empty(), "{}: no commands in \"{section}\"", self.name);
        found
    }

    /// Waits until everything that the runbook quotes is seen at the server: lines of its log, of
    /// `/readyz?verbose` and of `/metrics`.
    pub async fn is_seen(&self, server: &Agentbus) {
        let http = server.http();
        let quotes = self.blocks.iter().filter(|block| block.section == SYMPTOMS);
        for block in quotes.filter(|block| block.kind.starts_with("text ")) {
            for line in block.text.lines() {
                let what = format!("{}: {} has {line:?}", self.name, block.kind);
                eventually(SEEN, &what, async || {
                    let text = match block.kind.as_str() {
                        "text log" => server.log(),
                        "text readyz" => http.get("/readyz?verbose").await.text(),
                        "text metrics" => http.get("/metrics").await.text(),
                        other => panic!("{}: unknown quote {other}", self.name),
                    };
                    text.contains(line).then_some(())
                })
                .await;
            }
        }
    }
}

fn blocks(text: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let (mut section, mut open) = (String::new(), false);
    for line in text.lines() {
        let bare = line.trim_start();
        if let Some(kind) = bare.strip_prefix("```") {
            open = !open;
            if open {
                let section = section.clone();
                found.push(Block { section, kind: kind.to_owned(), text: String::new() });
            }
        } else if open {
            let block = found.last_mut().expect("an open block");
            block.text.push_str(bare);
            block.text.push('\n');
        } else if line.starts_with("##") {
            section = line.trim_start_matches('#').trim().to_owned();
        }
    }
    found
}
