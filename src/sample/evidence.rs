//! What counts written rows in PostgreSQL, and the platform's own account of its migrations. Read
//! after the fleet, in a transaction of its own that sees the present, under a short limit: each
//! part that cannot be read costs only itself, and a note that names what would help. Whose rows
//! explain which flow is decided by `diagnose`.

use sqlx::{Row, postgres::PgConnection};

use super::{
    database::{APPLICATION_NAME, Isolation, Limits, Postgres},
    failure, migrations,
    schema::{APPLICATION, DEVICE},
    statement_queries::read_statements,
    statements::Tracker,
};
use crate::{
    accounting::{self, OpenWriter, TableCounters},
    observation::{FailureReason, Reading},
};

/// What the role `headwater` needs in an open-balena database, and nothing else.
pub const GRANTS: &str = "\
GRANT SELECT ON \"device\", \"application\", \"migration\", \"migration status\" TO headwater;
GRANT pg_read_all_stats TO headwater;
";

/// Of the statement of an open writer, what is shown, in characters.
const WRITER_CHARS_MAX: i32 = 1_000;

/// Open writers that are named, oldest first.
const WRITERS_MAX: i64 = 20;

/// Reads evidence, and remembers what statements had counted before.
#[derive(Debug)]
pub(super) struct Evidence {
    source: String,
    tracker: Tracker,
}

/// What the server is and what we may do there.
struct Facts {
    role: String,
    is_replica: bool,
    reads_all_stats: bool,
    device: Option<i64>,
    /// `None`: there is no such table.
    may_read_status: Option<bool>,
    may_read_migrations: Option<bool>,
    /// Quoted schema and version of `pg_stat_statements`.
    extension: Option<(String, String)>,
}

impl Evidence {
    /// For the source of this name.
    pub(super) fn new(source: &str) -> Evidence {
        Evidence { source: source.to_owned(), tracker: Tracker::default() }
    }

    /// Adds to `reading` what can be read within `limits`.
    pub(super) async fn read_into(
        &mut self,
        server: &mut Postgres,
        limits: &Limits,
        reading: &mut Reading,
    ) {
        let mut accounting = accounting::Reading::default();
        let mut notes = Vec::new();
        let whole = limits.connect + limits.statement;
        let source = self.source.clone();
        let place = server.place();
        let attempt = self.read(server, limits, &mut accounting, &mut notes);
        // What was read before the time was over is kept.
        if let Err(error) = failure::within("the evidence queries", whole, attempt).await {
            let asked = format!("read evidence at {place}");
            notes.push(failure::of_database(&source, &asked, &error).message);
        }
        if let Some(counters) = &accounting.device {
            let written = counters.written() as f64;
            reading.values.insert("device_rows_written_total".to_owned(), written);
        }
        reading.notes.append(&mut notes);
        reading.accounting = Some(accounting);
    }

    async fn read(
        &mut self,
        server: &mut Postgres,
        limits: &Limits,
        into: &mut accounting::Reading,
        notes: &mut Vec<String>,
    ) -> Result<(), sqlx::Error> {
        let mut connection = server.begin(Isolation::Present, limits).await?;
        let answer = self.read_parts(&mut connection, into, notes).await;
        match answer {
            Ok(()) => server.commit(connection).await,
            Err(error) => {
                server.rollback(connection).await;
                Err(error)
            }
        }
    }

    async fn read_parts(
        &mut self,
        connection: &mut PgConnection,
        into: &mut accounting::Reading,
        notes: &mut Vec<String>,
    ) -> Result<(), sqlx::Error> {
        let facts = read_facts(connection).await?;
        let source = self.source.clone();
        let mut parts = Parts { source: &source, notes };

        parts.begin(connection).await?;
        let answer = read_wal_lsn(connection).await;
        into.wal_lsn = parts.end(connection, "the WAL position", answer).await?;

        if parts.may_read(migrations::STATUS, facts.may_read_status, &facts.role) {
            parts.begin(connection).await?;
            let answer = migrations::read_status(connection).await;
            into.migrations = parts.end(connection, "\"migration status\"", answer).await?;
        }
        if parts.may_read(migrations::EXECUTED, facts.may_read_migrations, &facts.role) {
            parts.begin(connection).await?;
            let answer = migrations::read_executed(connection).await;
            into.executed_migrations = parts.end(connection, "\"migration\"", answer).await?;
        }
        if facts.is_replica {
            into.statements_lack = Some(parts.note(
                "statistics of written rows are kept by the primary, and this is a replica: set \
                 the source's evidence_url to the primary",
            ));
            return Ok(());
        }
        if !facts.reads_all_stats {
            into.statements_lack = Some(parts.note(&format!(
                "role {role} cannot see the statements of other roles: who wrote rows stays \
                 unknown; run GRANT pg_read_all_stats TO {role}",
                role = facts.role
            )));
        }
        if let Some(device) = facts.device {
            parts.begin(connection).await?;
            let answer = read_table_counters(connection, device).await;
            into.device = parts.end(connection, "pg_stat_user_tables", answer).await?.flatten();

            parts.begin(connection).await?;
            let answer = read_writers(connection, device).await;
            into.writers =
                parts.end(connection, "pg_stat_activity", answer).await?.unwrap_or_default();
        }
        match &facts.extension {
            None => {
                into.statements_lack = Some(parts.note(
                    "rows cannot be accounted to statements without pg_stat_statements: add it to \
                     shared_preload_libraries, restart PostgreSQL and run CREATE EXTENSION \
                     pg_stat_statements",
                ));
            }
            Some((schema, version)) if facts.reads_all_stats => {
                parts.begin(connection).await?;
                let answer = read_statements(connection, &mut self.tracker, schema, version).await;
                let what = "pg_stat_statements (is it in shared_preload_libraries?)";
                into.statements = parts.end(connection, what, answer).await?;
            }
            Some(_) => {}
        }
        Ok(())
    }
}

