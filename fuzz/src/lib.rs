//! The targets: whatever bytes arrive, nothing panics and the rules of each parser hold.
//!
//! One definition for both who run them: libFuzzer (`fuzz_targets/`, by `scripts/fuzz`) and the unit
//! tests of agentbus (`src/fuzzing.rs`), which run them on the kept inputs in `inputs/`.

pub mod envelope;
pub mod filter;
pub mod query;
pub mod sse;
pub mod token;

/// Holds a target's rules against any bytes; panics where one is broken.
pub type Target = fn(&[u8]);

/// Every target by its name.
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
