//! `agentbus keys`: makes, lists, shows, rotates and revokes keys.
//!
//! Invariant: a key is shown once, by the command that makes or rotates it, and never an argument.

mod grant_args;
mod on_store;
mod view;
mod way;
mod way_args;

use std::process::ExitCode;
use std::time::Duration;

use agentbus_client::{Document, Key, NewKey};
use chrono::TimeDelta;
use clap::{Args, Subcommand};

use self::grant_args::{GrantArgs, LimitArgs, PresetArgs};
use self::on_store::StoreKeys;
use self::way::Way;
use self::way_args::{Use, WayArgs};
use super::failure::Failure;
use super::output::{Format, print_bytes, print_line};
use super::serve_args::Overrides;
use super::table::{Table, print_document};
use super::terminal::plain;
use super::when::When;
use crate::access::{KeyId, KeyKind};
use crate::clock::Clock;

/// Examples that `--help` shows.
pub const EXAMPLES: &str = "\
Examples:
  agentbus keys create --admin --name root                    the first key, on the server's own settings
  agentbus keys create --agent ann --name 'ann on build-3' --expires-in 90d
  agentbus keys create --worker builds --name 'build pool' --messages-per-s 50
  agentbus keys create --name tests --as tester --publish 'agent.task.>' --read 'agent.task.t1.>'
  agentbus keys list
  agentbus keys rotate 4f9x2k7q1m0c --overlap 1h
  agentbus keys revoke 4f9x2k7q1m0c --yes
  agentbus keys enable 4f9x2k7q1m0c                           after a restore, on the server's own settings

Without a key in AGENTBUS_KEY or --key-file, and without --url, the command works on the store of the
server's settings (environment, .env, --config, --data-dir …), whether a server runs or not. In a pipe the
output is one JSON object a line.";

/// The longest overlap of a rotation (contract, section 11).
const MAX_OVERLAP: TimeDelta = TimeDelta::days(1);

/// `agentbus keys`.
#[derive(Args, Clone, Debug)]
pub struct KeysArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Clone, Debug)]
enum What {
    /// Make a key, and show it once
    Create(Box<CreateArgs>),
    /// Show all keys
    List(WayArgs),
    /// Show one key with all its grants
    Show(OneArgs),
    /// Give a key a new secret, and show it once
    Rotate(RotateArgs),
    /// Revoke a key: everything that it opened ends
    Revoke(RevokeArgs),
    /// Enable keys that `agentbus restore` has disabled; works on the store only
    Enable(EnableArgs),
}

#[derive(Args, Clone, Debug)]
struct CreateArgs {
    /// Name of the key, for people
    #[arg(long)]
    name: String,

    #[command(flatten)]
    preset: PresetArgs,

    #[command(flatten)]
    grants: GrantArgs,

    /// agent, human or service [default: that of the preset, else agent]
    #[arg(long, value_name = "KIND")]
    kind: Option<KeyKind>,

    /// When the key ends by itself: a span such as 90d, a date or an RFC 3339 time; without it, never
    #[arg(long, value_name = "TIME")]
    expires_in: Option<When>,

    #[command(flatten)]
    limits: LimitArgs,

    #[command(flatten)]
    way: WayArgs,
}

#[derive(Args, Clone, Debug)]
struct OneArgs {
    /// Id of the key: the part between ab_ and the second _
    id: KeyId,

    #[command(flatten)]
    way: WayArgs,
}

#[derive(Args, Clone, Debug)]
struct EnableArgs {
    /// Ids of the keys: the part between ab_ and the second _
    #[arg(required = true, value_name = "ID")]
    ids: Vec<KeyId>,

    /// Output format
    #[arg(long, value_enum, default_value_t)]
    format: Format,

    /// The settings of the store.
    #[command(flatten)]
    settings: Overrides,
}

#[derive(Args, Clone, Debug)]
struct RotateArgs {
    #[command(flatten)]
    one: OneArgs,

    /// For how long the old secret is accepted too, such as 15m, at most 1d; 0s after a leak
    #[arg(long, value_name = "SPAN", default_value = "1h", value_parser = overlap)]
    overlap: Duration,
}

#[derive(Args, Clone, Debug)]
struct RevokeArgs {
    #[command(flatten)]
    one: OneArgs,

    /// Confirm; without this flag nothing is revoked
    #[arg(long)]
    yes: bool,
}

