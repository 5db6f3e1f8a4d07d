//! Invalid messages: the server reports what is wrong with them, and serves the next request.

use crate::support::wire;
use crate::support::wire::{BATCH, JSON, MESSAGES, NDJSON, refused, still_serves};
use crate::support::{Answer, Deployment, Mode, for_each_mode};
use serde_json::json;

/// The limit of an encoded message's body and headers, in bytes.
const MAX_MESSAGE: usize = 1_048_576 - 4_096;

async fn server() -> Deployment {
    Deployment::start(Mode::MemorySqlite).await
}

async fn post(d: &Deployment, body: impl Into<Vec<u8>>) -> Answer {
    d.http().post(MESSAGES, JSON, body.into()).await
}

/// A message with these raw members beside the required ones.
fn message(members: &str) -> String {
    format!(r#"{{"kind":"message","type":"note","sender_id":"ann",{members}}}"#)
}

#[tokio::test]
async fn members_of_the_wrong_type_are_named() {
    let d = server().await;
    let members = [
        "id",
        "kind",
        "type",
        "sender_id",
        "sender_role",
        "recipient_id",
        "task_id",
        "conversation_id",
        "in_reply_to",
        "expires_at",
        "content",
        "metadata",
    ];
    for member in members {
        for value in [
            json!(1),
            json!(true),
            json!([]),
            json!(["a"]),
            json!({"a": 1}),
            json!("a b.c\u{7f}"),
            json!(""),
        ] {
            if (member == "metadata" && value.is_object())
                || (member == "content" && value.is_string())
            {
                continue;
            }
            let mut body = wire::good();
            body[member] = value.clone();
            let problem = refused(&post(&d, body.to_string()).await, &[422]);
            let pointer = format!("/{member}");
            assert!(
                wire::named(&problem, "pointer").contains(&pointer),
                "{member}={value}: {problem}"
            );
        }
    }
    for body in ["null", "1", "\"x\"", "[]", "true"] {
        refused(&post(&d, body).await, &[400, 422]);
    }
    still_serves(&d).await;
}

#[tokio::test]
async fn invalid_times_are_refused() {
    let d = server().await;
    let bad = [
        "2026-13-01T00:00:00Z",
        "2026-02-30T00:00:00Z",
        "2026-01-01",
        "2026-01-01T00:00:00",
        "2026-01-01T25:00:00Z",
        "20260101T000000Z",
        "1700000000",
        "2026-01-01T00:00:00+99:00",
        "٢٠٢٦-01-01T00:00:00Z",
    ];
    for time in bad {
        let answer = post(&d, message(&format!(r#""content":"","expires_at":"{time}""#))).await;
        assert_eq!(answer.status, 422, "{time}: {}", answer.text());
        assert_eq!(
            wire::named(&wire::problem(&answer, 422), "pointer"),
            wire::names(["/expires_at"])
        );
    }
    still_serves(&d).await;
}

#[tokio::test]
async fn bad_json_is_reported_with_its_position() {
    let d = server().await;
    let broken: [&[u8]; 18] = [
        b"",
        b" \n ",
        b"{",
        b"}",
        b"{\"kind\"",
        b"{'kind':'message'}",
        b"{\"a\":1,}",
        b"{\"a\":01}",
        b"{\"a\":NaN}",
        b"{\"a\":1} x",
        b"{}{}",
        b"\xef\xbb\xbf{}",
        b"{\"a\":\"\xff\"}",
        b"{\"a\":\"\xc0\xaf\"}",
        b"{\"a\":\"\xed\xa0\x80\"}",
        b"{\"a\":\"\x00\"}",
        b"{\"a\":\"\n\"}",
        b"{\"a\":\"\\x\"}",
    ];
    for body in broken {
        let problem = refused(&post(&d, body).await, &[400]);
        let detail = problem["detail"].as_str().expect("detail");
        assert!(
            detail.contains("line") && detail.contains("column"),
            "{}: {detail}",
            body.escape_ascii()
        );
    }
    let problem = refused(&post(&d, "{\n\n  \"kind\": !}").await, &[400]);
    let detail = problem["detail"].as_str().expect("detail");
    assert!(detail.contains("line 3") && detail.contains("column 11"), "{detail}");
    still_serves(&d).await;
}

#[tokio::test]
async fn broken_text_inside_metadata_and_content_is_refused() {
    let d = server().await;
    for text in ["\\u0000", "a\\u0000b", "\\ud800", "\\udc00\\ud800", "\\ud83dx", "\\ud83d\\u0041"]
    {
        for members in [
            format!(r#""content":"{text}""#),
            format!(r#""content":"","metadata":{{"a":"{text}"}}"#),
            format!(r#""content":"","metadata":{{"{text}":1}}"#),
            format!(r#""content":"","metadata":{{"a":[{{"b":["{text}"]}}]}}"#),
            format!(r#""content":"","conversation_id":"{text}""#),
            format!(r#""content":"","{text}":1"#),
        ] {
            let answer = post(&d, message(&members)).await;
            assert!(matches!(answer.status, 400 | 422), "{members}: {}", answer.text());
            wire::problem(&answer, answer.status);
        }
    }
    // After an escaped backslash this is not an escape.
    post(&d, message(r#""content":"\\u0000","metadata":{"a":"\\ud800 \\\\u0000"}"#))
        .await
        .expect(201);
    still_serves(&d).await;
}

#[tokio::test]
async fn a_duplicate_member_is_refused() {
    let d = server().await;
    for members in [
        r#""content":"a","content":"b""#,
        r#""content":"","sender_id":"bob""#,
        r#""content":"","\u0074ype":"other""#,
    ] {
        refused(&post(&d, message(members)).await, &[400, 422]);
    }
    still_serves(&d).await;
}

for_each_mode! {
    async fn metadata_may_be_nested_32_deep_and_no_deeper(d: &Deployment) {
        let nested = |depth: usize, open: &str, inner: &str, close: &str| {
            let (before, after) = (open.repeat(depth - 1), close.repeat(depth - 1));
            message(&format!(r#""content":"","metadata":{{"a":{before}{inner}{after}}}"#))
        };
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            post(d, nested(32, open, "1", close)).await.expect(201);
            post(d, nested(32, open, r#""[[[[{{{{""#, close)).await.expect(201);
            let problem = refused(&post(d, nested(33, open, "1", close)).await, &[422]);
            assert_eq!(wire::named(&problem, "pointer"), wire::names(["/metadata"]));
        }
        still_serves(d).await;
    }

    async fn a_message_has_a_limit_after_encoding_and_a_body_before(d: &Deployment) {
        let with = |content: &str| message(&format!(r#""content":"{content}""#));
        // Leaves some bytes for the headers and for what the server adds.
        post(d, with(&"x".repeat(MAX_MESSAGE - 1_024))).await.expect(201);
        post(d, with(&"\\\"".repeat(MAX_MESSAGE / 2 - 512))).await.expect(201);
        post(d, with(&"é".repeat(MAX_MESSAGE / 2 - 512))).await.expect(201);
        refused(&post(d, with(&"x".repeat(MAX_MESSAGE))).await, &[413]);
        refused(&post(d, with(&"é".repeat(MAX_MESSAGE / 2))).await, &[413]);
        let metadata = format!(r#""content":"","metadata":{{"a":"{}"}}"#, "x".repeat(MAX_MESSAGE));
        refused(&post(d, message(&metadata)).await, &[413]);
        // Only white space between tokens makes this exceed the limit.
        let padded = wire::good().to_string() + &" ".repeat(MAX_MESSAGE / 2);
        post(d, padded).await.expect(201);
        still_serves(d).await;
        let page = wire::page(d.http(), "limit=1").await;
        assert!(page.messages[0].len() > MAX_MESSAGE - 1_024);
    }
}

#[tokio::test]
async fn endless_nesting_does_no_harm() {
    let d = server().await;
    for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[", ""), ("[{\"a\":", "")] {
        let deep = format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
        refused(&post(&d, deep.clone()).await, &[400, 422]);
        refused(
            &post(&d, message(&format!(r#""content":"","metadata":{{"a":{deep}}}"#))).await,
            &[400, 422],
        );
        refused(&post(&d, message(&format!(r#""content":{deep}"#))).await, &[400, 422]);
        for content_type in [JSON, NDJSON] {
            let answer = d.http().post(BATCH, content_type, deep.clone()).await;
            assert!(
                matches!(answer.status, 200 | 400 | 422),
                "{}: {}",
                answer.status,
                answer.text()
            );
            assert!(answer.status != 200 || answer.json()["accepted"] == 0, "{}", answer.text());
        }
    }
    still_serves(&d).await;
}
