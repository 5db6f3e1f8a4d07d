//! The Rust client of agentbus, a message backend for squads of software agents: agents send typed messages, each
//! message gets a position in one durable order, and all other agents read that order.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use agentbus_client::{Client, NewMessage};
//!
//! let bus = Client::from_env()?; // AGENTBUS_URL and AGENTBUS_KEY; http://127.0.0.1:8080 without them
//! let sent = bus.send(&NewMessage::message("note").from("ann").to("bob").content("Good day")).await?;
//! println!("position {}", sent.seq);
//! # Ok(())
//! # }
//! ```
//!
//! # A tour
//!
//! **Streams** begin anywhere in the log and go on live. A lost connection is resumed without a gap or a repeat, for as
//! long as it takes; what neither bus nor store has any more is reported as a [`Gap`].
//!
//! ```no_run
//! # async fn example(bus: agentbus_client::Client) -> Result<(), agentbus_client::Error> {
//! use agentbus_client::{Event, Filter, Start};
//!
//! let mut stream = bus.stream(Filter::new().task("parser-7"), Start::Beginning);
//! loop {
//!     match stream.next().await? {
//!         Event::Message(message) => println!("{}", message.parse()?.content),
//!         Event::Gap(gap) => eprintln!("{gap}"),
//!         Event::CaughtUp => eprintln!("live"),
//!     }
//! }
//! # }
//! ```
//!
//! **History** pages by itself:
//!
//! ```no_run
//! # async fn example(bus: agentbus_client::Client) -> Result<(), agentbus_client::Error> {
//! use agentbus_client::{Bounds, Filter};
//!
//! let mut history = bus.history(Filter::new().between("ann", "bob"), Bounds::default());
//! while let Some(message) = history.next().await? {
//!     println!("{}", message.parse()?.content);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! **An inbox** has what was sent to one agent, whether it runs or not. To ask for the next message says that those
//! before it are done:
//!
//! ```no_run
//! # async fn example(bus: agentbus_client::Client) -> Result<(), agentbus_client::Error> {
//! use agentbus_client::NewMessage;
//!
//! let mut inbox = bus.inbox("bob");
//! loop {
//!     let message = inbox.next().await?.parse()?;
//!     if message.type_ == "question" {
//!         bus.answer(&message, NewMessage::message("answer").from("bob").content("8080")).await?;
//!     }
//! }
//! # }
//! ```
//!
//! **Asking** waits for the reply:
//!
//! ```no_run
//! # async fn example(bus: agentbus_client::Client) -> Result<(), agentbus_client::Error> {
//! use std::time::Duration;
//!
//! use agentbus_client::{ErrorKind, NewMessage};
//!
//! let question = NewMessage::message("question").from("ann").to("bob").content("Which port?");
//! match bus.ask(&question, Duration::from_secs(30)).await {
//!     Ok(reply) => println!("{}", reply.parse()?.content),
//!     Err(error) if error.kind() == ErrorKind::NoReply => println!("bob is silent"),
//!     Err(error) => return Err(error),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! **Work queues** give each job to one worker. The lease of a job is extended while its handler runs:
//!
//! ```no_run
//! # async fn build(_: String) -> std::io::Result<()> { Ok(()) }
//! # async fn example(bus: agentbus_client::Client) -> Result<(), agentbus_client::Error> {
//! use agentbus_client::{Job, JobError, NewJob};
//!
//! bus.enqueue("builds", &NewJob::new("build", "parser".into())).await?;
//!
//! let stop = async { tokio::time::sleep(std::time::Duration::from_secs(3600)).await };
//! let handler = |job: Job| async move {
//!     let branch: String = job.payload_as().map_err(|error| JobError::permanent(error.to_string()))?;
//!     build(branch).await?; // an error is tried again
//!     Ok(())
//! };
//! let report = bus.worker("builds").concurrency(4).run(handler, stop).await?;
//! println!("{} jobs done", report.done);
//! # Ok(())
//! # }
//! ```
//!
//! Contents can be typed ([`Content`]). Agents, tasks, queues, dead letters, consumers, schemas, webhooks, keys and the
//! audit log have methods of [`Client`] too.
//!
//! # What you can rely on
//!
//! - **Retries.** A request that has its effect once, however often it is sent, is repeated after connection errors, 429,
//!   502, 503 and 504, with growing random waits and heeding `Retry-After`, for 30 s in all ([`Client::retry_for`]). A
//!   message or job gets its id before the first attempt, so it is in the log once. What would have its effect twice
//!   (making keys and webhooks, redriving) is repeated only if it certainly had none.
//! - **Errors** have a [`kind`](Error::kind) for what to do about them, and the server's stable [`code`].
//! - **Documents.** What the server returns is a [`Document`]: the bytes as they arrived, parsed on request. Members that
//!   this version does not know are kept, and never an error.
//! - **Cancellation.** [`Subscription::next`] and [`Inbox::next`] lose nothing when their futures are dropped.
//! - **Outages** are reported to [`Client::on_notice`].
//!
//! # Features
//!
//! | feature | default | |
//! |---|---|---|
//! | `tls` | yes | `https`, by rustls with the roots of the system |
//! | `tracing` | no | reports outages as warnings of `tracing` |
//! | `opentelemetry` | no | sends `traceparent`, from OpenTelemetry's current context; a worker runs its handlers in the traces of their jobs |
//!
//! The parser of event streams, [`sse`], also works without HTTP. All timeouts and sizes are in [`limits`]. In this
//! documentation, "contract" is the server's wire contract, v1 (`docs/api.md`).

#![warn(missing_docs)]

mod address;
mod agents;
mod ask;
mod audit;
mod backoff;
mod batch;
mod client;
pub mod code;
mod consumers;
mod content;
mod cursor;
mod dead_letters;
mod document;
mod envelope;
mod error;
mod filter;
mod inbox;
mod job_error;
mod job_run;
mod keys;
mod kind;
pub mod limits;
mod me;
mod message;
mod new_message;
mod notice;
mod pages;
mod problem;
mod queues;
mod request;
mod schemas;
mod send;
pub mod sse;
mod status;
mod stream;
#[cfg(feature = "opentelemetry")]
mod trace;
mod webhooks;
mod worker;

pub use address::parse_address;
pub use agents::{Agent, InboxPosition, Task, TaskState};
pub use audit::{Actor, AuditEntry};
pub use batch::Outcome;
pub use client::{Client, DEFAULT_URL};
pub use consumers::{Consumer, Lag};
pub use content::Content;
pub use cursor::Start;
pub use dead_letters::{Attempt, DeadLetter, Redriven};
pub use document::Document;
pub use envelope::Envelope;
pub use error::Error;
pub use filter::{Filter, Query};
pub use inbox::{Inbox, InboxOptions, InboxPage};
pub use job_error::JobError;
pub use keys::{Grants, Key, KeyChange, KeyLimits, NewKey};
pub use kind::ErrorKind;
pub use me::{Me, Ticket};
pub use message::Message;
pub use new_message::{Kind, NewMessage};
pub use notice::Notice;
pub use pages::{Bounds, Page, Pages};
pub use problem::{Fault, Problem};
pub use queues::{Enqueued, Job, LeaseAction, LeaseOptions, NewJob, Queue, QueueConfig};
/// The type that [`parse_address`] returns.
pub use reqwest::Url;
pub use schemas::{NewSchema, Schema};
pub use send::{AckLevel, SendOptions, Sent};
pub use stream::{Event, Gap, Subscription};
pub use webhooks::{NewWebhook, Webhook};
pub use worker::{WorkReport, Worker};

#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct Readme;
