//! The Rust client against real servers that are killed, and through a network that fails.

mod examples;
mod identity;
mod inboxes;
mod requests;
mod streams;
mod work;

use std::sync::Arc;
use std::time::Duration;

use agentbus_client::{Client, NewMessage};
use parking_lot::Mutex;

use crate::support::Agentbus;
use crate::support::proxy::Proxy;

const LIMIT: Duration = Duration::from_secs(60);

/// A server behind a proxy, and a client of the proxy.
struct Far {
    server: Agentbus,
    proxy: Proxy,
    client: Client,
    notices: Notices,
}

/// What a client has reported.
#[derive(Clone, Default)]
struct Notices(Arc<Mutex<Vec<String>>>);

impl Notices {
    fn of(self, client: Client) -> Client {
        client.on_notice(move |notice| self.0.lock().push(notice.to_string()))
    }

    fn count(&self, part: &str) -> usize {
        self.0.lock().iter().filter(|notice| notice.contains(part)).count()
    }
}

impl Far {
    async fn start() -> Self {
        let server = Agentbus::builder().memory_sqlite().start().await;
        let port = server.url().rsplit(':').next().and_then(|port| port.parse().ok());
        let proxy = Proxy::to(port.expect("a port")).await;
        let notices = Notices::default();
        let client = notices.clone().of(Client::new(&proxy.url()).expect("a client"));
        Self { server, proxy, client, notices }
    }

    /// A client of the server itself.
    fn near(&self) -> Client {
        Client::new(self.server.url()).expect("a client")
    }
}

fn note(n: usize) -> NewMessage {
    NewMessage::message("note").from("ann").to("bob").content(n.to_string())
}
