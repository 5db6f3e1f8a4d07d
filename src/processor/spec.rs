//! The specification of a consumer.

use std::sync::Arc;

use super::handler::Handler;
use super::policy::Policy;
use crate::message::SubjectPattern;

/// The position where a new consumer begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the oldest message that bus or store still has.
    Earliest,
    /// At the next message that is published.
    Latest,
}

/// Specifies a consumer to be run.
#[derive(Clone)]
pub struct ConsumerSpec {
    /// The consumer's name, which identifies it in store and bus.
    pub name: String,
    /// The subjects of the messages that it gets.
    pub filter: SubjectPattern,
    /// How often and how soon a message is tried.
    pub policy: Policy,
    /// Where the consumer begins if it does not exist yet.
    pub start: Start,
    /// The handlers. Each gets the messages that match its own subjects.
    pub handlers: Vec<Arc<dyn Handler>>,
    /// The most attempts that run at the same time in this process.
    pub concurrency: usize,
}
