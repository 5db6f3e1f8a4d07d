//! The start of a stream: `Last-Event-ID` and query parameters.
//!
//! Input: a line with the value of the header, `-` for none, then the query string.

use agentbus::broadcast::Start;
use agentbus::http::fuzzing::stream;

use super::query::refusal;

/// The largest sequence of the contract.
const MAX_SEQ: u64 = 1 << 53;

/// Runs it once.
pub fn run(input: &[u8]) {
    let (header, query) = super::split_line(input);
    let (header, query) = (String::from_utf8_lossy(header), String::from_utf8_lossy(query));
    let header = (header != "-").then_some(&*header);
    let Some((filter, start)) = refusal(stream(Some(&query), header)) else { return };
    match (header, start) {
        (Some(header), Start::After(seq)) if !header.is_empty() => {
            assert_eq!(header.parse(), Ok(seq));
            assert!(seq <= MAX_SEQ);
        }
        (Some(header), start) => assert!(header.is_empty(), "{start:?} in spite of the header"),
        (None, Start::After(seq) | Start::From(seq)) => assert!(seq <= MAX_SEQ),
        (None, Start::First | Start::Now) => {}
    }
    // The header takes precedence over every parameter, and does not change the filter.
    let resumed = refusal(stream(Some(&query), Some("41"))).expect("the query was taken before");
    assert_eq!(resumed, (filter, Start::After(41)));
}
