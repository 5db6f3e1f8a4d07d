//! Rows that the database refuses, and malformed payloads of other NATS clients, under load: they are stored
//! and streamed, and do not hold up other messages.

use async_nats::HeaderMap;
use async_nats::jetstream::Context;
use sqlx::{Connection, Executor, PgConnection};

use crate::load::Load;
use crate::support::records::history;
use crate::support::times;
use crate::support::{Deployment, Mode};
use crate::verdict;

/// A trigger that makes the database refuse every message of one type.
const REFUSE: &str = "
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN IF NEW.type = 'poison' THEN RAISE EXCEPTION 'not this one'; END IF; RETURN NEW; END $$;
    CREATE TRIGGER refuse BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION refuse();";

/// Payloads of another client, each under `agent.task.other.<type>`.
const FOREIGN: [(&str, &[u8]); 6] = [
    ("poison", b"a row that the database refuses"),
    ("note", b"\xff\xfe not UTF-8"),
    ("note", b"U+0000 \0 inside"),
    ("note", b""),
    ("note", b"{\"kind\":\"task\",\"seq\":1,\"unfinished\":"),
    ("not a token.and.more", b"[1,2]"),
];

async fn publish(jetstream: &Context, kind: &str, payload: &'static [u8], ours: bool) {
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", fastrand::u64(..).to_string());
    if ours {
        // The header marks the payload as an envelope, which it is not.
        headers.insert("Agentbus", "1");
    }
    let subject = format!("agent.task.other.{}", kind.replace(' ', "_"));
    let sent = jetstream.publish_with_headers(subject, headers, payload.into()).await;
    sent.expect("sent").await.expect("stored");
}

#[tokio::test]
async fn rows_and_payloads_delay_nothing() {
    let deployment = Deployment::start(Mode::Nats).await;
    let (nats, url) = (deployment.nats().expect("NATS"), deployment.pg_url().expect("PostgreSQL"));
    let load = Load::start(&[deployment.bus()], 6, 3);
    // The first row creates its partition of the table.
    load.acknowledged(100).await;
    let mut database = PgConnection::connect(url).await.expect("connect to PostgreSQL");
    database.execute(sqlx::raw_sql(REFUSE)).await.expect("refuse some rows");
    let jetstream = nats.jetstream().await;
    let rounds = times(10, 200);
    for _ in 0..rounds {
        for (kind, payload) in FOREIGN {
            publish(&jetstream, kind, payload, false).await;
            publish(&jetstream, kind, payload, true).await;
        }
        load.acknowledged(20).await;
    }
    verdict::check("poison rows and payloads", load, &[deployment.bus()], Some(nats)).await;
    let kept = history(deployment.http(), "subject=agent.task.other.>").await;
    assert_eq!(kept.len(), rounds * FOREIGN.len() * 2, "each of them is kept");
    let metrics = deployment.http().get("/metrics").await.text();
    let bare = format!("agentbus_projector_bare_rows_total {}", rounds * 2);
    assert!(metrics.lines().any(|line| line == bare), "{metrics}");
}
