//! `/v1/agents/{id}/inbox`: the messages to one agent (contract, section 7).

use axum::extract::RawQuery;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::body::RequestBody;
use super::describe::{params as described, schemas};
use super::encode::{self, json};
use super::params::{self, InboxParams, NoParams, SEQUENCE_RULE};
use super::path::{self, Segment};
use super::problem::Problem;
use super::request::Call;
use crate::message::{ObjectReader, Token};
use crate::services::inbox::InboxQuery;
use crate::services::{Code, Error};

/// The messages that an agent has not consumed. If there are none, waits for one for at most `wait`.
#[utoipa::path(
    get,
    path = "/v1/agents/{id}/inbox",
    tag = "Inboxes",
    params(described::AgentId, described::InboxRange),
    responses((status = 200, description = "A page of messages.", body = schemas::MessagePage), (status = 204, description = "No message came within `wait`.")),
    extensions(("x-codes" = json!([Code::Forbidden, Code::NotFound, Code::StoreUnavailable, Code::Draining]))),
)]
pub(super) async fn page(
    Call { services, context }: Call,
    id: Segment,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let agent = recipient(id);
    if let Ok(agent) = &agent {
        services.inboxes.check(context.principal(), agent)?;
    }
    let InboxParams { after, limit, wait, broadcast } = params::inbox(query.as_deref())?;
    let query = InboxQuery { agent: agent?, broadcast, after, limit };
    let _waiting = if wait.is_zero() { None } else { Some(context.wait_permit()?) };
    let page = services.inboxes.page(context.principal(), query, wait).await?;
    Ok(page.map_or_else(|| StatusCode::NO_CONTENT.into_response(), |page| encode::page(&page)))
}

/// Records the position up to which an agent has consumed its inbox.
#[utoipa::path(
    post,
    path = "/v1/agents/{id}/inbox/ack",
    tag = "Inboxes",
    params(described::AgentId),
    request_body = schemas::InboxAck,
    responses((status = 200, description = "The position of the inbox.", body = schemas::InboxState)),
    extensions(("x-codes" = json!([Code::InvalidBody, Code::Forbidden, Code::NotFound, Code::StoreUnavailable]))),
)]
pub(super) async fn ack(
    Call { services, context }: Call,
    id: Segment,
    _: NoParams,
    body: RequestBody,
) -> Result<Response, Problem> {
    let agent = recipient(id)?;
    services.inboxes.check(context.principal(), &agent)?;
    let through = through(&body.json().await?)?;
    Ok(json(&services.inboxes.ack(context.principal(), &agent, through).await?))
}

fn through(body: &[u8]) -> Result<u64, Error> {
    let mut form = ObjectReader::parse(body).map_err(Error::unreadable_body)?;
    let through = form.required::<u64>("through", SEQUENCE_RULE);
    form.finish("this body", through).map_err(Error::unreadable_body)
}

fn recipient(id: Segment) -> Result<Token, Error> {
    path::token(id).ok_or_else(|| Error::not_found("this is not a valid agent name"))
}
