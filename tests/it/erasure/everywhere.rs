//! What was erased is nowhere any more, and everything else is as it was.

use std::path::Path;
use std::process::Command;

use super::{SECRET, erase, erased, publish, secret};
use crate::support::folder::Folder;
use crate::support::records::{assert_same, history, take};
use crate::support::streams::{LIMIT, message, messages, publish as publish_all, replay};
use crate::support::{Agentbus, Deployment, Mode, eventually, for_each_mode};

/// The number of messages in the stream that hold the secret.
async fn in_stream(deployment: &Deployment) -> usize {
    let Some(nats) = deployment.nats() else { return 0 };
    let stream = nats.jetstream().await.get_stream("agent-messages").await.expect("the stream");
    let last = stream.cached_info().state.last_sequence;
    let mut found = 0;
    for seq in 1..=last {
        if let Ok(entry) = stream.get_raw_message(seq).await {
            found += usize::from(String::from_utf8_lossy(&entry.payload).contains(SECRET));
        }
    }
    found
}

/// Whether a file below the folder holds the secret.
fn in_files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(in_files(&path));
        } else {
            let bytes = std::fs::read(&path).expect("a file");
            if bytes.windows(SECRET.len()).any(|part| part == SECRET.as_bytes()) {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

for_each_mode! {
    |builder| builder.env("RING_SIZE", "64");

    async fn only_content_and_metadata_go_and_they_go_everywhere(deployment: &Deployment) {
        let http = deployment.http();
        publish_all(http, &messages(20)).await;
        let (old, old_id) = publish(http, &secret("ann")).await;
        publish_all(http, &messages(100)).await;
        let (new, new_id) = publish(http, &secret("ann")).await;
        publish(http, &message(40)).await;
        let before = history(http, "").await;
        let mut live = http.stream("from=now", None).await;
        live.expect_ready().await;
        for (seq, id) in [(old, &old_id), (new, &new_id)] {
            let answer = erase(http, id).await.expect(200).json();
            assert_eq!(answer, serde_json::json!({"seq": seq}));
            assert_eq!(erase(http, id).await.expect(200).json(), answer, "a repeat changes nothing");
        }
        let expected: Vec<_> = before
            .iter()
            .map(|it| if [old, new].contains(&it.seq) { erased(it) } else { it.clone() })
            .collect();
        assert_same("history", &history(http, "").await, &expected);
        let (replayed, _) = replay(&mut http.stream("from=start", None).await).await;
        assert_same("replay", &replayed, &expected);
        let (ring, _) = replay(&mut http.stream(&format!("from={new}"), None).await).await;
        assert_same("the ring", &ring, &expected[expected.len() - 2..]);
        let one = http.get(&format!("/v1/messages/{new_id}")).await.expect(200);
        assert_eq!(one.bytes, expected[expected.len() - 2].bytes);
        for query in [format!("contains={SECRET}"), format!("contains=it is {SECRET}")] {
            assert_eq!(history(http, &query.replace(' ', "%20")).await, []);
        }
        let inbox = http.get("/v1/agents/bob/inbox").await.expect(200);
        assert!(!inbox.text().contains(SECRET) && inbox.text().contains("\"erased\":true"));
        assert_eq!(in_stream(deployment).await, 0);
        let (next, _) = publish(http, &message(41)).await;
        assert_eq!(next, new + 2, "sequences go on");
        assert_eq!(take(&mut live, 1, LIMIT).await[0].seq, next, "an erasure is no message");
    }
}

#[tokio::test]
async fn nothing_of_it_is_in_the_files_of_sqlite_after_a_clean_stop() {
    let deployment = Deployment::start(Mode::MemorySqlite).await;
    let http = deployment.http();
    let mut large = secret("ann");
    large["content"] = format!("{SECRET} ").repeat(20_000).into();
    let mut ids = Vec::new();
    for n in 0..30 {
        publish(http, &message(n)).await;
        let posted = if n % 10 == 0 { large.clone() } else { secret("ann") };
        ids.push(publish(http, &posted).await.1);
    }
    let dir = deployment.agentbus().data_dir();
    assert_ne!(in_files(&dir), [""; 0], "it was there");
    for id in &ids {
        erase(http, id).await.expect(200);
    }
    deployment.agentbus().terminate().await;
    assert_eq!(in_files(&dir), [""; 0]);
    deployment.agentbus().restart().await;
    let all = history(http, "type=note&task=t1").await;
    assert_eq!(all.len(), 30);
    assert!(all.iter().all(|it| it.json()["metadata"] == serde_json::json!({"erased": true})));
}

/// Runs `agentbus erasures` on a data directory; returns what it prints.
fn erasures(dir: &Path, args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_agentbus"))
        .arg("erasures")
        .args(args)
        .env("DATA_DIR", dir)
        .env_remove("DATABASE_URL")
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[tokio::test]
async fn a_restored_copy_is_erased_again_from_the_list() {
    let deployment = Deployment::start(Mode::MemorySqlite).await;
    let http = deployment.http();
    publish(http, &message(0)).await;
    let (seq, id) = publish(http, &secret("ann")).await;
    let agentbus = deployment.agentbus();
    agentbus.terminate().await;
    let folder = Folder::new("restored");
    let old = folder.join("data");
    let copied = Command::new("cp").arg("-a").arg(agentbus.data_dir()).arg(&old).status();
    assert!(copied.expect("cp runs").success());
    agentbus.restart().await;
    erase(http, &id).await.expect(200);
    let list = erasures(&agentbus.data_dir(), &["export"]);
    assert_eq!(list.lines().count(), 1);
    let record: serde_json::Value = serde_json::from_str(&list).expect("JSON");
    assert_eq!((&record["seq"], &record["id"]), (&seq.into(), &id.as_str().into()));
    let file = folder.join("erasures.ndjson");
    let other = list.replace(&id, "00000000-0000-4000-8000-000000000000");
    std::fs::write(&file, format!("{list}{other}")).expect("written");
    let file = file.display().to_string();
    assert_ne!(in_files(&old), [""; 0], "the copy has it");
    let applied = erasures(&old, &["apply", &file]);
    assert_eq!(applied, "1 recorded, 1 known already, 0 not in this store\n");
    let restored = Agentbus::builder().env("DATA_DIR", &old.display().to_string()).start().await;
    eventually(LIMIT, "the copy is erased", async || {
        let text = restored.http().get(&format!("/v1/messages/{id}")).await.expect(200).text();
        (!text.contains(SECRET)).then_some(())
    })
    .await;
    restored.terminate().await;
    assert_eq!(in_files(&old), [""; 0]);
}
