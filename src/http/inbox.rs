//! `/v1/agents/{id}/inbox`: what is meant for one agent (contract, section 7).

use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::Shared;
use super::agents::ShownInbox;
use super::body::Upload;
use super::history::encode;
use super::messages::{axum_json, json_bytes};
use super::params::{self, Name, SEQUENCE_RULE};
use super::problem::Problem;
use super::stream::end_of_stream;
use super::work::Work;
use crate::inbox::Question;
use crate::message::{FieldError, ObjectReader, Principal, Token};

/// What waits for an agent, now or within the time that it waits for it.
pub(super) async fn page(
    State(api): State<Shared>,
    id: Name,
    RawQuery(query): RawQuery,
    Extension(work): Extension<Work>,
) -> Result<Response, Problem> {
    let asked = params::inbox(query.as_deref())?;
    let question = Question {
        agent: recipient(id)?,
        broadcast: asked.broadcast,
        after: asked.after,
        limit: asked.limit,
    };
    let principal = Principal::Anonymous;
    if asked.wait.is_zero() {
        let page = api.inboxes.page(&principal, &question).await?;
        return Ok(json_bytes(encode(&page)));
    }
    let _standing_by = work.stand_by()?;
    tokio::select! {
        biased;
        page = api.inboxes.something(&principal, &question) => Ok(json_bytes(encode(&page?))),
        () = tokio::time::sleep(asked.wait) => Ok(StatusCode::NO_CONTENT.into_response()),
        () = end_of_stream(api.clone()) => Ok(StatusCode::NO_CONTENT.into_response()),
    }
}

/// Notes how far an agent has consumed what was for it.
pub(super) async fn ack(
    State(api): State<Shared>,
    id: Name,
    RawQuery(query): RawQuery,
    upload: Upload,
) -> Result<Response, Problem> {
    params::none(query.as_deref())?;
    let agent = recipient(id)?;
    let through = through(&upload.json().await?)?;
    let inbox = api.inboxes.consume(&Principal::Anonymous, &agent, through).await?;
    let inbox = inbox.ok_or_else(|| {
        let detail = "nothing is committed there yet: acknowledge what you have read".to_owned();
        Problem::members(vec![FieldError { pointer: "/through".to_owned(), detail }])
    })?;
    Ok(axum_json(&ShownInbox::from(inbox)))
}

fn through(body: &[u8]) -> Result<u64, Problem> {
    const THROUGH: &str = "through";
    let mut form = ObjectReader::parse(body).map_err(Problem::body)?;
    let through = form.required::<u64>(THROUGH, SEQUENCE_RULE);
    form.end().map_err(Problem::body)?;
    Ok(through.unwrap_or_default())
}

fn recipient(id: Name) -> Result<Token, Problem> {
    params::name(id).ok_or_else(|| Problem::not_found("this is no name that an agent can have"))
}
