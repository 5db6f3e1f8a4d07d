//! Every route with every kind of credential: the expected status, and nothing of what the caller may not see.
//!
//! Made from the table of routes: a new route does not compile here until it has its cases.

use agentbus::http::ROUTES;
use agentbus::services::calls::{Call, Need};
use reqwest::Method;
use serde_json::{Value, json};

use super::world::{HIDDEN, VISIBLE, World};
use crate::support::keys::Secured;
use crate::support::{Answer, Http, Mode};

/// One request, and the status for each caller.
struct Case {
    path: String,
    body: Option<Value>,
    /// With no grant.
    nothing: u16,
    /// With the grants of [`super::world::narrow_grants`].
    narrow: u16,
    /// With every grant.
    right: u16,
}

fn case(path: impl Into<String>, body: Option<Value>, statuses: [u16; 3]) -> Case {
    let [nothing, narrow, right] = statuses;
    Case { path: path.into(), body, nothing, narrow, right }
}

fn message(sender: &str, kind: &str, of: &str) -> Value {
    let task = json!({"task_id": of});
    let mut message =
        json!({"kind": kind, "type": "made", "sender_id": sender, "content": VISIBLE});
    if kind == "task" {
        message["task_id"] = task["task_id"].clone();
    }
    message
}

/// The cases of a call.
fn cases(call: Call, path: &str, world: &World) -> Vec<Case> {
    let get = |statuses| vec![case(path, None, statuses)];
    let at = |from: &str, to: &str| path.replace(from, to);
    match call {
        Call::Publish => vec![
            case(path, Some(message("ann", "message", "")), [403, 201, 201]),
            case(path, Some(message("bob", "message", "")), [403, 403, 201]),
            case(path, Some(message("ann", "task", "t1")), [403, 403, 201]),
        ],
        // Each item has its own status: see `a_batch_is_checked_item_by_item`.
        Call::PublishBatch => {
            vec![case(path, Some(json!([message("bob", "message", "")])), [200, 200, 200])]
        }
        Call::ReadHistory | Call::OpenStream => get([403, 200, 200]),
        Call::ReadMessage => vec![
            case(at("{id}", &world.hidden_message), None, [404, 404, 200]),
            case(at("{id}", &world.visible_message), None, [404, 200, 200]),
        ],
        Call::EraseMessage => {
            let reason = json!({"reason": "asked to"});
            vec![case(at("{id}", &world.hidden_message), Some(reason), [403, 403, 200])]
        }
        Call::MakeTicket => vec![case(path, Some(json!({"task": ["t1"]})), [403, 201, 201])],
        Call::ListAgents => get([200, 200, 200]),
        Call::ReadAgent => vec![case(at("{id}", "bob"), None, [200, 200, 200])],
        Call::ReadInbox => vec![
            case(at("{id}", "ann"), None, [403, 200, 200]),
            case(at("{id}", "bob"), None, [403, 403, 200]),
        ],
        Call::AckInbox => vec![
            case(at("{id}", "ann"), Some(json!({"through": 1})), [403, 200, 200]),
            case(at("{id}", "bob"), Some(json!({"through": 1})), [403, 403, 200]),
        ],
        Call::ListTasks => get([200, 200, 200]),
        Call::ReadTask => vec![
            case(at("{id}", "hidden-t2"), None, [404, 404, 200]),
            case(at("{id}", "t1"), None, [404, 200, 200]),
        ],
        Call::ListQueues => get([200, 200, 200]),
        Call::ReadQueue => vec![
            case(at("{queue}", "hidden-q"), None, [404, 404, 200]),
            case(at("{queue}", "builds"), None, [404, 200, 200]),
        ],
        Call::PutQueue => vec![case(at("{queue}", "builds"), Some(json!({})), [403, 403, 200])],
        Call::DeleteQueue => {
            vec![case(at("{queue}", "hidden-q?force=true"), None, [403, 403, 204])]
        }
        Call::Enqueue => {
            let job = json!({"type": "build", "payload": VISIBLE});
            vec![
                case(at("{queue}", "builds"), Some(job.clone()), [403, 201, 201]),
                case(at("{queue}", "other"), Some(job), [403, 403, 201]),
            ]
        }
        Call::EnqueueBatch => {
            let jobs = json!([{"type": "build", "payload": VISIBLE}]);
            vec![
                case(at("{queue}", "builds"), Some(jobs.clone()), [403, 200, 200]),
                case(at("{queue}", "other"), Some(jobs), [403, 403, 200]),
            ]
        }
        Call::Lease => vec![
            case(at("{queue}", "empty"), Some(json!({})), [403, 403, 204]),
            case(at("{queue}", "builds"), Some(json!({"worker": "bob"})), [403, 403, 200]),
        ],
        Call::Settle => {
            let path = at("{token}", "no-token").replace("{action}", "ack");
            vec![case(path, None, [422, 422, 422])]
        }
        Call::SettleBatch => vec![case(path, Some(json!([])), [200, 200, 200])],
        Call::ListConsumers | Call::ReadStats | Call::ReadMetrics | Call::ReadStatus => {
            get([403, 403, 200])
        }
        Call::PauseConsumer | Call::ResumeConsumer => {
            vec![case(at("{name}", "agent-processor"), Some(json!({})), [403, 403, 200])]
        }
        Call::ResetConsumer => {
            vec![case(at("{name}", "agent-processor"), Some(json!({"from": 0})), [403, 403, 200])]
        }
        Call::ListDeadLetters => get([403, 200, 200]),
        Call::ReadDeadLetter => vec![
            case(at("{id}", &world.hidden_letter), None, [403, 404, 200]),
            case(at("{id}", &world.visible_letter), None, [403, 200, 200]),
        ],
        Call::RedriveDeadLetter => {
            vec![case(at("{id}", &world.hidden_letter), None, [403, 404, 200])]
        }
        Call::RedriveDeadLetters => vec![case(path, None, [403, 200, 200])],
        Call::DiscardDeadLetter => {
            vec![case(at("{id}", &world.other_letter), None, [403, 404, 204])]
        }
        Call::ListWebhooks => get([403, 403, 200]),
        Call::CreateWebhook => {
            vec![case(path, Some(json!({"url": "http://127.0.0.1:9/x"})), [403, 403, 201])]
        }
        Call::ReadWebhook => vec![case(at("{id}", &world.webhook), None, [403, 403, 200])],
        Call::ChangeWebhook => {
            vec![case(
                at("{id}", &world.webhook),
                Some(json!({"state": "paused"})),
                [403, 403, 200],
            )]
        }
        Call::RemoveWebhook => vec![case(at("{id}", &world.webhook), None, [403, 403, 204])],
        Call::CheckLife | Call::CheckReadiness => get([200, 200, 200]),
        Call::ListSchemas => get([403, 403, 200]),
        Call::PutSchema => {
            let path = at("{kind}", "message").replace("{type}", "checked");
            let schema = json!({"schema": {"properties": {"content": {"const": VISIBLE}}}});
            vec![
                case(format!("{path}?check=true"), Some(schema.clone()), [403, 403, 200]),
                case(path, Some(schema), [403, 403, 201]),
            ]
        }
        Call::ReadSchema | Call::ReadSchemaVersions => {
            let path = at("{kind}", "message").replace("{type}", "checked");
            vec![case(path, None, [403, 403, 200])]
        }
        Call::DeleteSchema => {
            let path = at("{kind}", "message").replace("{type}", "checked");
            vec![case(path, None, [403, 403, 204])]
        }
        Call::ListKeys | Call::ReadAudit => get([403, 403, 200]),
        Call::CreateKey => {
            vec![case(path, Some(json!({"name": "x", "grants": {}})), [403, 403, 201])]
        }
        Call::ReadKey => vec![case(at("{id}", &world.victim.id), None, [403, 403, 200])],
        Call::ChangeKey => {
            vec![case(at("{id}", &world.victim.id), Some(json!({"name": "y"})), [403, 403, 200])]
        }
        Call::RotateKey => {
            vec![case(at("{id}", &world.victim.id), Some(json!({"overlap_s": 0})), [403, 403, 200])]
        }
        Call::RevokeKey => vec![case(at("{id}", &world.victim.id), None, [403, 403, 204])],
        Call::WhoAmI | Call::ReadOpenApi | Call::ReadAsyncApi => get([200, 200, 200]),
        Call::LogIn | Call::LogOut => get([204, 204, 204]),
    }
}

