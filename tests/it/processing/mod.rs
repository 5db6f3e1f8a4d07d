//! Background processing, dead letters and webhooks: section 10 of the contract.

mod dead_letters;
mod processor;
mod rules;
mod webhook_rules;
mod webhooks;
mod worker;
