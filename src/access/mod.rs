//! Who makes a call, and later what they may do.
//!
//! Every service takes a [`Principal`], so that keys and grants need no new signatures.

mod principal;

pub use principal::Principal;
