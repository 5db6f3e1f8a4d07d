//! Messages that are synced to disk before the response: NATS with `sync_interval: always`, and SQLite.

use super::error::SuiteError;
use super::parts::body;
use super::row::{Bound, Row};
use super::single::notes;
use super::testbed::Testbed;
use crate::bare::sqlite::BareFile;
use agentbus_bench::plan::Plan;

/// The project's targets: messages a second by number of connections, and ratio to pipelined single publishes.
const ALWAYS: [(usize, f64); 2] = [(256, 8_000.0), (1_024, 15_000.0)];
const ALWAYS_RATIO: f64 = 3.0;
/// The project's target for the memory bus on SQLite, in messages a second.
const SQLITE: f64 = 20_000.0;
/// Rows of a bare commit: 64 connections have at most this many messages in flight.
const SQLITE_ROWS: usize = 64;

pub(super) async fn always(testbed: &Testbed) -> Result<Vec<Row>, SuiteError> {
    let nats = testbed.nats_always()?;
    let bare =
        testbed.stream(&nats).await?.pipelined(&body(), false, testbed.duration() / 2).await?;
    testbed.clean_up().await;
    let mut rows = Vec::new();
    for (setting, loads) in [("true", &ALWAYS[..]), ("false", &[(256, 0.0)])] {
        let (server, _database) = testbed.on_nats(&nats, &[("NATS_SYNC_ALWAYS", setting)]).await?;
        for &(connections, target) in loads {
            let plan = Plan { connections, duration: testbed.duration(), ..Plan::default() };
            let ours = testbed.load(server.address(), &plan).await?;
            let what = match setting {
                "true" => format!("sync always, {connections} connections"),
                _ => format!("sync always, NATS_SYNC_ALWAYS={setting}, {connections} connections"),
            };
            let row = Row::new(what, "messages/s", ours.accepted_per_s).compared_with(bare);
            let row = match setting {
                "true" => {
                    row.target(Bound::AtLeast(target)).target_ratio(Bound::AtLeast(ALWAYS_RATIO))
                }
                _ => row,
            };
            rows.push(
                row.note(format!("compared with pipelined single publishes; {}", notes(&ours))),
            );
        }
        server.stop().await;
        testbed.clean_up().await;
    }
    Ok(rows)
}

/// agentbus is measured first, since the bare part leaves megabytes of dirty pages for the disk to write.
pub(super) async fn memory(testbed: &Testbed) -> Result<Vec<Row>, SuiteError> {
    let server = testbed.on_sqlite(&[]).await?;
    let plan = Plan { duration: testbed.duration(), ..Plan::default() };
    let ours = testbed.load(server.address(), &plan).await?;
    server.stop().await;
    let folder = testbed.folder().join(testbed.name("sqlite"));
    let mut file = BareFile::create(&folder).await?;
    let bare = file.fill(&body(), SQLITE_ROWS, testbed.duration() / 2).await?;
    drop(file);
    std::fs::remove_dir_all(&folder)?;
    Ok(vec![
        Row::new("memory bus on SQLite, 64 connections", "messages/s", ours.accepted_per_s)
            .compared_with(bare)
            .target(Bound::AtLeast(SQLITE))
            .note(format!("compared with commits of 64 bare rows; {}", notes(&ours))),
    ])
}
