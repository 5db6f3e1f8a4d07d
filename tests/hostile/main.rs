//! What a hostile client tries, and what everybody else notices of it: nothing (issue 14).
//!
//! Each test names the point of that issue it holds.

#[path = "../common/mod.rs"]
mod common;
