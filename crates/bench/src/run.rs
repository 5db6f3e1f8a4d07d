//! One run, from the first connection to the last event.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::address::Address;
use super::client::get;
use super::error::BenchError;
use super::lag::{self, Lag};
use super::limits::{EVENTS_PATIENCE, EVENTS_SILENCE, MISSING_SILENCE, TICK};
use super::meter::{Counted, Meter, Tally};
use super::open_files;
use super::plan::Plan;
use super::process::{self, MachineTime};
use super::report::{Asked, Events, Generator, Projector, Report};
use super::request::{Epoch, RunTag};
use super::schedule::Schedule;
use super::sender::{Course, Ready};
use super::subscribers::{Heard, Listening, Subscribers};

/// From the moment that all is ready to the first request.
const LEAD: Duration = Duration::from_millis(20);

/// How far a run is.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Since the first request.
    pub elapsed: Duration,
    /// Warm-up and measured time together.
    pub total: Duration,
    /// What became of all messages so far.
    pub messages: Tally,
    /// Messages accepted a second, of late.
    pub per_s: f64,
    /// Events so far, over all subscribers.
    pub events: u64,
    /// Half of the acknowledgements took at most this, in milliseconds.
    pub p50_ms: Option<f64>,
}

/// What came in the measured time, whenever it should have been sent.
struct Window {
    from: Instant,
    to: Instant,
    accepted: u64,
    events: u64,
    bytes: u64,
}

/// Puts the load of a plan that was checked on a server, and tells what came of it. Ends early, with
/// what there is, when `stop` is cancelled.
///
/// # Errors
/// The server cannot be reached or is not ready, a subscriber gets no stream, the system refuses.
pub async fn run(
    address: &Address,
    plan: &Plan,
    stop: &CancellationToken,
    progress: impl FnMut(&Snapshot),
) -> Result<Report, BenchError> {
    // A timer each for what sends, and a few for what asks.
    open_files::allow(2 * plan.connections + plan.subscribers)?;
    ready(address).await?;
    let (run, epoch) = (RunTag::random(), Epoch::now());
    let listening = Listening {
        address: address.clone(),
        run: Some(run),
        epoch,
        from: Arc::new(AtomicU64::new(u64::MAX)),
        heard: Arc::default(),
    };
    let subscribers = listening.open(plan).await?;
    let (course, begin, done) = start(plan, address, run, epoch, stop).await?;
    let from = begin + plan.warmup;
    listening.from.store(epoch.micros(from), Ordering::Relaxed);
    let (cpu, machine) = (process::cpu(std::process::id()), MachineTime::now());
    let mut lag = Lag::default();
    let window = {
        let meter = &course.meter;
        let following = follow(begin, plan, stop, meter, &subscribers.heard, progress);
        tokio::select! {
            window = following => window,
            () = watch(plan, address, meter, from, &mut lag) => unreachable!("it watches for ever"),
        }
    };
    let cores = cores(cpu, begin.elapsed());
    let stolen = MachineTime::now().zip(machine).map(|(now, before)| now.stolen_since(before));
    // The thread ends by itself: after the schedule, or at once when stopped, each answer within its time.
    let _ = done.await;
    let counted = course.meter.look(Counted::clone);
    let planned = if stop.is_cancelled() { 0 } else { course.schedule.planned() };
    let unsent = planned.saturating_sub(counted.requests) * plan.batch as u64;
    let heard = hear_out(plan, &counted, &subscribers).await;
    let last = counted.last_answer.unwrap_or(window.to);
    let committed = lag::until_committed(address, counted.last_seq).await;
    let caught_up = committed.map(|at| at.saturating_duration_since(last).as_secs_f64() * 1_000.0);
    let projector = Projector {
        lag_messages: lag.messages.numbers(),
        lag_ms: lag.time.millis(),
        caught_up_ms: caught_up,
    };
    let events = heard.map(|missing| events(missing, &window, &subscribers.heard));
    Ok(report(plan, address, &counted, &window, Rest { unsent, events, projector, cores, stolen }))
}

/// Whether the server takes messages.
async fn ready(address: &Address) -> Result<(), BenchError> {
    let (status, body) = get(address, "/readyz").await?;
    if status != 200 {
        let why = lag::words(status, &body);
        return Err(BenchError::NotReady { address: address.to_string(), why });
    }
    lag::ask(address).await.map(|_| ())
}

/// Opens the connections that send, and starts them; gives when they begin, and their end.
async fn start(
    plan: &Plan,
    address: &Address,
    run: RunTag,
    epoch: Epoch,
    stop: &CancellationToken,
) -> Result<(Course, Instant, oneshot::Receiver<()>), BenchError> {
    let (plan, address, stop) = (plan.clone(), address.clone(), stop.clone());
    let (ended, done) = oneshot::channel();
    // A runtime of its own cannot be made or dropped within another.
    let starting = tokio::task::spawn_blocking(move || {
        let ready = Ready::open(&plan, &address, run)?;
        let begin = Instant::now() + LEAD;
        let schedule =
            Schedule::new(plan.requests_per_second(), begin, plan.warmup + plan.duration);
        let meter = Arc::new(Meter::new(begin + plan.warmup));
        let course = Course { schedule: Arc::new(schedule), meter, epoch, stop };
        ready.start(course.clone(), ended)?;
        Ok((course, begin))
    });
    let died = |error| BenchError::System {
        what: "the sending thread",
        cause: std::io::Error::other(error),
    };
    let (course, begin) = starting.await.map_err(died)??;
    Ok((course, begin, done))
}

async fn watch(plan: &Plan, address: &Address, meter: &Meter, from: Instant, lag: &mut Lag) {
    if plan.watch_lag {
        lag::watch(address, meter, from, lag).await;
    }
    std::future::pending().await
}

