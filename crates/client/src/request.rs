//! Sends requests, again after transient errors.
//!
//! Invariant: a repeat sends exactly the bytes of the first attempt, and only a request that may be repeated is: one
//! with its own id or key has its effect once, however often the response was lost (contract, section 3, "Outage").

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::AUTHORIZATION;
use reqwest::{RequestBuilder, Response};

use crate::client::{Client, root_cause};
use crate::error::Error;
use crate::limits::{BATCH_TIMEOUT, RESPONSE_TIMEOUT};
use crate::notice::Notice;
use crate::problem::Problem;

/// When a request may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repeat {
    /// After every transient error: it has its effect once.
    Safe,
    /// As [`Repeat::Safe`]; and this status, after an attempt without a response, says that the attempt had its effect.
    DoneBy(u16),
    /// Only after an attempt that certainly had no effect.
    Unsent,
}

impl Client {
    /// Sends a request that may be repeated. Returns the body of the response.
    pub(crate) async fn call(&self, request: RequestBuilder) -> Result<Bytes, Error> {
        self.repeat(request, RESPONSE_TIMEOUT, Repeat::Safe).await
    }

    /// Like [`Client::call`], with a body that may take longer to send.
    pub(crate) async fn call_large(&self, request: RequestBuilder) -> Result<Bytes, Error> {
        self.repeat(request, BATCH_TIMEOUT, Repeat::Safe).await
    }

    /// Like [`Client::call`], for a request that the server answers after `wait` at the latest.
    pub(crate) async fn call_waiting(
        &self,
        request: RequestBuilder,
        wait: Duration,
    ) -> Result<Bytes, Error> {
        self.repeat(request, wait.saturating_add(RESPONSE_TIMEOUT), Repeat::Safe).await
    }

    /// Like [`Client::call`], for a request that ends something. If an attempt got no response and the next one gets
    /// `status`, the thing has ended, and the body is `{}`.
    pub(crate) async fn call_ending(
        &self,
        request: RequestBuilder,
        status: u16,
    ) -> Result<Bytes, Error> {
        self.repeat(request, RESPONSE_TIMEOUT, Repeat::DoneBy(status)).await
    }

    /// Sends a request that would have its effect again if it were repeated. It is repeated only if it certainly had
    /// none: there was no connection, or the server refused it before any work.
    pub(crate) async fn call_once(&self, request: RequestBuilder) -> Result<Bytes, Error> {
        self.repeat(request, RESPONSE_TIMEOUT, Repeat::Unsent).await
    }

    async fn repeat(
        &self,
        request: RequestBuilder,
        timeout: Duration,
        repeat: Repeat,
    ) -> Result<Bytes, Error> {
        let request = request.timeout(timeout);
        let mut backoff = self.backoff();
        let mut maybe_done = false;
        loop {
            let error = match self.attempt(&request).await {
                Ok(body) => return Ok(body),
                Err(Error::Refused(problem))
                    if maybe_done && repeat == Repeat::DoneBy(problem.status) =>
                {
                    return Ok(Bytes::from_static(b"{}"));
                }
                Err(error) => error,
            };
            let may_repeat = match repeat {
                Repeat::Unsent => error.had_no_effect(),
                Repeat::Safe | Repeat::DoneBy(_) => error.is_transient(),
            };
            maybe_done |= !error.had_no_effect();
            let is_first = backoff.is_first();
            let Some(wait) = Some(())
                .filter(|()| may_repeat)
                .and_then(|()| backoff.next_wait(error.retry_after()))
            else {
                return Err(error);
            };
            if is_first {
                self.notify(&Notice::Retrying(&error));
            }
            tokio::time::sleep(wait).await;
        }
    }

    async fn attempt(&self, request: &RequestBuilder) -> Result<Bytes, Error> {
        let Some(request) = request.try_clone() else {
            return Err(Error::Unexpected("the request cannot be repeated".to_owned()));
        };
        let response = self.send_request(request).await?;
        response.bytes().await.map_err(|error| self.unreachable(&error))
    }

    /// Opens a response whose body is read as it arrives. One attempt.
    pub(crate) async fn open(&self, request: RequestBuilder) -> Result<Response, Error> {
        let opened = tokio::time::timeout(RESPONSE_TIMEOUT, self.send_request(request)).await;
        opened.unwrap_or_else(|_| Err(self.silent()))
    }

    async fn send_request(&self, request: RequestBuilder) -> Result<Response, Error> {
        let request = match &self.authorization {
            Some(value) => request.header(AUTHORIZATION, value),
            None => request,
        };
        #[cfg(feature = "opentelemetry")]
        let request = crate::trace::with_context(request);
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let headers = response.headers().clone();
        let body = response.bytes().await.unwrap_or_default();
        Err(Error::Refused(Box::new(Problem::of_response(status, &headers, &body))))
    }

    fn silent(&self) -> Error {
        let detail = format!("{} does not respond", self.address());
        Error::Unreachable { detail, maybe_sent: true }
    }

    fn unreachable(&self, error: &reqwest::Error) -> Error {
        if error.is_timeout() && !error.is_connect() {
            return self.silent();
        }
        let hint = if error.is_connect() { "; is the server running?" } else { "" };
        let cause = root_cause(error);
        let detail = format!("cannot reach {}: {cause}{hint}", self.address());
        Error::Unreachable { detail, maybe_sent: !error.is_connect() }
    }
}
