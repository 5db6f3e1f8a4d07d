//! The benchmark suite `agentbus-bench-suite`: agentbus and bare parts on the same servers in the same run.
//!
//! Invariants: both figures of a ratio come from one run and one generator. Everything that the run creates (streams,
//! databases, files) is removed, also if the run is ended early. Items are measured one at a time.

mod bare;
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
mod schema;
mod secure_streams;
mod single;
mod streams;
mod testbed;
mod work;

pub use error::SuiteError;
pub use item::Item;
pub use report::SuiteReport;
pub use row::{Bound, Row};
pub use testbed::Options;

use agentbus_bench::process::MachineTime;
use report::Outcome;
use testbed::Testbed;

/// Measures items one after the other, each within its time limit. A failed item does not end the run. Calls `on_start`
/// before each item, and `on_end` with its rows.
pub async fn run(
    options: Options,
    items: &[Item],
    mut on_start: impl FnMut(Item),
    mut on_end: impl FnMut(&[Row]),
) -> SuiteReport {
    agentbus::open_files::raise();
    let testbed = Testbed::new(options);
    let machine = machine::describe(&testbed).await;
    let mut rows = Vec::new();
    for &item in items {
        on_start(item);
        let before = MachineTime::now();
        let measured = tokio::select! {
            measured = item.measure(&testbed) => measured,
            () = testbed.stopped() => Err(SuiteError::Failed("ended early".to_owned())),
            () = tokio::time::sleep(item.time_limit()) => Err(SuiteError::TooLong(item.time_limit())),
        };
        let stolen = MachineTime::now().zip(before).map(|(now, before)| now.stolen_since(before));
        testbed.clean_up().await;
        let new = Outcome { item, measured, stolen }.into_rows();
        on_end(&new);
        rows.extend(new);
        if testbed.is_stopped() {
            break;
        }
    }
    SuiteReport { machine, rows, left_behind: testbed.left_behind() }
}
