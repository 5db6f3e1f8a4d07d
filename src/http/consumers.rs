//! `GET /v1/consumers`, and pausing, resuming and resetting one.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;

use super::Shared;
use super::body::{Upload, Uploaded};
use super::messages::axum_json;
use super::params::{self, SEQUENCE_RULE};
use super::problem::Problem;
use crate::message::{FieldError, ObjectReader};
use crate::processor::{ConsumerStatus, ControlError};

/// Why a consumer is paused that a person paused without a word.
const BY_REQUEST: &str = "paused by request";

/// Member of a reset: where to process again from.
const FROM: &str = "from";

#[derive(Serialize)]
struct List {
    consumers: Vec<Shown>,
}

#[derive(Serialize)]
struct Shown {
    name: String,
    kind: &'static str,
    filter: String,
    state: &'static str,
    reason: Option<String>,
    pending: u64,
    in_flight: u64,
    redelivered: u64,
    lag: Lag,
    processed_through: u64,
    max_deliver: u32,
    processed: u64,
    failed: u64,
    expired: u64,
    dead_letters: u64,
}

/// What is not processed yet, and how long the oldest of it has been in the log.
#[derive(Serialize)]
struct Lag {
    messages: u64,
    seconds: f64,
}

impl From<ConsumerStatus> for Shown {
    fn from(status: ConsumerStatus) -> Self {
        let webhook = status.is_webhook();
        let ConsumerStatus { consumer, pending, in_flight, .. } = status;
        let age = status.oldest_age.map_or(0, |age| age.num_milliseconds().max(0));
        let state = match (&consumer.paused, consumer.handled) {
            (Some(_), _) => "paused",
            (None, true) => "running",
            (None, false) => "unhandled",
        };
        Self {
            kind: if webhook { "webhook" } else { "processor" },
            name: consumer.name,
            filter: consumer.filter,
            state,
            reason: consumer.paused,
            pending,
            in_flight,
            redelivered: consumer.totals.redelivered,
            lag: Lag { messages: pending + in_flight, seconds: age as f64 / 1_000.0 },
            processed_through: status.processed_through,
            max_deliver: status.max_deliver,
            processed: consumer.totals.processed,
            failed: consumer.totals.failed,
            expired: consumer.totals.expired,
            dead_letters: status.dead_letters,
        }
    }
}

impl From<ControlError> for Problem {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::Unknown => Self::not_found(error.to_string()),
            ControlError::BeyondHead(_) => Self::members(vec![FieldError {
                pointer: format!("/{FROM}"),
                detail: error.to_string(),
            }]),
            ControlError::Store(error) => error.into(),
            ControlError::Bus(error) => {
                tracing::warn!(%error, "a consumer could not be looked at");
                let detail = "the bus cannot be asked now";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "bus_unavailable", detail)
            }
        }
    }
}

/// All consumers.
pub(super) async fn list(
    State(api): State<Shared>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    params::none(query.as_deref())?;
    let consumers = api.processor.consumers().await?.into_iter().map(Shown::from).collect();
    Ok(axum_json(&List { consumers }))
}

type Name = Result<Path<String>, PathRejection>;

/// Hands nothing out any more; what runs ends.
pub(super) async fn pause(
    State(api): State<Shared>,
    name: Name,
    RawQuery(query): RawQuery,
    upload: Upload,
) -> Result<Response, Problem> {
    let (name, body) = asked(name, query, upload).await?;
    let mut form = ObjectReader::parse_optional(&body).map_err(Problem::body)?;
    let reason = form.text("reason", |text| match text {
        "" => Err("must not be empty"),
        text => Ok(text.to_owned()),
    });
    form.end().map_err(Problem::body)?;
    api.processor.pause(&name, Some(reason.as_deref().unwrap_or(BY_REQUEST))).await?;
    show(&api, &name).await
}

/// Goes on.
pub(super) async fn resume(
    State(api): State<Shared>,
    name: Name,
    RawQuery(query): RawQuery,
    upload: Upload,
) -> Result<Response, Problem> {
    let (name, body) = asked(name, query, upload).await?;
    ObjectReader::parse_optional(&body).and_then(ObjectReader::end).map_err(Problem::body)?;
    api.processor.pause(&name, None).await?;
    show(&api, &name).await
}

/// Processes again from a sequence on, or goes on from a later one.
pub(super) async fn reset(
    State(api): State<Shared>,
    name: Name,
    RawQuery(query): RawQuery,
    upload: Upload,
) -> Result<Response, Problem> {
    let (name, body) = asked(name, query, upload).await?;
    let mut form = ObjectReader::parse_optional(&body).map_err(Problem::body)?;
    let from = form.required::<u64>(FROM, SEQUENCE_RULE);
    form.end().map_err(Problem::body)?;
    api.processor.reset(&name, from.unwrap_or_default()).await?;
    show(&api, &name).await
}

/// The consumer named, and the body.
async fn asked(
    name: Name,
    query: Option<String>,
    upload: Upload,
) -> Result<(String, Uploaded), Problem> {
    params::none(query.as_deref())?;
    // A path that is no UTF-8 names no consumer either.
    let Path(name) = name.map_err(|_| ControlError::Unknown)?;
    Ok((name, upload.optional_json().await?))
}

async fn show(api: &Shared, name: &str) -> Result<Response, Problem> {
    Ok(axum_json(&Shown::from(api.processor.consumer(name).await?)))
}
