//! Headless Chromium with real clicks and keys, controlled through chromedriver by the W3C's WebDriver
//! protocol, which is JSON over HTTP.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::Method;
use serde_json::{Value, json};

use super::folder::{Folder, Log};
use super::process::{Process, Spec};
use super::wait::{eventually_blocking, poll};
use super::{Http, eventually, ports, within};

const START: Duration = Duration::from_secs(60);
/// Time limit for what a page does by itself, on a machine that is busy with other browsers.
const LIMIT: Duration = Duration::from_secs(30);
const ARGS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1400,1000",
];
/// The member that holds the id of an element, as the protocol defines it.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with one window. Dropped, it is killed with its chromedriver.
pub struct Browser {
    http: Http,
    session: String,
    // Before the log and the folder: fields are dropped in this order.
    process: Process,
    _log: Log,
    _folder: Folder,
}

/// Kills all of Chromium's processes, not only the first: the others would continue for a moment, and write
/// files.
impl Drop for Browser {
    fn drop(&mut self) {
        let pids = descendants(self.process.pid());
        self.process.signal("KILL", &pids);
        if !std::thread::panicking() {
            eventually_blocking(LIMIT, "Chromium ends", || pids.iter().all(|pid| is_gone(*pid)));
        }
    }
}

impl Browser {
    /// Starts a browser with an empty profile.
    pub async fn start() -> Self {
        ports::claim("chromedriver", async |port| Self::start_on(port, false).await).await
    }

    /// Starts a browser that accepts every certificate.
    pub async fn trusting() -> Self {
        ports::claim("chromedriver", async |port| Self::start_on(port, true).await).await
    }

    async fn start_on(port: u16, trusts_all: bool) -> Result<Self, String> {
        let folder = Folder::new("browser");
        let log = Log::new("chromedriver", folder.join("log"));
        let process = Process::spawn(Spec {
            program: &program("CHROMEDRIVER_BIN", &["chromedriver"]),
            args: vec![format!("--port={port}")],
            env: vec![("HOME".to_owned(), folder.path().display().to_string())],
            file_limit: None,
            folder: &folder,
            user: None,
            stdout: log.append(),
            stderr: log.append(),
        });
        let http = Http::new(&format!("http://127.0.0.1:{port}"));
        let ready = process.ready(START, async || {
            let answer = http.request(Method::GET, "/status", &[], "").await.ok()?;
            (answer.json()["value"]["ready"] == true).then_some(())
        });
        ready.await.map_err(|error| format!("{error}\n{}", log.tail()))?;
        let profile = format!("--user-data-dir={}", folder.join("profile").display());
        let args: Vec<&str> = ARGS.into_iter().chain([profile.as_str()]).collect();
        let chromium = program("CHROMIUM_BIN", &["chromium", "chromium-browser", "google-chrome"]);
        let options = json!({"binary": chromium, "args": args});
        let wanted = json!({"browserName": "chrome", "acceptInsecureCerts": trusts_all, "goog:chromeOptions": options});
        let body = json!({"capabilities": {"alwaysMatch": wanted}});
        let session = within(START, "a browser", http.post_json("/session", &body)).await;
        let value = session.expect(200).json();
        let session = value["value"]["sessionId"].as_str().expect("a session").to_owned();
        Ok(Self { http, session, process, _log: log, _folder: folder })
    }

    /// Opens an address, and waits until the page has loaded.
    pub async fn open(&self, url: &str) {
        self.command("url", &json!({ "url": url })).await.expect("open a page");
    }

