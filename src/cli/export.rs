//! `agentbus export`: the log as NDJSON, to a file or standard output.
//!
//! Invariant: an export ends at the sequence that was committed when it began, so it ends even on a busy log.
//! Each line has the bytes that the server has. The file appears under its name only when it is complete and
//! synced to disk.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use agentbus_client::{Bounds, Message, Pages};
use clap::Args;
use tokio::fs::File;
use tokio::io::{AsyncWrite, AsyncWriteExt, BufWriter};

use super::address::ServerArgs;
use super::failure::{Failure, until_interrupted};
use super::filter::FilterArgs;
use super::history::RangeArgs;
use super::progress::{self, notices_above};
use super::terminal::eprint_line;

/// Examples that `--help` shows.
pub const EXAMPLES: &str = "\
Examples:
  agentbus export --output squad.ndjson                the whole log
  agentbus export --since 7d --kind task | gzip > tasks.ndjson.gz
  agentbus export --after 1041 --output more.ndjson    messages after sequence 1041

`agentbus import` reads the file. An existing file is replaced when the export is complete.";

/// `agentbus export`.
#[derive(Args, Clone, Debug)]
pub struct ExportArgs {
    /// File to write; without it, standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,

    #[command(flatten)]
    range: RangeArgs,

    #[command(flatten)]
    filter: FilterArgs,

    #[command(flatten)]
    server: ServerArgs,
}

/// The output file under a temporary name, until it is complete.
#[derive(Debug)]
struct Unfinished {
    target: PathBuf,
    path: PathBuf,
    finished: bool,
}

impl Unfinished {
    fn beside(target: &Path) -> Result<Self, Failure> {
        let Some(name) = target.file_name() else {
            return Err(Failure::Usage(format!("{} is not a file name", target.display())));
        };
        let name = format!(".{}.{}.part", name.to_string_lossy(), std::process::id());
        Ok(Self { path: target.with_file_name(name), target: target.to_owned(), finished: false })
    }

    async fn finish(mut self, file: File) -> io::Result<()> {
        file.sync_all().await?;
        tokio::fs::rename(&self.path, &self.target).await?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.finished {
            // If this fails, a hidden file stays, whose name says what it is.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Exports the messages.
///
/// # Errors
/// The server refuses or cannot be reached, or the file cannot be written.
pub async fn run(args: ExportArgs) -> Result<ExitCode, Failure> {
    until_interrupted(export(args)).await
}

async fn export(args: ExportArgs) -> Result<(), Failure> {
    let bar = progress::sequences();
    let client = notices_above(&bar, args.server.client()?);
    let mut query = args.filter.query();
    query.extend(args.range.query());
    let bounds = Bounds { after: args.range.after, before: args.range.before, ..Bounds::default() };
    let pages = client.history(query, bounds);
    let Some(target) = args.output else {
        let mut out = tokio::io::stdout();
        let written = copy(pages, &mut out, "standard output", &bar).await?;
        return done(&bar, written, "standard output");
    };
    let name = target.display().to_string();
    let unfinished = Unfinished::beside(&target)?;
    let failed = |error| Failure::io(&name, &error);
    let file = File::create(&unfinished.path).await.map_err(failed)?;
    let mut out = BufWriter::new(file);
    let written = copy(pages, &mut out, &name, &bar).await?;
    unfinished.finish(out.into_inner()).await.map_err(failed)?;
    done(&bar, written, &name)
}

/// Writes all pages, up to the sequence that is committed at the first read; returns the number of messages.
async fn copy(
    mut pages: Pages<Message>,
    out: &mut (impl AsyncWrite + Unpin),
    name: &str,
    bar: &indicatif::ProgressBar,
) -> Result<u64, Failure> {
    let failed = |error| Failure::io(name, &error);
    let mut written = 0;
    while let Some(page) = pages.next_page().await? {
        if bar.length() == Some(0) {
            bar.set_length(page.committed_through);
            pages.end_before(page.committed_through.saturating_add(1));
        }
        for message in &page.items {
            out.write_all(message.json()).await.map_err(failed)?;
            out.write_all(b"\n").await.map_err(failed)?;
        }
        written += page.items.len() as u64;
        let position = page.next.and_then(|next| next.parse().ok());
        bar.set_position(position.unwrap_or(page.committed_through));
        bar.set_message(format!("{written} messages"));
    }
    out.flush().await.map_err(failed)?;
    Ok(written)
}

fn done(bar: &indicatif::ProgressBar, written: u64, name: &str) -> Result<(), Failure> {
    bar.finish_and_clear();
    eprint_line(&format!("agentbus: {written} messages to {name}"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_file_appears_when_it_is_complete_and_else_leaves_nothing() {
        let folder = std::env::temp_dir().join(format!("agentbus-export-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder).expect("a folder");
        let target = folder.join("squad.ndjson");
        let names = || std::fs::read_dir(&folder).expect("readable").count();

        let unfinished = Unfinished::beside(&target).expect("a name");
        File::create(&unfinished.path).await.expect("a file");
        assert!(!target.exists() && names() == 1);
        drop(unfinished);
        assert_eq!(names(), 0);

        let unfinished = Unfinished::beside(&target).expect("a name");
        let file = File::create(&unfinished.path).await.expect("a file");
        unfinished.finish(file).await.expect("renamed");
        assert!(target.exists() && names() == 1);
        std::fs::remove_dir_all(&folder).expect("removed");
    }
}
