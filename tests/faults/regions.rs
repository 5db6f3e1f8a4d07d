//! Two sites: the second has a mirror of the stream and a replica of the database. The first is killed under
//! load, and the second takes over by the commands of `docs/runbooks/region-lost.md`. Then the first comes back
//! as the copy. What was lost must be exactly what neither copy had.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use tokio::process::Command;
use tokio::time::Instant;

use crate::load::{Load, Observed, PATIENCE, all_committed};
use crate::support::folder::Folder;
use crate::support::postgres::Postgres;
use crate::support::process::User;
use crate::support::proxy::Proxy;
use crate::support::records::{Record, assert_same, history};
use crate::support::streams::{messages, publish};
use crate::support::{Agentbus, Nats, eventually, ports, programs, wire};
use crate::verdict::in_history;

const RUNBOOK: &str = "region-lost";
const STREAM: &str = "agent-messages";
/// The subjects that must not pass between the sites: else the streams of both would store a publish.
const KEPT_APART: &str = r#"["agent.>", "jobs.>", "leases.>"]"#;
/// What the runbook promises.
const TAKE_OVER: Duration = Duration::from_secs(300);

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The commands below a heading of the runbook.
fn commands(section: &str) -> String {
    let file = project(&format!("docs/runbooks/{RUNBOOK}.md"));
    let text = std::fs::read_to_string(file).expect("the runbook");
    let below = text.split_once(&format!("\n## {section}\n")).expect("the section").1;
    let below = below.split("\n## ").next().expect("its text");
    let block = below.split_once("```sh\n").expect("a block of commands").1;
    block.split_once("```").expect("the end of the block").0.to_owned()
}

/// Runs the commands below a heading of the runbook, with these variables.
async fn run(section: &str, env: &[(&str, &str)], user: Option<User>) -> Output {
    let folder = Folder::new("operator");
    let (agentbus, postgres) =
        (PathBuf::from(env!("CARGO_BIN_EXE_agentbus")), programs::postgres("postgres"));
    let bin = |program: &Path| program.parent().expect("a folder").display().to_string();
    let mut shell = Command::new("bash");
    shell.args(["-euo", "pipefail", "-c", &commands(section)]).env_clear();
    shell.env("PATH", format!("{}:{}:/usr/bin:/bin", bin(&agentbus), bin(&postgres)));
    shell.env("MESSAGE_BUS", "nats").envs(env.iter().copied()).current_dir(folder.path());
    if let Some(User { uid, gid }) = user {
        shell.uid(uid).gid(gid);
    }
    shell.kill_on_drop(true).output().await.expect("bash runs")
}

/// Like [`run`], for commands that must succeed; returns their output.
async fn runs(section: &str, env: &[(&str, &str)], user: Option<User>) -> String {
    let output = run(section, env, user).await;
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{section}: {text}");
    text
}

async fn api(nats: &Nats, subject: &str, body: Vec<u8>) -> Value {
    let client = nats.client().await;
    let answer = client.request(format!("$JS.API.STREAM.{subject}"), body.into()).await;
    serde_json::from_slice(&answer.expect("an answer").payload).expect("JSON")
}

/// The last sequence of the stream or mirror; `None` while JetStream does not answer.
async fn last_seq(nats: &Nats) -> Option<u64> {
    api(nats, &format!("INFO.{STREAM}"), Vec::new()).await["state"]["last_seq"].as_u64()
}

/// Creates the stream of this file, as `nats stream add --config` does.
async fn add_stream(nats: &Nats, file: &str) {
    let config = std::fs::read(project("deploy/regions").join(file)).expect("the file");
    let answer = api(nats, &format!("CREATE.{STREAM}"), config).await;
    assert!(answer.get("error").is_none(), "{answer}");
}

