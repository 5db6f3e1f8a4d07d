//! The table of cases that every client runs (`clients/conformance`), through the Rust client.

mod calls;
mod pattern;

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use agentbus_client::{Client, Error, ErrorKind};
use futures_util::{StreamExt, stream};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use uuid::Uuid;

use self::pattern::{Names, matches, substitute};
use crate::support::folder::Folder;
use crate::support::keys::{ROOT, root_key_file};
use crate::support::wait::poll;
use crate::support::{Deployment, Mode};

const CASE: Duration = Duration::from_secs(60);
const EVENTUALLY: Duration = Duration::from_secs(20);
/// How many cases run at the same time: they share one server.
const AT_ONCE: usize = 8;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    section: u32,
    title: String,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    steps: Vec<Step>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    call: Option<String>,
    #[serde(default)]
    args: Value,
    expect: Option<Value>,
    error: Option<Value>,
    #[serde(default)]
    eventually: bool,
    key: Option<String>,
    background: Option<String>,
    join: Option<String>,
}

type Outcome = Result<Value, Error>;

/// The run of one case.
struct Run {
    names: Names,
    /// A client without a key.
    client: Client,
    background: HashMap<String, JoinHandle<Outcome>>,
}

fn sections() -> Vec<Section> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/conformance");
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ext| ext == "json"));
    paths.sort();
    let read = |path: &std::path::PathBuf| {
        let text = std::fs::read_to_string(path).expect("a file");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    paths.iter().map(read).collect()
}

async fn every_case_passes(mode: Mode) {
    let folder = Folder::new("conformance");
    let root = root_key_file(&folder).to_str().expect("UTF-8").to_owned();
    let deployment = Deployment::tuned(mode, |builder| builder.env("ROOT_KEY_FILE", &root)).await;
    let client = Client::new(deployment.bus()).expect("a client");
    let cases = sections().into_iter().flat_map(|section| {
        let Section { section, title, cases } = section;
        cases.into_iter().map(move |case| (format!("{section} {title}: {}", case.name), case))
    });
    let results = stream::iter(cases).map(|(name, case)| {
        let client = client.clone();
        async move {
            let ended = timeout(CASE, Run::new(client).all(case.steps)).await;
            let failed = ended.unwrap_or_else(|_| Err(format!("not within {CASE:?}"))).err();
            failed.map_or(Ok(()), |why| Err(format!("{name}: {why}")))
        }
    });
    let results: Vec<_> = results.buffer_unordered(AT_ONCE).collect().await;
    assert!(results.len() >= 60, "{} cases", results.len());
    let failed: Vec<_> = results.into_iter().filter_map(Result::err).collect();
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
}

impl Run {
    fn new(client: Client) -> Self {
        let mut names = Names::from([("root".to_owned(), ROOT.into())]);
        let run = Uuid::new_v4().simple().to_string()[..8].to_owned();
        names.insert("run".to_owned(), run.into());
        for name in ["uuid1", "uuid2", "uuid3"] {
            names.insert(name.to_owned(), Uuid::new_v4().to_string().into());
        }
        Self { names, client, background: HashMap::new() }
    }

    async fn all(mut self, steps: Vec<Step>) -> Result<(), String> {
        for (at, step) in steps.into_iter().enumerate() {
            let name = step.call.clone().or_else(|| step.join.clone()).unwrap_or_default();
            let done = self.step(step).await;
            done.map_err(|why| format!("step {} ({name}): {why}", at + 1))?;
        }
        Ok(())
    }

    async fn step(&mut self, step: Step) -> Result<(), String> {
        if let Some(name) = &step.join {
            let task = self.background.remove(name).ok_or("there is no such call")?;
            let outcome = task.await.map_err(|error| error.to_string())?;
            return self.check(&step, &outcome);
        }
        let call = step.call.clone().ok_or("a step needs `call` or `join`")?;
        let args = substitute(&step.args, &self.names)?;
        let mut client = self.client.clone();
        if let Some(key) = &step.key {
            let key = substitute(&key.as_str().into(), &self.names)?;
            let with_key = client.with_key(key.as_str().ok_or("the key is no string")?);
            client = with_key.map_err(|error| error.to_string())?;
        }
        if let Some(name) = step.background {
            let task = tokio::spawn(async move { calls::call(&client, &call, &args).await });
            self.background.insert(name, task);
            return Ok(());
        }
        let limit = if step.eventually { EVENTUALLY } else { Duration::ZERO };
        let mut checked = Ok(());
        poll(limit, async || {
            checked = self.check(&step, &calls::call(&client, &call, &args).await);
            checked.is_ok().then_some(())
        })
        .await;
        checked
    }

    fn check(&mut self, step: &Step, outcome: &Outcome) -> Result<(), String> {
        let (pattern, value) = match (&step.error, outcome) {
            (Some(pattern), Err(error)) => (pattern.clone(), error_value(error)),
            (Some(_), Ok(value)) => return Err(format!("it succeeded: {value:.600}")),
            (None, Err(error)) => return Err(format!("it failed: {error}")),
            (None, Ok(value)) => {
                (step.expect.clone().unwrap_or_else(|| "$any".into()), value.clone())
            }
        };
        let pattern = substitute(&pattern, &self.names)?;
        let mut bound = Names::new();
        if !matches(&pattern, Some(&value), &mut bound) {
            let text: String = value.to_string().chars().take(600).collect();
            return Err(format!("got {text}, not {pattern}"));
        }
        self.names.extend(bound);
        Ok(())
    }
}

/// An error as the table describes it.
fn error_value(error: &Error) -> Value {
    let group = match error.kind() {
        ErrorKind::Unauthenticated => "unauthenticated",
        ErrorKind::Forbidden => "forbidden",
        ErrorKind::NotFound => "not_found",
        ErrorKind::Conflict => "conflict",
        ErrorKind::Invalid => "invalid",
        ErrorKind::TooMany => "too_many",
        ErrorKind::Unavailable => "unavailable",
        ErrorKind::Connection => "connection",
        _ => "api",
    };
    let Some(problem) = error.problem() else {
        return json!({"group": group, "code": error.code(), "detail": error.to_string()});
    };
    let errors: Vec<Value> = problem.errors.iter().map(|fault| {
        json!({"pointer": fault.pointer, "parameter": fault.parameter, "detail": fault.detail})
    }).collect();
    json!({"status": problem.status, "code": problem.code, "detail": problem.detail, "errors": errors,
        "needs": problem.needs, "outcome": problem.outcome, "id": problem.id, "seq": problem.seq, "group": group})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_case_passes_on_the_memory_bus() {
    every_case_passes(Mode::MemorySqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_case_passes_on_nats() {
    every_case_passes(Mode::Nats).await;
}
