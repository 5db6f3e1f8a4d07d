//! Limits of keys, grants, sessions and tickets.

use std::time::Duration;

/// The most entries of one list of a grant: as many as the values of a filter, since each is a branch of a query and an
/// entry of the live index.
pub const MAX_GRANT_VALUES: usize = 128;
/// The most keys of a deployment. All of them are in the memory of every server.
pub const MAX_KEYS: usize = 100_000;
/// The most bytes of a key's name.
pub const MAX_KEY_NAME: usize = 128;
/// The longest overlap of a rotation, in seconds (contract, section 11).
pub const MAX_OVERLAP_S: u64 = 86_400;
/// How often a server looks for changes of keys and schemas. Half of the second within which a change must hold on every
/// server (contract, section 11).
pub const RENEWAL_POLL: Duration = Duration::from_millis(400);
/// How often the last use of keys is written.
pub const KEYS_USED_EVERY: Duration = Duration::from_secs(60);
/// How long a session lasts (contract, section 11).
pub const SESSION_LIFE: Duration = Duration::from_secs(12 * 60 * 60);
/// The longest life of a ticket (contract, section 11).
pub const MAX_TICKET_TTL_S: u64 = 60;
/// The most bytes of a ticket's filter. A ticket is part of a URL, and many proxies refuse one above 8 KiB.
pub const MAX_TICKET_BYTES: usize = 4 * 1024;
/// Failed credentials of one address that get a 401 at once; further ones get a 429 (contract, section 11).
pub const FAILED_CREDENTIALS_BURST: u32 = 60;
/// Addresses with failed credentials after which those that have recovered are forgotten.
pub const FAILED_ADDRESSES: usize = 10_000;
/// Denials that the audit log records in a second. Further ones are only counted.
pub const AUDITED_DENIALS_PER_S: u32 = 10;
/// Denials that wait to be recorded.
pub const AUDIT_QUEUE: usize = 256;
/// How often the changing server tries a change of a key again that another one has overtaken.
pub const KEY_CHANGE_ATTEMPTS: usize = 5;
/// The least characters of the root key: with 32 random ones it cannot be guessed.
pub const MIN_ROOT_KEY_CHARS: usize = 32;
/// The most bytes that are read of the root key's file.
pub const MAX_ROOT_KEY_BYTES: u64 = 1_024;
/// The most issuers of tokens. Each may have a task that fetches its keys.
pub const MAX_ISSUERS: usize = 32;
/// The most characters of an issuer's name: with `jwt-` it is the id of a key, of which 32 may be read.
pub const MAX_ISSUER_NAME: usize = 28;
/// The most bytes of `JWT_ISSUERS_FILE`.
pub const MAX_ISSUERS_FILE_BYTES: u64 = 1024 * 1024;
/// The least bytes of a secret of HS256 (RFC 7518, section 3.2).
pub const MIN_JWT_SECRET_BYTES: usize = 32;
/// The most bytes of a secret of HS256.
pub const MAX_JWT_SECRET_BYTES: u64 = 1_024;
/// The most bytes of a JWKS. The largest in use have some tens of kilobytes.
pub const MAX_JWKS_BYTES: usize = 1024 * 1024;
/// The most keys of a JWKS that fit its issuer's algorithm.
pub const MAX_JWKS_KEYS: usize = 128;
/// How long a fetch of a JWKS may take, all in all. Requests with a new `kid` wait for it.
pub const JWKS_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a JWKS is fetched again: after so long a key that it no longer has signs nothing.
pub const JWKS_REFRESH: Duration = Duration::from_secs(5 * 60);
/// After how long a failed fetch of a JWKS is tried again.
pub const JWKS_RETRY: Duration = Duration::from_secs(10);
/// The least time between two fetches of a JWKS for an unknown `kid` (contract, section 11).
pub const JWKS_UNKNOWN_KEY: Duration = Duration::from_secs(60);
/// How far the clock of an issuer may be ahead: for `nbf` only.
pub const JWT_NOT_BEFORE_LEEWAY: Duration = Duration::from_secs(10);
/// Tokens that a server remembers as verified. Beyond that those are forgotten that hold nothing open.
pub const MAX_KNOWN_TOKENS: usize = 10_000;
/// Subjects whose use of limits a server remembers. Beyond that those are forgotten that use nothing now.
pub const MAX_METERED_SUBJECTS: usize = 100_000;
/// The most bytes of a sealed session: browsers keep no cookie above 4,096 (RFC 6265, section 6.1).
pub const MAX_SESSION_BYTES: usize = 3_800;
