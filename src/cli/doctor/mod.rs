//! `agentbus doctor`: checks all parts, and reports how to fix problems.
//!
//! Invariant: nothing is changed, except that `--fix` adds what the stream lacks. So the doctor of a newer version
//! shows what an upgrade will do. The exit code is 1 if a check failed, else 0.

mod certificate;
mod issuers;
mod keys;
mod report;
mod schema;

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::Arc;

use report::Report;

use super::own_store;
use super::serve::configuration;
use super::serve_args::DoctorArgs;
use crate::bus::nats::{IfMissing, Missing, NatsBus, Use, fix_stream, missing_permissions};
use crate::bus::{Bus, BusError, LogIdentity};
use crate::clock::Clock;
use crate::config::{Config, StoreConfig};
use crate::continuity::check_content;
use crate::limits::CLOCK_TOLERANCE;
use crate::store::{BusKind, LogState, Store};

/// Runs all checks.
///
/// # Errors
/// The configuration is wrong.
pub async fn run(args: DoctorArgs) -> Result<ExitCode, String> {
    let config = configuration(&args.overrides, Vec::new())?;
    let mut report = Report::new(std::io::stdout().is_terminal());
    report.good(
        "settings",
        &format!("MESSAGE_BUS={}, HTTP_ADDR={}", config.bus.as_str(), config.http.addr),
    );
    config.exposures().iter().for_each(|exposure| report.note("network", exposure));
    if let Some(files) = &config.http.tls {
        certificate::check(files, Clock::system().now(), &mut report);
    }
    if let Some(file) = &config.access.jwt_issuers_file {
        issuers::check(file, &mut report).await;
    }
    let store = check_store(&config, &mut report).await;
    let state = match &store {
        Some(store) => check_log(&**store, &config, &mut report).await,
        None => None,
    };
    let on_nats = state.as_ref().is_some_and(|state| state.bus == Some(BusKind::Nats));
    if config.bus == BusKind::Nats || on_nats {
        check_nats(&config, args.fix, store.as_deref(), state.as_ref(), &mut report).await;
    }
    if let Some(store) = store {
        store.close().await;
    }
    Ok(ExitCode::from(u8::from(report.bad)))
}

async fn check_store(config: &Config, report: &mut Report) -> Option<Arc<dyn Store>> {
    if let StoreConfig::Sqlite(dir) = &config.store
        && !own_store::exists(&config.store)
    {
        report.note("store", &format!("{} holds no history yet", dir.display()));
        return None;
    }
    let (store, difference) = match own_store::inspect(&config.store).await {
        Ok(inspected) => inspected,
        Err(error) => {
            report.bad("store", &error);
            return None;
        }
    };
    report.good("store", &format!("{} is reachable", own_store::name(&config.store)));
    let is_readable = schema::check(&difference, config.bus, report);
    let store = store?;
    check_clock(&*store, report).await;
    check_durability(&*store, report).await;
    check_rights(&*store, report).await;
    if !is_readable {
        store.close().await;
        return None;
    }
    keys::check(&*store, report).await;
    Some(store)
}

/// Compares the clocks: messages get the time of this machine, leases that of the store.
async fn check_clock(store: &dyn Store, report: &mut Report) {
    let clock = Clock::system();
    let before = clock.now();
    let Ok(there) = store.clock().await else { return };
    let here = before + (clock.now() - before) / 2;
    let apart = (there - here).abs();
    if apart.to_std().is_ok_and(|apart| apart > CLOCK_TOLERANCE) {
        let millis = apart.num_milliseconds();
        report.note(
            "clock",
            &format!(
                "the clocks of the store and this machine differ by {millis} ms: run NTP on both"
            ),
        );
    } else {
        report.good("clock", "the clocks of the store and this machine agree");
    }
}

/// Checks that a committed message is on disk.
async fn check_durability(store: &dyn Store, report: &mut Report) {
    match store.weaknesses().await {
        Ok(none) if none.is_empty() => {
            report.good("durability", "committed messages are synced to disk");
        }
        Ok(weaknesses) => weaknesses.iter().for_each(|weak| report.bad("durability", weak)),
        Err(error) => report.bad("durability", &error.to_string()),
    }
}

/// Checks what the role of the database may do.
async fn check_rights(store: &dyn Store, report: &mut Report) {
    match store.missing_rights().await {
        Ok(none) if none.is_empty() => {
            report.good("rights", "the store permits all that a server does")
        }
        Ok(missing) => missing.iter().for_each(|lack| report.bad("rights", lack)),
        Err(error) => report.bad("rights", &error.to_string()),
    }
}

