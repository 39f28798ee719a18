//! The fleet sample: the same rows give the same snapshot on every database and type of flag, and
//! what goes wrong has its reason.

use std::time::{Duration, Instant};

use headwater::{
    config::{Secret, SourceKind},
    fleet::{CohortKey, Flows},
    observation::FailureReason,
    sample::GRANTS,
};
use sqlx::{Connection, postgres::PgConnection};

use super::{
    ROWS, SHORT_INTERVAL, assert_contains, assert_counts, at, failure, fleet, reading, source,
    sqlite, tables,
};
use crate::servers::postgres::Postgres;

#[tokio::test]
async fn one_fleet_is_one_snapshot_on_either_database_with_either_type_of_flag() {
    let directory = tempfile::tempdir().unwrap();
    let mut snapshots = Vec::new();
    for flag in ["boolean", "integer"] {
        let path = directory.path().join(flag);
        sqlite(&path, &(tables(flag) + ROWS)).await;
        let sampled = fleet(&format!("sqlite://{}", path.display())).sample(at(0)).await;
        let reading = reading(sampled);
        assert_counts(&reading);
        assert!(reading.notes.is_empty() && reading.absent.is_empty(), "{:?}", reading.notes);
        snapshots.push(reading.fleet.unwrap());
    }
    if let Some(server) = Postgres::start(&[]) {
        server.psql("CREATE ROLE headwater LOGIN");
        for flag in ["boolean", "integer"] {
            server.create_database(flag);
            server.psql_in(flag, &(tables(flag) + ROWS + GRANTS));
            let mut source = fleet(&server.url("headwater", flag));
            let reading = reading(source.sample(at(0)).await);
            assert_counts(&reading);
            assert!(reading.notes.is_empty(), "exactly the grants suffice: {:?}", reading.notes);
            snapshots.push(reading.fleet.unwrap());
        }
    }
    let first = &snapshots[0];
    assert!(snapshots.iter().all(|snapshot| snapshot == first));
    assert_eq!(first.applications.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 44]);
    let gateway = &first.applications[&1];
    assert_eq!(gateway.host_os_targets, [(900, 2), (901, 1)].into());
    assert_eq!(gateway.supervisor_targets, [(800, 2)].into());
    assert_eq!((gateway.name.as_str(), gateway.organization), ("gateway", 10));
    let on_target = CohortKey { pinned: None, running: Some(100) };
    assert_eq!(gateway.cohorts[&on_target].devices, 2);
    assert_eq!((first.device_id_max, first.appeared_above), (9, None));
}

#[tokio::test]
async fn devices_that_appear_are_counted_apart_from_those_that_change() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fleet.db");
    sqlite(&path, &(tables("integer") + ROWS)).await;
    let mut source = fleet(&format!("sqlite://{}", path.display()));
    let before = reading(source.sample(at(0)).await).fleet.unwrap();
    let changes = r#"UPDATE "device" SET "is pinned on-release" = 100 WHERE "id" = 1;
        INSERT INTO "device" ("id", "belongs to-application", "is pinned on-release",
            "is running-release") VALUES (10, 1, 99, 99);"#;
    sqlite(&path, changes).await;
    let now = reading(source.sample(at(15)).await).fleet.unwrap();
    assert_eq!(now.appeared_above, Some(9));
    let flows = Flows::between(&before, &now);
    let flow = &flows.applications[&1];
    assert_eq!((flow.pins_added, flow.devices_added, flow.pins_moved), (1, 1, 0));
    assert_eq!((flows.since, flows.at), (at(0), at(15)));
}

