//! The page of security names tests as evidence: each of them exists.

use std::collections::HashSet;
use std::path::Path;

/// Adds the names of all functions in the sources of a folder.
fn functions(folder: &Path, found: &mut HashSet<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            functions(&path, found);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            let source = std::fs::read_to_string(&path).expect("a source");
            let names = source.split("fn ").skip(1).filter_map(|rest| rest.split_once('('));
            found.extend(names.map(|(name, _)| name.to_owned()));
        }
    }
}

#[test]
fn every_test_that_the_page_of_security_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = HashSet::new();
    ["src", "crates", "tests"].iter().for_each(|folder| functions(&root.join(folder), &mut found));
    let page = include_str!("../../../docs/security.md");
    let rows = page.lines().filter(|line| line.starts_with("| API"));
    let mut named = 0;
    for row in rows {
        let (_, shown_by) = row.trim_end_matches('|').rsplit_once('|').expect("a last column");
        let tests: Vec<&str> = shown_by.split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "no test in {row}");
        for test in tests {
            assert!(found.contains(test), "there is no test {test}");
            named += 1;
        }
    }
    assert!(named > 10, "{named} tests are named");
}
