//! Inboxes, and request and reply: sections 7 and 9 of the contract.

mod many;
mod own;
mod reply;
mod rules;
