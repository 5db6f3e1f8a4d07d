//! Support for the black-box tests: real servers, clients, and ways of waiting.
//!
//! Every server is a process of this test run, with a port and a folder of its own. It ends when its value is
//! dropped, and also when the test process ends, however that happens ([`process`]). Nothing here sleeps for
//! a fixed time: whatever takes time is polled until a deadline ([`wait`]).
//!
//! | for | use |
//! |---|---|
//! | one test for all three modes | [`for_each_mode!`](deployment), which passes it a [`Deployment`] |
//! | a server in one mode | [`Deployment::start`], or [`Agentbus::builder`] with the test's own servers |
//! | NATS or PostgreSQL that a test kills or freezes | [`Nats::start`], [`Postgres::start`] |
//! | PostgreSQL that no test disturbs | [`Postgres::shared`], then [`Postgres::database`] |
//! | requests, streams | [`Http`], [`Sse`]; a stream on a bare socket [`raw_stream`] |
//! | problems, pages of history | [`wire`] |
//! | the description of the interface | [`described`]: holds for every response |
//! | messages to publish | [`streams`] |
//! | messages as read, compared byte by byte | [`records`] |
//! | work queues | [`jobs`]; clients that outlive their server [`failover`] |
//! | a server that needs keys | [`keys`]; identity providers and their tokens [`jwt`] |
//! | a command for a processor | [`exec`] records each attempt, [`handler`] the begin and end of each run |
//! | `agentbus worker` | [`worker`] |
//! | programs of the Python and TypeScript clients | [`program`] |
//! | a server with TLS | [`tls`]; a client of HTTP/2 with windows of its own [`http2`] |
//! | a receiver of webhooks, or of traces | [`receiver`]; what spans came [`otlp`] |
//! | Prometheus, which scrapes servers | [`prometheus`] |
//! | a network that fails | [`proxy`]
//! | a browser | [`webdriver`]; one at the console [`console`] |
//!
//! `AGENTBUS_TEST_KEEP=1` keeps the folders of the servers, and prints their paths.

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
pub mod described;
pub mod exec;
pub mod failover;
pub mod folder;
pub mod handler;
pub mod http;
pub mod http2;
pub mod jobs;
pub mod jwt;
pub mod keys;
pub mod metrics;
pub mod nats;
pub mod otlp;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod program;
pub mod programs;
pub mod prometheus;
pub mod proxy;
pub mod raw_stream;
pub mod receiver;
pub mod records;
pub mod squad;
pub mod sse;
pub mod sse_frame;
pub mod streams;
pub mod tls;
pub mod wait;
pub mod webdriver;
pub mod wire;
pub mod worker;

pub use agentbus::Agentbus;
pub(crate) use deployment::for_each_mode;
pub use deployment::{Deployment, Mode};
pub use http::{Answer, Http};
pub use nats::Nats;
pub use postgres::Postgres;
pub use sse::{Sse, Stop};
pub use sse_frame::Frame;
pub use wait::{eventually, times, within};
