//! Encoded requests: built once, then patched.
//!
//! Invariant: what differs between requests has a fixed width: the id, the number of the task, and the intended time in
//! microseconds since 1970. The time is the last value of the message before what the server appends, so that
//! subscribers find it from the end.

use std::time::Instant;

use memchr::memmem;

use super::address::Address;
use super::plan::Plan;

/// Digits of a time: microseconds from 2001 to 2286.
const TIME_DIGITS: usize = 16;
/// Digits of a task's number.
const TASK_DIGITS: usize = 5;
/// Bytes of a hyphenated UUID.
const ID_BYTES: usize = 36;
/// The bytes before the time.
pub const TIME_MARK: &[u8] = b"\",\"at\":";
/// Number of bytes of `created_at` with microseconds, the end of the message and of the event.
const END_BYTES: usize = r#","created_at":"2026-11-20T17:07:19.820013Z"}"#.len() + 2;
/// The begin of the key's id, which follows the metadata if there is a key.
const KEY_MARK: &[u8] = b",\"key_id\":\"";
/// The most bytes of that member: a token has 64.
const MAX_KEY_BYTES: usize = KEY_MARK.len() + 64 + 1;

/// Converts an `Instant` to microseconds since 1970, by one reading of both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Epoch {
    instant: Instant,
    micros: u64,
}

impl Epoch {
    /// Reads both clocks.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "a measurement reads both clocks at the same time"
    )]
    pub fn now() -> Self {
        let micros = u64::try_from(chrono::Utc::now().timestamp_micros()).unwrap_or_default();
        Self { instant: Instant::now(), micros }
    }

    /// Microseconds since 1970.
    #[must_use]
    pub fn micros(&self, time: Instant) -> u64 {
        let since = time.saturating_duration_since(self.instant).as_micros();
        self.micros + u64::try_from(since).unwrap_or(u64::MAX / 2)
    }
}

/// Marks the messages of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunTag([u8; 8]);