/// Parses the overlap of a rotation.
fn overlap(text: &str) -> Result<Duration, &'static str> {
    match text.parse() {
        Ok(When::Span(span)) if span <= MAX_OVERLAP => span.to_std().map_err(|_| "must be a span"),
        _ => Err("must be a span from 0s to 1d, such as 15m"),
    }
}

/// Runs the subcommand.
///
/// # Errors
/// The server or store refuses or cannot be reached.
pub async fn run(args: KeysArgs) -> Result<ExitCode, Failure> {
    match args.what {
        What::Create(args) => create(*args).await?,
        What::List(args) => list(args).await?,
        What::Show(args) => show(args).await?,
        What::Rotate(args) => rotate(args).await?,
        What::Revoke(args) => revoke(args).await?,
        What::Enable(args) => enable(args).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Opens the way, makes one call and closes the way, also after a failure.
async fn call<T>(
    args: &WayArgs,
    use_: Use,
    work: impl AsyncFnOnce(&Way) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let way = args.open(use_).await?;
    let done = work(&way).await;
    way.close().await;
    done
}

async fn create(args: CreateArgs) -> Result<(), Failure> {
    let (preset_kind, mut grants) = args.preset.grants()?;
    args.grants.add_to(&mut grants);
    let new = NewKey {
        name: args.name,
        grants,
        kind: args.kind.or(preset_kind).map(|kind| kind.as_str().to_owned()),
        limits: args.limits.limits(),
        expires_at: args.expires_in.map(|when| when.after(Clock::system().now())),
    };
    let made = call(&args.way, Use::NewKey, async |way| way.create(&new).await).await?;
    print_secret(&made, args.way.format, "")
}

async fn list(args: WayArgs) -> Result<(), Failure> {
    let keys = call(&args, Use::Known, async |way| way.all().await).await?;
    Table::new(view::TITLES).print(&keys, args.format, view::row)
}

async fn show(args: OneArgs) -> Result<(), Failure> {
    let key = call(&args.way, Use::Known, async |way| way.one(args.id.as_str()).await).await?;
    if !args.way.format.is_text() {
        return print_document(&key);
    }
    print_bytes(view::details(&key.parse()?).as_bytes())
}

async fn rotate(args: RotateArgs) -> Result<(), Failure> {
    let RotateArgs { one: OneArgs { id, way }, overlap } = args;
    let work = async |way: &Way| way.rotate(id.as_str(), overlap).await;
    let rotated = call(&way, Use::Known, work).await?;
    let old = match overlap.as_secs() {
        0 => "The old secret is not accepted any more.".to_owned(),
        seconds => format!("The old secret is accepted for {seconds} s more."),
    };
    print_secret(&rotated, way.format, &old)
}

async fn revoke(args: RevokeArgs) -> Result<(), Failure> {
    if !args.yes {
        return Err(Failure::Usage("nothing is revoked without --yes".to_owned()));
    }
    let OneArgs { id, way } = args.one;
    call(&way, Use::Known, async |way| way.revoke(id.as_str()).await).await
}

/// Enables keys one after the other. Only who has the store may do it: after a restore no key works.
async fn enable(args: EnableArgs) -> Result<(), Failure> {
    let keys = StoreKeys::open(&args.settings, false).await?;
    let mut enabled = Vec::new();
    let mut done = Ok(());
    for id in &args.ids {
        match keys.enable(id.as_str()).await {
            Ok(key) => enabled.push(key),
            Err(failure) => {
                done = Err(failure);
                break;
            }
        }
    }
    keys.close().await;
    Table::new(view::TITLES).print(&enabled, args.format, view::row)?;
    done
}

/// Prints a key that was just made or rotated, the secret included.
fn print_secret(made: &Document<Key>, format: Format, note: &str) -> Result<(), Failure> {
    if !format.is_text() {
        return print_document(made);
    }
    let key = made.parse()?;
    let secret = plain(key.key.as_deref().unwrap_or_default());
    let note = if note.is_empty() { String::new() } else { format!("\n{note}") };
    print_line(&format!(
        "id   {}\nkey  {secret}\n\nKeep the key now: it is not shown again, and is stored nowhere.{note}",
        plain(&key.id)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlap_is_at_most_a_day() {
        assert_eq!(overlap("0s"), Ok(Duration::ZERO));
        assert_eq!(overlap("1d"), Ok(Duration::from_secs(86_400)));
        for wrong in ["86401s", "2d", "1", "", "2026-01-31", "-1s"] {
            assert!(overlap(wrong).is_err(), "{wrong}");
        }
    }
}
