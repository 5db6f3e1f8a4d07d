//! Request bodies: read whole, within limits of size, time and memory.
//!
//! Invariant: a body costs no more memory than is accounted for, and a refused
//! one is discarded for a moment so that the client reads the answer.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::{HeaderMap, StatusCode, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Body;

use super::problem::Problem;
use crate::limits::{BODY_TIMEOUT, DISCARD_TIME, MAX_BODY_BYTES_HELD, MAX_REQUEST_BYTES};

/// Bytes of request bodies held now, over all requests.
#[derive(Clone, Debug, Default)]
pub struct BodyBudget(Arc<AtomicUsize>);

/// A part of the budget, given back when dropped.
struct Share<'a> {
    budget: &'a BodyBudget,
    bytes: usize,
}

impl Share<'_> {
    fn take(&mut self, bytes: usize) -> bool {
        let before = self.budget.0.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        before + bytes <= MAX_BODY_BYTES_HELD
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.budget.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A body that outlives its reading. Given back when dropped.
pub struct Held {
    budget: BodyBudget,
    bytes: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl BodyBudget {
    /// Counts a body that is held for longer than a moment.
    ///
    /// # Errors
    /// 503 when all bodies together are too much.
    pub fn hold(&self, bytes: usize) -> Result<Held, Problem> {
        let before = self.0.fetch_add(bytes, Ordering::Relaxed);
        let held = Held { budget: self.clone(), bytes };
        if before + bytes > MAX_BODY_BYTES_HELD {
            return Err(Problem::overloaded("too many request bodies at once"));
        }
        Ok(held)
    }
}

/// The media type of a request, without its parameters, as it was spelled.
fn essence(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    value.split(';').next().map(str::trim)
}

/// The media type of a request, without its parameters, in lower case.
pub fn media_type(headers: &HeaderMap) -> Option<String> {
    essence(headers).map(str::to_ascii_lowercase)
}

/// The refusal of a media type. A missing one is refused too: a web page of
/// another origin may send such a request without asking first.
pub fn unsupported(wanted: &str) -> Problem {
    Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported_media_type",
        format!("Content-Type must be {wanted}"),
    )
}

/// Refuses a body that is not said to be JSON.
///
/// # Errors
/// 415.
pub fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let json = essence(headers).is_some_and(|told| told.eq_ignore_ascii_case("application/json"));
    if json { Ok(()) } else { Err(unsupported("application/json")) }
}

/// Reads the whole body.
///
/// # Errors
/// 413 beyond the limit, 408 when it takes too long, 400 when it breaks off,
/// 503 when all bodies together are too much.
pub async fn read<B>(
    budget: &BodyBudget,
    headers: &HeaderMap,
    mut body: B,
) -> Result<Bytes, Problem>
where
    B: Body<Data = Bytes, Error: Display> + Unpin,
{
    let declared = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let mut share = Share { budget, bytes: 0 };
    let refusal = if declared.is_some_and(|bytes| bytes > MAX_REQUEST_BYTES) {
        too_large()
    } else {
        let reading = collect(&mut share, &mut body, declared.unwrap_or(0));
        match tokio::time::timeout(BODY_TIMEOUT, reading).await {
            Ok(Ok(bytes)) => return Ok(bytes),
            Ok(Err(problem)) => problem,
            Err(_) => Problem::new(
                StatusCode::REQUEST_TIMEOUT,
                "request_timeout",
                "the body did not arrive in time",
            ),
        }
    };
    discard(&mut body).await;
    Err(refusal)
}

async fn collect<B>(share: &mut Share<'_>, body: &mut B, declared: usize) -> Result<Bytes, Problem>
where
    B: Body<Data = Bytes, Error: Display> + Unpin,
{
    let mut whole = BytesMut::with_capacity(declared.min(64 * 1024));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            tracing::debug!(%error, "a request body broke off");
            Problem::new(StatusCode::BAD_REQUEST, "incomplete_body", "the body broke off")
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if whole.len() + data.len() > MAX_REQUEST_BYTES {
            return Err(too_large());
        }
        if !share.take(data.len()) {
            return Err(Problem::overloaded("too many request bodies at once"));
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

fn too_large() -> Problem {
    Problem::too_large(format!("a request body has at most {MAX_REQUEST_BYTES} bytes"))
}

async fn discard(body: &mut (impl Body + Unpin)) {
    let rest = async { while let Some(Ok(_)) = body.frame().await {} };
    let _ = tokio::time::timeout(DISCARD_TIME, rest).await;
}
