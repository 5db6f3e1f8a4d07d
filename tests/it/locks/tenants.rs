//! Two tenants on one nats-server and one PostgreSQL, with the configuration of `deploy/tenants`: whatever one of them has, it
//! opens nothing of the other's.

use std::process::Command;
use std::time::Duration;

use async_nats::jetstream;
use futures_util::{StreamExt as _, TryStreamExt as _};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection, Row as _};

use super::document::Allowed;
use crate::support::folder::Folder;
use crate::support::{
    Agentbus, Http, Nats, Postgres, eventually, exec, jobs, programs, records, within,
};

const LIMIT: Duration = Duration::from_secs(30);
/// How long nothing must arrive. The message that would arrive has been delivered to its own tenant by then.
const SILENCE: Duration = Duration::from_millis(300);
const NATS: &str = include_str!("../../../deploy/tenants/nats.conf");
const DATABASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/tenants/databases.sql");

/// A tenant with its server, its secrets and its messages.
struct Tenant {
    name: &'static str,
    server: Agentbus,
    root: Http,
    pg_url: String,
    folder: Folder,
}

/// Both, and what they share.
struct Both {
    red: Tenant,
    blue: Tenant,
    nats: Nats,
    postgres: Postgres,
}

fn password(tenant: &str, what: &str) -> String {
    format!("p{tenant}{what}")
}

impl Both {
    async fn start() -> Self {
        let mut config = NATS.to_owned();
        for tenant in ["red", "blue"] {
            let variable = format!("${}_NATS_PASSWORD", tenant.to_uppercase());
            let password = password(tenant, "nats");
            assert!(config.contains(&variable), "{variable}");
            // Another user without limits: what that one cannot do, the account prevents.
            let operator = format!(
                "users: [{{ user: {tenant}-operator, password: {password} }}, {{ user: {tenant},"
            );
            config = config
                .replace(&variable, &password)
                .replace(&format!("users: [{{ user: {tenant},"), &operator);
        }
        let nats = Nats::builder().config(&config).start().await;
        let postgres = Postgres::start().await;
        let any = postgres.database().await;
        make_databases(&postgres, &any).await;
        let (red, blue) = tokio::join!(
            Tenant::start("red", &nats, &postgres),
            Tenant::start("blue", &nats, &postgres)
        );
        Self { red, blue, nats, postgres }
    }
}

/// Runs the file as a superuser; then roles need their passwords.
async fn make_databases(postgres: &Postgres, any: &str) {
    let mut psql = Command::new(programs::postgres("psql"));
    psql.args(["-v", "ON_ERROR_STOP=1", "-q", "-f", DATABASES, any]);
    for tenant in ["red", "blue"] {
        let variable = format!("{}_POSTGRES_PASSWORD", tenant.to_uppercase());
        psql.env(variable, password(tenant, "postgres"));
    }
    let made = psql.output().expect("psql runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let rules = "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
    std::fs::write(postgres.files().0.join("pg_hba.conf"), rules).expect("written");
    let mut connection = PgConnection::connect(any).await.expect("connects");
    sqlx::query("SELECT pg_reload_conf()").execute(&mut connection).await.expect("reloads");
    let wrong = pg_url(postgres, "red", "wrong", "red");
    let refused = async || PgConnection::connect(&wrong).await.err();
    eventually(LIMIT, "passwords count", refused).await;
}

fn pg_url(postgres: &Postgres, role: &str, password: &str, database: &str) -> String {
    format!("postgres://{role}:{password}@127.0.0.1:{}/{database}", postgres.port())
}

impl Tenant {
    async fn start(name: &'static str, nats: &Nats, postgres: &Postgres) -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = Folder::new(name);
        let (file, key) = (folder.join("root.key"), format!("ab_root_{}", name.repeat(12)));
        std::fs::write(&file, &key).expect("written");
        let mode = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&file, mode).expect("its mode is set");
        let pg_url = pg_url(postgres, name, &password(name, "postgres"), name);
        let server = Agentbus::builder()
            .nats(&nats.url(), &pg_url)
            .env("NATS_USER", name)
            .env("NATS_PASSWORD", &password(name, "nats"))
            .env("NATS_INBOX_PREFIX", "_INBOX.agentbus")
            .env("AUTH", "required")
            .env("ROOT_KEY_FILE", &file.display().to_string())
            .start()
            .await;
        let root = server.http().with_key(&key);
        Self { name, server, root, pg_url, folder }
    }

    /// Publishes messages that name the tenant; as many as `count`.
    async fn publish(&self, count: usize) {
        for n in 0..count {
            let message = json!({"kind": "message", "type": "note", "sender_id": "ann", "recipient_id": "bob",
                "content": format!("of {} {n}", self.name)});
            self.root.post_json("/v1/messages?ack=committed", &message).await.expect(201);
        }
    }

    async fn client(&self, nats: &Nats, user: &str) -> async_nats::Client {
        let options = async_nats::ConnectOptions::with_user_and_password(
            user.to_owned(),
            password(self.name, "nats"),
        );
        options.connect(nats.url()).await.expect("connects")
    }

    /// A client of its account without limits.
    async fn operator(&self, nats: &Nats) -> async_nats::Client {
        self.client(nats, &format!("{}-operator", self.name)).await
    }

    /// Fails the test if one of its messages is of somebody else, in history or in the stream.
    async fn has_its_own(&self, count: usize) {
        let history = records::history(&self.root, "").await;
        assert_eq!(history.len(), count, "{}", self.name);
        for record in history {
            let content = record.json()["content"].as_str().expect("a text").to_owned();
            assert!(content.starts_with(&format!("of {} ", self.name)), "{}: {content}", self.name);
        }
    }
}

