//! The stable codes of errors (contract, section 3).
//!
//! Invariant: a code never changes, and has one kind. Every error of every surface has one of these.

use serde::{Serialize, Serializer};

/// Kinds of failures, by what the caller can do about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The input cannot be read.
    Malformed,
    /// The input breaks a rule.
    Invalid,
    /// The input is larger than the server accepts.
    TooLarge,
    /// The call has no valid credential, or its credential has ended.
    Unauthenticated,
    /// The caller's grants do not allow the call.
    Forbidden,
    /// The caller is over a limit of its key, or its address has failed to authenticate too often.
    LimitExceeded,
    /// The object does not exist.
    NotFound,
    /// The current state of the object does not allow the call.
    Conflict,
    /// The object existed and has ended.
    Gone,
    /// Nothing arrived within the requested time.
    TimedOut,
    /// A part of this deployment does not support the call.
    Unsupported,
    /// The call cannot be served now; the caller may repeat it.
    Unavailable,
    /// The server has a defect.
    Internal,
}

macro_rules! codes {
    ($(#[doc = $meaning:literal] $code:ident = $text:literal, $kind:ident;)*) => {
        /// The code of an error.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = $meaning] $code,)*
        }

        impl Code {
            /// All codes.
            pub const ALL: &[Self] = &[$(Self::$code),*];

            /// The code as callers see it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$code => $text,)* }
            }

            /// What the caller can do about it.
            #[must_use]
            pub const fn kind(self) -> ErrorKind {
                match self { $(Self::$code => ErrorKind::$kind,)* }
            }

            /// When it is returned, as text for people in Markdown.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$code => $meaning,)* }.trim()
            }
        }
    };
}

codes! {
    /// The body is not JSON; `detail` has line and column.
    MalformedJson = "malformed_json", Malformed;
    /// The connection ended inside the body.
    IncompleteBody = "incomplete_body", Malformed;
    /// The request line or a header breaks the rules of HTTP/1.1.
    MalformedRequest = "malformed_request", Malformed;
    /// The request line is too long.
    UriTooLong = "uri_too_long", Malformed;
    /// The request line and headers are too large, or there are too many headers.
    HeadersTooLarge = "headers_too_large", Malformed;
    /// The body did not arrive within 30 s.
    RequestTimeout = "request_timeout", Malformed;
    /// `Content-Type` is missing, or the route does not accept it.
    UnsupportedMediaType = "unsupported_media_type", Malformed;
    /// The body, a message or the number of items is over its limit.
    PayloadTooLarge = "payload_too_large", TooLarge;
    /// The body is JSON that is no message or job; `errors` names each wrong member.
    InvalidMessage = "invalid_message", Invalid;
    /// The body is JSON that breaks the rules of this route; `errors` names each wrong member.
    InvalidBody = "invalid_body", Invalid;
    /// `content` and `metadata` do not match the schema of this type of message; `errors` names each fault.
    SchemaViolation = "schema_violation", Invalid;
    /// A query parameter or header is unknown or has a wrong value; `errors` names each.
    InvalidParameter = "invalid_parameter", Invalid;
    /// A name in the path breaks the rules of names.
    InvalidName = "invalid_name", Invalid;
    /// The text in the path is no lease token.
    InvalidToken = "invalid_token", Invalid;
    /// The job of the lease cannot be decoded.
    UndecodableJob = "undecodable_job", Invalid;
    /// The request has no credential where one is needed, or a wrong, revoked or expired one.
    Unauthenticated = "unauthenticated", Unauthenticated;
    /// The key lacks a grant; `needs` names it.
    Forbidden = "forbidden", Forbidden;
    /// The request comes from a page of another site.
    ForbiddenOrigin = "forbidden_origin", Forbidden;
    /// The key is over one of its limits, or too many credentials from this address failed.
    RateLimited = "rate_limited", LimitExceeded;
    /// Nothing has this name or id, or the key may not see it.
    NotFound = "not_found", NotFound;
    /// The path has other methods; `Allow` lists them.
    MethodNotAllowed = "method_not_allowed", NotFound;
    /// The `Host` of the request is not a name of this server.
    UnknownHost = "unknown_host", NotFound;
    /// The id belongs to another message or job; `id` and `seq` name it if the key may read it.
    IdempotencyConflict = "idempotency_conflict", Conflict;
    /// The store does not have all that is in the log yet, so the message may be one that cannot be erased now.
    NotCommitted = "not_committed", Conflict;
    /// The dead letter's consumer or webhook no longer exists, or its content is no valid job.
    SourceGone = "source_gone", Conflict;
    /// Another NATS client used the id of this redrive; the dead letter stays.
    RedriveConflict = "redrive_conflict", Conflict;
    /// The queue holds jobs.
    QueueNotEmpty = "queue_not_empty", Conflict;
    /// A job of the queue is leased.
    QueueLeased = "queue_leased", Conflict;
    /// There are as many queues as the server allows.
    TooManyQueues = "too_many_queues", Conflict;
    /// There are as many webhooks as the server allows.
    TooManyWebhooks = "too_many_webhooks", Conflict;
    /// There are as many keys as the server allows.
    TooManyKeys = "too_many_keys", Conflict;
    /// There are as many payload schemas as the server allows.
    TooManySchemas = "too_many_schemas", Conflict;
    /// The lease has ended, or was used.
    LeaseLost = "lease_lost", Gone;
    /// No reply came in time; `id` and `seq` name the message, which is published.
    NoReply = "no_reply", TimedOut;
    /// The NATS server is too old for delayed jobs.
    DelayUnsupported = "delay_unsupported", Unsupported;
    /// The bus did not acknowledge it; `outcome` says whether it may still be in the log.
    BusUnavailable = "bus_unavailable", Unavailable;
    /// The store is too far behind: the stream could drop messages that the store does not have yet.
    StoreBehind = "store_behind", Unavailable;
    /// The store does not answer.
    StoreUnavailable = "store_unavailable", Unavailable;
    /// The server is at a limit, which `detail` names.
    Overloaded = "overloaded", Unavailable;
    /// This server is stopping.
    Draining = "draining", Unavailable;
    /// This server has not finished starting.
    Starting = "starting", Unavailable;
    /// This server cannot publish.
    NotReady = "not_ready", Unavailable;
    /// A defect of the server; its log has the cause under `request_id`.
    InternalError = "internal_error", Internal;
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
