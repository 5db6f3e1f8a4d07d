//! Limits of payload schemas: what a schema may be, and what checking one message may cost.
//!
//! The costs are in *units*: upper bounds that the analysis of a schema computes, each about a nanosecond of a core.

/// The most schemas of a deployment. All of them, compiled, are in the memory of every server.
pub const MAX_SCHEMAS: usize = 1_000;
/// The most versions of one schema that are kept: the newest.
pub const MAX_SCHEMA_VERSIONS: usize = 100;
/// The most bytes of a schema, without white space.
pub const MAX_SCHEMA_BYTES: usize = 64 * 1024;
/// The most schemas inside of a schema.
pub const MAX_SUBSCHEMAS: usize = 1_000;
/// The most levels of schemas inside each other, since compiling recurses.
pub const MAX_SUBSCHEMA_DEPTH: usize = 32;
/// The most schemas that lead to each other without going deeper into the message (by `$ref`, `allOf`, `anyOf` …), since
/// checking recurses: with 33 levels of a message some 550 calls.
pub const MAX_IN_PLACE_DEPTH: usize = 16;
/// The most pairs of schemas that the analysis of one schema looks at: tens of milliseconds.
pub const MAX_SCHEMA_PAIRS: usize = 200_000;
/// The most schemas that are compiled for one schema. `unevaluatedProperties` has what is beside it compiled again.
pub const MAX_COMPILED_SCHEMAS: u64 = 20_000;
/// The most bytes of the automaton of one regular expression. With a deterministic automaton of bounded size, matching
/// takes one step a byte.
pub const MAX_AUTOMATON_BYTES: usize = 1024 * 1024;
/// The most bytes of the automata of all regular expressions of a schema.
pub const MAX_AUTOMATA_BYTES: usize = 4 * 1024 * 1024;
/// Units of one keyword of a schema on one value of a message.
pub const KEYWORD_UNITS: u64 = 32;
/// Units of one division, for `multipleOf`: it is exact, also for very small divisors.
pub const DIVISION_UNITS: u64 = 1_000;
/// How often, at most, a schema is looked at again by an `unevaluatedProperties` or `unevaluatedItems` above it: the
/// conditions under which a branch counts are kept up to this number.
pub const UNEVALUATED_LOOKS: u64 = 128;
/// Units that checking a message of any size may cost: a millisecond.
pub const CHECK_UNITS: u64 = 1_000_000;
/// Units that checking a message may cost more for each of its bytes: less than a quarter of a second for the largest.
pub const CHECK_UNITS_PER_BYTE: u64 = 200;
/// Units from which a message is checked on a thread for blocking work, since other tasks must not wait so long.
pub const CHECK_INLINE_UNITS: u64 = 1_000_000;
/// The most messages that are checked at once on threads for blocking work.
pub const LONG_CHECKS: usize = 2;
/// Units up to which all faults of a message are collected: each fault takes memory. Beyond, the response says only that
/// there are some.
pub const COLLECT_UNITS: u64 = 2_000_000;
/// The most faults that are reported of one message: enough to correct it.
pub const MAX_VIOLATIONS: usize = 16;
/// The most characters of the text of a fault, which may repeat a part of the schema.
pub const MAX_VIOLATION_TEXT: usize = 256;
/// The number of last messages of a type on which a schema is tried (contract, section 13).
pub const CHECKED_MESSAGES: usize = 1_000;
/// Foreign messages that wait to be checked. Further ones are not checked, and a metric counts them.
pub const FOREIGN_CHECK_QUEUE: usize = 1_024;
/// The most pages of history that trying a schema reads. They are short if the caller may read few of the messages.
pub const CHECKED_PAGES: usize = 200;
