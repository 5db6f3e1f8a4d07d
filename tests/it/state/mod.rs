//! Agents and tasks: section 6 of the contract.

mod agents;
mod exact;
mod ttl;
