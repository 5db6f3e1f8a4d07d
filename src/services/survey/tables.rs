//! The families of the survey: for each kind of thing its values, and how those without a name are combined.
//!
//! Invariant: the labels are bounded. Clients can have 100 webhooks at once; of queues the first [`SURVEY_NAMED`] are
//! named, of inboxes the [`SURVEY_INBOXES`] in which the most messages wait.

use super::sweep::{Rest, Row, Sweep};
use crate::limits::{SURVEY_INBOXES, SURVEY_NAMED};
use crate::processor::ConsumerStatus;
use crate::queues::QueueState;
use crate::store::StoreFiles;
use crate::telemetry::text::{Family, Kind};

/// Of a consumer: pending, in flight, dead letters, lag, whether it is paused.
pub(super) type Consumers = Vec<Row<5>>;
/// Of a queue: waiting, leased, delayed, age of the oldest, dead letters.
pub(super) type Queues = Vec<Row<5>>;
/// Of an inbox: waiting, age of the oldest.
pub(super) type Inboxes = Vec<Row<2>>;

const fn gauge(name: &'static str, help: &'static str) -> Family {
    Family(name, Kind::Gauge, help)
}

const CONSUMERS: [Family; 5] = [
    gauge(
        "agentbus_consumer_pending",
        "Messages that wait for a consumer, of all servers together",
    ),
    gauge("agentbus_consumer_in_flight", "Messages in flight, of all servers together"),
    gauge("agentbus_consumer_dead_letters", "Dead letters of a consumer that are kept"),
    gauge("agentbus_consumer_lag_seconds", "Age of the oldest message that is not processed"),
    gauge("agentbus_consumer_paused", "1 while the consumer is paused"),
];

const QUEUES: [Family; 5] = [
    gauge("agentbus_queue_waiting", "Jobs that could be leased"),
    gauge("agentbus_queue_leased", "Jobs that workers have"),
    gauge("agentbus_queue_delayed", "Jobs that are not due yet"),
    gauge("agentbus_queue_oldest_seconds", "Age of the oldest job that is waiting or leased"),
    gauge("agentbus_queue_dead_letters", "Dead letters of a queue that are kept"),
];

const INBOXES: [Family; 2] = [
    gauge("agentbus_inbox_waiting", "Messages that wait in an inbox"),
    gauge("agentbus_inbox_lag_seconds", "Age of the oldest message that waits in an inbox"),
];

const FILE: Family = gauge("agentbus_sqlite_bytes", "Bytes of SQLite's files");
const DISK_FREE: Family =
    gauge("agentbus_disk_free_bytes", "Bytes that are free on the file system of DATA_DIR");
const DISK: Family = gauge("agentbus_disk_bytes", "Bytes of the file system of DATA_DIR");

pub(super) fn queue_sweep() -> Sweep<5> {
    Sweep::first(SURVEY_NAMED, [Rest::Sum, Rest::Sum, Rest::Sum, Rest::Max, Rest::Sum])
}

pub(super) fn inbox_sweep() -> Sweep<2> {
    Sweep::worst(SURVEY_INBOXES, [Rest::Sum, Rest::Max])
}

pub(super) fn consumer(status: ConsumerStatus) -> Row<5> {
    let lag = status.oldest_age.and_then(|age| age.to_std().ok()).unwrap_or_default();
    let values = [
        status.pending as f64,
        status.in_flight as f64,
        status.dead_letters as f64,
        lag.as_secs_f64(),
        f64::from(u8::from(status.consumer.paused.is_some())),
    ];
    Row { name: status.consumer.name, values }
}

pub(super) fn queue(state: QueueState) -> Row<5> {
    let values = [
        state.waiting as f64,
        state.leased as f64,
        state.delayed as f64,
        state.oldest_age.unwrap_or_default().as_secs_f64(),
        state.dead_letters as f64,
    ];
    Row { name: state.name, values }
}

pub(super) fn write_consumers(text: &mut String, rows: &Consumers) {
    write(text, "consumer", CONSUMERS, rows);
}

pub(super) fn write_queues(text: &mut String, rows: &Queues) {
    write(text, "queue", QUEUES, rows);
}

pub(super) fn write_inboxes(text: &mut String, rows: &Inboxes) {
    write(text, "agent", INBOXES, rows);
}

fn write<const N: usize>(text: &mut String, label: &str, families: [Family; N], rows: &[Row<N>]) {
    for (column, family) in families.into_iter().enumerate() {
        let series = |row: &Row<N>| (format!("{label}=\"{}\"", row.name), row.values[column]);
        family.write(text, rows.iter().map(series));
    }
}

/// Appends the sizes of SQLite's files and of the disk below them; nothing if there is no SQLite.
pub(super) fn write_files(text: &mut String, files: Option<StoreFiles>) {
    let Some(files) = files else { return };
    let sizes = [("file=\"database\"", files.database), ("file=\"wal\"", files.wal)];
    FILE.write(text, sizes);
    DISK_FREE.write_one(text, files.disk_free);
    DISK.write_one(text, files.disk);
}
