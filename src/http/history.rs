//! `GET /v1/messages` and `GET /v1/messages/{id}`: what was said.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;

use super::Shared;
use super::messages::json_bytes;
use super::params;
use super::problem::Problem;
use crate::limits::READ_YOUR_WRITE;
use crate::message::{parse_uuid, splice_seq};
use crate::store::{Page, Stored};

/// A page of history.
pub(super) async fn page(
    State(api): State<Shared>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let query = params::history(query.as_deref())?;
    let page = api.store.page(&query).await?;
    api.committed.raise(page.committed_through);
    Ok(json_bytes(encode(&page)))
}

/// The page around the bodies as they are kept: nothing is encoded again.
pub(super) fn encode(page: &Page) -> Vec<u8> {
    let bytes: usize = page.messages.iter().map(|m| m.body.len() + 32).sum();
    let mut out = Vec::with_capacity(bytes + 80);
    out.extend_from_slice(b"{\"messages\":[");
    for (at, message) in page.messages.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        splice_seq(message.seq, &message.body, &mut out);
    }
    let next = match page.messages.last() {
        Some(last) if page.more => last.seq.to_string(),
        _ => "null".to_owned(),
    };
    let end = format!("],\"next\":{next},\"committed_through\":{}}}", page.committed_through);
    out.extend_from_slice(end.as_bytes());
    out
}

/// One message by its id.
pub(super) async fn one(
    State(api): State<Shared>,
    id: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    params::none(query.as_deref())?;
    let missing = || Problem::not_found("there is no message with this id");
    // A path that is no UTF-8 names no message either.
    let Path(id) = id.map_err(|_| missing())?;
    let id = parse_uuid(&id).map_err(|_| missing())?;
    let find = async || -> Result<Option<Stored>, Problem> {
        match api.store.find(&[id]).await?.get(&id) {
            Some(seq) => Ok(api.store.message(*seq).await?),
            None => Ok(None),
        }
    };
    let mut found = find().await?;
    if found.is_none() {
        // It may be in the log and not yet in the store: the answer to a POST
        // names this address, so it must be found there.
        let head = api.broadcaster.head().unwrap_or(0);
        if api.committed.through() < head && api.committed.wait_for(head, READ_YOUR_WRITE).await {
            found = find().await?;
        }
    }
    let stored = found.ok_or_else(missing)?;
    let mut body = Vec::with_capacity(stored.body.len() + 32);
    splice_seq(stored.seq, &stored.body, &mut body);
    Ok(json_bytes(body))
}
