//! Programs of the clients, which write one JSON object a line.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use serde_json::Value;

use super::folder::{Folder, Log};
use super::process::{Process, Spec};
use super::programs::python_client;

/// Time limit for the end of a program that has nothing left to do, or was asked to end.
const STOP: Duration = Duration::from_secs(60);

/// A running program. Dropped, it is killed.
pub struct Program {
    // Before the logs and the folder: fields are dropped in this order.
    process: Process,
    name: &'static str,
    out: Log,
    err: Log,
    _folder: Folder,
}

/// A client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    Python,
    PythonAsync,
    TypeScript,
    /// It has no program `work`.
    Rust,
}

impl Client {
    /// Starts a program of this client: `consume`, `produce` or `work`.
    pub fn start(self, program: &'static str, url: &str, arguments: &[String]) -> Program {
        let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients");
        let script = |path: String| clients.join(path).to_str().expect("UTF-8").to_owned();
        let (interpreter, mut args) = match self {
            Self::Python => {
                (python_client(), vec![script(format!("python/tests/programs/{program}.py"))])
            }
            Self::PythonAsync => {
                let script = script(format!("python/tests/programs/{program}.py"));
                (python_client(), vec![script, "--async".to_owned()])
            }
            Self::TypeScript => {
                ("node".into(), vec![script(format!("typescript/tests/programs/{program}.mjs"))])
            }
            Self::Rust => (rust_examples().join("faults"), vec![program.to_owned()]),
        };
        args.extend_from_slice(arguments);
        let folder = Folder::new("client");
        let (out, err) =
            (Log::new(program, folder.join("out")), Log::new(program, folder.join("err")));
        let process = Process::spawn(Spec {
            program: &interpreter,
            args,
            env: [("AGENTBUS_URL".to_owned(), url.to_owned())].into_iter().collect(),
            file_limit: None,
            folder: &folder,
            user: None,
            stdout: out.append(),
            stderr: err.append(),
        });
        Program { process, name: program, out, err, _folder: folder }
    }
}

/// The folder with the built examples of the Rust client.
pub fn rust_examples() -> &'static Path {
    static BUILT: LazyLock<PathBuf> = LazyLock::new(|| {
        // As the whole workspace is built: nothing to do after `cargo test`.
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--quiet", "--locked", "--examples"]);
        let built = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo runs");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let binary = Path::new(env!("CARGO_BIN_EXE_agentbus"));
        binary.parent().expect("a folder").join("examples")
    });
    &BUILT
}

impl Program {
    /// What it has written so far, without a line that is not whole.
    pub fn lines(&self) -> Vec<Value> {
        let text = self.out.text();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        whole.lines().map(parse).collect()
    }

    /// Waits until it has ended by itself, and returns what it has written.
    pub async fn finished(&self, limit: Duration) -> Vec<Value> {
        let status = self.process.exit(limit).await;
        let is_done = status.is_some_and(|status| status.success());
        assert!(
            is_done,
            "{}: {status:?} after {} lines\n{}",
            self.name,
            self.lines().len(),
            self.err.tail()
        );
        self.lines()
    }

    /// Asks it to end, and returns what it has written.
    pub async fn ended(&self) -> Vec<Value> {
        let status = self.process.terminate(STOP).await.expect("it ends when asked");
        assert!(status.success(), "{}: {status}\n{}", self.name, self.err.tail());
        self.lines()
    }
}
