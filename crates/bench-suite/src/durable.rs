//! Each message on the disk before its answer: NATS with `sync_interval: always`, and SQLite.

use super::error::SuiteError;
use super::parts::body;
use super::row::{Bound, Row};
use super::single::notes;
use super::stage::Stage;
use crate::bare::sqlite::BareFile;
use agentbus_bench::plan::Plan;

/// Connections and messages a second, and how many times pipelined single publishes.
const ALWAYS: [(usize, f64); 2] = [(256, 8_000.0), (1_024, 15_000.0)];
const TIMES_SINGLES: f64 = 3.0;
/// Messages a second of the memory bus on SQLite.
const SQLITE: f64 = 20_000.0;
/// Rows of the bare commit: what 64 connections can bring at once.
const SQLITE_ROWS: usize = 64;

pub(super) async fn always(stage: &Stage) -> Result<Vec<Row>, SuiteError> {
    let nats = stage.nats_always()?;
    let bare = stage.stream(&nats).await?.pipelined(&body(), false, stage.lasts() / 2).await?;
    stage.clean_up().await;
    let mut rows = Vec::new();
    for (setting, loads) in [("true", &ALWAYS[..]), ("false", &[(256, 0.0)])] {
        let (server, _database) = stage.on_nats(&nats, &[("NATS_SYNC_ALWAYS", setting)]).await?;
        for &(connections, reach) in loads {
            let plan = Plan { connections, duration: stage.lasts(), ..Plan::default() };
            let ours = stage.load(server.address(), &plan).await?;
            let what = match setting {
                "true" => format!("sync always, {connections} connections"),
                _ => format!("sync always, NATS_SYNC_ALWAYS={setting}, {connections} connections"),
            };
            let row = Row::new(what, "messages/s", ours.accepted_per_s).beside(bare);
            let row = match setting {
                "true" => row.reach(Bound::AtLeast(reach)).share(Bound::AtLeast(TIMES_SINGLES)),
                _ => row,
            };
            rows.push(row.note(format!("beside pipelined singles; {}", notes(&ours))));
        }
        server.stop().await;
        stage.clean_up().await;
    }
    Ok(rows)
}

/// agentbus first: the file that the bare part leaves behind is megabytes of pages that the disk has yet to write.
pub(super) async fn memory(stage: &Stage) -> Result<Vec<Row>, SuiteError> {
    let server = stage.on_sqlite().await?;
    let plan = Plan { duration: stage.lasts(), ..Plan::default() };
    let ours = stage.load(server.address(), &plan).await?;
    server.stop().await;
    let folder = stage.folder().join(stage.name("sqlite"));
    let mut file = BareFile::make(&folder).await?;
    let bare = file.fill(&body(), SQLITE_ROWS, stage.lasts() / 2).await?;
    drop(file);
    std::fs::remove_dir_all(&folder)?;
    Ok(vec![
        Row::new("memory bus on SQLite, 64 connections", "messages/s", ours.accepted_per_s)
            .beside(bare)
            .reach(Bound::AtLeast(SQLITE))
            .note(format!("beside commits of 64 bare rows; {}", notes(&ours))),
    ])
}
