//! The machine and the versions of a run.

use serde::Serialize;

use super::testbed::Testbed;
use crate::bare::nats::BareStream;

/// A machine and the versions on it. Unknown values are empty or zero.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Cores that this process may use.
    pub cores: usize,
    /// The processor's model.
    pub cpu: String,
    /// Memory, in bytes.
    pub memory: u64,
    /// Operating system and kernel.
    pub kernel: String,
    /// Version of nats-server.
    pub nats_server: String,
    /// Version of PostgreSQL.
    pub postgres: String,
    /// Version of agentbus.
    pub agentbus: &'static str,
}

/// Collects the description from the system and the servers.
pub(super) async fn describe(testbed: &Testbed) -> Machine {
    Machine {
        cores: std::thread::available_parallelism().map_or(0, usize::from),
        cpu: field("/proc/cpuinfo", "model name").unwrap_or_default(),
        memory: memory().unwrap_or_default(),
        kernel: kernel(),
        nats_server: nats(testbed).await.unwrap_or_default(),
        postgres: postgres(testbed).await.unwrap_or_default(),
        agentbus: env!("CARGO_PKG_VERSION"),
    }
}

async fn nats(testbed: &Testbed) -> Option<String> {
    let config = testbed.nats().ok()?;
    let name = testbed.name("version");
    let stream = BareStream::create(&config, &name).await.ok()?;
    let version = stream.server_version();
    BareStream::delete(&config, &name).await.ok()?;
    Some(version)
}

async fn postgres(testbed: &Testbed) -> Option<String> {
    let version = testbed.database().await.ok()?.server_version().await.ok();
    testbed.clean_up().await;
    version
}

fn field(file: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn memory() -> Option<u64> {
    let kib: u64 = field("/proc/meminfo", "MemTotal")?.strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

fn kernel() -> String {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/sys/kernel/{name}"));
    let parts = [read("ostype"), read("osrelease")].map(Result::unwrap_or_default);
    parts.map(|part| part.trim().to_owned()).join(" ").trim().to_owned()
}
