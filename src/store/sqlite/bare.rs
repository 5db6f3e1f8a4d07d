//! SQLite without agentbus: what `agentbus bench suite` holds agentbus against.
//!
//! Rows of `messages` with its indices, on a file with our settings, a transaction for so many: no
//! counters, no folds, no lease. Nothing of the store uses it.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sqlx::Connection as _;
use sqlx::sqlite::SqliteConnection;
use uuid::Uuid;

use super::connection::{classify, open, options};
use super::{DATABASE_FILE, SqliteStore};
use crate::message::{Kind, Record, Subject, Token};
use crate::store::rows::Row;
use crate::store::{Store as _, StoreError};

/// A file of its own.
pub struct BareFile {
    connection: SqliteConnection,
}

impl BareFile {
    /// Makes it in a folder, with the schema of agentbus.
    ///
    /// # Errors
    /// The disk's.
    pub async fn make(folder: &Path) -> Result<Self, StoreError> {
        SqliteStore::open(folder).await?.close().await;
        Ok(Self { connection: open(&options(&folder.join(DATABASE_FILE))).await? })
    }

    /// Inserts for a while, so many rows a transaction; gives rows a second.
    ///
    /// # Errors
    /// The disk's.
    pub async fn fill(
        &mut self,
        body: &Bytes,
        rows: usize,
        lasts: Duration,
    ) -> Result<f64, StoreError> {
        let (begun, mut next) = (Instant::now(), 1);
        while begun.elapsed() < lasts {
            let records: Vec<Record> = (next..).take(rows).map(|seq| record(seq, body)).collect();
            let rows: Vec<Row<'_>> = records.iter().map(|record| Row::of(record, false)).collect();
            let written = async {
                let mut transaction = self.connection.begin_with("BEGIN IMMEDIATE").await?;
                super::write::insert_rows(&mut transaction, &rows).await?;
                transaction.commit().await
            };
            written.await.map_err(classify)?;
            next += rows.len() as u64;
        }
        Ok((next - 1) as f64 / begun.elapsed().as_secs_f64())
    }
}

fn record(seq: u64, body: &Bytes) -> Record {
    let (type_, sender_id) = (Token::unknown(), Token::unknown());
    let role = Token::default_role();
    let now = chrono::Utc::now();
    Record {
        seq,
        subject: Subject::derive(Kind::Message, &role, &type_),
        id: Uuid::now_v7(),
        kind: Kind::Message,
        type_,
        sender_id,
        sender_role: Some(role),
        recipient_id: None,
        task_id: None,
        conversation_id: None,
        in_reply_to: None,
        expires_at: None,
        created_at: now,
        logged_at: now,
        body: body.clone(),
        foreign: None,
    }
}
