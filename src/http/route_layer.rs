//! The layer around every route: it sets the route's label, limits active requests, checks what the call needs
//! before its input is read, and catches panics.

use std::any::Any;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::task::{Context, Poll};

use axum::extract::{MatchedPath, Request};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tower_layer::Layer;
use tower_service::Service;

use super::problem::Problem;
use super::request::{RequestContext, Route};
use crate::services::Error;
use crate::services::calls::Call;

/// A tower layer. It is written by hand, since each `from_fn` of axum costs several allocations per request.
#[derive(Clone)]
pub(super) struct RouteLayer {
    /// Whether requests count as active. `false` for routes that must always respond.
    pub(super) limited: bool,
    /// The call behind the route; `None` for what calls no service.
    pub(super) call: Option<Call>,
}

impl<S> Layer<S> for RouteLayer {
    type Service = RouteService<S>;

    fn layer(&self, inner: S) -> RouteService<S> {
        RouteService { inner, layer: self.clone() }
    }
}

/// The service of a route inside its layer.
#[derive(Clone)]
pub(super) struct RouteService<S> {
    inner: S,
    layer: RouteLayer,
}

impl<S> Service<Request> for RouteService<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let route = request.extensions().get::<MatchedPath>().cloned().map(Route::Matched);
        let entered = match request.extensions().get::<RequestContext>() {
            Some(context) => context
                .enter(route, self.layer.limited, &request)
                .and_then(|()| check(self.layer.call, context)),
            None => Err(Error::internal("a request without its context").into()),
        };
        let handling = entered.map(|()| self.inner.call(request).map(|Ok(response)| response));
        respond(handling).map(Ok).boxed()
    }
}

/// Checks what the call needs before its input is known.
pub(super) fn check(call: Option<Call>, context: &RequestContext) -> Result<(), Problem> {
    let checked = call.map_or(Ok(()), |call| call.check(context.principal()));
    checked.map_err(|needs| Error::from(needs).into())
}

/// The response of the handler, or the refusal. A panic becomes an error response.
pub(super) async fn respond<F>(handling: Result<F, Problem>) -> Response
where
    F: Future<Output = Response>,
{
    match handling {
        Ok(handling) => {
            AssertUnwindSafe(handling).catch_unwind().await.unwrap_or_else(|p| panicked(&*p))
        }
        Err(refusal) => refusal.into_response(),
    }
}

fn panicked(panic: &(dyn Any + Send)) -> Response {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let cause = format!("a handler panicked: {}", text.unwrap_or_default());
    Problem::from(Error::internal(cause)).into_response()
}
