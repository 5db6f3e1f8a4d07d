//! The memory bus on a journal of which every call can fail.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Journal, JournalError, MemoryBus};
use crate::bus::{Ack, Bus, Precondition, PublishError};
use crate::clock::Clock;
use crate::limits::MEMORY_QUEUE_BYTES;
use crate::message::{Draft, HEADER_MSG_ID, LogEntry, Outgoing};

/// The outcome of the next append.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Done,
    /// Written, but the result is lost.
    AnswerLost,
    /// Not written: the call returns an error.
    Refused,
    /// Written, but the result is lost, and so many of the next calls fail.
    Silent(usize),
    /// Only the first entry is written; the call returns an error.
    Torn,
    /// Not written: the call returns an error, and the journal has an entry of an earlier attempt with this
    /// id instead.
    Overtaken(u128),
    Taken,
}

#[derive(Default)]
struct Script {
    rows: Vec<LogEntry>,
    fates: VecDeque<Fate>,
    silent: usize,
}

#[derive(Default)]
struct Scripted(Mutex<Script>);

impl Scripted {
    fn with(fates: &[Fate]) -> Arc<Self> {
        let script = Script { fates: fates.iter().copied().collect(), ..Script::default() };
        Arc::new(Self(Mutex::new(script)))
    }

    fn script(&self) -> std::sync::MutexGuard<'_, Script> {
        self.0.lock().expect("no test panics inside")
    }

    fn ask(&self) -> Result<std::sync::MutexGuard<'_, Script>, JournalError> {
        let mut script = self.script();
        if script.silent > 0 {
            script.silent -= 1;
            return Err(JournalError::Unavailable("silent".to_owned()));
        }
        Ok(script)
    }

    fn ids(&self) -> Vec<String> {
        let script = self.script();
        script.rows.iter().filter_map(|raw| raw.header(HEADER_MSG_ID)).map(str::to_owned).collect()
    }
}

#[async_trait]
impl Journal for Scripted {
    async fn append(&self, old: u64, entries: Vec<LogEntry>) -> Result<(), JournalError> {
        let mut script = self.ask()?;
        assert_eq!(old, script.rows.len() as u64, "an append continues after the last row");
        let lost = || Err(JournalError::Unavailable("no answer".to_owned()));
        match script.fates.pop_front().unwrap_or(Fate::Done) {
            Fate::Done => {
                script.rows.extend(entries);
                Ok(())
            }
            Fate::AnswerLost => {
                script.rows.extend(entries);
                lost()
            }
            Fate::Refused => lost(),
            Fate::Silent(questions) => {
                script.rows.extend(entries);
                script.silent = questions;
                lost()
            }
            Fate::Torn => {
                script.rows.extend(entries.into_iter().take(1));
                lost()
            }
            Fate::Overtaken(id) => {
                let mut late = entries.into_iter().next().expect("an entry");
                late.headers = vec![(HEADER_MSG_ID.to_owned(), Uuid::from_u128(id).to_string())];
                script.rows.push(late);
                lost()
            }
            Fate::Taken => Err(JournalError::Lost),
        }
    }

    async fn last(&self) -> Result<u64, JournalError> {
        Ok(self.ask()?.rows.len() as u64)
    }

    async fn find(&self, ids: &[Uuid]) -> Result<HashMap<Uuid, u64>, JournalError> {
        let script = self.ask()?;
        let rows = script
            .rows
            .iter()
            .filter_map(|raw| Some((raw.header(HEADER_MSG_ID)?.parse::<Uuid>().ok()?, raw.seq)));
        Ok(rows.filter(|(id, _)| ids.contains(id)).collect())
    }

    async fn read(&self, from: u64, limit: usize) -> Result<Vec<LogEntry>, JournalError> {
        let script = self.ask()?;
        Ok(script.rows.iter().filter(|raw| raw.seq >= from).take(limit).cloned().collect())
    }

    async fn first(&self) -> Result<Option<u64>, JournalError> {
        Ok(self.ask()?.rows.first().map(|raw| raw.seq))
    }
}

struct Running {
    bus: MemoryBus,
    journal: Arc<Scripted>,
    writer: tokio::task::JoinHandle<Result<(), JournalError>>,
    cancel: CancellationToken,
}

async fn run(fates: &[Fate]) -> Running {
    let journal = Scripted::with(fates);
    let opened = MemoryBus::open(Arc::clone(&journal) as Arc<dyn Journal>, Clock::system()).await;
    let (bus, writer) = opened.expect("the journal answers");
    let cancel = CancellationToken::new();
    let writer = tokio::spawn(writer.run(cancel.clone()));
    Running { bus, journal, writer, cancel }
}

