//! History and its filters: section 5 of the contract.

mod pages;
mod squad;
