//! The app that serves: one while the server starts, another one later, also on connections that are open then.

use std::sync::{Arc, OnceLock};

use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;

use super::app::App;
use super::peer::Peer;
use super::response_body::CountedBody;

/// The app that serves while the server starts, and the app for later.
pub(super) struct Apps {
    starting: App,
    app: OnceLock<App>,
}

/// Takes the app that serves once the server has started.
#[derive(Clone)]
pub struct AppSlot(Arc<Apps>);

impl AppSlot {
    /// Serves the app from now on, also on open connections.
    pub fn set(&self, app: App) {
        let _ = self.0.app.set(app);
    }
}

impl Apps {
    pub(super) fn new(starting: App) -> Arc<Self> {
        Arc::new(Self { starting, app: OnceLock::new() })
    }

    /// Where to put the app for later.
    pub(super) fn slot(self: &Arc<Self>) -> AppSlot {
        AppSlot(Arc::clone(self))
    }

    /// Serves one request.
    pub(super) async fn answer(
        &self,
        request: Request<Incoming>,
        peer: &Arc<Peer>,
    ) -> Response<CountedBody> {
        self.app.get().unwrap_or(&self.starting).answer(request, peer).await
    }
}
