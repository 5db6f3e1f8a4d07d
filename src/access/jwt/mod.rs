//! Tokens of identity providers (JWT, RFC 7519): callers whose grants come with the request (contract, section 11).
//!
//! Invariants: the algorithm, the keys and the most that a token may grant come from `JWT_ISSUERS_FILE`, never from the
//! token. Judging a token does no I/O: the keys of an issuer are in memory, and a task of its own fetches them. A caller
//! is an issuer and a subject; what its tokens use counts together.

mod crypto;
mod file;
mod issuers;
mod key_set;
mod key_source;
mod token;

pub use issuers::Issuers;
pub use token::TokenFault;
