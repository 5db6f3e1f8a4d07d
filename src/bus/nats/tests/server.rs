//! Runs a `nats-server` process for one test, in its own folder.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A running server. When dropped, it is killed and its files are removed.
pub(super) struct Server {
    port: u16,
    folder: PathBuf,
    child: Option<Child>,
}

impl Server {
    /// Starts a server; `None` if there is no binary.
    pub(super) async fn start() -> Option<Self> {
        Self::start_with("").await
    }

    /// Starts a server with further configuration lines.
    pub(super) async fn start_with(lines: &str) -> Option<Self> {
        if std::env::var_os("NATS_SERVER_BIN").is_none() {
            eprintln!("NATS_SERVER_BIN is not set: not tested");
            return None;
        }
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder =
            std::env::temp_dir().join(format!("agentbus-nats-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("folder");
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("port").port();
        let store = folder.join("js");
        let text = format!(
            "listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: {store:?} }}\n{lines}\n"
        );
        std::fs::write(folder.join("conf"), text).expect("configuration");
        let mut server = Self { port, folder, child: None };
        server.restart().await;
        Some(server)
    }

    pub(super) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Starts the process again, on the same port and files.
    pub(super) async fn restart(&mut self) {
        let binary = std::env::var_os("NATS_SERVER_BIN").expect("binary");
        let log = std::fs::File::create(self.folder.join("log")).expect("log");
        let child = Command::new(binary)
            .arg("-c")
            .arg(self.folder.join("conf"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("nats-server starts");
        self.child = Some(child);
        let limit = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < limit, "nats-server does not listen");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Kills the process with SIGKILL.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("kill");
            child.wait().expect("wait");
        }
    }

    /// Sends SIGSTOP or SIGCONT.
    pub(super) fn signal(&self, name: &str) {
        let pid = self.child.as_ref().expect("runs").id().to_string();
        let done = Command::new("kill").args([&format!("-{name}"), &pid]).status().expect("kill");
        assert!(done.success());
    }

    /// Publishes bytes without any check, and waits until the server has read them.
    pub(super) fn publish_raw(&self, subject: &[u8], headers: Option<&[u8]>, payload: &[u8]) {
        self.publish_raw_as("", "", subject, headers, payload);
    }

    /// As [`Self::publish_raw`], but as a certain user.
    pub(super) fn publish_raw_as(
        &self,
        user: &str,
        password: &str,
        subject: &[u8],
        headers: Option<&[u8]>,
        payload: &[u8],
    ) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("connect");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("timeout");
        let connect = serde_json::json!({
            "verbose": false, "headers": true, "user": user, "pass": password
        });
        let mut out = format!("CONNECT {connect}\r\n").into_bytes();
        let total = headers.map_or(0, <[u8]>::len) + payload.len();
        out.extend_from_slice(if headers.is_some() { b"HPUB " } else { b"PUB " });
        out.extend_from_slice(subject);
        if let Some(headers) = headers {
            out.extend_from_slice(format!(" {}", headers.len()).as_bytes());
        }
        out.extend_from_slice(format!(" {total}\r\n").as_bytes());
        out.extend_from_slice(headers.unwrap_or_default());
        out.extend_from_slice(payload);
        out.extend_from_slice(b"\r\nPING\r\n");
        stream.write_all(&out).expect("write");
        let mut seen = Vec::new();
        let mut chunk = [0; 4096];
        while !seen.windows(4).any(|window| window == b"PONG") {
            let count = stream.read(&mut chunk).expect("the server answers");
            assert!(count > 0, "closed: {}", String::from_utf8_lossy(&seen));
            seen.extend_from_slice(&chunk[..count]);
        }
        assert!(!seen.windows(4).any(|w| w == b"-ERR"), "{}", String::from_utf8_lossy(&seen));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
