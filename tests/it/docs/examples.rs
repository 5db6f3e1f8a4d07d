//! Runs the examples of a page, and compares the responses with those that the page shows.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::agree;
use super::blocks::{Block, blocks};
use super::servers::{Place, Servers};
use crate::support::folder::{Folder, Log};
use crate::support::process::{Process, Spec};
use crate::support::{Http, eventually, programs, wait};

const LIMIT: Duration = Duration::from_secs(60);

/// `nats pub SUBJECT TEXT`, and a curl that tells failures.
const SHELL: &str = r#"
curl() { command curl --silent --show-error --fail-with-body "$@"; }
nats() {
    exec 3<>"/dev/tcp/127.0.0.1/$NATS_PORT"
    printf 'CONNECT {"verbose":false}\r\nPUB %s %s\r\n%s\r\nPING\r\n' "$2" "${#3}" "$3" >&3
    grep --quiet PONG <&3
}
"#;

/// An EventSource of a page of the server.
const PAGE: &str = r#"
const { EventSource: Source } = require(`${process.env.NODE_CLIENTS}/node_modules/eventsource`);
const EventSource = class extends Source {
    constructor(path) { super(new URL(path, process.env.PAGE)); }
};
"#;

/// How many blocks there are.
#[derive(Default)]
pub struct Counts {
    /// Commands that were run.
    pub run: usize,
    /// Responses that were compared.
    pub compared: usize,
    /// Blocks that are neither.
    pub text: usize,
}

/// Runs all blocks of a page in their order.
pub async fn run(page: &str) -> Counts {
    let mut servers = Servers::start().await;
    let (mut counts, mut token) = (Counts::default(), String::new());
    let blocks = blocks(page);
    let mut blocks = blocks.iter().peekable();
    while let Some(block) = blocks.next() {
        match block.language.as_str() {
            "sh" | "python" | "js" => {
                let answer = blocks.next_if(|next| next.is_answer());
                let place = servers.of(&block.heading).await;
                let output = run_one(block, answer, &place, &token).await;
                if let Some((_, found)) = output.split_once(r#""lease_token":""#) {
                    found.split('"').next().unwrap_or_default().clone_into(&mut token);
                }
                counts.run += 1;
                counts.compared += usize::from(answer.is_some());
            }
            "text" | "ts" => counts.text += 1,
            other => panic!("line {}: what is this {other} a response to?", block.line),
        }
    }
    counts
}

/// Runs a block and checks its output; returns that.
async fn run_one(block: &Block, answer: Option<&Block>, place: &Place, token: &str) -> String {
    let text = block.text.replace("http://127.0.0.1:8080", &place.url);
    // The server ends the status when this time has passed.
    let text = text.replace(r#""ttl_s":60"#, r#""ttl_s":1"#).replace("TOKEN", token);
    let folder = Folder::new("example");
    let out = Log::new("example", folder.join("out"));
    let err = Log::new("example", folder.join("err"));
    let process = start(block, &text, place, &folder, &out, &err);
    let is_endless = text.contains("curl -N") || block.language == "js";
    let ended = async {
        if is_endless {
            let enough = async || check(block, answer, &out.text()).is_ok().then_some(());
            wait::poll(LIMIT, enough).await;
            true
        } else {
            let status = process.exit(LIMIT).await;
            status.is_some_and(|status| status.success())
        }
    };
    let (is_success, ()) = tokio::join!(ended, answer_question(&text, &place.url));
    let (line, output) = (block.line, out.text());
    let said = || format!("line {line}:\n{text}\n{output}\n{}", err.text());
    assert!(is_success || answer.is_some(), "it fails: {}", said());
    if let Err(fault) = check(block, answer, &output) {
        panic!("{fault}\n{}", said());
    }
    output
}

/// Whether the output is as the page shows it.
fn check(block: &Block, answer: Option<&Block>, output: &str) -> Result<(), String> {
    let is_stream = block.text.contains("curl -N");
    match answer {
        None if block.language == "js" => {
            let is_live = output.ends_with("live\n") && output.starts_with("1 ann ");
            is_live.then_some(()).ok_or("it does not show the messages".to_owned())
        }
        None if is_stream && agree::events(output).is_empty() => Err("no event".to_owned()),
        None => Ok(()),
        Some(shown) => match shown.language.as_str() {
            "http" => agree::responses(&shown.text, output),
            "sse" => agree::streams(&shown.text, output),
            _ if is_stream => agree::an_event(&shown.text, output),
            _ => agree::bodies(&shown.text, output),
        },
    }
}

fn start(
    block: &Block,
    text: &str,
    place: &Place,
    folder: &Folder,
    out: &Log,
    err: &Log,
) -> Process {
    let (program, args) = match block.language.as_str() {
        "js" => (programs::node(), ["-e".to_owned(), format!("{PAGE}{text}")]),
        "python" => (programs::python_client(), ["-c".to_owned(), text.to_owned()]),
        _ => ("/bin/bash".into(), ["-euc".to_owned(), format!("{SHELL}{text}")]),
    };
    let mut env = place.env.clone();
    let tools = programs::interface_tools();
    let found = [tools.join("venv/bin"), tools.join("node_modules/.bin")];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(found.into_iter().chain(std::env::split_paths(&path)));
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    env.push(("PATH".to_owned(), text(Path::new(&path.expect("a path")))));
    env.push(("NODE_CLIENTS".to_owned(), text(&programs::node_clients())));
    env.extend(["PAGE", "AGENTBUS_URL"].map(|name| (name.to_owned(), place.url.clone())));
    Process::spawn(Spec {
        program: &program,
        args: args.into(),
        env,
        file_limit: None,
        folder,
        user: None,
        stdout: out.append(),
        stderr: err.append(),
    })
}

/// Is the agent bob, if an example asks him something and waits.
async fn answer_question(text: &str, url: &str) {
    if !text.contains("reply_within") {
        return;
    }
    let http = Http::new(url);
    let id = eventually(LIMIT, "a question", async || {
        let asked = http.get("/v1/messages?type=question&recipient=bob&order=desc&limit=1").await;
        Some(asked.json()["messages"][0]["id"].as_str()?.to_owned())
    })
    .await;
    let reply = json!({"kind": "message", "type": "answer", "sender_id": "bob", "in_reply_to": id});
    http.post_json("/v1/messages", &reply).await.expect(201);
}