#[test]
fn the_users_of_tenants_have_the_documented_permissions() {
    let quoted = |line: &str| Some(line.trim().strip_prefix('"')?.strip_suffix('"')?.to_owned());
    let allowed = Allowed::of("agentbus");
    let listed: Vec<String> = NATS.lines().filter_map(quoted).collect();
    assert_eq!(listed, [allowed.publish, allowed.subscribe].concat());
}

#[tokio::test]
async fn nothing_crosses_through_nats() {
    let both = Both::start().await;
    let (red, blue) = (&both.red, &both.blue);
    red.publish(3).await;
    blue.publish(5).await;
    let spy = red.operator(&both.nats).await;
    let mut heard = spy.subscribe(">").await.expect("subscribed");
    spy.flush().await.expect("sent");
    blue.publish(1).await;
    jobs::configure(&blue.root, "secret", 30, 3).await;
    jobs::enqueue(&blue.root, "secret", &jobs::job(7)).await;
    // Subjects, replies, acknowledgements and advisories: red hears what red does, and nothing of blue.
    spy.publish("agent.task.end.x", "of red end".into()).await.expect("sent");
    let is_strange = |message: &async_nats::Message| {
        let text = format!("{} {}", message.subject, String::from_utf8_lossy(&message.payload));
        text.contains("blue") || text.contains("secret")
    };
    let own = async {
        loop {
            let message = heard.next().await.expect("a message");
            assert!(!is_strange(&message), "{message:?}");
            if message.subject.as_str() == "agent.task.end.x" {
                return;
            }
        }
    };
    within(LIMIT, "its own message", own).await;
    let silent = tokio::time::timeout(SILENCE, async {
        while let Some(message) = heard.next().await {
            assert!(!is_strange(&message), "{message:?}");
        }
    });
    let _ = silent.await;

    // Streams of the same name are others: sequences, gets, consumers, buckets.
    let (mine, theirs) =
        (jetstream::new(spy.clone()), jetstream::new(blue.operator(&both.nats).await));
    let names: Vec<String> = mine.stream_names().try_collect().await.expect("names");
    assert_eq!(names, ["agent-messages"], "blue's queues have made two more in its account");
    let stream = mine.get_stream("agent-messages").await.expect("its own");
    assert_eq!(stream.cached_info().state.messages, 4);
    assert!(stream.get_raw_message(6).await.is_err(), "blue's sixth message");
    let second = stream.get_raw_message(2).await.expect("its own");
    assert!(String::from_utf8_lossy(&second.payload).contains("of red 1"));
    let direct =
        spy.request("$JS.API.DIRECT.GET.agent-messages", json!({"seq": 6}).to_string().into());
    let direct = direct.await.expect("answered");
    assert_eq!(direct.status.map(|status| status.as_u16()), Some(404));
    let other = theirs.get_stream("agent-messages").await.expect("blue's own");
    let config = jetstream::consumer::pull::Config {
        durable_name: Some("theirs".into()),
        ..Default::default()
    };
    other.create_consumer(config).await.expect("blue's consumer");
    assert!(stream.consumer_info("theirs").await.is_err());
    assert!(stream.delete_consumer("theirs").await.is_err());
    // A bucket of keys and values is such a stream.
    let bucket = jetstream::stream::Config {
        name: "KV_state".into(),
        subjects: vec!["$KV.state.>".into()],
        ..Default::default()
    };
    mine.create_stream(bucket).await.expect("its bucket");
    assert!(theirs.get_stream("KV_state").await.is_err());
    other.consumer_info("theirs").await.expect("it is there still");

    // Red's own user may do less, and the system's subjects are closed to both.
    let user = red.client(&both.nats, "red").await;
    for subject in
        ["$SYS.REQ.SERVER.PING", "$SYS.REQ.ACCOUNT.BLUE.INFO", "$SYS.REQ.SERVER.PING.JSZ"]
    {
        for client in [&user, &spy] {
            let asked = tokio::time::timeout(SILENCE, client.request(subject, "".into())).await;
            assert!(!matches!(asked, Ok(Ok(_))), "{subject}: {asked:?}");
        }
    }
    let wrong =
        async_nats::ConnectOptions::with_user_and_password("blue".into(), password("red", "nats"));
    assert!(wrong.connect(both.nats.url()).await.is_err());

    // Deleting all of its own leaves the other's.
    mine.delete_stream("agent-messages").await.expect("deleted");
    blue.publish(1).await;
    let after =
        theirs.get_stream("agent-messages").await.expect("blue's own").cached_info().state.messages;
    assert_eq!(after, 7);
}

