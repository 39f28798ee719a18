//! Reading `pg_stat_statements` and what its texts refer to. Which entries matter, and what they
//! had counted before, is decided in `statements`.

use std::collections::BTreeSet;

use futures_util::TryStreamExt;
use sqlx::{AssertSqlSafe, Row, postgres::PgConnection};

use super::statements::{Counters, Identity, Tracker};
use crate::accounting::Statements;

/// More entries than PostgreSQL keeps unless told otherwise (5,000), times twenty.
const STATEMENTS_MAX: usize = 100_000;

/// Of a statement, what is looked through for its table, in characters.
const TEXT_READ_CHARS_MAX: i32 = 16_000;

/// Functions that may write: more than any platform has.
const FUNCTIONS_MAX: i64 = 5_000;

/// Counters of every entry without texts, then the texts of those that ran for the first time in
/// our presence. `schema` is quoted.
pub(super) async fn read_statements(
    connection: &mut PgConnection,
    tracker: &mut Tracker,
    schema: &str,
    version: &str,
) -> Result<Statements, sqlx::Error> {
    // Since 1.9 (PostgreSQL 14) entries know their nesting, and the view its resets.
    let is_recent = is_at_least(version, (1, 9));
    let (stats_reset, evictions) =
        if is_recent { read_info(connection, schema).await? } else { (None, None) };
    let top_level = if is_recent { "entry.toplevel" } else { "true" };
    let sql = format!(
        "SELECT CAST(entry.userid AS bigint), entry.queryid, {top_level}, entry.rows, entry.calls \
         FROM {schema}.pg_stat_statements(false) AS entry WHERE entry.queryid IS NOT NULL \
         AND entry.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())"
    );
    let mut counts = Vec::new();
    let query = sqlx::query(AssertSqlSafe(sql)).persistent(false);
    let mut rows = query.fetch(&mut *connection);
    while let Some(row) = rows.try_next().await? {
        let identity =
            Identity { user: row.try_get(0)?, query: row.try_get(1)?, top_level: row.try_get(2)? };
        counts.push((identity, Counters { rows: row.try_get(3)?, calls: row.try_get(4)? }));
        if counts.len() > STATEMENTS_MAX {
            let message =
                format!("more than {STATEMENTS_MAX} entries: lower pg_stat_statements.max");
            return Err(sqlx::Error::Decode(message.into()));
        }
    }
    drop(rows);
    tracker.observe(counts, stats_reset.as_deref());
    let unread = tracker.unread();
    if !unread.is_empty() {
        read_texts(connection, tracker, schema, top_level, &unread).await?;
    }
    Ok(Statements { counts: tracker.report(), stats_reset, evictions })
}

async fn read_info(
    connection: &mut PgConnection,
    schema: &str,
) -> Result<(Option<String>, Option<i64>), sqlx::Error> {
    let sql =
        format!("SELECT CAST(stats_reset AS text), dealloc FROM {schema}.pg_stat_statements_info");
    let row = sqlx::query(AssertSqlSafe(sql)).persistent(false).fetch_one(&mut *connection).await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}

async fn read_texts(
    connection: &mut PgConnection,
    tracker: &mut Tracker,
    schema: &str,
    top_level: &str,
    unread: &[Identity],
) -> Result<(), sqlx::Error> {
    let functions = read_functions(connection).await?;
    let sql = format!(
        "SELECT CAST(entry.userid AS bigint), entry.queryid, {top_level}, \
         CAST(pg_get_userbyid(entry.userid) AS text), left(entry.query, $4) \
         FROM {schema}.pg_stat_statements(true) AS entry \
         JOIN unnest($1, $2, $3) AS wanted (user_id, query_id, top_level) \
         ON CAST(entry.userid AS bigint) = wanted.user_id AND entry.queryid = wanted.query_id \
         AND {top_level} = wanted.top_level \
         WHERE entry.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())"
    );
    let query = sqlx::query(AssertSqlSafe(sql))
        .persistent(false)
        .bind(unread.iter().map(|identity| identity.user).collect::<Vec<i64>>())
        .bind(unread.iter().map(|identity| identity.query).collect::<Vec<i64>>())
        .bind(unread.iter().map(|identity| identity.top_level).collect::<Vec<bool>>())
        .bind(TEXT_READ_CHARS_MAX);
    let mut rows = query.fetch(&mut *connection);
    while let Some(row) = rows.try_next().await? {
        let identity =
            Identity { user: row.try_get(0)?, query: row.try_get(1)?, top_level: row.try_get(2)? };
        let role: String = row.try_get(3)?;
        // NULL if the server lost its file of texts: read it again another time.
        if let Some(text) = row.try_get::<Option<String>, _>(4)? {
            tracker.classify(&identity, &role, &text, &functions);
        }
    }
    Ok(())
}

/// Names of functions of the platform itself that may write: neither PostgreSQL's nor an
/// extension's, and declared to have side effects, as all are that do not say otherwise.
async fn read_functions(connection: &mut PgConnection) -> Result<BTreeSet<String>, sqlx::Error> {
    let sql = "SELECT DISTINCT CAST(function.proname AS text) FROM pg_catalog.pg_proc AS function \
               JOIN pg_namespace AS space ON space.oid = function.pronamespace \
               WHERE space.nspname NOT IN ('pg_catalog', 'information_schema') \
               AND function.provolatile = 'v' \
               AND function.prorettype <> CAST('trigger' AS regtype) \
               AND NOT EXISTS (SELECT 1 FROM pg_depend AS dependency \
               WHERE dependency.classid = CAST('pg_proc' AS regclass) \
               AND dependency.objid = function.oid AND dependency.deptype = 'e') LIMIT $1";
    let rows =
        sqlx::query(sql).persistent(false).bind(FUNCTIONS_MAX).fetch_all(&mut *connection).await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}

/// Compares `1.10` with `(1, 9)` by numbers.
fn is_at_least(version: &str, least: (u32, u32)) -> bool {
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= least
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_numbers() {
        assert!(is_at_least("1.10", (1, 9)));
        assert!(is_at_least("1.9", (1, 9)));
        assert!(!is_at_least("1.8", (1, 9)));
        assert!(is_at_least("2.0", (1, 9)));
    }
}
