//! Memory of idle streams, speed of a replay, and time to resume many streams.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::error::SuiteError;
use super::row::{Bound, Row};
use super::secure_streams;
use super::testbed::{Testbed, wait_for};
use crate::bare::postgres::BareDatabase;
use agentbus_bench::limits::SAMPLE_EVERY;
use agentbus_bench::open_files;
use agentbus_bench::server::Server;
use agentbus_bench::subscribers::SubscriberOptions;

/// Number of idle streams.
const IDLE: usize = 10_000;
/// The project's target: resident memory of one idle stream.
const MAX_IDLE_BYTES: f64 = 8.0 * 1024.0;
/// Time between the opening of the last stream and the reading of memory.
const SETTLE: Duration = Duration::from_secs(2);
/// Number of replayed messages.
const REPLAYED: usize = 1_000_000;
/// The project's target: ratio of the replay to the bare read.
const REPLAY_RATIO: f64 = 0.7;
/// Rows of a page of the bare read.
const READ_ROWS: i64 = 1_000;
/// Number of subscribers that resume together.
const RESUMING: usize = 2_000;
/// The project's target: seconds until all of them have caught up.
const MAX_CATCH_UP_S: f64 = 5.0;
/// Their concurrent connects: the accept backlog of agentbus.
const RESUME_CONNECTS: usize = 1_000;
/// Messages that the two halves are behind: beyond the ring of 8,192, and within it.
const BEYOND: u64 = 20_000;
const WITHIN: u64 = 2_000;
/// Number of tasks; each subscriber has the filter of one.
const TASKS: usize = 100;

pub(super) async fn idle(testbed: &Testbed) -> Result<Vec<Row>, SuiteError> {
    let (server, _database) = testbed.on_nats(&testbed.nats()?, &[]).await?;
    open_files::allow(IDLE)?;
    let options = SubscriberOptions::untimed(server.address());
    // The first streams allocate memory that all streams share; it does not count.
    let first = options.open_each(queries(100, ""), SAMPLE_EVERY, 100).await?;
    tokio::time::sleep(SETTLE).await;
    let before = server.resident();
    let all = options.open_each(queries(IDLE - 100, ""), SAMPLE_EVERY, 100).await?;
    tokio::time::sleep(SETTLE).await;
    let each = (server.resident() - before) / (IDLE - 100) as f64;
    let note = format!("{:.0} MiB resident with 10,000", server.resident() / 1_048_576.0);
    drop((first, all));
    server.stop().await;
    let plain = Row::new("idle stream, at 10,000: resident memory each", "bytes", each)
        .target(Bound::AtMost(MAX_IDLE_BYTES))
        .note(note);
    Ok(std::iter::once(plain).chain(secure_streams::idle(testbed).await?).collect())
}

pub(super) async fn replay(testbed: &Testbed) -> Result<Vec<Row>, SuiteError> {
    let (server, database) = testbed.on_nats(&testbed.nats()?, &[]).await?;
    let messages = testbed.fill(server.address(), testbed.count(REPLAYED), 0).await?;
    let bare = bare_read(&database, messages).await?;
    let options = SubscriberOptions::untimed(server.address());
    let received = Arc::clone(&options.received);
    let started = Instant::now();
    let reader = options.open_each(queries(1, "?from=start"), SAMPLE_EVERY, 1).await?;
    wait_for(|| received.caught_up() == 1 && received.events() >= messages, "the replay").await?;
    let rate = received.events() as f64 / started.elapsed().as_secs_f64();
    let note = format!("{} events, {} out of order", received.events(), received.out_of_order());
    drop(reader);
    server.stop().await;
    Ok(vec![
        Row::new("replay to one subscriber, from the store", "events/s", rate)
            .compared_with(bare)
            .target_ratio(Bound::AtLeast(REPLAY_RATIO))
            .note(note),
    ])
}

/// Reads the same rows by key and writes their bytes to a socket; returns rows a second.
async fn bare_read(database: &BareDatabase, messages: u64) -> Result<f64, SuiteError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let drained = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await?;
        let mut buffer = vec![0; 128 * 1024];
        while socket.read(&mut buffer).await? > 0 {}
        std::io::Result::Ok(())
    });
    let socket = tokio::sync::Mutex::new(TcpStream::connect(address).await?);
    let started = Instant::now();
    let count = database
        .read(0, READ_ROWS, |rows| {
            let bytes: Vec<u8> = rows.into_iter().flat_map(|(_, body)| body).collect();
            let socket = &socket;
            async move { socket.lock().await.write_all(&bytes).await }
        })
        .await?;
    drop(socket);
    let _ = drained.await;
    if count < messages {
        return Err(SuiteError::Failed(format!("the store has {count} of {messages} rows")));
    }
    Ok(count as f64 / started.elapsed().as_secs_f64())
}

pub(super) async fn resume(testbed: &Testbed) -> Result<Vec<Row>, SuiteError> {
    let (server, _database) = testbed.on_nats(&testbed.nats()?, &[]).await?;
    let head = testbed.fill(server.address(), testbed.count(REPLAYED) / 10, TASKS).await?;
    open_files::allow(RESUMING)?;
    let queries = |filtered: bool| -> Vec<(usize, String)> {
        let query = |number: usize| {
            let behind = if number.is_multiple_of(2) { BEYOND } else { WITHIN };
            let after = head.saturating_sub(behind);
            let task =
                if filtered { format!("&task=bench-{:05}", number % TASKS) } else { String::new() };
            (number, format!("?last_event_id={after}{task}"))
        };
        (0..RESUMING).map(query).collect()
    };
    let of_a_task = catch_up(&server, queries(true)).await?;
    let of_all = catch_up(&server, queries(false)).await?;
    server.stop().await;
    Ok(vec![
        Row::new("2,000 resuming at once, of a task each", "s", of_a_task.0)
            .target(Bound::AtMost(MAX_CATCH_UP_S))
            .note(format!("half 20,000 behind, half 2,000; {} events", of_a_task.1)),
        Row::new("the same without a filter", "s", of_all.0).note(format!(
            "{} events: {:.0}/s",
            of_all.1,
            of_all.1 as f64 / of_all.0
        )),
    ])
}

/// Opens streams; returns the seconds until all have caught up, and the number of events.
async fn catch_up(
    server: &Server,
    queries: Vec<(usize, String)>,
) -> Result<(f64, u64), SuiteError> {
    let options = SubscriberOptions::untimed(server.address());
    let received = Arc::clone(&options.received);
    let (started, all) = (Instant::now(), queries.len());
    let readers = options.open_each(queries, SAMPLE_EVERY, RESUME_CONNECTS).await?;
    wait_for(|| received.caught_up() == all || received.ended() > 0, "resuming").await?;
    let took = started.elapsed().as_secs_f64();
    drop(readers);
    match received.first_end() {
        Some(why) => Err(SuiteError::Failed(format!("a stream ended: {why}"))),
        None => Ok((took, received.events())),
    }
}

fn queries(count: usize, query: &str) -> Vec<(usize, String)> {
    (0..count).map(|number| (number, query.to_owned())).collect()
}
