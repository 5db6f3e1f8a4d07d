//! Bare parts and agentbus on the same servers in the same run: `agentbus-bench-suite`.
//!
//! Invariants: a ratio is of two figures of one run, taken with the same generator; everything that was
//! made on the servers (streams, databases) and in the temporary folder is removed, also when the
//! run is ended early. Each item of the list is measured alone.

mod bare;
mod bare_server;
mod bare_sockets;
mod batches;
mod big;
mod crowd;
mod durable;
mod error;
mod fanout;
mod item;
mod machine;
mod open_loop;
mod parts;
mod report;
mod row;
mod single;
mod stage;
mod streams;
mod work;

pub use error::SuiteError;
pub use item::Item;
pub use report::SuiteReport;
pub use row::{Bound, Row};
pub use stage::Options;

use agentbus_bench::process::MachineTime;
use report::Outcome;
use stage::Stage;

/// Measures items one after the other, each within its time; one that fails does not keep the others from being measured.
/// `begun` is told of each before, `ended` of its rows after.
pub async fn run(
    options: Options,
    items: &[Item],
    mut begun: impl FnMut(Item),
    mut ended: impl FnMut(&[Row]),
) -> SuiteReport {
    agentbus::open_files::raise();
    let stage = Stage::new(options);
    let machine = machine::describe(&stage).await;
    let mut rows = Vec::new();
    for &item in items {
        begun(item);
        let before = MachineTime::now();
        let measured = tokio::select! {
            measured = item.measure(&stage) => measured,
            () = stage.stopped() => Err(SuiteError::Failed("ended early".to_owned())),
            () = tokio::time::sleep(item.at_most()) => Err(SuiteError::TooLong(item.at_most())),
        };
        let stolen = MachineTime::now().zip(before).map(|(now, before)| now.stolen_since(before));
        stage.clean_up().await;
        let new = Outcome { item, measured, stolen }.into_rows();
        ended(&new);
        rows.extend(new);
        if stage.is_stopped() {
            break;
        }
    }
    SuiteReport { machine, rows, left_behind: stage.left_behind() }
}
