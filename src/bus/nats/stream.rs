//! The stream of the log: created with the documented configuration, or used as it is.
//!
//! Invariant: only [`fix`] changes an existing stream, and it only adds and raises. What the stream lacks is
//! reported to the operator; a stream that cannot be a log is an error. A stream that this process created is
//! compared with the wanted configuration too, since old servers silently ignore members that they do not
//! know.

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::api::{StreamInfo, nanos};
use super::config::NatsConfig;
use super::error::{ApiError, STREAM_NAME_IN_USE, STREAM_NOT_FOUND};
use super::requester::Requester;
use super::stream_config::{
    ATOMIC_SINCE, EPOCH, MAX_MSG_SIZE, METADATA_SINCE, StreamConfig, closed, opened, with_epoch,
};
use crate::bus::BusError;
use crate::limits::{NATS_REPEAT_DELAY, NATS_STREAM_GONE};
use crate::message::MESSAGE_SUBJECTS;

/// What to do if there is no stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfMissing {
    /// Create it.
    Create,
    /// Create it closed for publishing, because the store has entries that must be written back first
    /// ([`NatsBus::begin_write_back`](super::NatsBus::begin_write_back)).
    CreateClosed,
    /// As [`Self::CreateClosed`], after a pause of [`NATS_STREAM_GONE`], because the stream existed and was
    /// deleted.
    Recreate,
    /// As [`Self::CreateClosed`]. A mirror is used, too, as it is: it can be read, and then replaced by a stream
    /// ([`NatsBus::recreate`](super::NatsBus::recreate)).
    TakeOver,
    /// Return an error.
    Refuse,
}

/// Finds or creates the stream. Returns what it lacks.
pub(super) async fn ensure(
    requester: &Requester,
    config: &NatsConfig,
    missing: IfMissing,
) -> Result<(StreamInfo, Vec<String>), BusError> {
    let version = requester.connection.server_version();
    let stream = &config.stream_name;
    let info = match requester.stream_info(stream).await {
        Err(error) if error.is(STREAM_NOT_FOUND) && missing == IfMissing::Refuse => {
            return Err(BusError(format!("there is no stream {stream}")));
        }
        Err(error) if error.is(STREAM_NOT_FOUND) => {
            if missing == IfMissing::Recreate {
                wait_until_removed(stream).await;
            }
            create(requester, config, version, missing).await?
        }
        result => result?,
    };
    let found = info.parsed()?;
    let is_taken_over = missing == IfMissing::TakeOver && found.mirror.is_some();
    let lacking = if is_taken_over { Vec::new() } else { compare(&found, config, version)? };
    Ok((info, lacking))
}

/// Waits until nats-server has removed the files of a deleted stream. The server frees the name before it
/// removes the files. A stream that is created in between counts the messages in the files as its own, loses
/// them, and then stores no message at all (seen with nats-server 2.15.1).
pub(super) async fn wait_until_removed(stream: &str) {
    tracing::warn!(stream, pause = ?NATS_STREAM_GONE, "the stream does not exist any more: creating it again after a pause");
    tokio::time::sleep(NATS_STREAM_GONE).await;
}

/// Deletes a stream and creates it with the configuration `wanted`.
pub(super) async fn replace(
    requester: &Requester,
    stream: &str,
    wanted: &Value,
) -> Result<(), ApiError> {
    requester.delete_stream(stream).await?;
    let until = Instant::now() + NATS_STREAM_GONE;
    loop {
        match requester.create_stream(stream, wanted).await {
            // After deleting the last stream, nats-server removes the folder of all streams, perhaps while it
            // creates the next one.
            Err(ApiError::Refused(error)) if error.is_transient() && Instant::now() < until => {
                tokio::time::sleep(NATS_REPEAT_DELAY).await;
            }
            result => return result.map(drop),
        }
    }
}

