//! A source or the store fails, and the rest goes on.

use super::*;

#[tokio::test]
async fn a_source_that_fails_is_visible_stops_no_other_and_records_nothing() {
    let fleet = Fleet::new().await;
    // Without a write-ahead log a writer locks readers out.
    let mut writer = connect(&fleet.path("fleet.db")).await;
    let Fleet { database, directory, life } = fleet;
    database.close().await.expect("it can be closed");
    execute(&mut writer, "PRAGMA journal_mode = DELETE").await;
    let copy = FleetDatabase::create("sqlite::memory:").await.expect("memory");
    let fleet = Fleet { database: copy, directory, life };
    let refused = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let nobody = refused.local_addr().expect("it is bound");
    drop(refused);
    let (prometheus, _serving) = prometheus().await;
    let sources = format!(
        "  - type: prometheus\n    name: nobody\n    url: http://{nobody}\n    signals:\n      \
         delta_queue: queue\n  - type: prometheus\n    name: somebody\n    url: {prometheus}\n    \
         signals:\n      delta_workers_busy: busy\n"
    );
    let mut daemon = Daemon::start(&fleet.configuration(&sources, "")).await;
    daemon.samples("devices_pinned", 3).await;
    let up = |source: &str| format!("headwater_source_up{{source=\"{source}\"}}");
    wait_for("a refused source is down", async || {
        (daemon.metric(&up("nobody")).await == Some(0.0)).then_some(())
    })
    .await;
    let failed = "headwater_sample_failures_total{reason=\"connection\",source=\"nobody\"}";
    assert!(daemon.metric(failed).await.is_some_and(|count| count >= 1.0));
    assert_eq!(daemon.metric(&up("open_balena")).await, Some(1.0));
    let blind = |source: &'static str| {
        let daemon = &daemon;
        async move || {
            let loud = daemon.loud().await.into_iter();
            let mut of = loud.filter(|incident| {
                let summary = incident["summary"].as_str().expect("a text");
                incident["cause"] == "sampling_lost" && summary.contains(source)
            });
            of.next()
        }
    };
    wait_for("nobody is lost", blind("source nobody:")).await;

    execute(&mut writer, "BEGIN EXCLUSIVE").await;
    let lost = wait_for("the fleet is lost", blind("source open_balena:")).await;
    assert_eq!(daemon.metric(&up("open_balena")).await, Some(0.0));
    let (_, text) = daemon.get("/metrics").await;
    let counted = |line: &str| {
        let series = line.strip_prefix("headwater_sample_failures_total{reason=\"")?;
        let (reason, value) = series.split_once("\",source=\"open_balena\"} ")?;
        (value.parse::<f64>().ok()? > 0.0).then(|| reason.to_owned())
    };
    let reasons: Vec<String> = text.lines().filter_map(counted).collect();
    assert!(reasons.contains(&"locked".to_owned()), "{reasons:?}");
    daemon.samples("delta_workers_busy", 2).await;
    execute(&mut writer, "ROLLBACK").await;

    let id = lost["id"].as_str().expect("an id").to_owned();
    wait_for("the fleet is seen again", async || {
        let incident = daemon.json(&format!("/api/v1/incidents/{id}")).await;
        (incident["resolved_at"] != Value::Null).then_some(())
    })
    .await;
    assert_eq!(daemon.metric(&up("open_balena")).await, Some(1.0));
    assert_eq!(daemon.said("no sample: source \"open_balena\""), 1, "{}", daemon.log());
    daemon.terminate().await;

    let mut store = fleet.store().await;
    let zeros = "SELECT count(*) FROM sample JOIN signal ON signal.id = signal_id
                 WHERE name IN ('devices', 'devices_pinned', 'delta_queue') AND value = 0";
    let zeros: i64 = sqlx::query_scalar(zeros).fetch_one(&mut store).await.expect("readable");
    assert_eq!(zeros, 0, "a missing sample is missing");
}

#[tokio::test]
async fn a_store_that_fails_silences_no_page_and_loses_no_incident() {
    let (mut fleet, pager) = (Fleet::new().await, Pager::start().await);
    let configuration = fleet.paging(&pager.url);
    let mut daemon = Daemon::start(&configuration).await;
    daemon.samples("devices_pinned", 3).await;
    let mut store = fleet.store().await;
    // Neither samples nor incidents can be written, and incidents cannot be read.
    let away = "ALTER TABLE sample RENAME TO sample_away; ALTER TABLE incident RENAME TO gone";
    execute(&mut store, away).await;
    daemon.hears("watching goes on").await;
    fleet.act(Act::PinEverythingToRunning).await;
    pager.page("mass_pin").await;
    fleet.act(Act::UnpinEverything).await;
    let page = pager.page("mass_unpin").await;
    let failures = daemon.metric("headwater_store_failures_total").await;
    assert!(failures.is_some_and(|count| count >= 2.0), "{failures:?}");
    assert_eq!(daemon.said("watching goes on"), 1, "said once: {}", daemon.log());
    assert_eq!(daemon.get("/api/v1/incidents").await.0, 500, "no invented answer");

    let back = "ALTER TABLE sample_away RENAME TO sample; ALTER TABLE gone RENAME TO incident";
    execute(&mut store, back).await;
    daemon.hears("the store takes writes again").await;
    let incident = daemon.incident(&["mass_pin", "mass_unpin"]).await;
    assert_eq!(incident["id"], page["labels"]["incident"]);
    daemon.terminate().await;

    let mut daemon = Daemon::start(&configuration).await;
    daemon.incident(&["mass_pin", "mass_unpin"]).await;
    assert_eq!(pager.causes(), ["mass_pin", "mass_unpin"]);
    daemon.terminate().await;
}

#[tokio::test]
async fn what_a_failing_store_never_took_is_an_error_at_the_end() {
    let fleet = Fleet::new().await;
    let mut daemon = Daemon::start(&fleet.configuration("", "")).await;
    daemon.samples("devices_pinned", 1).await;
    execute(&mut fleet.store().await, "ALTER TABLE sample RENAME TO sample_away").await;
    daemon.hears("watching goes on").await;
    daemon.signal("-TERM");
    assert_eq!(daemon.ended().await.code(), Some(1));
    let log = daemon.log();
    assert!(log.contains("the last samples could not be stored"), "{log}");
    assert!(!log.contains("all is committed"), "{log}");
}
