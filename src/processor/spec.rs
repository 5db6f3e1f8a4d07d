//! A consumer as its user describes it.

use std::sync::Arc;

use super::handler::Handler;
use super::policy::Policy;
use crate::message::SubjectPattern;

/// Where a new consumer begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the oldest message that bus or store still has.
    Earliest,
    /// With messages published from now on.
    Latest,
}

/// A consumer to be run.
#[derive(Clone)]
pub struct ConsumerSpec {
    /// Its name, which identifies it in store and bus.
    pub name: String,
    /// Which messages it gets.
    pub filter: SubjectPattern,
    /// How often and how soon a message is tried.
    pub policy: Policy,
    /// Where it begins if it is new.
    pub start: Start,
    /// Its handlers; each gets what its own subjects match.
    pub handlers: Vec<Arc<dyn Handler>>,
    /// Attempts that run at once in this process.
    pub concurrency: usize,
}
