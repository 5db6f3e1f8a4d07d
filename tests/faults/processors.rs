//! A processor is killed, or the stream that it reads is lost: no attempt is forgotten, none exceeds the
//! limit, every unprocessed message is processed, and no processed message is processed again.

use sqlx::{Connection, PgConnection};

use crate::load::PATIENCE;
use crate::support::exec::{COMMAND, dead_letters, message, post, post_many, processed};
use crate::support::exec::{ran, ran_at};
use crate::support::folder::Folder;
use crate::support::streams::LIMIT;
use crate::support::wire::committed;
use crate::support::{Deployment, Mode, eventually};

/// A command that succeeds, except for the message `third`: it asks for a retry in the first two attempts and hangs
/// in the next.
const THIRD: &str = r#"
read -r line
echo "$AGENTBUS_SEQ $AGENTBUS_ATTEMPT" >> "$RAN"
case "$line" in
    *'"content":"third"'*) [ "$AGENTBUS_ATTEMPT" -lt 3 ] && exit 75; sleep 600 ;;
esac
"#;

async fn killed_on_the_third_delivery(mode: Mode) {
    let folder = Folder::new("third");
    let noted = folder.join("ran");
    let path = noted.display().to_string();
    let deployment =
        Deployment::tuned(mode, |it| it.env("PROCESSOR_EXEC", THIRD).env("RAN", &path)).await;
    let http = deployment.http();
    post_many(http, "before", 50).await;
    let third = post(http, "third").await;
    let last = post_many(http, "after", 50).await;
    eventually(PATIENCE, "the third attempt runs", async || {
        ran(&noted).contains(&(third, 3)).then_some(())
    })
    .await;
    deployment.agentbus().kill9();
    let killed = std::time::Instant::now();
    deployment.agentbus().restart().await;
    let dead = eventually(PATIENCE, "it is a dead letter", async || {
        Some(dead_letters(http).await).filter(|dead| !dead.is_empty())
    })
    .await;
    eprintln!(
        "{mode:?}: killed on the third delivery: {:.1?} to the dead letter",
        killed.elapsed()
    );
    assert_eq!((dead.len(), dead[0]["seq"].as_u64()), (1, Some(third)), "{dead:?}");
    assert_eq!(dead[0]["attempts"].as_array().map(Vec::len), Some(3), "{dead:?}");
    processed(http, last).await;
    let runs = ran(&noted);
    let of_it: Vec<u32> = runs.iter().filter(|run| run.0 == third).map(|run| run.1).collect();
    assert_eq!(of_it, [1, 2, 3], "never a fourth time");
    for seq in (1..=last).filter(|seq| *seq != third) {
        let times = runs.iter().filter(|run| run.0 == seq).count();
        assert!((1..=2).contains(&times), "{seq} ran {times} times");
    }
}

#[tokio::test]
async fn a_processor_killed_on_its_third_delivery_leaves_a_dead_letter_on_nats() {
    killed_on_the_third_delivery(Mode::Nats).await;
}

#[tokio::test]
async fn a_processor_killed_on_its_third_delivery_leaves_a_dead_letter_on_sqlite() {
    killed_on_the_third_delivery(Mode::MemorySqlite).await;
}

/// Waits until the position is stored, after which at most the work of the last second is repeated.
async fn position_stored(pg_url: &str, through: u64) {
    let mut database = PgConnection::connect(pg_url).await.expect("connect to PostgreSQL");
    let floor = "SELECT floor FROM consumers WHERE name = 'agent-processor'";
    eventually(PATIENCE, "the position is stored", async || {
        let floor: i64 = sqlx::query_scalar(floor).fetch_one(&mut database).await.expect("a row");
        (floor.unsigned_abs() >= through).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_lost_stream_redelivers_only_what_was_not_processed() {
    let deployment = Deployment::tuned(Mode::Nats, |it| it.env("PROCESSOR_EXEC", COMMAND)).await;
    let (http, nats) = (deployment.http(), deployment.nats().expect("on NATS"));
    let noted = ran_at(deployment.agentbus());
    let done = post_many(http, "done", 300).await;
    processed(http, done).await;
    position_stored(deployment.pg_url().expect("PostgreSQL"), done).await;
    let steer = async |what: &str| {
        let answer = http.post(&format!("/v1/consumers/agent-processor/{what}"), "", "").await;
        answer.expect(200);
    };
    steer("pause").await;
    let waiting = post_many(http, "waiting", 200).await;
    committed(http, waiting).await;
    nats.jetstream().await.delete_stream("agent-messages").await.expect("deleted");
    let next = eventually(LIMIT, "publishing is possible again", async || {
        let answer = http.post_json("/v1/messages", &message("next")).await;
        matches!(answer.status, 200 | 201).then(|| answer.json()["seq"].as_u64())?
    })
    .await;
    assert_eq!(next, waiting + 1);
    steer("resume").await;
    processed(http, next).await;
    let mut times = vec![0; usize::try_from(next).expect("few") + 1];
    for (seq, _) in ran(&noted) {
        times[usize::try_from(seq).expect("few")] += 1;
    }
    let (done, rest) = times[1..].split_at(usize::try_from(done).expect("few"));
    assert!(done.iter().all(|times| *times == 1), "what was done is not done again: {done:?}");
    // Until the pause reaches the process, some messages are processed whose position is not stored yet.
    assert!(rest.iter().all(|times| (1..=2).contains(times)), "what was not is done: {rest:?}");
}
