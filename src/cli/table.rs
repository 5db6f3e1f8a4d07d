//! Lists of documents: tables for people, NDJSON in a pipe.
//!
//! Invariant: columns only get wider, so that a list shown page by page stays aligned. No cell can control
//! the terminal, and long cells are cut.

use agentbus_client::Document;
use serde::de::DeserializeOwned;

use super::failure::Failure;
use super::output::{Format, print_bytes};
use super::terminal::{plain, shortened};

/// Aligned columns; the last one is not padded.
#[derive(Debug)]
pub struct Table {
    titles: &'static [&'static str],
    widths: Vec<usize>,
    titled: bool,
}

impl Table {
    /// A table with these column titles.
    #[must_use]
    pub fn new(titles: &'static [&'static str]) -> Self {
        Self { titles, widths: titles.iter().map(|title| title.len()).collect(), titled: false }
    }

    /// Formats rows as lines; before the first row come the titles.
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

    /// Prints documents: each as a row of text, or as the bytes from the server, one document a line.
    ///
    /// # Errors
    /// A document cannot be read, or standard output cannot be written.
    pub fn print<T: DeserializeOwned>(
        &mut self,
        documents: &[Document<T>],
        format: Format,
        row: impl Fn(T) -> Vec<String>,
    ) -> Result<(), Failure> {
        if !format.is_text() {
            return documents.iter().try_for_each(print_document);
        }
        let values = documents.iter().map(Document::parse).collect::<Result<Vec<_>, _>>()?;
        let rows: Vec<_> = values.into_iter().map(row).collect();
        print_bytes(self.lines(&rows).as_bytes())
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

/// Prints the bytes of a document as one line.
///
/// # Errors
/// Standard output cannot be written.
pub fn print_document<T>(document: &Document<T>) -> Result<(), Failure> {
    print_bytes(&[document.json(), b"\n"].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stay_aligned_and_cells_are_harmless() {
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
