//! The caller of a service.

use std::sync::{Arc, LazyLock};

/// The caller of a service. Clones share one identity.
#[derive(Clone, Debug)]
pub struct Principal(
    #[expect(dead_code, reason = "keys and grants are read from it")] Arc<Identity>,
);

/// The identity of the caller. It is empty, since there are no access keys yet.
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
