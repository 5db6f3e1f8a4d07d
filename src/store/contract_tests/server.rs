//! The stores that tests run on.

use std::path::PathBuf;
use std::str::FromStr;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use uuid::Uuid;

use crate::store::postgres::PostgresStore;
use crate::store::sqlite::SqliteStore;
use crate::store::{SchemaDifference, Store, StoreError};

/// The data of one test, on which any number of stores can be opened.
pub(crate) enum Server {
    Sqlite(PathBuf),
    Postgres(String),
}

impl Server {
    /// Opens another store on the data, as another process would.
    pub async fn open(&self) -> Box<dyn Store> {
        self.try_open().await.expect("the store opens")
    }

    /// Like [`Self::open`], but returns the error.
    pub async fn try_open(&self) -> Result<Box<dyn Store>, StoreError> {
        Ok(match self {
            Self::Sqlite(dir) => Box::new(SqliteStore::open(dir).await?),
            Self::Postgres(url) => Box::new(PostgresStore::connect(url).await?),
        })
    }

    /// How the schema differs from that of this version.
    pub async fn inspect(&self) -> SchemaDifference {
        match self {
            Self::Sqlite(dir) => SqliteStore::inspect(dir).await.expect("SQLite opens"),
            Self::Postgres(url) => PostgresStore::inspect(url).await.expect("PostgreSQL opens").1,
        }
    }

    /// Runs statements on the data without the store.
    pub async fn sql(&self, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite(dir) => {
                let file = dir.join(crate::store::sqlite::DATABASE_FILE);
                let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file);
                let mut connection = options.connect().await.expect("SQLite opens");
                sqlx::raw_sql(sql).execute(&mut connection).await.expect("SQL runs");
                connection.close().await.expect("SQLite closes");
            }
            Self::Postgres(url) => {
                let mut connection = connect(url).await;
                sqlx::raw_sql(sql).execute(&mut connection).await.expect("SQL runs");
                connection.close().await.expect("PostgreSQL closes");
            }
        }
    }
}

async fn connect(url: &str) -> PgConnection {
    let options = PgConnectOptions::from_str(url).expect("an address");
    options.connect().await.expect("PostgreSQL answers")
}

pub(crate) async fn on_sqlite(test: impl AsyncFnOnce(Server)) {
    let dir = std::env::temp_dir().join(format!("agentbus-store-{}", Uuid::new_v4()));
    test(Server::Sqlite(dir.clone())).await;
    std::fs::remove_dir_all(dir).expect("the directory goes");
}

pub(crate) async fn on_postgres(test: impl AsyncFnOnce(Server)) {
    let Ok(base) = std::env::var("AGENTBUS_TEST_PG_URL") else {
        // `PG_BIN` shows that there is a PostgreSQL: then the tests must run on it.
        assert!(std::env::var_os("PG_BIN").is_none(), "AGENTBUS_TEST_PG_URL is not set");
        eprintln!("skipped on PostgreSQL: AGENTBUS_TEST_PG_URL is not set");
        return;
    };
    let name = format!("agentbus_test_{}", Uuid::new_v4().simple());
    let (server, _) = base.rsplit_once('/').expect("an address with a database");
    let mut admin = connect(&base).await;
    let create = AssertSqlSafe(format!("CREATE DATABASE {name} TEMPLATE template0"));
    sqlx::raw_sql(create).execute(&mut admin).await.expect("a database");
    test(Server::Postgres(format!("{server}/{name}"))).await;
    let drop = AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)"));
    sqlx::raw_sql(drop).execute(&mut admin).await.expect("the database goes");
    admin.close().await.expect("PostgreSQL closes");
}