#[tokio::test]
async fn nothing_crosses_through_postgresql() {
    let both = Both::start().await;
    let (red, blue) = (&both.red, &both.blue);
    red.publish(2).await;
    blue.publish(3).await;
    let secret = password("red", "postgres");
    for database in ["blue", "postgres", "template1"] {
        let error = PgConnection::connect(&pg_url(&both.postgres, "red", &secret, database)).await;
        let error = error.expect_err("refused").to_string();
        assert!(error.contains("permission denied for database"), "{error}");
    }
    let error = PgConnection::connect(&pg_url(&both.postgres, "blue", &secret, "blue")).await;
    assert!(error.expect_err("refused").to_string().contains("password authentication failed"));
    let mut mine = PgConnection::connect(&red.pg_url).await.expect("its own database");
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM messages")
        .fetch_one(&mut mine)
        .await
        .expect("counts");
    assert_eq!(count, 2);
    for attempt in [
        "SET ROLE blue",
        "SET SESSION AUTHORIZATION postgres",
        "ALTER ROLE blue PASSWORD 'x'",
        "DROP DATABASE blue",
        "GRANT blue TO red",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'blue'",
        "COPY messages TO PROGRAM 'cat'",
        "COPY messages TO '/tmp/red'",
        "SELECT pg_read_file('pg_hba.conf')",
        "SELECT passwd FROM pg_shadow",
        "CREATE EXTENSION dblink",
    ] {
        let tried = sqlx::query(attempt).execute(&mut mine).await;
        assert!(tried.is_err(), "{attempt}");
    }
    // That blue has sessions can be seen; what they do cannot.
    let sql = "SELECT query FROM pg_stat_activity WHERE usename = 'blue'";
    let seen = sqlx::query(sql).fetch_all(&mut mine).await.expect("readable");
    assert!(!seen.is_empty());
    for row in seen {
        assert_eq!(row.get::<String, _>("query"), "<insufficient privilege>");
    }
    red.has_its_own(2).await;
    blue.has_its_own(3).await;
}

async fn with_cookie(http: &Http, cookie: &str) -> u16 {
    let answer = http.request(Method::GET, "/v1/me", &[("cookie", cookie)], "").await;
    answer.expect("an answer").status
}

