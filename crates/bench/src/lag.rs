//! How far the store is behind the log, as `/v1/stats` tells.
//!
//! In messages it is the server's own count. In time it is the age of the oldest acknowledged message
//! that the store lacked at that moment, by our own marks of what was acknowledged when.

use std::time::{Duration, Instant};

use serde::Deserialize;

use super::address::Address;
use super::client::{Connection, get};
use super::error::BenchError;
use super::figures::Figures;
use super::limits::{COMMITTED_LOOK, COMMITTED_PATIENCE, LAG_SAMPLE};
use super::meter::{Counted, Meter};

/// The members of `/v1/stats` that are looked at.
#[derive(Clone, Debug, Deserialize)]
pub struct Stats {
    /// The projector's.
    pub projector: Projector,
}

/// How far the store is.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Projector {
    /// Everything up to this is in the store.
    pub committed_through: u64,
    /// Messages beyond.
    pub lag: u64,
}

/// Samples of one run.
#[derive(Default)]
pub struct Lag {
    /// Messages behind.
    pub messages: Figures,
    /// Time behind.
    pub time: Figures,
}

/// Asks once.
///
/// # Errors
/// The server cannot be reached, or answers what is no answer.
pub async fn ask(address: &Address) -> Result<Projector, BenchError> {
    let (status, body) = get(address, "/v1/stats").await?;
    read(status, &body).ok_or_else(|| BenchError::NotReady {
        address: address.to_string(),
        why: words(status, &body),
    })
}

fn read(status: u16, body: &[u8]) -> Option<Projector> {
    let stats: Option<Stats> = (status == 200).then(|| serde_json::from_slice(body).ok())?;
    stats.map(|stats| stats.projector)
}

/// What a server said, cut short.
#[must_use]
pub fn words(status: u16, body: &[u8]) -> String {
    format!("{status} {}", String::from_utf8_lossy(&body[..body.len().min(300)]))
}

/// Samples until dropped. What cannot be asked is asked again.
pub async fn watch(address: &Address, meter: &Meter, from: Instant, lag: &mut Lag) {
    tokio::time::sleep_until(from.into()).await;
    let request = format!("{}\r\n", address.head("GET", "/v1/stats"));
    let mut every = tokio::time::interval(LAG_SAMPLE);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut connection = None;
    loop {
        every.tick().await;
        let asked = Instant::now();
        let open = match connection.take() {
            Some(open) => Ok(open),
            None => Connection::open(address).await,
        };
        let Ok(mut open) = open else { continue };
        let Ok(answer) = open.send(request.as_bytes()).await else { continue };
        let (projector, keeps) = (read(answer.status, answer.body), answer.keeps);
        connection = keeps.then_some(open);
        let Some(projector) = projector else { continue };
        lag.messages.number(projector.lag);
        lag.time.time(meter.look(|counted| age(counted, projector.committed_through, asked)));
    }
}

/// How long before `now` the first message after `through` was acknowledged; zero when none was.
fn age(counted: &Counted, through: u64, now: Instant) -> Duration {
    let after = counted.marks.partition_point(|(_, seq)| *seq <= through);
    let first = counted.marks.get(after);
    first.map_or(Duration::ZERO, |(at, _)| now.saturating_duration_since(*at))
}

/// Waits until the store has everything up to `seq`; `None` when it has not in time.
pub async fn until_committed(address: &Address, seq: u64) -> Option<Instant> {
    let looking = async {
        loop {
            if let Ok(projector) = ask(address).await
                && projector.committed_through >= seq
            {
                return Instant::now();
            }
            tokio::time::sleep(COMMITTED_LOOK).await;
        }
    };
    tokio::time::timeout(COMMITTED_PATIENCE, looking).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_is_of_the_oldest_message_that_is_missing() {
        let begin = Instant::now();
        let at = |millis| begin + Duration::from_millis(millis);
        let counted =
            Counted { marks: vec![(at(1), 10), (at(2), 20), (at(5), 50)], ..Counted::default() };
        let age = |through| age(&counted, through, at(9)).as_millis();
        assert_eq!((age(0), age(10), age(19), age(20), age(50)), (8, 7, 7, 4, 0));
    }

    #[test]
    fn stats_are_read() {
        let body = br#"{"counts":{},"projector":{"committed_through":7,"lag":2},"x":1}"#;
        assert!(read(200, body).is_some_and(|p| (p.committed_through, p.lag) == (7, 2)));
        assert!(read(503, body).is_none() && read(200, b"{}").is_none());
    }
}
