//! Compares the bus with the store, and closes the gate before publishing while they may differ.
//!
//! Invariant: no sequence that the store has is given to other content. While that is not certain (at the
//! start, after every reconnect, after an ack at or below the highest known sequence, when the stream was
//! rolled back or deleted), nothing is published, and a stream that may be another log is not stored. A
//! stream that is behind gets its missing tail back from the store, under the same sequences. A stream with
//! other content is left as it is and reported.

mod check;
mod content;
mod error;
mod gate;
mod rebuild;
mod stranded;
mod write_back;

pub use check::Continuity;
pub use content::check_content;
pub use error::CheckError;
pub use gate::Gate;
pub use rebuild::rebuild;
pub use stranded::{drain, skip};
pub use write_back::write_back;
