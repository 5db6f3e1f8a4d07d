//! The operator of a drill: runs the commands of a runbook in a shell that has the server's settings. What
//! `systemctl` would do, the drill does.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use super::runbook::Runbook;
use crate::support::folder::Folder;
use crate::support::{Agentbus, eventually, programs, within};

/// Time limit for one block of commands: runbooks wait up to two minutes themselves.
const BLOCK: Duration = Duration::from_secs(180);

/// Writes its arguments to a file, and waits until the drill has done it.
const SYSTEMCTL: &str = r#"#!/bin/sh
asked="$ASKED/$$"
echo "$*" > "$asked.new"
mv "$asked.new" "$asked.asked"
until [ -e "$asked.done" ]; do sleep 0.05; done
"#;

/// Somebody at the shell of a server's machine.
pub struct Operator {
    folder: Folder,
    env: Vec<(String, String)>,
}

impl Operator {
    /// With the settings of this server in the environment, and in the file `ENV_FILE`.
    pub fn at(server: &Agentbus) -> Self {
        let folder = Folder::new("operator");
        let (bin, asked) = (folder.join("bin"), folder.join("asked"));
        std::fs::create_dir(&bin).expect("a folder");
        std::fs::create_dir(&asked).expect("a folder");
        symlink(env!("CARGO_BIN_EXE_agentbus"), bin.join("agentbus")).expect("a link");
        let systemctl = bin.join("systemctl");
        std::fs::write(&systemctl, SYSTEMCTL).expect("written");
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&systemctl, executable).expect("made executable");

        let settings = server.env();
        let lines: String =
            settings.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        let file = folder.join("agentbus.env");
        std::fs::write(&file, lines).expect("written");
        let psql = programs::postgres("psql");
        let psql = psql.parent().expect("a folder").display();
        let mut env: Vec<(String, String)> = settings.into_iter().collect();
        let mut set = |name: &str, value: String| env.push((name.to_owned(), value));
        set("PATH", format!("{}:{psql}:/usr/local/bin:/usr/bin:/bin", bin.display()));
        set("HOME", folder.path().display().to_string());
        set("ASKED", asked.display().to_string());
        set("ENV_FILE", file.display().to_string());
        set("AGENTBUS_URL", server.url().to_owned());
        Self { folder, env }
    }

    /// Sets a variable for the commands.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Installs this program as `agentbus`, in place of this version.
    pub fn installed(self, program: &Path) -> Self {
        std::fs::remove_file(self.program()).expect("removed");
        std::fs::copy(program, self.program()).expect("copied");
        self
    }

    /// The `agentbus` of the commands, which they may replace.
    pub fn program(&self) -> PathBuf {
        self.folder.join("bin/agentbus")
    }

    /// The value of a setting in `ENV_FILE`, which commands may edit.
    pub fn setting(&self, name: &str) -> Option<String> {
        let text = std::fs::read_to_string(self.folder.join("agentbus.env")).expect("the file");
        text.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix('=')?.to_owned()))
    }

    /// Runs the commands of a section, which must not ask for any unit; returns their output.
    pub async fn runs(&self, book: &Runbook, section: &str) -> String {
        self.walks(book, section, async |unit: &str| panic!("nobody does: systemctl {unit}")).await
    }

    /// Runs the commands of a section. `systemctl` does what it is asked to do, such as `restart nats-server`.
    /// Returns their output.
    pub async fn walks(
        &self,
        book: &Runbook,
        section: &str,
        systemctl: impl AsyncFn(&str),
    ) -> String {
        let mut output = String::new();
        for commands in book.commands(section) {
            let mut shell = Command::new("bash");
            shell.args(["-euo", "pipefail", "-c", commands]).env_clear().kill_on_drop(true);
            shell.envs(self.env.iter().cloned()).current_dir(self.folder.path());
            shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = shell.spawn().expect("bash");
            let (mut out, mut err) = (String::new(), String::new());
            let (mut stdout, mut stderr) =
                (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
            let read = async {
                let both = (stdout.read_to_string(&mut out), stderr.read_to_string(&mut err));
                let (read_out, read_err) = tokio::join!(both.0, both.1);
                read_out.and(read_err).expect("output of UTF-8");
                child.wait().await.expect("an exit status")
            };
            let status = within(BLOCK, commands, async {
                tokio::select! {
                    status = read => status,
                    () = self.does(&systemctl) => unreachable!("it goes on for ever"),
                }
            })
            .await;
            assert!(status.success(), "{section}: {commands}{status}\n{out}{err}");
            output.push_str(&out);
        }
        output
    }

    /// Does what the commands ask `systemctl` for, for ever.
    async fn does(&self, systemctl: impl AsyncFn(&str)) {
        loop {
            let asked = eventually(2 * BLOCK, "systemctl is asked", async || self.asked()).await;
            let what = std::fs::read_to_string(&asked).expect("what is asked");
            systemctl(what.trim()).await;
            std::fs::rename(&asked, asked.with_extension("done")).expect("renamed");
        }
    }

    fn asked(&self) -> Option<PathBuf> {
        let entries = std::fs::read_dir(self.folder.join("asked")).expect("the folder");
        let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        paths.find(|path| path.extension().is_some_and(|extension| extension == "asked"))
    }
}
