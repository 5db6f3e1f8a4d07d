//! The bare parts alone: the limits of NATS, PostgreSQL and SQLite on this machine.

use std::time::Duration;

use bytes::Bytes;

use super::error::SuiteError;
use super::row::Row;
use super::schema;
use super::testbed::Testbed;
use crate::bare::sqlite::BareFile;
use agentbus_bench::samples::Samples;

/// Size of a stored message: 128 bytes of content, and the envelope.
const BODY_BYTES: usize = 357;
/// Rows of one insert or commit.
const POSTGRES_ROWS: [usize; 4] = [100, 1_000, 2_000, 5_000];
const SQLITE_ROWS: [usize; 2] = [64, 1_000];

/// The bytes of a message.
pub(super) fn body() -> Bytes {
    Bytes::from(vec![b'x'; BODY_BYTES])
}

pub(super) async fn measure(testbed: &Testbed) -> Result<Vec<Row>, SuiteError> {
    let (body, duration) = (body(), testbed.duration() / 2);
    let mut rows = Vec::new();
    let nats = testbed.nats()?;
    let stream = testbed.stream(&nats).await?;
    for (ids, what) in [(false, "pipelined publish"), (true, "the same with ids")] {
        let rate = stream.pipelined(&body, ids, duration).await?;
        rows.push(Row::bare(what, "messages/s", rate).note("window 4,000"));
    }
    rows.push(one_by_one(stream.one_by_one(&body, duration).await?));
    let mut table = testbed.database().await?.table().await?;
    for count in POSTGRES_ROWS {
        let rate = table.fill(&body, count, duration).await?;
        let what = format!("PostgreSQL, {count} rows an insert");
        rows.push(Row::bare(what, "rows/s", rate));
    }
    for count in SQLITE_ROWS {
        let folder = testbed.folder().join(testbed.name("sqlite"));
        let rate = BareFile::create(&folder).await?.fill(&body, count, duration).await?;
        std::fs::remove_dir_all(&folder)?;
        rows.push(Row::bare(format!("SQLite, {count} rows a commit"), "rows/s", rate));
    }
    rows.push(schema::measure(duration)?);
    Ok(rows)
}

fn one_by_one(latencies: Vec<Duration>) -> Row {
    let rate = latencies.len() as f64 / latencies.iter().sum::<Duration>().as_secs_f64().max(0.001);
    let mut samples = Samples::new();
    latencies.into_iter().for_each(|time| samples.record_time(time));
    let summary = samples.millis().unwrap_or_default();
    let note = format!("p50 {:.3} p99 {:.3} ms", summary.p50, summary.p99);
    Row::bare("publish, each awaited", "messages/s", rate).note(note)
}
