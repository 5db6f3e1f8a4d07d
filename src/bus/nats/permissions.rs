//! The permissions that agentbus needs of its NATS user, and a check of them.
//!
//! Invariant: [`needed`] is the only list; the documents are compared with it. A probe changes nothing, whatever is there:
//! it names a stream, a consumer or a filter that cannot exist, so the server refuses it after it has permitted it.

use std::fmt;

use async_nats::HeaderMap;
use async_nats::header::NATS_EXPECTED_STREAM;
use bytes::Bytes;
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::config::NatsConfig;
use super::connect::Connection;
use super::denial::{Action, Denial};
use super::error::ApiError;
use super::requester::Requester;
use super::stream_config::closed_prefix;
use crate::bus::BusError;
use crate::limits::{NATS_API_TIMEOUT, NATS_DENIAL_GRACE};
use crate::message::MESSAGE_SUBJECTS;

/// A token in place of each wildcard, and a name that no stream or consumer has.
const PROBE: &str = "agentbus-probe";
/// A name that no stream can have: every stream refuses a message that expects it.
const NO_STREAM: &str = ".";

/// What a permission is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// To read the log: every server and worker.
    Log,
    /// To publish messages: every server.
    Publish,
    /// To process messages and deliver webhooks: every server and worker.
    Process,
    /// For work queues: every server.
    Queues,
    /// To make the stream, and to write a lost end back: every server, when that is due; `doctor --fix` and `rebuild`.
    Repair,
}

impl Use {
    /// What a server needs from its start on. It starts without [`Use::Process`] and [`Use::Queues`].
    pub const SERVER: [Self; 4] = [Self::Log, Self::Publish, Self::Process, Self::Queues];
    /// What a worker needs.
    pub const WORKER: [Self; 2] = [Self::Log, Self::Process];
    /// All that the server's user needs.
    pub const ALL: [Self; 5] =
        [Self::Log, Self::Publish, Self::Process, Self::Queues, Self::Repair];

    /// Whether a process without it cannot do anything.
    #[must_use]
    pub fn is_essential(self) -> bool {
        matches!(self, Self::Log | Self::Publish)
    }
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Log => "to read the log",
            Self::Publish => "to publish messages",
            Self::Process => "to process messages and deliver webhooks",
            Self::Queues => "for work queues",
            Self::Repair => "to make the stream, and to write a lost end back",
        })
    }
}

/// A permission: an action on a subject, which may have wildcards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    /// To publish or to subscribe.
    pub action: Action,
    /// The subject or pattern, as the server's configuration names it.
    pub subject: String,
    /// What it is needed for.
    pub needed_for: Use,
}

/// A permission that the user lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing(pub Permission);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Permission { action, subject, needed_for } = &self.0;
        let denial = Denial { action: *action, subject: subject.clone() };
        write!(f, "{denial}, which is needed {needed_for}")
    }
}

/// The permissions for these uses.
#[must_use]
pub fn needed(config: &NatsConfig, uses: &[Use]) -> Vec<Permission> {
    uses.iter().flat_map(|needed_for| of_use(config, *needed_for)).collect()
}

