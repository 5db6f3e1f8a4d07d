//! Two agents in one program: ann asks, and bob answers what comes to his inbox: `cargo run --example ask`.

use std::time::Duration;

use agentbus_client::{Client, Error, NewMessage};

async fn bob(bus: Client) -> Result<(), Error> {
    let mut inbox = bus.inbox("bob");
    loop {
        let message = inbox.next().await?.parse()?;
        if message.type_ == "question" {
            let answer = NewMessage::message("answer").from("bob").content("8080");
            bus.answer(&message, answer).await?;
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bus = Client::from_env()?;
    let answering = tokio::spawn(bob(bus.clone()));
    let question = NewMessage::message("question").from("ann").to("bob").content("Which port?");
    let reply = bus.ask(&question, Duration::from_secs(30)).await?.parse()?;
    println!("{} says {}", reply.sender_id, reply.content);
    answering.abort();
    Ok(())
}
