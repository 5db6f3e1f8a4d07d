//! The trace context of a message (W3C Trace Context): which trace it belongs to, and the span that caused it.
//!
//! Invariant: a context that is not valid is no context, never an error. What is kept is bounded, and can stand in a
//! header of HTTP and NATS and in an environment variable as it is.

use std::sync::Arc;

use super::Headers;

/// The header with trace, parent span and flags.
pub const HEADER_TRACEPARENT: &str = "traceparent";
/// The header with what tracing systems add.
pub const HEADER_TRACESTATE: &str = "tracestate";

/// The length of a `traceparent` of version 00.
const PARENT_LENGTH: usize = 55;
/// The most characters of a `tracestate` that are kept.
const MAX_STATE: usize = 512;
/// Entries that are longer go first when a `tracestate` is too long.
const LONG_ENTRY: usize = 128;
/// The most entries that a `tracestate` may have.
const MAX_ENTRIES: usize = 32;
/// The flags that are passed on: sampled, and random trace id.
const KNOWN_FLAGS: u8 = 0b11;
const SAMPLED: u8 = 0b1;

/// A valid trace context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    parent: String,
    state: Option<String>,
}

impl TraceContext {
    /// Reads the values of the headers `traceparent`, of which there must be one, and `tracestate`. `None` if the
    /// first is not valid. A `tracestate` that is not valid is left out.
    #[must_use]
    pub fn read<'a>(
        parents: impl IntoIterator<Item = &'a str>,
        states: impl IntoIterator<Item = &'a str>,
    ) -> Option<Arc<Self>> {
        let mut parents = parents.into_iter();
        let (parent, None) = (parents.next()?, parents.next()) else { return None };
        Some(Arc::new(Self { parent: parse_parent(parent)?, state: parse_state(states) }))
    }

    /// The context among the headers of an entry of the log.
    #[must_use]
    pub fn of_headers(headers: &Headers) -> Option<Arc<Self>> {
        let named = |name: &'static str| {
            let is_named = move |(known, _): &&(String, String)| known.eq_ignore_ascii_case(name);
            headers.iter().filter(is_named).map(|(_, value)| value.as_str())
        };
        Self::read(named(HEADER_TRACEPARENT), named(HEADER_TRACESTATE))
    }

    /// A context of these ids.
    #[must_use]
    pub fn new(
        trace_id: [u8; 16],
        span_id: [u8; 8],
        is_sampled: bool,
        state: Option<&str>,
    ) -> Self {
        let (trace, span) = (u128::from_be_bytes(trace_id), u64::from_be_bytes(span_id));
        let parent = format!("00-{trace:032x}-{span:016x}-{:02x}", u8::from(is_sampled));
        Self { parent, state: parse_state(state) }
    }

    /// The `traceparent`.
    #[must_use]
    pub fn parent(&self) -> &str {
        &self.parent
    }

    /// The `tracestate`, if there is one.
    #[must_use]
    pub fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// The id of the trace, in hexadecimal.
    #[must_use]
    pub fn trace_id(&self) -> &str {
        &self.parent[3..35]
    }

    /// The id of the span, in hexadecimal.
    #[must_use]
    pub fn span_id(&self) -> &str {
        &self.parent[36..52]
    }

    /// Whether the caller records this trace.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        u8::from_str_radix(&self.parent[53..], 16).is_ok_and(|flags| flags & SAMPLED != 0)
    }

    /// The headers, each with its value.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let state = self.state().map(|state| (HEADER_TRACESTATE, state));
        std::iter::once((HEADER_TRACEPARENT, self.parent())).chain(state)
    }

    /// Whether an entry with this context has no other headers of the two names than [`Self::headers`].
    pub(super) fn accounts_for(&self, headers: &Headers) -> bool {
        let mut own = self.headers();
        let mut found = headers.iter().filter(|(name, _)| is_trace_header(name));
        found.all(|(name, value)| own.next().is_some_and(|own| own == (name.as_str(), value)))
            && own.next().is_none()
    }
}

/// Whether a header of NATS belongs to the trace context.
pub(super) fn is_trace_header(name: &str) -> bool {
    name.eq_ignore_ascii_case(HEADER_TRACEPARENT) || name.eq_ignore_ascii_case(HEADER_TRACESTATE)
}

/// The `traceparent` in the form of version 00. Later versions may be longer, after a further `-`.
fn parse_parent(text: &str) -> Option<String> {
    let (head, rest) = text.split_at_checked(PARENT_LENGTH)?;
    let mut fields = head.split('-');
    let (version, trace, span, flags) =
        (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let is_hex = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_id = |text: &str, length| is_hex(text, length) && text.bytes().any(|b| b != b'0');
    let known = match version {
        "00" => rest.is_empty(),
        "ff" => false,
        _ => is_hex(version, 2) && (rest.is_empty() || rest.starts_with('-')),
    };
    let valid = known && is_id(trace, 32) && is_id(span, 16) && is_hex(flags, 2);
    let flags = u8::from_str_radix(flags, 16).ok().filter(|_| valid && fields.next().is_none())?;
    Some(format!("00-{trace}-{span}-{:02x}", flags & KNOWN_FLAGS))
}

/// The entries of all `tracestate` headers as one value within [`MAX_STATE`]; `None` if there are none, or one is not
/// valid.
fn parse_state<'a>(values: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let mut entries = Vec::new();
    for entry in values.into_iter().flat_map(|value| value.split(',')).map(str::trim) {
        if entry.is_empty() {
            continue;
        }
        if entries.len() == MAX_ENTRIES || !is_entry(entry) {
            return None;
        }
        entries.push(entry);
    }
    let length = |entries: &[&str]| entries.iter().map(|entry| entry.len() + 1).sum::<usize>();
    while length(&entries) > MAX_STATE + 1 {
        let long = entries.iter().rposition(|entry| entry.len() > LONG_ENTRY);
        entries.remove(long.unwrap_or(entries.len() - 1));
    }
    (!entries.is_empty()).then(|| entries.join(","))
}

