//! NATS servers with JetStream: single or in a cluster. They can be stopped, killed, frozen, and restarted on
//! the same port and files.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::folder::{Folder, Log};
use super::process::{Process, Slot, Spec};
use super::{ports, programs, wait};

const START: Duration = Duration::from_secs(20);
const STOP: Duration = Duration::from_secs(20);
/// Time limit for a cluster to elect the leader of its metadata; JetStream responds only then.
const CLUSTER: Duration = Duration::from_secs(60);

/// One `nats-server`. Dropped, it is killed and its files are removed.
pub struct Nats {
    name: String,
    port: u16,
    config: PathBuf,
    file_limit: Mutex<Option<u64>>,
    // Before the log and the folder: fields are dropped in this order.
    process: Slot,
    log: Log,
    folder: Folder,
}

/// The settings that a server is started with.
#[derive(Clone, Default)]
pub struct Builder {
    store_dir: Option<PathBuf>,
    file_limit: Option<u64>,
    jetstream: Vec<String>,
    without_jetstream: bool,
    lines: Vec<String>,
}

impl Builder {
    /// JetStream's `sync_interval`: `always`, or a duration as `10s`.
    pub fn sync_interval(mut self, value: &str) -> Self {
        self.jetstream.push(format!("sync_interval: {value}"));
        self
    }

    /// A server that only routes, as a leaf node may be.
    pub fn without_jetstream(mut self) -> Self {
        self.without_jetstream = true;
        self
    }

    /// The domain of its JetStream, which tells it from that of other sites.
    pub fn domain(mut self, name: &str) -> Self {
        self.jetstream.push(format!("domain: {name}"));
        self
    }

    /// The most bytes of a message, headers included.
    pub fn max_payload(self, bytes: usize) -> Self {
        self.config(&format!("max_payload: {bytes}"))
    }

    /// Where JetStream keeps its files, for example on a small file system. By default in the server's
    /// temporary folder.
    pub fn store_dir(mut self, path: &Path) -> Self {
        self.store_dir = Some(path.to_owned());
        self
    }

    /// How many bytes JetStream may store, whatever room it finds at its start.
    pub fn max_file_store(mut self, bytes: u64) -> Self {
        self.jetstream.push(format!("max_file_store: {bytes}"));
        self
    }

    /// The size of the largest file that the server may write, in KiB, until [`Nats::lift_file_limit`]:
    /// larger writes fail, as on a full disk.
    pub fn file_limit(mut self, kib: u64) -> Self {
        self.file_limit = Some(kib);
        self
    }

    /// Lines to add to the configuration file.
    pub fn config(mut self, lines: &str) -> Self {
        self.lines.push(lines.to_owned());
        self
    }

    pub async fn start(self) -> Nats {
        ports::claim("nats-server", async |port| Nats::start_on(port, "nats", &self).await).await
    }

    /// Starts a cluster of `size` servers, called `n1`, `n2` …, whose JetStream has a leader.
    pub async fn cluster(self, size: usize) -> Vec<Nats> {
        let ports: Vec<u16> = (0..size).map(|_| ports::free()).collect();
        let routes = vec![ports.clone(); size];
        self.cluster_through(&ports, &routes).await
    }

    /// Like [`Builder::cluster`], with the given ports for the routes, and for each server the ports at
    /// which it finds the others (for example those of proxies). The servers do not gossip other routes.
    pub async fn cluster_through(self, ports: &[u16], routes: &[Vec<u16>]) -> Vec<Nats> {
        let mut servers = Vec::new();
        for (index, (port, routes)) in ports.iter().zip(routes).enumerate() {
            let urls: Vec<String> =
                routes.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
            let cluster = format!(
                "cluster {{ name: test, host: \"127.0.0.1\", port: {port}, no_advertise: true, routes: [{}] }}",
                urls.join(", ")
            );
            let (name, builder) = (format!("n{}", index + 1), self.clone().config(&cluster));
            servers.push(
                ports::claim("nats-server", async |port| {
                    Nats::start_on(port, &name, &builder).await
                })
                .await,
            );
        }
        let jetstream = async_nats::jetstream::new(servers[0].client().await);
        // A request before there is a leader never gets a response, so it is repeated.
        let patience = Duration::from_millis(250);
        wait::eventually(CLUSTER, "the cluster's JetStream has a leader", async || {
            tokio::time::timeout(patience, jetstream.query_account()).await.ok()?.ok()
        })
        .await;
        servers
    }
}

impl Nats {
    /// One server with JetStream and default settings.
    pub async fn start() -> Self {
        Builder::default().start().await
    }

    /// Settings to start one server with.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A cluster of `size` servers with default settings: see [`Builder::cluster`].
    pub async fn cluster(size: usize) -> Vec<Self> {
        Self::builder().cluster(size).await
    }

    /// The addresses of the servers as one `NATS_URL`.
    pub fn urls(servers: &[Self]) -> String {
        servers.iter().map(Self::url).collect::<Vec<_>>().join(",")
    }

