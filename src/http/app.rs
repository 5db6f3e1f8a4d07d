//! A request's way to what answers it.
//!
//! Most requests post one message. On the way through a router each layer, future and body has a box, which
//! costs more than the handler's own work; such a request reaches its handler without. Invariants: every
//! request comes through one door, and every answer is counted until it is written. The
//! shortcut answers as the route does: the same handler, with the same rules around it.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use futures_util::future::BoxFuture;
use hyper::Request;
use hyper::body::Incoming;
use tower_service::Service as _;

use super::answer::Answer;
use super::body::Upload;
use super::guard::{Around, Door};
use super::stream::{unavailable, wants_events};
use super::work::{Peer, Work};
use super::{Shared, messages};
use crate::config::HttpConfig;

/// All that is served.
pub struct App {
    door: Door,
    around: Around,
    routes: Router,
    shortcut: Option<Shortcut>,
}

/// To `POST /v1/messages`.
struct Shortcut {
    api: Shared,
    around: Around,
}

impl App {
    /// Serves the routes. `around` counts what is not let in.
    pub(super) fn new(config: &HttpConfig, around: Around, routes: Router) -> Self {
        Self { door: Door::new(config), around, routes, shortcut: None }
    }

    /// The same, with the shortcut to the handler that takes one message in.
    pub(super) fn with_shortcut(self, api: Shared) -> Self {
        let around = self.around.limited();
        Self { shortcut: Some(Shortcut { api, around }), ..self }
    }

    /// Answers one request. Boxed: hyper keeps room for an answer's future in every connection, also one that
    /// asks for nothing.
    pub(super) fn answer<'a>(
        &'a self,
        request: Request<Incoming>,
        peer: &'a Arc<Peer>,
    ) -> BoxFuture<'a, Response<Answer>> {
        Box::pin(async move {
            if let Err(refusal) = self.door.admit(&request) {
                let (entry, _) = self.around.enter(&request, None);
                let refused = Err::<std::future::Ready<Response>, _>(refusal);
                return Answer::uncounted(entry.answer("refused", refused).await);
            }
            let work = Work::new(peer, request.headers());
            let (safe, events) = (request.method().is_safe(), wants_events(&request));
            let response = match &self.shortcut {
                Some(shortcut) if is_message(&request) => {
                    shortcut.take(request, work.clone()).await
                }
                _ => self.route(request, work.clone()).await,
            };
            let turned_away = events && passes(response.status());
            let response = if turned_away { unavailable(response) } else { response };
            Answer::counted(response, work, safe)
        })
    }

    async fn route(&self, mut request: Request<Incoming>, work: Work) -> Response {
        request.extensions_mut().insert(work);
        match self.routes.clone().call(request.map(Body::new)).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// Whether a refusal will pass by itself.
fn passes(status: StatusCode) -> bool {
    matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS)
}

fn is_message(request: &Request<Incoming>) -> bool {
    request.method() == Method::POST && request.uri().path() == messages::PATH
}

impl Shortcut {
    async fn take(&self, request: Request<Incoming>, work: Work) -> Response {
        let (entry, admitted) = self.around.enter(&request, Some(&work));
        let work = admitted.map(|()| async {
            let (parts, body) = request.into_parts();
            let upload = Upload::new(parts.headers, body, work);
            let api = Shared::clone(&self.api);
            messages::take_in(api, parts.uri.query(), upload).await.into_response()
        });
        entry.answer(messages::PATH, work).await
    }
}
