//! The position of a subscription across its connections. No I/O.
//!
//! Invariant: the cursor moves only by the id of an event. A message at or below the cursor is not reported
//! again.

use std::fmt;
use std::str::FromStr;

/// Where a subscription begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the oldest message that is kept.
    Beginning,
    /// At the next message that is published.
    Now,
    /// At this sequence.
    At(u64),
    /// After this sequence, which the caller has seen: a stream that goes on.
    After(u64),
}

/// Where the next connection begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Position {
    /// As for the first connection: nothing was reported yet.
    Start(Start),
    /// After this sequence: every message up to it was reported or filtered out.
    After(u64),
}

/// The cursor of one subscription: its position, and where its next connection begins.
#[derive(Debug)]
pub(crate) struct Cursor {
    position: Position,
    /// Messages up to this sequence are not reported.
    floor: u64,
}

impl FromStr for Start {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "start" => Ok(Self::Beginning),
            "now" => Ok(Self::Now),
            number => number.parse().map(Self::At).map_err(|_| "must be start, now or a sequence"),
        }
    }
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Beginning => f.write_str("start"),
            Self::Now => f.write_str("now"),
            Self::At(seq) | Self::After(seq) => seq.fmt(f),
        }
    }
}

impl Cursor {
    /// The cursor of a subscription from `start`.
    pub fn new(start: Start) -> Self {
        match start {
            Start::After(seq) => Self { position: Position::After(seq), floor: 0 },
            start => Self { position: Position::Start(start), floor: 0 },
        }
    }

    /// Called when a connection is ready: messages up to `id` will not be sent. A subscription that waits for
    /// a sequence beyond the log's head keeps asking for that sequence (`from`). Sent as `Last-Event-ID`, the
    /// server would take it for a cursor ahead of the log.
    pub fn ready(&mut self, id: u64) {
        self.floor = id;
        if !matches!(self.position, Position::Start(Start::At(_))) {
            self.position = Position::After(id);
        }
    }

    /// Moves the cursor to this sequence. Returns false, and does not move it, if it is there or beyond
    /// already.
    pub fn pass(&mut self, id: u64) -> bool {
        let is_new = id > self.floor;
        if is_new {
            self.floor = id;
            self.position = Position::After(id);
        }
        is_new
    }

    /// Where the next connection begins.
    pub fn position(&self) -> Position {
        self.position
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_forward_by_what_passes() {
        let mut cursor = Cursor::new(Start::Beginning);
        cursor.ready(4);
        assert!(!cursor.pass(4) && cursor.pass(6) && !cursor.pass(5) && !cursor.pass(6));
        assert_eq!(cursor.position(), Position::After(6));
    }

    #[test]
    fn waiting_beyond_the_head_keeps_asking_for_the_same_sequence() {
        let mut cursor = Cursor::new(Start::At(100));
        cursor.ready(99);
        assert!(!cursor.pass(99));
        assert_eq!(cursor.position(), Position::Start(Start::At(100)));
        assert!(cursor.pass(100));
        assert_eq!(cursor.position(), Position::After(100));
    }

    #[test]
    fn a_cursor_of_another_deployment_falls_back_to_its_head() {
        let mut cursor = Cursor::new(Start::Now);
        cursor.ready(500);
        cursor.ready(7);
        assert_eq!(cursor.position(), Position::After(7));
        assert!(cursor.pass(8));
    }

    #[test]
    fn starts_are_spelled_as_the_contract_does() {
        for text in ["start", "now", "0", "1041"] {
            assert_eq!(text.parse::<Start>().map(|start| start.to_string()), Ok(text.to_owned()));
        }
        assert!("soon".parse::<Start>().is_err() && "-1".parse::<Start>().is_err());
    }
}
