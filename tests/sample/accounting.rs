//! Row accounting on a real PostgreSQL: who wrote how many rows of `device`, through commits,
//! rollbacks, functions and anonymous blocks, and what is said where it cannot be known.

use std::time::{Duration, Instant};

use headwater::{
    accounting::{Reading as Accounting, Statement},
    config::{Secret, SourceKind},
    sample::{GRANTS, Source},
};
use sqlx::{Connection, postgres::PgConnection};

use super::{
    LONG_INTERVAL, ROWS, assert_contains, assert_counts, at, fleet, reading, source, tables,
};
use crate::servers::postgres::Postgres;

async fn accounting(source: &mut Source, second: i64) -> Accounting {
    let reading = reading(source.sample(at(second)).await);
    assert!(reading.notes.is_empty(), "{:?}", reading.notes);
    reading.accounting.expect("a PostgreSQL fleet is accounted")
}

#[track_caller]
fn find<'a>(accounting: &'a Accounting, part: &str) -> Option<&'a Statement> {
    let counts = &accounting.statements.as_ref().expect("statements are counted").counts;
    let mut found = counts.iter().filter(|one| one.text.as_deref().unwrap_or("").contains(part));
    let first = found.next();
    assert!(found.next().is_none(), "more than one {part} in {counts:?}");
    first
}

#[track_caller]
fn rise(accounting: &Accounting, part: &str) -> i64 {
    let statement = find(accounting, part).unwrap_or_else(|| panic!("no {part}: {accounting:?}"));
    statement.rows - statement.rows_before
}

fn start() -> Option<Postgres> {
    let server = Postgres::start(&[])?;
    let database = server.create_database("fleet");
    server.psql("CREATE ROLE headwater LOGIN; CREATE ROLE ops LOGIN; CREATE ROLE api LOGIN");
    let grants = r#"GRANT ALL ON "device", "migration", "migration status" TO ops, api;
        CREATE FUNCTION unpin_all() RETURNS void LANGUAGE sql AS
            'UPDATE "device" SET "is pinned on-release" = NULL WHERE "id" = 3';"#;
    server.psql_in(database, &(tables("boolean") + ROWS + GRANTS + grants));
    Some(server)
}

