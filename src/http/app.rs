//! A request's way to what answers it.
//!
//! Most requests post one message. On the way through a router each layer, future and body has a box, which
//! costs more than the handler's own work; such a request reaches its handler without. Invariant: the
//! shortcut answers as the route does: the same handler, with the same rules around it.

use axum::Router;
use axum::body::Body;
use axum::http::Method;
use axum::response::{IntoResponse as _, Response};
use hyper::Request;
use hyper::body::Incoming;
use tower_service::Service as _;

use super::guard::Around;
use super::{Shared, messages};

/// All that is served.
pub struct App {
    routes: Router,
    shortcut: Option<Shortcut>,
}

/// To `POST /v1/messages`.
struct Shortcut {
    api: Shared,
    around: Around,
}

impl App {
    /// Serves the routes.
    pub(super) fn new(routes: Router) -> Self {
        Self { routes, shortcut: None }
    }

    /// The same, with the shortcut to the handler that takes one message in.
    pub(super) fn with_shortcut(self, api: Shared, around: Around) -> Self {
        Self { shortcut: Some(Shortcut { api, around }), ..self }
    }

    /// Answers one request.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response {
        match &self.shortcut {
            // Boxed: hyper keeps room for an answer's future in every connection, also one that asks for nothing.
            Some(shortcut) if is_message(&request) => Box::pin(shortcut.take(request)).await,
            _ => match self.routes.clone().call(request.map(Body::new)).await {
                Ok(response) => response,
                Err(never) => match never {},
            },
        }
    }
}

fn is_message(request: &Request<Incoming>) -> bool {
    request.method() == Method::POST && request.uri().path() == messages::PATH
}

impl Shortcut {
    async fn take(&self, request: Request<Incoming>) -> Response {
        let (entry, admitted) = self.around.enter(&request);
        let work = admitted.map(|slot| async {
            let taken = messages::take_in(Shared::clone(&self.api), request, slot).await;
            taken.into_response()
        });
        entry.answer(messages::PATH, work).await
    }
}
