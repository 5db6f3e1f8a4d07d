//! Commands that process messages, what they have run, and workers.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use serde_json::{Value, json};

use super::folder::{Folder, Log};
use super::process::{Process, Spec};
use super::{Agentbus, Http, eventually};

pub const LIMIT: Duration = Duration::from_secs(30);
/// The ack wait, and time for what follows it.
pub const REDELIVERY: Duration = Duration::from_secs(60);

/// Notes each attempt in the file `ran` of its working directory, or the one that `RAN` names, and does as the content says.
pub const COMMAND: &str = r#"
read -r line
echo "$AGENTBUS_SEQ $AGENTBUS_ATTEMPT" >> "${RAN:-ran}"
case "$line" in
    *'"content":"busy"'*) echo not now >&2; exit 75 ;;
    *'"content":"bad"'*) echo no such thing >&2; exit 3 ;;
    *'"content":"second time"'*) [ "$AGENTBUS_ATTEMPT" -gt 1 ] || exit 75 ;;
    *'"content":"slow"'*) sleep 600 ;;
esac
"#;

/// Where a server's command notes what it ran.
pub fn ran_at(agentbus: &Agentbus) -> PathBuf {
    agentbus.data_dir().with_file_name("ran")
}

/// The attempts that ended or run: sequence and number, in order of their begin.
pub fn ran(path: &Path) -> Vec<(u64, u32)> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let line = |line: &str| {
        let (seq, attempt) = line.split_once(' ')?;
        Some((seq.parse().ok()?, attempt.parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

/// The same, of each message once, by sequence.
pub fn ran_seqs(path: &Path) -> Vec<u64> {
    let mut seqs: Vec<u64> = ran(path).into_iter().map(|(seq, _)| seq).collect();
    seqs.sort_unstable();
    seqs.dedup();
    seqs
}

pub fn message(content: &str) -> Value {
    json!({"kind": "task", "type": "note", "sender_id": "ann", "task_id": "t1", "content": content})
}

/// Posts a message; gives its sequence.
pub async fn post(http: &Http, content: &str) -> u64 {
    let answer = http.post_json("/v1/messages", &message(content)).await.expect(201);
    answer.json()["seq"].as_u64().expect("a sequence")
}

/// Posts so many with this content; gives the last sequence.
pub async fn post_many(http: &Http, content: &str, count: usize) -> u64 {
    let messages: Vec<Value> = (0..count).map(|_| message(content)).collect();
    let answer = http.post_ndjson("/v1/messages/batch", &messages).await.expect(200).json();
    assert_eq!(answer["accepted"], count, "{answer}");
    answer["results"][count - 1]["seq"].as_u64().expect("a sequence")
}

/// The processor's consumer as the server shows it.
pub async fn consumer(http: &Http) -> Value {
    let list = http.get("/v1/consumers").await.expect(200).json();
    let all = list["consumers"].as_array().expect("a list").clone();
    all.into_iter().find(|one| one["kind"] == "processor").unwrap_or(Value::Null)
}

/// Waits until the consumer is as wanted.
pub async fn consumer_is(http: &Http, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    eventually(REDELIVERY, what, async || {
        let now = consumer(http).await;
        holds(&now).then_some(now)
    })
    .await
}

/// Waits until everything up to a sequence is done.
pub async fn processed(http: &Http, through: u64) -> Value {
    consumer_is(http, &format!("all is processed up to {through}"), |now| {
        // Before its first handler a consumer counts everything as done.
        now["state"] != "unhandled"
            && now["processed_through"].as_u64() >= Some(through)
            && now["lag"]["messages"] == 0
    })
    .await
}

pub async fn dead_letters(http: &Http) -> Vec<Value> {
    let list = http.get("/v1/dead-letters").await.expect(200).json();
    list["dead_letters"].as_array().expect("a list").clone()
}

/// `agentbus worker`. Dropped, it is killed.
pub struct Worker {
    process: Process,
    log: Log,
    folder: Folder,
}

impl Worker {
    /// A worker beside a server, with that server's environment; it notes what it ran in its own folder.
    pub fn start(env: &[(&str, &str)], args: &[&str]) -> Self {
        let folder = Folder::new("worker");
        let log = Log::new("agentbus worker", folder.join("stderr"));
        let env = env.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let args = std::iter::once(&"worker").chain(args).map(|arg| (*arg).to_owned()).collect();
        let process = Process::spawn(Spec {
            program: Path::new(env!("CARGO_BIN_EXE_agentbus")),
            args,
            env,
            file_limit: None,
            folder: &folder,
            user: None,
            stdout: std::fs::File::create(folder.join("stdout")).expect("create a file"),
            stderr: log.append(),
        });
        Self { process, log, folder }
    }

    /// Where it notes what it ran.
    pub fn ran_at(&self) -> PathBuf {
        self.folder.join("ran")
    }

    pub fn log(&self) -> String {
        self.log.text()
    }

    pub fn kill9(&self) {
        self.process.kill9();
    }

    pub async fn terminate(&self) -> ExitStatus {
        self.process.terminate(LIMIT).await.expect("a worker ends when asked")
    }

    pub async fn exit(&self) -> ExitStatus {
        self.process.exit(LIMIT).await.expect("it ends by itself")
    }
}

/// Publishes bytes that no client library would: `headers` with their version line and the empty line at their end.
pub async fn publish_raw(nats_url: &str, subject: &str, headers: &[u8], payload: &[u8]) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let address = nats_url.trim_start_matches("nats://");
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("connect");
    let (head, whole) = (headers.len(), headers.len() + payload.len());
    let mut bytes = b"CONNECT {\"headers\":true,\"verbose\":false}\r\n".to_vec();
    bytes.extend_from_slice(format!("HPUB {subject} {head} {whole}\r\n").as_bytes());
    bytes.extend_from_slice(&[headers, payload, b"\r\nPING\r\n"].concat());
    stream.write_all(&bytes).await.expect("write");
    let (mut heard, mut piece) = (Vec::new(), [0; 1_024]);
    while !heard.windows(4).any(|part| part == b"PONG") {
        let read = stream.read(&mut piece).await.expect("read");
        assert!(read > 0, "{}", String::from_utf8_lossy(&heard));
        heard.extend_from_slice(&piece[..read]);
    }
}
