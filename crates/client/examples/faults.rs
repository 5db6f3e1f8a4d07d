//! The programs for fault tests: `consume --from start --task T --count N` prints {"seq", "id"} for each message and {"gap"}
//! for each gap; `produce --task T --sender S --count N` sends messages and prints {"seq", "id"} for each acknowledgement.

use std::collections::HashMap;
use std::time::Duration;

use agentbus_client::{Client, Event, Filter, NewMessage};
use serde_json::json;

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1);
    let program = args.next().unwrap_or_default();
    let mut options = HashMap::new();
    while let (Some(name), Some(value)) = (args.next(), args.next()) {
        options.insert(name, value);
    }
    let option = |name: &str| options.get(name).cloned().ok_or(format!("{program} needs {name}"));
    let (task, count) = (option("--task")?, option("--count")?.parse()?);
    // Never gives up what it may repeat.
    let bus = Client::from_env()?.retry_for(Duration::MAX);
    let bus = bus.on_notice(|notice| eprintln!("{notice}"));
    match program.as_str() {
        "consume" => consume(&bus, &task, &option("--from")?, count).await,
        "produce" => produce(&bus, &task, &option("--sender")?, count).await,
        _ => Err("usage: faults consume|produce OPTIONS".into()),
    }
}

async fn consume(bus: &Client, task: &str, from: &str, count: usize) -> Result<(), Failure> {
    let mut stream = bus.stream(Filter::new().task(task), from.parse()?);
    let mut left = count;
    while left > 0 {
        match stream.next().await? {
            Event::Message(message) => {
                let message = message.parse()?;
                println!("{}", json!({"seq": message.seq, "id": message.id}));
                left -= 1;
            }
            Event::Gap(gap) => println!("{}", json!({"gap": gap.to_string()})),
            Event::CaughtUp => {}
        }
    }
    Ok(())
}

async fn produce(bus: &Client, task: &str, sender: &str, count: usize) -> Result<(), Failure> {
    for n in 1..=count {
        let message = NewMessage::task(task, "note").from(sender).content(n.to_string());
        let sent = bus.send(&message).await?;
        println!("{}", json!({"seq": sent.seq, "id": sent.id}));
    }
    Ok(())
}