/// When a call comes: those that remove what others need come later.
fn turn(call: Call) -> u8 {
    match call {
        Call::RedriveDeadLetter
        | Call::DiscardDeadLetter
        | Call::RemoveWebhook
        | Call::RevokeKey => 1,
        Call::RedriveDeadLetters | Call::ReadSchema | Call::ReadSchemaVersions => 2,
        Call::DeleteQueue | Call::DeleteSchema | Call::EraseMessage => 3,
        _ => 0,
    }
}

async fn send(http: &Http, method: &str, case: &Case, call: Call) -> Answer {
    if call == Call::OpenStream {
        return open(http, &case.path).await;
    }
    let method: Method = method.parse().expect("a method");
    let body = case.body.as_ref().map(Value::to_string).unwrap_or_default();
    let json: &[(&str, &str)] =
        if body.is_empty() { &[] } else { &[("content-type", "application/json")] };
    http.request(method, &case.path, json, body).await.expect("an answer")
}

/// Opens a stream from the start, and reads what there is.
async fn open(http: &Http, _: &str) -> Answer {
    match http.try_stream("from=start", None).await.expect("an answer") {
        Err(refused) => refused,
        Ok(mut stream) => {
            let frames = stream
                .until(std::time::Duration::from_secs(30), |frame| frame.is("caught_up"))
                .await;
            let text: Vec<String> = frames.iter().map(|frame| format!("{frame:?}")).collect();
            Answer { status: 200, headers: Default::default(), bytes: text.concat().into() }
        }
    }
}

