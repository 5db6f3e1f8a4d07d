//! The caller of a service; later also its permissions.
//!
//! Every service takes a [`Principal`] already, so access keys and grants will need no new signatures.

mod principal;

pub use principal::Principal;
