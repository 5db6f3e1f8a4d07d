//! A Rust type as the content of a type of message: `cargo run --example typed`.

use agentbus_client::{Client, Content, Event, Filter, NewMessage, Start};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct ReviewRequest {
    branch: String,
    lines: u32,
}

impl Content for ReviewRequest {
    const TYPE: &'static str = "review_request";
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bus = Client::from_env()?;
    let request = ReviewRequest { branch: "parser".to_owned(), lines: 120 };
    let sent = bus.send(&NewMessage::of(&request)?.from("ann").to("bob")).await?;

    let mut stream = bus.stream(Filter::new().recipient("bob"), Start::At(sent.seq));
    loop {
        if let Event::Message(message) = stream.next().await?
            && let Some(request) = message.parse()?.content_as::<ReviewRequest>()?
        {
            println!("please review {}, {} lines", request.branch, request.lines);
            return Ok(());
        }
    }
}
