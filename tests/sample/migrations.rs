//! Migrations as both databases tell them, and what is said where they cannot be known.

use headwater::accounting::{Migration, Reading as Accounting};

use super::{ROWS, assert_contains, assert_counts, at, fleet, reading, sqlite, tables};
use crate::servers::postgres::Postgres;

const MIGRATIONS: &str = r#"
INSERT INTO "migration" VALUES ('resin', '["0001-init", "0002-pins"]'), ('service', '[]');
INSERT INTO "migration status" VALUES
    ('0003-pin-devices', '2019-09-23 22:12:00', NULL, 7, 35000, NULL, '0'),
    ('0001-long-ago', '2018-01-01 00:00:00', '2019-09-23 22:00:00', 90, NULL, 2, '1');"#;

#[tokio::test]
async fn migrations_are_the_same_on_both_databases_and_for_both_flag_types() {
    let directory = tempfile::tempdir().unwrap();
    let mut accounts = Vec::new();
    for flag in ["boolean", "integer"] {
        let path = directory.path().join(flag);
        sqlite(&path, &(tables(flag) + ROWS + MIGRATIONS)).await;
        let mut source = fleet(&format!("sqlite://{}", path.display()));
        let reading = reading(source.sample(at(0)).await);
        assert_counts(&reading);
        assert!(reading.notes.is_empty(), "{:?}", reading.notes);
        assert!(!reading.values.contains_key("device_rows_written_total"), "nothing counts them");
        accounts.push(reading.accounting.unwrap());
    }
    let lack = accounts[0].statements_lack.as_deref().expect("SQLite has no such statistics");
    assert!(lack.contains("SQLite") && !lack.contains("pg_") && !lack.contains("GRANT"), "{lack}");
    let of_sqlite = &accounts[0];
    assert!(of_sqlite.statements.is_none() && of_sqlite.device.is_none());
    assert!(of_sqlite.wal_lsn.is_none() && of_sqlite.writers.is_empty());
    if let Some(server) = Postgres::start(&[]) {
        for flag in ["boolean", "integer"] {
            server.create_database(flag);
            server.psql_in(flag, &(tables(flag) + ROWS + MIGRATIONS));
            let mut source = fleet(&server.url("postgres", flag));
            let accounting = reading(source.sample(at(0)).await).accounting.unwrap();
            assert_eq!(accounting.statements_lack, None);
            accounts.push(accounting);
        }
    }
    for Accounting { migrations, executed_migrations, .. } in &accounts {
        let migrations = migrations.as_ref().expect("the table is there");
        assert_eq!(migrations.keys().collect::<Vec<_>>(), ["0001-long-ago", "0003-pin-devices"]);
        let running = Migration {
            run_count: 7,
            migrated_rows: 35_000,
            error_count: 0,
            is_backing_off: false,
            start_time: Some("2019-09-23 22:12:00".to_owned()),
            last_run_time: None,
        };
        assert_eq!(migrations["0003-pin-devices"], running);
        let old = &migrations["0001-long-ago"];
        assert!(old.is_backing_off);
        assert_eq!((old.run_count, old.migrated_rows, old.error_count), (90, 0, 2));
        let executed = executed_migrations.as_ref().expect("the table is there");
        assert_eq!(executed.iter().collect::<Vec<_>>(), ["resin/0001-init", "resin/0002-pins"]);
    }
}

#[tokio::test]
async fn a_running_migration_moves_between_two_samples_of_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fleet.db");
    sqlite(&path, &(tables("boolean") + ROWS)).await;
    let mut source = fleet(&format!("sqlite://{}", path.display()));
    let before = reading(source.sample(at(0)).await).accounting.unwrap();
    assert_eq!(before.migrations, Some([].into()), "known to be none, not unknown");
    sqlite(&path, MIGRATIONS).await;
    let ran = r#"UPDATE "migration status" SET "run count" = 8, "migrated row count" = 36000
        WHERE "migration key" = '0003-pin-devices'"#;
    sqlite(&path, ran).await;
    let now = reading(source.sample(at(15)).await).accounting.unwrap();
    let running = &now.migrations.unwrap()["0003-pin-devices"];
    assert_eq!((running.run_count, running.migrated_rows), (8, 36_000));
}

#[tokio::test]
async fn a_migration_table_of_a_file_that_is_missing_or_strange_costs_only_itself() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fleet.db");
    sqlite(&path, &(tables("boolean") + ROWS + MIGRATIONS)).await;
    sqlite(&path, r#"ALTER TABLE "migration status" RENAME COLUMN "run count" TO "runs""#).await;
    let mut source = fleet(&format!("sqlite://{}", path.display()));
    let strange = reading(source.sample(at(0)).await);
    assert_counts(&strange);
    let accounting = strange.accounting.unwrap();
    assert_eq!(accounting.migrations, None);
    assert_eq!(accounting.executed_migrations.unwrap().len(), 2);
    assert_contains(&strange.notes.concat(), "read \"migration status\"");

    sqlite(&path, r#"DROP TABLE "migration status"; DROP TABLE "migration""#).await;
    let without = reading(source.sample(at(15)).await);
    assert_counts(&without);
    let accounting = without.accounting.unwrap();
    assert_eq!((accounting.migrations, accounting.executed_migrations), (None, None));
    assert_eq!(without.notes.len(), 2, "{:?}", without.notes);
    assert_contains(&without.notes[0], "no table \"migration status\"");
    assert_contains(&without.notes[1], "no table \"migration\"");
}
