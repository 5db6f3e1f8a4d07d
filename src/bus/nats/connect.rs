//! Connections to NATS and their state.
//!
//! Invariant: once made, a [`Connection`] reconnects without end, and its [`Status`] follows at once. The
//! first connect is tried once: the caller retries. A connection whose client task has ended is
//! [`State::Closed`].

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_nats::{Client, ConnectOptions, Event, ServerAddr};
use futures_util::FutureExt as _;
use parking_lot::Mutex;
use tokio::sync::{broadcast, watch};

use super::config::{NatsConfig, redact};
use super::credentials;
use super::denial::Denial;
use crate::bus::BusError;
use crate::limits::{
    NATS_CLIENT_QUEUE, NATS_CONNECT_TIMEOUT, NATS_DENIALS, NATS_FAILOVER_AFTER, NATS_PING_INTERVAL,
};

/// Whether a connection can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Connected, as far as the client knows.
    Up,
    /// Reconnecting.
    Down,
    /// Ended for ever: a new connection is needed.
    Closed,
}

/// The state of a connection, and how often it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Status {
    pub state: State,
    /// How often the connection was made, counting the first time.
    pub connects: u64,
}

/// A connection that reconnects by itself. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    pub client: Client,
    pub status: watch::Receiver<Status>,
    denials: broadcast::Sender<Denial>,
    logs_denials: Arc<AtomicBool>,
    purpose: &'static str,
    /// Whether more than one server is configured.
    several: bool,
    /// When [`Self::try_another_server`] last made it reconnect.
    moved: Arc<Mutex<Option<Instant>>>,
}

impl Connection {
    /// Connects; `purpose` names the connection in logs and in the server's monitoring.
    pub(super) async fn open(config: &NatsConfig, purpose: &'static str) -> Result<Self, BusError> {
        let connection = Self::open_to_check(config, purpose).await?;
        connection.log_denials();
        Ok(connection)
    }

    /// As [`Self::open`], but what the server denies is not logged before [`Self::log_denials`]: the caller reports it.
    pub(super) async fn open_to_check(
        config: &NatsConfig,
        purpose: &'static str,
    ) -> Result<Self, BusError> {
        let addresses = config.addresses();
        let servers = parse(&addresses)?;
        let (events, mut status) = EventHandler::new(purpose);
        let (denials, logs_denials) = (events.denials.clone(), events.logs_denials.clone());
        let options = options(config, purpose).map_err(BusError)?.event_callback(move |event| {
            events.handle(&event);
            std::future::ready(())
        });
        let shown = || addresses.iter().map(|url| redact(url)).collect::<Vec<_>>().join(", ");
        let client = options.connect(servers).await.map_err(|error| {
            let text = credentials::explain(config, &error);
            BusError(format!("no connection to NATS at {}: {text}", shown()))
        })?;
        // Waits for the first event, so that each later one is a reconnect.
        status
            .wait_for(|status| status.connects > 0)
            .await
            .map_err(|_| BusError(format!("lost the connection to NATS at {}", shown())))?;
        let (several, moved) = (addresses.len() > 1, Arc::default());
        Ok(Self { client, status, denials, logs_denials, purpose, several, moved })
    }

    /// Logs from now on what the server denies.
    pub(super) fn log_denials(&self) {
        self.logs_denials.store(true, Ordering::Relaxed);
    }

    /// What the server denies from now on.
    pub(super) fn denials(&self) -> broadcast::Receiver<Denial> {
        self.denials.subscribe()
    }

    /// Whether both values are clones of one connection.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.status.same_channel(&other.status)
    }

    /// The status now. Asks the client too: its state shows a lost connection before the event arrives.
    pub(super) fn status(&self) -> Status {
        let mut status = *self.status.borrow();
        if status.state == State::Up
            && self.client.connection_state() != async_nats::connection::State::Connected
        {
            status.state = State::Down;
        }
        status
    }

    /// Waits until the connection is up. Returns false if it has ended for ever.
    pub(super) async fn is_up_again(&self) -> bool {
        let mut status = self.status.clone();
        let settled = status.wait_for(|status| status.state != State::Down).await;
        settled.is_ok_and(|status| status.state == State::Up)
    }

    /// Reconnects, if the configuration or the cluster names another server. The client chooses a server at
    /// random, so it may choose the same one.
    pub(super) fn try_another_server(&self) {
        if !self.several && self.client.server_info().connect_urls.len() < 2 {
            return;
        }
        {
            // Requests of several kinds time out at the same time. Only the first one moves the connection;
            // the next server then gets the full time to answer.
            let mut moved = self.moved.lock();
            let lately = moved.is_some_and(|at| at.elapsed() < NATS_FAILOVER_AFTER);
            if lately || self.status().state != State::Up {
                return;
            }
            *moved = Some(Instant::now());
        }
        let purpose = self.purpose;
        tracing::warn!(purpose, "the NATS server does not answer: trying another of the cluster");
        // Not awaited. If the client's queue is full, missing pongs will end the connection.
        let _ = self.client.force_reconnect().now_or_never();
    }

    /// Major and minor version of the connected server; zeros if its text is not a version.
    pub(super) fn server_version(&self) -> (u64, u64) {
        parse_version(&self.client.server_info().version)
    }
}

fn parse(addresses: &[String]) -> Result<Vec<ServerAddr>, BusError> {
    addresses
        .iter()
        .map(|url| url.parse::<ServerAddr>())
        .collect::<Result<_, io::Error>>()
        .map_err(|error| BusError(format!("NATS address: {error}")))
}

