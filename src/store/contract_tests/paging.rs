//! History returns exactly what [`Filter::matches`] accepts, page by page.

use chrono::Duration;
use uuid::Uuid;

use super::*;
use crate::message::{Filter, SubjectPattern};

on_both!(
    pages_are_what_the_filter_matches,
    many_values_make_one_page,
    time_ranges_hold_out_of_order,
    large_bodies_make_short_pages,
);

/// Seeded random choices. A test that fails prints the seed.
pub(super) struct Dice(pub(super) fastrand::Rng);

impl Dice {
    fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.0.usize(..choices.len())]
    }

    fn maybe<T>(&mut self, chance: f64, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.0.f64() < chance).then(|| value(self))
    }

    pub(super) fn name(&mut self) -> Token {
        token(self.of(&["a", "b", "c"]))
    }

    pub(super) fn record(&mut self, seq: u64) -> Record {
        let mut record = record(seq);
        record.kind = Kind::ALL[self.0.usize(..3)];
        record.type_ = self.name();
        record.sender_id = self.name();
        record.sender_role = self.maybe(0.8, Self::name);
        record.recipient_id = self.maybe(0.6, Self::name);
        record.task_id = self.maybe(0.6, Self::name);
        record.conversation_id = self.maybe(0.3, Self::name);
        record.in_reply_to = self.maybe(0.2, |dice| Uuid::from_u128(dice.0.u128(..3)));
        record.created_at = time("2026-01-01T00:00:00Z") + Duration::seconds(self.0.i64(0..500));
        record.subject = self.subject(&record);
        let content = self.of(&["a needle", "needles", "Needle", "need", "le", ""]);
        record.body = format!(r#"{{"n":{seq},"content":"{content}"}}"#).into();
        record
    }

    /// Usually the subject that is derived from the columns, otherwise one close to it.
    fn subject(&mut self, record: &Record) -> Subject {
        let key = match record.kind {
            Kind::Message => record.sender_role.as_ref(),
            Kind::Status => Some(&record.sender_id),
            Kind::Task => record.task_id.as_ref(),
        };
        if let Some(key) = key.filter(|_| self.0.u8(..10) < 7) {
            return Subject::derive(record.kind, key, &record.type_);
        }
        let kind = self.of(&["message", "status", "task"]);
        let rest =
            self.of(&["a", "a.b", "b.a", "a.b.c", "c.c", "\u{e9}%_.a", "a.*", "a.\"\\", "."]);
        Subject::from_log(format!("agent.{kind}.{rest}"))
    }

    pub(super) fn query(&mut self, last: u64) -> Query {
        let mut query = everything(1 + self.0.usize(..40));
        for _ in 0..self.0.usize(..4) {
            let name = self.of(&[
                "kind",
                "type",
                "sender",
                "recipient",
                "task",
                "conversation",
                "in_reply_to",
                "subject",
                "subject",
                "broadcast",
            ]);
            for _ in 0..1 + self.0.usize(..2) {
                self.parameter(name, &mut query.filter);
            }
        }
        query.descending = self.0.bool();
        query.after = self.maybe(0.3, |dice| dice.0.u64(..last));
        query.before = self.maybe(0.3, |dice| dice.0.u64(..=last + 1));
        let start = time("2026-01-01T00:00:00Z");
        query.since = self.maybe(0.2, |dice| start + Duration::seconds(dice.0.i64(-9..509)));
        query.until = self.maybe(0.2, |dice| start + Duration::seconds(dice.0.i64(-9..509)));
        query.between = self.maybe(0.15, |dice| (dice.name(), dice.name()));
        query
    }

    fn parameter(&mut self, name: &str, filter: &mut Filter) {
        let value = match name {
            "kind" => self.of(&["message", "status", "task"]).to_owned(),
            "in_reply_to" => Uuid::from_u128(self.0.u128(..3)).to_string(),
            "broadcast" => "true".to_owned(),
            "subject" => self.pattern(),
            _ => self.name().to_string(),
        };
        filter.parse_parameter(name, &value).expect("a filter").expect("valid");
    }

    pub(super) fn pattern(&mut self) -> String {
        loop {
            let kind = self.of(&["message", "status", "task", "*", "*", "other"]);
            let (key, type_) = (self.of(&["a", "b", "*"]), self.of(&["a", "b", "*"]));
            let root = self.of(&["agent", "agent", "agent", "*", "other"]);
            let mut text = format!("{root}.{kind}.{key}.{type_}");
            match self.0.u8(..8) {
                0 => text = format!("{root}.{kind}.{key}.>"),
                1 => text = format!("{root}.{kind}.>"),
                2 => text = format!("{root}.{kind}.{key}"),
                3 => text.push_str(self.of(&[".c", ".>", ".*", ".d"])),
                4 => text = self.of(&["*.>", "*.*.>", "agent.task.\u{e9}%_.a"]).to_owned(),
                _ => {}
            }
            if text.parse::<SubjectPattern>().is_ok() {
                return text;
            }
        }
    }
}

