//! A command for a processor that writes down the begin and the end of each run, and readers of the state of
//! its consumer.
//!
//! The command is a shell script of builtins only, since it runs ten thousand times. The content of a message
//! decides what it does. It appends one line when a run begins and one when it ends, each in one write, so a
//! run that was killed has only the first.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use serde_json::{Value, json};

use super::folder::Folder;
use super::{Http, eventually};

/// What the command does with a message, by the first word of its content:
///
/// | word | run |
/// |---|---|
/// | `ok` | succeeds |
/// | `retry` | asks for a retry (75), always |
/// | `once` | asks for a retry at its first run, then succeeds |
/// | `mend` | asks for a retry until [`Handler::mend`] was called |
/// | `reject` | exits with 1, until [`Handler::mend`] was called |
/// | `crash` | dies of a signal, always |
/// | `slow` | succeeds after the seconds in the second word, and at once after [`Handler::mend`] |
/// | `keep` | succeeds, and keeps its standard input |
const SCRIPT: &str = r#"IFS= read -r message || :
case $message in
    '{"seq":'*'}') ;;
    # Whoever began to hand it over was killed meanwhile.
    *) exit 1 ;;
esac
seq=${message#'{"seq":'}
seq=${seq%%,*}
content=${message#*'"content":"'}
content=${content%%'"'*}
note() { read -r now _ </proc/uptime; echo "$1 $seq $now" >>"$here/runs"; }
fail() { echo "no luck with $seq" >&2; exit "$1"; }
note run
case $content in
    ok*) ;;
    retry*) fail 75 ;;
    once*) (set -C; : >"$here/once-$seq") 2>/dev/null && fail 75 ;;
    mend*) [ -e "$here/mended" ] || fail 75 ;;
    reject*) [ -e "$here/mended" ] || fail 1 ;;
    crash*) kill -KILL $$ ;;
    slow*) [ -e "$here/mended" ] || sleep "${content#slow }" ;;
    keep*) printf %s "$message" >"$here/kept-$seq" ;;
    *) fail 1 ;;
esac
note done
"#;

/// The command and its record of runs.
pub struct Handler {
    folder: Folder,
}

/// The recorded runs of one message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Runs {
    /// Runs that began.
    pub begun: u64,
    /// Runs that succeeded.
    pub done: u64,
}

impl Handler {
    /// A new command in a folder of its own.
    pub fn new() -> Self {
        let folder = Folder::new("handler");
        let script = format!("#!/bin/sh\nhere='{}'\n{SCRIPT}", folder.path().display());
        let path = folder.join("handle");
        std::fs::write(&path, script).expect("write the command");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))
            .expect("make the command executable");
        Self { folder }
    }

    /// The value for `--exec` or `PROCESSOR_EXEC`.
    pub fn command(&self) -> String {
        self.folder.join("handle").display().to_string()
    }

    /// Makes messages succeed that failed until now (see the table of words).
    pub fn mend(&self) {
        std::fs::write(self.folder.join("mended"), "").expect("write a file");
    }

    /// How many lines are recorded.
    pub fn lines(&self) -> usize {
        self.text().lines().count()
    }

    /// The size of the record in bytes: it grows with each run, and is cheap to read.
    pub fn bytes(&self) -> u64 {
        std::fs::metadata(self.folder.join("runs")).map_or(0, |it| it.len())
    }

    /// The recorded runs by sequence.
    pub fn runs(&self) -> BTreeMap<u64, Runs> {
        let mut runs = BTreeMap::<u64, Runs>::new();
        for line in self.text().lines() {
            let mut words = line.split(' ');
            let what = words.next().unwrap_or_default();
            let seq = words.next().and_then(|it| it.parse().ok());
            let seq = seq.unwrap_or_else(|| panic!("noted: {line:?}"));
            let of_it = runs.entry(seq).or_default();
            match what {
                "run" => of_it.begun += 1,
                "done" => of_it.done += 1,
                _ => panic!("noted: {line:?}"),
            }
        }
        runs
    }

    /// The recorded runs of one message.
    pub fn of(&self, seq: u64) -> Runs {
        self.runs().get(&seq).copied().unwrap_or_default()
    }

    /// The recorded lines of one message: event, sequence, seconds since the machine started.
    pub fn lines_of(&self, seq: u64) -> Vec<String> {
        let of_it = format!(" {seq} ");
        self.text().lines().filter(|line| line.contains(&of_it)).map(str::to_owned).collect()
    }

    /// What a `keep` read from standard input, without a line feed at the end.
    pub fn kept(&self, seq: u64) -> String {
        std::fs::read_to_string(self.folder.join(&format!("kept-{seq}"))).expect("what was kept")
    }

    fn text(&self) -> String {
        let text = std::fs::read(self.folder.join("runs")).unwrap_or_default();
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        String::from_utf8(text[..whole].to_vec()).expect("what is noted is text")
    }
}

/// Seconds since the machine started, as the command records them.
pub fn uptime() -> String {
    let text = std::fs::read_to_string("/proc/uptime").expect("read /proc/uptime");
    text.split(' ').next().unwrap_or_default().to_owned()
}

/// A message that the command handles as `content` says.
pub fn message(content: &str) -> Value {
    json!({"kind": "message", "type": "job", "sender_id": "ann", "content": content})
}

/// The consumer `name` in the list of consumers, if it exists.
pub async fn find_consumer(http: &Http, name: &str) -> Option<Value> {
    let list = http.get("/v1/consumers").await.expect(200).json();
    let consumers = list["consumers"].as_array().unwrap_or_else(|| panic!("{list}"));
    consumers.iter().find(|it| it["name"] == name).cloned()
}

/// Waits until the processor's consumer is running and has nothing left to do up to `seq`.
pub async fn idle(http: &Http, seq: u64, limit: Duration) -> Value {
    eventually(limit, "everything is processed", async || {
        let consumer = find_consumer(http, "agent-processor").await?;
        let counts = ["pending", "in_flight"].map(|it| consumer[it].as_u64());
        let through = consumer["processed_through"].as_u64();
        let done = counts == [Some(0), Some(0)] && through >= Some(seq);
        (done && consumer["state"] == "running").then_some(consumer)
    })
    .await
}

/// Every dead letter that `query` selects, page by page.
pub async fn dead_letters(http: &Http, query: &str) -> Vec<Value> {
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/dead-letters?limit=500&{query}{after}");
        let page = http.get(&path).await.expect(200).json();
        found.extend(page["dead_letters"].as_array().unwrap_or_else(|| panic!("{page}")).clone());
        match page["next"].as_str() {
            None => return found,
            Some(next) => after = format!("&after={next}"),
        }
        assert!(found.len() < 100_000, "dead letters have no end");
    }
}

/// The sequence of the message in a dead letter.
pub fn seq_of(dead: &Value) -> u64 {
    dead["message"]["seq"].as_u64().unwrap_or_else(|| panic!("no message: {dead}"))
}
