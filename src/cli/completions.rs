//! `agentbus completions`: scripts by which shells complete commands and flags.

use std::process::ExitCode;

use clap::Args;
use clap_complete::Shell;

use super::failure::Failure;
use super::output::print_bytes;

/// Examples that `--help` shows.
pub const EXAMPLES: &str = "\
Examples:
  agentbus completions bash > ~/.local/share/bash-completion/completions/agentbus
  agentbus completions zsh > ~/.zfunc/_agentbus          with ~/.zfunc in fpath, before compinit
  agentbus completions fish > ~/.config/fish/completions/agentbus.fish

A new shell has them. After an update of agentbus, write the file again.";

/// `agentbus completions`.
#[derive(Args, Clone, Copy, Debug)]
pub struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Prints the script for the commands of `cli`.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(args: &CompletionsArgs, mut cli: clap::Command) -> Result<ExitCode, Failure> {
    let name = cli.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut cli, name, &mut script);
    print_bytes(&script)?;
    Ok(ExitCode::SUCCESS)
}
