//! `agentbus erase`: erases a message.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use uuid::Uuid;

use super::address::ShowArgs;
use super::failure::Failure;
use super::output::print_result;

/// Examples that `--help` shows.
pub const EXAMPLES: &str = "\
Examples:
  agentbus erase 019e0f5c-7a3c-7d3e-9a6b-0d1f2e3a4b5c --reason 'held a password'

Content and metadata go, for good and everywhere: stream, history, retries, dead letters, memory. The other
members and the sequence stay. It needs a key that can `erase` and may read the message. What copies keep
(mirrors, replicas, backups) is in docs/runbooks/erase.md.";

/// `agentbus erase`.
#[derive(Args, Clone, Debug)]
pub struct EraseArgs {
    /// The id of the message
    #[arg(value_name = "ID")]
    id: Uuid,

    /// Why; the audit log keeps it
    #[arg(long, value_name = "TEXT")]
    reason: String,

    #[command(flatten)]
    show: ShowArgs,
}

/// Erases the message.
///
/// # Errors
/// The server refuses or cannot be reached.
pub async fn run(args: EraseArgs) -> Result<ExitCode, Failure> {
    let seq = args.show.server.client()?.erase(args.id, &args.reason).await?;
    let text = format!("message {seq} is erased");
    print_result(args.show.format.is_text(), &text, &json!({ "seq": seq }))?;
    Ok(ExitCode::SUCCESS)
}
