//! A real Prometheus that scrapes servers once a second, with the rules of `deploy/prometheus`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::folder::{Folder, Log};
use super::process::{Process, Spec};
use super::{http, ports, programs};

const START: Duration = Duration::from_secs(30);

/// Where rules, dashboards and their tests are.
pub fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")
}

/// A running Prometheus. Dropped, it is killed and its files are removed.
pub struct Prometheus {
    url: String,
    // Before the folder: fields are dropped in this order.
    _process: Process,
    _folder: Folder,
}

impl Prometheus {
    /// Scrapes these jobs: of each the name and the targets.
    pub async fn start(jobs: &[(&str, &[String])]) -> Self {
        Self::with_rules(&deploy().join("prometheus/*.rules.yml"), jobs).await
    }

    /// Like [`Self::start`], with the rules of the files that this pattern matches.
    pub async fn with_rules(rules: &Path, jobs: &[(&str, &[String])]) -> Self {
        let config = configuration(rules, jobs);
        ports::claim("Prometheus", async |port| Self::start_on(port, &config).await).await
    }

    async fn start_on(port: u16, configuration: &str) -> Result<Self, String> {
        let folder = Folder::new("prometheus");
        let config = folder.join("prometheus.yml");
        std::fs::write(&config, configuration).expect("write prometheus.yml");
        let log = Log::new("prometheus", folder.join("log"));
        let process = Process::spawn(Spec {
            program: programs::prometheus("prometheus"),
            args: vec![
                format!("--config.file={}", config.display()),
                format!("--storage.tsdb.path={}", folder.join("data").display()),
                format!("--web.listen-address=127.0.0.1:{port}"),
            ],
            env: Vec::new(),
            folder: &folder,
            file_limit: None,
            user: None,
            stdout: log.append(),
            stderr: log.append(),
        });
        let url = format!("http://127.0.0.1:{port}");
        let is_ready = async || {
            let answer = http::client(None).get(format!("{url}/-/ready")).send().await.ok()?;
            answer.status().is_success().then_some(())
        };
        let ready = process.ready(START, is_ready).await;
        ready.map_err(|error| format!("{error}\n{}", log.tail()))?;
        Ok(Self { url, _process: process, _folder: folder })
    }

    /// The series that an expression yields now; the error if Prometheus refuses it.
    pub async fn query(&self, expression: &str) -> Result<Vec<Value>, String> {
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("query", expression)
            .finish();
        let answer = self.get(&format!("/api/v1/query?{form}")).await;
        match answer["data"]["result"].as_array() {
            Some(series) => Ok(series.clone()),
            None => Err(answer.to_string()),
        }
    }

    /// The names of all metrics that it has, recorded ones among them.
    pub async fn names(&self) -> Vec<String> {
        let answer = self.get("/api/v1/label/__name__/values").await;
        serde_json::from_value(answer["data"].clone()).expect("names")
    }

    /// All rules, with the state of their last evaluation.
    pub async fn rules(&self) -> Vec<Value> {
        let answer = self.get("/api/v1/rules").await;
        let groups = answer["data"]["groups"].as_array().expect("groups");
        groups.iter().flat_map(|group| group["rules"].as_array().expect("rules").clone()).collect()
    }

    async fn get(&self, path: &str) -> Value {
        let answer = http::client(None).get(format!("{}{path}", self.url)).send().await;
        let text = answer.expect("an answer").text().await.expect("a body");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }
}

fn configuration(rules: &Path, jobs: &[(&str, &[String])]) -> String {
    let mut text = format!(
        "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: [\"{}\"]\nscrape_configs:\n",
        rules.display()
    );
    for (name, targets) in jobs {
        let targets = serde_json::to_string(targets).expect("a list");
        text +=
            &format!("  - {{ job_name: {name}, static_configs: [{{ targets: {targets} }}] }}\n");
    }
    text
}
