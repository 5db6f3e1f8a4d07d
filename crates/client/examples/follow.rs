//! Follows the log from its beginning; with `--once` it stops when it has caught up: `cargo run --example follow`.

use agentbus_client::{Client, Event, Filter, Start};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let once = std::env::args().any(|arg| arg == "--once");
    let bus = Client::from_env()?.on_notice(|notice| eprintln!("{notice}"));
    let mut stream = bus.stream(Filter::new(), Start::Beginning);
    loop {
        match stream.next().await? {
            Event::Message(message) => {
                let message = message.parse()?;
                println!("{} {}: {}", message.seq, message.sender_id, message.content);
            }
            Event::Gap(gap) => eprintln!("{gap}"),
            Event::CaughtUp => {
                println!("live");
                if once {
                    return Ok(());
                }
            }
        }
    }
}