/// Creates the stream. If another server has just created it, returns that one.
async fn create(
    requester: &Requester,
    config: &NatsConfig,
    version: (u64, u64),
    missing: IfMissing,
) -> Result<StreamInfo, ApiError> {
    let stream = &config.stream_name;
    let mut wanted = wanted(config, version, Uuid::new_v4());
    if missing != IfMissing::Create && version >= METADATA_SINCE {
        wanted = closed(&wanted, stream);
    }
    match requester.create_stream(stream, &wanted).await {
        Ok(info) => {
            tracing::info!(stream, "created the stream");
            Ok(info)
        }
        Err(error) if error.is(STREAM_NAME_IN_USE) => requester.stream_info(stream).await,
        Err(error) => Err(error),
    }
}

/// The configuration with which a stream, a mirror too, is created again: its own or, for a mirror, that of a new
/// stream. With a new epoch, and closed for publishing.
pub(super) fn anew(
    info: &StreamInfo,
    config: &NatsConfig,
    version: (u64, u64),
) -> Result<Value, ApiError> {
    let epoch = Uuid::new_v4();
    let wanted = match info.parsed()?.mirror {
        Some(_) => wanted(config, version, epoch),
        None => with_epoch(&opened(&info.config), epoch),
    };
    Ok(if version >= METADATA_SINCE { closed(&wanted, &config.stream_name) } else { wanted })
}

/// The configuration of a new stream, without members that a server of this version does not know.
fn wanted(config: &NatsConfig, version: (u64, u64), epoch: Uuid) -> Value {
    let mut wanted = json!({
        "name": config.stream_name,
        "description": "messages of agentbus",
        "subjects": MESSAGE_SUBJECTS,
        "retention": "limits",
        "storage": "file",
        "discard": "old",
        "max_consumers": -1,
        "max_msgs": config.max_msgs,
        "max_bytes": -1,
        "max_age": nanos(config.max_age),
        "max_msgs_per_subject": -1,
        "max_msg_size": MAX_MSG_SIZE,
        "duplicate_window": nanos(config.duplicate_window),
        "num_replicas": config.replicas,
        "allow_direct": true,
    });
    if version >= METADATA_SINCE {
        wanted["metadata"] = json!({ EPOCH: epoch });
    }
    if version >= ATOMIC_SINCE {
        wanted["allow_atomic"] = true.into();
    }
    wanted
}

/// Compares a stream with the wanted configuration. Returns what it lacks; an error if it cannot be a log.
fn compare(
    found: &StreamConfig,
    config: &NatsConfig,
    version: (u64, u64),
) -> Result<Vec<String>, BusError> {
    let name = &config.stream_name;
    let fatal = |text: String| Err(BusError(format!("stream {name} {text}")));
    if found.is_closed() {
        // The stream is closed for a write-back. The continuity check will end that.
        return Ok(Vec::new());
    }
    if found.mirror.is_some() {
        return fatal(
            "is a mirror: the log is at another site. If that site is lost, see docs/runbooks/region-lost.md"
                .to_owned(),
        );
    }
    if found.sources.as_ref().is_some_and(|sources| !sources.is_empty()) {
        return fatal(
            "has sources: they add messages even while the stream is closed for its continuity check".to_owned(),
        );
    }
    if let Some(subject) = missing_subjects(found).first() {
        return fatal(format!("does not take subject {subject}"));
    }
    if found.retention != "limits" {
        return fatal(format!(
            "has {} retention, not limits: messages would vanish",
            found.retention
        ));
    }
    if found.sealed {
        return fatal("is sealed: nothing can be published".to_owned());
    }
    let mut lines = Vec::new();
    limits(found, config, &mut lines);
    features(found, version, &mut lines);
    Ok(lines.into_iter().map(|line| format!("stream {name}: {line}")).collect())
}

fn limits(found: &StreamConfig, config: &NatsConfig, lines: &mut Vec<String>) {
    let mut differs = |what: &str, found: String, wanted: String| {
        if found != wanted {
            lines.push(format!("{what} is {found}, configured {wanted}"));
        }
    };
    let wanted_msgs = i64::try_from(config.max_msgs).unwrap_or(i64::MAX);
    differs("max_msgs", count(found.max_msgs), count(wanted_msgs));
    differs("max_age", seconds(found.max_age), seconds(nanos(config.max_age)));
    differs(
        "duplicate_window",
        seconds(found.duplicate_window),
        seconds(nanos(config.duplicate_window)),
    );
    differs("num_replicas", found.num_replicas.to_string(), config.replicas.to_string());
    if found.max_msg_size > 0 && found.max_msg_size < MAX_MSG_SIZE {
        differs("max_msg_size", count(found.max_msg_size), count(MAX_MSG_SIZE));
    }
    if found.max_msgs_per_subject > 0 {
        lines.push(format!(
            "max_msgs_per_subject is {}: messages vanish before max_msgs and max_age",
            found.max_msgs_per_subject
        ));
    }
}

