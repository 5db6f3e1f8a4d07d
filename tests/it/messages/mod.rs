//! Publishing messages: sections 1 to 3 of the contract.

mod bad_http;
mod bad_input;
mod batch;
mod closed;
mod foreign;
mod group_commit;
mod ingest;
mod request_id;
