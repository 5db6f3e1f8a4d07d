//! Collects the values of many named things, page by page, into a bounded number of rows.
//!
//! Invariant: a sweep keeps at most its number of rows, and what it does not name is combined in one more.

/// The name of the row for everything that is not named. No queue and no agent can have it.
pub(super) const OTHER: &str = "(other)";

/// How the values of the things that are not named become one.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rest {
    Sum,
    Max,
}

/// The values of one thing.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row<const N: usize> {
    pub name: String,
    pub values: [f64; N],
}

/// A sweep in progress.
#[derive(Debug)]
pub(super) struct Sweep<const N: usize> {
    rest_of: [Rest; N],
    named: usize,
    /// Whether the rows with the greatest first value are named, or the first rows.
    worst: bool,
    rows: Vec<Row<N>>,
    rest: Option<[f64; N]>,
    /// The name after which the next page begins.
    pub after: Option<String>,
}

impl<const N: usize> Sweep<N> {
    /// Names the first things, as many as `named`.
    pub fn first(named: usize, rest_of: [Rest; N]) -> Self {
        Self { rest_of, named, worst: false, rows: Vec::new(), rest: None, after: None }
    }

    /// Names the things with the greatest first value, as many as `named`, unless it is 0.
    pub fn worst(named: usize, rest_of: [Rest; N]) -> Self {
        Self { worst: true, ..Self::first(named, rest_of) }
    }

    /// Adds a page. Returns all rows if it was the last one; then the sweep begins again.
    pub fn add(&mut self, page: Vec<Row<N>>, is_last: bool) -> Option<Vec<Row<N>>> {
        self.after = page.last().map(|row| row.name.clone());
        self.rows.extend(page);
        if self.worst {
            self.rows.retain(|row| row.values[0] > 0.0);
            self.rows.sort_by(|a, b| b.values[0].total_cmp(&a.values[0]));
        }
        for Row { values, .. } in self.rows.drain(self.named.min(self.rows.len())..) {
            let rest = self.rest.get_or_insert([0.0; N]);
            for ((total, value), how) in rest.iter_mut().zip(values).zip(self.rest_of) {
                *total = match how {
                    Rest::Sum => *total + value,
                    Rest::Max => total.max(value),
                };
            }
        }
        if !is_last && self.after.is_some() {
            return None;
        }
        self.after = None;
        let other = self.rest.take().map(|values| Row { name: OTHER.to_owned(), values });
        Some(std::mem::take(&mut self.rows).into_iter().chain(other).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, values: [f64; 2]) -> Row<2> {
        Row { name: name.to_owned(), values }
    }

    #[test]
    fn what_is_not_named_is_combined() {
        let mut sweep = Sweep::first(2, [Rest::Sum, Rest::Max]);
        let page = vec![row("a", [1.0, 1.0]), row("b", [0.0, 0.0]), row("c", [2.0, 9.0])];
        assert_eq!(sweep.add(page, false), None);
        assert_eq!(sweep.after.as_deref(), Some("c"));
        let all = sweep.add(vec![row("d", [3.0, 4.0])], true);
        let expected = vec![row("a", [1.0, 1.0]), row("b", [0.0, 0.0]), row(OTHER, [5.0, 9.0])];
        assert_eq!(all, Some(expected));
        assert_eq!(sweep.after, None);
        assert_eq!(sweep.add(vec![row("e", [1.0, 1.0])], true), Some(vec![row("e", [1.0, 1.0])]));
    }

    #[test]
    fn the_worst_are_named() {
        let mut sweep = Sweep::worst(1, [Rest::Sum, Rest::Max]);
        assert_eq!(sweep.add(vec![row("a", [5.0, 0.0]), row("b", [7.0, 0.0])], false), None);
        let all = sweep.add(vec![row("c", [0.0, 0.0]), row("d", [6.0, 0.0])], true);
        assert_eq!(all, Some(vec![row("b", [7.0, 0.0]), row(OTHER, [11.0, 0.0])]));
        assert_eq!(sweep.add(Vec::new(), true), Some(Vec::new()));
    }
}
