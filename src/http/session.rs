//! `/v1/me`, `/v1/session`, `/v1/tickets`: who the caller is, and how browsers come in (contract, section 11).

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::body::RequestBody;
use super::cookie::SessionCookie;
use super::describe::schemas;
use super::encode::json;
use super::keys::secret;
use super::params::NoParams;
use super::problem::Problem;
use super::request::Call;
use crate::limits::{MAX_FILTER_VALUES, MAX_TICKET_TTL_S};
use crate::message::{Filter, ObjectReader};
use crate::services::{Code, Error};

/// What the caller is and may do.
#[utoipa::path(
    get,
    path = "/v1/me",
    tag = "Access",
    responses((status = 200, description = "The caller.", body = schemas::Me)),
)]
pub(super) async fn me(Call { services, context }: Call, _: NoParams) -> Result<Response, Problem> {
    Ok(json(&services.auth.me(context.principal())?))
}

/// Opens a session: sets a cookie.
#[utoipa::path(
    post,
    path = "/v1/session",
    tag = "Access",
    responses((status = 204, description = "The cookie of the session is set.")),
    extensions(("x-codes" = json!([Code::Forbidden, Code::StoreUnavailable]))),
)]
pub(super) async fn log_in(
    Call { services, context }: Call,
    State(cookie): State<SessionCookie>,
    _: NoParams,
    body: RequestBody,
) -> Result<Response, Problem> {
    if !body.headers().contains_key(header::AUTHORIZATION) {
        return Err(Error::unauthenticated("send the key in Authorization to log in").into());
    }
    body.ignore().await?;
    let (session, life) = services.auth.log_in(context.principal()).await?;
    Ok(with_cookie(cookie.set(&session, life)))
}

/// Ends the session, and removes its cookie.
#[utoipa::path(
    delete,
    path = "/v1/session",
    tag = "Access",
    responses((status = 204, description = "The session has ended, and its cookie is removed.")),
    extensions(("x-codes" = json!([Code::StoreUnavailable]))),
)]
pub(super) async fn log_out(
    Call { services, context }: Call,
    State(cookie): State<SessionCookie>,
    _: NoParams,
    body: RequestBody,
) -> Result<Response, Problem> {
    let session = cookie.read(body.headers()).map(str::to_owned);
    body.ignore().await?;
    services.auth.log_out(context.principal(), session.as_deref()).await?;
    Ok(with_cookie(cookie.clear()))
}

fn with_cookie(cookie: Option<HeaderValue>) -> Response {
    let mut response = secret(StatusCode::NO_CONTENT.into_response());
    response.headers_mut().extend(cookie.map(|cookie| (header::SET_COOKIE, cookie)));
    response
}

/// Makes a ticket for streams with one filter.
#[utoipa::path(
    post,
    path = "/v1/tickets",
    tag = "Access",
    request_body = schemas::NewTicket,
    responses((status = 201, description = "The ticket.", body = schemas::Ticket)),
    extensions(("x-codes" = json!([Code::InvalidBody]))),
)]
pub(super) async fn make_ticket(
    Call { services, context }: Call,
    State(cookie): State<SessionCookie>,
    _: NoParams,
    body: RequestBody,
) -> Result<Response, Problem> {
    let session = session_of(body.headers(), cookie);
    let (filter, life) = ticket(&body.json().await?)?;
    let ticket =
        services.auth.make_ticket(context.principal(), session.as_deref(), filter, life)?;
    let mut response = secret(json(&ticket));
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}

/// The session that authenticated a request: a key in the request comes before its cookie.
fn session_of(headers: &HeaderMap, cookie: SessionCookie) -> Option<String> {
    let has_key = headers.contains_key(header::AUTHORIZATION);
    cookie.read(headers).filter(|_| !has_key).map(str::to_owned)
}

type FilterParameters = Vec<(String, String)>;

/// The body of a request for a ticket: parameters of filters as arrays, and `ttl_s`.
fn ticket(json: &[u8]) -> Result<(FilterParameters, Duration), Error> {
    const NAMES: [&str; 8] =
        ["subject", "kind", "type", "sender", "recipient", "task", "conversation", "in_reply_to"];
    let mut form = ObjectReader::parse(json).map_err(Error::unreadable_body)?;
    let life = form.whole("ttl_s", 1, MAX_TICKET_TTL_S).unwrap_or(MAX_TICKET_TTL_S);
    let (mut parameters, mut filter) = (Vec::new(), Filter::default());
    for name in NAMES {
        let values = form.list(name, MAX_FILTER_VALUES, |value| {
            Filter::default()
                .parse_parameter(name, value)
                .unwrap_or(Ok(()))
                .map(|()| value.to_owned())
        });
        for value in values.unwrap_or_default() {
            if let Some(Err(rule)) = filter.parse_parameter(name, &value) {
                form.fail(name, rule);
            }
            parameters.push((name.to_owned(), value));
        }
    }
    if form.take::<bool>("broadcast", "must be true or false") == Some(true) {
        parameters.push(("broadcast".to_owned(), "true".to_owned()));
    }
    let parsed = Some((parameters, Duration::from_secs(life)));
    form.finish("a ticket", parsed).map_err(Error::unreadable_body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_has_the_parameters_of_a_filter() {
        let (filter, life) =
            ticket(br#"{"task":["t1","t2"],"kind":["task"],"broadcast":true,"ttl_s":30}"#)
                .expect("valid");
        let shown: Vec<String> =
            filter.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(shown.join(" "), "kind=task task=t1 task=t2 broadcast=true");
        assert_eq!(life, Duration::from_secs(30));
        for wrong in [
            r#"{"task":"t1"}"#,
            r#"{"task":["a b"]}"#,
            r#"{"ttl_s":61}"#,
            r#"{"ttl_s":0}"#,
            r#"{"from":["1"]}"#,
            r#"{"kind":["letter"]}"#,
        ] {
            assert!(ticket(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
