//! The load generator against a real server: its counts agree with the log, it refuses wrong arguments, and
//! it leaves other data alone.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::support::{Agentbus, Deployment, Mode, Nats, Postgres, for_each_mode, ports, within};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);

/// Runs `agentbus bench` against a server to its end.
async fn bench(args: &[&str], url: &str) -> Output {
    bench_with(&[args, &["--url", url]].concat(), &[]).await
}

/// Runs `agentbus bench` with these arguments and this environment, on another thread than the test's.
async fn bench_with(args: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agentbus"));
    command.arg("bench").args(args).env_clear().envs(env.iter().copied());
    command.stdin(Stdio::null());
    let ended = tokio::task::spawn_blocking(move || command.output());
    within(LIMIT, "bench ends", ended).await.expect("no panic").expect("it runs")
}

/// The benchmark suite, a separate program; `scripts/test` builds it.
fn suite_program() -> std::path::PathBuf {
    let program =
        std::path::Path::new(env!("CARGO_BIN_EXE_agentbus")).with_file_name("agentbus-bench-suite");
    assert!(program.is_file(), "{} is not built: run scripts/test", program.display());
    program
}

/// Runs the suite to its end.
async fn suite(args: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(suite_program());
    command.args(args).env_clear().envs(env.iter().copied()).stdin(Stdio::null());
    let ended = tokio::task::spawn_blocking(move || command.output());
    within(LIMIT, "the suite ends", ended).await.expect("no panic").expect("it runs")
}

async fn report(args: &[&str], url: &str) -> Value {
    let output = bench(args, url).await;
    let report = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{args:?} ended with {}: {report}", output.status);
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn number(report: &Value, pointer: &str) -> u64 {
    let value = report.pointer(pointer).unwrap_or_else(|| panic!("{pointer} of {report}"));
    value.as_u64().unwrap_or_else(|| panic!("{pointer} is {value}"))
}

/// The streams of a NATS server: name and last sequence.
async fn streams(nats: &Nats) -> Vec<(String, u64)> {
    use futures_util::TryStreamExt as _;
    let jetstream = nats.jetstream().await;
    let all = jetstream.streams().map_ok(|info| (info.config.name, info.state.last_sequence));
    let mut all: Vec<_> = all.try_collect().await.expect("streams");
    all.sort();
    all
}

/// How many databases of a suite exist on the PostgreSQL server at this address.
async fn databases(url: &str) -> i64 {
    use sqlx::Connection as _;
    let mut connection = sqlx::PgConnection::connect(url).await.expect("connect");
    let count = "SELECT count(*) FROM pg_database WHERE datname LIKE 'agent\\_bench\\_%'";
    sqlx::query_scalar(count).fetch_one(&mut connection).await.expect("a count")
}

/// How many messages of a type the store has counted.
async fn stored(deployment: &Deployment, type_: &str) -> u64 {
    let stats = deployment.http().get("/v1/stats").await.expect(200).json();
    stats["counts"]["by_type"][type_].as_u64().unwrap_or(0)
}

for_each_mode! {
    async fn the_counts_agree_with_the_log(deployment: &Deployment) {
        let url = deployment.bus();
        let args = ["--rate", "200", "--duration", "2s", "--warmup", "500ms", "--subscribers", "5", "--json"];
        let report = report(&args, url).await;
        let accepted = number(&report, "/messages/accepted");
        let warmup = number(&report, "/warmup/accepted");
        // The schedule depends only on the rate: 2 s, and a warm-up of half a second.
        assert_eq!((accepted, warmup), (400, 100), "{report}");
        // The generator waited until the store had the last acknowledged message.
        assert!(report["projector"]["caught_up_ms"].is_number(), "{report}");
        assert_eq!(stored(deployment, "bench").await, accepted + warmup);
        assert_eq!(number(&report, "/events/received"), 5 * (accepted + warmup));
        for nothing in ["/events/missing", "/events/out_of_order", "/events/ended", "/messages/failed"] {
            assert_eq!(number(&report, nothing), 0, "{nothing}: {report}");
        }
        assert_eq!(number(&report, "/publish_ms/count"), accepted);
        assert_eq!(number(&report, "/events/latency_ms/count"), 5 * accepted, "{report}");
        let page = deployment.http().get("/v1/messages?type=bench&limit=1000").await.expect(200).json();
        assert_eq!(page["messages"].as_array().map(Vec::len), usize::try_from(accepted + warmup).ok());
    }

    async fn batches_ids_sizes_and_tasks_are_messages_too(deployment: &Deployment) {
        let url = deployment.bus();
        let args = ["--rate", "1000", "--batch", "50", "--ids", "--size", "0,300", "--tasks", "4", "--ack", "committed",
            "--duration", "1s", "--warmup", "0s", "--connections", "4", "--subscribers", "4",
            "--subscriber-filter", "task=bench-{n}"];
        let report = report(&args, url).await;
        assert_eq!(number(&report, "/messages/accepted"), 1_000, "{report}");
        // Each message is an event of one of four tasks, each of which has one subscriber.
        assert_eq!(number(&report, "/events/received"), 1_000, "{report}");
        assert!(report["events"]["missing"].is_null());
        assert_eq!(stored(deployment, "bench").await, 1_000);
        let page = deployment.http().get("/v1/messages?task=bench-00003&limit=1000").await.json();
        assert_eq!(page["messages"].as_array().map(Vec::len), Some(250));
        let sizes = |message: &Value| message["content"].as_str().map(str::len);
        let page = page["messages"].as_array().expect("messages");
        assert!(page.iter().all(|message| matches!(sizes(message), Some(0 | 300))));
    }
}

#[tokio::test]
async fn a_closed_loop_ends_with_its_time_and_ctrl_c_ends_it_with_its_figures() {
    let agentbus = Agentbus::builder().memory_sqlite().start().await;
    let report =
        report(&["--duration", "300ms", "--warmup", "0ms", "--connections", "2"], agentbus.url())
            .await;
    let before = number(&report, "/messages/accepted");
    assert!(before > 0 && report["asked"]["rate"].is_null(), "{report}");

    let mut command = Command::new(env!("CARGO_BIN_EXE_agentbus"));
    command
        .args(["bench", "--duration", "1h", "--rate", "100", "--url", agentbus.url()])
        .env_clear();
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    let http = agentbus.http();
    crate::support::eventually(LIMIT, "it sends", async || {
        let stats = http.get("/v1/stats").await.expect(200).json();
        // The warm-up also publishes, for a second.
        (stats["counts"]["by_type"]["bench"].as_u64() > Some(before + 150)).then_some(())
    })
    .await;
    let pid = child.id().to_string();
    Command::new("/bin/sh").args(["-c", "kill -s INT $0", &pid]).status().expect("a signal");
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output());
    let output = within(LIMIT, "it ends", ended).await.expect("no panic").expect("an exit");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(output.status.success() && number(&report, "/messages/accepted") > 0, "{report}");
    assert!(report["measured_s"].as_f64() < Some(60.0), "{report}");
}

