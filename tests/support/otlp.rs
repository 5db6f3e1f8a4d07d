//! Reads the spans of requests by OTLP over HTTP. It decodes protobuf itself, by the field numbers of
//! opentelemetry-proto 1.x, so it shares no code with the exporter.

use std::collections::BTreeMap;
use std::time::Duration;

use super::receiver::{Got, Receiver};
use super::wait::eventually;

const LIMIT: Duration = Duration::from_secs(30);

pub const SERVER: u64 = 2;
pub const CLIENT: u64 = 3;
pub const PRODUCER: u64 = 4;
pub const CONSUMER: u64 = 5;

/// A span that was received.
#[derive(Clone, Debug)]
pub struct Span {
    pub trace: String,
    pub id: String,
    /// Empty for a root.
    pub parent: String,
    pub name: String,
    pub kind: u64,
    /// Start and end, in nanoseconds since 1970.
    pub times: (u64, u64),
    pub attributes: BTreeMap<String, String>,
    /// 2 for an error.
    pub status: u64,
    /// The attributes of the process.
    pub resource: BTreeMap<String, String>,
    /// The conventions that names follow.
    pub conventions: String,
}

impl Span {
    /// The value of an attribute, as text.
    #[track_caller]
    pub fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).unwrap_or_else(|| panic!("no {name}: {self:?}"))
    }
}

/// The spans that a receiver has got.
pub fn received(receiver: &Receiver) -> Vec<Span> {
    receiver.got().iter().flat_map(spans).collect()
}

/// Waits until these spans of a trace have come, by name and kind, and returns them.
pub async fn whole(receiver: &Receiver, trace: &str, names: &[(&str, u64)]) -> Vec<Span> {
    let mut wanted: Vec<_> = names.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect();
    wanted.sort();
    eventually(LIMIT, &format!("{wanted:?}"), async || {
        let spans: Vec<Span> =
            received(receiver).into_iter().filter(|span| span.trace == trace).collect();
        let mut found: Vec<_> = spans.iter().map(|span| (span.name.clone(), span.kind)).collect();
        found.sort();
        (found == wanted).then_some(spans)
    })
    .await
}

/// The spans of one request.
fn spans(got: &Got) -> Vec<Span> {
    assert_eq!(
        (got.uri.as_str(), got.header("content-type")),
        ("/v1/traces", "application/x-protobuf")
    );
    let mut spans = Vec::new();
    for of_resource in fields(&got.body).iter().filter(|field| field.number == 1) {
        let of_resource = fields(of_resource.bytes);
        let resource = of_resource.iter().find(|field| field.number == 1);
        let resource =
            resource.map(|field| attributes(&fields(field.bytes), 1)).unwrap_or_default();
        for of_scope in of_resource.iter().filter(|field| field.number == 2) {
            let of_scope = fields(of_scope.bytes);
            let conventions = text(&of_scope, 3);
            for span in of_scope.iter().filter(|field| field.number == 2) {
                let span = fields(span.bytes);
                let status = span.iter().find(|field| field.number == 15);
                spans.push(Span {
                    trace: hex(&span, 1),
                    id: hex(&span, 2),
                    parent: hex(&span, 4),
                    name: text(&span, 5),
                    kind: number(&span, 6),
                    times: (number(&span, 7), number(&span, 8)),
                    attributes: attributes(&span, 9),
                    status: status.map_or(0, |status| number(&fields(status.bytes), 3)),
                    resource: resource.clone(),
                    conventions: conventions.clone(),
                });
            }
        }
    }
    spans
}

/// A field of a protobuf message: a number, or bytes.
struct Field<'a> {
    number: u64,
    value: u64,
    bytes: &'a [u8],
}

fn fields(mut rest: &[u8]) -> Vec<Field<'_>> {
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let tag = varint(&mut rest);
        let (mut value, mut bytes) = (0, &rest[..0]);
        match tag & 7 {
            0 => value = varint(&mut rest),
            1 => value = u64::from_le_bytes(take(&mut rest, 8).try_into().expect("8 bytes")),
            2 => {
                let length = usize::try_from(varint(&mut rest)).expect("a length");
                bytes = take(&mut rest, length);
            }
            5 => bytes = take(&mut rest, 4),
            other => panic!("wire type {other}"),
        }
        fields.push(Field { number: tag >> 3, value, bytes });
    }
    fields
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (taken, left) = rest.split_at(length);
    *rest = left;
    taken
}

fn varint(rest: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(rest, 1)[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return value;
        }
    }
    panic!("a number of more than 64 bits");
}

fn number(fields: &[Field<'_>], number: u64) -> u64 {
    fields.iter().find(|field| field.number == number).map_or(0, |field| field.value)
}

fn text(fields: &[Field<'_>], number: u64) -> String {
    let found = fields.iter().find(|field| field.number == number);
    found.map_or(String::new(), |field| String::from_utf8(field.bytes.to_vec()).expect("UTF-8"))
}

fn hex(fields: &[Field<'_>], number: u64) -> String {
    let found = fields.iter().find(|field| field.number == number);
    found.map_or(String::new(), |field| field.bytes.iter().map(|b| format!("{b:02x}")).collect())
}

/// Attributes whose values are texts, booleans or whole numbers.
fn attributes(of: &[Field<'_>], number: u64) -> BTreeMap<String, String> {
    let pair = |field: &Field<'_>| {
        let pair = fields(field.bytes);
        let value = pair.iter().find(|field| field.number == 2).expect("a value");
        let value = fields(value.bytes);
        let value = match value.first() {
            Some(Field { number: 1, .. }) => text(&value, 1),
            Some(Field { number: 2, value, .. }) => (*value != 0).to_string(),
            Some(Field { number: 3, value, .. }) => value.cast_signed().to_string(),
            _ => panic!("a value of another type"),
        };
        (text(&pair, 1), value)
    };
    of.iter().filter(|field| field.number == number).map(pair).collect()
}
