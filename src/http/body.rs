//! Reads request bodies within limits of size, time and memory.
//!
//! Invariants: a permit counts the memory of a body, from its first byte until it is dropped. A request is
//! active only once its body has arrived. The rest of a refused body is read and dropped for a moment, so
//! that the client reads the response.

use std::fmt::Display;
use std::ops::Deref;

use axum::extract::{FromRequest, FromRequestParts as _, Request};
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Body;

use super::problem::Problem;
use super::request::RequestContext;
use super::shares::Permit;
use crate::limits::{BODY_FIRST_BYTES, BODY_TIMEOUT, DISCARD_TIME, MAX_REQUEST_BYTES};
use crate::services::{Code, Error};

/// A request body that has not been read.
pub struct RequestBody<B = axum::body::Body> {
    headers: HeaderMap,
    body: B,
    context: RequestContext,
}

impl<S: Sync> FromRequest<S> for RequestBody {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let context = RequestContext::from_request_parts(&mut parts, state).await?;
        Ok(Self::new(parts.headers, body, context))
    }
}

/// A body that was read, and its permit.
pub struct ReadBody {
    bytes: Bytes,
    permit: Permit,
}

impl ReadBody {
    /// Drops the bytes and keeps the permit, which then counts the memory of the values parsed from them.
    pub(super) fn into_permit(self) -> Permit {
        self.permit
    }
}

impl Deref for ReadBody {
    type Target = Bytes;

    fn deref(&self) -> &Bytes {
        &self.bytes
    }
}

impl<B> RequestBody<B>
where
    B: Body<Data = Bytes, Error: Display> + Unpin,
{
    /// The body of a request with these headers.
    pub(super) fn new(headers: HeaderMap, body: B, context: RequestContext) -> Self {
        Self { headers, body, context }
    }

    /// The request's headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The request's context.
    pub(super) fn context(&self) -> &RequestContext {
        &self.context
    }

    /// Reads a body with the media type JSON.
    ///
    /// # Errors
    /// 415 for another media type, and the errors of [`RequestBody::read`].
    pub async fn json(self) -> Result<ReadBody, Problem> {
        require_json(&self.headers)?;
        self.read().await
    }

    /// Reads a JSON body, which may be empty.
    ///
    /// # Errors
    /// 415 for another media type, and the errors of [`RequestBody::read`].
    pub async fn optional_json(self) -> Result<ReadBody, Problem> {
        let json = require_json(&self.headers);
        let body = self.read().await?;
        if !body.is_empty() {
            json?;
        }
        Ok(body)
    }

    /// Reads and drops a body, for routes that take none.
    ///
    /// # Errors
    /// The errors of [`RequestBody::read`].
    pub async fn ignore(self) -> Result<(), Problem> {
        self.read().await.map(drop)
    }

    /// Reads the whole body. The request is active from then on.
    ///
    /// # Errors
    /// 413 for a body above the size limit, 408 after the time limit, 400 if the client ends it early,
    /// 503 if the pool of bodies or the limit of active requests is used up.
    pub async fn read(mut self) -> Result<ReadBody, Problem> {
        let declared = self
            .headers
            .get(header::CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        let refusal = if declared.is_some_and(|bytes| bytes > MAX_REQUEST_BYTES) {
            too_large()
        } else {
            let reading = collect(&self.context, &mut self.body, declared.unwrap_or(0));
            match tokio::time::timeout(BODY_TIMEOUT, reading).await {
                Ok(Ok(uploaded)) => return self.context.activate().map(|()| uploaded),
                Ok(Err(problem)) => problem,
                Err(_) => Problem::new(Code::RequestTimeout, "the body did not arrive in time"),
            }
        };
        discard(&mut self.body).await;
        Err(refusal)
    }
}

/// The media type of a request without its parameters, spelled as the client has sent it.
fn essence(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    value.split(';').next().map(str::trim)
}

/// The media type of a request, without its parameters, in lower case.
pub fn media_type(headers: &HeaderMap) -> Option<String> {
    essence(headers).map(str::to_ascii_lowercase)
}

/// The problem for a media type other than `wanted`.
pub fn unsupported(wanted: &str) -> Problem {
    Problem::new(Code::UnsupportedMediaType, format!("Content-Type must be {wanted}"))
}

/// Fails unless the media type is JSON.
fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let json = essence(headers).is_some_and(|name| name.eq_ignore_ascii_case("application/json"));
    if json { Ok(()) } else { Err(unsupported("application/json")) }
}

/// Collects a body. Memory is counted before it is allocated, and allocated only for bytes that have arrived,
/// since a client may declare a length and send nothing.
async fn collect<B>(
    context: &RequestContext,
    body: &mut B,
    declared: usize,
) -> Result<ReadBody, Problem>
where
    B: Body<Data = Bytes, Error: Display> + Unpin,
{
    let first = declared.min(BODY_FIRST_BYTES);
    let mut permit = context.body_permit(first)?;
    let mut whole = Vec::with_capacity(first);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            tracing::debug!(%error, "the client ended a request body early");
            Problem::new(Code::IncompleteBody, "the body broke off")
        })?;
        let Ok(data) = frame.into_data() else { continue };
        let length = whole.len() + data.len();
        if length > MAX_REQUEST_BYTES {
            return Err(too_large());
        }
        if length > whole.capacity() {
            let wanted = length.max(2 * whole.capacity()).min(declared.max(length));
            permit.grow(wanted - whole.capacity())?;
            whole.reserve_exact(wanted - whole.len());
        }
        whole.extend_from_slice(&data);
    }
    Ok(ReadBody { bytes: Bytes::from(whole), permit })
}

fn too_large() -> Problem {
    Error::too_large(format!("a request body has at most {MAX_REQUEST_BYTES} bytes")).into()
}

async fn discard(body: &mut (impl Body + Unpin)) {
    let rest = async { while let Some(Ok(_)) = body.frame().await {} };
    let _ = tokio::time::timeout(DISCARD_TIME, rest).await;
}