#[tokio::test]
async fn without_a_url_it_measures_a_server_of_its_own_and_leaves_nothing() {
    let agentbus = Agentbus::builder().memory_sqlite().start().await;
    let folder = crate::support::folder::Folder::new("bench");
    let temporary = folder.path().to_str().expect("UTF-8");
    // The environment variable of the other commands names a server, whose log the suite must not touch.
    let env = [("AGENTBUS_URL", agentbus.url()), ("TMPDIR", temporary)];
    let args = ["--rate", "100", "--duration", "1s", "--warmup", "0s", "--subscribers", "2"];
    let output = bench_with(&args, &env).await;
    let report = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{report}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        (number(&report, "/messages/accepted"), number(&report, "/events/received")),
        (100, 200)
    );
    assert_ne!(report["server"].as_str(), agentbus.url().strip_prefix("http://"));
    let stats = agentbus.http().get("/v1/stats").await.expect(200).json();
    assert_eq!(stats["projector"]["committed_through"], 0, "{stats}");
    let left: Vec<_> = std::fs::read_dir(folder.path()).expect("a folder").collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn a_rate_beyond_the_server_ends_in_time_and_reports_what_was_not_sent() {
    let agentbus = Agentbus::builder().memory_sqlite().start().await;
    // One connection that waits for the store sends some hundred messages a second.
    let args = [
        "--rate",
        "1000000",
        "--duration",
        "1s",
        "--warmup",
        "0s",
        "--connections",
        "1",
        "--ack",
        "committed",
    ];
    let output = bench(&args, agentbus.url()).await;
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(output.status.code(), Some(1), "{report}");
    let (accepted, unsent) = (number(&report, "/messages/accepted"), number(&report, "/unsent"));
    assert_eq!(accepted + unsent, 1_000_000, "{report}");
    // The rate is that of the second that was measured, not of the five seconds in which the backlog was
    // sent.
    let per_s = report["accepted_per_s"].as_f64().expect("a rate");
    assert!(per_s > 0.0 && per_s < accepted as f64 * 0.7, "{report}");
    // Latencies count from the scheduled time, so the largest is that of the last of the backlog.
    assert!(report["publish_ms"]["max"].as_f64() > Some(4_000.0), "{report}");
}

#[tokio::test]
async fn the_suite_refuses_a_nats_that_an_agentbus_uses_and_leaves_it_as_it_was() {
    let deployment = Deployment::start(Mode::Nats).await;
    let (nats, pg) =
        (deployment.nats().expect("on NATS"), deployment.pg_url().expect("PostgreSQL"));
    let before = streams(nats).await;
    let (url, folder) = (nats.url(), crate::support::folder::Folder::new("bench"));
    let args = ["--only", "jobs", "--quick", "--folder", folder.path().to_str().expect("UTF-8")];
    let output = suite(&args, &[("NATS_URL", &url), ("DATABASE_URL", pg)]).await;
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(output.status.code(), Some(1), "{report}");
    let note = report["rows"][0]["note"].as_str().expect("a note");
    assert!(note.contains("a stream of an agentbus"), "{report}");
    assert_eq!(report["left_behind"].as_array().map(Vec::len), Some(0), "{report}");
    assert_eq!(streams(nats).await, before);
    assert_eq!(stored(&deployment, "bench").await, 0);
    assert!(std::fs::read_dir(folder.path()).expect("a folder").next().is_none());
}

