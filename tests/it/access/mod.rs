//! Identity and access: section 11 of the contract.

mod escalation;
mod jwt;
mod limits;
mod matrix;
mod model;
mod replies;
mod revocation;
mod sessions;
mod work;
mod world;