/// A session's table counters arrive some time after its statements, at the latest when it has
/// ended.
async fn until_written(server: &Postgres, rows: i64) {
    let sql = "SELECT n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_user_tables \
               WHERE relname = 'device'";
    let deadline = Instant::now() + Duration::from_secs(30);
    while server.psql_in("fleet", sql) != rows.to_string() {
        assert!(Instant::now() < deadline, "{} rows written", server.psql_in("fleet", sql));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn rows_are_accounted_to_statements_and_roles() {
    let Some(server) = start() else { return };
    // What ran before us is nobody's, but its counters are the base of what follows.
    let unpin = r#"SET ROLE ops; UPDATE "device" SET "is pinned on-release" = NULL"#;
    server.psql_in("fleet", unpin);
    server.psql_in("fleet", r#"SET ROLE api; UPDATE "device" SET "update status" = 'idle'"#);
    until_written(&server, 27).await;
    let mut source = fleet(&server.url("headwater", "fleet"));
    let first = accounting(&mut source, 0).await;
    assert!(first.statements.as_ref().unwrap().counts.is_empty(), "nothing ran since we look");
    assert!(first.statements.unwrap().stats_reset.is_some());
    assert_contains(first.wal_lsn.as_deref().unwrap(), "/");
    assert_eq!(first.device.expect("device has counters").written(), 27);

    server.psql_in("fleet", unpin);
    server.psql_in("fleet", r#"SET ROLE ops; SELECT count(*) FROM "device""#);
    until_written(&server, 36).await;
    let second = accounting(&mut source, 15).await;
    let statement = find(&second, "UPDATE \"device\"").expect("it ran in our presence");
    assert_eq!((statement.rows_before, statement.rows), (9, 18));
    assert_eq!((statement.calls_before, statement.calls), (1, 2));
    assert_eq!((statement.role.as_str(), statement.top_level), ("ops", true));
    assert_contains(statement.text.as_deref().unwrap(), "\"is pinned on-release\" = ");
    let carried = &second.statements.as_ref().unwrap().counts;
    assert_eq!(carried.len(), 1, "neither the read nor what did not run: {carried:?}");
    assert_eq!(second.device.unwrap().written(), 36);

    // A rolled-back statement counts: both views say so.
    server
        .psql_in("fleet", r#"SET ROLE ops; BEGIN; DELETE FROM "device" WHERE "id" > 5; ROLLBACK"#);
    until_written(&server, 40).await;
    let third = accounting(&mut source, 30).await;
    assert_eq!(rise(&third, "DELETE FROM"), 4);
    assert_eq!(rise(&third, "UPDATE \"device\""), 0, "an entry stays, cumulatively");
    assert_eq!(third.device.unwrap().deleted, 4);
}

#[tokio::test]
async fn functions_blocks_and_writing_ctes_are_carried_though_their_rows_say_little() {
    let Some(server) = start() else { return };
    let mut source = fleet(&server.url("headwater", "fleet"));
    accounting(&mut source, 0).await;
    server.psql_in("fleet", "SELECT unpin_all()");
    server.psql_in("fleet", r#"DO $$ BEGIN UPDATE "device" SET "update status" = NULL; END $$"#);
    let cte = r#"WITH changed AS (UPDATE "device" SET "is pinned on-release" = 1 RETURNING 1)
        SELECT count(*) FROM changed"#;
    server.psql_in("fleet", cte);
    server.psql_in("fleet", "SELECT count(*) FROM \"application\"");
    until_written(&server, 9 + 19).await;
    let reading = accounting(&mut source, 15).await;
    let block = find(&reading, "DO $$").expect("a block may write");
    assert_eq!((block.rows, block.calls_before, block.calls), (0, 0, 1));
    assert_eq!(rise(&reading, "unpin_all"), 1);
    assert_eq!(rise(&reading, "WITH changed"), 1);
    assert_eq!(reading.statements.unwrap().counts.len(), 3);
    assert_eq!(reading.device.unwrap().updated, 19, "the table counts every row");
}

#[tokio::test]
async fn migrations_and_open_writers_are_seen() {
    let Some(server) = start() else { return };
    let mut source = fleet(&server.url("headwater", "fleet"));
    let migrations = r#"
        INSERT INTO "migration" VALUES ('resin', '["0001-init", "0002-pins"]');
        INSERT INTO "migration status" VALUES
            ('0003-pin-devices', '2019-09-23 22:12:00', NULL, 7, 35000, NULL, '0')"#;
    server.psql_in("fleet", migrations);
    let mut writer = PgConnection::connect(&server.url("ops", "fleet")).await.unwrap();
    let open = r#"SET application_name = 'a script'; BEGIN;
        UPDATE "device" SET "is pinned on-release" = 100"#;
    sqlx::raw_sql(open).execute(&mut writer).await.unwrap();

    let reading = accounting(&mut source, 0).await;
    let migration = &reading.migrations.unwrap()["0003-pin-devices"];
    assert_eq!(
        (migration.run_count, migration.migrated_rows, migration.error_count),
        (7, 35000, 0)
    );
    assert!(!migration.is_backing_off);
    assert_contains(migration.start_time.as_deref().unwrap(), "2019-09-23 22:12:00");
    let executed = reading.executed_migrations.unwrap();
    assert!(executed.contains("resin/0001-init") && executed.contains("resin/0002-pins"));
    let [writer_seen] = &reading.writers[..] else { panic!("{:?}", reading.writers) };
    let pid: i32 =
        sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut writer).await.unwrap();
    assert_eq!((writer_seen.pid, writer_seen.role.as_str()), (pid, "ops"));
    assert_eq!(writer_seen.application_name, "a script");
    assert_eq!(writer_seen.client.as_deref(), Some("127.0.0.1"));
    assert_contains(&writer_seen.statement, "UPDATE \"device\"");
    assert!(writer_seen.transaction_age_s >= 0.0);

    sqlx::raw_sql("COMMIT").execute(&mut writer).await.unwrap();
    assert!(accounting(&mut source, 15).await.writers.is_empty());
}

#[tokio::test]
async fn what_cannot_be_read_is_noted_with_its_remedy_and_costs_no_sample() {
    let Some(server) = start() else { return };
    server.psql("CREATE ROLE modest LOGIN; GRANT CONNECT ON DATABASE fleet TO modest");
    server.psql_in(
        "fleet",
        r#"DROP EXTENSION pg_stat_statements; DROP TABLE "migration";
        GRANT SELECT ON "device", "application" TO modest"#,
    );
    let mut source = fleet(&server.url("modest", "fleet"));
    let reading = reading(source.sample(at(0)).await);
    assert_counts(&reading);
    let notes = reading.notes.join("\n");
    assert_contains(&notes, "CREATE EXTENSION pg_stat_statements");
    assert_contains(&notes, "GRANT pg_read_all_stats TO modest");
    assert_contains(&notes, "GRANT SELECT ON \"migration status\" TO modest");
    assert_contains(&notes, "no table \"migration\"");
    let accounting = reading.accounting.unwrap();
    assert!(accounting.statements.is_none() && accounting.migrations.is_none());
    assert_contains(accounting.statements_lack.as_deref().unwrap(), "CREATE EXTENSION");
    assert!(accounting.device.is_some(), "the table's counters are everybody's");
    assert!(reading.values.contains_key("device_rows_written_total"));
}

#[tokio::test]
async fn the_extension_may_live_in_any_schema_and_not_be_loaded() {
    let Some(server) = Postgres::start(&["shared_preload_libraries="]) else { return };
    let database = server.create_database("fleet");
    server.psql("CREATE ROLE headwater LOGIN");
    server.psql_in(database, &(tables("integer") + ROWS + GRANTS));
    server.psql_in(
        database,
        "CREATE SCHEMA \"Some Place\"; CREATE EXTENSION pg_stat_statements SCHEMA \"Some Place\"; \
         GRANT USAGE ON SCHEMA \"Some Place\" TO headwater",
    );
    let mut source = fleet(&server.url("headwater", database));
    let reading = reading(source.sample(at(0)).await);
    assert_counts(&reading);
    assert_contains(&reading.notes.concat(), "shared_preload_libraries");
    let accounting = reading.accounting.unwrap();
    assert!(accounting.statements.is_none());
    assert!(accounting.migrations.is_some() && accounting.device.is_some());
}

#[tokio::test]
async fn evidence_that_cannot_be_reached_costs_a_note() {
    let Some(server) = start() else { return };
    let nowhere = Some(Secret::new("postgres://headwater:hunter2@127.0.0.1:9/fleet"));
    let url = Secret::new(server.url("headwater", "fleet"));
    let mut source = source(SourceKind::OpenBalena { url, evidence_url: nowhere }, LONG_INTERVAL);
    let reading = reading(source.sample(at(0)).await);
    assert_counts(&reading);
    assert_contains(&reading.notes.concat(), "127.0.0.1:9/fleet");
    assert!(!reading.notes.concat().contains("hunter2"));
    assert!(!reading.values.contains_key("device_rows_written_total"));
}
