//! Programs of the clients in other languages, which write one JSON object a line.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::folder::{Folder, Log};
use super::process::{Process, Spec};

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
}

impl Client {
    pub const ALL: [Self; 3] = [Self::Python, Self::PythonAsync, Self::TypeScript];

    /// Starts a program of this client: `consume`, `produce` or `work`.
    pub fn start(self, program: &'static str, url: &str, arguments: &[String]) -> Program {
        let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients");
        let (interpreter, file) = match self {
            Self::Python | Self::PythonAsync => {
                (python(), clients.join(format!("python/tests/programs/{program}.py")))
            }
            Self::TypeScript => {
                ("node".into(), clients.join(format!("typescript/tests/programs/{program}.mjs")))
            }
        };
        let mut args = vec![file.to_str().expect("UTF-8").to_owned()];
        args.extend((self == Self::PythonAsync).then(|| "--async".to_owned()));
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

fn python() -> PathBuf {
    let folder = std::env::var_os("PYTHON_CLIENT_BIN");
    PathBuf::from(folder.expect("PYTHON_CLIENT_BIN is set: run this with scripts/test"))
        .join("python")
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
