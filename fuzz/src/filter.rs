//! Filters: equal filters match the same messages.
//!
//! Input: a line `name=value&…`, a line with the end of a subject, then the payload of a message.

use agentbus::message::{Filter, FilterTerm, LogEntry, Subject, decode};
use bytes::Bytes;

/// Runs it once.
pub fn run(input: &[u8]) {
    let (params, rest) = super::split_line(input);
    let (tokens, payload) = super::split_line(rest);
    let params = String::from_utf8_lossy(params);
    let pairs: Vec<_> = params.split('&').filter_map(|pair| pair.split_once('=')).collect();
    let offer = |pairs: &mut dyn Iterator<Item = &(&str, &str)>| {
        let mut filter = Filter::default();
        let mut broadcasts = 0;
        for (name, value) in pairs {
            let taken = filter.parse_parameter(name, value);
            broadcasts += usize::from(*name == "broadcast" && taken == Some(Ok(())));
        }
        (filter, broadcasts)
    };
    let (filter, broadcasts) = offer(&mut pairs.iter());
    let raw = LogEntry {
        seq: 1,
        subject: Subject::from_log(format!("agent.{}", String::from_utf8_lossy(tokens))),
        headers: Vec::new(),
        payload: Bytes::copy_from_slice(payload),
        logged_at: chrono::DateTime::UNIX_EPOCH,
    };
    let record = decode(raw, "log");
    let tidy = filter.clone().normalised();
    assert_eq!(filter.matches(&record), tidy.matches(&record));
    assert_eq!(tidy.clone().normalised(), tidy, "normalised once is enough");
    let terms = tidy.terms();
    assert!(terms.iter().all(|of| !of.terms.is_empty()) && terms.len() <= FilterTerm::NAMES);
    if broadcasts <= 1 && pairs.len() <= agentbus::limits::MAX_FILTER_VALUES {
        let (backwards, _) = offer(&mut pairs.iter().rev());
        assert_eq!(backwards.normalised(), tidy, "the order of parameters does not matter");
    }
}
