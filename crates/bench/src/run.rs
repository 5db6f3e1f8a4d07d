//! A run, from the first connection to the last event.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::address::Address;
use super::client::{describe, get};
use super::error::BenchError;
use super::lag::{self, Lag};
use super::limits::{EVENTS_SILENCE, EVENTS_TIMEOUT, MISSING_SILENCE, PROGRESS_INTERVAL};
use super::meter::{Counts, Meter, Tally};
use super::open_files;
use super::plan::Plan;
use super::process::{self, MachineTime};
use super::report::{Events, Generator, Parameters, Projector, Report};
use super::request::{Epoch, RunTag};
use super::schedule::Schedule;
use super::sender::{Senders, SharedRun};
use super::subscribers::{EventCounts, SubscriberOptions, Subscribers};

/// Time between the opening of the connections and the first request.
const START_DELAY: Duration = Duration::from_millis(20);

/// The progress of a run.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Since the first request.
    pub elapsed: Duration,
    /// Warm-up and measured time together.
    pub total: Duration,
    /// Messages so far by outcome, including the warm-up.
    pub messages: Tally,
    /// Accepted messages a second since the previous snapshot.
    pub per_s: f64,
    /// Events so far, over all subscribers.
    pub events: u64,
    /// Median latency of responses in milliseconds.
    pub p50_ms: Option<f64>,
}

/// Counts of the messages accepted and the events received between `from` and `to`, including messages whose
/// intended time is outside.
struct Window {
    from: Instant,
    to: Instant,
    accepted: u64,
    events: u64,
    bytes: u64,
}

/// Runs a checked plan against a server and reports the figures. Ends early, with the figures so far, when `stop` is
/// cancelled.
///
/// # Errors
/// The server cannot be reached or is not ready, a subscriber gets no stream, or the operating system refuses.
pub async fn run(
    address: &Address,
    plan: &Plan,
    stop: &CancellationToken,
    progress: impl FnMut(&Snapshot),
) -> Result<Report, BenchError> {
    // Each sender has a connection and a timer.
    open_files::allow(2 * plan.connections + plan.subscribers)?;
    check_ready(address).await?;
    let (run, epoch) = (RunTag::random(), Epoch::now());
    let options = SubscriberOptions {
        address: address.clone(),
        run: Some(run),
        epoch,
        from: Arc::new(AtomicU64::new(u64::MAX)),
        received: Arc::default(),
    };
    let subscribers = options.open(plan).await?;
    let (shared, begin, done) = start(plan, address, run, epoch, stop).await?;
    let from = begin + plan.warmup;
    options.from.store(epoch.micros(from), Ordering::Relaxed);
    let (cpu, machine) = (process::cpu(std::process::id()), MachineTime::now());
    let mut lag = Lag::default();
    let window = {
        let meter = &shared.meter;
        let measuring = measure(begin, plan, stop, meter, &subscribers.received, progress);
        tokio::select! {
            window = measuring => window,
            () = sample_lag(plan, address, meter, from, &mut lag) => unreachable!("sampling does not end"),
        }
    };
    let cores = cores(cpu, begin.elapsed());
    let stolen = MachineTime::now().zip(machine).map(|(now, before)| now.stolen_since(before));
    // The thread ends after its schedule, or when stopped; each pending response has a time-out.
    let _ = done.await;
    let counts = shared.meter.read(Counts::clone);
    let planned = if stop.is_cancelled() { 0 } else { shared.schedule.planned() };
    let unsent = planned.saturating_sub(counts.requests) * plan.batch as u64;
    let missing = await_events(plan, &counts, &subscribers).await;
    let last = counts.last_response.unwrap_or(window.to);
    let committed = lag::until_committed(address, counts.last_seq).await;
    let caught_up = committed.map(|at| at.saturating_duration_since(last).as_secs_f64() * 1_000.0);
    let projector = Projector {
        lag_messages: lag.messages.counts(),
        lag_ms: lag.time.millis(),
        caught_up_ms: caught_up,
    };
    let events = missing.map(|missing| events(missing, &window, &subscribers.received));
    Ok(report(
        plan,
        address,
        &counts,
        &window,
        OtherFigures { unsent, events, projector, cores, stolen },
    ))
}

