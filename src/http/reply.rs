//! `POST /v1/messages?reply_within=S`: a message and the answer to it (contract,
//! section 9).
//!
//! Invariant: while it waits, a request is not at work but counted among those
//! that wait, and what it holds of its message is counted among the bodies held.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::Response;
use uuid::Uuid;

use super::Api;
use super::messages::json_bytes;
use super::problem::Problem;
use super::shares::Permit;
use super::stream::end_of_stream;
use super::work::Work;
use crate::bus::PublishError;
use crate::ingest::{AckLevel, IngestError, Receipt};
use crate::limits::PUBLISH_DEADLINE;
use crate::message::{Draft, Outgoing, Principal, splice_seq};
use crate::reply::ReplyWaiter;

/// Publishes a draft and answers with the reply to it. `counted`: what its body is counted by.
pub(super) async fn ask(
    api: Arc<Api>,
    work: Work,
    mut counted: Permit,
    draft: Draft,
    level: AckLevel,
    within: Duration,
) -> Result<Response, Problem> {
    let _waiting = work.wait_for_reply()?;
    let id = draft.id().unwrap_or_else(Uuid::now_v7);
    let (store, committed) = (api.store.clone(), api.committed.clone());
    let register = ReplyWaiter::register(&api.broadcaster, store, committed, id);
    let waiter = tokio::time::timeout(PUBLISH_DEADLINE, register).await.map_err(|_| {
        let source = PublishError::NotSent("the log cannot be read".to_owned());
        IngestError::Bus { id, source }
    })?;
    let receipt = api.ingest.publish_one(&Principal::Anonymous, &draft, id, level).await?;
    // The same bytes as in the log: all but the time was known before.
    let request = Outgoing::encode(&draft, id, receipt.created_at).body;
    drop(draft);
    counted.shrink(request.len());
    // It only waits from here on.
    work.pause();
    let reply = tokio::select! {
        biased;
        reply = waiter.reply(receipt.duplicate) => reply,
        () = tokio::time::sleep(within) => return Err(no_reply(&receipt)),
        () = end_of_stream(api.clone()) => return Err(no_reply(&receipt)),
    };
    let length = request.len() + reply.len() + 64;
    // One reply may end thousands of waits. Who asks again under the id finds it in history.
    work.answer(length).map_err(|refusal| refusal.of_message(receipt.id, receipt.seq))?;
    let mut out = Vec::with_capacity(length);
    out.extend_from_slice(b"{\"request\":");
    splice_seq(receipt.seq, &request, &mut out);
    out.extend_from_slice(b",\"reply\":");
    out.extend_from_slice(&reply);
    out.push(b'}');
    Ok(json_bytes(out))
}

fn no_reply(receipt: &Receipt) -> Problem {
    Problem::new(
        StatusCode::GATEWAY_TIMEOUT,
        "no_reply",
        "the message is in the log, and nobody has answered it yet; ask again under its id",
    )
    .of_message(receipt.id, receipt.seq)
}
