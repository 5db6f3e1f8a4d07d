//! The trace of a message or job, as its row keeps it: headers as JSON.

use std::sync::Arc;

use crate::message::{Headers, TraceContext};

/// Encodes a context.
pub(super) fn encode(trace: &TraceContext) -> Vec<u8> {
    // This cannot fail: headers are only strings.
    serde_json::to_vec(&trace.headers().collect::<Vec<_>>()).unwrap_or_default()
}

/// Decodes what [`encode`] returns, or the headers of a foreign message. What cannot be read is no context.
pub(super) fn decode(json: &[u8]) -> Option<Arc<TraceContext>> {
    TraceContext::of_headers(&serde_json::from_slice::<Headers>(json).ok()?)
}
