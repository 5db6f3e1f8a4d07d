//! The fuzz targets: whatever bytes arrive, nothing panics and the rules of each parser hold.
//!
//! libFuzzer runs them (`fuzz_targets/`, by `scripts/fuzz`), and so do the unit tests of agentbus (`src/fuzzing.rs`), with
//! the inputs kept in `inputs/`.

pub mod envelope;
pub mod filter;
pub mod query;
pub mod sse;
pub mod token;

/// Checks the rules of a target with any bytes; panics if one is broken.
pub type Target = fn(&[u8]);

/// Every target, by name.
pub const TARGETS: [(&str, Target); 5] = [
    ("envelope", envelope::run),
    ("filter", filter::run),
    ("query", query::run),
    ("sse", sse::run),
    ("token", token::run),
];

/// The first line, and what follows it.
fn split_line(input: &[u8]) -> (&[u8], &[u8]) {
    match input.iter().position(|&byte| byte == b'\n') {
        Some(end) => (&input[..end], &input[end + 1..]),
        None => (input, &[]),
    }
}
