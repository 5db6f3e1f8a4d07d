//! Roles of PostgreSQL that lack rights, and connections with TLS and client certificates.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use super::doctor::{about, doctor};
use crate::support::agentbus::Builder;
use crate::support::tls::Tls;
use crate::support::{Agentbus, Nats, Postgres, eventually, exec};

const LIMIT: Duration = Duration::from_secs(60);

async fn sql(url: &str, statements: &str) {
    let mut connection = PgConnection::connect(url).await.expect("connects");
    connection.execute(AssertSqlSafe(statements.to_owned())).await.expect("SQL runs");
}

async fn store_one(server: &Agentbus) {
    let http = server.http();
    http.post_json("/v1/messages?ack=committed", &exec::message("good")).await.expect(201);
}

/// A database of the shared server, whose tables a server has made, and a role of its own.
async fn with_role(nats: &Nats) -> (String, String, String) {
    let owner = Postgres::shared().await.database().await;
    let server = Agentbus::builder().nats(&nats.url(), &owner).start().await;
    store_one(&server).await;
    server.terminate().await;
    let role = format!("role_{:016x}", fastrand::u64(..));
    sql(&owner, &format!("CREATE ROLE {role} LOGIN")).await;
    let url = owner.replace("postgres@", &format!("{role}@"));
    (owner, role, url)
}

#[tokio::test]
async fn a_role_that_does_not_own_the_tables_runs_and_each_right_it_lacks_is_named() {
    let nats = Nats::start().await;
    let (owner, role, url) = with_role(&nats).await;
    let all = "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO";
    sql(&owner, &format!("{all} {role}; REVOKE DELETE ON jobs FROM {role}")).await;
    let server = Agentbus::builder().nats(&nats.url(), &url).start().await;
    store_one(&server).await;
    let lines = [
        format!(
            "role {role} may not create tables in schema public, so it cannot make partitions of messages: \
                 GRANT CREATE ON SCHEMA public TO {role}"
        ),
        format!(
            "role {role} does not own table messages, so it cannot make partitions of it: \
                 ALTER TABLE messages OWNER TO {role}"
        ),
        format!("role {role} may not DELETE rows of table jobs: GRANT DELETE ON jobs TO {role}"),
    ];
    let wanted: Vec<_> = lines.iter().map(|line| format!("bad {line}")).collect();
    assert_eq!(about(&doctor(&server.env(), &[]).await, "rights"), wanted);
    let log = server.log();
    for line in lines {
        assert_eq!(log.lines().filter(|logged| logged.contains(&line)).count(), 1, "{line}\n{log}");
    }
    let healthy =
        doctor(&Agentbus::builder().nats(&nats.url(), &owner).start().await.env(), &[]).await;
    assert_eq!(about(&healthy, "rights"), ["ok the store permits all that a server does"]);
}

#[tokio::test]
async fn a_role_that_may_not_make_the_tables_waits_and_says_so() {
    let nats = Nats::start().await;
    let owner = Postgres::shared().await.database().await;
    let role = format!("role_{:016x}", fastrand::u64(..));
    sql(&owner, &format!("CREATE ROLE {role} LOGIN")).await;
    let url = owner.replace("postgres@", &format!("{role}@"));
    let builder = Agentbus::builder().nats(&nats.url(), &url);
    waits(builder, "permission denied for schema public").await;
    sql(&owner, "REVOKE ALL ON SCHEMA public FROM PUBLIC").await;
    let builder = Agentbus::builder().nats(&nats.url(), &url);
    waits(builder, "the role of DATABASE_URL may use no schema of its search_path").await;
}

/// A server waits for PostgreSQL and says why in one line.
async fn waits(builder: Builder, why: &str) {
    let server = builder.start_listening().await;
    eventually(LIMIT, why, async || server.log().contains(why).then_some(())).await;
    let log = server.log();
    let lines: Vec<_> =
        log.lines().filter(|line| line.contains("waiting for PostgreSQL")).collect();
    assert!(lines.len() == 1 && lines[0].contains(why), "{log}");
    let readyz = server.http().get("/readyz").await.expect(503).text();
    assert!(readyz.contains(&why.replace('"', "\\\"")), "{readyz}");
}

/// Gives a file to the user of PostgreSQL, who alone reads it.
fn install(postgres: &Postgres, name: &str, content: &str) {
    let (data, user) = postgres.files();
    let path = data.join(name);
    std::fs::write(&path, content).expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("its mode");
    if let Some(user) = user {
        std::os::unix::fs::chown(&path, Some(user.uid), Some(user.gid)).expect("its owner");
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[tokio::test]
async fn tls_with_an_authority_of_ones_own_and_a_client_certificate() {
    let (nats, postgres, tls, other) =
        (Nats::start().await, Postgres::start().await, Tls::new(), Tls::new());
    let owner = postgres.database().await;
    sql(&owner, "CREATE ROLE app LOGIN PASSWORD 's3cret'; GRANT CREATE ON SCHEMA public TO app")
        .await;
    for (name, content) in [
        ("server.crt", std::fs::read_to_string(tls.cert()).expect("readable")),
        ("server.key", std::fs::read_to_string(tls.key()).expect("readable")),
        ("ca.crt", tls.ca_pem()),
        (
            "pg_hba.conf",
            "host all postgres 127.0.0.1/32 trust\nhostssl all app 127.0.0.1/32 cert\n".to_owned(),
        ),
    ] {
        install(&postgres, name, &content);
    }
    sql(&owner, "ALTER SYSTEM SET ssl = on").await;
    sql(&owner, "ALTER SYSTEM SET ssl_ca_file = 'ca.crt'").await;
    postgres.restart().await;
    let database = owner.rsplit('/').next().expect("a name");
    let url = |authority: &Tls, certificate: Option<&[String; 2]>| {
        let client = certificate
            .map(|[cert, key]| format!("&sslcert={cert}&sslkey={key}"))
            .unwrap_or_default();
        format!(
            "postgres://app@localhost:{}/{database}?sslmode=verify-full&sslrootcert={}{client}",
            postgres.port(),
            text(&authority.ca())
        )
    };
    let app = tls.files_of("app", &tls.issue_client("app"));
    let bob = tls.files_of("bob", &tls.issue_client("bob"));
    let with = |url: &str| Agentbus::builder().nats(&nats.url(), url);
    let server = with(&url(&tls, Some(&app))).start().await;
    store_one(&server).await;
    let used = "SELECT 1 / count(*)::int FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = 'app' AND ssl";
    sql(&owner, used).await;
    server.terminate().await;
    waits(with(&url(&other, Some(&app))), "invalid peer certificate").await;
    waits(with(&url(&tls, Some(&bob))), "certificate authentication failed for user \"app\"").await;
    waits(with(&url(&tls, None)), "connection requires a valid client certificate").await;

    let password =
        "host all postgres 127.0.0.1/32 trust\nhostssl all app 127.0.0.1/32 scram-sha-256\n";
    install(&postgres, "pg_hba.conf", password);
    sql(&owner, "SELECT pg_reload_conf()").await;
    let wrong = url(&tls, None).replace("app@", "app:wrong@");
    let why = "password authentication failed for user \"app\"";
    let reloaded = async || {
        PgConnection::connect(&wrong).await.err().filter(|error| error.to_string().contains(why))
    };
    eventually(LIMIT, "passwords count", reloaded).await;
    waits(with(&wrong), why).await;
}
