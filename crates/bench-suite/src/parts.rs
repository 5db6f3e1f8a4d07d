//! The bare parts alone: what the disk, the bus and the databases of this machine give.

use std::time::Duration;

use bytes::Bytes;

use super::error::SuiteError;
use super::row::Row;
use super::stage::Stage;
use crate::bare::sqlite::BareFile;
use agentbus_bench::figures::Figures;

/// Bytes of a message as it is stored: 128 of content, and the envelope.
const BODY_BYTES: usize = 357;
/// Rows of one insert.
const POSTGRES_ROWS: [usize; 4] = [100, 1_000, 2_000, 5_000];
const SQLITE_ROWS: [usize; 2] = [64, 1_000];

/// A message's bytes.
pub(super) fn body() -> Bytes {
    Bytes::from(vec![b'x'; BODY_BYTES])
}

pub(super) async fn measure(stage: &Stage) -> Result<Vec<Row>, SuiteError> {
    let (body, lasts) = (body(), stage.lasts() / 2);
    let mut rows = Vec::new();
    let nats = stage.nats()?;
    let stream = stage.stream(&nats).await?;
    for (ids, what) in [(false, "pipelined publish"), (true, "the same with ids")] {
        let rate = stream.pipelined(&body, ids, lasts).await?;
        rows.push(Row::bare(what, "messages/s", rate).note("window 4,000"));
    }
    rows.push(one_by_one(stream.one_by_one(&body, lasts).await?));
    let mut table = stage.database().await?.table().await?;
    for count in POSTGRES_ROWS {
        let rate = table.fill(&body, count, lasts).await?;
        let what = format!("PostgreSQL, {count} rows an insert");
        rows.push(Row::bare(what, "rows/s", rate));
    }
    for count in SQLITE_ROWS {
        let folder = stage.folder().join(stage.name("sqlite"));
        let rate = BareFile::make(&folder).await?.fill(&body, count, lasts).await?;
        std::fs::remove_dir_all(&folder)?;
        rows.push(Row::bare(format!("SQLite, {count} rows a commit"), "rows/s", rate));
    }
    Ok(rows)
}

fn one_by_one(took: Vec<Duration>) -> Row {
    let rate = took.len() as f64 / took.iter().sum::<Duration>().as_secs_f64().max(0.001);
    let mut figures = Figures::new();
    took.into_iter().for_each(|time| figures.time(time));
    let spread = figures.millis().unwrap_or_default();
    let note = format!("p50 {:.3} p99 {:.3} ms", spread.p50, spread.p99);
    Row::bare("publish, each awaited", "messages/s", rate).note(note)
}