#[track_caller]
fn check(call: Call, case: &Case, who: &str, answer: &Answer, expected: u16) {
    let text = answer.text();
    let what = format!("{call:?} {} with {who}: {text}", case.path);
    assert_eq!(answer.status, expected, "{what}");
    let code = answer.status >= 400;
    assert!(!code || answer.json()["code"].is_string(), "{what}");
    assert_eq!(answer.status == 401, answer.header("www-authenticate").is_some(), "{what}");
    if answer.status == 403 {
        assert!(answer.json()["needs"].as_str().is_some_and(|needs| !needs.is_empty()), "{what}");
    }
    // The path of the request may contain the name of a hidden object.
    let leaks = |marker: &str| text.replace(&case.path, "").contains(marker);
    if who != "every grant" && !matches!(call, Call::ListAgents | Call::ReadAgent) {
        assert!(answer.status == 404 || !leaks(HIDDEN), "{what}");
    }
}

#[tokio::test]
async fn every_route_with_every_credential() {
    for mode in [Mode::MemorySqlite, Mode::Nats] {
        let secured = Secured::tuned(mode, &[("WEBHOOK_ALLOW_PRIVATE", "true")]).await;
        let world = World::build(&secured).await;
        let mut routes = ROUTES.clone();
        routes.sort_by_key(|route| turn(route.call));
        for (n, route) in routes.into_iter().enumerate() {
            // An address of its own for each route, so that failed credentials do not get slow.
            let address = [127, 7, 0, u8::try_from(n + 1).expect("few routes")];
            let away = Http::from_address(secured.stranger().base(), address.into());
            let bad = ["ab_nothing", &world.expired.key, &world.revoked.key];
            let [bad, expired, revoked] = bad.map(|key| away.with_key(key));
            for case in cases(route.call, &route.path, &world) {
                let is_open = route.call.need() == Need::Open;
                let is_life = route.call == Call::CheckLife;
                let without = [
                    ("no credential", secured.stranger(), is_open),
                    ("a bad key", &bad, is_life),
                    ("an expired key", &expired, is_life),
                    ("a revoked key", &revoked, is_life),
                ];
                for (who, http, is_let_in) in without {
                    let answer = send(http, &route.method, &case, route.call).await;
                    check(route.call, &case, who, &answer, if is_let_in { 200 } else { 401 });
                }
                for (who, http, expected) in [
                    ("no grant", &world.nothing.http, case.nothing),
                    ("a narrow key", &world.narrow.http, case.narrow),
                    ("every grant", &secured.root, case.right),
                ] {
                    let answer = send(http, &route.method, &case, route.call).await;
                    check(route.call, &case, who, &answer, expected);
                }
            }
        }
    }
}

