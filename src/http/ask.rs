//! `POST /v1/messages?reply_within=S`: publishes a message and returns the reply (contract, section 9).
//!
//! Invariant: while it waits for the reply, a request has a permit of
//! [`Pool::Replies`](super::shares::Pool::Replies) and does not count as active; the memory of its message
//! counts in `Pool::Bodies`.

use std::time::Duration;

use axum::response::Response;

use super::encode::json_bytes;
use super::problem::Problem;
use super::request::RequestContext;
use super::shares::Permit;
use crate::message::{Draft, splice_seq};
use crate::services::Services;
use crate::services::messages::AckLevel;

/// Publishes a draft and returns the response with the reply. `permit` counts the memory of the body.
pub(super) async fn ask(
    services: &Services,
    context: RequestContext,
    mut permit: Permit,
    draft: Draft,
    level: AckLevel,
    within: Duration,
) -> Result<Response, Problem> {
    let _waiting = context.reply_permit()?;
    let published = |bytes| {
        permit.shrink(bytes);
        context.deactivate();
    };
    let principal = context.principal();
    let exchange = services.messages.ask(principal, draft, level, within, published).await?;
    let (receipt, request, reply) = (exchange.receipt, exchange.request, exchange.reply);
    let warnings = match &exchange.warnings[..] {
        [] => String::new(),
        some => format!(",\"warnings\":{}", serde_json::to_string(some).unwrap_or_default()),
    };
    let bytes = request.len() + reply.len() + warnings.len() + 64;
    // The memory of the response may be refused: one reply may end thousands of waits at once. A client
    // that repeats the request with its id then gets the reply from history.
    let refuse = |refusal: Problem| refusal.at(receipt.id, receipt.seq);
    context.reserve_response(bytes).map_err(refuse)?;
    let mut out = Vec::with_capacity(bytes);
    out.extend_from_slice(b"{\"request\":");
    splice_seq(receipt.seq, &request, &mut out);
    out.extend_from_slice(b",\"reply\":");
    out.extend_from_slice(&reply);
    out.extend_from_slice(warnings.as_bytes());
    out.push(b'}');
    Ok(json_bytes(out))
}