/// Tells progress until the time is over or the run is stopped; counts the events of the measured time.
async fn follow(
    begin: Instant,
    plan: &Plan,
    stop: &CancellationToken,
    meter: &Meter,
    heard: &Heard,
    mut progress: impl FnMut(&Snapshot),
) -> Window {
    let (from, to) = (begin + plan.warmup, begin + plan.warmup + plan.duration);
    let accepted = || meter.look(|counted| counted.warmup.accepted + counted.measured.accepted);
    let mut window = Window { from, to, accepted: 0, events: 0, bytes: 0 };
    let mut before: Option<(Instant, u64)> = None;
    let mut next = begin;
    let mut warm = false;
    loop {
        let until = if warm { next.min(to) } else { next.min(from) };
        tokio::select! {
            () = tokio::time::sleep_until(until.into()) => {}
            () = stop.cancelled() => {
                window.to = to.min(Instant::now()).max(from);
                break;
            }
        }
        let now = Instant::now();
        if !warm && now >= from {
            warm = true;
            let (events, bytes) = (heard.events(), heard.bytes());
            window = Window { from: now, to, accepted: accepted(), events, bytes };
        }
        if now >= to {
            window.to = now;
            break;
        }
        if now >= next {
            next = now + TICK;
            let messages = meter.look(|counted| sum(counted.warmup, counted.measured));
            let p50_ms = meter.look(|counted| counted.publish.median_millis());
            let per_s = before.map_or(0.0, |(at, accepted)| {
                (messages.accepted - accepted) as f64 / (now - at).as_secs_f64()
            });
            before = Some((now, messages.accepted));
            let (elapsed, total) = (now - begin, plan.warmup + plan.duration);
            progress(&Snapshot { elapsed, total, messages, per_s, events: heard.events(), p50_ms });
        }
    }
    window.accepted = accepted() - window.accepted;
    window.events = heard.events() - window.events;
    window.bytes = heard.bytes() - window.bytes;
    window
}

fn sum(one: Tally, other: Tally) -> Tally {
    Tally {
        accepted: one.accepted + other.accepted,
        refused: one.refused + other.refused,
        rejected: one.rejected + other.rejected,
        failed: one.failed + other.failed,
    }
}

fn cores(before: Option<Duration>, took: Duration) -> Option<f64> {
    let used = process::cpu(std::process::id())?.saturating_sub(before?);
    Some(used.as_secs_f64() / took.as_secs_f64().max(0.001))
}

/// Waits for the last events: as many as must come, or until none come any more. `None` without
/// subscribers; else how many did not come, where that can be known.
async fn hear_out(
    plan: &Plan,
    counted: &Counted,
    subscribers: &Subscribers,
) -> Option<Option<u64>> {
    let heard = &subscribers.heard;
    let all = u64::try_from(plan.subscribers).unwrap_or(u64::MAX);
    if all == 0 {
        return None;
    }
    let accepted = counted.measured.accepted + counted.warmup.accepted;
    let expected = plan.filters.is_empty().then_some(accepted * all);
    let deadline = Instant::now() + EVENTS_PATIENCE;
    let (mut last, mut changed) = (heard.events(), Instant::now());
    while expected.is_none_or(|expected| last < expected) {
        let now = Instant::now();
        // A stream that has ended brings no more, so that the whole number never comes.
        let patience =
            if expected.is_some() && heard.ended() == 0 { MISSING_SILENCE } else { EVENTS_SILENCE };
        if now >= changed + patience || now >= deadline {
            break;
        }
        tokio::time::sleep(TICK / 10).await;
        let events = heard.events();
        if events != last {
            (last, changed) = (events, Instant::now());
        }
    }
    Some(expected.map(|expected| expected.saturating_sub(last)))
}

/// What a report needs beside what senders counted.
struct Rest {
    unsent: u64,
    events: Option<Events>,
    projector: Projector,
    cores: Option<f64>,
    stolen: Option<f64>,
}

fn events(missing: Option<u64>, window: &Window, heard: &Heard) -> Events {
    Events {
        received: heard.events(),
        per_s: window.a_second(window.events),
        bytes_per_s: window.a_second(window.bytes),
        missing,
        out_of_order: heard.disorder(),
        others: heard.others(),
        ended: heard.ended(),
        why_ended: heard.why(),
        latency_ms: heard.latency().millis(),
    }
}

fn report(
    plan: &Plan,
    address: &Address,
    counted: &Counted,
    window: &Window,
    rest: Rest,
) -> Report {
    let late = if plan.rate.is_some() { counted.late } else { 0 };
    let own_delay = counted.own_delay.millis();
    Report {
        server: address.to_string(),
        asked: Asked::of(plan),
        measured_s: window.seconds(),
        answered_s: counted
            .last_answer
            .map_or(0.0, |at| at.saturating_duration_since(window.from).as_secs_f64()),
        accepted_per_s: window.a_second(window.accepted),
        messages: counted.measured,
        unsent: rest.unsent,
        warmup: counted.warmup,
        first_trouble: counted.first_trouble.clone(),
        publish_ms: counted.publish.millis(),
        events: rest.events,
        projector: rest.projector,
        generator: Generator {
            cores: rest.cores,
            stolen: rest.stolen,
            ..Generator::of(late, counted.requests, own_delay)
        },
    }
}

impl Window {
    fn seconds(&self) -> f64 {
        (self.to - self.from).as_secs_f64()
    }

    /// Nothing where nothing was measured: a run can be ended during its warm-up.
    fn a_second(&self, count: u64) -> f64 {
        if self.to > self.from { count as f64 / self.seconds() } else { 0.0 }
    }
}
