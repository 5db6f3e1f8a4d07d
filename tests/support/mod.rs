//! Support for the black-box tests: real servers, clients, and ways of waiting.
//!
//! Every server is a process of this test run's own, on a port of its own, with its files in a folder of its own. It ends
//! with the value that stands for it, and with the test process, however that ends ([`process`]). Nothing here sleeps:
//! whatever takes time is polled for until a deadline ([`wait`]).
//!
//! | to have | use |
//! |---|---|
//! | one test for all three modes | [`for_each_mode!`](deployment), which hands it a [`Deployment`] |
//! | a server in one mode | [`Deployment::start`], or [`Agentbus::builder`] with servers of one's own |
//! | NATS, PostgreSQL to be killed or frozen | [`Nats::start`], [`Postgres::start`] |
//! | PostgreSQL that nobody harms | [`Postgres::shared`], then [`Postgres::database`] |
//! | requests, streams | [`Http`], [`Sse`]; problems and pages of history [`wire`]; whole streams held against history [`streams`], [`lines`] |
//! | work queues | [`jobs`]; clients that outlive their server [`failover`] |
//! | a command that processes, and workers | [`exec`]; one that notes each run [`handler`] |
//! | a receiver of webhooks | [`receiver`] |
//! | a browser | [`webdriver`]; one at the console [`console`] |
//!
//! `AGENTBUS_TEST_KEEP=1` keeps the folders of the servers, and says where they are.

#![allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "each test binary compiles this module and uses its own part of it"
)]

pub mod agentbus;
pub mod clock;
pub mod console;
pub mod deployment;
pub mod exec;
pub mod failover;
pub mod folder;
pub mod handler;
pub mod http;
pub mod jobs;
pub mod lines;
pub mod metrics;
pub mod nats;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod programs;
pub mod receiver;
pub mod squad;
pub mod sse;
pub mod sse_frame;
pub mod streams;
pub mod wait;
pub mod webdriver;
pub mod wire;

pub use agentbus::Agentbus;
pub(crate) use deployment::for_each_mode;
pub use deployment::{Deployment, Mode};
pub use http::{Answer, Http};
pub use nats::Nats;
pub use postgres::Postgres;
pub use sse::{Sse, Stop};
pub use sse_frame::Frame;
pub use wait::{eventually, times, within};