fn features(found: &StreamConfig, version: (u64, u64), lines: &mut Vec<String>) {
    if found.storage != "file" {
        lines.push(format!(
            "storage is {}: a restart loses what is not in the store",
            found.storage
        ));
    }
    if found.discard != "old" {
        lines.push(format!("discard is {}: when full it refuses messages", found.discard));
    }
    if !found.allow_direct {
        lines.push("allow_direct is off: other clients read through the leader alone".to_owned());
    }
    if version < METADATA_SINCE {
        lines.push(
            "the server is older than 2.10: there is no epoch to recognise a recreated stream by"
                .to_owned(),
        );
    } else if found.epoch().is_none() {
        lines.push(format!("no {EPOCH} in its metadata to recognise a recreated stream by"));
    }
    if version < ATOMIC_SINCE {
        lines.push("the server is older than 2.12: no atomic batches".to_owned());
    } else if !found.allow_atomic {
        lines.push("allow_atomic is off: no atomic batches".to_owned());
    }
    if found.subject_transform.is_some() {
        lines.push(
            "it has a subject transform: messages are logged under other subjects".to_owned(),
        );
    }
}

fn count(limit: i64) -> String {
    if limit <= 0 { "unlimited".to_owned() } else { limit.to_string() }
}

fn seconds(nanos: i64) -> String {
    match u64::try_from(nanos) {
        Ok(nanos) if nanos > 0 => format!("{}s", Duration::from_nanos(nanos).as_secs_f64()),
        _ => "unlimited".to_owned(),
    }
}

fn missing_subjects(found: &StreamConfig) -> Vec<&'static str> {
    let taken = |wanted: &str| found.subjects.iter().any(|subject| covers(subject, wanted));
    MESSAGE_SUBJECTS.into_iter().filter(|wanted| !taken(wanted)).collect()
}

/// Whether every subject that matches `inner` matches `outer`.
fn covers(outer: &str, inner: &str) -> bool {
    let (mut outer, mut inner) = (outer.split('.'), inner.split('.'));
    loop {
        match (outer.next(), inner.next()) {
            (None, None) | (Some(">"), Some(_)) => return true,
            (Some("*"), Some(token)) if token != ">" => {}
            (Some(a), Some(b)) if a == b => {}
            _ => return false,
        }
    }
}

/// Adds to the stream what it lacks, and raises limits that are lower than configured. Returns what is still
/// lacking.
pub(super) async fn fix(
    requester: &Requester,
    config: &NatsConfig,
) -> Result<Vec<String>, BusError> {
    let version = requester.connection.server_version();
    let stream = &config.stream_name;
    let info = match requester.stream_info(stream).await {
        Err(error) if error.is(STREAM_NOT_FOUND) => {
            create(requester, config, version, IfMissing::Create).await?
        }
        result => result?,
    };
    let wanted = mended(&info, &info.parsed()?, config, version);
    let info = if wanted == info.config {
        info
    } else {
        tracing::info!(stream, "updating the stream's configuration");
        requester.update_stream(stream, &wanted).await?
    };
    compare(&info.parsed()?, config, version)
}

