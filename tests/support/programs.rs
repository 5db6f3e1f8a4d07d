//! Finds the programs that the tests start. `scripts/test` finds or installs them and passes their paths in
//! environment variables. Where a variable is missing, the usual places are searched.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// `nats-server`: `NATS_SERVER_BIN`, else what `scripts/test` has fetched, else from `PATH`.
pub fn nats_server() -> &'static Path {
    static FOUND: LazyLock<PathBuf> = LazyLock::new(|| {
        let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/nats-server");
        let places =
            variable("NATS_SERVER_BIN").into_iter().chain([fetched]).chain(in_path("nats-server"));
        first(places, "nats-server", "NATS_SERVER_BIN")
    });
    &FOUND
}

/// The folder of the Python package standardwebhooks: `STANDARDWEBHOOKS_DIR`, else what `scripts/test` has
/// fetched.
pub fn standardwebhooks() -> PathBuf {
    let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/python");
    let folder = variable("STANDARDWEBHOOKS_DIR").unwrap_or(fetched);
    let module = std::iter::once(folder.join("standardwebhooks/__init__.py"));
    first(module, "the Python package standardwebhooks", "STANDARDWEBHOOKS_DIR");
    folder
}

/// The folder whose `node_modules` contains clients in JavaScript: `NODE_CLIENTS_DIR`, else what
/// `scripts/test` has fetched.
pub fn node_clients() -> PathBuf {
    let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/node");
    let folder = variable("NODE_CLIENTS_DIR").unwrap_or(fetched);
    let package = std::iter::once(folder.join("node_modules/eventsource/package.json"));
    first(package, "the npm package eventsource", "NODE_CLIENTS_DIR");
    folder
}

/// The folder of the packages of `tests/interface`: `INTERFACE_TOOLS_DIR`, else what `scripts/test` has installed.
pub fn interface_tools() -> PathBuf {
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/interface");
    let folder = variable("INTERFACE_TOOLS_DIR").unwrap_or(installed);
    let program = std::iter::once(folder.join("venv/bin/schemathesis"));
    first(program, "schemathesis", "INTERFACE_TOOLS_DIR");
    folder
}

/// `node` in `PATH`.
pub fn node() -> PathBuf {
    first(in_path("node").into_iter(), "node", "PATH")
}

/// The library libfaketime, which gives a program another time: `FAKETIME_LIB`, else Debian's.
pub fn faketime() -> &'static Path {
    static FOUND: LazyLock<PathBuf> = LazyLock::new(|| {
        let debian = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
        let debian = debian.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
        let places = variable("FAKETIME_LIB").into_iter().chain(debian);
        first(places, "the library libfaketime", "FAKETIME_LIB")
    });
    &FOUND
}

/// Python with the client installed: in the folder `PYTHON_CLIENT_BIN`, else where `scripts/test` has made it.
pub fn python_client() -> PathBuf {
    let made = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/python-client/bin");
    let folder = variable("PYTHON_CLIENT_BIN").unwrap_or(made);
    first(std::iter::once(folder.join("python")), "the Python client", "PYTHON_CLIENT_BIN")
}

/// `python3` in `PATH`.
pub fn python() -> PathBuf {
    first(in_path("python3").into_iter(), "python3", "PATH")
}

/// A program of the PostgreSQL server: from the folder `PG_BIN`, else from Debian's newest version, else from
/// `PATH`.
pub fn postgres(program: &str) -> PathBuf {
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut debian: Vec<PathBuf> = debian.map(|version| version.path()).collect();
    debian.sort_by_key(|path| path.file_name()?.to_str()?.parse::<u32>().ok());
    let debian = debian.into_iter().rev().map(|version| version.join("bin").join(program));
    let named = variable("PG_BIN").map(|folder| folder.join(program));
    first(named.into_iter().chain(debian).chain(in_path(program)), program, "PG_BIN")
}

/// `prometheus` or `promtool`, from the folder `PROMETHEUS_BIN`, else from `PATH`.
pub fn prometheus(program: &str) -> &'static Path {
    let named = variable("PROMETHEUS_BIN").map(|folder| folder.join(program));
    let found = first(named.into_iter().chain(in_path(program)), program, "PROMETHEUS_BIN");
    Box::leak(found.into_boxed_path())
}

/// `agentbus` of the previous version, which upgrades start from: `AGENTBUS_PREVIOUS_BIN`, else what `scripts/test` has
/// built. `None`, with a line that says so, where there is none: it is built from the history of the repository.
pub fn previous() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let commit = std::fs::read_to_string(root.join("tests/faults/previous")).expect("the version");
    let built = root.join("target/tools/previous").join(format!("agentbus-{}", commit.trim()));
    let found =
        variable("AGENTBUS_PREVIOUS_BIN").into_iter().chain([built]).find(|it| it.is_file());
    if found.is_none() {
        eprintln!(
            "skipped: the previous version of agentbus is not built; scripts/test builds it from the history"
        );
    }
    found
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn in_path(program: &str) -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(program)).collect()
}

fn first(mut places: impl Iterator<Item = PathBuf>, program: &str, variable: &str) -> PathBuf {
    places.find(|path| path.is_file()).unwrap_or_else(|| {
        panic!("{program} is not found: run scripts/test once, or set {variable}")
    })
}
