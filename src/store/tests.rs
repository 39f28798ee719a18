//! The store on real files.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use expect_test::expect;

use super::*;
use crate::{
    change_event::{Announcement, ChangeEvent},
    incident::Incident,
    observation::{Observation, Outcome, Reading},
    pipeline::{self, Pipeline, State},
    report::story::{self, at},
    values::Values,
};

fn url(directory: &tempfile::TempDir) -> Secret {
    Secret::new(format!("sqlite://{}/deep/er/headwater.db", directory.path().display()))
}

async fn fresh() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&url(&directory)).await.unwrap();
    (directory, store)
}

fn sample(clock: &str, source: &str, values: &[(&str, f64)]) -> Sample {
    let values = values.iter().map(|(name, value)| ((*name).to_owned(), *value));
    Sample { at: at(clock), source: source.to_owned(), values: values.collect() }
}

fn night() -> Batch {
    Batch {
        samples: vec![
            sample("22:13:45", "fleet", &[("devices_pinned", 61_234.0), ("pins_added", 0.0)]),
            sample("22:13:52.500", "prometheus", &[("delta_queue", 0.1 + 0.2)]),
            sample("22:14:00", "fleet", &[("devices_pinned", 461_234.0), ("pins_added", f64::NAN)]),
        ],
        changes: vec![story::change()],
        incidents: vec![story::customer_rollout(), story::night()],
        events: Vec::new(),
    }
}

async fn state_of(store: &Store) -> State {
    match store.load_state().await.unwrap() {
        Stored::State(restored) => restored.state,
        other => panic!("{other:?}"),
    }
}

