//! `POST /v1/messages/batch`: many messages in, one result each, in order.

use axum::extract::{RawQuery, State};
use axum::response::Response;
use serde::Serialize;
use uuid::Uuid;

use super::body::Upload;
use super::messages::{axum_json, durability, idempotency_key};
use super::problem::{ItemError, Problem};
use super::{Shared, items, params};
use crate::ingest::Receipt;
use crate::limits::BATCH_ITEM_BYTES;
use crate::message::{Draft, ParameterError, Principal};

#[derive(Serialize)]
struct Answer {
    accepted: usize,
    rejected: usize,
    results: Vec<Item>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Item {
    Accepted { status: u16, seq: u64, id: Uuid, duplicate: bool, durability: &'static str },
    Rejected { status: u16, error: ItemError },
}

/// Takes a batch in.
pub(super) async fn create(
    State(api): State<Shared>,
    RawQuery(query): RawQuery,
    upload: Upload,
) -> Result<Response, Problem> {
    let form = items::form(upload.headers())?;
    let level = params::post_batch(query.as_deref())?;
    if idempotency_key(upload.headers())?.is_some() {
        let parameter = "Idempotency-Key".to_owned();
        let detail = "is for one message: give each message of a batch its id".to_owned();
        return Err(Problem::parameters(vec![ParameterError { parameter, detail }]));
    }
    let body = upload.read().await?;
    let (drafts, faults) = items::split(items::parse(form, &body, "messages", Draft::parse).await?);
    // The drafts are counted until they are published.
    let mut counted = body.parsed();
    counted.grow(drafts.len() * BATCH_ITEM_BYTES)?;
    let receipts = api.ingest.publish(&Principal::Anonymous, &drafts, level).await;
    let results = receipts.into_iter().map(|result| result.map_err(Problem::from));
    answer(results, faults)
}

/// Tells each item's result in input order.
fn answer(
    results: impl Iterator<Item = Result<Receipt, Problem>>,
    faults: Vec<Option<Problem>>,
) -> Result<Response, Problem> {
    let all = items::in_order(results, faults);
    if let Some(problem) = items::all_unavailable(&all) {
        return Err(problem);
    }
    let results: Vec<Item> = all.into_iter().map(item).collect();
    let accepted = results.iter().filter(|item| matches!(item, Item::Accepted { .. })).count();
    Ok(axum_json(&Answer { accepted, rejected: results.len() - accepted, results }))
}

fn item(result: Result<Receipt, Problem>) -> Item {
    match result {
        Ok(receipt) => Item::Accepted {
            status: if receipt.duplicate { 200 } else { 201 },
            seq: receipt.seq,
            id: receipt.id,
            duplicate: receipt.duplicate,
            durability: durability(&receipt),
        },
        Err(problem) => {
            Item::Rejected { status: problem.status().as_u16(), error: problem.into_item() }
        }
    }
}