/// Keeps the parts of a reading apart: each behind a savepoint, so that one that fails takes no
/// other with it.
struct Parts<'a> {
    source: &'a str,
    notes: &'a mut Vec<String>,
}

impl Parts<'_> {
    /// Notes `text`, and gives it back for who else has to say it.
    fn note(&mut self, text: &str) -> String {
        self.notes.push(format!("source \"{}\": {text}", self.source));
        text.to_owned()
    }

    fn may_read(&mut self, table: &str, may_read: Option<bool>, role: &str) -> bool {
        match may_read {
            Some(true) => return true,
            Some(false) => self.note(&format!(
                "role {role} may not read \"{table}\": migrations cannot be named; run GRANT \
                 SELECT ON \"{table}\" TO {role}"
            )),
            None => self.note(&format!(
                "there is no table \"{table}\" on the role's search_path: migrations cannot be \
                 named"
            )),
        };
        false
    }

    async fn begin(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        sqlx::raw_sql("SAVEPOINT part").execute(connection).await.map(|_| ())
    }

    /// `None`, with a note, if the part could not be read; an error if nothing else can be either.
    async fn end<T>(
        &mut self,
        connection: &mut PgConnection,
        what: &str,
        answer: Result<T, sqlx::Error>,
    ) -> Result<Option<T>, sqlx::Error> {
        match answer {
            Ok(value) => Ok(Some(value)),
            Err(error) if failure::reason_of(&error) == FailureReason::Connection => Err(error),
            Err(error) => {
                sqlx::raw_sql("ROLLBACK TO SAVEPOINT part").execute(connection).await?;
                let asked = format!("read {what}");
                self.notes.push(failure::of_database(self.source, &asked, &error).message);
                Ok(None)
            }
        }
    }
}

async fn read_facts(connection: &mut PgConnection) -> Result<Facts, sqlx::Error> {
    let sql = "SELECT CAST(quote_ident(current_user) AS text) AS role, \
               pg_is_in_recovery() AS is_replica, \
               pg_has_role('pg_read_all_stats', 'USAGE') AS reads_all_stats, \
               CAST(CAST(to_regclass(quote_ident($1)) AS oid) AS bigint) AS device, \
               has_table_privilege(CAST(to_regclass('\"migration status\"') AS oid), 'SELECT') \
               AS may_read_status, \
               has_table_privilege(CAST(to_regclass('\"migration\"') AS oid), 'SELECT') \
               AS may_read_migrations, \
               (SELECT CAST(quote_ident(space.nspname) AS text) FROM pg_extension AS extension \
               JOIN pg_namespace AS space ON space.oid = extension.extnamespace \
               WHERE extension.extname = 'pg_stat_statements') AS schema, \
               (SELECT extversion FROM pg_extension WHERE extname = 'pg_stat_statements') \
               AS version";
    let row = sqlx::query(sql).persistent(false).bind(DEVICE).fetch_one(connection).await?;
    let schema: Option<String> = row.try_get("schema")?;
    let version: Option<String> = row.try_get("version")?;
    Ok(Facts {
        role: row.try_get("role")?,
        is_replica: row.try_get("is_replica")?,
        reads_all_stats: row.try_get("reads_all_stats")?,
        device: row.try_get("device")?,
        may_read_status: row.try_get("may_read_status")?,
        may_read_migrations: row.try_get("may_read_migrations")?,
        extension: schema.zip(version),
    })
}

