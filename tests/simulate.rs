//! The simulated fleet in real databases: filled, living and hit by every act, it holds row for row
//! what the fleet in memory holds.

use std::time::{Duration, Instant};

use axum::{
    body::{Body, to_bytes},
    http::Request,
};
use chrono::TimeDelta;
use headwater::{
    series::Time,
    simulate::{
        Settings,
        acts::Act,
        database::FleetDatabase,
        fleet::Fleet,
        life::Life,
        night::{MIGRATION_KEY, TAIL, migration_start},
        play::Play,
    },
};
use sqlx::{Connection, PgConnection, SqliteConnection};
use tower::ServiceExt;

use crate::servers::postgres::Postgres;

/// Application, pin, running release (-1: none), devices, online, connected, heard, in progress.
type CohortRow = (i64, i64, i64, i64, i64, i64, i64, i64);

const COHORTS: &str = r#"
SELECT CAST("belongs to-application" AS BIGINT),
CAST(COALESCE("is pinned on-release", -1) AS BIGINT),
CAST(COALESCE("is running-release", -1) AS BIGINT), CAST(count(*) AS BIGINT),
CAST(SUM(CASE WHEN "is online" THEN 1 ELSE 0 END) AS BIGINT),
CAST(SUM(CASE WHEN "is connected to vpn" THEN 1 ELSE 0 END) AS BIGINT),
CAST(SUM(CASE WHEN "api heartbeat state" = 'online' THEN 1 ELSE 0 END) AS BIGINT),
CAST(SUM(CASE WHEN "is online" AND ("update status" IN ('downloading', 'applying changes')
OR "download progress" IS NOT NULL) THEN 1 ELSE 0 END) AS BIGINT)
FROM "device" GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"#;

/// Pending devices as open-balena counts them.
const PENDING: &str = r#"
SELECT CAST(count(*) AS BIGINT) FROM "device"
LEFT JOIN "application" ON "application"."id" = "device"."belongs to-application"
WHERE COALESCE("is pinned on-release", "should be running-release") IS NOT NULL
AND "is running-release" IS DISTINCT FROM
COALESCE("is pinned on-release", "should be running-release")"#;

const MIGRATION: &str = r#"
SELECT CAST("run count" AS BIGINT), CAST("migrated row count" AS BIGINT), "is backing off",
"converged time" IS NOT NULL FROM "migration status" WHERE "migration key" = $1"#;

/// A reader of the database, in either dialect.
enum Reader {
    Postgres(PgConnection),
    Sqlite(SqliteConnection),
}

impl Reader {
    async fn open(url: &str) -> Reader {
        match url.starts_with("sqlite:") {
            true => {
                Reader::Sqlite(SqliteConnection::connect(url).await.expect("the file is there"))
            }
            false => {
                Reader::Postgres(PgConnection::connect(url).await.expect("the server answers"))
            }
        }
    }

    async fn cohorts(&mut self) -> Vec<CohortRow> {
        let rows = match self {
            Reader::Postgres(connection) => sqlx::query_as(COHORTS).fetch_all(connection).await,
            Reader::Sqlite(connection) => sqlx::query_as(COHORTS).fetch_all(connection).await,
        };
        rows.expect("cohorts can be read")
    }

    async fn pending(&mut self) -> i64 {
        let count = match self {
            Reader::Postgres(connection) => sqlx::query_scalar(PENDING).fetch_one(connection).await,
            Reader::Sqlite(connection) => sqlx::query_scalar(PENDING).fetch_one(connection).await,
        };
        count.expect("pending devices can be counted")
    }

    async fn migration(&mut self, key: &str) -> (i64, i64, bool, bool) {
        let query = match self {
            Reader::Postgres(connection) => {
                sqlx::query_as(MIGRATION).bind(key.to_owned()).fetch_one(connection).await
            }
            Reader::Sqlite(connection) => {
                sqlx::query_as(MIGRATION).bind(key.to_owned()).fetch_one(connection).await
            }
        };
        query.expect("the migration has a row")
    }
}

/// What the reader should find.
fn expected(fleet: &Fleet, at: Time) -> (Vec<CohortRow>, i64) {
    let snapshot = fleet.snapshot(at, None);
    let mut rows = Vec::new();
    for (application, summary) in &snapshot.applications {
        for (key, cohort) in &summary.cohorts {
            rows.push((
                *application,
                key.pinned.unwrap_or(-1),
                key.running.unwrap_or(-1),
                cohort.devices as i64,
                cohort.online as i64,
                cohort.vpn_connected as i64,
                cohort.heartbeat_online as i64,
                cohort.updating as i64,
            ));
        }
    }
    rows.sort_unstable();
    (rows, snapshot.counts()["pending_updates"] as i64)
}