fn parse_version(version: &str) -> (u64, u64) {
    let mut parts = version.trim_start_matches('v').split(['.', '-']);
    let mut next = || parts.next().and_then(|part| part.parse().ok()).unwrap_or(0);
    (next(), next())
}

fn options(config: &NatsConfig, purpose: &str) -> Result<ConnectOptions, String> {
    // Without a default provider rustls panics if two are compiled in.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let options = ConnectOptions::new()
        .name(format!("{} {purpose}", config.client_name))
        .custom_inbox_prefix(&config.inbox_prefix)
        .ping_interval(NATS_PING_INTERVAL)
        .connection_timeout(NATS_CONNECT_TIMEOUT)
        .client_capacity(NATS_CLIENT_QUEUE)
        .max_reconnects(None);
    credentials::apply(config, options)
}

/// Turns the client's events into [`Status`] and log lines.
struct EventHandler {
    purpose: &'static str,
    status: watch::Sender<Status>,
    denials: broadcast::Sender<Denial>,
    logs_denials: Arc<AtomicBool>,
    logged: Mutex<Logged>,
}

/// What log lines need from earlier events: when the connection was lost; the last error, so that it is not logged twice
/// in a row; and what was denied on this connection.
#[derive(Default)]
struct Logged {
    lost_at: Option<Instant>,
    last_error: String,
    denied: Vec<Denial>,
}

impl EventHandler {
    fn new(purpose: &'static str) -> (Arc<Self>, watch::Receiver<Status>) {
        let (sender, receiver) = watch::channel(Status { state: State::Down, connects: 0 });
        let denials = broadcast::Sender::new(NATS_DENIALS);
        let (logs_denials, logged) = (Arc::default(), Mutex::default());
        let events = Self { purpose, status: sender, denials, logs_denials, logged };
        (Arc::new(events), receiver)
    }

    fn handle(&self, event: &Event) {
        let purpose = self.purpose;
        match event {
            Event::Connected => self.connected(),
            Event::Disconnected => {
                self.logged.lock().lost_at.get_or_insert_with(Instant::now);
                self.status.send_modify(|status| status.state = State::Down);
                self.show(false);
                tracing::warn!(purpose, "lost the connection to NATS; reconnecting");
            }
            Event::Closed => self.closed(),
            Event::LameDuckMode => tracing::info!(purpose, "the NATS server is shutting down"),
            Event::SlowConsumer(subscription) => {
                tracing::warn!(purpose, subscription, "NATS deliveries were dropped");
            }
            Event::ServerError(error) => self.error(&error.to_string()),
            Event::ClientError(error) => self.error(&error.to_string()),
            Event::Draining => {}
        }
    }

    fn closed(&self) {
        self.status.send_modify(|status| status.state = State::Closed);
        self.show(false);
    }

    /// Sets the metric of the connection. Connections with the same purpose share it.
    fn show(&self, is_up: bool) {
        metrics::gauge!("agentbus_nats_connection_up", "connection" => self.purpose)
            .set(f64::from(u8::from(is_up)));
    }

    fn connected(&self) {
        let lost_at = {
            let mut logged = self.logged.lock();
            logged.last_error.clear();
            logged.denied.clear();
            logged.lost_at.take()
        };
        self.status.send_modify(|status| {
            status.state = State::Up;
            status.connects += 1;
        });
        self.show(true);
        metrics::counter!("agentbus_nats_connects_total", "connection" => self.purpose)
            .increment(1);
        if let Some(lost_at) = lost_at {
            let down: Duration = lost_at.elapsed();
            tracing::info!(
                purpose = self.purpose,
                down_ms = down.as_millis(),
                "connected to NATS again"
            );
        }
    }

    /// Logs an error once, even if many attempts in a row fail with it.
    fn error(&self, text: &str) {
        if let Some(denial) = Denial::parse(text) {
            return self.denied(denial);
        }
        let mut logged = self.logged.lock();
        if logged.last_error != text {
            text.clone_into(&mut logged.last_error);
            tracing::warn!(purpose = self.purpose, error = text, "NATS");
        }
    }

    /// Passes a denial on, and logs it once for each connection.
    fn denied(&self, denial: Denial) {
        // Without a receiver nobody waits for a reply.
        let _ = self.denials.send(denial.clone());
        let denied = &mut self.logged.lock().denied;
        if self.logs_denials.load(Ordering::Relaxed)
            && denied.len() < NATS_DENIALS
            && !denied.contains(&denial)
        {
            tracing::warn!(purpose = self.purpose, "{denial}");
            denied.push(denial);
        }
    }
}

/// The client drops its callback when its task ends. There is no other sign of a panic: in async-nats 0.51 a
/// header value with a lone CR causes one.
impl Drop for EventHandler {
    fn drop(&mut self) {
        self.closed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_versions() {
        assert_eq!(parse_version("2.15.1"), (2, 15));
        assert_eq!(parse_version("v2.9-RC.1"), (2, 9));
        assert_eq!(parse_version("odd"), (0, 0));
    }

    #[test]
    fn status_follows_events() {
        let (events, status) = EventHandler::new("test");
        events.handle(&Event::Connected);
        assert_eq!(*status.borrow(), Status { state: State::Up, connects: 1 });
        events.handle(&Event::Disconnected);
        assert_eq!(*status.borrow(), Status { state: State::Down, connects: 1 });
        events.handle(&Event::Connected);
        assert_eq!(*status.borrow(), Status { state: State::Up, connects: 2 });
        drop(events);
        assert_eq!(status.borrow().state, State::Closed);
    }
}