#[tokio::test]
async fn a_smaller_schema_costs_only_what_depends_on_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fleet.db");
    let smaller = r#"
        CREATE TABLE "application" ("id" integer, "should be running-release" integer);
        INSERT INTO "application" VALUES (1, 100);
        CREATE TABLE "device" ("id" integer, "belongs to-application" integer,
            "is pinned on-release" integer, "is running-release" integer);
        INSERT INTO "device" VALUES (1, 1, NULL, 99), (2, 1, 100, 100);"#;
    sqlite(&path, smaller).await;
    let mut source = fleet(&format!("sqlite://{}", path.display()));
    let reading = reading(source.sample(at(0)).await);
    assert_eq!(reading.fleet.unwrap().counts()["pending_updates"], 1.0);
    for signal in ["devices_online", "devices_vpn_connected", "organizations_pins_removed"] {
        assert!(reading.absent.contains(signal), "{signal}");
    }
    assert!(!reading.absent.contains("devices_pinned"));
    assert_contains(&reading.notes.concat(), "\"update status\"");
}

#[tokio::test]
async fn what_is_indispensable_is_named_and_found_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fleet.db");
    let url = format!("sqlite://{}", path.display());
    let mut source = fleet(&url);
    assert_eq!(failure(source.sample(at(0)).await).reason, FailureReason::Connection);
    sqlite(&path, "CREATE TABLE unrelated (id integer)").await;
    let missing = failure(source.sample(at(15)).await);
    assert_eq!(missing.reason, FailureReason::Schema);
    assert_contains(&missing.message, "no table \"device\"");
    sqlite(&path, &(tables("boolean") + ROWS)).await;
    assert_counts(&reading(source.sample(at(30)).await));
    sqlite(&path, r#"ALTER TABLE "device" DROP COLUMN "download progress""#).await;
    let without = reading(source.sample(at(45)).await);
    assert_contains(&without.notes.concat(), "\"download progress\"");
    sqlite(&path, r#"ALTER TABLE "device" RENAME COLUMN "is running-release" TO "runs""#).await;
    let missing = failure(source.sample(at(60)).await);
    assert_eq!(missing.reason, FailureReason::Schema);
    assert_contains(&missing.message, "\"is running-release\"");
}

#[tokio::test]
async fn a_sqlite_file_that_is_written_meanwhile_is_locked_and_not_empty() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fleet.db");
    sqlite(&path, &(tables("boolean") + ROWS)).await;
    let url = format!("sqlite://{}", path.display());
    let mut writer = sqlx::SqliteConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("BEGIN EXCLUSIVE").execute(&mut writer).await.unwrap();
    let mut source = fleet(&url);
    assert_eq!(failure(source.sample(at(0)).await).reason, FailureReason::Locked);
    sqlx::raw_sql("ROLLBACK").execute(&mut writer).await.unwrap();
    assert_counts(&reading(source.sample(at(15)).await));
}