async fn read_wal_lsn(connection: &mut PgConnection) -> Result<String, sqlx::Error> {
    let sql = "SELECT CAST(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() \
               ELSE pg_current_wal_lsn() END AS text)";
    sqlx::query(sql).persistent(false).fetch_one(connection).await?.try_get(0)
}

/// Missing only between the creation of a table and its first statistics.
async fn read_table_counters(
    connection: &mut PgConnection,
    device: i64,
) -> Result<Option<TableCounters>, sqlx::Error> {
    let sql = "SELECT n_tup_ins, n_tup_upd, n_tup_del FROM pg_catalog.pg_stat_user_tables \
               WHERE relid = CAST($1 AS oid)";
    let row = sqlx::query(sql).persistent(false).bind(device).fetch_optional(connection).await?;
    row.map(|row| {
        Ok(TableCounters {
            inserted: row.try_get(0)?,
            updated: row.try_get(1)?,
            deleted: row.try_get(2)?,
        })
    })
    .transpose()
}

/// Other sessions whose open transaction has taken the lock that writing rows of `device` takes. A
/// vacuum takes another one.
async fn read_writers(
    connection: &mut PgConnection,
    device: i64,
) -> Result<Vec<OpenWriter>, sqlx::Error> {
    let sql = "SELECT activity.pid, CAST(coalesce(activity.usename, '') AS text) AS role, \
               coalesce(activity.application_name, '') AS application_name, \
               host(activity.client_addr) AS client, \
               left(coalesce(activity.query, ''), $2) AS statement, \
               CAST(coalesce(extract(epoch FROM clock_timestamp() - activity.xact_start), 0) \
               AS double precision) AS age_s \
               FROM pg_catalog.pg_locks AS held \
               JOIN pg_catalog.pg_stat_activity AS activity ON activity.pid = held.pid \
               WHERE held.locktype = 'relation' AND held.relation = CAST($1 AS oid) \
               AND held.database = (SELECT oid FROM pg_database \
               WHERE datname = current_database()) \
               AND held.mode = 'RowExclusiveLock' AND held.granted \
               AND activity.pid <> pg_backend_pid() \
               AND activity.application_name IS DISTINCT FROM $3 \
               AND activity.backend_type <> 'autovacuum worker' \
               ORDER BY activity.xact_start LIMIT $4";
    let rows = sqlx::query(sql)
        .persistent(false)
        .bind(device)
        .bind(WRITER_CHARS_MAX)
        .bind(APPLICATION_NAME)
        .bind(WRITERS_MAX)
        .fetch_all(connection)
        .await?;
    let writers = rows.iter().map(|row| {
        Ok(OpenWriter {
            pid: row.try_get("pid")?,
            role: row.try_get("role")?,
            application_name: row.try_get("application_name")?,
            client: row.try_get("client")?,
            statement: row.try_get("statement")?,
            transaction_age_s: row.try_get("age_s")?,
        })
    });
    writers.collect()
}

/// Who holds the lock that a sample could not get, in words; `None` if it is gone or cannot be
/// seen.
pub(super) async fn lock_holder(server: &mut Postgres, limits: &Limits) -> Option<String> {
    let sql = "SELECT activity.pid, CAST(coalesce(activity.usename, '') AS text), \
               coalesce(activity.application_name, ''), \
               left(coalesce(activity.query, ''), $3) FROM pg_catalog.pg_locks AS held \
               JOIN pg_catalog.pg_stat_activity AS activity ON activity.pid = held.pid \
               WHERE held.locktype = 'relation' AND held.granted \
               AND held.mode = 'AccessExclusiveLock' \
               AND held.relation IN (CAST(to_regclass(quote_ident($1)) AS oid), \
               CAST(to_regclass(quote_ident($2)) AS oid)) LIMIT 1";
    let look = async {
        let mut connection = server.begin(Isolation::Present, limits).await.ok()?;
        let answer = sqlx::query(sql)
            .persistent(false)
            .bind(DEVICE)
            .bind(APPLICATION)
            .bind(WRITER_CHARS_MAX)
            .fetch_optional(&mut connection)
            .await;
        server.rollback(connection).await;
        let row = answer.ok()??;
        let pid: i32 = row.try_get(0).ok()?;
        let role: String = row.try_get(1).ok()?;
        let application_name: String = row.try_get(2).ok()?;
        let statement: String = row.try_get(3).ok()?;
        Some(format!(
            "held by process {pid} of role \"{role}\" (application \"{application_name}\"), \
             whose last statement is: {statement}"
        ))
    };
    tokio::time::timeout(limits.connect + limits.statement, look).await.ok().flatten()
}
