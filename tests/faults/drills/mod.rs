//! Drills: each runbook of `docs/runbooks` is walked on real servers. The fault is made, what the runbook
//! quotes is seen, its commands are run as they stand, and every promise is checked afterwards.

mod changes;
mod operator;
mod parts;
mod processing;
mod runbook;

use std::path::Path;

use operator::Operator;
use runbook::Runbook;

/// Sections with this heading end every runbook.
const OVER: &str = "It is over when";
/// The section with the commands, where there is one case alone.
const ACTION: &str = "What to do";

/// Each section with commands is named in a drill: `"NAME"` of the runbook, and its heading unless that is one of
/// the usual two.
#[test]
fn every_section_with_commands_is_walked() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: std::path::PathBuf| std::fs::read_to_string(path).expect("a file of UTF-8");
    let sources: Vec<String> = std::fs::read_dir(root.join("tests/faults/drills"))
        .expect("the drills")
        .chain(std::fs::read_dir(root.join("tests/faults")).expect("the faults"))
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(read)
        .collect();
    let is_named =
        |text: &str| sources.iter().any(|source| source.contains(&format!("\"{text}\"")));
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