/// Checks that the server accepts messages.
async fn check_ready(address: &Address) -> Result<(), BenchError> {
    let (status, body) = get(address, "/readyz").await?;
    if status != 200 {
        let why = describe(status, &body);
        return Err(BenchError::NotReady { address: address.to_string(), why });
    }
    lag::position(address).await.map(|_| ())
}

/// Opens the sending connections and starts the sending thread; returns the shared state, the time of the first request,
/// and a receiver that is closed when the thread ends.
async fn start(
    plan: &Plan,
    address: &Address,
    run: RunTag,
    epoch: Epoch,
    stop: &CancellationToken,
) -> Result<(SharedRun, Instant, oneshot::Receiver<()>), BenchError> {
    let (plan, address, stop) = (plan.clone(), address.clone(), stop.clone());
    let (ended, done) = oneshot::channel();
    // A runtime cannot be created or dropped within another.
    let starting = tokio::task::spawn_blocking(move || {
        let senders = Senders::open(&plan, &address, run)?;
        let begin = Instant::now() + START_DELAY;
        let schedule =
            Schedule::new(plan.requests_per_second(), begin, plan.warmup + plan.duration);
        let meter = Arc::new(Meter::new(begin + plan.warmup));
        let shared = SharedRun { schedule: Arc::new(schedule), meter, epoch, stop };
        senders.start(shared.clone(), ended)?;
        Ok((shared, begin))
    });
    let died = |error| BenchError::System {
        what: "the sending thread",
        cause: std::io::Error::other(error),
    };
    let (shared, begin) = starting.await.map_err(died)??;
    Ok((shared, begin, done))
}

async fn sample_lag(plan: &Plan, address: &Address, meter: &Meter, from: Instant, lag: &mut Lag) {
    if plan.watch_lag {
        lag::sample(address, meter, from, lag).await;
    }
    std::future::pending().await
}

/// Reports progress until the run ends or is stopped; returns what arrived within the measured time.
async fn measure(
    begin: Instant,
    plan: &Plan,
    stop: &CancellationToken,
    meter: &Meter,
    received: &EventCounts,
    mut progress: impl FnMut(&Snapshot),
) -> Window {
    let (from, to) = (begin + plan.warmup, begin + plan.warmup + plan.duration);
    let accepted = || meter.read(|counts| counts.warmup.accepted + counts.measured.accepted);
    let mut window = Window { from, to, accepted: 0, events: 0, bytes: 0 };
    let mut before: Option<(Instant, u64)> = None;
    let mut next = begin;
    let mut is_warm = false;
    loop {
        let until = if is_warm { next.min(to) } else { next.min(from) };
        tokio::select! {
            () = tokio::time::sleep_until(until.into()) => {}
            () = stop.cancelled() => {
                window.to = to.min(Instant::now()).max(from);
                break;
            }
        }
        let now = Instant::now();
        if !is_warm && now >= from {
            is_warm = true;
            let (events, bytes) = (received.events(), received.bytes());
            window = Window { from: now, to, accepted: accepted(), events, bytes };
        }
        if now >= to {
            window.to = now;
            break;
        }
        if now >= next {
            next = now + PROGRESS_INTERVAL;
            let mut messages = Tally::default();
            meter.read(|counts| [counts.warmup, counts.measured].map(|tally| messages.add(tally)));
            let p50_ms = meter.read(|counts| counts.publish.median_millis());
            let per_s = before.map_or(0.0, |(at, accepted)| {
                (messages.accepted - accepted) as f64 / (now - at).as_secs_f64()
            });
            before = Some((now, messages.accepted));
            let (elapsed, total) = (now - begin, plan.warmup + plan.duration);
            progress(&Snapshot {
                elapsed,
                total,
                messages,
                per_s,
                events: received.events(),
                p50_ms,
            });
        }
    }
    window.accepted = accepted() - window.accepted;
    window.events = received.events() - window.events;
    window.bytes = received.bytes() - window.bytes;
    window
}

