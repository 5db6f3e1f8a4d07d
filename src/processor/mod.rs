//! Background processing: each message at least once, by one worker at a time,
//! retried with sense, and never lost in silence (contract, section 10).

pub mod handler;