async fn check_log(store: &dyn Store, config: &Config, report: &mut Report) -> Option<LogState> {
    let state = match store.log_state().await {
        Ok(state) => state,
        Err(error) => {
            report.bad("history", &error.to_string());
            return None;
        }
    };
    let first = state.first_seq.map_or_else(|| "none".to_owned(), |seq| seq.to_string());
    report.good(
        "history",
        &format!("sequences {first} to {} are committed", state.committed_through),
    );
    match state.bus {
        Some(bus) if bus != config.bus => report.note(
            "bus",
            &format!(
                "the log is on the {} bus; the next start with MESSAGE_BUS={} switches to that bus",
                bus.as_str(),
                config.bus.as_str()
            ),
        ),
        _ => report.good("bus", &format!("the log is on the {} bus", config.bus.as_str())),
    }
    Some(state)
}

async fn check_nats(
    config: &Config,
    fix: bool,
    store: Option<&dyn Store>,
    state: Option<&LogState>,
    report: &mut Report,
) {
    let advice = "Check NATS_URL, the credentials, and that the server runs with JetStream";
    match check_permissions(config, report).await {
        Ok(true) => {}
        Ok(false) => return,
        Err(error) => return report.bad("nats", &format!("{error}. {advice}")),
    }
    if fix {
        match fix_stream(&config.nats).await {
            Ok(left) if left.is_empty() => {
                report.good("fix", "the stream's configuration is complete")
            }
            Ok(left) => {
                left.iter().for_each(|lack| report.note("fix", &format!("cannot be fixed: {lack}")))
            }
            Err(error) => report.bad("fix", &error.to_string()),
        }
    }
    let bus = match NatsBus::connect_or(config.nats.clone(), IfMissing::Refuse, &[]).await {
        Ok(bus) => bus,
        Err(error) => {
            let made = "a missing stream is made by the first server that starts";
            return report.bad("nats", &format!("{error}. {advice}; {made}"));
        }
    };
    report.good("nats", &format!("stream {} is reachable", bus.log_name()));
    for lack in bus.degradations() {
        report.note("stream", &format!("{lack}; `agentbus doctor --fix` adds what can be added"));
    }
    // nats-server reports `sync_interval` only through its monitoring port and its system account.
    match bus.sync_setting() {
        Ok(line) => report.note("sync", &format!("{line} (its clients cannot ask it)")),
        Err(line) => report.note("sync", &line),
    }
    match bus.identity().await {
        Ok(identity) => {
            check_continuity(&bus, &identity, store, state, report).await;
        }
        Err(error) => report.bad("stream", &error.to_string()),
    }
}

/// Checks the permissions of the servers' user. Returns whether it may at least read and publish.
async fn check_permissions(config: &Config, report: &mut Report) -> Result<bool, BusError> {
    let missing = missing_permissions(&config.nats, &Use::ALL).await?;
    let add = "Add it to the user's permissions: docs/operations.md#permissions";
    let is_essential = |missing: &Missing| missing.0.needed_for.is_essential();
    for lack in &missing {
        match is_essential(lack) {
            true => report.bad("permission", &format!("{lack}. {add}")),
            false => report.note("permission", &format!("{lack}. {add}")),
        }
    }
    if missing.is_empty() {
        report.good("permission", "the user of NATS has every permission that a server needs");
    }
    Ok(!missing.iter().any(is_essential))
}

/// Compares the stream with the store, as a server does before it publishes.
async fn check_continuity(
    bus: &NatsBus,
    identity: &LogIdentity,
    store: Option<&dyn Store>,
    state: Option<&LogState>,
    report: &mut Report,
) {
    let bounds = identity.bounds;
    report.good("stream", &format!("holds sequences {} to {}", bounds.first, bounds.last));
    let (Some(store), Some(state)) = (store, state) else { return };
    if state.bus != Some(BusKind::Nats) {
        return;
    }
    if state.stream_epoch != identity.epoch {
        report.note("continuity", "the store was filled from another stream than this one");
    }
    let committed = state.committed_through;
    if identity.write_back_pending {
        report.note(
            "continuity",
            "the stream is only partly refilled from the store; the next start of a server completes it",
        );
        return;
    }
    match check_content(bus, store, bounds, committed).await {
        Ok(()) if bounds.last < committed => report.note(
            "continuity",
            &format!(
                "the stream ends at {} and the store at {committed}: the next start of a server writes the rest back",
                bounds.last
            ),
        ),
        Ok(()) => report.good("continuity", "the stream continues the store"),
        Err(error) => report.bad("continuity", &error.to_string()),
    }
    let behind = bounds.last.saturating_sub(committed);
    if behind > 0 {
        report.note("projector", &format!("{behind} messages are not in the store yet"));
    }
}
