//! Converts messages of JetStream to [`LogEntry`].
//!
//! Invariant: every message can be converted, whatever bytes a foreign publisher (a NATS client that is not
//! agentbus) put into subject or headers. What is not UTF-8 becomes U+FFFD. Headers are sorted by name, since
//! async-nats keeps them in a hash map: so all readers return the same entry.

use async_nats::{HeaderMap, Message};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::Deserialize;

use crate::message::{Headers, LogEntry, PRESERVED_HEADER_PREFIX, PRESERVED_TIME, Subject};

/// The fields of a delivery's reply subject (ADR-15, also in the form with domain and account).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Delivery {
    /// How often the message was delivered, counting this time.
    pub count: u64,
    pub stream_seq: u64,
    pub consumer_seq: u64,
    pub nanos: i64,
}

impl Delivery {
    /// Parses `$JS.ACK.…`. A message without such a reply subject is a status of the server, whatever its
    /// headers say.
    pub(super) fn parse(reply: &str) -> Option<Self> {
        let rest = reply.strip_prefix("$JS.ACK.")?;
        let tokens = rest.split('.').count();
        // <stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<nanos>.<pending>, after
        // <domain>.<account> and before <random> in the longer form.
        let skip = match tokens {
            7 => 2,
            9.. => 4,
            _ => return None,
        };
        let mut fields = rest.split('.').skip(skip);
        Some(Self {
            count: fields.next()?.parse().ok()?,
            stream_seq: fields.next()?.parse().ok()?,
            consumer_seq: fields.next()?.parse().ok()?,
            nanos: fields.next()?.parse().ok()?,
        })
    }
}

/// Converts a delivered message.
pub(super) fn from_delivery(message: Message, delivery: Delivery) -> LogEntry {
    as_first_logged(LogEntry {
        seq: delivery.stream_seq,
        subject: Subject::from_log(message.subject.as_str()),
        headers: message.headers.as_ref().map(sorted).unwrap_or_default(),
        payload: message.payload,
        logged_at: DateTime::from_timestamp_nanos(delivery.nanos),
    })
}

/// Restores the original headers and time of an entry that was written back ([`super::write_back`]).
fn as_first_logged(mut raw: LogEntry) -> LogEntry {
    let is_kept = |name: &str| name.starts_with(PRESERVED_HEADER_PREFIX);
    if !raw.headers.iter().any(|(name, _)| is_kept(name)) {
        return raw;
    }
    let (kept, mut headers): (Headers, Headers) =
        raw.headers.into_iter().partition(|(name, _)| is_kept(name));
    // The remaining headers served only the write-back.
    headers.retain(|(name, _)| !name.starts_with("Nats-"));
    for (name, value) in kept {
        match (&name[PRESERVED_HEADER_PREFIX.len()..], DateTime::parse_from_rfc3339(&value)) {
            (PRESERVED_TIME, Ok(time)) => raw.logged_at = time.to_utc(),
            (rest, _) => headers.push((rest.to_owned(), value)),
        }
    }
    sort(&mut headers);
    LogEntry { headers, ..raw }
}

fn sorted(map: &HeaderMap) -> Headers {
    let mut headers = Headers::with_capacity(map.len());
    for (name, values) in map.iter() {
        for value in values {
            headers.push((name.to_string(), value.as_str().to_owned()));
        }
    }
    sort(&mut headers);
    headers
}

/// Sorts headers by name. Several values of one name keep their order.
fn sort(headers: &mut Headers) {
    headers.sort_by(|(a, _), (b, _)| a.cmp(b));
}

/// A stored message, as in a `STREAM.MSG.GET` reply.
#[derive(Debug, Deserialize)]
pub(super) struct Stored {
    subject: String,
    seq: u64,
    #[serde(default)]
    hdrs: Option<String>,
    #[serde(default)]
    data: Option<String>,
    time: DateTime<Utc>,
}

impl Stored {
    /// Whether async-nats 0.51 can certainly read a delivery of this message.
    pub(super) fn is_readable(&self) -> bool {
        let header_line = |line: &str| {
            let name = line.split_once(':').map_or("", |(name, _)| name);
            let plain = |byte: u8| byte.is_ascii_graphic();
            !name.is_empty() && name.bytes().all(plain) && !line.contains('\r')
        };
        let headers = self.hdrs.as_ref().is_none_or(|block| {
            let block = BASE64.decode(block).ok();
            let text = block.and_then(|block| String::from_utf8(block).ok());
            text.is_some_and(|text| {
                let mut lines = text.split("\r\n");
                lines.next() == Some("NATS/1.0")
                    && lines.filter(|line| !line.is_empty()).all(header_line)
            })
        });
        headers && !self.subject.contains('\u{fffd}')
    }

    /// Converts the message. In the subject, the server's JSON has already replaced what is not UTF-8.
    pub(super) fn into_raw(self) -> Result<LogEntry, base64::DecodeError> {
        let bytes = |text: Option<String>| text.map(|text| BASE64.decode(text)).transpose();
        Ok(as_first_logged(LogEntry {
            seq: self.seq,
            subject: Subject::from_log(self.subject),
            headers: parse_headers(&bytes(self.hdrs)?.unwrap_or_default()),
            payload: Bytes::from(bytes(self.data)?.unwrap_or_default()),
            logged_at: self.time,
        }))
    }
}

/// Parses a header block like async-nats, but also keeps lines that async-nats cannot read; a line without a
/// colon becomes a header with an empty value.
fn parse_headers(block: &[u8]) -> Headers {
    let text = String::from_utf8_lossy(block);
    let mut headers = Headers::new();
    let mut lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    // Skips the version line. A status on it is not a header.
    lines.next();
    for line in lines.filter(|line| !line.is_empty()) {
        let folded = line.starts_with(char::is_whitespace);
        if let (true, Some((_, value))) = (folded, headers.last_mut()) {
            value.push_str(line);
            value.truncate(value.trim_end().len());
        } else {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
    }
    sort(&mut headers);
    headers
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_both_forms_of_ack_subjects() {
        let seen = Some(Delivery { count: 1, stream_seq: 7, consumer_seq: 3, nanos: 1_700 });
        assert_eq!(Delivery::parse("$JS.ACK.s.c.1.7.3.1700.0"), seen);
        assert_eq!(Delivery::parse("$JS.ACK.dom.acc.s.c.1.7.3.1700.0.rnd"), seen);
        assert_eq!(Delivery::parse("$JS.ACK.dom.acc.s.c.1.7.3.1700.0"), seen);
        assert_eq!(Delivery::parse("$JS.ACK.s.c.1.x.3.1700.0"), None);
        assert_eq!(Delivery::parse("_INBOX.x"), None);
    }

    #[test]
    fn headers_are_sorted_by_name() {
        let block = b"NATS/1.0\r\nb:  2 \r\na: 1\r\nb: 1\r\n folded\r\n\r\n";
        let pairs = [("a", "1"), ("b", "2"), ("b", "1 folded")];
        let expected: Headers = pairs.map(|(a, b)| (a.to_owned(), b.to_owned())).into();
        assert_eq!(parse_headers(block), expected);
    }

    proptest! {
        #[test]
        fn any_header_block_is_read(block in proptest::collection::vec(any::<u8>(), 0..200)) {
            parse_headers(&block);
        }
    }
}
