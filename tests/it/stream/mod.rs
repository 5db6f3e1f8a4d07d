//! The stream: section 4 of the contract.

mod end;
mod filters;
mod frames;
mod gap;
mod replay;
mod resume;
