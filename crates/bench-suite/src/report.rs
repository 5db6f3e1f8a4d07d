//! The report of a run of the suite.

use serde::Serialize;

use super::error::SuiteError;
use super::item::Item;
use super::machine::Machine;
use super::row::Row;
use agentbus_bench::limits::STOLEN_WARNING_SHARE;

/// The outcome of one item.
pub(super) struct Outcome {
    /// The item.
    pub(super) item: Item,
    /// Its rows, or why it could not be measured.
    pub(super) measured: Result<Vec<Row>, SuiteError>,
    /// [`Row::stolen`].
    pub(super) stolen: Option<f64>,
}

impl Outcome {
    /// The rows; one that explains the error if the item could not be measured.
    pub(super) fn into_rows(self) -> Vec<Row> {
        let (item, stolen) = (self.item.name(), self.stolen);
        let annotated = |mut row: Row| {
            if let Some(share) = stolen.filter(|share| *share >= STOLEN_WARNING_SHARE) {
                let comma = if row.note.is_empty() { "" } else { "; " };
                row.note += &format!("{comma}{:.0} % of processor time stolen", share * 100.0);
            }
            row
        };
        match self.measured {
            Ok(rows) => rows
                .into_iter()
                .map(|row| Row { item, stolen, ..annotated(row.evaluated()) })
                .collect(),
            Err(error) => {
                let what = self.item.description().to_owned();
                let failed = !matches!(error, SuiteError::NotGiven(_));
                vec![Row { item, what, failed, note: error.to_string(), ..Row::default() }]
            }
        }
    }
}

/// The report of a run.
#[derive(Clone, Debug, Serialize)]
pub struct SuiteReport {
    /// The machine of the run.
    pub machine: Machine,
    /// The figures.
    pub rows: Vec<Row>,
    /// A text for each stream or database of the run that could not be removed.
    pub left_behind: Vec<String>,
}

impl SuiteReport {
    /// Whether no item failed, no target was missed and nothing is left behind.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let good = |row: &Row| row.met != Some(false) && !row.failed;
        self.rows.iter().all(good) && self.left_behind.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_without_figures_has_a_row_with_the_reason() {
        let measured = Err(SuiteError::NotGiven("NATS_URL"));
        let rows = Outcome { item: Item::Single, measured, stolen: None }.into_rows();
        assert_eq!(rows.len(), 1);
        assert!(rows[0].note.contains("NATS_URL") && rows[0].met.is_none() && !rows[0].failed);
        let measured = Err(SuiteError::Failed("no".to_owned()));
        assert!(Outcome { item: Item::Single, measured, stolen: None }.into_rows()[0].failed);
        let measured = Ok(vec![Row::new("x", "/s", 1.0).note("n")]);
        let rows = Outcome { item: Item::Single, measured, stolen: Some(0.31) }.into_rows();
        assert_eq!(rows[0].note, "n; 31 % of processor time stolen");
    }
}
