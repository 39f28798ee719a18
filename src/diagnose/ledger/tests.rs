//! What is said of who wrote, reading by reading.

use super::*;
use crate::accounting::{OpenWriter, Statement, Statements};

const PIN: &str = r#"UPDATE "device" SET "is pinned on-release" = "is running-release"
WHERE "id" IN (SELECT "id" FROM "device" WHERE "is pinned on-release" IS NULL LIMIT $1)"#;
const KEY: &str = "0109-pin-devices";

fn at(second: i64) -> Time {
    let start: Time = "2019-09-23T22:12:00Z".parse().unwrap();
    start + TimeDelta::seconds(second)
}

fn claim(devices: u64, now: Time) -> Claim<'static> {
    let (quiet_at, onset) = (at(15), at(30));
    Claim {
        devices,
        written: Written::Column("is pinned on-release"),
        quiet_at,
        onset,
        now,
        interval_s: 15.0,
    }
}

/// Readings in which one statement has written so many rows, and the table so many, in all.
#[derive(Default)]
struct Readings {
    ledger: Ledger,
    rows: i64,
    calls: i64,
}

impl Readings {
    fn read(&mut self, second: i64, rows: i64, table_rows: i64, migration: Option<Migration>) {
        let calls = self.calls + i64::from(rows > self.rows);
        let statement = Statement {
            query_id: 7,
            role: "migrator".to_owned(),
            top_level: true,
            rows,
            calls,
            rows_before: self.rows,
            calls_before: self.calls,
            text: Some(PIN.to_owned()),
        };
        (self.rows, self.calls) = (rows, calls);
        let statements = Statements { counts: vec![statement], ..Statements::default() };
        let device = TableCounters { updated: table_rows, ..TableCounters::default() };
        let migrations = migration.into_iter().map(|one| (KEY.to_owned(), one)).collect();
        let reading = Reading {
            statements: Some(statements),
            device: Some(device),
            migrations: Some(migrations),
            ..Reading::default()
        };
        self.ledger.read(at(second), &reading);
    }
}

fn migration(run_count: i64, migrated_rows: i64, is_backing_off: bool) -> Option<Migration> {
    Some(Migration { run_count, migrated_rows, is_backing_off, ..Migration::default() })
}

#[track_caller]
fn fact(account: &Account, kind: &str) -> String {
    let found = account.evidence.iter().find(|fact| fact.kind == kind);
    found.unwrap_or_else(|| panic!("no {kind}: {account:?}")).text.clone()
}

#[test]
fn a_batch_is_its_migration_s_with_the_rows_so_far() {
    let mut readings = Readings::default();
    readings.read(0, 0, 0, None);
    readings.read(15, 0, 0, migration(0, 0, false));
    readings.read(30, 5_000, 5_100, migration(1, 5_000, false));
    let account = readings.ledger.account(claim(4_967, at(30)));
    let by_whom = account.by_whom.clone().unwrap();
    assert!(by_whom.starts_with(r#"role migrator ran UPDATE "device" SET "is pinned"#));
    assert!(by_whom.ends_with("… (5,000 rows)") && by_whom.len() < 180, "{by_whom}");
    let running = "migration 0109-pin-devices is running (5,000 rows in 1 batch so far)";
    assert_eq!(account.migrations.as_deref(), Some(running));
    assert!(account.migration_runs);
    let statement = fact(&account, "statement");
    assert!(statement.contains("wrote 5,000 rows in 1 call"), "{statement}");
    assert!(statement.contains("(33 more than changed; constants are shown as $1"), "{statement}");
    assert!(statement.contains("LIMIT $1"), "in full: {statement}");
    assert!(fact(&account, "table").starts_with("5,100 rows of device were written in all"));
}

#[test]
fn an_owner_s_pin_meanwhile_does_not_hide_the_writer() {
    let mut readings = Readings::default();
    readings.read(15, 0, 0, None);
    readings.read(30, 5_000, 0, None);
    let statement = fact(&readings.ledger.account(claim(5_001, at(30))), "statement");
    assert!(statement.contains("(it does not account for the other 1;"), "{statement}");
    let account = readings.ledger.account(claim(10_000, at(30)));
    assert_eq!(account.by_whom, None, "half of it may be anybody's");
}

#[test]
fn counters_that_lag_are_said_to() {
    let mut readings = Readings::default();
    readings.read(15, 0, 0, None);
    readings.read(30, 5_000, 84, None);
    let table = fact(&readings.ledger.account(claim(5_000, at(30))), "table");
    assert!(table.contains("counts 84 rows of device since 22:12:15 UTC so far"), "{table}");
    readings.read(45, 5_000, 5_084, None);
    let table = fact(&readings.ledger.account(claim(5_000, at(45))), "table");
    assert!(table.starts_with("5,084 rows of device were written in all"), "{table}");
}

#[test]
fn a_migration_is_not_cleared_before_it_has_counted() {
    let mut readings = Readings::default();
    readings.read(-15, 0, 0, None);
    readings.read(0, 0, 0, migration(0, 0, false));
    readings.read(15, 0, 0, migration(0, 0, false));
    readings.read(30, 5_000, 0, migration(0, 0, false));
    let account = readings.ledger.account(claim(5_000, at(30)));
    let lagging = "migration 0109-pin-devices ran last at 22:12:00 UTC and has not stopped";
    assert_eq!(account.migrations.as_deref(), Some(lagging));
    assert!(account.migration_runs);
    // Long enough after: it would have counted.
    readings.read(60, 5_000, 0, migration(0, 0, false));
    let account = readings.ledger.account(claim(5_000, at(60)));
    assert_eq!(account.migrations.as_deref(), Some("no migration was running"));
    assert!(!account.migration_runs);
}

#[test]
fn a_migration_that_went_to_sleep_was_not_running() {
    let mut readings = Readings::default();
    readings.read(-15, 0, 0, migration(1, 5_000, false));
    readings.read(0, 0, 0, migration(2, 10_000, false));
    readings.read(15, 0, 0, migration(3, 10_000, true));
    readings.read(30, 5_000, 0, migration(3, 10_000, true));
    let account = readings.ledger.account(claim(5_000, at(30)));
    assert_eq!(account.migrations.as_deref(), Some("no migration was running"));
}

#[test]
fn only_who_writes_the_column_is_to_be_cancelled() {
    let writer = |pid: i32, application_name: &str, statement: &str| OpenWriter {
        pid,
        role: "ops".to_owned(),
        application_name: application_name.to_owned(),
        client: Some("10.0.0.7".to_owned()),
        statement: statement.to_owned(),
        transaction_age_s: 2.0,
    };
    let heartbeat = writer(11, "api", r#"UPDATE "device" SET "api heartbeat state" = $1"#);
    let unpin = writer(12, "", r#"UPDATE "device" SET "is pinned on-release" = NULL"#);
    let mut ledger = Ledger::default();
    ledger.read(at(15), &Reading::default());
    ledger.read(at(30), &Reading { writers: vec![heartbeat.clone(), unpin], ..Reading::default() });
    let account = ledger.account(claim(5_000, at(30)));
    assert_eq!(account.cancel.as_deref(), Some("SELECT pg_cancel_backend(12)"));
    let text = fact(&account, WRITER);
    assert!(text.contains("role ops (pid 12, from 10.0.0.7) that writes to device"), "{text}");
    ledger.read(at(45), &Reading { writers: vec![heartbeat], ..Reading::default() });
    assert_eq!(ledger.account(claim(5_000, at(45))).cancel, None, "at ordinary work");
}
