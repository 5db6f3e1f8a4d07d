//! Backup and restore (contract, section 17): a backup of a server at work is complete up to the sequence that it names, and
//! the restored store goes on from there, with nothing doubled and no sequence given twice.

mod faults;
mod keys;
mod loaded;
mod work;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

use crate::support::agentbus::{BINARY, Builder};
use crate::support::folder::Folder;
use crate::support::{Agentbus, Deployment, Mode, Nats, Postgres, programs, within};

const LIMIT: Duration = Duration::from_secs(120);
/// How far sequences jump at least.
const JUMP: u64 = 1 << 32;

/// Settings of a command.
type Env = BTreeMap<String, String>;

/// A folder of backups, and the settings of the store that they are restored to.
struct Drill {
    folder: Folder,
    /// The settings of the first server.
    env: Env,
    /// An empty NATS server for the restored log.
    nats: Option<Nats>,
}

/// A command with these settings, and PostgreSQL's programs in `PATH`.
fn command(args: &[&str], env: &Env) -> Command {
    let psql = programs::postgres("psql");
    let bin = psql.parent().expect("a folder").display();
    let mut command = Command::new(BINARY);
    command.args(args).env_clear().env("PATH", format!("{bin}:/usr/bin:/bin")).envs(env);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

async fn run(args: &[&str], env: &Env) -> Output {
    within(LIMIT, "the command ends", command(args, env).output()).await.expect("it runs")
}

/// Runs a command that must succeed; returns the object that it prints.
async fn done(args: &[&str], env: &Env) -> Value {
    let output = run(args, env).await;
    assert!(output.status.success(), "{args:?}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no JSON: {output:?}"))
}

/// Runs a command that must fail; returns its standard error.
async fn refused(args: &[&str], env: &Env) -> String {
    let output = run(args, env).await;
    assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
    String::from_utf8(output.stderr).expect("UTF-8")
}

impl Drill {
    async fn of(deployment: &Deployment) -> Self {
        let nats = match deployment.mode() {
            Mode::Nats => Some(Nats::start().await),
            Mode::MemorySqlite | Mode::MemoryPostgres => None,
        };
        Self { folder: Folder::new("backup"), env: deployment.agentbus().env(), nats }
    }

    /// The path of a file of this drill.
    fn at(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// Makes a backup; returns the sequence that it names.
    async fn back_up(&self, name: &str) -> u64 {
        let made = done(&["backup", &self.at(name)], &self.env).await;
        made["committed_through"].as_u64().expect("a sequence")
    }

    /// The settings of an empty store, and of an empty NATS server.
    async fn empty(&self, name: &str) -> Env {
        let mut env = self.env.clone();
        env.insert("DATA_DIR".to_owned(), self.at(name));
        if env.contains_key("DATABASE_URL") {
            let url = Postgres::shared().await.database().await;
            env.insert("DATABASE_URL".to_owned(), url);
        }
        env.extend(self.nats.as_ref().map(|nats| ("NATS_URL".to_owned(), nats.url())));
        env
    }

    /// Starts a server with these settings, at another address.
    async fn serve(&self, env: &Env) -> Agentbus {
        let with = |builder: Builder, (name, value): (&String, &String)| builder.env(name, value);
        let own = env.iter().filter(|(name, _)| *name != "HTTP_ADDR");
        own.fold(Agentbus::builder(), with).start().await
    }

    fn data_dir(env: &Env) -> PathBuf {
        PathBuf::from(&env["DATA_DIR"])
    }
}
