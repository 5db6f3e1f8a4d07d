//! Whether a response is as a page shows it. Ids, times, versions and sequences need the same form only, everything else is the same.
//!
//! `…` stands for what is left out: a value, the other members of an object, the other items of an array, the rest of a text.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

type Agreed = Result<(), String>;

/// What `…` outside of texts becomes, so that the rest is JSON.
const ANY: &str = "\u{2025}";

/// Numbers that depend on what was published before, and on time.
const VARYING: [&str; 13] = [
    "seq",
    "next",
    "first",
    "last",
    "head",
    "from",
    "to",
    "as_of",
    "committed_through",
    "first_seq",
    "last_seq",
    "expired_seq",
    "uptime_s",
];

/// The JSON of a page.
pub fn unfolded(text: &str) -> Value {
    let (mut json, mut within, mut last, mut in_text) = (String::new(), Vec::new(), ' ', false);
    for character in text.chars() {
        match character {
            '"' if last != '\\' => in_text = !in_text,
            '{' | '[' if !in_text => within.push(character),
            '}' | ']' if !in_text => drop(within.pop()),
            _ => {}
        }
        if character == '…' && !in_text {
            let is_member = last != ':' && within.last() == Some(&'{');
            json += &if is_member { format!("\"{ANY}\":\"{ANY}\"") } else { format!("\"{ANY}\"") };
        } else {
            json.push(character);
        }
        if !character.is_whitespace() {
            last = character;
        }
    }
    serde_json::from_str(&json).unwrap_or_else(|error| panic!("no JSON: {error}: {text}"))
}

/// Compares a value.
pub fn values(shown: &Value, real: &Value) -> Agreed {
    let differs = || Err(format!("shown is {shown}, real is {real}"));
    match (shown, real) {
        (Value::String(any), _) if any == ANY => Ok(()),
        (Value::Object(shown), Value::Object(members)) => {
            for (name, value) in members {
                match shown.get(name) {
                    Some(Value::Number(_))
                        if VARYING.contains(&name.as_str()) && value.is_u64() => {}
                    Some(shown) => {
                        values(shown, value).map_err(|error| format!("{name}: {error}"))?
                    }
                    None if shown.contains_key(ANY) => {}
                    None => return Err(format!("the member {name} is not shown: {real}")),
                }
            }
            let missing = shown.keys().find(|name| *name != ANY && !members.contains_key(*name));
            missing.map_or(Ok(()), |name| Err(format!("there is no {name}: {real}")))
        }
        (Value::Array(shown), Value::Array(items)) => {
            let is_open = shown.last().is_some_and(|last| last == ANY);
            let shown = &shown[..shown.len() - usize::from(is_open)];
            if items.len() < shown.len() || items.len() > shown.len() && !is_open {
                return differs();
            }
            shown.iter().zip(items).try_for_each(|(shown, item)| values(shown, item))
        }
        (Value::String(shown), Value::String(real)) => texts(shown, real),
        _ if shown == real => Ok(()),
        _ => differs(),
    }
}

