//! Who makes a call, and what they may do.
//!
//! Invariant: a [`Grants`] never gives more than what it lists, and services check it through the [`Principal`] alone.

mod capability;
mod grants;
mod intersection;
mod jwt;
mod key;
mod keyring;
mod limits;
mod preset;
mod principal;
mod refusal;
mod renewal;
mod row;
mod seals;
mod secret_file;
#[cfg(test)]
pub(crate) mod testing;

pub use capability::Capability;
pub use grants::{Grants, Names, Subjects};
pub use jwt::{Issuers, TokenFault};
pub use key::{KeyHash, KeyId, KeyText, SecretId};
pub use keyring::Keyring;
pub use limits::{KeyLimits, Meter, Reached, StreamPermit};
pub use preset::Preset;
pub use principal::{EndReason, EndWatch, KeyInfo, KeyKind, Needs, Principal};
pub use refusal::Refusal;
pub use renewal::Renewal;
pub use row::read_object;
pub use seals::{Holder, Session, Ticket, TokenBearer};
