//! What handlers extract from the router.

use axum::extract::FromRef;

use super::cookie::SessionCookie;
use crate::services::Services;

/// The state of the router.
#[derive(Clone)]
pub(super) struct AppState {
    pub(super) services: Services,
    pub(super) cookie: SessionCookie,
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