    /// A new client that knows all the servers.
    pub async fn client_of(servers: &[Self]) -> async_nats::Client {
        let urls: Vec<String> = servers.iter().map(Self::url).collect();
        async_nats::connect(urls).await.expect("connect to the cluster")
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The server's name, by which a stream's information calls its leader.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn pid(&self) -> u32 {
        self.process.with(Process::pid)
    }

    pub fn log(&self) -> String {
        self.log.text()
    }

    /// A new client, connected.
    pub async fn client(&self) -> async_nats::Client {
        async_nats::connect(self.url()).await.expect("connect to nats-server")
    }

    /// A JetStream context on a new client.
    pub async fn jetstream(&self) -> async_nats::jetstream::Context {
        async_nats::jetstream::new(self.client().await)
    }

    /// Ends the server as an operator would (SIGTERM).
    pub async fn stop_gracefully(&self) {
        let process = self.process.take();
        process.terminate(STOP).await.expect("nats-server ends when asked");
    }

    /// Kills the server with SIGKILL.
    pub fn kill9(&self) {
        self.process.take().kill9();
    }

    /// Starts the server again on the same port and files; a running one is stopped first.
    pub async fn restart(&self) {
        if self.is_running() {
            self.stop_gracefully().await;
        }
        self.boot()
            .await
            .unwrap_or_else(|error| panic!("nats-server does not start again: {error}"));
    }

    /// Removes the limit of file sizes at the next start.
    pub fn lift_file_limit(&self) {
        *self.file_limit.lock().expect("file limit") = None;
    }

    /// Freezes the server: connections stay open, and get no response.
    pub fn pause(&self) {
        self.process.with(Process::pause);
    }

    /// Continues a frozen server.
    pub fn resume(&self) {
        self.process.with(Process::resume);
    }

    /// Whether the server was started and neither stopped nor killed since.
    pub fn is_running(&self) -> bool {
        self.process.is_running()
    }

    async fn start_on(port: u16, name: &str, builder: &Builder) -> Result<Self, String> {
        let folder = Folder::new("nats");
        let config = folder.join("nats.conf");
        std::fs::write(&config, configuration(port, name, builder, &folder))
            .expect("write nats.conf");
        let log = Log::new(&format!("nats-server {name}"), folder.join("log"));
        let nats = Self {
            name: name.to_owned(),
            port,
            config,
            file_limit: Mutex::new(builder.file_limit),
            process: Slot::default(),
            log,
            folder,
        };
        nats.boot().await?;
        Ok(nats)
    }

    async fn boot(&self) -> Result<(), String> {
        let process = Process::spawn(Spec {
            program: programs::nats_server(),
            args: vec!["--config".to_owned(), self.config.display().to_string()],
            file_limit: *self.file_limit.lock().expect("file limit"),
            env: Vec::new(),
            folder: &self.folder,
            user: None,
            stdout: self.log.append(),
            stderr: self.log.append(),
        });
        let ready = process.ready(START, async || greeting(self.port).await).await;
        ready.map_err(|error| format!("{error}\n{}", self.log.tail()))?;
        self.process.put(process);
        Ok(())
    }
}

fn configuration(port: u16, name: &str, builder: &Builder, folder: &Folder) -> String {
    let store_dir = builder.store_dir.clone().unwrap_or_else(|| folder.join("jetstream"));
    let (own, lines) = (builder.jetstream.join("\n"), builder.lines.join("\n"));
    let jetstream = match builder.without_jetstream {
        true => String::new(),
        false => format!("jetstream {{ store_dir: \"{}\"\n{own} }}\n", store_dir.display()),
    };
    format!("server_name: {name}\nhost: \"127.0.0.1\"\nport: {port}\n{jetstream}{lines}\n")
}

/// Reads the first line, which NATS servers send unasked. The server listens only once JetStream has
/// recovered its files.
async fn greeting(port: u16) -> Option<()> {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let mut start = [0; 5];
    let read =
        tokio::time::timeout(Duration::from_secs(1), connection.read_exact(&mut start)).await;
    (read.ok()?.is_ok() && start == *b"INFO ").then_some(())
}

/// Publishes bytes that no client library would send. `headers` includes the version line and the empty line
/// at the end.
pub async fn publish_raw(nats_url: &str, subject: &str, headers: &[u8], payload: &[u8]) {
    let address = nats_url.trim_start_matches("nats://");
    let mut stream = TcpStream::connect(address).await.expect("connect");
    let (head, whole) = (headers.len(), headers.len() + payload.len());
    let mut bytes = b"CONNECT {\"headers\":true,\"verbose\":false}\r\n".to_vec();
    bytes.extend_from_slice(format!("HPUB {subject} {head} {whole}\r\n").as_bytes());
    bytes.extend_from_slice(&[headers, payload, b"\r\nPING\r\n"].concat());
    stream.write_all(&bytes).await.expect("write");
    let (mut heard, mut piece) = (Vec::new(), [0; 1_024]);
    while !heard.windows(4).any(|part| part == b"PONG") {
        let read = stream.read(&mut piece).await.expect("read");
        assert!(read > 0, "{}", String::from_utf8_lossy(&heard));
        heard.extend_from_slice(&piece[..read]);
    }
}
