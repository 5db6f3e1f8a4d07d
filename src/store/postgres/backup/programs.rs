//! The programs of PostgreSQL, found by `PATH`.
//!
//! Invariant: they connect as the server does, with the values of `DATABASE_URL` in their environment: a password is
//! never an argument, which others would see.

use std::io;
use std::process::Stdio;

use reqwest::Url;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;

use crate::limits::PROGRAM_ERROR_BYTES;
use crate::store::error::StoreError;

/// How programs connect to the database.
pub(super) struct Programs {
    variables: Vec<(&'static str, String)>,
}

impl Programs {
    /// Programs that connect as these options do, which were read from the address and the environment.
    pub fn new(url: &str, options: &PgConnectOptions) -> Self {
        let host = match options.get_socket() {
            Some(socket) => socket.to_string_lossy().into_owned(),
            None => options.get_host().to_owned(),
        };
        let mut variables = vec![
            ("PGHOST", host),
            ("PGPORT", options.get_port().to_string()),
            ("PGUSER", options.get_username().to_owned()),
            ("PGDATABASE", options.get_database().unwrap_or(options.get_username()).to_owned()),
            ("PGSSLMODE", ssl_mode(options.get_ssl_mode()).to_owned()),
            ("PGAPPNAME", "agentbus backup".to_owned()),
        ];
        variables.extend(options.get_options().map(|text| ("PGOPTIONS", text.to_owned())));
        variables.extend(of_url(url));
        Self { variables }
    }

    /// A command of this name. It is killed when it is dropped.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        // The address decides: these would have the program connect elsewhere.
        for other in ["PGHOSTADDR", "PGSERVICE", "PGSERVICEFILE"] {
            command.env_remove(other);
        }
        command.envs(self.variables.iter().map(|(name, value)| (*name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command.kill_on_drop(true);
        command
    }

    /// Checks that a program is there and not older than this version.
    pub async fn check(&self, program: &str, version: u32) -> Result<(), StoreError> {
        let mut command = self.command(program);
        let output = command.arg("--version").stdout(Stdio::piped()).output().await;
        let output = output.map_err(|error| not_started(program, &error))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        match major(&text) {
            Some(found) if found >= version => Ok(()),
            Some(found) => Err(StoreError::Refused(format!(
                "{program} in PATH is of PostgreSQL {found}, and {version} is needed: install the client programs of \
                 PostgreSQL {version}, and name their folder first in PATH"
            ))),
            None => Err(StoreError::Refused(format!("{program} --version says {:?}", text.trim()))),
        }
    }

    /// Runs a command to its end.
    pub async fn run(mut command: Command, program: &str) -> Result<(), StoreError> {
        let mut child = command.spawn().map_err(|error| not_started(program, &error))?;
        let said = errors(child.stderr.take()).await;
        let status = child.wait().await.map_err(|error| not_started(program, &error))?;
        if status.success() {
            return Ok(());
        }
        Err(failed(program, &said))
    }
}

/// The beginning of what a program writes to its error output, which is read to the end.
pub(super) async fn errors(from: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut from) = from else { return String::new() };
    let mut text = Vec::new();
    let _ = (&mut from).take(PROGRAM_ERROR_BYTES).read_to_end(&mut text).await;
    let _ = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&text).trim().to_owned()
}

/// The failure of a program, in its own words.
pub(super) fn failed(program: &str, said: &str) -> StoreError {
    let said = if said.is_empty() { "it ended without a word" } else { said };
    StoreError::Unavailable(format!("{program} failed: {said}"))
}

/// A program that cannot be started.
pub(super) fn not_started(program: &str, error: &io::Error) -> StoreError {
    StoreError::Refused(match error.kind() {
        io::ErrorKind::NotFound => format!(
            "{program} is not found in PATH: install the client programs of PostgreSQL (on Debian the package \
             postgresql-client)"
        ),
        _ => format!("{program} cannot be started: {error}"),
    })
}

/// What options do not show again: the password, and the files of TLS. Where the address has none, the variables of
/// the environment count, for the server as for its programs.
fn of_url(url: &str) -> Vec<(&'static str, String)> {
    let Ok(url) = Url::parse(url) else { return Vec::new() };
    let decoded =
        |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    let mut found: Vec<_> =
        url.password().map(|password| ("PGPASSWORD", decoded(password))).into_iter().collect();
    for (name, value) in url.query_pairs() {
        let variable = match &*name {
            "password" => "PGPASSWORD",
            "sslrootcert" | "ssl-root-cert" | "ssl-ca" => "PGSSLROOTCERT",
            "sslcert" | "ssl-cert" => "PGSSLCERT",
            "sslkey" | "ssl-key" => "PGSSLKEY",
            _ => continue,
        };
        found.push((variable, value.into_owned()));
    }
    found
}

const fn ssl_mode(mode: PgSslMode) -> &'static str {
    match mode {
        PgSslMode::Disable => "disable",
        PgSslMode::Allow => "allow",
        PgSslMode::Prefer => "prefer",
        PgSslMode::Require => "require",
        PgSslMode::VerifyCa => "verify-ca",
        PgSslMode::VerifyFull => "verify-full",
    }
}

/// The major version in `pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`.
fn major(text: &str) -> Option<u32> {
    let number = text.split_once("(PostgreSQL) ")?.1;
    let digits = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
    number[..digits].parse().ok()
}

#[cfg(test)]
mod tests {
    use std::str::FromStr as _;

    use super::*;

    #[test]
    fn versions_are_read_as_programs_say_them() {
        assert_eq!(major("pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some(15));
        assert_eq!(major("psql (PostgreSQL) 18beta1\n"), Some(18));
        for other in ["", "pg_dump 15", "pg_dump (PostgreSQL) x"] {
            assert_eq!(major(other), None, "{other}");
        }
    }

    #[test]
    fn programs_connect_as_the_address_says() {
        let url = "postgres://ann:p%40ss@db.example:6000/log?sslmode=verify-full\
                   &sslrootcert=/ca.pem&options=-c%20search_path%3Dbus";
        let programs = Programs::new(url, &PgConnectOptions::from_str(url).expect("an address"));
        for (name, value) in [
            ("PGHOST", "db.example"),
            ("PGPORT", "6000"),
            ("PGUSER", "ann"),
            ("PGDATABASE", "log"),
            ("PGPASSWORD", "p@ss"),
            ("PGSSLMODE", "verify-full"),
            ("PGSSLROOTCERT", "/ca.pem"),
            ("PGOPTIONS", "-c search_path=bus"),
        ] {
            let found = programs.variables.iter().find(|(known, _)| *known == name);
            assert_eq!(found.map(|(_, value)| &**value), Some(value), "{name}");
        }
    }
}
