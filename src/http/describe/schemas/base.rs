//! Names, sequences, times: what all other schemas consist of.

use serde::Serialize;
use utoipa::ToSchema;

/// A name: of an agent, a role, a message type, a task, a conversation, a queue or a worker.
#[derive(Serialize, ToSchema)]
#[schema(value_type = String, pattern = "^[A-Za-z0-9_-]{1,64}$", examples("ann"))]
pub struct Name(String);

/// A position in the order of all messages, from 0 to 2^53.
#[derive(Serialize, ToSchema)]
#[schema(value_type = u64, minimum = 0, maximum = 9_007_199_254_740_992_i64, examples(1042))]
pub struct Sequence(u64);

/// A time of the server: RFC 3339, UTC, microseconds.
#[derive(Serialize, ToSchema)]
#[schema(value_type = String, format = DateTime, examples("2026-11-20T17:07:19.820013Z"))]
pub struct Time(String);

/// How safe an accepted message is: in the bus (`stored`), or also in the store (`committed`).
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum Durability {
    Stored,
    Committed,
}