#[tokio::test]
async fn a_batch_is_checked_item_by_item() {
    let secured = Secured::tuned(Mode::MemorySqlite, &[("WEBHOOK_ALLOW_PRIVATE", "true")]).await;
    let world = World::build(&secured).await;
    let id = uuid::Uuid::now_v7().to_string();
    let mut foreign = message("bob", "message", "");
    foreign["id"] = json!(id);
    secured.root.post_json("/v1/messages", &foreign).await.expect(201);
    // The repeat of another's message is denied before anything of it is answered.
    let batch = [message("ann", "message", ""), foreign.clone(), message("ann", "task", "t1")];
    let answer = world.narrow.http.post_ndjson("/v1/messages/batch", &batch).await.expect(200);
    let results = answer.json();
    let status = |n: usize| results["results"][n]["status"].as_u64();
    assert_eq!([status(0), status(1), status(2)], [Some(201), Some(403), Some(403)], "{results}");
    assert_eq!(results["results"][1]["error"]["needs"], "as bob", "{results}");
    assert_eq!(results["results"][1]["seq"], Value::Null, "{results}");
    assert_eq!((&results["accepted"], &results["rejected"]), (&json!(1), &json!(2)));
}

#[tokio::test]
async fn a_request_is_checked_in_the_contracts_order() {
    let secured = Secured::start(Mode::MemorySqlite).await;
    let nothing = secured.key(json!({})).await;
    let request = async |http: &Http,
                         method: &str,
                         path: &str,
                         headers: &[(&str, &str)],
                         body: &'static str| {
        let method = method.parse().expect("a method");
        http.request(method, path, headers, body).await.expect("an answer").status
    };
    let foreign = ("origin", "https://evil.example");
    let stranger = secured.stranger();
    let host = ("host", "evil.example");
    assert_eq!(request(stranger, "POST", "/v1/nope", &[host, foreign], "x").await, 421);
    assert_eq!(request(stranger, "POST", "/v1/nope", &[foreign], "x").await, 403);
    assert_eq!(request(stranger, "POST", "/v1/nope", &[], "x").await, 401);
    let key = &nothing.http;
    assert_eq!(request(key, "POST", "/v1/nope", &[], "x").await, 404);
    assert_eq!(request(key, "POST", "/v1/keys/x", &[], "x").await, 405);
    assert_eq!(request(key, "POST", "/v1/keys", &[], "x").await, 403);
    assert_eq!(request(key, "POST", "/v1/queues/q/jobs", &[], "x").await, 403);
    assert_eq!(request(key, "POST", "/v1/messages", &[], "x").await, 415);
    let json = ("content-type", "application/json");
    assert_eq!(request(key, "POST", "/v1/messages", &[json], "x").await, 400);
    assert_eq!(request(key, "POST", "/v1/messages", &[json], "{}").await, 422);
    let valid = r#"{"kind":"message","type":"x","sender_id":"ann"}"#;
    assert_eq!(request(key, "POST", "/v1/messages", &[json], valid).await, 403);
}

#[tokio::test]
async fn without_auth_nothing_needs_a_key_and_a_bad_one_is_refused() {
    let deployment = crate::support::Deployment::start(Mode::MemorySqlite).await;
    let http = deployment.http();
    http.get("/v1/messages").await.expect(200);
    http.get("/v1/stats").await.expect(200);
    for path in ["/v1/keys", "/v1/audit"] {
        let refused = http.get(path).await.expect(403).json();
        assert_eq!(refused["needs"], "can keys");
    }
    http.with_key("ab_x").get("/v1/messages").await.expect(401);
    let me = http.get("/v1/me").await.expect(200).json();
    assert_eq!((&me["id"], &me["name"]), (&Value::Null, &json!("anonymous")));
    let posted = http.post_json("/v1/messages", &message("ann", "message", "")).await.expect(201);
    let id = posted.json()["id"].as_str().expect("an id").to_owned();
    assert!(!http.get(&format!("/v1/messages/{id}")).await.expect(200).text().contains("key_id"));
}
