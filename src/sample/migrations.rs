//! The platform's own account of its migrations, on either database: `"migration status"` has the
//! asynchronous ones and stays for ever, `"migration"` lists those that ran in one transaction with
//! their rows. Reads and folds; which of them runs is decided by `diagnose`.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::{ColumnIndex, Decode, Row, Type, postgres::PgConnection, sqlite::SqliteConnection};

use super::{
    database::{Limits, Sqlite},
    failure,
};
use crate::{
    accounting::{self, Migration},
    observation::Reading,
};

/// Asynchronous migrations, by key.
pub(super) const STATUS: &str = "migration status";
/// Executed migrations, by model.
pub(super) const EXECUTED: &str = "migration";

/// Asynchronous and executed migrations: more than any platform has.
const MIGRATIONS_MAX: i64 = 5_000;
const EXECUTED_MAX: usize = 20_000;

/// Valid for PostgreSQL and SQLite. Flags are boolean or integer, counts may be NULL. Columns carry
/// their table's name: SQLite takes a bare quoted name that it does not know for a string.
const STATUS_SQL: &str = r#"
SELECT CAST(status."migration key" AS text) AS key,
    coalesce(CAST(status."run count" AS bigint), 0) AS run_count,
    coalesce(CAST(status."migrated row count" AS bigint), 0) AS migrated_rows,
    coalesce(CAST(status."error count" AS bigint), 0) AS error_count,
    coalesce(CAST(status."is backing off" AS integer), 0) <> 0 AS is_backing_off,
    CAST(status."start time" AS text) AS start_time,
    CAST(status."last run time" AS text) AS last_run_time
FROM "migration status" AS status ORDER BY 1 LIMIT $1"#;

/// Valid for both too.
const EXECUTED_SQL: &str = r#"
SELECT CAST(model."model name" AS text) AS model,
    CAST(model."executed migrations" AS text) AS keys
FROM "migration" AS model"#;

/// Why rows are not accounted to statements where the fleet is an SQLite file.
const NO_STATEMENTS: &str = "an SQLite database keeps no statistics of statements";

pub(super) async fn read_status(
    connection: &mut PgConnection,
) -> Result<BTreeMap<String, Migration>, sqlx::Error> {
    let query = sqlx::query(STATUS_SQL).persistent(false).bind(MIGRATIONS_MAX);
    status_of(&query.fetch_all(connection).await?)
}

pub(super) async fn read_executed(
    connection: &mut PgConnection,
) -> Result<BTreeSet<String>, sqlx::Error> {
    let query = sqlx::query(EXECUTED_SQL).persistent(false);
    executed_of(&query.fetch_all(connection).await?)
}

/// Adds to `reading` what an SQLite file tells of migrations, in a transaction of its own: what
/// fails costs a note. Nothing there counts rows by table or statement.
pub(super) async fn read_sqlite_into(
    source: &str,
    file: &mut Sqlite,
    limits: &Limits,
    reading: &mut Reading,
) {
    let mut accounting = accounting::Reading {
        statements_lack: Some(NO_STATEMENTS.to_owned()),
        ..accounting::Reading::default()
    };
    let whole = limits.connect + limits.statement;
    let place = file.place();
    let attempt = read_sqlite(source, file, limits, &mut accounting, &mut reading.notes);
    // What was read before the time was over is kept.
    if let Err(error) = failure::within("the migration tables", whole, attempt).await {
        let asked = format!("read the migration tables at {place}");
        reading.notes.push(failure::of_database(source, &asked, &error).message);
    }
    reading.accounting = Some(accounting);
}

