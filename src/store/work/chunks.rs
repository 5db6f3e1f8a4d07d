//! Splits rows with bodies among statements of bounded size.

use super::dead_letters::DeadLetter;
use super::set_aside::SetAside;
use crate::limits::WORK_WRITE_BYTES;

/// A row with a body, and the key by which writers lock such rows in order.
pub(crate) trait HasBody {
    /// Bytes of its body.
    fn bytes(&self) -> usize;
    /// The order in which rows are locked: kind and source of a dead letter (empty for a message set aside), then the
    /// sequence.
    fn key(&self) -> (&'static str, &str, u64);
}

impl HasBody for SetAside {
    fn bytes(&self) -> usize {
        self.body.len()
    }

    fn key(&self) -> (&'static str, &str, u64) {
        ("", "", self.seq)
    }
}

impl HasBody for DeadLetter {
    fn bytes(&self) -> usize {
        self.body.len()
    }

    fn key(&self) -> (&'static str, &str, u64) {
        (self.kind.as_str(), &self.source, self.seq)
    }
}

/// The rows in the order of their keys, split so that no statement carries much more than
/// [`WORK_WRITE_BYTES`].
pub(crate) fn chunks<T: HasBody>(all: &[T]) -> Vec<Vec<&T>> {
    let mut sorted: Vec<&T> = all.iter().collect();
    sorted.sort_by(|a, b| a.key().cmp(&b.key()));
    let (mut chunks, mut bytes) = (Vec::new(), WORK_WRITE_BYTES);
    for row in sorted {
        if bytes >= WORK_WRITE_BYTES {
            chunks.push(Vec::new());
            bytes = 0;
        }
        bytes += row.bytes();
        if let Some(chunk) = chunks.last_mut() {
            chunk.push(row);
        }
    }
    chunks
}
