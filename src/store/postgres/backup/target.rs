//! An empty database, and how a copy is read into it.

use std::path::Path;
use std::process::Stdio;

use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, ChildStdin, Command};

use super::programs::{self, Programs};
use super::snapshot::{DatabaseFacts, facts};
use crate::limits::STORE_READ_TIMEOUT;
use crate::store::backup::{Literals, Restoration};
use crate::store::error::StoreError;
use crate::store::postgres::connection::{self, Role, bounded};
use crate::store::postgres::membership::{self, PostgresMembership};
use crate::store::postgres::schema::difference;
use crate::store::{BusKind, Membership as _, MembershipState};

const LITERALS: Literals = Literals { now: "now()", epoch: "to_timestamp(0)", free: "'-infinity'" };

/// A database without tables of agentbus, on which no server can start meanwhile.
pub struct PostgresTarget {
    membership: PostgresMembership,
    programs: Programs,
    schema: String,
}

impl PostgresTarget {
    /// Locks the database as the only server would.
    ///
    /// # Errors
    /// It cannot be reached, is not empty, is older than the one of the copy, or a server waits on it; a program of
    /// PostgreSQL is missing or too old.
    pub async fn open(url: &str, from: &DatabaseFacts) -> Result<Self, StoreError> {
        let options = connection::options(url)?;
        let mut first = connection::open(&options, Role::Control).await?;
        let own = facts(&mut first).await?;
        let membership =
            membership::join(&options, BusKind::Memory).await?.map_err(StoreError::Refused)?;
        if !bounded(STORE_READ_TIMEOUT, difference(&mut first)).await?.is_new() {
            return Err(StoreError::Refused(
                "the store is not empty: the database of DATABASE_URL has tables of agentbus; make an empty database \
                 (createdb), and name it in DATABASE_URL"
                    .to_owned(),
            ));
        }
        if own.version < from.version {
            return Err(StoreError::Refused(format!(
                "the backup is of PostgreSQL {}, and the database of DATABASE_URL is PostgreSQL {}: restore into {} or \
                 newer",
                from.version, own.version, from.version
            )));
        }
        if own.schema != from.schema {
            return Err(StoreError::Refused(format!(
                "the backup holds schema \"{}\", and DATABASE_URL chooses schema \"{}\": create schema \"{}\", and name \
                 it in DATABASE_URL (options=-c search_path=…)",
                from.schema, own.schema, from.schema
            )));
        }
        let programs = Programs::new(url, &options);
        for program in ["pg_restore", "psql"] {
            programs.check(program, own.version).await?;
        }
        Ok(Self { membership, programs, schema: own.schema })
    }

    /// Makes the store from a copy, in one transaction.
    ///
    /// # Errors
    /// A program fails, with its own words: then the database is still empty.
    pub async fn fill(&self, from: &Path, changes: &Restoration) -> Result<(), StoreError> {
        let mut reader = self.programs.command("pg_restore");
        reader.args(["--no-owner", "--no-privileges", "--file=-", "--schema"]).arg(&self.schema);
        reader.arg(from).stdout(Stdio::piped());
        let mut writer = self.programs.command("psql");
        writer.args(["--no-psqlrc", "--quiet", "--no-password", "--set=ON_ERROR_STOP=1"]);
        writer.args(["--output=/dev/null", "--file=-"]).stdin(Stdio::piped());
        let (mut reader, mut writer) = (start(reader, "pg_restore")?, start(writer, "psql")?);
        let (read_errors, write_errors) = (reader.stderr.take(), writer.stderr.take());
        let copying = self.copy(&mut reader, writer.stdin.take(), changes);
        let (copied, unread, unwritten) =
            tokio::join!(copying, programs::errors(read_errors), programs::errors(write_errors));
        let written = writer.wait().await.map_err(|error| programs::not_started("psql", &error))?;
        // When psql ends early, pg_restore fails too: what psql says is the cause.
        if !written.success() {
            return Err(programs::failed("psql", &unwritten));
        }
        match copied {
            Ok(()) => Ok(()),
            Err(error) if unread.is_empty() => Err(error),
            Err(_) => Err(programs::failed("pg_restore", &unread)),
        }
    }

    /// Gives psql the whole transaction. What is written last commits it, so it must have been told all before.
    async fn copy(
        &self,
        reader: &mut Child,
        to: Option<ChildStdin>,
        changes: &Restoration,
    ) -> Result<(), StoreError> {
        let failed = |error: std::io::Error| programs::failed("pg_restore", &error.to_string());
        let (Some(mut from), Some(mut to)) = (reader.stdout.take(), to) else {
            return Err(programs::failed("pg_restore", ""));
        };
        to.write_all(b"BEGIN;\n").await.map_err(failed)?;
        tokio::io::copy(&mut from, &mut to).await.map_err(failed)?;
        if !reader.wait().await.map_err(failed)?.success() {
            return Err(programs::failed("pg_restore", ""));
        }
        if self.membership.state() != MembershipState::Good {
            let text = "the session that locked the database ended: nothing was restored";
            return Err(StoreError::Unavailable(text.to_owned()));
        }
        let schema = self.schema.replace('"', "\"\"");
        let end = format!("\nSET search_path = \"{schema}\";\n{}COMMIT;\n", changes.sql(&LITERALS));
        to.write_all(end.as_bytes()).await.map_err(failed)
    }
}

fn start(mut command: Command, program: &str) -> Result<Child, StoreError> {
    command.spawn().map_err(|error| programs::not_started(program, &error))
}