/// Compares a text.
pub fn texts(shown: &str, real: &str) -> Agreed {
    static FORMS: LazyLock<[(Regex, &str); 3]> = LazyLock::new(|| {
        let form = |pattern| Regex::new(pattern).expect("a pattern");
        [
            (form("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "UUID"),
            (form(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z"), "TIME"),
            (form(r"\b\d+\.\d+\.\d+\b"), "VERSION"),
        ]
    });
    let form = |text: &str| {
        let replaced = |text: String, (form, name): &(Regex, &str)| {
            form.replace_all(&text, *name).into_owned()
        };
        FORMS.iter().fold(text.to_owned(), replaced)
    };
    let agrees = match shown.split_once('…') {
        Some((start, "")) => real.starts_with(start),
        _ => form(shown) == form(real),
    };
    if agrees { Ok(()) } else { Err(format!("shown is {shown:?}, real is {real:?}")) }
}

/// Compares a response with its head: status and the headers that are shown, then the body.
pub fn responses(shown: &str, real: &str) -> Agreed {
    let (shown_head, shown_body) = shown.split_once("\n\n").expect("a head and a body");
    let (head, body) = real.split_once("\r\n\r\n").ok_or(format!("no head: {real}"))?;
    let mut lines = head.lines();
    texts(shown_head.lines().next().unwrap_or_default(), lines.next().unwrap_or_default())?;
    let headers: Vec<&str> = lines.collect();
    for header in shown_head.lines().skip(1) {
        let found = headers.iter().any(|real| texts(header, real).is_ok());
        found.then_some(()).ok_or(format!("there is no {header}: {head}"))?;
    }
    bodies(shown_body, body)
}

/// Compares the last JSON value of an output.
pub fn bodies(shown: &str, real: &str) -> Agreed {
    let bodies = serde_json::Deserializer::from_str(real).into_iter::<Value>();
    let last = bodies.last().ok_or("there is no response")?;
    values(&unfolded(shown), &last.map_err(|error| format!("{error}: {real}"))?)
}

/// The events of a stream that came whole.
pub fn events(stream: &str) -> Vec<&str> {
    let end = stream.rfind("\n\n").map_or(0, |end| end);
    stream[..end].split("\n\n").filter(|event| !event.is_empty()).collect()
}

/// Compares the beginning of a stream.
pub fn streams(shown: &str, real: &str) -> Agreed {
    let (shown, real) = (format!("{}\n\n", shown.trim_end()), events(real));
    let shown = events(&shown);
    if real.len() < shown.len() {
        return Err(format!("{} events have come: {real:?}", real.len()));
    }
    let lines = |event: &str| event.lines().map(str::to_owned).collect::<Vec<_>>();
    for (shown, real) in shown.iter().zip(real) {
        let (shown, real) = (lines(shown), lines(real));
        if shown.len() != real.len() {
            return Err(format!("shown is {shown:?}, real is {real:?}"));
        }
        shown.iter().zip(&real).try_for_each(|(shown, real)| fields(shown, real))?;
    }
    Ok(())
}

fn fields(shown: &str, real: &str) -> Agreed {
    match (shown.split_once(": "), real.split_once(": ")) {
        (Some(("data", shown)), Some(("data", real))) => bodies(shown, real),
        (Some(("id" | "retry", _)), Some((name, number))) if shown.starts_with(name) => {
            number.parse::<u64>().map(drop).map_err(|error| format!("{real}: {error}"))
        }
        _ => texts(shown, real),
    }
}

/// Whether an event of a stream has this data.
pub fn an_event(shown: &str, real: &str) -> Agreed {
    let lines = events(real).into_iter().flat_map(str::lines);
    let mut data = lines.filter_map(|line| line.strip_prefix("data: "));
    let found = data.any(|data| bodies(shown, data).is_ok());
    found.then_some(()).ok_or(format!("no event is as it is shown: {real}"))
}

#[test]
fn an_example_that_is_wrong_is_found() {
    let real = r#"{"seq":7,"id":"0190a2b4-0000-7000-8000-000000000000","status":201,"at":"2026-01-02T03:04:05.000006Z","list":[1,2],"end":null}"#;
    let right =
        r#"{"seq":1,"id":"…","status":201,"at":"2026-11-20T17:01:36.585692Z","list":[1,…],…}"#;
    assert_eq!(bodies(right, real), Ok(()));
    for (from, to) in [
        (r#""seq":1"#, r#""seq":"1""#),
        (r#""status":201"#, r#""status":200"#),
        (r#""status":201"#, r#""status":201,"state":"ok""#),
        (r#""id":"…""#, r#""id":null"#),
        ("2026-11-20T17:01:36.585692Z", "yesterday"),
        ("[1,…]", "[1]"),
        ("[1,…]", "[2,…]"),
        (",…}", "}"),
        (",…}", r#","end":0}"#),
    ] {
        let wrong = right.replace(from, to);
        assert_ne!(wrong, right);
        bodies(&wrong, real).expect_err(&wrong);
    }
    let stream = "retry: 5\nid: 1\nevent: ready\ndata: {\"head\":1}\n\n";
    assert_eq!(streams("retry: 9\nid: 3\nevent: ready\ndata: {\"head\":3}", stream), Ok(()));
    for wrong in [
        "event: ready",
        "retry: 5\nid: 1\nevent: gap\ndata: {\"head\":1}",
        "retry: 5\nid: 1\nevent: ready\ndata: {}",
    ] {
        streams(wrong, stream).expect_err(wrong);
    }
    let response = "HTTP/1.1 201 Created\r\nLocation: /a\r\n\r\n{}";
    responses("HTTP/1.1 200 OK\n\n{}", response).expect_err("another status");
    responses("HTTP/1.1 201 Created\nLocation: /b\n\n{}", response).expect_err("another header");
}
