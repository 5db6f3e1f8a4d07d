//! Work queues: section 8 of the contract.

mod leases;
mod rules;
mod work;
