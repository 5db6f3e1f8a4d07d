//! The live stream: one reader of the log, the ring (the newest events, in memory), and subscriptions.
//! Subscriptions with equal filters form a group.
//!
//! Invariants: an event is encoded once and its bytes are shared. No subscription skips a message: one that
//! falls behind the ring reads from the store, and what the store does not have yet from the bus, and then
//! continues from the ring by sequence. Nothing is queued for a slow reader: it holds at most one page of the
//! replay ([`crate::limits::STREAM_BYTES`]).
//!
//! A subscription yields typed [`Item`]s, and its caller encodes them for the client. Only the frames of
//! messages are made here ([`frame`]), so that they can be shared.

mod bounds;
mod broadcaster;
mod delivery;
#[cfg(test)]
mod end_tests;
#[cfg(test)]
mod erased_tests;
mod event;
#[cfg(test)]
mod filter_cost_tests;
mod follower;
pub mod frame;
#[cfg(test)]
mod grant_cost_tests;
mod hub;
mod index;
mod item;
#[cfg(test)]
mod loom_tests;
mod member;
mod replay;
mod ring_reader;
mod segment;
mod start;
mod store_replay;
mod subscription;
mod sync;
#[cfg(test)]
pub(crate) mod testing;
mod wake;
mod watch;

pub use broadcaster::Broadcaster;
pub use item::{Item, Messages};
pub use ring_reader::{RingEntries, RingRead, RingReader};
pub use start::Start;
pub use subscription::Subscription;
pub use watch::{FilterWatch, WatchEvent};