fn is_entry(entry: &str) -> bool {
    let Some((key, value)) = entry.split_once('=') else { return false };
    let is_of_key =
        |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/' | b'@');
    (1..=256).contains(&key.len())
        && key.bytes().all(is_of_key)
        && (1..=256).contains(&value.len())
        && value.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'=')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    fn parent(text: &str) -> Option<String> {
        TraceContext::read([text], []).map(|context| context.parent().to_owned())
    }

    fn state(values: &[&str]) -> Option<String> {
        let good = format!("00-{TRACE}-{SPAN}-01");
        let context = TraceContext::read([good.as_str()], values.iter().copied());
        context.expect("a context").state().map(str::to_owned)
    }

    #[test]
    fn a_traceparent_is_read_as_the_standard_says() {
        let good = format!("00-{TRACE}-{SPAN}-01");
        assert_eq!(parent(&good), Some(good.clone()));
        let context = TraceContext::read([good.as_str()], []).expect("a context");
        assert_eq!((context.trace_id(), context.span_id()), (TRACE, SPAN));
        assert!(context.is_sampled());
        assert_eq!(parent(&format!("00-{TRACE}-{SPAN}-fe")), Some(format!("00-{TRACE}-{SPAN}-02")));
        // A later version, with or without more after the flags.
        for later in ["", "-more", "-"] {
            assert_eq!(parent(&format!("cc-{TRACE}-{SPAN}-01{later}")), Some(good.clone()));
        }
        let zeros = ("0".repeat(32), "0".repeat(16));
        for bad in [
            String::new(),
            "00".to_owned(),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}-{SPAN}-0"),
            format!("00-{TRACE}-{SPAN}-011"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("cc-{TRACE}-{SPAN}-01.more"),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("0x-{TRACE}-{SPAN}-01"),
            format!("00-{}-{SPAN}-01", zeros.0),
            format!("00-{TRACE}-{}-01", zeros.1),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-{SPAN}-0g"),
            format!("00-{TRACE}0-{}-01", &SPAN[1..]),
            format!(" 0-{TRACE}-{SPAN}-01"),
            "é".repeat(40),
            "0".repeat(10_000),
        ] {
            assert_eq!(parent(&bad), None, "{bad:?}");
        }
        assert_eq!(TraceContext::read([good.as_str(), good.as_str()], []), None);
        assert_eq!(TraceContext::read([], ["a=1"]), None);
    }

    #[test]
    fn a_tracestate_is_joined_bounded_and_left_out_if_it_is_not_valid() {
        assert_eq!(state(&["a=1 , b@c=x y", "", "d=2"]), Some("a=1,b@c=x y,d=2".to_owned()));
        assert_eq!(state(&[]), None);
        for bad in ["a", "=1", "a=", "A=1", "a=b=c", "a=\u{7f}", "a=é", "a=1,b"] {
            assert_eq!(state(&[bad]), None, "{bad:?}");
        }
        let entry = |key: &str, length: usize| format!("{key}={}", "v".repeat(length - 2));
        let many: Vec<String> = (0..33).map(|n| format!("k{n}=v")).collect();
        assert_eq!(state(&[&many.join(",")]), None);
        assert_eq!(state(&[&many[..32].join(",")]), Some(many[..32].join(",")));
        // Long entries go first, then those at the end.
        let (a, b, c) = (entry("a", 200), entry("b", 120), entry("c", 200));
        let [d, e, f] = ["d", "e", "f"].map(|key| entry(key, 120));
        let g = entry("g", 100);
        assert_eq!(state(&[&a, &b, &c, &d]), Some(format!("{a},{b},{d}")));
        let all = [&b, &d, &e, &f, &g].map(String::as_str);
        assert_eq!(state(&all), Some(all[..4].join(",")));
        assert_eq!(state(&[&format!("a={}", "v".repeat(10_000))]), None);
    }

    proptest! {
        #[test]
        fn any_headers_are_read_and_what_is_kept_is_bounded(
            parent in ".{0,80}", states in proptest::collection::vec(".{0,300}", 0..40)
        ) {
            let _ = TraceContext::read([parent.as_str()], []);
            let kept = state(&states.iter().map(String::as_str).collect::<Vec<_>>());
            prop_assert!(kept.is_none_or(|kept| kept.len() <= MAX_STATE && kept.is_ascii()));
        }
    }
}
