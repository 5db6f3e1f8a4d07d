//! `GET /v1/messages` and `GET /v1/messages/{id}`: history.

use axum::extract::RawQuery;
use axum::response::Response;

use super::encode;
use super::params::{self, NoParams};
use super::path::{self, Segment};
use super::problem::Problem;
use super::request::Call;
use crate::services::history::History;

/// A page of committed messages.
pub(super) async fn page(
    Call { services, context }: Call,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let query = params::history(query.as_deref())?;
    Ok(encode::page(&services.history.page(context.principal(), &query).await?))
}

/// One message by its id.
pub(super) async fn one(
    Call { services, context }: Call,
    id: Segment,
    _: NoParams,
) -> Result<Response, Problem> {
    let id = path::uuid(id).ok_or_else(History::missing)?;
    let message = services.history.one(context.principal(), id).await?;
    Ok(encode::message(message.seq, &message.body))
}
