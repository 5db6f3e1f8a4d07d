//! The Rust client of agentbus, a message backend for squads of software agents.
//!
//! A [`Client`] talks to one server over HTTP. It retries requests after transient errors, with the same id,
//! so a message is in the log once, however often a response was lost. A [`Subscription`] resumes whenever
//! its connection is lost, without a gap or a duplicate.
//!
//! ```no_run
//! use agentbus_client::{Client, Event, PublishOptions, Start};
//!
//! # async fn example() -> Result<(), agentbus_client::Error> {
//! let client = Client::new("http://127.0.0.1:8080")?;
//! let message = r#"{"kind":"message","type":"note","sender_id":"ann","recipient_id":"bob","content":"Good day"}"#;
//! let published = client.publish(message, &PublishOptions::default()).await?.parse()?;
//! println!("sequence {}", published.seq);
//!
//! let filter = vec![("recipient", "bob".to_owned())];
//! let mut subscription = client.subscribe(filter, Start::Beginning);
//! loop {
//!     for event in subscription.next().await? {
//!         match event {
//!             Event::Message(message) => println!("{}", message.parse()?.content),
//!             Event::Gap(gap) => eprintln!("{gap}"),
//!             Event::CaughtUp => eprintln!("live"),
//!         }
//!     }
//! }
//! # }
//! ```
//!
//! The server's responses are [`Document`]s: bytes as they arrived, parsed only on request. Errors carry the
//! server's [`Problem`] with its stable code ([`Error::code`]). The parser of event streams, [`sse`], also
//! works without HTTP. All timeouts and sizes are in [`limits`]. In this documentation, "contract" is the
//! server's wire contract, v1.

mod address;
mod audit;
mod backoff;
mod client;
mod consumers;
mod cursor;
mod dead_letters;
mod document;
mod envelope;
mod error;
mod keys;
pub mod limits;
mod message;
mod pages;
mod problem;
mod publish;
mod queues;
pub mod sse;
mod status;
mod subscription;
mod webhooks;

pub use address::parse_address;
pub use audit::{Actor, AuditEntry};
pub use backoff::Backoff;
pub use client::{Client, Notice, Query};
pub use consumers::{Consumer, Lag};
pub use cursor::Start;
pub use dead_letters::{Attempt, DeadLetter, Redriven};
pub use document::Document;
pub use envelope::Envelope;
pub use error::Error;
pub use keys::{Grants, Key, KeyLimits, NewKey};
pub use message::Message;
pub use pages::{Bounds, Page, Pages};
pub use problem::{Fault, Problem};
pub use publish::{AckLevel, Outcome, PublishOptions, Published};
pub use queues::{Enqueued, Job, LeaseAction, LeaseOptions, NewJob, Queue, QueueConfig};
/// The type that [`parse_address`] returns.
pub use reqwest::Url;
pub use subscription::{Event, Gap, Subscription};
pub use webhooks::{NewWebhook, Webhook};
