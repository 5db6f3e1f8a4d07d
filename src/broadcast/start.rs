//! The start of a subscription.

/// The position at which a subscription begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// After this sequence, which the client has seen (`Last-Event-ID`).
    After(u64),
    /// At this sequence (`from=N`).
    From(u64),
    /// At the oldest message that is kept (`from=start`).
    First,
    /// At the first message published from now on.
    Now,
}
