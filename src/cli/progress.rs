//! Progress bars for long work, on standard error, and only on a terminal.

use std::time::Duration;

use agentbus_client::Client;
use indicatif::{ProgressBar, ProgressStyle};

use super::terminal::{eprint_line, plain_lines};

/// How often a bar is redrawn while nothing happens.
const TICK: Duration = Duration::from_millis(250);

/// A bar of bytes, or a spinner if the total is not known.
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

/// A bar of sequences. The caller sets its length once it knows the end of the log.
#[must_use]
pub fn sequences() -> ProgressBar {
    styled(ProgressBar::new(0), "{bar:30} {pos}/{len}  {msg}  {elapsed} (left {eta})")
}

/// A spinner for work of unknown length.
#[must_use]
pub fn spinner() -> ProgressBar {
    styled(ProgressBar::new_spinner(), "{spinner} {msg}  {elapsed}")
}

/// Makes the client report outages above the bar.
#[must_use]
pub fn notices_above(bar: &ProgressBar, client: Client) -> Client {
    let bar = bar.clone();
    client.on_notice(move |notice| {
        bar.suspend(|| eprint_line(&plain_lines(&format!("agentbus: {notice}"))));
    })
}

fn styled(bar: ProgressBar, template: &str) -> ProgressBar {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(TICK);
    bar
}
