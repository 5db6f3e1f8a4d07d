//! `GET /v1/messages` and `GET /v1/messages/{id}`: history.

use axum::extract::{RawQuery, State};
use axum::response::Response;

use super::encode;
use super::params::{self, NoParams};
use super::path::{self, Segment};
use super::problem::Problem;
use super::request::RequestContext;
use crate::services::Services;
use crate::services::history::History;

/// A page of history.
pub(super) async fn page(
    State(services): State<Services>,
    context: RequestContext,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let query = params::history(query.as_deref())?;
    Ok(encode::page(&services.history.page(context.principal(), &query).await?))
}

/// One message by its id.
pub(super) async fn one(
    State(services): State<Services>,
    context: RequestContext,
    id: Segment,
    _: NoParams,
) -> Result<Response, Problem> {
    let id = path::uuid(id).ok_or_else(History::missing)?;
    let message = services.history.one(context.principal(), id).await?;
    Ok(encode::message(message.seq, &message.body))
}
