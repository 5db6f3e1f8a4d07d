//! The caller of a service, and later its permissions.
//!
//! Every service takes a [`Principal`] already, so that keys and grants need no new signatures.

mod principal;

pub use principal::Principal;