#[tokio::test]
async fn every_failure_of_a_server_has_its_reason() {
    let Some(server) = Postgres::start(&[]) else { return };
    let database = server.create_database("fleet");
    server.psql("CREATE ROLE headwater LOGIN; CREATE ROLE nobody LOGIN");
    server.psql_in(database, &(tables("boolean") + ROWS + GRANTS));
    let url = Secret::new(server.url("headwater", database));
    let kind = SourceKind::OpenBalena { url, evidence_url: None };
    let mut source = source(kind, SHORT_INTERVAL);
    assert_counts(&reading(source.sample(at(0)).await));

    // A schema change holds its lock.
    let mut migrator = PgConnection::connect(&server.url("postgres", database)).await.unwrap();
    let lock = r#"BEGIN; ALTER TABLE "device" ADD COLUMN "uuid" text"#;
    sqlx::raw_sql(lock).execute(&mut migrator).await.unwrap();
    let locked = failure(source.sample(at(15)).await);
    assert_eq!(locked.reason, FailureReason::Locked);
    assert_contains(&locked.message, "of role \"postgres\"");
    assert_contains(&locked.message, "ADD COLUMN");
    sqlx::raw_sql("ROLLBACK").execute(&mut migrator).await.unwrap();

    // The server lost our connection since the last sample: one sample later nobody knows.
    assert_counts(&reading(source.sample(at(30)).await));
    let ended = server.psql_in(
        database,
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
         WHERE application_name = 'headwater'",
    );
    assert_eq!(ended, "1", "one connection, and it names itself");
    assert_counts(&reading(source.sample(at(45)).await));

    let forbidden = failure(fleet(&server.url("nobody", database)).sample(at(60)).await);
    assert_eq!(forbidden.reason, FailureReason::Permission);
    assert_contains(&forbidden.message, "GRANT SELECT ON \"device\"");

    // A table that has become too slow to read.
    let slow = r#"ALTER TABLE "device" RENAME TO "rows of device";
        CREATE VIEW "device" AS SELECT "id" + length(CAST(pg_sleep(30) AS text)) * 0 AS "id",
            "belongs to-application", "is pinned on-release", "is running-release",
            "should be operated by-release", "should be managed by-release",
            "api heartbeat state", "is connected to vpn", "update status", "download progress"
            FROM "rows of device";
        GRANT SELECT ON "device" TO headwater;"#;
    server.psql_in(database, slow);
    let timeout = failure(source.sample(at(75)).await);
    assert_eq!(timeout.reason, FailureReason::Timeout);
    assert_contains(&timeout.message, "statement timeout");
    let left = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(30)%' \
                AND state = 'active' AND pid <> pg_backend_pid()";
    assert_eq!(server.psql_in(database, left), "0", "nothing goes on behind our back");

    drop(server);
    let gone = failure(source.sample(at(90)).await);
    assert_eq!(gone.reason, FailureReason::Connection);
    assert_contains(&gone.message, "source \"fleet\"");
}

#[tokio::test]
async fn no_message_holds_the_password() {
    // Nobody listens on port 9 (discard) here.
    let url = "postgres://headwater:hunter2@127.0.0.1:9/fleet";
    let evidence_url = Some(Secret::new(url));
    let kind = SourceKind::OpenBalena { url: Secret::new(url), evidence_url };
    let mut source = source(kind, SHORT_INTERVAL);
    let refused = failure(source.sample(at(0)).await);
    assert_eq!(refused.reason, FailureReason::Connection);
    assert_contains(&refused.message, "127.0.0.1:9/fleet");
    assert!(!refused.message.contains("hunter2"), "{}", refused.message);
}

#[tokio::test]
async fn a_replica_that_stands_still_is_read_and_said_to_be_behind() {
    let Some(mut server) = Postgres::start(&[]) else { return };
    let database = server.create_database("fleet");
    server.psql("CREATE ROLE headwater LOGIN");
    server.psql_in(database, &(tables("boolean") + ROWS + GRANTS));
    let url = Secret::new(server.url("headwater", database));
    let kind = SourceKind::OpenBalena { url, evidence_url: None };
    let mut source = source(kind, SHORT_INTERVAL);
    let primary = reading(source.sample(at(0)).await);
    assert!(primary.notes.is_empty(), "a primary is never behind: {:?}", primary.notes);
    let flushed = r#"SET synchronous_commit = on; CREATE TABLE "written last" ()"#;
    server.psql_in(database, flushed);

    server.become_standby();
    let deadline = Instant::now() + Duration::from_secs(30);
    let late = loop {
        // The commits that it has replayed grow older with the clock, of which nothing tells.
        let reading = reading(source.sample(at(15)).await);
        assert_counts(&reading);
        let late = reading.notes.iter().find(|note| note.contains("the replica is"));
        if let Some(late) = late {
            break late.clone();
        }
        assert!(Instant::now() < deadline, "{:?}", reading.notes);
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_contains(&late, " s behind, more than the interval of 2 s");
    let again = reading(source.sample(at(30)).await);
    assert!(again.notes.contains(&late), "the same words: {:?}", again.notes);
    let lack = again.accounting.unwrap().statements_lack.expect("a replica counts no writes");
    assert_contains(&lack, "evidence_url");
}
