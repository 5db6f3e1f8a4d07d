//! How far the store is behind the log.
//!
//! The lag in messages is the server's own count, from `/v1/stats`. The lag in time is the age of the oldest
//! acknowledged message that the store does not have, by the generator's record of when it was acknowledged.

use std::time::{Duration, Instant};

use serde::Deserialize;

use super::address::Address;
use super::client::{Connection, describe, get};
use super::error::BenchError;
use super::limits::{COMMITTED_POLL, COMMITTED_TIMEOUT, LAG_INTERVAL};
use super::meter::{Counts, Meter};
use super::samples::Samples;

/// The part of `/v1/stats` that is used.
#[derive(Deserialize)]
struct Stats {
    projector: Projector,
}

/// The position of the projector.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Projector {
    /// The store has every message up to this sequence.
    pub committed_through: u64,
    /// Messages of the log after it.
    pub lag: u64,
}

/// Samples of the lag during a run.
#[derive(Default)]
pub struct Lag {
    /// In messages.
    pub messages: Samples,
    /// In time.
    pub time: Samples,
}

/// Requests the projector's position.
///
/// # Errors
/// The server cannot be reached, or its response is not one of agentbus.
pub async fn position(address: &Address) -> Result<Projector, BenchError> {
    let (status, body) = get(address, "/v1/stats").await?;
    parse(status, &body).ok_or_else(|| BenchError::NotReady {
        address: address.to_string(),
        why: describe(status, &body),
    })
}

fn parse(status: u16, body: &[u8]) -> Option<Projector> {
    let stats: Option<Stats> = (status == 200).then(|| serde_json::from_slice(body).ok())?;
    stats.map(|stats| stats.projector)
}

/// Samples the lag from `from` on, until dropped. A failed request is skipped.
pub async fn sample(address: &Address, meter: &Meter, from: Instant, lag: &mut Lag) {
    tokio::time::sleep_until(from.into()).await;
    let request = format!("{}\r\n", address.head("GET", "/v1/stats"));
    let mut interval = tokio::time::interval(LAG_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut connection = None;
    loop {
        interval.tick().await;
        let requested = Instant::now();
        let open = match connection.take() {
            Some(open) => Ok(open),
            None => Connection::open(address).await,
        };
        let Ok(mut open) = open else { continue };
        let Ok(response) = open.send(request.as_bytes()).await else { continue };
        let (projector, keep_alive) = (parse(response.status, response.body), response.keep_alive);
        connection = keep_alive.then_some(open);
        let Some(projector) = projector else { continue };
        lag.messages.record(projector.lag);
        lag.time
            .record_time(meter.read(|counts| age(counts, projector.committed_through, requested)));
    }
}

/// How long before `now` the first message after `through` was acknowledged; zero if there is none.
fn age(counts: &Counts, through: u64, now: Instant) -> Duration {
    let after = counts.marks.partition_point(|(_, seq)| *seq <= through);
    let first = counts.marks.get(after);
    first.map_or(Duration::ZERO, |(at, _)| now.saturating_duration_since(*at))
}

/// Waits until the store has every message up to `seq`; `None` if that takes longer than [`COMMITTED_TIMEOUT`].
pub async fn until_committed(address: &Address, seq: u64) -> Option<Instant> {
    let polling = async {
        loop {
            if let Ok(projector) = position(address).await
                && projector.committed_through >= seq
            {
                return Instant::now();
            }
            tokio::time::sleep(COMMITTED_POLL).await;
        }
    };
    tokio::time::timeout(COMMITTED_TIMEOUT, polling).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_is_the_age_of_the_oldest_message_not_stored() {
        let begin = Instant::now();
        let at = |millis| begin + Duration::from_millis(millis);
        let counts =
            Counts { marks: vec![(at(1), 10), (at(2), 20), (at(5), 50)], ..Counts::default() };
        let age = |through| age(&counts, through, at(9)).as_millis();
        assert_eq!((age(0), age(10), age(19), age(20), age(50)), (8, 7, 7, 4, 0));
    }

    #[test]
    fn stats_are_parsed() {
        let body = br#"{"counts":{},"projector":{"committed_through":7,"lag":2},"x":1}"#;
        assert!(parse(200, body).is_some_and(|p| (p.committed_through, p.lag) == (7, 2)));
        assert!(parse(503, body).is_none() && parse(200, b"{}").is_none());
    }
}
