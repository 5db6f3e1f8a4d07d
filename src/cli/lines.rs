//! Lines of a file or of standard input, in bounded memory.
//!
//! Invariant: a line longer than allowed is reported with its number and
//! skipped to its end; it never grows the buffer and never stops the reading.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

use super::limits::LINE_BYTES;

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// From 1.
    pub number: u64,
    /// Without its end; `None` when there were more bytes than allowed.
    pub text: Option<Vec<u8>>,
    /// Bytes taken from the input, the end among them.
    pub taken: u64,
}

/// Reads lines.
#[derive(Debug)]
pub struct Lines<R> {
    input: R,
    number: u64,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    /// Lines of `input`.
    pub fn new(input: R) -> Self {
        Self { input, number: 0 }
    }

    /// The next line; `None` at the end.
    ///
    /// # Errors
    /// The input cannot be read.
    pub async fn next(&mut self) -> io::Result<Option<Line>> {
        let (mut text, mut taken) = (Some(Vec::new()), 0_u64);
        loop {
            let chunk = self.input.fill_buf().await?;
            let end = chunk.iter().position(|&byte| byte == b'\n');
            let part = &chunk[..end.unwrap_or(chunk.len())];
            text = text.filter(|line| line.len() + part.len() <= LINE_BYTES);
            if let Some(line) = &mut text {
                line.extend_from_slice(part);
            }
            let used = part.len() + usize::from(end.is_some());
            let at_end = chunk.is_empty();
            self.input.consume(used);
            taken += used as u64;
            if at_end && taken == 0 {
                return Ok(None);
            }
            if at_end || end.is_some() {
                self.number += 1;
                return Ok(Some(Line { number: self.number, text: text.map(without_cr), taken }));
            }
        }
    }
}

fn without_cr(mut line: Vec<u8>) -> Vec<u8> {
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::BufReader;

    async fn all(input: &[u8]) -> Vec<(u64, Option<Vec<u8>>, u64)> {
        let mut lines = Lines::new(BufReader::with_capacity(3, input));
        let mut found = Vec::new();
        while let Some(line) = lines.next().await.expect("readable") {
            found.push((line.number, line.text, line.taken));
        }
        found
    }

    #[tokio::test]
    async fn numbers_lines_and_counts_their_bytes() {
        let text = |text: &str| Some(text.as_bytes().to_vec());
        assert_eq!(all(b"").await, []);
        assert_eq!(
            all(b"abcdef\r\n\nx").await,
            [(1, text("abcdef"), 8), (2, text(""), 1), (3, text("x"), 1)]
        );
    }

    #[tokio::test]
    async fn a_line_too_long_is_skipped_to_its_end() {
        let mut input = vec![b'x'; LINE_BYTES + 1];
        input.extend_from_slice(b"\ny\n");
        let found = all(&input).await;
        assert_eq!(found[0], (1, None, LINE_BYTES as u64 + 2));
        assert_eq!(found[1], (2, Some(b"y".to_vec()), 2));
    }
}