fn of_use(config: &NatsConfig, needed_for: Use) -> Vec<Permission> {
    let (log, jobs, leases) =
        (&config.stream_name, &config.jobs_stream_name, &config.leases_stream_name);
    let api = |verbs: &[&str], target: &str| -> Vec<String> {
        verbs.iter().map(|verb| format!("$JS.API.{verb}.{target}")).collect()
    };
    let acks =
        |stream: &str| vec![format!("$JS.ACK.{stream}.>"), format!("$JS.ACK.*.*.{stream}.>")];
    let advisories =
        |target: String| vec![format!("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.{target}")];
    let (publish, subscribe) = match needed_for {
        Use::Log => (
            [
                api(&["STREAM.INFO", "STREAM.MSG.GET"], log),
                api(&["CONSUMER.CREATE", "CONSUMER.MSG.NEXT"], &format!("{log}.*")),
            ]
            .concat(),
            vec![format!("{}.>", config.inbox_prefix)],
        ),
        Use::Publish => (MESSAGE_SUBJECTS.map(str::to_owned).to_vec(), Vec::new()),
        Use::Process => (
            [api(&["CONSUMER.INFO", "CONSUMER.DELETE"], &format!("{log}.*")), acks(log)].concat(),
            advisories(format!("{log}.*")),
        ),
        Use::Queues => (
            [
                vec!["jobs.>".to_owned(), "leases.>".to_owned()],
                api(&["STREAM.INFO", "STREAM.CREATE", "STREAM.MSG.GET"], jobs),
                api(&["STREAM.INFO", "STREAM.CREATE", "STREAM.MSG.GET"], leases),
                api(&["STREAM.MSG.DELETE", "STREAM.PURGE"], jobs),
                api(&["CONSUMER.CREATE"], &format!("{jobs}.>")),
                api(
                    &["CONSUMER.INFO", "CONSUMER.MSG.NEXT", "CONSUMER.PAUSE", "CONSUMER.DELETE"],
                    &format!("{jobs}.*"),
                ),
                acks(jobs),
            ]
            .concat(),
            advisories(format!("{jobs}.>")),
        ),
        Use::Repair => (
            [
                api(&["STREAM.CREATE", "STREAM.UPDATE", "STREAM.PURGE", "STREAM.MSG.DELETE"], log),
                vec![format!("{}>", closed_prefix(log))],
            ]
            .concat(),
            Vec::new(),
        ),
    };
    let permission = |action| move |subject| Permission { action, subject, needed_for };
    let publish = publish.into_iter().map(permission(Action::Publish));
    publish.chain(subscribe.into_iter().map(permission(Action::Subscribe))).collect()
}

/// The permissions for these uses that the user of the configuration lacks.
///
/// # Errors
/// There is no server, or JetStream does not answer.
pub async fn missing_permissions(
    config: &NatsConfig,
    uses: &[Use],
) -> Result<Vec<Missing>, BusError> {
    config.check().map_err(BusError)?;
    let connection = Connection::open_to_check(config, "doctor").await?;
    missing(&Requester::start(connection).await?, config, uses).await
}

/// Warns of missing permissions without which this process can do a part of its work.
///
/// # Errors
/// The user lacks others, or as [`missing_permissions`].
pub(super) async fn check(
    requester: &Requester,
    config: &NatsConfig,
    uses: &[Use],
) -> Result<(), BusError> {
    let missing = missing(requester, config, uses).await?;
    let text =
        |missing: &[Missing]| missing.iter().map(Missing::to_string).collect::<Vec<_>>().join("; ");
    let is_essential = |missing: &Missing| missing.0.needed_for.is_essential();
    if missing.iter().any(is_essential) {
        return Err(BusError(text(&missing)));
    }
    missing.iter().for_each(|missing| tracing::warn!("{missing}"));
    Ok(())
}

/// As [`missing_permissions`], over a connection that is there.
pub(super) async fn missing(
    requester: &Requester,
    config: &NatsConfig,
    uses: &[Use],
) -> Result<Vec<Missing>, BusError> {
    let needed = needed(config, uses);
    // If the inbox is denied, every request is, and says nothing about its own subject.
    match requester.stream_info(&config.stream_name).await {
        Err(ApiError::Denied(denial)) if denial.action == Action::Subscribe => {
            let is_inbox = |permission: &Permission| permission.action == Action::Subscribe;
            let inbox = needed.into_iter().find(is_inbox);
            return Ok(inbox.map(Missing).into_iter().collect());
        }
        Err(error @ ApiError::Unavailable(_)) => return Err(error.into()),
        Ok(_) | Err(_) => {}
    }
    let (subscribed, published): (Vec<_>, Vec<_>) =
        needed.into_iter().partition(|permission| permission.action == Action::Subscribe);
    let denied = denied_subscriptions(requester, config, &subscribed);
    let probes = published.iter().map(|permission| is_denied(requester, &permission.subject));
    let (denied, probed) = tokio::join!(denied, join_all(probes));
    let published =
        published.into_iter().zip(probed).filter_map(|(it, is_denied)| is_denied.then_some(it));
    let subscribed = subscribed.into_iter().filter(|it| denied.contains(&probe_of(&it.subject)));
    Ok(published.chain(subscribed).map(Missing).collect())
}

