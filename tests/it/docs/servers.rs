//! The servers that the examples of a page are run against. Most have one new server together; what a section says about its state
//! has another.

use std::time::Duration;

use crate::support::agentbus::Builder;
use crate::support::keys::{ROOT, Secured};
use crate::support::{Agentbus, Deployment, Mode, eventually, exec};

const LIMIT: Duration = Duration::from_secs(60);

pub struct Servers {
    main: Agentbus,
    nats: Option<Deployment>,
    failing: Option<Agentbus>,
    secured: Option<Secured>,
}

/// A server, and what commands find in their environment.
pub struct Place {
    pub url: String,
    pub env: Vec<(String, String)>,
}

impl Servers {
    pub async fn start() -> Self {
        let main = Agentbus::builder().memory_sqlite().start().await;
        Self { main, nats: None, failing: None, secured: None }
    }

    /// The server for the examples under a heading.
    pub async fn of(&mut self, heading: &str) -> Place {
        let mut env = Vec::new();
        let url = match heading {
            "Messages from other NATS clients" => {
                let nats = self.nats.insert(Deployment::start(Mode::Nats).await);
                let url = nats.nats().expect("on NATS").url();
                let port = url.rsplit(':').next().expect("a port");
                env.push(("NATS_PORT".to_owned(), port.to_owned()));
                nats.bus()
            }
            "While the bus is away" => self.without_nats().await.bus(),
            "While the server cannot serve you" => {
                let nats = self.without_nats().await;
                nats.agentbus().kill9();
                nats.agentbus().restart_listening().await;
                nats.bus()
            }
            "Dead letters" => self.failing.insert(failing().await).url(),
            "Grants" => {
                env.push(("AGENTBUS_KEY".to_owned(), ROOT.to_owned()));
                let secured = Secured::start(Mode::MemorySqlite).await;
                self.secured.insert(secured).deployment.bus()
            }
            _ => self.main.url(),
        };
        Place { url: url.to_owned(), env }
    }

    async fn without_nats(&self) -> &Deployment {
        let nats = self.nats.as_ref().expect("an example before this one used NATS");
        if nats.nats().expect("on NATS").is_running() {
            nats.nats().expect("on NATS").kill9();
        }
        eventually(LIMIT, "nothing can be published", async || {
            (nats.http().get("/readyz").await.status == 503).then_some(())
        })
        .await;
        nats
    }
}

/// A server that could not process a message.
async fn failing() -> Agentbus {
    let server = Builder::default().memory_sqlite().arg("--exec").arg("exit 1").start().await;
    let done = serde_json::json!({"kind": "task", "type": "completed", "sender_id": "bob", "task_id": "parser-7"});
    server.http().post_json("/v1/messages", &done).await.expect(201);
    eventually(LIMIT, "there is a dead letter", async || {
        (!exec::dead_letters(&server.http()).await.is_empty()).then_some(())
    })
    .await;
    server
}
