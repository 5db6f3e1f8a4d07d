//! Sends one message: `cargo run --example send -- ann bob 'Good day'`.

use agentbus_client::{Client, NewMessage};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(from), Some(to), Some(text)) = (args.next(), args.next(), args.next()) else {
        return Err("usage: send FROM TO TEXT".into());
    };
    let bus = Client::from_env()?;
    let sent = bus.send(&NewMessage::message("note").from(&from).to(&to).content(text)).await?;
    println!("{}", sent.seq);
    Ok(())
}
