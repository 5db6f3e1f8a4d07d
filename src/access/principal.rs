//! The caller on whose behalf a call is made.

use std::sync::{Arc, LazyLock};

/// The caller. Clones share one identity.
#[derive(Clone, Debug)]
pub struct Principal(
    #[expect(dead_code, reason = "keys and grants are read from it")] Arc<Identity>,
);

/// Who the caller is. There are no keys yet, so nothing is known of anybody.
#[derive(Debug)]
struct Identity;

impl Principal {
    /// A caller without a credential.
    #[must_use]
    pub fn anonymous() -> Self {
        static ANONYMOUS: LazyLock<Principal> = LazyLock::new(|| Principal(Arc::new(Identity)));
        ANONYMOUS.clone()
    }
}
