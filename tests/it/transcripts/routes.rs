//! Whether the conversation uses each route. In the sources a route is `.route(PATH, get(…).post(…))`.

use regex::Regex;

use super::recorder::Recorder;

const SOURCE: &str = include_str!("../../../src/http/mod.rs");

/// Fails the test unless the conversation uses each method of each route.
pub fn all_are_in(recorder: &Recorder) {
    let ends = r"\)\s*(?:\.route|\.method_not|\.merge|;)";
    let route = regex(&format!(r#"(?s)\.route\(\s*("[^"]+"|messages::PATH),(.*?){ends}"#));
    let method = regex(r"\b(get|post|put|patch|delete)\(");
    let parameter = regex(r"\{[a-z]+\}");
    let (mut at, mut missing, mut count) = (0, Vec::new(), 0);
    while let Some(found) = route.captures_at(SOURCE, at) {
        // The next route begins where this one ends.
        at = found.get(2).expect("a handler").end();
        let path = found[1].trim_matches('"').replace("messages::PATH", "/v1/messages");
        let path = format!("^{}$", parameter.replace_all(&path, "[^/?]+"));
        for method in method.captures_iter(&found[2]) {
            count += 1;
            if !was_asked(recorder, &method[1].to_uppercase(), &path) {
                missing.push(format!("{} {path}", &method[1]));
            }
        }
    }
    assert!(count >= 40, "only {count} routes were found in the sources");
    assert!(missing.is_empty(), "not in the conversation: {missing:?}");
}

fn was_asked(recorder: &Recorder, method: &str, path: &str) -> bool {
    let path = regex(path);
    let at = |asked: &str| path.is_match(asked.split('?').next().unwrap_or_default());
    recorder.asked.iter().any(|(name, asked)| name == method && at(asked))
}

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a pattern")
}
