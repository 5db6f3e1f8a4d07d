//! `/v1/webhooks`: messages pushed to receivers (contract, section 10).
//!
//! Invariant: a webhook's secret stands in the answer to the POST that made it,
//! and in no other.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

use super::Shared;
use super::body::Upload;
use super::messages::axum_json;
use super::params;
use super::problem::Problem;
use crate::limits::WEBHOOK_LOOKUP_TIMEOUT;
use crate::message::{ObjectReader, SubjectPattern, format_micros, parse_uuid};
use crate::webhooks::{Guard, NewWebhook, Secret, WebhookStatus};

/// A webhook on the wire.
#[derive(Serialize)]
struct Shown<'a> {
    id: Uuid,
    url: &'a str,
    filter: &'a str,
    state: &'static str,
    reason: Option<&'a str>,
    created_at: String,
    failures: u32,
    failing_since: Option<String>,
    last_success: Option<String>,
    last_error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<&'a str>,
}

#[derive(Serialize)]
struct List<'a> {
    webhooks: Vec<Shown<'a>>,
}

impl<'a> From<&'a WebhookStatus> for Shown<'a> {
    fn from(known: &'a WebhookStatus) -> Self {
        let (webhook, reason) = (&known.webhook, known.paused());
        let time = |time: Option<DateTime<Utc>>| time.map(format_micros);
        Self {
            id: webhook.id,
            url: &webhook.url,
            filter: &webhook.filter,
            state: if reason.is_some() { "paused" } else { "active" },
            reason,
            created_at: format_micros(webhook.created_at),
            failures: webhook.failures,
            failing_since: time(webhook.failing_since),
            last_success: time(webhook.last_success),
            last_error: webhook.last_error.as_deref(),
            secret: None,
        }
    }
}

