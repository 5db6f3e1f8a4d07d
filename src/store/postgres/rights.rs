//! What the database role of `DATABASE_URL` may do.
//!
//! A server's role owns the tables: only the owner of `messages` can attach partitions to it. A worker's role may be
//! another one, which reads and writes rows.

use sqlx::Error;
use sqlx::postgres::{PgConnection, PgPool};

/// The rights that a server needs and the role lacks, each as a line for an operator.
pub(super) async fn missing(pool: &PgPool) -> Result<Vec<String>, Error> {
    sqlx::query_scalar(
        r"WITH tables AS (
            SELECT relname, relowner, oid FROM pg_class
            WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
          )
          SELECT format('role %I may not create tables in schema %I, so it cannot make partitions of messages: '
                        'GRANT CREATE ON SCHEMA %2$I TO %1$I', current_user, current_schema())
          WHERE NOT has_schema_privilege(current_schema(), 'CREATE')
          UNION ALL
          SELECT format('role %I does not own table messages, so it cannot make partitions of it: '
                        'ALTER TABLE messages OWNER TO %1$I', current_user)
          FROM tables WHERE relname = 'messages' AND NOT pg_has_role(relowner, 'USAGE')
          UNION ALL
          SELECT format('role %I may not %s rows of table %I: GRANT %2$s ON %3$I TO %1$I', current_user, name, relname)
          FROM tables, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS name
          WHERE relname <> '_sqlx_migrations' AND NOT has_table_privilege(oid, name)",
    )
    .fetch_all(pool)
    .await
}

/// Whether the role may create tables.
///
/// # Errors
/// A line for an operator if it may use no schema at all.
pub(super) async fn may_create(
    connection: &mut PgConnection,
) -> Result<Result<bool, String>, Error> {
    let sql = "SELECT has_schema_privilege(current_schema(), 'CREATE')";
    let may: Option<bool> = sqlx::query_scalar(sql).fetch_one(connection).await?;
    Ok(may.ok_or_else(|| {
        "the role of DATABASE_URL may use no schema of its search_path: GRANT USAGE, CREATE ON SCHEMA public TO it"
            .to_owned()
    }))
}
