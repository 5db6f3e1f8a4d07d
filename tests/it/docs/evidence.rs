//! Pages name tests as evidence: each of these exists.

use std::path::Path;

const PAGES: [&str; 2] =
    [include_str!("../../../docs/security.md"), include_str!("../../../docs/reliability.md")];

/// Adds the paths of all modules and functions in the sources of a folder, as `::faults::kills::nats_server`.
fn paths(folder: &Path, module: &str, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).expect("UTF-8");
        let inner = if stem == "mod" { module.to_owned() } else { format!("{module}::{stem}") };
        if path.is_dir() {
            paths(&path, &inner, found);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            let source = std::fs::read_to_string(&path).expect("a source");
            let names = source.split("fn ").skip(1).filter_map(|rest| rest.split_once('('));
            found.extend(names.map(|(name, _)| format!("{inner}::{name}")));
            found.push(inner);
        }
    }
}

/// The tests that a page names: all code in the last column of a table of tests, and elsewhere all code with `::`.
fn named(page: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for part in page.split("\n\n") {
        let head = part.lines().next().unwrap_or_default();
        if head.ends_with("| test |") || head.ends_with("| shown by |") {
            for row in part.lines().skip(2) {
                let (_, tests) = row.trim_end_matches('|').rsplit_once('|').expect("columns");
                assert!(tests.contains('`'), "no test in {row}");
                found.extend(code(tests));
            }
        } else {
            found.extend(code(part).filter(|code| code.contains("::")));
        }
    }
    found
}

/// What stands in code in a text.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Whether a name means this function or module. With `::` it is a path, from which `faults` is left out. `…` and `*`
/// stand for anything.
fn means(name: &str, path: &str) -> bool {
    let path = if name.contains("::") {
        path.strip_prefix("::faults").unwrap_or(path)
    } else {
        path.rfind("::").map_or(path, |at| &path[at..])
    };
    let name = format!("::{name}");
    match name.split_once(['…', '*']) {
        Some((head, tail)) => path.starts_with(head) && path.ends_with(tail),
        None => path == name,
    }
}

#[test]
fn every_test_that_a_page_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    ["src", "crates", "tests"].iter().for_each(|folder| paths(&root.join(folder), "", &mut found));
    for page in PAGES {
        let tests = named(page);
        for test in &tests {
            assert!(found.iter().any(|path| means(test, path)), "there is no test {test}");
        }
        assert!(tests.len() > 30, "{} tests are named", tests.len());
    }
}