async fn assert_same(reader: &mut Reader, life: &Life, after: &str) {
    let (rows, pending) = expected(life.fleet(), life.now());
    assert_eq!(reader.cohorts().await, rows, "cohorts after {after}");
    assert_eq!(reader.pending().await, pending, "pending after {after}");
}

/// Fills a database, lets the fleet live in it and does every act to it.
async fn live_and_act(url: &str) {
    let start: Time = "2019-09-23T20:00:00Z".parse().expect("a time");
    // Much happens in a small fleet, so that rows change several times between two writes.
    let settings = Settings {
        devices_added_per_day: 0.5,
        devices_deleted_per_day: 0.5,
        devices_moved_per_day: 0.5,
        pin_acts_per_organization_per_day: 20.0,
        ..Settings::new(9, 2_000, 40, 12)
    };
    let mut life = Life::new(settings, start);
    let mut database = FleetDatabase::create(url).await.expect("an empty database");
    database.fill(life.fleet(), start).await.expect("tables can be filled");
    let mut reader = Reader::open(url).await;
    assert_same(&mut reader, &life, "the fill").await;

    let key = MIGRATION_KEY.to_owned();
    let acts = [
        Act::UnpinApplication { application: 3 },
        Act::PinApplication { application: 4 },
        Act::RetargetApplication { application: 5 },
        Act::PinOrganization { organization: 2 },
        Act::UnpinOrganization { organization: 1 },
        Act::MigrationStarts { key: key.clone() },
        Act::MigrationBatch { key: key.clone(), devices: 700 },
        Act::MigrationBatch { key: key.clone(), devices: 5_000 },
        Act::UnpinBatch { devices: 300 },
        Act::RepinEverything,
        Act::RetargetEverything,
        Act::PinToRunningBatch { devices: 100 },
        Act::PinEverythingToRunning,
        Act::MigrationBatch { key: key.clone(), devices: 1_000 },
        Act::TargetNewestHostOsOfOrganization { organization: 4 },
        Act::TargetNewestHostOsBatch { devices: 200 },
        Act::TargetNewestHostOs,
        Act::ClearSupervisorTargets,
        Act::MoveApplication { application: 6, to: 7 },
        Act::DeleteApplication { application: 8 },
        Act::DeleteOrganization { organization: 3 },
        Act::DeleteBatch { devices: 100 },
        Act::DeleteEveryNth { nth: 3 },
        Act::UnpinEverything,
    ];
    for act in acts {
        // Ten minutes in one write are far more than a tick of the demo.
        let changes = life.live_until(life.now() + TimeDelta::minutes(10));
        assert!(!changes.is_empty());
        database.apply(&changes, life.now()).await.expect("changes can be applied");
        assert_same(&mut reader, &life, "ordinary life").await;
        let is_batch = matches!(act, Act::MigrationBatch { .. });
        let nothing_left = is_batch && life.fleet().clone().act(&act).is_empty();
        let changes = life.act(&act);
        let rows = database.act(&act, &changes, life.now()).await.expect("acts can be done");
        if !matches!(act, Act::MigrationStarts { .. }) {
            assert_eq!(rows, changes.len() as u64, "rows written by {act:?}");
            assert!(rows > 0 || nothing_left, "{act:?} does something");
        }
        assert_same(&mut reader, &life, &format!("{act:?}")).await;
    }
    let (runs, migrated, backs_off, converged) = reader.migration(&key).await;
    assert_eq!(runs, 3);
    assert!(migrated > 1_500, "{migrated}");
    assert_eq!((backs_off, converged), (false, false));
    let nothing = Act::MigrationBatch { key: key.clone(), devices: 0 };
    let changes = life.act(&nothing);
    database.act(&nothing, &changes, life.now()).await.expect("acts can be done");
    assert_eq!(reader.migration(&key).await, (4, migrated, true, true));
    database.close().await.expect("a connection can be closed");
}

#[tokio::test]
async fn an_sqlite_fleet_equals_the_fleet_in_memory() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let url = format!("sqlite://{}", directory.path().join("fleet.db").display());
    live_and_act(&url).await;
}

#[tokio::test]
async fn a_postgres_fleet_equals_the_fleet_in_memory() {
    let Some(server) = Postgres::start(&[]) else { return };
    let name = server.create_database("fleet");
    live_and_act(&server.url("postgres", name)).await;
    // What the statistics views will say is the point of running the real statements.
    let statement = "SELECT rows, calls FROM pg_stat_statements \
                     WHERE query = 'UPDATE \"device\" SET \"is pinned on-release\" = $1'";
    let devices = server.psql_in(name, "SELECT count(*) FROM \"device\"");
    assert_eq!(server.psql_in(name, statement), format!("{devices}|1"));
}

