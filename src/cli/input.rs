//! Reads a file or standard input in bounded memory.
//!
//! Invariant: a line longer than [`LINE_BYTES`] is reported with its number and skipped; reading continues
//! after it.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt as _};

use super::failure::Failure;
use super::limits::{INPUT_BYTES, LINE_BYTES};

/// A line of the input.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// The line's number, from 1.
    pub number: u64,
    /// The text without its line end; `None` if it is longer than [`LINE_BYTES`].
    pub text: Option<Vec<u8>>,
    /// How many bytes of the input the line has, with its end.
    pub taken: u64,
}

/// A reader of lines.
#[derive(Debug)]
pub struct Lines<R> {
    input: R,
    number: u64,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    /// The lines of `input`.
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

/// Reads all of standard input as text.
///
/// # Errors
/// The input cannot be read, is not UTF-8, or is longer than any message.
pub async fn standard_input() -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let mut input = tokio::io::stdin().take(INPUT_BYTES + 1);
    let read = input.read_to_end(&mut bytes).await;
    read.map_err(|error| Failure::io("standard input", &error))?;
    if bytes.len() as u64 > INPUT_BYTES {
        return Err(Failure::Failed("standard input is longer than any message can be".to_owned()));
    }
    String::from_utf8(bytes).map_err(|_| Failure::Failed("standard input is not UTF-8".to_owned()))
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