/// The stream's own configuration with what it lacks added.
fn mended(
    info: &StreamInfo,
    found: &StreamConfig,
    config: &NatsConfig,
    version: (u64, u64),
) -> Value {
    let wanted = wanted(config, version, Uuid::new_v4());
    let mut mended = info.config.clone();
    if !mended.is_object() {
        mended = Value::Object(Map::new());
    }
    let lower =
        |found: i64, name: &str| found > 0 && wanted[name].as_i64().is_some_and(|w| found < w);
    for (name, raise) in [
        ("max_msgs", lower(found.max_msgs, "max_msgs")),
        ("max_age", lower(found.max_age, "max_age")),
        ("max_msg_size", lower(found.max_msg_size, "max_msg_size")),
        ("duplicate_window", lower(found.duplicate_window, "duplicate_window")),
        ("num_replicas", lower(found.num_replicas, "num_replicas")),
        ("discard", found.discard != "old"),
        ("allow_direct", !found.allow_direct),
        ("allow_atomic", !found.allow_atomic && version >= ATOMIC_SINCE),
    ] {
        if raise {
            mended[name] = wanted[name].clone();
        }
    }
    if found.epoch().is_none() && version >= METADATA_SINCE {
        mended["metadata"][EPOCH] = wanted["metadata"][EPOCH].clone();
    }
    let missing = missing_subjects(found);
    if !missing.is_empty() {
        // Subjects that a wanted one covers are dropped: the server refuses subjects that overlap.
        let mut subjects = found.subjects.clone();
        subjects.retain(|subject| !missing.iter().any(|wanted| covers(wanted, subject)));
        subjects.extend(missing.into_iter().map(str::to_owned));
        mended["subjects"] = json!(subjects);
    }
    mended
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEWEST: (u64, u64) = (2, 15);

    fn made(config: &NatsConfig, version: (u64, u64)) -> StreamInfo {
        let config = wanted(config, version, Uuid::nil());
        StreamInfo { config, state: Default::default(), server_time: None, cluster: None }
    }

    #[test]
    fn covering_is_about_every_subject() {
        for (outer, inner) in
            [("agent.>", "agent.task.>"), ("agent.*.>", "agent.task.>"), (">", "a.>")]
        {
            assert!(covers(outer, inner), "{outer} {inner}");
        }
        for (outer, inner) in
            [("agent.task.*", "agent.task.>"), ("agent.task", "agent.task.>"), ("b.>", "a.>")]
        {
            assert!(!covers(outer, inner), "{outer} {inner}");
        }
    }

    #[test]
    fn a_wanted_configuration_lacks_nothing() {
        let config = NatsConfig::new("x");
        let found = made(&config, NEWEST).parsed().expect("parses");
        assert_eq!(compare(&found, &config, NEWEST), Ok(Vec::new()));
    }

    #[test]
    fn differences_are_named_and_lacking_subjects_refused() {
        let config = NatsConfig::new("x");
        let mut found = made(&config, NEWEST).parsed().expect("parses");
        found.duplicate_window = 10_000_000_000;
        found.allow_direct = false;
        let lines = compare(&found, &config, NEWEST).expect("usable");
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert_eq!(lines[0], "stream agent-messages: duplicate_window is 10s, configured 120s");
        for (member, text) in [("mirror", "is a mirror"), ("sources", "has sources")] {
            let mut info = made(&config, NEWEST);
            let one = json!({"name": "other"});
            info.config[member] = if member == "mirror" { one } else { json!([one]) };
            let error = compare(&info.parsed().expect("parses"), &config, NEWEST).expect_err(text);
            assert!(error.0.contains(text), "{error}");
        }
        found.subjects.pop();
        assert_eq!(
            compare(&found, &config, NEWEST),
            Err(BusError("stream agent-messages does not take subject agent.task.>".to_owned()))
        );
    }

    #[test]
    fn mending_raises_and_never_lowers() {
        let config = NatsConfig::new("x");
        let mut info = made(&config, NEWEST);
        info.config["max_msgs"] = 5.into();
        info.config["max_age"] = nanos(config.max_age * 2).into();
        info.config["metadata"] = Value::Null;
        info.config["subjects"] = json!(["agent.message.x.y", "agent.status.>", "other"]);
        info.config["something_newer"] = true.into();
        let mended = mended(&info, &info.parsed().expect("parses"), &config, NEWEST);
        assert_eq!(mended["max_msgs"], 1_000_000);
        assert_eq!(mended["max_age"], info.config["max_age"]);
        assert_eq!(mended["something_newer"], true);
        assert!(mended["metadata"][EPOCH].is_string());
        assert_eq!(
            mended["subjects"],
            json!(["agent.status.>", "other", "agent.message.>", "agent.task.>"])
        );
    }
}
