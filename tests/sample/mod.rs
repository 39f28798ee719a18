//! The sources against real databases and HTTP servers.

mod accounting;
mod deletions;
mod migrations;
mod open_balena;
mod prometheus;
mod running;
mod sql;

use std::{path::Path, time::Duration};

use headwater::{
    config::{Secret, SourceConfig, SourceKind},
    observation::{Failure, Observation, Outcome, Reading},
    sample::Source,
    series::Time,
};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, sqlite::SqliteConnectOptions};

/// The sources of these tests are asked by hand; the interval only sets their limits. This one is
/// for tests that wait for a limit.
const SHORT_INTERVAL: Duration = Duration::from_secs(2);

/// And this one for tests that must not meet one, on however busy a machine.
const LONG_INTERVAL: Duration = Duration::from_secs(15);

/// Some instant.
fn at(second: i64) -> Time {
    Time::from_timestamp(1_569_276_720 + second, 0).expect("a time of 2019")
}

fn source(kind: SourceKind, interval: Duration) -> Source {
    let config = SourceConfig { name: "fleet".to_owned(), kind };
    Source::connect_lazy(&config, interval).expect("the source is configured well")
}

fn fleet(url: &str) -> Source {
    let kind = SourceKind::OpenBalena { url: Secret::new(url), evidence_url: None };
    source(kind, LONG_INTERVAL)
}

#[track_caller]
fn reading(observation: Observation) -> Reading {
    match observation.outcome {
        Outcome::Sampled(reading) => *reading,
        Outcome::Failed(failure) => panic!("no sample: {failure:?}"),
    }
}

#[track_caller]
fn failure(observation: Observation) -> Failure {
    match observation.outcome {
        Outcome::Sampled(reading) => panic!("a sample after all: {reading:?}"),
        Outcome::Failed(failure) => failure,
    }
}

#[track_caller]
fn assert_contains(text: &str, part: &str) {
    assert!(text.contains(part), "\"{part}\" is not in: {text}");
}

/// Runs statements in an SQLite file, which is created if need be.
async fn sqlite(path: &Path, sql: &str) {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let mut connection = options.connect().await.expect("the file can be opened");
    let run = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await;
    run.expect("the statements are right");
    connection.close().await.expect("the file can be closed");
}

/// The tables that the fleet sample reads, with a few more of their columns, as the platform names
/// them. `flag` is the type of its flags: `boolean` or `integer`.
fn tables(flag: &str) -> String {
    format!(
        r#"
CREATE TABLE "application" (
    "id" integer PRIMARY KEY,
    "app name" varchar(255) NOT NULL,
    "slug" varchar(255),
    "organization" integer,
    "should be running-release" integer
);
CREATE TABLE "device" (
    "id" integer PRIMARY KEY,
    "modified at" timestamp,
    "belongs to-application" integer,
    "is pinned on-release" integer,
    "is running-release" integer,
    "should be operated by-release" integer,
    "should be managed by-release" integer,
    "api heartbeat state" varchar(255) NOT NULL DEFAULT 'unknown',
    "is connected to vpn" {flag},
    "update status" varchar(255),
    "download progress" integer
);
CREATE TABLE "migration" (
    "model name" varchar(255) PRIMARY KEY,
    "executed migrations" text NOT NULL
);
CREATE TABLE "migration status" (
    "migration key" varchar(255) PRIMARY KEY,
    "start time" timestamp,
    "last run time" timestamp,
    "run count" integer NOT NULL,
    "migrated row count" integer,
    "error count" integer,
    "is backing off" {flag} NOT NULL
);
"#
    )
}

/// Two applications and the awkward devices: no running release, one that exists nowhere, no pin,
/// no application, an application that is gone. `'1'` fits flags of either type.
const ROWS: &str = r#"
INSERT INTO "application" VALUES
    (1, 'gateway', 'acme/gateway', 10, 100),
    (2, 'sensor', 'acme/sensor', 10, NULL),
    (3, 'without devices', 'acme/none', 11, 300);
INSERT INTO "device" ("id", "belongs to-application", "is pinned on-release",
    "is running-release", "should be operated by-release", "should be managed by-release",
    "api heartbeat state", "is connected to vpn", "update status", "download progress") VALUES
    (1, 1, NULL, 100, 900, 800, 'online', '1', 'idle', NULL),
    (2, 1, NULL, 100, 901, NULL, 'online', '1', 'downloading', 50),
    (3, 1, 99, 99, 900, 800, 'offline', '1', NULL, NULL),
    (4, 1, NULL, NULL, NULL, NULL, 'unknown', '0', NULL, NULL),
    (5, 1, NULL, 777777, NULL, NULL, 'timeout', NULL, 'downloading', NULL),
    (6, 2, NULL, 200, NULL, NULL, 'online', '0', 'applying changes', NULL),
    (7, 2, 201, 200, NULL, NULL, 'offline', '0', NULL, 10),
    (8, NULL, NULL, NULL, NULL, NULL, 'offline', '0', NULL, NULL),
    (9, 44, 440, 441, NULL, NULL, 'offline', '0', NULL, NULL);
"#;

/// What the sample must make of them, by hand.
const COUNTS: &[(&str, f64)] = &[
    ("devices", 9.0),
    ("applications", 4.0),
    ("organizations", 2.0),
    ("devices_online", 4.0),
    ("devices_vpn_connected", 3.0),
    ("devices_heartbeat_online", 3.0),
    ("devices_vpn_heartbeat_mismatch", 2.0),
    ("devices_pinned", 3.0),
    ("devices_pinned_to_running", 1.0),
    // 3 is pinned away from its application's target but runs its pin; 4 and 5 run something else
    // than the target; 7 and 9 do not run their pin.
    ("pending_updates", 4.0),
    ("pending_pairs", 4.0),
    ("applications_pending", 3.0),
    ("updates_in_progress", 2.0),
    ("devices_os_targeted", 3.0),
    ("devices_supervisor_targeted", 2.0),
];

#[track_caller]
fn assert_counts(reading: &Reading) {
    let snapshot = reading.fleet.as_ref().expect("a fleet source gives a snapshot");
    let counts = snapshot.counts();
    for (signal, expected) in COUNTS {
        assert_eq!(counts[*signal], *expected, "{signal}");
    }
}
