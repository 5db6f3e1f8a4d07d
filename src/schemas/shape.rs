//! How much there is at each depth of a message.

use serde_json::Value;

use crate::limits::MAX_METADATA_DEPTH;

/// Depths of a message: `{content, metadata}` is 0, and what `metadata` nests deepest one more than its levels.
pub(super) const DEPTHS: usize = MAX_METADATA_DEPTH + 2;

/// How much there is at each depth of a message.
#[derive(Debug)]
pub(super) struct Shape {
    /// By depth; `{content, metadata}` is 0.
    pub(super) levels: [Level; DEPTHS],
    /// All bytes.
    pub(super) bytes: u64,
}

/// What is at one depth.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Level {
    /// Values.
    pub(super) values: u64,
    /// Bytes of strings, and of the names of members.
    pub(super) bytes: u64,
}

impl Shape {
    /// The shape of a value; `None` if it nests deeper than a message may.
    pub(super) fn of(value: &Value, bytes: usize) -> Option<Self> {
        let mut shape = Self { levels: [Level::default(); DEPTHS], bytes: bytes as u64 };
        shape.add(value, 0, 0).then_some(shape)
    }

    fn add(&mut self, value: &Value, depth: usize, name_bytes: usize) -> bool {
        let Some(level) = self.levels.get_mut(depth) else { return false };
        level.values += 1;
        level.bytes += (name_bytes + value.as_str().map_or(0, str::len)) as u64;
        match value {
            Value::Array(items) => items.iter().all(|item| self.add(item, depth + 1, 0)),
            Value::Object(members) => {
                members.iter().all(|(name, value)| self.add(value, depth + 1, name.len()))
            }
            _ => true,
        }
    }
}
