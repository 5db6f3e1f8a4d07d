//! Why a credential opens nothing.

use super::jwt::TokenFault;

/// Why a credential is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is no key, or of no key that there is.
    #[error("the credential is not a valid key of this deployment")]
    Unknown,
    /// The key, this secret of it, or the session has expired.
    #[error("the key or session has expired")]
    Expired,
    /// A restore has disabled the key.
    #[error("the key is disabled, since its store was restored from a backup")]
    Disabled,
    /// It is a token of an identity provider, with this fault.
    #[error(transparent)]
    Token(#[from] TokenFault),
}
