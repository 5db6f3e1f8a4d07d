//! A server in one of the three modes with the NATS server and the database it needs, and a macro that runs a
//! test in all three.

use super::agentbus::{Agentbus, Builder};
use super::http::Http;
use super::nats::Nats;
use super::postgres::Postgres;

/// A way to run agentbus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The memory bus on a SQLite file: the default.
    MemorySqlite,
    /// The memory bus on PostgreSQL.
    MemoryPostgres,
    /// NATS JetStream and PostgreSQL.
    Nats,
}

/// A running server with a NATS server of its own and a database of its own in the shared PostgreSQL.
pub struct Deployment {
    mode: Mode,
    http: Http,
    pg_url: Option<String>,
    // The server must end before what it needs: fields are dropped in this order.
    agentbus: Agentbus,
    nats: Option<Nats>,
}

impl Deployment {
    /// One server in `mode`, ready to publish.
    pub async fn start(mode: Mode) -> Self {
        Self::tuned(mode, |builder| builder).await
    }

    /// One server in `mode`, ready to publish, with the environment or arguments that `tune` sets.
    pub async fn tuned(mode: Mode, tune: impl FnOnce(Builder) -> Builder) -> Self {
        let pg_url = match mode {
            Mode::MemorySqlite => None,
            Mode::MemoryPostgres | Mode::Nats => Some(Postgres::shared().await.database().await),
        };
        let nats = match mode {
            Mode::Nats => Some(Nats::start().await),
            Mode::MemorySqlite | Mode::MemoryPostgres => None,
        };
        let builder = match (&nats, &pg_url) {
            (Some(nats), Some(pg_url)) => Agentbus::builder().nats(&nats.url(), pg_url),
            (None, Some(pg_url)) => Agentbus::builder().memory_postgres(pg_url),
            (_, None) => Agentbus::builder().memory_sqlite(),
        };
        let agentbus = tune(builder).start().await;
        Self { mode, http: agentbus.http(), pg_url, agentbus, nats }
    }

    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The server's address, `http://127.0.0.1:PORT`.
    pub fn bus(&self) -> &str {
        self.agentbus.url()
    }

    /// A client of the server.
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// The deployment's first agentbus server (the only one on the memory bus).
    pub fn agentbus(&self) -> &Agentbus {
        &self.agentbus
    }

    /// The NATS server, if the mode has one.
    pub fn nats(&self) -> Option<&Nats> {
        self.nats.as_ref()
    }

    /// The address of the server's database, if that is in PostgreSQL.
    pub fn pg_url(&self) -> Option<&str> {
        self.pg_url.as_deref()
    }

    /// Starts one more server on the same NATS and PostgreSQL. Only for [`Mode::Nats`]: the memory bus
    /// has one server.
    pub async fn second_server(&self) -> Agentbus {
        assert_eq!(self.mode, Mode::Nats, "the memory bus has one server");
        self.agentbus.like().start().await
    }
}

/// Makes three tests of each function: `name::memory_sqlite`, `name::memory_postgres`, `name::nats`. A
/// closure before the functions tunes the server, as for [`Deployment::tuned`].
///
/// ```ignore
/// for_each_mode! {
///     |builder| builder.env("RING_SIZE", "64");
///
///     async fn a_message_has_one_sequence(deployment: &Deployment) {
///         let answer = deployment.http().post_json("/v1/messages", &message()).await.expect(201);
///         assert_eq!(answer.json()["seq"], 1);
///     }
/// }
/// ```
macro_rules! for_each_mode {
    ($($(#[$meta:meta])* async fn $name:ident($deployment:ident: &Deployment) $body:block)+) => {
        $crate::support::for_each_mode! {
            |builder| builder;
            $($(#[$meta])* async fn $name($deployment: &Deployment) $body)+
        }
    };
    ($tune:expr; $($(#[$meta:meta])* async fn $name:ident($deployment:ident: &Deployment) $body:block)+) => {$(
        $(#[$meta])*
        async fn $name($deployment: &$crate::support::Deployment) $body

        mod $name {
            use $crate::support::{Deployment, Mode};

            #[tokio::test]
            async fn memory_sqlite() {
                super::$name(&Deployment::tuned(Mode::MemorySqlite, $tune).await).await;
            }

            #[tokio::test]
            async fn memory_postgres() {
                super::$name(&Deployment::tuned(Mode::MemoryPostgres, $tune).await).await;
            }

            #[tokio::test]
            async fn nats() {
                super::$name(&Deployment::tuned(Mode::Nats, $tune).await).await;
            }
        }
    )+};
}
pub(crate) use for_each_mode;