#[tokio::test]
async fn nothing_crosses_through_http() {
    let both = Both::start().await;
    let (red, blue) = (&both.red, &both.blue);
    red.publish(3).await;
    blue.publish(6).await;
    let (to_red, to_blue) = (red.server.http(), blue.server.http());

    // Keys: the root's, and one that red has made.
    let grants = json!({"as": ["*"], "publish": ["agent.>"], "read": ["agent.>"], "can": ["keys", "webhooks", "observe"]});
    let made = red.root.post_json("/v1/keys", &json!({"name": "k", "grants": grants})).await;
    let made = made.expect(201).json();
    let key = made["key"].as_str().expect("a key");
    to_red.with_key(key).get("/v1/me").await.expect(200);
    let root = std::fs::read_to_string(red.folder.join("root.key")).expect("readable");
    for key in [key, root.as_str()] {
        let stolen = to_blue.with_key(key);
        for path in
            ["/v1/me", "/v1/messages", "/v1/keys", "/v1/agents/bob/inbox", "/v1/stats", "/metrics"]
        {
            stolen.get(path).await.expect(401);
        }
        let message =
            json!({"kind": "message", "type": "note", "sender_id": "ann", "content": "of red"});
        stolen.post_json("/v1/messages", &message).await.expect(401);
    }
    let id = made["id"].as_str().expect("an id");
    blue.root.delete(&format!("/v1/keys/{id}")).await.expect(404);

    // A session of a browser, and a ticket for a stream.
    let session = red.root.request(Method::POST, "/v1/session", &[], "").await.expect("an answer");
    let cookie = session
        .header("set-cookie")
        .expect("a cookie")
        .split(';')
        .next()
        .expect("a pair")
        .to_owned();
    assert_eq!(
        (with_cookie(&to_red, &cookie).await, with_cookie(&to_blue, &cookie).await),
        (200, 401)
    );
    let ticket = red.root.post_json("/v1/tickets", &json!({"ttl_s": 60})).await.expect(201).json();
    let query = format!("ticket={}&last_event_id=0", ticket["ticket"].as_str().expect("a ticket"));
    to_red.stream(&query, None).await.expect_ready().await;
    let refused = to_blue.try_stream(&query, None).await.expect("an answer");
    assert_eq!(refused.err().expect("no stream").status, 401);

    // A position is a number: at the other's server it is one of the other's messages.
    for (tenant, position) in [(blue, 3), (red, 2)] {
        let mut stream = tenant.root.stream("", Some(position)).await;
        let frames = stream.until(LIMIT, |frame| frame.is("caught_up")).await;
        let texts = frames
            .iter()
            .filter(|frame| frame.is("message"))
            .map(|frame| frame.json()["content"].clone());
        for text in texts {
            assert!(
                text.as_str().expect("a text").starts_with(&format!("of {} ", tenant.name)),
                "{text}"
            );
        }
    }

    // Leases, dead letters, webhooks, inboxes.
    for tenant in [red, blue] {
        jobs::configure(&tenant.root, "builds", 60, 3).await;
        jobs::enqueue(&tenant.root, "builds", &jobs::job(1)).await;
    }
    let (mine, theirs) =
        (jobs::one(&red.root, "builds").await, jobs::one(&blue.root, "builds").await);
    for verb in ["ack", "nack", "extend", "fail"] {
        let refused = jobs::end_bare(&blue.root, &mine, verb).await.expect(422);
        assert_eq!(refused.json()["code"], "invalid_token");
    }
    jobs::end_bare(&red.root, &mine, "ack").await.expect(200);
    jobs::end_bare(&blue.root, &theirs, "ack").await.expect(200);
    let hook = json!({"url": "https://hooks.example/x", "filter": "agent.task.>"});
    let hook = red.root.post_json("/v1/webhooks", &hook).await.expect(201).json();
    let path = format!("/v1/webhooks/{}", hook["id"].as_str().expect("an id"));
    blue.root.get(&path).await.expect(404);
    assert_eq!(
        blue.root.get("/v1/webhooks").await.expect(200).json()["webhooks"],
        Value::Array(Vec::new())
    );
    blue.root.post_json("/v1/agents/bob/inbox/ack", &json!({"through": 6})).await.expect(200);
    let inbox = red.root.get("/v1/agents/bob/inbox").await.expect(200).json();
    assert_eq!(inbox["messages"].as_array().map(Vec::len), Some(3), "{inbox}");
    red.has_its_own(3).await;
    blue.has_its_own(6).await;
}

#[tokio::test]
async fn one_that_fills_its_account_does_not_stop_the_other() {
    let both = Both::start().await;
    let (red, blue) = (&both.red, &both.blue);
    blue.publish(1).await;
    red.publish(1).await;
    // More connections than the role may have.
    let mut held = Vec::new();
    let error = loop {
        match PgConnection::connect(&red.pg_url).await {
            Ok(connection) => held.push(connection),
            Err(error) => break error.to_string(),
        }
        assert!(held.len() <= 60, "there is no limit");
    };
    assert!(error.contains("too many connections"), "{error}");
    blue.publish(2).await;
    exec::consumer(&blue.root).await;
    // More streams than the account may have.
    let jetstream = jetstream::new(red.operator(&both.nats).await);
    let stream = |name: &str| jetstream::stream::Config {
        name: name.into(),
        subjects: vec![format!("{name}.>")],
        ..Default::default()
    };
    let mut refused = None;
    for name in ["a", "b", "c"] {
        refused = jetstream.create_stream(stream(name)).await.err().or(refused);
    }
    assert!(refused.is_some_and(|error| error.to_string().contains("maximum number of streams")));
    jobs::configure(&blue.root, "builds", 30, 3).await;
    jobs::enqueue(&blue.root, "builds", &jobs::job(1)).await;
    blue.publish(1).await;
}