/// Does what the runbook's `nats` commands do.
async fn nats_commands(section: &str, nats: &Nats) {
    for line in commands(section).lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[3..] {
            ["stream", "rm", "--force", STREAM] => {
                let answer = api(nats, &format!("DELETE.{STREAM}"), Vec::new()).await;
                assert_eq!(answer["success"], true, "{answer}");
            }
            ["stream", "add", STREAM, "--config", file] => add_stream(nats, file).await,
            _ => panic!("{line}"),
        }
    }
}

/// Two sites with a link from the second to the first.
struct Sites {
    first: (Nats, Postgres),
    second: (Nats, Postgres),
    /// The addresses of the database at the first and at the second site.
    urls: [String; 2],
    /// The ways of the mirror and of the replica.
    links: [Proxy; 2],
    servers: [Agentbus; 2],
}

impl Sites {
    async fn start() -> Self {
        let port = ports::free();
        let leafnodes = format!("leafnodes {{ host: \"127.0.0.1\", port: {port} }}");
        let first = Nats::builder().domain("first").config(&leafnodes).start().await;
        let link = Proxy::to(port).await;
        let remote = format!(
            "leafnodes {{ remotes: [ {{ url: \"nats://127.0.0.1:{}\", deny_imports: {KEPT_APART}, deny_exports: {KEPT_APART} }} ] }}",
            link.port()
        );
        let second = Nats::builder().domain("second").config(&remote).start().await;
        let postgres = Postgres::start().await;
        let wire = Proxy::to(postgres.port()).await;
        let replica = replica_of(wire.port()).await;
        let url = postgres.database().await;
        let urls = [url.clone(), replica.same_database(&url)];
        let server = Agentbus::builder().nats(&first.url(), &url).start().await;
        let other = server.like().start().await;
        eventually(PATIENCE, "the sites are linked", async || {
            let name = "$JS.first.API.INFO".to_owned();
            let asked = second.client().await.request(name, "".into()).await;
            asked.is_ok().then_some(())
        })
        .await;
        add_stream(&second, "mirror-of-first.json").await;
        Self {
            first: (first, postgres),
            second: (second, replica),
            urls,
            links: [link, wire],
            servers: [server, other],
        }
    }

    /// The watermark of the database at the second site.
    async fn replicated(&self) -> u64 {
        let mut connection = PgConnection::connect(&self.urls[1]).await.expect("connects");
        let read = sqlx::query_scalar::<_, i64>("SELECT committed_through FROM log_state");
        let through = read.fetch_one(&mut connection).await.expect("the watermark");
        through.unsigned_abs()
    }

    async fn mirrored(&self) -> u64 {
        last_seq(&self.second.0).await.expect("the mirror")
    }

    /// Kills everything at the first site with SIGKILL.
    fn lose_first(&self) {
        self.first.0.kill9();
        self.first.1.kill9();
        self.servers.iter().for_each(Agentbus::kill9);
    }

    /// Promotes and takes over; returns the last sequence that is kept.
    async fn take_over(&self) -> u64 {
        let nats = self.second.0.url();
        let env = [("NATS_URL", nats.as_str()), ("DATABASE_URL", self.urls[1].as_str())];
        let early = run("Take over", &env, None).await;
        let error = String::from_utf8_lossy(&early.stderr).into_owned();
        assert!(!early.status.success() && error.contains("read-only"), "{error}");
        let (data, user) = self.second.1.files();
        runs("Promote the database", &[("PGDATA", &data.display().to_string())], user).await;
        let output = runs("Take over", &env, None).await;
        let through = output.split_once("taken over up to sequence ").expect("the sequence").1;
        through.split(';').next().expect("a number").parse().expect("a number")
    }
}

/// A replica of the server that is reached at `port`, made by the command of the runbook.
async fn replica_of(port: u16) -> Postgres {
    Postgres::replica(async |data, user| {
        let primary = format!("postgres://postgres@127.0.0.1:{port}");
        let env = [("PRIMARY", primary.as_str()), ("PGDATA", data.to_str().expect("UTF-8"))];
        runs("Make the first site the copy", &env, user).await;
    })
    .await
}

