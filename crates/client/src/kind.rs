//! Groups of errors.

/// What a caller can do about an [`Error`](crate::Error): the groups that clients in every language have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Use another key: none was sent, or it is unknown, revoked or expired (401).
    Unauthenticated,
    /// Use a key with the grant that [`Problem::needs`](crate::Problem::needs) names (403).
    Forbidden,
    /// There is no such object, or the key may not see it (404).
    NotFound,
    /// The state of the object does not allow it (409).
    Conflict,
    /// The lease ran out or was ended (410).
    LeaseLost,
    /// Correct the request: [`Problem::errors`](crate::Problem::errors) names each fault (422).
    Invalid,
    /// Send less: [`Error::retry_after`](crate::Error::retry_after) says when (429).
    TooMany,
    /// The message is in the log, and no reply came in time (504 `no_reply`).
    NoReply,
    /// The server, or a proxy in front of it, cannot serve the request now (502, 503, 504). For a message,
    /// [`Problem::outcome`](crate::Problem::outcome) says whether it was sent.
    Unavailable,
    /// There was no response.
    Connection,
    /// Anything else: a wrong setting, a content of another type, or another status.
    Other,
}