pub(super) fn model(records: &[Record], query: &Query) -> Vec<u64> {
    let wanted = |record: &&Record| {
        query.filter.matches(record)
            && query.after.is_none_or(|after| record.seq > after)
            && query.before.is_none_or(|before| record.seq < before)
            && query.since.is_none_or(|since| record.created_at >= since)
            && query.until.is_none_or(|until| record.created_at <= until)
            && query.between.as_ref().is_none_or(|(a, b)| {
                let ends = (&record.sender_id, record.recipient_id.as_ref());
                ends == (a, Some(b)) || ends == (b, Some(a))
            })
    };
    let mut seqs: Vec<u64> = records.iter().filter(wanted).map(|record| record.seq).collect();
    if query.descending {
        seqs.reverse();
    }
    seqs
}

/// Reads pages to the end, and asserts that each but the last is full. Returns the sequences.
async fn all_pages(store: &dyn Store, query: &Query) -> Vec<u64> {
    let (mut query, mut seqs) = (query.clone(), Vec::new());
    loop {
        let page = store.page(&query).await.unwrap_or_else(|error| panic!("{query:?}: {error}"));
        seqs.extend(page.messages.iter().map(|message| message.seq));
        let Some(next) = page.next else { return seqs };
        assert_eq!(page.messages.len(), query.limit, "{query:?}");
        assert_eq!(seqs.last(), Some(&next), "{query:?}");
        continue_at(&mut query, next);
    }
}

pub(super) fn continue_at(query: &mut Query, next: u64) {
    if query.descending {
        query.before = Some(next);
    } else {
        query.after = Some(next);
    }
}

/// A store with 400 random messages in two partitions, their records, and the dice that made them.
pub(super) async fn random_log(server: &Server, seed: u64) -> (Box<dyn Store>, Vec<Record>, Dice) {
    let store = server.open().await;
    let lease = lease(&*store).await;
    let mut dice = Dice(fastrand::Rng::with_seed(seed));
    let (mut records, mut seq, mut through) = (Vec::new(), 0, 0);
    for n in 0..400 {
        seq += 1 + u64::from(n % 7 == 0) * dice.0.u64(..1_500);
        if n == 200 {
            seq = 999_999;
        }
        records.push(dice.record(seq));
    }
    for batch in records.chunks(37) {
        through = write_all(&*store, &lease, through, batch).await.expect("written");
    }
    (store, records, dice)
}

async fn pages_are_what_the_filter_matches(server: Server) {
    let seed = 20_261_120;
    let (store, records, mut dice) = random_log(&server, seed).await;
    let last = records.last().expect("records").seq;
    for round in 0..700 {
        let query = dice.query(last);
        let found = all_pages(&*store, &query).await;
        assert_eq!(found, model(&records, &query), "seed {seed} round {round}: {query:?}");
    }
}