impl RunTag {
    /// A new tag.
    #[must_use]
    pub fn random() -> Self {
        Self(std::array::from_fn(|_| fastrand::lowercase() as u8))
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// The intended time of an event's message, in microseconds since 1970; `None` for a message of another run or client.
/// The event must include its final empty line.
#[must_use]
pub fn intended_micros(event: &[u8], run: RunTag) -> Option<u64> {
    // The time ends one byte before the metadata, whose last byte is a brace.
    let end = end_of_metadata(event)?.checked_sub(1)?;
    let start = end.checked_sub(TIME_DIGITS)?;
    let mark = start.checked_sub(TIME_MARK.len())?;
    let tag = mark.checked_sub(run.0.len())?;
    if &event[mark..start] != TIME_MARK || event[tag..mark] != run.0 {
        return None;
    }
    event[start..end].iter().try_fold(0_u64, |number, &digit| {
        digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0'))
    })
}

/// Where the metadata end: before `created_at`, and before the key's id if there is one.
fn end_of_metadata(event: &[u8]) -> Option<usize> {
    let end = event.len().checked_sub(END_BYTES)?;
    if event[..end].last() != Some(&b'"') {
        return Some(end);
    }
    let from = end.saturating_sub(MAX_KEY_BYTES);
    memmem::rfind(&event[from..end], KEY_MARK).map(|at| from + at)
}

/// Offsets of the parts of a message that are patched.
#[derive(Clone, Copy, Debug)]
struct Offsets {
    id: Option<usize>,
    task: Option<usize>,
    time: usize,
}

/// A request that is patched before each use.
pub struct Request {
    bytes: Vec<u8>,
    offsets: Vec<Offsets>,
    tasks: u64,
    random: fastrand::Rng,
}

impl Request {
    /// The requests of a plan: one for each size, or one batch with the sizes in turn.
    #[must_use]
    pub fn all(plan: &Plan, address: &Address, run: RunTag) -> Vec<Self> {
        if plan.batch > 1 {
            return vec![Self::of(plan, address, run, &plan.sizes, plan.batch)];
        }
        plan.sizes.iter().map(|size| Self::of(plan, address, run, &[*size], 1)).collect()
    }

    fn of(plan: &Plan, address: &Address, run: RunTag, sizes: &[usize], messages: usize) -> Self {
        let mut body = String::new();
        let mut offsets = Vec::with_capacity(messages);
        for size in sizes.iter().cycle().take(messages) {
            offsets.push(append_message(&mut body, plan, run, *size));
        }
        let (path, content_type) = match plan.batch {
            1 => ("/v1/messages", "application/json"),
            _ => ("/v1/messages/batch", "application/x-ndjson"),
        };
        let query = if plan.committed { "?ack=committed" } else { "" };
        let head = format!(
            "{}Content-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
            address.head("POST", &format!("{path}{query}")),
            body.len()
        );
        for offset in &mut offsets {
            offset.time += head.len();
            offset.id = offset.id.map(|at| at + head.len());
            offset.task = offset.task.map(|at| at + head.len());
        }
        let tasks = plan.tasks as u64;
        Self { bytes: (head + &body).into_bytes(), offsets, tasks, random: fastrand::Rng::new() }
    }

    /// The bytes of the request with this number and intended time.
    pub fn patched(&mut self, number: u64, micros: u64) -> &[u8] {
        let first = number * self.offsets.len() as u64;
        for (offset, message) in self.offsets.iter().zip(first..) {
            write_digits(&mut self.bytes[offset.time..offset.time + TIME_DIGITS], micros);
            if let Some(at) = offset.task {
                write_digits(&mut self.bytes[at..at + TASK_DIGITS], message % self.tasks);
            }
            if let Some(at) = offset.id {
                let mut bits = [0; 10];
                self.random.fill(&mut bits);
                // Version 7, as most clients use: the access pattern of the store's index depends on it.
                let id = uuid::Builder::from_unix_timestamp_millis(micros / 1_000, &bits);
                id.into_uuid().hyphenated().encode_lower(&mut self.bytes[at..at + ID_BYTES]);
            }
        }
        &self.bytes
    }

    /// Number of messages.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.offsets.len() as u64
    }
}

/// Appends one message as a line.
fn append_message(body: &mut String, plan: &Plan, run: RunTag, size: usize) -> Offsets {
    if !body.is_empty() {
        body.push('\n');
    }
    body.push('{');
    let id = plan.ids.then(|| {
        body.push_str(r#""id":""#);
        let at = body.len();
        body.push_str(&"0".repeat(ID_BYTES));
        body.push_str(r#"","#);
        at
    });
    let kind = if plan.tasks > 0 { "task" } else { "message" };
    body.push_str(&format!(r#""kind":"{kind}","type":"bench","sender_id":"bench""#));
    let task = (plan.tasks > 0).then(|| {
        body.push_str(r#","task_id":"bench-"#);
        let at = body.len();
        body.push_str(&"0".repeat(TASK_DIGITS));
        body.push('"');
        at
    });
    let content = "x".repeat(size);
    body.push_str(&format!(r#","content":"{content}","metadata":{{"run":"{}","at":"#, run.text()));
    let time = body.len();
    body.push_str(&"1".repeat(TIME_DIGITS));
    body.push_str("}}");
    Offsets { id, task, time }
}

fn write_digits(target: &mut [u8], mut number: u64) {
    for digit in target.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use agentbus_message::{Draft, Outgoing};

    fn body(bytes: &[u8]) -> &str {
        let text = std::str::from_utf8(bytes).expect("UTF-8");
        text.split_once("\r\n\r\n").expect("a head").1
    }

    #[test]
    fn every_message_is_valid() {
        let plan = Plan { ids: true, tasks: 3, batch: 4, sizes: vec![0, 700], ..Plan::default() };
        let mut all = Request::all(&plan, &Address::local(1), RunTag::random());
        let bytes = all[0].patched(1, 1_700_000_000_123_456).to_vec();
        let head = std::str::from_utf8(&bytes).expect("UTF-8");
        assert!(head.contains(&format!("Content-Length: {}\r\n", body(&bytes).len())));
        assert!(head.starts_with("POST /v1/messages/batch HTTP/1.1\r\n"));
        let drafts: Vec<Draft> =
            body(&bytes).lines().map(|line| Draft::parse(line.as_bytes()).expect("one")).collect();
        assert_eq!(drafts.len(), 4);
        assert_ne!(drafts[0].id(), drafts[1].id());
        assert!(body(&bytes).lines().nth(2).is_some_and(|line| line.contains("bench-00000")));
    }

    #[test]
    fn without_batches_each_size_has_its_own_request() {
        let plan = Plan { sizes: vec![1, 2], committed: true, ..Plan::default() };
        let mut all = Request::all(&plan, &Address::local(1), RunTag::random());
        assert_eq!(all.len(), 2);
        let bytes = all[1].patched(0, 1).to_vec();
        assert!(bytes.starts_with(b"POST /v1/messages?ack=committed HTTP/1.1\r\n"));
        assert!(body(&bytes).contains(r#""content":"xx""#));
        assert_eq!(all[0].messages(), 1);
    }

    #[test]
    fn the_time_is_found_in_the_event() {
        let run = RunTag::random();
        let plan = Plan { sizes: vec![40], ..Plan::default() };
        let mut request = Request::all(&plan, &Address::local(1), run).remove(0);
        let sent = request.patched(0, 1_795_000_000_123_456).to_vec();
        let draft = Draft::parse(body(&sent).as_bytes()).expect("one");
        let outgoing = Outgoing::encode(&draft, uuid::Uuid::nil(), chrono::DateTime::UNIX_EPOCH);
        let event = [b"id: 7\nevent: message\ndata: ".as_slice(), &outgoing.body, b"\n\n"].concat();
        assert_eq!(intended_micros(&event, run), Some(1_795_000_000_123_456));
        assert_eq!(intended_micros(&event, RunTag::random()), None);
        let body = std::str::from_utf8(&outgoing.body).expect("UTF-8");
        let body = body.replace(",\"created_at\"", ",\"key_id\":\"4f9x2k7q1m0c\",\"created_at\"");
        let event = format!("id: 7\nevent: message\ndata: {body}\n\n");
        assert_eq!(intended_micros(event.as_bytes(), run), Some(1_795_000_000_123_456));
        assert_eq!(intended_micros(b"id: 7\n\n", run), None);
    }
}
