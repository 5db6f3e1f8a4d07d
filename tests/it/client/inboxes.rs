//! Inboxes and questions through kills of the server.

use std::time::Duration;

use agentbus_client::{AckLevel, Client, ErrorKind, NewMessage};

use super::{Far, LIMIT, note};
use crate::support::{Agentbus, within};

#[tokio::test]
async fn an_inbox_waits_through_a_restart_and_misses_nothing() {
    let far = Far::start().await;
    let mut inbox = far.client.inbox("bob");
    far.near().send(&note(0)).await.expect("sent");
    let content = async |inbox: &mut agentbus_client::Inbox| {
        let message = within(LIMIT, "a message", inbox.next()).await.expect("an inbox");
        message.parse().expect("a message").content
    };
    assert_eq!(content(&mut inbox).await, "0");
    let waiting = tokio::spawn(async move {
        let message = content(&mut inbox).await;
        inbox.ack().await.expect("acked");
        message
    });
    far.server.kill9();
    far.server.restart().await;
    far.near().send(&note(1)).await.expect("sent");
    assert_eq!(within(LIMIT, "a message", waiting).await.expect("no panic"), "1");
    // Another run of the agent gets what came after, and nothing else.
    far.near().send(&note(2)).await.expect("sent");
    let mut again = far.client.inbox("bob");
    assert_eq!(content(&mut again).await, "2");
}

#[tokio::test]
async fn an_agent_that_dies_before_its_ack_gets_its_messages_again() {
    let server = Agentbus::builder().memory_sqlite().start().await;
    let client = Client::new(server.url()).expect("a client");
    let messages: Vec<_> = (0..3).map(note).collect();
    client.send_many(&messages, AckLevel::Committed).await.expect("sent");
    for _ in 0..2 {
        let mut inbox = client.inbox("bob").manual_acks();
        for expected in 0..3 {
            let message = within(LIMIT, "a message", inbox.next()).await.expect("an inbox");
            assert_eq!(message.parse().expect("a message").content, expected.to_string());
        }
    }
}

#[tokio::test]
async fn a_question_survives_the_kill_of_the_server() {
    let far = Far::start().await;
    let question = NewMessage::message("question").from("ann").to("bob").content("port?");
    let asking = far.client.clone();
    let asked = tokio::spawn(async move { asking.ask(&question, Duration::from_secs(60)).await });
    let mut inbox = far.near().inbox("bob");
    let message = within(LIMIT, "the question", inbox.next()).await.expect("an inbox");
    far.server.kill9();
    far.server.restart().await;
    let answer = NewMessage::message("answer").from("bob").content("8080");
    far.near().answer(&message.parse().expect("a message"), answer).await.expect("answered");
    let reply = within(LIMIT, "the reply", asked).await.expect("no panic").expect("a reply");
    assert_eq!(reply.parse().expect("a message").content, "8080");
}

#[tokio::test]
async fn a_question_without_an_answer_names_its_message() {
    let server = Agentbus::builder().memory_sqlite().start().await;
    let client = Client::new(server.url()).expect("a client");
    let question = NewMessage::message("question").from("ann").to("bob");
    let error = client.ask(&question, Duration::from_millis(1_100)).await.expect_err("no reply");
    assert_eq!(error.kind(), ErrorKind::NoReply);
    let id = error.problem().and_then(|problem| problem.id.as_deref()).expect("an id");
    let message = client.message(id.parse().expect("a UUID")).await.expect("it is in the log");
    assert_eq!(message.parse().expect("a message").recipient_id.as_deref(), Some("bob"));
}