/// Processor time since `before`, in cores.
fn cores(before: Option<Duration>, took: Duration) -> Option<f64> {
    let used = process::cpu(std::process::id())?.saturating_sub(before?);
    Some(used.as_secs_f64() / took.as_secs_f64().max(0.001))
}

/// Waits for the last events: until all expected ones have arrived, or none has for some time. Returns `None` without
/// subscribers, else the number of missing events if it is known.
async fn await_events(
    plan: &Plan,
    counts: &Counts,
    subscribers: &Subscribers,
) -> Option<Option<u64>> {
    let received = &subscribers.received;
    let all = u64::try_from(plan.subscribers).unwrap_or(u64::MAX);
    if all == 0 {
        return None;
    }
    let accepted = counts.measured.accepted + counts.warmup.accepted;
    let expected = plan.filters.is_empty().then_some(accepted * all);
    let deadline = Instant::now() + EVENTS_TIMEOUT;
    let (mut last, mut changed) = (received.events(), Instant::now());
    while expected.is_none_or(|expected| last < expected) {
        let now = Instant::now();
        // After a stream has ended, the expected number cannot be reached.
        let patience = if expected.is_some() && received.ended() == 0 {
            MISSING_SILENCE
        } else {
            EVENTS_SILENCE
        };
        if now >= changed + patience || now >= deadline {
            break;
        }
        tokio::time::sleep(PROGRESS_INTERVAL / 10).await;
        let events = received.events();
        if events != last {
            (last, changed) = (events, Instant::now());
        }
    }
    Some(expected.map(|expected| expected.saturating_sub(last)))
}

/// The parts of a report that the senders do not count.
struct OtherFigures {
    unsent: u64,
    events: Option<Events>,
    projector: Projector,
    cores: Option<f64>,
    stolen: Option<f64>,
}

fn events(missing: Option<u64>, window: &Window, received: &EventCounts) -> Events {
    Events {
        received: received.events(),
        per_s: window.per_second(window.events),
        bytes_per_s: window.per_second(window.bytes),
        missing,
        out_of_order: received.out_of_order(),
        others: received.foreign(),
        ended: received.ended(),
        why_ended: received.first_end(),
        latency_ms: received.latency().millis(),
    }
}

fn report(
    plan: &Plan,
    address: &Address,
    counts: &Counts,
    window: &Window,
    other: OtherFigures,
) -> Report {
    let late = if plan.rate.is_some() { counts.late } else { 0 };
    let own_delay = counts.own_delay.millis();
    Report {
        server: address.to_string(),
        asked: Parameters::of(plan),
        measured_s: window.seconds(),
        answered_s: counts
            .last_response
            .map_or(0.0, |at| at.saturating_duration_since(window.from).as_secs_f64()),
        accepted_per_s: window.per_second(window.accepted),
        messages: counts.measured,
        unsent: other.unsent,
        warmup: counts.warmup,
        first_trouble: counts.first_error.clone(),
        publish_ms: counts.publish.millis(),
        events: other.events,
        projector: other.projector,
        generator: Generator {
            cores: other.cores,
            stolen: other.stolen,
            ..Generator::of(late, counts.requests, own_delay)
        },
    }
}

impl Window {
    fn seconds(&self) -> f64 {
        (self.to - self.from).as_secs_f64()
    }

    /// Zero if nothing was measured: a run can be ended during its warm-up.
    fn per_second(&self, count: u64) -> f64 {
        if self.to > self.from { count as f64 / self.seconds() } else { 0.0 }
    }
}
