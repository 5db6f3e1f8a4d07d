//! What the next start of this version does to the schema of the store.

use super::report::Report;
use crate::store::{BusKind, SchemaDifference, Step};

/// Reports the difference, for servers with this bus. Returns whether this version can read all tables as they are.
pub(super) fn check(difference: &SchemaDifference, bus: BusKind, report: &mut Report) -> bool {
    let SchemaDifference { missing, unknown } = difference;
    if let Some(reason) = difference.refusal() {
        report.bad("schema", &reason);
        return false;
    }
    if !unknown.is_empty() {
        report.note(
            "schema",
            &format!(
                "the database is of a newer version, with which this one can work: it has {}",
                names(unknown)
            ),
        );
    }
    if difference.is_new() {
        report.note("schema", "the database is empty: the first start makes the tables");
    } else if let Some(step) = difference.exclusive() {
        report.note(
            "schema",
            &format!(
                "the next start of this version applies {}. Servers of older versions cannot work with {step}: make a \
                 backup and stop them all first; there is no way back but the backup",
                names(missing)
            ),
        );
    } else if !missing.is_empty() {
        let when = match bus {
            BusKind::Memory => "once the server that runs has stopped",
            BusKind::Nats => "beside the servers that run",
        };
        report.note(
            "schema",
            &format!(
                "the next start of this version applies {}, {when}. The previous version works with that, too",
                names(missing)
            ),
        );
    } else if unknown.is_empty() {
        report.good("schema", "the tables are up to date: an upgrade to this version changes none");
    }
    if !missing.is_empty() {
        report.note("schema", "history and keys are not checked before that: run the doctor again");
    }
    missing.is_empty()
}

fn names(steps: &[Step]) -> String {
    steps.iter().map(Step::to_string).collect::<Vec<_>>().join(", ")
}
