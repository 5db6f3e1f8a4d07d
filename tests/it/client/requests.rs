//! Requests whose answers are lost or are those of a proxy: what is safe is repeated under the same id, nothing else.

use std::time::Duration;

use agentbus_client::{
    AckLevel, Bounds, Client, ErrorKind, Filter, LeaseAction, LeaseOptions, NewJob, NewKey, Outcome,
};
use tokio::time::Instant;

use super::{Far, LIMIT, note};
use crate::support::folder::Folder;
use crate::support::keys::{ROOT, root_key_file};
use crate::support::proxy::Proxy;
use crate::support::{Agentbus, eventually, within};

async fn contents(client: &Client) -> Vec<String> {
    let mut history = client.history(Filter::new(), Bounds::default());
    let all = history.all().await.expect("history");
    all.iter().map(|message| message.parse().expect("a message").content).collect()
}

/// Lets the proxy lose answers until it has lost one, then lets it pass them.
async fn lose_one(proxy: &Proxy) {
    let before = proxy.faults();
    proxy.lose_answers();
    eventually(LIMIT, "an answer is lost", async || (proxy.faults() > before).then_some(())).await;
    proxy.open();
}

#[tokio::test]
async fn a_message_whose_answer_was_lost_is_in_the_log_once() {
    let far = Far::start().await;
    let message = note(1);
    let (sent, ()) = tokio::join!(far.client.send(&message), lose_one(&far.proxy));
    assert!(sent.expect("sent").duplicate, "the second attempt finds the first");
    assert_eq!(contents(&far.near()).await, ["1"]);
    assert_eq!(far.notices.count("retrying"), 1);
}

#[tokio::test]
async fn a_batch_whose_answer_was_lost_is_in_the_log_once() {
    let far = Far::start().await;
    let messages: Vec<_> = (0..50).map(note).collect();
    let sending = far.client.send_many(&messages, AckLevel::Committed);
    let (outcomes, ()) = tokio::join!(sending, lose_one(&far.proxy));
    let is_duplicate =
        |outcome: &Outcome| matches!(outcome, Outcome::Accepted(sent) if sent.duplicate);
    assert!(outcomes.expect("sent").iter().all(is_duplicate));
    let expected: Vec<_> = (0..50).map(|n| n.to_string()).collect();
    assert_eq!(contents(&far.near()).await, expected);
}

#[tokio::test]
async fn an_ack_whose_answer_was_lost_is_done() {
    let far = Far::start().await;
    for action in [LeaseAction::Ack, LeaseAction::Nack, LeaseAction::Fail] {
        far.client.enqueue("q", &NewJob::new("build", 1.into())).await.expect("enqueued");
        let jobs = far.client.lease("q", 1, LIMIT, None).await.expect("leased");
        let token = jobs[0].parse().expect("a job").lease_token;
        let options = LeaseOptions::default();
        let settling = far.client.settle(&token, action, &options);
        let (settled, ()) = tokio::join!(settling, lose_one(&far.proxy));
        settled.unwrap_or_else(|error| panic!("{action:?}: {error}"));
        // An end by somebody else is no success.
        let again = far.near().settle(&token, action, &options).await.expect_err("ended");
        assert_eq!(again.kind(), ErrorKind::LeaseLost);
    }
}

#[tokio::test]
async fn what_would_have_its_effect_twice_is_not_repeated() {
    let folder = Folder::new("client");
    let root = root_key_file(&folder).to_str().expect("UTF-8").to_owned();
    let server = Agentbus::builder().memory_sqlite().env("ROOT_KEY_FILE", &root).start().await;
    let port = server.url().rsplit(':').next().and_then(|port| port.parse().ok());
    let proxy = Proxy::to(port.expect("a port")).await;
    let client =
        Client::new(&proxy.url()).and_then(|client| client.with_key(ROOT)).expect("a client");
    let new = NewKey { name: "once".to_owned(), ..NewKey::default() };
    let (made, ()) = tokio::join!(client.create_key(&new), lose_one(&proxy));
    assert_eq!(made.expect_err("no answer").kind(), ErrorKind::Connection);
    assert_eq!(client.keys().await.expect("keys").len(), 1);
    // Without a connection nothing was sent.
    let near =
        Client::new(server.url()).and_then(|client| client.with_key(ROOT)).expect("a client");
    server.kill9();
    let (made, ()) = tokio::join!(near.create_key(&new), server.restart());
    made.expect("made once the server is back");
    assert_eq!(client.keys().await.expect("keys").len(), 2);
}

#[tokio::test]
async fn outages_of_a_proxy_are_bridged_and_refusals_are_not() {
    let far = Far::start().await;
    for outage in [
        "502 Bad Gateway\r\n",
        "503 Service Unavailable\r\nretry-after: 1\r\n",
        "504 Gateway Timeout\r\n",
        "429 Too Many Requests\r\n",
    ] {
        far.proxy.answer(outage);
        let faults = far.proxy.faults();
        let bridged = async {
            eventually(LIMIT, "a request", async || (far.proxy.faults() > faults).then_some(()))
                .await;
            far.proxy.open();
        };
        let (status, ()) = tokio::join!(far.client.status(), bridged);
        status.unwrap_or_else(|error| panic!("{outage}: {error}"));
    }
    for (refusal, kind) in [
        ("500 Internal Server Error\r\n", ErrorKind::Other),
        ("404 Not Found\r\n", ErrorKind::NotFound),
        ("401 Unauthorized\r\n", ErrorKind::Unauthenticated),
        ("302 Found\r\nlocation: http://127.0.0.1:9/\r\n", ErrorKind::Other),
    ] {
        far.proxy.answer(refusal);
        let faults = far.proxy.faults();
        assert_eq!(far.client.status().await.expect_err("refused").kind(), kind, "{refusal}");
        assert_eq!(far.proxy.faults(), faults + 1, "{refusal} is not repeated");
    }
}

#[tokio::test]
async fn an_outage_is_an_error_when_the_time_is_over() {
    let far = Far::start().await;
    far.proxy.answer("503 Service Unavailable\r\n");
    let client = far.client.clone().retry_for(Duration::from_secs(1));
    let began = Instant::now();
    let error = within(LIMIT, "an error", client.send(&note(1))).await.expect_err("an outage");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(far.proxy.faults() > 1 && began.elapsed() < Duration::from_secs(5));
    // The server asks for more than there is time: there is nothing to wait for.
    far.proxy.answer("503 Service Unavailable\r\nretry-after: 3600\r\n");
    let faults = far.proxy.faults();
    client.send(&note(1)).await.expect_err("an outage");
    assert_eq!(far.proxy.faults(), faults + 1);
}

#[tokio::test]
async fn a_server_that_restarts_is_waited_for() {
    let far = Far::start().await;
    far.server.kill9();
    let message = note(7);
    let (sent, ()) = tokio::join!(far.client.send(&message), far.server.restart());
    assert!(!sent.expect("sent").duplicate);
    assert_eq!(contents(&far.client).await, ["7"]);
}