/// After an error the connection is dropped: opening a file costs next to nothing.
async fn read_sqlite(
    source: &str,
    file: &mut Sqlite,
    limits: &Limits,
    into: &mut accounting::Reading,
    notes: &mut Vec<String>,
) -> Result<(), sqlx::Error> {
    let mut connection = file.begin(limits).await?;
    if has_table(&mut connection, STATUS, source, notes).await? {
        let query = sqlx::query(STATUS_SQL).bind(MIGRATIONS_MAX);
        let answer = query.fetch_all(&mut connection).await;
        into.migrations = part(answer.and_then(|rows| status_of(&rows)), STATUS, source, notes);
    }
    if has_table(&mut connection, EXECUTED, source, notes).await? {
        let answer = sqlx::query(EXECUTED_SQL).fetch_all(&mut connection).await;
        let executed = answer.and_then(|rows| executed_of(&rows));
        into.executed_migrations = part(executed, EXECUTED, source, notes);
    }
    file.commit(connection).await
}

async fn has_table(
    connection: &mut SqliteConnection,
    table: &str,
    source: &str,
    notes: &mut Vec<String>,
) -> Result<bool, sqlx::Error> {
    let sql = "SELECT count(*) > 0 FROM sqlite_master WHERE name = $1";
    let is_there: bool = sqlx::query_scalar(sql).bind(table).fetch_one(connection).await?;
    if !is_there {
        notes.push(format!(
            "source \"{source}\": there is no table \"{table}\": migrations cannot be named"
        ));
    }
    Ok(is_there)
}

/// `None`, with a note, if one of the tables is not as we know it: the other may be.
fn part<T>(
    answer: Result<T, sqlx::Error>,
    table: &str,
    source: &str,
    notes: &mut Vec<String>,
) -> Option<T> {
    match answer {
        Ok(value) => Some(value),
        Err(error) => {
            let asked = format!("read \"{table}\"");
            notes.push(failure::of_database(source, &asked, &error).message);
            None
        }
    }
}

fn status_of<'r, R: Row>(rows: &'r [R]) -> Result<BTreeMap<String, Migration>, sqlx::Error>
where
    &'static str: ColumnIndex<R>,
    bool: Decode<'r, R::Database> + Type<R::Database>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
    String: Decode<'r, R::Database> + Type<R::Database>,
{
    let migrations = rows.iter().map(|row| {
        let migration = Migration {
            run_count: row.try_get("run_count")?,
            migrated_rows: row.try_get("migrated_rows")?,
            error_count: row.try_get("error_count")?,
            is_backing_off: row.try_get("is_backing_off")?,
            start_time: row.try_get("start_time")?,
            last_run_time: row.try_get("last_run_time")?,
        };
        Ok((row.try_get("key")?, migration))
    });
    migrations.collect()
}

fn executed_of<'r, R: Row>(rows: &'r [R]) -> Result<BTreeSet<String>, sqlx::Error>
where
    &'static str: ColumnIndex<R>,
    String: Decode<'r, R::Database> + Type<R::Database>,
{
    let mut executed = BTreeSet::new();
    for row in rows {
        let model: String = row.try_get("model")?;
        let list: Option<String> = row.try_get("keys")?;
        let keys = migration_keys(list.as_deref().unwrap_or("[]"))
            .map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
        executed.extend(keys.into_iter().map(|key| format!("{model}/{key}")));
    }
    while executed.len() > EXECUTED_MAX {
        // Keys begin with a number that grows: the oldest go.
        executed.pop_first();
    }
    Ok(executed)
}

/// The list is JSON, or a JSON string that holds JSON where the column is text written twice over.
fn migration_keys(list: &str) -> Result<Vec<String>, serde_json::Error> {
    match serde_json::from_str(list)? {
        serde_json::Value::String(inner) => serde_json::from_str(&inner),
        other => serde_json::from_value(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executed_migrations_are_a_list_or_a_list_in_a_string() {
        assert_eq!(migration_keys(r#"["0001", "0002-b"]"#).unwrap(), ["0001", "0002-b"]);
        assert_eq!(migration_keys(r#""[\"0001\"]""#).unwrap(), ["0001"]);
        assert!(migration_keys("{}").is_err());
    }
}
