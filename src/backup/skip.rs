//! Which sequences a restored log must not assign again.
//!
//! Invariant: what was assigned after the backup is acknowledged or read somewhere, and is lost with the store. Its
//! sequences are skipped, unless the stream still holds them: then they are stored from it as after any outage.

use chrono::{DateTime, Utc};

use super::manifest::Manifest;
use crate::bus::Bus as _;
use crate::bus::nats::{IfMissing, NatsBus, NatsConfig};
use crate::limits::{ABANDON_JUMP, RESTORE_JUMP_PER_MS};
use crate::store::BusKind;

/// The largest sequence: numbers in JSON are exact up to it.
const MAX_SEQ: u64 = (1 << 53) - 1;

/// The last sequence that may have been assigned after the backup; `None` if the stream holds what was assigned. A log on
/// NATS without its stream gets a new one, closed for publishing: the first server that starts fills it.
///
/// # Errors
/// The stream cannot be reached, and `abandon_tail` is not set.
pub async fn skip_to(
    manifest: &Manifest,
    nats: &NatsConfig,
    abandon_tail: bool,
    now: DateTime<Utc>,
) -> Result<Option<u64>, String> {
    if manifest.bus() == Some(BusKind::Nats) {
        match stream_continues(manifest, nats).await {
            Ok(true) => return Ok(None),
            Ok(false) => {}
            Err(error) if abandon_tail => {
                tracing::warn!(%error, "abandoning what the stream holds and the backup lacks");
            }
            Err(error) => {
                return Err(format!(
                    "the log is on NATS, and its stream may hold what was published after the backup: {error}. Start \
                     NATS (NATS_URL), or leave that behind with --abandon-tail"
                ));
            }
        }
    }
    let begun = manifest.begun().unwrap_or(DateTime::UNIX_EPOCH);
    let to = beyond(manifest.committed_through, begun, now);
    let text = "no sequence is left for the restored log: export its messages, and import them";
    to.filter(|to| *to < MAX_SEQ).map(Some).ok_or_else(|| text.to_owned())
}

/// Whether the stream is the one of the log, and still holds its end.
async fn stream_continues(manifest: &Manifest, nats: &NatsConfig) -> Result<bool, String> {
    let bus = NatsBus::connect_or(nats.clone(), IfMissing::CreateClosed, &[]).await;
    let identity = bus.map_err(|error| error.to_string())?.identity().await;
    let identity = identity.map_err(|error| error.to_string())?;
    let is_same = identity.epoch == manifest.stream_epoch;
    Ok(is_same && identity.bounds.last >= manifest.committed_through)
}

/// A sequence beyond all that can have been assigned from the backup until now.
fn beyond(through: u64, begun: DateTime<Utc>, now: DateTime<Utc>) -> Option<u64> {
    let millis = u64::try_from((now - begun).num_milliseconds()).unwrap_or(0);
    let jump = millis.checked_mul(RESTORE_JUMP_PER_MS)?.checked_add(ABANDON_JUMP)?;
    through.checked_add(jump)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).expect("a time")
    }

    #[test]
    fn each_restore_of_one_backup_begins_beyond_the_one_before() {
        let first = beyond(10, at(1_000), at(1_000)).expect("small");
        assert_eq!(first, 10 + ABANDON_JUMP);
        // A clock that is behind, and one that is ahead.
        assert_eq!(beyond(10, at(1_000), at(900)), Some(first));
        let later = beyond(10, at(1_000), at(1_060)).expect("small");
        assert!(later >= first + 60 * 1_000_000);
        let decade = beyond(10, at(0), at(10 * 365 * 86_400)).expect("small");
        assert!(decade < MAX_SEQ / 20);
    }
}
