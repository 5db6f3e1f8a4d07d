//! JetStream cannot write because of a file size limit, as on a full disk. Publishers get no false ack, reads
//! continue, and after a restart everything acknowledged is there.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use crate::load::{Load, PATIENCE};
use crate::overload::resident_kib;
use crate::support::times;
use crate::support::{Agentbus, Nats, Postgres, eventually};
use crate::verdict;

/// How much a server may grow while its publishes get no ack. The client library alone would keep a part of
/// each publish.
const GROWTH_KIB: usize = 64 * 1024;
/// How long publishes get no ack, in seconds: usually, and in a long run.
const UNANSWERED: (usize, usize) = (2, 60);

/// The size of the largest file: some thousand messages.
const FILE_KIB: u64 = 2_048;

#[tokio::test]
async fn of_the_stream_lose_nothing_that_was_acknowledged() {
    for _ in 0..times(1, 5) {
        let nats = Nats::builder().file_limit(FILE_KIB).start().await;
        let pg_url = Postgres::shared().await.database().await;
        let agentbus = Agentbus::builder().nats(&nats.url(), &pg_url).start().await;
        let http = agentbus.http();
        let load = Load::start(&[agentbus.url()], 6, 2);
        eventually(PATIENCE, "the stream cannot be written", async || {
            let message =
                json!({"kind": "message", "type": "x", "sender_id": "probe", "content": "x"});
            (http.post_json("/v1/messages", &message).await.status == 503).then_some(())
        })
        .await;
        // History and streams continue to work.
        http.get("/v1/messages?limit=1").await.expect(200);
        let before = resident_kib(agentbus.pid());
        sleep(Duration::from_secs(times(UNANSWERED.0, UNANSWERED.1) as u64)).await;
        let growth = resident_kib(agentbus.pid()).saturating_sub(before);
        assert!(growth < GROWTH_KIB, "{growth} KiB more for publishes without an answer");
        nats.lift_file_limit();
        nats.restart().await;
        let took = load.acknowledged(100).await;
        eprintln!("write error: {took:.1?} from the restart to 100 acknowledgements");
        verdict::check("write error", load, &[agentbus.url()], Some(&nats)).await;
    }
}