fn message(id: u128) -> Outgoing {
    let json =
        format!(r#"{{"kind":"status","type":"t","sender_id":"a","id":"{}"}}"#, Uuid::from_u128(id));
    let draft = Draft::parse(json.as_bytes()).expect("valid");
    Outgoing::encode(&draft, Uuid::nil(), chrono::DateTime::UNIX_EPOCH)
}

impl Running {
    async fn publish(&self, id: u128) -> Result<Ack, PublishError> {
        self.bus.publish(vec![message(id)]).await.pop().expect("one answer")
    }

    /// Waits until the bus is healthy again, without publishing.
    async fn ready(&self) {
        let healthy = async {
            while self.bus.health().is_err() {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        let limit = std::time::Duration::from_secs(10);
        tokio::time::timeout(limit, healthy).await.expect("becomes ready by itself");
    }

    fn seq(result: Result<Ack, PublishError>) -> (u64, bool) {
        let ack = result.expect("acknowledged");
        (ack.seq, ack.duplicate)
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_result_of_an_append_is_still_an_ack() {
    let running = run(&[Fate::AnswerLost, Fate::Silent(3), Fate::Refused]).await;
    for id in 1..=3 {
        assert_eq!(Running::seq(running.publish(id).await), (id as u64, false));
    }
    assert_eq!(running.journal.ids().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_ends_as_one_message_when_retried() {
    let running = run(&[Fate::Silent(1_000)]).await;
    let unknown = running.publish(1).await;
    assert!(matches!(unknown, Err(PublishError::Unknown(_))), "{unknown:?}");
    assert!(running.bus.health().is_err());
    running.journal.script().silent = 0;
    running.ready().await;
    assert_eq!(Running::seq(running.publish(1).await), (1, true));
    assert_eq!(Running::seq(running.publish(2).await), (2, false));
    assert!(running.bus.health().is_ok());
    let mut reader = running.bus.reader(1).await.expect("reads");
    let seen = reader.next().await.expect("entries");
    assert_eq!(seen.iter().map(|raw| raw.seq).collect::<Vec<_>>(), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn repeats_inside_one_commit_are_recognised() {
    let running = run(&[]).await;
    let answers = running.bus.publish(vec![message(1), message(2), message(1)]).await;
    let placed: Vec<_> = answers.into_iter().map(Running::seq).collect();
    assert_eq!(placed, [(1, false), (2, false), (1, true)]);
    assert_eq!(Running::seq(running.publish(2).await), (2, true));
}

#[tokio::test(start_paused = true)]
async fn calls_queued_at_shutdown_are_still_written() {
    let running = run(&[]).await;
    let publish = running.publish(1);
    running.cancel.cancel();
    assert_eq!(Running::seq(publish.await), (1, false));
    running.writer.await.expect("no panic").expect("a clean end");
    assert!(matches!(
        running.bus.publish(vec![message(2)]).await[..],
        [Err(PublishError::NotSent(_))]
    ));
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_was_taken_over_ends_the_writer() {
    let running = run(&[Fate::Taken]).await;
    let answer = running.publish(1).await;
    assert!(matches!(answer, Err(PublishError::Unknown(_))), "{answer:?}");
    assert!(matches!(running.writer.await.expect("no panic"), Err(JournalError::Lost)));
}

#[tokio::test(start_paused = true)]
async fn a_torn_append_continues_where_it_broke_off() {
    let running = run(&[Fate::Torn]).await;
    let answers = running.bus.publish(vec![message(1), message(2), message(3)]).await;
    let placed: Vec<_> = answers.into_iter().map(Running::seq).collect();
    assert_eq!(placed, [(1, false), (2, false), (3, false)]);
    assert_eq!(running.journal.ids().len(), 3);
}

/// Publishes three messages, of which only the first is written before the append fails. Returns the
/// outcomes.
async fn torn_for_good(then: &[Fate]) -> (Running, Vec<Result<Ack, PublishError>>) {
    let running = run(&[&[Fate::Torn], then].concat()).await;
    let answers = running.bus.publish(vec![message(1), message(2), message(3)]).await;
    (running, answers)
}

#[tokio::test(start_paused = true)]
async fn what_was_written_of_a_group_that_broke_off_is_acknowledged() {
    let (running, answers) = torn_for_good(&[Fate::Refused; 200]).await;
    assert_eq!(answers[0].as_ref().map(|ack| ack.seq), Ok(1));
    assert!(answers[1..].iter().all(Result::is_err), "{answers:?}");
    assert_eq!(running.journal.ids(), [Uuid::from_u128(1).to_string()]);
    let mut reader = running.bus.reader(1).await.expect("reads");
    assert_eq!(reader.next().await.expect("what was acknowledged")[0].seq, 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_written_before_another_write_landed_is_acknowledged() {
    let (running, answers) = torn_for_good(&[Fate::Overtaken(9)]).await;
    assert_eq!(answers[0].as_ref().map(|ack| ack.seq), Ok(1), "it is in the journal");
    for answer in &answers[1..] {
        assert!(matches!(answer, Err(PublishError::NotSent(_))), "{answer:?}");
    }
    assert_eq!(running.journal.ids(), [1, 9].map(|id| Uuid::from_u128(id).to_string()));
}

#[tokio::test(start_paused = true)]
async fn what_may_be_written_of_a_group_that_broke_off_is_unknown() {
    let (running, answers) = torn_for_good(&[Fate::Silent(1_000)]).await;
    assert_eq!(answers[0].as_ref().map(|ack| ack.seq), Ok(1));
    for answer in &answers[1..] {
        assert!(matches!(answer, Err(PublishError::Unknown(_))), "{answer:?}");
    }
    assert_eq!(running.journal.ids().len(), 3);
    running.journal.script().silent = 0;
    running.ready().await;
    let again = running.bus.publish(vec![message(1), message(2), message(3)]).await;
    let placed: Vec<_> = again.into_iter().map(Running::seq).collect();
    assert_eq!(placed, [(1, true), (2, true), (3, true)]);
}

#[tokio::test(start_paused = true)]
async fn abandoned_messages_are_not_written() {
    let running = run(&[]).await;
    let mut left = Box::pin(running.publish(1));
    assert!(futures_util::poll!(&mut left).is_pending(), "it waits for the writer");
    drop(left);
    assert_eq!(Running::seq(running.publish(2).await), (1, false));
    assert_eq!(running.journal.ids(), [Uuid::from_u128(2).to_string()]);
}

/// Publishes `messages` until the queue is full, while the writer takes none. Returns the number of publishes
/// queued, and the error of the next one.
async fn fill(running: &Running, messages: &[Outgoing]) -> (usize, PublishError) {
    let mut waiting = Vec::new();
    loop {
        let mut publish = running.bus.publish(messages.to_vec());
        match futures_util::poll!(&mut publish) {
            std::task::Poll::Pending => waiting.push(publish),
            std::task::Poll::Ready(mut refused) => {
                let refused = refused.pop().expect("an answer").expect_err("no room");
                return (waiting.len(), refused);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_queue_of_publishes_is_bounded_in_bytes() {
    let running = run(&[]).await;
    let large = Outgoing { body: vec![b'x'; 1 << 20].into(), ..message(1) };
    let small: Vec<_> = (0..1_000).map(message).collect();
    let bytes = |m: &Outgoing| m.body.len() + size_of::<Outgoing>();
    for messages in [vec![large; 2], small] {
        let (count, refused) = fill(&running, &messages).await;
        assert!(matches!(refused, PublishError::NotSent(_)), "{refused:?}");
        let held = count * messages.iter().map(bytes).sum::<usize>();
        println!("{count} publishes of {} messages, {} KiB", messages.len(), held >> 10);
        assert!((MEMORY_QUEUE_BYTES / 2..=MEMORY_QUEUE_BYTES).contains(&held), "{held} bytes");
        // An abandoned publish returns its permits.
        assert!(Running::seq(running.publish(9_999).await).0 == 1, "only this one was written");
    }
    assert_eq!(running.journal.ids().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_late_write_of_another_message_is_not_an_ack() {
    let running = run(&[Fate::Overtaken(9)]).await;
    let refused = running.publish(1).await;
    assert!(matches!(refused, Err(PublishError::NotSent(_))), "{refused:?}");
    assert_eq!(Running::seq(running.publish(1).await), (2, false));
    assert_eq!(Running::seq(running.publish(9).await), (1, true));
}

#[tokio::test(start_paused = true)]
async fn a_condition_is_decided_when_the_message_is_written() {
    let running = run(&[]).await;
    running.publish(1).await.expect("stored");
    let status = |id: u128, agent: &str| {
        let draft = Draft::lapse(agent.parse().expect("a token"), 1, Uuid::from_u128(id));
        Outgoing::encode(&draft, Uuid::nil(), chrono::DateTime::UNIX_EPOCH)
    };
    let condition = |agent: &str, known_through| Precondition {
        subjects: format!("agent.status.{agent}.*").parse().expect("a pattern"),
        newest: 0,
        known_through,
    };
    let bus = &running.bus;
    let ask =
        async |id, agent, known| bus.publish_if(status(id, agent), &condition(agent, known)).await;
    let first = ask(2, "a", 1).await.expect("answered").expect("nothing newer");
    assert_eq!((first.seq, first.duplicate), (2, false));
    assert_eq!(ask(3, "a", 1).await, Ok(None), "there is one that was not known");
    assert!(ask(3, "b", 1).await.expect("answered").is_some(), "another agent");
    let again = ask(2, "a", 1).await.expect("answered").expect("the same message");
    assert_eq!((again.seq, again.duplicate), (2, true));
    // Two publishes at the same time, in one commit or in two: one of them comes first.
    let (one, two) = tokio::join!(ask(4, "c", 3), ask(5, "c", 3));
    let taken = [one, two].into_iter().filter(|asked| matches!(asked, Ok(Some(_)))).count();
    assert_eq!(taken, 1);
    let unknown = ask(6, "d", 0).await;
    assert!(unknown.is_ok(), "the whole log is in memory: {unknown:?}");
}
