//! What handlers extract from the router.

use axum::extract::FromRef;

use super::cookie::SessionCookie;
use super::describe::Documents;
use crate::services::Services;

/// The state of the router.
#[derive(Clone)]
pub(super) struct AppState {
    pub(super) services: Services,
    pub(super) cookie: SessionCookie,
    pub(super) documents: Documents,
}

impl FromRef<AppState> for Services {
    fn from_ref(state: &AppState) -> Self {
        state.services.clone()
    }
}

impl FromRef<AppState> for SessionCookie {
    fn from_ref(state: &AppState) -> Self {
        state.cookie
    }
}

impl FromRef<AppState> for Documents {
    fn from_ref(state: &AppState) -> Self {
        state.documents
    }
}