/// Fails the test unless everything acknowledged up to `through`, or by the second site, is in history, and
/// nothing else. Returns the ids that are lost.
fn exactly_the_loss(
    mut observed: Observed,
    stored: &[Record],
    through: u64,
    next: u64,
) -> Vec<String> {
    assert!(stored.iter().all(|line| line.seq <= through || line.seq >= next), "a lost sequence");
    let mut lost = Vec::new();
    observed.acked.retain(|id, seq| {
        let kept = *seq <= through || *seq >= next;
        if !kept {
            lost.push(id.clone());
        }
        kept
    });
    in_history(&observed, stored);
    for (number, seen) in observed.seen.iter().enumerate() {
        let seen: Vec<Record> =
            seen.iter().filter(|line| line.seq <= through || line.seq >= next).cloned().collect();
        let end = seen.last().expect("something was seen").seq;
        let stored: Vec<Record> =
            stored.iter().take_while(|line| line.seq <= end).cloned().collect();
        assert_same(&format!("watcher {number} against history"), &seen, &stored);
    }
    for (from, to) in &observed.gaps {
        assert!(*from > through && *to == next - 1, "a gap from {from} to {to}");
    }
    assert!(observed.gaps.len() >= observed.seen.len(), "not every watcher was told of the gap");
    lost
}

/// Publishes at the second site until the mirror and the replica of the first have it, too.
async fn first_follows(server: &Agentbus, nats: &Nats, replica: &Postgres, url: &str) {
    let last = *publish(&server.http(), &messages(50)).await.last().expect("some");
    wire::committed(&server.http(), last).await;
    eventually(PATIENCE, "the mirror has everything", async || {
        (last_seq(nats).await? == last).then_some(())
    })
    .await;
    let url = replica.same_database(url);
    eventually(PATIENCE, "the replica has everything", async || {
        let mut connection = PgConnection::connect(&url).await.ok()?;
        let read = sqlx::query_scalar::<_, i64>("SELECT committed_through FROM log_state");
        (read.fetch_one(&mut connection).await.ok()?.unsigned_abs() == last).then_some(())
    })
    .await;
}

