//! `agentbus man`: manual pages, made from the same text as `--help`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use clap_mangen::Man;

use super::failure::Failure;
use super::output::print_bytes;

/// Examples that `--help` shows.
pub const EXAMPLES: &str = "\
Examples:
  agentbus man | man -l -                                the page of agentbus
  agentbus man --dir ~/.local/share/man/man1             a page for each command
  man agentbus-tail";

/// `agentbus man`.
#[derive(Args, Clone, Debug)]
pub struct ManArgs {
    /// Write a page for agentbus and for each command into this folder, instead of one page to standard output
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Prints the page of `cli`, or writes the pages of all its commands.
///
/// # Errors
/// The folder cannot be made, or a page cannot be written.
pub fn run(args: &ManArgs, cli: clap::Command) -> Result<ExitCode, Failure> {
    let mut cli = cli.disable_help_subcommand(true);
    cli.build();
    match &args.dir {
        None => print_bytes(page(&Man::new(cli))?.as_bytes())?,
        Some(dir) => {
            let failed = |error| Failure::io(&dir.display().to_string(), &error);
            std::fs::create_dir_all(dir).map_err(failed)?;
            write_all(cli, dir)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes the page of a command, and those of its subcommands.
fn write_all(command: clap::Command, dir: &Path) -> Result<(), Failure> {
    for one in command.get_subcommands() {
        write_all(one.clone(), dir)?;
    }
    let man = Man::new(command);
    let path = dir.join(man.get_filename());
    std::fs::write(&path, page(&man)?)
        .map_err(|error| Failure::io(&path.display().to_string(), &error))
}

/// The page, with the lines of examples as they are: they would flow into each other.
fn page(man: &Man) -> Result<String, Failure> {
    let mut page = Vec::new();
    man.render(&mut page).map_err(|error| Failure::io("the page", &error))?;
    let page = String::from_utf8_lossy(&page).into_owned();
    let Some((before, examples)) = page.split_once(".SH EXTRA\n") else { return Ok(page) };
    let (examples, after) = match examples.find("\n.SH ") {
        Some(end) => examples.split_at(end + 1),
        None => (examples, ""),
    };
    Ok(format!("{before}.SH NOTES\n.nf\n{examples}.fi\n{after}"))
}
