//! Tables for people.
//!
//! Invariant: columns only grow, so that what is shown page by page stays in
//! line; no cell can steer the terminal or grow longer than can be read.

use super::output::{plain, shortened};

/// Aligned columns; the last one is not filled up.
#[derive(Debug)]
pub struct Table {
    titles: &'static [&'static str],
    widths: Vec<usize>,
    titled: bool,
}

impl Table {
    /// A table with these titles over its columns.
    #[must_use]
    pub fn new(titles: &'static [&'static str]) -> Self {
        Self { titles, widths: titles.iter().map(|title| title.len()).collect(), titled: false }
    }

    /// Some rows as lines, under the titles if they are the first.
    #[must_use]
    pub fn lines(&mut self, rows: &[Vec<String>]) -> String {
        let mut all: Vec<Vec<String>> = Vec::with_capacity(rows.len() + 1);
        if !self.titled && !rows.is_empty() {
            all.push(self.titles.iter().map(|&title| title.to_owned()).collect());
            self.titled = true;
        }
        all.extend(rows.iter().map(|row| row.iter().map(|cell| shortened(&plain(cell))).collect()));
        for row in &all {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        all.iter().map(|row| self.line(row)).collect()
    }

    fn line(&self, row: &[String]) -> String {
        let mut line = String::new();
        for (width, cell) in self.widths.iter().zip(row) {
            line.push_str(&format!("{cell:width$}  "));
        }
        line.truncate(line.trim_end().len());
        line.push('\n');
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stay_in_line_and_cells_are_harmless() {
        let mut table = Table::new(&["NAME", "N"]);
        let row = |name: &str, n: &str| vec![name.to_owned(), n.to_owned()];
        assert_eq!(table.lines(&[]), "");
        assert_eq!(
            table.lines(&[row("a\u{1b}", "1"), row("longer", "")]),
            "NAME    N\na␛      1\nlonger\n"
        );
        assert_eq!(table.lines(&[row("b", "2")]), "b       2\n");
    }
}
