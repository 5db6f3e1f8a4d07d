use super::*;
use proptest::prelude::*;

/// The part of an event that a client uses.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    event: String,
    data: Option<Vec<u8>>,
    id: Option<String>,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn parse<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut parser = Parser::default();
    for chunk in chunks {
        let report = |event: Event<'_>| {
            if event.data.is_some() || event.id.is_some() {
                let name = if event.name.is_empty() { b"message" } else { event.name };
                let data = event.data.map(<[u8]>::to_vec);
                seen.push(Seen { event: text(name), data, id: event.id.map(text) });
            }
        };
        parser.feed(chunk, report).expect("small enough");
    }
    seen
}

fn block(event: &str, data: Option<&str>, id: Option<&str>) -> Seen {
    Seen {
        event: event.to_owned(),
        data: data.map(|data| data.as_bytes().to_vec()),
        id: id.map(str::to_owned),
    }
}

/// Generates streams from the pieces that matter to the grammar.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"\n".to_vec()),
        Just(b"\r".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"\n\n".to_vec()),
        Just(b"data".to_vec()),
        Just(b"event".to_vec()),
        Just(b"id".to_vec()),
        Just(b"retry".to_vec()),
        Just(b":".to_vec()),
        Just(b": ".to_vec()),
        Just(b"\xef\xbb\xbf".to_vec()),
        Just("→é".as_bytes().to_vec()),
        Just(b"12".to_vec()),
        Just(b"\0".to_vec()),
        Just(b"\xff".to_vec()),
    ];
    proptest::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn chunking_never_changes_the_events(
        stream in stream(),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let chunks = cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]);
        let whole = parse([stream.as_slice()]);
        prop_assert_eq!(parse(chunks), whole.clone());
        prop_assert_eq!(parse(stream.chunks(1)), whole);
    }

    #[test]
    fn every_line_end_is_the_same(lines in proptest::collection::vec("(data|id|event)?(: ?[a-c]{0,2})?", 0..20)) {
        let with = |end: &str| lines.iter().map(|line| format!("{line}{end}")).collect::<String>();
        let expected = parse([with("\n").as_bytes()]);
        prop_assert_eq!(parse([with("\r\n").as_bytes()]), expected.clone());
        prop_assert_eq!(parse([with("\r").as_bytes()]), expected);
    }
}

#[test]
fn the_standards_own_examples() {
    assert_eq!(
        parse([b"data: YHOO\ndata: +2\ndata: 10\n\n".as_slice()]),
        [block("message", Some("YHOO\n+2\n10"), None)]
    );
    assert_eq!(
        parse([b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n".as_slice()]),
        [block("message", Some("first event"), Some("1")), block("message", Some("second event"), Some(""))]
    );
    assert_eq!(
        parse([b"data\n\ndata\ndata\n\ndata:".as_slice()]),
        [block("message", Some(""), None), block("message", Some("\n"), None)]
    );
    assert_eq!(
        parse([b"data:test\n\ndata: test\n\n".as_slice()]),
        [block("message", Some("test"), None), block("message", Some("test"), None)]
    );
}

#[test]
fn odd_fields() {
    assert_eq!(parse([b"\xef\xbb\xbfid: 7\n\n".as_slice()]), [block("message", None, Some("7"))]);
    assert_eq!(parse([b"id: a\0b\n\nevent: x\n\n:c\n\n".as_slice()]), []);
    assert_eq!(
        parse([b"Data: x\n data: y\nevent: a\nevent: b\nid: 1\ndata: z\n\n".as_slice()]),
        [block("b", Some("z"), Some("1"))]
    );
    let (mut parser, mut retry) = (Parser::default(), None);
    parser
        .feed(b"retry: 12\nretry: 1x\nretry\nretry: 99999999999999999999999\n\n", |event| {
            retry = event.retry;
        })
        .expect("small");
    assert_eq!(retry, Some(Duration::from_millis(12)));
}

#[test]
fn every_block_is_reported_with_its_own_bytes() {
    let stream = b"retry: 5\nevent: unavailable\n\n:\n\n\nid: 3\nevent: task\ndata: x\n\n";
    for size in 1..=stream.len() {
        let (mut parser, mut blocks) = (Parser::default(), Vec::new());
        for chunk in stream.chunks(size) {
            let report = |event: Event<'_>| blocks.push((text(event.bytes), event.seq()));
            parser.feed(chunk, report).expect("small");
        }
        let whole = |text: &str, seq| (text.to_owned(), seq);
        assert_eq!(
            blocks,
            [
                whole("retry: 5\nevent: unavailable\n\n", None),
                whole(":\n\n", None),
                whole("id: 3\nevent: task\ndata: x\n\n", Some(3))
            ]
        );
        assert!(parser.is_empty());
    }
}

#[test]
fn an_endless_event_is_given_up() {
    let mut parser = Parser::default();
    let chunk = vec![b'x'; 1024 * 1024];
    let fed = (0..=EVENT_BYTES / chunk.len()).try_for_each(|_| parser.feed(&chunk, |_| ()));
    assert_eq!(fed, Err(TooLarge));
}