    /// Runs the body of a JavaScript function in the page, and returns its result.
    pub async fn run(&self, script: &str) -> Value {
        let body = json!({"script": script, "args": []});
        self.command("execute/sync", &body)
            .await
            .unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// Waits until a JavaScript expression is true in the page, and returns its value.
    pub async fn until(&self, expression: &str) -> Value {
        let script = format!("return {expression}");
        eventually(LIMIT, expression, async || {
            let value = self.run(&script).await;
            let no = [json!(false), Value::Null, json!(""), json!(0)].contains(&value);
            (!no).then_some(value)
        })
        .await
    }

    /// Clicks on an element as soon as it exists and can be clicked on.
    pub async fn click(&self, css: &str) {
        self.on_element(css, async |element| {
            self.command(&format!("element/{element}/click"), &json!({})).await
        })
        .await;
    }

    /// Replaces the text of a field.
    pub async fn fill(&self, css: &str, text: &str) {
        self.on_element(css, async |element| {
            self.command(&format!("element/{element}/clear"), &json!({})).await?;
            self.command(&format!("element/{element}/value"), &json!({ "text": text })).await
        })
        .await;
    }

    /// Chooses an option of a `select` by its text, from the keyboard.
    pub async fn choose(&self, css: &str, text: &str) {
        self.on_element(css, async |element| {
            self.command(&format!("element/{element}/value"), &json!({ "text": text })).await
        })
        .await;
    }

    /// Presses a key in the element that has the focus.
    pub async fn press(&self, key: &str) {
        let keys =
            [json!({"type": "keyDown", "value": key}), json!({"type": "keyUp", "value": key})];
        let actions = json!({"actions": [{"type": "key", "id": "keyboard", "actions": keys}]});
        self.command("actions", &actions).await.expect("press a key");
    }

    /// Saves a screenshot in the system's temporary folder, if `AGENTBUS_TEST_KEEP` is set.
    pub async fn screenshot(&self, name: &str) {
        if !Folder::kept() {
            return;
        }
        let answer = self.http.get(&format!("/session/{}/screenshot", self.session)).await;
        let picture = answer.expect(200).json()["value"].as_str().map(|text| BASE64.decode(text));
        let path = std::env::temp_dir().join(format!("agentbus-console-{name}.png"));
        std::fs::write(&path, picture.expect("a picture").expect("Base64")).expect("write a file");
        eprintln!("picture: {}", path.display());
    }

    /// Finds an element and uses it. Repeats both if the page replaced the element in between.
    async fn on_element(&self, css: &str, act: impl AsyncFn(String) -> Result<Value, String>) {
        let mut last = String::new();
        let tried = poll(LIMIT, async || {
            let acted = match self.find(css).await {
                Ok(element) => act(element).await,
                Err(error) => Err(error),
            };
            acted.map_err(|error| last = error).ok()
        });
        assert!(tried.await.is_some(), "{css}: {last}");
    }

    async fn find(&self, css: &str) -> Result<String, String> {
        let body = json!({"using": "css selector", "value": css});
        let found = self.command("element", &body).await?;
        found[ELEMENT].as_str().map(str::to_owned).ok_or_else(|| format!("no element: {found}"))
    }

    async fn command(&self, command: &str, body: &Value) -> Result<Value, String> {
        let path = format!("/session/{}/{command}", self.session);
        let answer = within(LIMIT, command, self.http.post_json(&path, body)).await;
        let mut json = answer.json();
        match answer.status {
            200 => Ok(json["value"].take()),
            _ => Err(json["value"]["message"].to_string()),
        }
    }
}

/// The children of a process, their children, and so on; parents first.
fn descendants(pid: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    let children = lists.collect::<Vec<_>>().join(" ");
    let children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
    children.flat_map(|child| std::iter::once(child).chain(descendants(child))).collect()
}

/// Whether a process has ended, reaped or not. In `stat` the state follows the name, which ends with `)`.
fn is_gone(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
}

/// The program that `scripts/test` names in `variable`, else the first of `names` in `PATH`.
fn program(variable: &str, names: &[&str]) -> PathBuf {
    let named = std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let in_path = names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    named.into_iter().chain(in_path).find(|path| path.is_file()).unwrap_or_else(|| {
        panic!("{} is not found: run scripts/test once, or set {variable}", names[0])
    })
}
