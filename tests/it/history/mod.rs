//! History and its filters: section 5 of the contract.

mod contains;
mod pages;
mod squad;