#[tokio::test]
async fn a_demo_fleet_fills_sqlite_and_plays_its_night_quickly() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let url = format!("sqlite://{}", directory.path().join("fleet.db").display());
    let started = Instant::now();
    let mut play = Play::begin(Settings::demo(1), &url, TAIL).await.expect("an empty database");
    let filled = started.elapsed();
    println!("20,000 devices made and written into SQLite: {filled:?}");
    // 3 s is the aim; the bound leaves room for a busy machine.
    assert!(filled < Duration::from_secs(12), "{filled:?}");

    let started = Instant::now();
    let (mut passed, mut ticks) = (Vec::new(), 0);
    while play.life().now() < play.end() {
        let tick = play.life().now() + TimeDelta::seconds(5);
        passed.extend(play.play_until(tick).await.expect("the night can be played"));
        ticks += 1;
    }
    let played = started.elapsed();
    println!("the night in {ticks} ticks of 5 s: {played:?}");
    // Told at 60 times its pace it takes some 65 s; the daemon needs most of them.
    assert!(played < Duration::from_secs(40), "{played:?}");
    let mut reader = Reader::open(&url).await;
    assert_same(&mut reader, play.life(), "the night").await;
    let begun: Vec<_> = passed.iter().filter_map(|moment| moment.begins).collect();
    assert_eq!(begun, ["mass_pin", "mass_unpin"]);
    let (_, migrated, backs_off, _) = reader.migration(MIGRATION_KEY).await;
    assert!(backs_off && migrated > 15_000, "{migrated}");

    // The metrics of the night stand in the Prometheus that scraped it.
    let at = migration_start() + TimeDelta::minutes(8);
    let path = format!("/api/v1/query?query=sum(delta_queue)&time={}", at.timestamp());
    let request = Request::get(path).body(Body::empty()).expect("a request");
    let response = play.scraped().router().oneshot(request).await.expect("a router answers");
    let body = to_bytes(response.into_body(), 1 << 16).await.expect("a body");
    let answer: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    let queue = answer["data"]["result"][0]["value"][1].as_str().and_then(|text| text.parse().ok());
    assert!(queue.is_some_and(|queue: f64| queue > 20.0), "{answer}");
}

#[tokio::test]
async fn a_hundred_thousand_devices_fill_postgres_and_live_there_quickly() {
    let Some(server) = Postgres::start(&[]) else { return };
    let url = server.url("postgres", server.create_database("fleet"));
    let started = Instant::now();
    let mut life = Life::new(Settings::new(5, 100_000, 1_500, 200), Time::UNIX_EPOCH);
    println!("100,000 devices generated: {:?}", started.elapsed());
    let mut database = FleetDatabase::create(&url).await.expect("an empty database");
    let started = Instant::now();
    database.fill(life.fleet(), life.now()).await.expect("tables can be filled");
    let filled = started.elapsed();
    println!("100,000 devices into PostgreSQL: {filled:?}");
    // 15 s is the aim; the bound leaves room for a busy machine.
    assert!(filled < Duration::from_secs(60), "{filled:?}");
    let mut reader = Reader::open(&url).await;
    assert_same(&mut reader, &life, "the fill").await;
    let next = server.psql_in("fleet", "SELECT nextval(pg_get_serial_sequence('device', 'id'))");
    assert_eq!(next, "100001");

    let batch = Act::PinToRunningBatch { devices: 5_000 };
    for act in [None, Some(batch.clone()), Some(batch), None, Some(Act::UnpinEverything), None] {
        let started = Instant::now();
        let rows = match &act {
            Some(act) => {
                let changes = life.act(act);
                database.act(act, &changes, life.now()).await.expect("acts can be done")
            }
            None => {
                let changes = life.live_until(life.now() + TimeDelta::seconds(2));
                database.apply(&changes, life.now()).await.expect("changes can be applied");
                changes.len() as u64
            }
        };
        println!("{act:?} wrote {rows} rows: {:?}", started.elapsed());
    }
    assert_same(&mut reader, &life, "two seconds after a mass unpin").await;
}

#[tokio::test]
async fn an_address_that_cannot_be_used_is_refused_without_repeating_it() {
    for url in ["mysql://secret@host/fleet", "postgres://user:secret@127.0.0.1:1/fleet"] {
        let error = FleetDatabase::create(url).await.expect_err("nobody is there");
        assert!(!format!("{error:#}").contains("secret"), "{error:#}");
    }
}
