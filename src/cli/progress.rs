//! Progress bars of long work, on standard error.
//!
//! Invariant: they are seen by people on a terminal only; in a pipe or a log
//! nothing of them is written.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// How often a bar moves although nothing happens, to show that it lives.
const TICK: Duration = Duration::from_millis(250);

/// A bar of bytes, or a spinner where their number is not known.
#[must_use]
pub fn bytes(total: Option<u64>) -> ProgressBar {
    match total {
        Some(total) => styled(
            ProgressBar::new(total),
            "{bar:30} {bytes}/{total_bytes}  {msg}  {elapsed} (left {eta})",
        ),
        None => spinner(),
    }
}

/// A bar of sequences; its length is set when the end of the log is known.
#[must_use]
pub fn sequences() -> ProgressBar {
    styled(ProgressBar::new(0), "{bar:30} {pos}/{len}  {msg}  {elapsed} (left {eta})")
}

/// For work without an end.
#[must_use]
pub fn spinner() -> ProgressBar {
    styled(ProgressBar::new_spinner(), "{spinner} {msg}  {elapsed}")
}

fn styled(bar: ProgressBar, template: &str) -> ProgressBar {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(TICK);
    bar
}
