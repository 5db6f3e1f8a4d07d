//! Which processes run on a store, and which bus its log is on.

/// The bus that a deployment's log is on, as the store records it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BusKind {
    /// A bus in the server's own process.
    Memory,
    /// A JetStream stream.
    Nats,
}

impl BusKind {
    /// The value of `MESSAGE_BUS`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Nats => "nats",
        }
    }

    /// The inverse of [`Self::as_str`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Memory, Self::Nats].into_iter().find(|bus| bus.as_str() == name)
    }
}

/// The right of this process to use the store. Dropping this releases it; if the process dies, the operating
/// system or the database releases it.
pub trait Membership: Send + Sync {
    /// The current state.
    fn state(&self) -> MembershipState;
}

/// The state of a [`Membership`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MembershipState {
    /// This process may use the store.
    Good,
    /// The membership cannot be confirmed now, for this reason. It may become good again.
    InDoubt(String),
    /// The membership is lost for good, for this reason.
    Lost(String),
}
