//! The documents as others read them: linters, and schemathesis, which sends what it makes of the document. `scripts/test`
//! installs the tools; with `--long` schemathesis has more time.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use crate::support::folder::Folder;
use crate::support::keys::{ROOT, Secured};
use crate::support::programs::interface_tools;
use crate::support::{Deployment, Mode, times};

/// How long schemathesis sends requests to one server, in seconds.
fn budget() -> String {
    times(30, 300).to_string()
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interface")
}

/// Runs a program; fails the test with its output if it fails.
async fn run(program: &Path, arguments: &[&str], folder: &Folder) {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder.path())
        // Where the generated package is.
        .env("PYTHONPATH", folder.path())
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    assert!(output.status.success(), "{} {arguments:?}\n{out}\n{err}", program.display());
}

#[tokio::test]
async fn linters_find_nothing() {
    let deployment = Deployment::start(Mode::MemorySqlite).await;
    let folder = Folder::new("documents");
    for name in ["openapi.json", "asyncapi.json"] {
        let document = deployment.http().get(&format!("/{name}")).await.expect(200);
        std::fs::write(folder.join(name), &document.bytes).expect("written");
    }
    let config = sources().join("redocly.yaml");
    let redocly = interface_tools().join("node_modules/.bin/redocly");
    let config = ["lint", "openapi.json", "--config", config.to_str().expect("UTF-8")];
    run(&redocly, &[&config[..], &["--max-problems", "1000"]].concat(), &folder).await;
    let script = sources().join("asyncapi.mjs");
    let (script, tools) = (script.to_str().expect("UTF-8").to_owned(), interface_tools());
    let packages = tools.to_str().expect("UTF-8");
    run(Path::new("node"), &[&script, "asyncapi.json", packages], &folder).await;
}

/// Lets schemathesis send requests, with a key or without.
async fn schemathesis(deployment: &Deployment, key: Option<&str>) {
    let folder = Folder::new("schemathesis");
    let config = sources().join("schemathesis.toml");
    let (document, budget) = (format!("{}/openapi.json", deployment.http().base()), budget());
    let mut arguments = vec!["--config-file", config.to_str().expect("UTF-8"), "run", &document];
    arguments.extend(["--max-time", &budget, "--generation-database", "none", "--no-color"]);
    let header = key.map(|key| format!("Authorization: Bearer {key}"));
    arguments.extend(header.iter().flat_map(|header| ["--header", header.as_str()]));
    run(&interface_tools().join("venv/bin/schemathesis"), &arguments, &folder).await;
}

/// Webhooks may have any address: the requests name local ones.
const ANY_ADDRESS: (&str, &str) = ("WEBHOOK_ALLOW_PRIVATE", "true");

async fn without_keys(mode: Mode) {
    let (name, value) = ANY_ADDRESS;
    let deployment = Deployment::tuned(mode, |builder| builder.env(name, value)).await;
    schemathesis(&deployment, None).await;
}

async fn with_a_key(mode: Mode) {
    let secured = Secured::tuned(mode, &[ANY_ADDRESS]).await;
    schemathesis(&secured.deployment, Some(ROOT)).await;
}

mod schemathesis_finds_nothing {
    use crate::support::Mode;

    #[tokio::test]
    async fn on_memory() {
        super::without_keys(Mode::MemorySqlite).await;
    }

    #[tokio::test]
    async fn on_memory_with_a_key() {
        super::with_a_key(Mode::MemorySqlite).await;
    }

    #[tokio::test]
    async fn on_nats() {
        super::without_keys(Mode::Nats).await;
    }

    #[tokio::test]
    async fn on_nats_with_a_key() {
        super::with_a_key(Mode::Nats).await;
    }
}

#[tokio::test]
async fn generated_clients_compile() {
    let deployment = Deployment::start(Mode::MemorySqlite).await;
    let folder = Folder::new("generated");
    let document = deployment.http().get("/openapi.json").await.expect(200);
    std::fs::write(folder.join("openapi.json"), &document.bytes).expect("written");
    let (python, node) =
        (interface_tools().join("venv/bin"), interface_tools().join("node_modules/.bin"));
    let generate =
        ["generate", "--path", "openapi.json", "--output-path", "generated", "--meta", "none"];
    run(&python.join("openapi-python-client"), &generate, &folder).await;
    run(&python.join("python"), &["-W", "error", "-m", "compileall", "-q", "generated"], &folder)
        .await;
    let tour = sources().join("tour.py");
    let url = deployment.http().base().to_owned();
    run(&python.join("python"), &[tour.to_str().expect("UTF-8"), &url], &folder).await;
    run(&node.join("openapi-typescript"), &["openapi.json", "--output", "schema.ts"], &folder)
        .await;
    std::fs::copy(sources().join("tour.ts"), folder.join("tour.ts")).expect("copied");
    let strict = [
        "--strict",
        "--noEmit",
        "false",
        "--target",
        "es2022",
        "--module",
        "nodenext",
        "--lib",
        "es2022,dom",
    ];
    run(&node.join("tsc"), &[&strict[..], &["--skipLibCheck", "tour.ts"]].concat(), &folder).await;
    run(Path::new("node"), &["tour.js", &url], &folder).await;
}