/// Makes a webhook.
pub(super) async fn create(
    State(api): State<Shared>,
    RawQuery(query): RawQuery,
    upload: Upload,
) -> Result<Response, Problem> {
    params::none(query.as_deref())?;
    let bytes = upload.json().await?;
    let new = new_webhook(&bytes, api.webhooks.guard()).await?;
    let made = api.webhooks.create(new, api.ingest.clock.now()).await?;
    let shown = Shown { secret: Some(&made.webhook.secret), ..Shown::from(&made) };
    let mut response = (StatusCode::CREATED, axum_json(&shown)).into_response();
    if let Ok(location) = HeaderValue::try_from(format!("/v1/webhooks/{}", made.webhook.id)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// All webhooks, oldest first.
pub(super) async fn list(
    State(api): State<Shared>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    params::none(query.as_deref())?;
    let all = api.webhooks.all().await?;
    Ok(axum_json(&List { webhooks: all.iter().map(Shown::from).collect() }))
}

/// One webhook.
pub(super) async fn one(
    State(api): State<Shared>,
    id: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    params::none(query.as_deref())?;
    let known = api.webhooks.one(id_of(id)?).await?.ok_or_else(missing)?;
    Ok(axum_json(&Shown::from(&known)))
}

/// Pauses or resumes.
pub(super) async fn change(
    State(api): State<Shared>,
    id: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    upload: Upload,
) -> Result<Response, Problem> {
    params::none(query.as_deref())?;
    let id = id_of(id)?;
    let pause = wants_pause(&upload.json().await?)?;
    let changed =
        if pause { api.webhooks.pause(id).await? } else { api.webhooks.resume(id).await? };
    Ok(axum_json(&Shown::from(&changed.ok_or_else(missing)?)))
}

/// Removes a webhook.
pub(super) async fn remove(
    State(api): State<Shared>,
    id: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    upload: Upload,
) -> Result<Response, Problem> {
    params::none(query.as_deref())?;
    upload.ignore().await?;
    let removed = api.webhooks.remove(id_of(id)?).await?;
    if removed { Ok(StatusCode::NO_CONTENT.into_response()) } else { Err(missing()) }
}

async fn new_webhook(body: &[u8], guard: Guard) -> Result<NewWebhook, Problem> {
    let mut form = ObjectReader::parse(body).map_err(Problem::body)?;
    if !form.has("url") {
        form.fail("url", "is required");
    }
    let url = form.text("url", |text| guard.parse(text));
    let filter = form.text("filter", str::parse::<SubjectPattern>);
    let secret = form.text("secret", str::parse::<Secret>);
    if let Some(url) = &url
        && let Err(refused) = guard.check_name(url, WEBHOOK_LOOKUP_TIMEOUT).await
    {
        form.fail("url", format!("must be public: {refused}"));
    }
    form.end().map_err(Problem::body)?;
    let url = url.ok_or_else(|| Problem::overloaded("the body was not understood"))?;
    Ok(NewWebhook { url, filter, secret })
}

/// Whether a PATCH pauses (or resumes).
fn wants_pause(body: &[u8]) -> Result<bool, Problem> {
    let mut form = ObjectReader::parse(body).map_err(Problem::body)?;
    let told = form.has("state") || form.has("paused");
    let state = form.text("state", |state| match state {
        "paused" => Ok(true),
        "active" => Ok(false),
        _ => Err("must be paused or active"),
    });
    let paused = form.take::<bool>("paused", "must be true or false");
    if !told {
        form.fail("state", "is required: paused or active");
    }
    for fixed in ["url", "filter", "secret"] {
        if form.take::<serde_json::Value>(fixed, "cannot be changed").is_some() {
            form.fail(fixed, "cannot be changed: make another webhook");
        }
    }
    if state.is_some() && paused.is_some() && state != paused {
        form.fail("paused", "contradicts state");
    }
    form.end().map_err(Problem::body)?;
    Ok(state.or(paused).unwrap_or_default())
}

/// The id in the path; what is none names no webhook either.
fn id_of(id: Result<Path<String>, PathRejection>) -> Result<Uuid, Problem> {
    let Path(id) = id.map_err(|_| missing())?;
    parse_uuid(&id).map_err(|_| missing())
}

fn missing() -> Problem {
    Problem::not_found("there is no webhook with this id")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told<T: std::fmt::Debug>(refused: Result<T, Problem>) -> String {
        serde_json::to_string(&refused.expect_err("refused")).expect("JSON")
    }

    #[tokio::test]
    async fn every_fault_of_a_webhook_is_named_at_once() {
        let guard = Guard { allow_private: false };
        let body = br#"{"url":"http://localhost:1/","filter":"a..b","secret":"hunter2","id":"x"}"#;
        let problem = told(new_webhook(body, guard).await);
        for pointer in ["/url", "/filter", "/secret", "/id"] {
            assert!(problem.contains(&format!("\"pointer\":\"{pointer}\"")), "{problem}");
        }
        assert!(!problem.contains("hunter2"));
        assert!(told(new_webhook(b"{}", guard).await).contains("/url"));
        assert!(told(new_webhook(br#"{"url":7}"#, guard).await).contains("must be a string"));
        let open = Guard { allow_private: true };
        assert!(new_webhook(br#"{"url":"http://localhost:1/"}"#, open).await.is_ok());
    }

    #[test]
    fn a_change_is_a_pause_or_its_end() {
        let change = |body: &str| wants_pause(body.as_bytes()).ok();
        assert_eq!(change(r#"{"state":"paused"}"#), Some(true));
        assert_eq!(change(r#"{"paused":false}"#), Some(false));
        assert_eq!(change(r#"{"state":"active","paused":false}"#), Some(false));
        for bad in [
            "{}",
            r#"{"state":"active","paused":true}"#,
            r#"{"state":"off"}"#,
            r#"{"paused":"yes"}"#,
            r#"{"state":"paused","url":"https://a.example"}"#,
            r#"{"paused":true,"x":1}"#,
        ] {
            assert_eq!(change(bad), None, "{bad}");
        }
    }
}