async fn export_text(store: &Store, since: Time) -> String {
    let mut export = store.export(since).await.unwrap();
    let mut text = Vec::new();
    while let Some(piece) = export.next_piece().await.unwrap() {
        text.extend(piece);
    }
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn what_was_committed_is_there_after_a_restart() {
    let (directory, store) = fresh().await;
    assert!(matches!(store.load_state().await.unwrap(), Stored::Nothing), "a new store");
    let state = State::default();
    let mut incident = story::night();
    // Doubles that a careless decimal would not bring back.
    incident.causes[0].probability = 0.1 + 0.2;
    incident.symptoms[0].before = f64::from_bits(0x0010_0000_0000_0001);
    incident.symptoms[0].after = 5e-324;
    let batch = Batch { incidents: vec![story::customer_rollout(), incident.clone()], ..night() };
    store.commit(&batch, Some(&state)).await.unwrap();
    store.close().await;

    let store = Store::open(&url(&directory)).await.unwrap();
    let restored = state_of(&store).await;
    assert_eq!(
        serde_json::to_string(&restored).unwrap(),
        serde_json::to_string(&state).unwrap(),
        "to the bit"
    );
    assert_eq!(store.incidents(10).await.unwrap(), [incident.clone(), story::customer_rollout()]);
    assert_eq!(store.incidents(1).await.unwrap(), [incident.clone()]);
    assert_eq!(store.incident(&incident.id).await.unwrap(), Some(incident));
    assert_eq!(store.incident("20190923").await.unwrap(), None);
    let queue = store.series("delta_queue", at("22:00:00"), at("23:00:00")).await.unwrap();
    assert_eq!(queue, [(at("22:13:52.500"), 0.1 + 0.2)]);
    store.close().await;
}

#[tokio::test]
async fn the_notifier_sees_what_is_open_or_resolved_of_late() {
    let (_directory, store) = fresh().await;
    store.commit(&night(), None).await.unwrap();
    let ids = async |clock: &str| {
        let active = store.active_incidents(at(clock)).await.unwrap();
        active.into_iter().map(|incident| incident.id).collect::<Vec<_>>()
    };
    let (rollout, night) = (story::customer_rollout(), story::night());
    assert_eq!(ids("10:20:00").await, [rollout.id, night.id.clone()], "oldest first");
    assert_eq!(ids("10:20:01").await, [night.id.as_str()]);

    let resolved = Incident { resolved_at: Some(at("23:30:00")), ..story::night() };
    let batch = Batch { incidents: vec![resolved.clone()], ..Batch::default() };
    store.commit(&batch, None).await.unwrap();
    assert_eq!(ids("23:30:01").await, [""; 0]);
    assert_eq!(store.incidents(10).await.unwrap()[0], resolved, "an update keeps its place");
}

#[tokio::test]
async fn export_is_a_recording() {
    let (_directory, store) = fresh().await;
    store.commit(&night(), None).await.unwrap();
    let late = sample("23:59:59", "push", &[("a \"strange\", name", 1e21)]);
    store.commit(&Batch { samples: vec![late], ..Batch::default() }, None).await.unwrap();
    expect![[r#"
        time,"a ""strange"", name",delta_queue,devices_pinned,pins_added
        2019-09-23T22:13:45Z,,,61234,0
        2019-09-23T22:13:52.500Z,,0.30000000000000004,,
        2019-09-23T22:14:00Z,,,461234,
        2019-09-23T23:59:59Z,1000000000000000000000,,,
    "#]]
    .assert_eq(&export_text(&store, at("00:00:00")).await);
    expect![[r#"
        time,"a ""strange"", name",devices_pinned
        2019-09-23T22:14:00Z,,461234
        2019-09-23T23:59:59Z,1000000000000000000000,
    "#]]
    .assert_eq(&export_text(&store, at("22:14:00")).await);
    assert_eq!(export_text(&store, at("23:59:59.999")).await, "time\n");
}

#[tokio::test]
async fn old_rows_go_and_open_incidents_stay() {
    let (_directory, store) = fresh().await;
    let mut batch = night();
    let old = at("22:14:00") - TimeDelta::days(40);
    batch.samples.push(Sample { at: old, ..batch.samples[0].clone() });
    store.commit(&batch, None).await.unwrap();
    store.prune(at("22:14:00")).await.unwrap();
    let pinned = store.series("devices_pinned", old, at("23:00:00")).await.unwrap();
    assert_eq!(pinned, [(at("22:14:00"), 461_234.0)]);
    let queue = store.series("delta_queue", old, at("23:00:00")).await.unwrap();
    assert_eq!(queue, []);
    assert_eq!(store.incidents(10).await.unwrap(), [story::night()], "the open one stays");
    let changes = "SELECT count(*) FROM change";
    let count =
        async || sqlx::query_scalar::<_, i64>(changes).fetch_one(&store.reader).await.unwrap();
    assert_eq!(count().await, 1, "detected after the limit");
    store.prune(at("22:14:16")).await.unwrap();
    assert_eq!(count().await, 0);
}

#[tokio::test]
async fn a_failed_commit_writes_nothing_and_can_be_repeated() {
    let (_directory, store) = fresh().await;
    // A full disk, as SQLite reports it: no page may be added.
    sqlx::query("PRAGMA max_page_count = 1").execute(&store.writer).await.unwrap();
    let mut batch = night();
    let long = "x".repeat(1 << 20);
    batch.incidents[0].timeline[0].text = long;
    let error = store.commit(&batch, Some(&State::default())).await.unwrap_err();
    let message = format!("{error:#}");
    assert!(message.contains("headwater.db: the disk is full: make room"), "{message}");
    assert!(matches!(store.load_state().await.unwrap(), Stored::Nothing));
    assert_eq!(store.incidents(10).await.unwrap(), []);
    assert_eq!(store.series("delta_queue", at("00:00:00"), at("23:00:00")).await.unwrap(), []);

    // The limit was the failed connection's own: the disk has room again.
    for _ in 0..2 {
        store.commit(&batch, Some(&State::default())).await.unwrap();
    }
    assert_eq!(store.incidents(10).await.unwrap().len(), 2, "a repeated commit doubles nothing");
    assert_eq!(export_text(&store, at("00:00:00")).await.lines().count(), 4);
}

#[test]
fn a_batch_that_waits_stays_bounded_and_keeps_incidents() {
    let mut batch = night();
    let mut dropped = 0;
    for _ in 0..100 {
        let later = Incident { resolved_at: Some(at("23:30:00")), ..story::night() };
        dropped += batch.absorb(Batch { incidents: vec![later], ..night() });
    }
    assert_eq!(batch.samples.len() + dropped, 3 * 101);
    assert!(dropped > 0);
    assert_eq!(batch.incidents.len(), 2);
    assert!(!batch.incidents[1].is_open(), "the later state of an incident stands");
    assert!(!batch.is_empty() && Batch::default().is_empty());
}

#[tokio::test]
async fn the_file_is_in_wal_mode_and_readers_cannot_write() {
    let (_directory, store) = fresh().await;
    let mode: String =
        sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&store.reader).await.unwrap();
    assert_eq!(mode, "wal");
    let synchronous: i64 =
        sqlx::query_scalar("PRAGMA synchronous").fetch_one(&store.writer).await.unwrap();
    assert_eq!(synchronous, 1, "NORMAL");
    let written = sqlx::query("DELETE FROM sample").execute(&store.reader).await;
    assert!(written.is_err(), "the read pool reads only");
}

#[tokio::test]
async fn an_export_reads_while_the_daemon_writes() {
    let (directory, store) = fresh().await;
    store.commit(&night(), None).await.unwrap();
    let other = Store::open_to_read(&url(&directory)).await.unwrap();
    assert_eq!(export_text(&other, at("00:00:00")).await.lines().count(), 4);
    assert!(other.commit(&night(), None).await.is_err(), "it only reads");
    let missing = Secret::new(format!("sqlite://{}/none.db", directory.path().display()));
    let error = Store::open_to_read(&missing).await.unwrap_err().to_string();
    assert!(error.contains("there is no store at") && error.contains("none.db"), "{error}");
    assert!(!directory.path().join("none.db").exists(), "reading creates nothing");
}

#[tokio::test]
async fn every_schema_since_the_first_is_brought_up_to_date() {
    let directory = tempfile::tempdir().unwrap();
    let first = directory.path().join("first.db");
    let pool = SqlitePoolOptions::new()
        .connect_with(options(&first).create_if_missing(true))
        .await
        .unwrap();
    MIGRATOR.run_to(1, &pool).await.unwrap();
    let body = serde_json::to_string(&story::night()).unwrap();
    for row in [
        "INSERT INTO signal (id, name, source) VALUES (7, 'devices', 'fleet')",
        "INSERT INTO sample (signal_id, at_ms, value) VALUES (7, 1569276840000, 400000)",
    ] {
        sqlx::query(row).execute(&pool).await.unwrap();
    }
    sqlx::query(
        "INSERT INTO incident (id, opened_at_ms, resolved_at_ms, severity, cause, body)
         VALUES ('1', 1569276855000, NULL, 'critical', 'mass_unpin', $1)",
    )
    .bind(body)
    .execute(&pool)
    .await
    .unwrap();
    pool.close().await;

    let store = Store::open(&Secret::new(format!("sqlite://{}", first.display()))).await.unwrap();
    assert_eq!(store.incident("1").await.unwrap(), Some(story::night()));
    let devices = store.series("devices", at("22:00:00"), at("23:00:00")).await.unwrap();
    assert_eq!(devices, [(at("22:14:00"), 400_000.0)]);
}

async fn open_error(url: &str) -> String {
    format!("{:#}", Store::open(&Secret::new(url)).await.unwrap_err())
}

#[tokio::test]
async fn a_store_that_cannot_be_opened_says_why_and_what_to_do() {
    for url in ["postgres://headwater:hunter2@db/x", "headwater.db"] {
        let error = open_error(url).await;
        assert!(error.contains("write sqlite://PATH"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    for url in ["sqlite://", "sqlite::memory:", "sqlite://x?mode=memory"] {
        assert!(open_error(url).await.contains("names no file"), "{url}");
    }

    let directory = tempfile::tempdir().unwrap();
    let not_a_database = directory.path().join("notes.txt");
    std::fs::write(&not_a_database, "not a database, just some words. ".repeat(100)).unwrap();
    let error = open_error(&format!("sqlite://{}", not_a_database.display())).await;
    assert!(error.contains("notes.txt: the file is damaged or no SQLite database"), "{error}");

    let below_a_file = format!("sqlite://{}/x.db", not_a_database.display());
    let error = open_error(&below_a_file).await;
    assert!(error.contains("cannot create the store's directory"), "{error}");
}

#[tokio::test]
async fn a_store_of_a_newer_version_is_left_alone() {
    let (directory, store) = fresh().await;
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'from the future', TRUE, x'00', 0)",
    )
    .execute(&store.writer)
    .await
    .unwrap();
    store.close().await;
    let error = open_error(url(&directory).expose()).await;
    assert!(error.contains("written by a newer headwater (schema 9999)"), "{error}");
    let error = Store::open_to_read(&url(&directory)).await.unwrap_err().to_string();
    assert!(error.contains("has schema 9999"), "{error}");
}

#[tokio::test]
async fn state_of_another_version_and_damaged_state_are_told_apart() {
    let (_directory, store) = fresh().await;
    store.commit(&Batch::default(), Some(&State::default())).await.unwrap();
    let set = async |statement: &'static str| {
        sqlx::query(statement).execute(&store.writer).await.unwrap();
        store.load_state().await.unwrap()
    };
    match set("UPDATE state SET version = version - 1").await {
        Stored::State(restored) => assert_eq!(restored.state, State::default(), "taken on"),
        other => panic!("{other:?}"),
    }
    let ancient = set("UPDATE state SET version = 1").await;
    assert!(matches!(ancient, Stored::OtherVersion { stored: 1, .. }));
    match set("UPDATE state SET version = 2, body = '{'").await {
        Stored::Damaged(reason) => {
            let reason = format!("{reason:#}");
            assert!(reason.contains("cannot be understood: EOF while parsing"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    let newer = set("UPDATE state SET version = version + 1000").await;
    assert!(matches!(newer, Stored::OtherVersion { stored, known } if known < stored));
}

#[tokio::test]
async fn a_signal_without_a_sample_has_no_series() {
    let (_directory, store) = fresh().await;
    let empty = Sample { values: Values::default(), ..sample("22:14:00", "fleet", &[]) };
    store.commit(&Batch { samples: vec![empty], ..Batch::default() }, None).await.unwrap();
    assert_eq!(store.series("devices", at("00:00:00"), at("23:00:00")).await.unwrap(), []);
    assert_eq!(export_text(&store, at("00:00:00")).await, "time\n");
}

/// A noisy signal, as a Prometheus source delivers it.
fn noisy(step: u32) -> Observation {
    let noise = f64::from(step.wrapping_mul(2_654_435_761) % 1_000) / 7.0;
    let reading =
        Reading { values: Values::from([("delta_queue", 10.0 + noise)]), ..Reading::default() };
    Observation {
        at: at("12:00:00") + TimeDelta::seconds(15 * i64::from(step)),
        source: "prometheus".to_owned(),
        outcome: Outcome::Sampled(Box::new(reading)),
    }
}

#[tokio::test]
async fn a_restart_in_the_middle_is_no_restart() {
    let settings = pipeline::Settings {
        interval_s: 15.0,
        false_pages_per_month: 1.0,
        false_warnings_per_month: 10.0,
        signals: BTreeMap::new(),
        graph: crate::config::graph::open_balena(),
        plain_ids: false,
    };
    let mut running = Pipeline::new(settings.clone(), State::default());
    for step in 0..500 {
        running.step(&noisy(step));
    }
    let (_directory, store) = fresh().await;
    store.commit(&Batch::default(), Some(running.state())).await.unwrap();
    let restored = state_of(&store).await;
    assert_eq!(&restored, running.state());
    let mut restarted = Pipeline::new(settings, restored);
    for step in 500..1_000 {
        running.step(&noisy(step));
        restarted.step(&noisy(step));
    }
    let text = |pipeline: &Pipeline| serde_json::to_string(pipeline.state()).unwrap();
    assert_eq!(text(&restarted), text(&running), "to the bit");
    assert_ne!(running.state(), &State::default(), "the pipeline learned something");
}

#[tokio::test]
async fn an_event_that_is_told_twice_is_one_and_goes_with_the_retention() {
    let (_directory, store) = fresh().await;
    let event = |clock: &str, title: &str| ChangeEvent {
        at: at(clock),
        kind: "deploy".to_owned(),
        title: title.to_owned(),
        source: "ci".to_owned(),
        announcement: None,
    };
    let until = at("23:00:00");
    let announcement = Some(Announcement { until, expects: None });
    let planned = ChangeEvent { announcement, ..event("22:30:00", "new racks") };
    let events =
        vec![event("22:13:18.125", "api v38"), planned.clone(), event("09:00:00", "api v37")];
    let batch = Batch { events, ..Batch::default() };
    assert!(!batch.is_empty());
    store.commit(&batch, None).await.unwrap();
    let changed = ChangeEvent { announcement: None, ..planned.clone() };
    store.commit(&Batch { events: vec![changed.clone()], ..batch }, None).await.unwrap();
    let titles = async |limit| {
        let events = store.events(limit).await.unwrap();
        events.into_iter().map(|event| event.title).collect::<Vec<_>>()
    };
    assert_eq!(titles(10).await, ["new racks", "api v38", "api v37"], "newest first");
    assert_eq!(titles(1).await, ["new racks"]);
    assert_eq!(store.same_event(&changed).await.unwrap(), Some(planned), "as it was told first");
    assert_eq!(store.same_event(&event("22:13:18.126", "api v38")).await.unwrap(), None);
    store.prune(at("22:00:00")).await.unwrap();
    assert_eq!(titles(10).await, ["new racks", "api v38"]);
}