#[tokio::test]
async fn an_interrupted_suite_removes_what_it_made() {
    let (nats, postgres) = (Nats::start().await, Postgres::start().await);
    let (nats_url, pg) = (nats.url(), postgres.database().await);
    let folder = crate::support::folder::Folder::new("bench");
    let mut command = Command::new(suite_program());
    command.args(["--only", "single,jobs", "--folder"]).arg(folder.path());
    command.env_clear().env("NATS_URL", &nats_url).env("DATABASE_URL", &pg);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    // The second server of the suite, with a projector, is under load: by now there are streams and
    // databases to remove.
    crate::support::eventually(LIMIT, "it measures", async || {
        let sent = streams(&nats).await.iter().map(|(_, last)| last).sum::<u64>();
        (databases(&pg).await > 0 && sent > 0).then_some(())
    })
    .await;
    let pid = child.id().to_string();
    Command::new("/bin/sh").args(["-c", "kill -s TERM $0", &pid]).status().expect("a signal");
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output());
    let output = within(LIMIT, "it ends", ended).await.expect("no panic").expect("an exit");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((output.status.code(), report["rows"].as_array().map(Vec::len)), (Some(1), Some(1)));
    assert_eq!(report["rows"][0]["note"], "ended early", "{report}");
    assert_eq!(report["left_behind"].as_array().map(Vec::len), Some(0), "{report}");
    assert_eq!((streams(&nats).await, databases(&pg).await), (Vec::new(), 0));
    assert!(std::fs::read_dir(folder.path()).expect("a folder").next().is_none());
}

#[tokio::test]
async fn wrong_arguments_are_refused_with_the_reason() {
    let no_server = format!("http://127.0.0.1:{}", ports::free());
    for (args, reason) in [
        (&["--rate", "-1"][..], "must be 0 or more"),
        (&["--rate", "fast"], "must be a number"),
        (&["--rate", "99999999"], "a rate must be"),
        (&["--duration", "10"], "with its unit"),
        (&["--duration", "0s"], "a run lasts"),
        (&["--connections", "0"], "connections must be"),
        (&["--batch", "1001"], "a batch has"),
        (&["--batch", "1000", "--size", "10000"], "a batch is at most"),
        (&["--size", "2000000"], "content must be"),
        (&["--size", "x"], "invalid value"),
        (&["--subscribers", "60000"], "subscribers must be"),
        (&["--subscriber-filter", "kind=task"], "say how many"),
        (&["--subscribers", "1", "--subscriber-filter", "a b"], "is not a query"),
        (&["--ack", "maybe"], "possible values"),
        (&["--url", "https://a.example"], "asks for TLS"),
        (&["--url", "ftp://a.example"], "must be an http://"),
    ] {
        let output = bench_with(args, &[]).await;
        let report = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {report}");
        assert!(report.contains(reason), "{args:?}: {report}");
        assert!(output.stdout.is_empty());
    }
    let output = suite(&["--only", "nothing"], &[]).await;
    let report = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{report}");
    assert!(report.contains("unknown item nothing"), "{report}");
    let output = bench(&["--duration", "1s"], &no_server).await;
    let report = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{report}");
    assert!(report.contains("cannot reach 127.0.0.1:"), "{report}");
}

#[tokio::test]
async fn a_filter_that_the_server_refuses_is_reported_in_its_words() {
    let agentbus = Agentbus::builder().memory_sqlite().start().await;
    let args = ["--subscribers", "2", "--subscriber-filter", "kind=letter", "--duration", "1s"];
    let output = bench(&args, agentbus.url()).await;
    let report = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{report}");
    assert!(report.contains("got no stream") && report.contains("422"), "{report}");
}

#[tokio::test]
async fn the_suite_lists_what_it_measures_and_skips_what_it_is_not_given() {
    let output = suite(&["--list"], &[]).await;
    let report = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(output.status.success());
    for item in ["parts", "single", "fanout", "big"] {
        assert!(report.lines().any(|line| line.starts_with(item)), "{item}: {report}");
    }
    let output = suite(&["--only", "single,always"], &[]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let notes: Vec<_> =
        report["rows"].as_array().expect("rows").iter().map(|row| row["note"].clone()).collect();
    assert_eq!(notes, ["skipped: NATS_URL is not given", "skipped: NATS_URL_ALWAYS is not given"]);
    assert!(report["machine"]["cores"].as_u64() > Some(0));
}