/// Subscribes to all, and returns the subjects that are denied. The inbox is known to be permitted.
async fn denied_subscriptions(
    requester: &Requester,
    config: &NatsConfig,
    needed: &[Permission],
) -> Vec<String> {
    let connection = &requester.connection;
    let (mut denials, mut denied) = (connection.denials(), Vec::new());
    let mut open = Vec::new();
    for permission in needed {
        open.extend(connection.client.subscribe(probe_of(&permission.subject)).await);
    }
    // The server reads the request after the subscriptions.
    let _ = requester.stream_info(&config.stream_name).await;
    while let Ok(Ok(denial)) = tokio::time::timeout(NATS_DENIAL_GRACE, denials.recv()).await {
        denied.push(denial);
    }
    let is_subscription = |denial: &Denial| denial.action == Action::Subscribe;
    denied.into_iter().filter(is_subscription).map(|denial| denial.subject).collect()
}

/// Whether the user may not publish on this subject, which may have wildcards.
async fn is_denied(requester: &Requester, subject: &str) -> bool {
    let mut headers = HeaderMap::new();
    headers.insert(NATS_EXPECTED_STREAM, NO_STREAM);
    let (subject, body) = (probe_of(subject), probe_body(subject));
    let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
    let answer = requester.request(&subject, headers, body, NATS_API_TIMEOUT).await;
    matches!(answer, Err(ApiError::Denied(_)))
}

/// A subject that the pattern matches.
fn probe_of(pattern: &str) -> String {
    let token = |token| if token == "*" || token == ">" { PROBE } else { token };
    pattern.split('.').map(token).collect::<Vec<_>>().join(".")
}

/// A request that the JetStream API refuses, or that finds nothing to change.
fn probe_body(subject: &str) -> Value {
    let Some(verb) = subject.strip_prefix("$JS.API.") else { return Value::Null };
    let is = |start: &str| verb.starts_with(start);
    if is("STREAM.CREATE") || is("STREAM.UPDATE") {
        // Not the stream of the subject.
        return json!({ "name": PROBE });
    }
    if is("STREAM.PURGE") {
        return json!({ "filter": PROBE });
    }
    if is("STREAM.MSG") {
        return json!({ "seq": i64::MAX });
    }
    if is("CONSUMER.CREATE") {
        return json!({ "stream_name": PROBE, "config": {} });
    }
    if is("CONSUMER.MSG.NEXT") {
        return json!({ "batch": 1, "no_wait": true });
    }
    Value::Null
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The permissions that the document gives to a user, in its order.
    fn documented(user: &str) -> Vec<(Action, String)> {
        let page = include_str!("../../../docs/operations.md");
        let block = page.split_once("```nats\n").and_then(|(_, rest)| rest.split_once("```"));
        let users = block.expect("a block of configuration").0.split("user: ");
        let named = |text: &&str| text.split(',').next() == Some(user);
        let (publish, subscribe) = users
            .clone()
            .find(named)
            .and_then(|text| text.split_once("subscribe:"))
            .expect("a user");
        let quoted = |text: &str| -> Vec<String> {
            text.lines()
                .filter_map(|line| {
                    line.trim().strip_prefix('"')?.strip_suffix('"').map(str::to_owned)
                })
                .collect()
        };
        let publish = quoted(publish).into_iter().map(|subject| (Action::Publish, subject));
        publish
            .chain(quoted(subscribe).into_iter().map(|subject| (Action::Subscribe, subject)))
            .collect()
    }

    fn of(uses: &[Use]) -> Vec<(Action, String)> {
        let mut config = NatsConfig::new("localhost");
        config.inbox_prefix = "_INBOX.agentbus".to_owned();
        let mut needed: Vec<_> =
            needed(&config, uses).into_iter().map(|it| (it.action, it.subject)).collect();
        needed.sort_by_key(|(action, _)| *action == Action::Subscribe);
        needed
    }

    #[test]
    fn the_document_lists_exactly_what_is_needed() {
        assert_eq!(documented("agentbus"), of(&Use::ALL));
        assert_eq!(documented("agentbus-worker"), of(&Use::WORKER));
    }
}