/// Loses the first site. Before that, the copies fall behind: the mirror first, or the replica first.
async fn drill(mirror_is_ahead: bool) {
    let sites = Sites::start().await;
    let port = ports::free();
    let address = format!("http://127.0.0.1:{port}");
    let urls = [sites.servers[0].url(), sites.servers[1].url(), &address];
    let load = Load::start_with(&urls, 6, 3, true);
    load.acknowledged(300).await;
    let [mirror, replica] = &sites.links;
    if mirror_is_ahead {
        replica.block()
    } else {
        mirror.block()
    }
    load.acknowledged(200).await;
    eventually(PATIENCE, "one copy is ahead of the other", async || {
        let (stream, store) = (sites.mirrored().await, sites.replicated().await);
        (if mirror_is_ahead { stream > store + 50 } else { store > stream + 50 }).then_some(())
    })
    .await;
    if mirror_is_ahead {
        mirror.block()
    } else {
        replica.block()
    }
    load.acknowledged(200).await;
    sites.lose_first();
    let start = Instant::now();
    let copied = sites.mirrored().await.max(sites.replicated().await);
    let through = sites.take_over().await;
    assert_eq!(through, copied, "the longer copy is kept");
    let builder = Agentbus::builder().nats(&sites.second.0.url(), &sites.urls[1]);
    let server = builder.start_at(port).await;
    load.acknowledged(1).await;
    let took = start.elapsed();
    assert!(took < TAKE_OVER, "{took:?}");
    runs(
        "It is over when",
        &[
            ("AGENTBUS_URL", &address),
            ("NATS_URL", &sites.second.0.url()),
            ("DATABASE_URL", &sites.urls[1]),
        ],
        None,
    )
    .await;
    load.acknowledged(300).await;

    let observed = load.end().await;
    let last = observed.acked.values().copied().max().expect("something was acknowledged");
    all_committed(&[&address], last).await;
    let next = through + (1 << 32) + 1;
    let acked = observed.acked.len();
    let all = observed.acked.clone();
    let lost = exactly_the_loss(observed, &history(&server.http(), "").await, through, next);
    assert!(!lost.is_empty(), "nothing was lost, so nothing was tried");
    eprintln!(
        "region lost: {took:.1?} from the kill to the next acknowledgement; {acked} acknowledged, missing {} = those \
         above {through}, duplicate 0, out of order 0",
        lost.len()
    );

    // The first site comes back: what it alone has is published again, then it becomes the copy.
    let (nats, postgres) = &sites.first;
    nats.restart().await;
    postgres.restart().await;
    sites.links.iter().for_each(Proxy::open);
    sites.servers[0].restart().await;
    let left = last_seq(nats).await.expect("the old stream");
    all_committed(&[sites.servers[0].url()], left).await;
    let through = through.to_string();
    runs(
        "Bring back what was left behind",
        &[("FIRST", sites.servers[0].url()), ("AGENTBUS_URL", &address), ("THROUGH", &through)],
        None,
    )
    .await;
    let last = *publish(&server.http(), &messages(1)).await.last().expect("one");
    wire::committed(&server.http(), last).await;
    let stored = history(&server.http(), "").await;
    let mut observed = Observed { acked: all, seen: Vec::new(), gaps: Vec::new() };
    observed.acked.retain(|id, _| !lost.contains(id));
    in_history(&observed, &stored);
    let ids: Vec<Value> = stored.iter().map(|line| line.json()["id"].clone()).collect();
    for id in &lost {
        assert_eq!(ids.iter().filter(|found| **found == json!(id)).count(), 1, "{id}");
    }
    eprintln!("region back: the {} lost ones are in the log, each once", lost.len());
    assert!(sites.servers[0].terminate().await.success());
    postgres.stop_gracefully().await;
    let replica = replica_of(sites.second.1.port()).await;
    nats_commands("Make the stream a mirror", nats).await;
    first_follows(&server, nats, &replica, &sites.urls[1]).await;
}

#[tokio::test]
async fn the_second_site_takes_over_from_its_mirror() {
    drill(true).await;
}

#[tokio::test]
async fn the_second_site_takes_over_from_its_database() {
    drill(false).await;
}

/// What stands in `docs/regions.md`, and holds for nats-server alone.
#[tokio::test]
async fn a_mirror_keeps_what_was_deleted_at_its_source() {
    let sites = Sites::start().await;
    let (first, second) = (&sites.first.0, &sites.second.0);
    publish(&sites.servers[0].http(), &messages(20)).await;
    let mirrored = async |last: u64| {
        eventually(PATIENCE, "the mirror has everything", async || {
            (last_seq(second).await? == last).then_some(())
        })
        .await;
    };
    mirrored(20).await;
    let jetstream = first.jetstream().await;
    let stream = jetstream.get_stream(STREAM).await.expect("the stream");
    let mirror = second.jetstream().await.get_stream(STREAM).await.expect("the mirror");
    assert!(stream.delete_message(7).await.expect("deleted"));
    sites.links[0].block();
    sites.links[0].cut();
    publish(&sites.servers[0].http(), &messages(10)).await;
    assert!(stream.delete_message(25).await.expect("deleted"));
    sites.links[0].open();
    mirrored(30).await;
    assert!(mirror.get_raw_message(7).await.is_ok(), "it had it, and keeps it");
    assert!(mirror.get_raw_message(25).await.is_err(), "it never had it");
    assert!(mirror.delete_message(7).await.expect("deleted"), "erased at the mirror, too");
    assert!(mirror.get_raw_message(7).await.is_err());
    assert!(stream.purge().sequence(31).await.is_ok());
    publish(&sites.servers[0].http(), &messages(1)).await;
    mirrored(31).await;
    assert!(mirror.get_raw_message(8).await.is_ok(), "a purge is not followed");
}