async fn many_values_make_one_page(server: Server) {
    let store = server.open().await;
    let lease = lease(&*store).await;
    let mut dice = Dice(fastrand::Rng::with_seed(3));
    let records: Vec<Record> = (1..=200).map(|seq| dice.record(seq)).collect();
    write_all(&*store, &lease, 0, &records).await.expect("written");
    let many = |names: &[&str], each: usize| {
        let mut query = everything(7);
        for name in names {
            for n in 0..each {
                let value = if n == 0 { "a".to_owned() } else { format!("other{n}") };
                query.filter.parse_parameter(name, &value).expect("a filter").expect("valid");
            }
        }
        query
    };
    for query in [
        many(&["sender", "type"], 12),
        many(&["sender", "recipient"], 12),
        many(&["sender", "type", "recipient", "task"], 32),
        many(&["sender"], 128),
        many(&["type"], 128),
        many(&["task"], 128),
    ] {
        assert_eq!(all_pages(&*store, &query).await, model(&records, &query), "{query:?}");
    }
    let mut query = everything(50);
    for n in 0..128 {
        let pattern = format!("agent.*.{}.>", "a.".repeat(n) + "b");
        query.filter.parse_parameter("subject", &pattern).expect("a filter").expect("valid");
    }
    query.filter.parse_parameter("kind", "task").expect("a filter").expect_err("one too many");
    assert_eq!(all_pages(&*store, &query).await, model(&records, &query));
}

async fn time_ranges_hold_out_of_order(server: Server) {
    let store = server.open().await;
    let lease = lease(&*store).await;
    let start = time("2026-01-01T00:00:00Z");
    let mut dice = Dice(fastrand::Rng::with_seed(7));
    let mut through = 0;
    let mut records = Vec::new();
    for seq in 1..=6_000_u64 {
        let mut record = record(seq);
        // The times rise, except for some from long ago and some from clocks that are ahead.
        let wander = if seq % 997 == 0 { dice.0.i64(-4_000..4_000) } else { dice.0.i64(-3..3) };
        record.created_at = start + Duration::seconds(seq as i64 + wander);
        records.push(record);
    }
    for batch in records.chunks(1_000) {
        through = write_all(&*store, &lease, through, batch).await.expect("written");
    }
    for _ in 0..60 {
        let mut query = everything(700);
        let from = dice.0.i64(-200..6_500);
        query.descending = dice.0.bool();
        query.since = dice.maybe(0.8, |_| start + Duration::seconds(from));
        query.until =
            dice.maybe(0.8, |dice| start + Duration::seconds(from + dice.0.i64(-5..1_500)));
        assert_eq!(all_pages(&*store, &query).await, model(&records, &query), "{query:?}");
    }
}

async fn large_bodies_make_short_pages(server: Server) {
    let store = server.open().await;
    let lease = lease(&*store).await;
    let mut records: Vec<Record> = (1..=12).map(record).collect();
    for record in &mut records {
        let letters = vec![b'a' + (record.seq % 26) as u8; 1_000_000];
        record.body = [b"{\"content\":\"", &letters[..], b"\"}"].concat().into();
    }
    write_all(&*store, &lease, 0, &records).await.expect("written");
    for descending in [false, true] {
        let mut query = everything(1_000);
        query.descending = descending;
        let page = store.page(&query).await.expect("a page");
        let last = page.messages.last().expect("nine").seq;
        assert_eq!((page.messages.len(), page.next), (9, Some(last)));
        assert_eq!(last, if descending { 4 } else { 9 });
        continue_at(&mut query, last);
        let rest = store.page(&query).await.expect("a page");
        assert_eq!((rest.messages.len(), rest.next), (3, None));
    }
    assert_eq!(store.originals(1, 100).await.expect("rows").len(), 9);
}
