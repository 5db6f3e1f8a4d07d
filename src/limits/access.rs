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
