//! Start, end and start again.

use super::*;
use crate::servers::alertmanager::Alertmanager;

#[tokio::test]
async fn it_serves_every_source_and_ends_with_all_committed() {
    let fleet = Fleet::new().await;
    let (prometheus, _serving) = prometheus().await;
    let sources = format!(
        "  - type: prometheus\n    url: {prometheus}\n    signals:\n      delta_queue: queue\n  \
         - type: sql\n    url: sqlite://{}\n    signals:\n      \
         application_rows: SELECT count(*) FROM application\n  \
         - type: push\n    signals: [ops_queue_depth]\n",
        fleet.path("fleet.db").display()
    );
    let mut daemon = Daemon::start(&fleet.configuration(&sources, "")).await;
    for signal in ["devices_pinned", "delta_queue", "application_rows"] {
        daemon.samples(signal, 2).await;
    }
    let cold = ["are still learning; the newest", "learn from their first sample on"];
    assert_eq!(cold.map(|words| daemon.said(words)).iter().sum::<usize>(), 1, "{}", daemon.log());
    let push = daemon.client.post(format!("{}/api/v1/samples", daemon.base));
    let pushed = push.json(&json!({ "values": { "ops_queue_depth": 3 } })).send().await;
    assert_eq!(pushed.expect("the daemon answers").status(), 202);
    daemon.samples("ops_queue_depth", 1).await;

    for source in ["open_balena", "prometheus", "sql"] {
        let up = daemon.metric(&format!("headwater_source_up{{source=\"{source}\"}}")).await;
        assert_eq!(up, Some(1.0), "{source}");
    }
    assert_eq!(daemon.metric("headwater_signal_value{signal=\"delta_queue\"}").await, Some(5.0));
    assert_eq!(daemon.get("/-/healthy").await.0, 200);
    assert_eq!(daemon.json("/api/v1/incidents").await["incidents"], json!([]));
    let (_, last) = daemon.signal_state("devices_pinned").await.expect("it was sampled");

    daemon.terminate().await;
    let text = last.to_rfc3339();
    let mut export = headwater();
    export.args(["export", "--since", &text, "--config"]).arg(fleet.path("headwater.yml"));
    let exported = run(export).await;
    let rows = String::from_utf8(exported.stdout).expect("a recording is text");
    let heading = rows.lines().next().unwrap_or_default();
    let pinned = heading.split(',').position(|name| name == "devices_pinned");
    let said = String::from_utf8_lossy(&exported.stderr);
    let pinned = pinned.unwrap_or_else(|| panic!("nothing since {text}: {rows}{said}"));
    let values: Vec<&str> =
        rows.lines().skip(1).filter_map(|row| row.split(',').nth(pinned)).collect();
    assert!(values.iter().any(|value| !value.is_empty()), "the last sample is there: {rows}");
}

#[tokio::test]
async fn an_interrupt_drains_too_and_a_second_one_cuts() {
    let fleet = Fleet::new().await;
    // It takes connections and never answers: the last pass of the notifier waits for it.
    let hanging = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", hanging.local_addr().expect("it is bound"));
    for signal in ["-INT", "-TERM"] {
        let mut daemon = Daemon::start(&fleet.paging(&url)).await;
        daemon.samples("devices_pinned", 1).await;
        daemon.signal(signal);
        daemon.hears("draining").await;
        daemon.signal(signal);
        let status = daemon.ended().await;
        let log = daemon.log();
        assert_eq!(status.code(), Some(1), "{log}");
        assert!(log.contains("error: cut by a second signal before these had ended"), "{log}");
        assert!(log.contains("notifier"), "it waits for the pager: {log}");
    }

    let mut daemon = Daemon::start(&fleet.configuration("", "")).await;
    daemon.signal("-INT");
    assert_eq!(daemon.ended().await.code(), Some(0), "{}", daemon.log());
    assert_eq!(daemon.said("all is committed"), 1);
}

#[tokio::test]
async fn an_address_or_store_that_cannot_be_had_exits_1_and_says_so() {
    let fleet = Fleet::new().await;
    let taken = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let path = fleet.configuration("", "");
    let text = fs::read_to_string(&path).expect("it was just written");
    fs::write(&path, text.replace("127.0.0.1:0", &address)).expect("writable");
    let mut command = headwater();
    command.args(["run", "--config"]).arg(&path);
    let output = run(command).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains(&format!("error: cannot listen on {address}: is another")), "{said}");

    fs::write(fleet.path("headwater.db"), "no database, but words. ".repeat(100))
        .expect("writable");
    let mut command = headwater();
    command.args(["run", "--config"]).arg(fleet.configuration("", ""));
    let output = run(command).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("the file is damaged or no SQLite database: move it away"), "{said}");
}

#[tokio::test]
async fn a_sequel_during_a_planned_restart_joins_the_incident() {
    let (mut fleet, pager) = (Fleet::new().await, Pager::start().await);
    let configuration = fleet.paging(&pager.url);
    let mut daemon = Daemon::start(&configuration).await;
    daemon.samples("devices_pinned", 3).await;
    fleet.act(Act::PinEverythingToRunning).await;
    let before = daemon.incident(&["mass_pin"]).await;
    let page = pager.page("mass_pin").await;
    daemon.terminate().await;

    fleet.act(Act::UnpinEverything).await;
    let mut daemon = Daemon::start(&configuration).await;
    assert_eq!(daemon.said("goes on from the stored detector state"), 1, "{}", daemon.log());
    let after = daemon.incident(&["mass_pin", "mass_unpin"]).await;
    let second = pager.page("mass_unpin").await;
    assert_eq!(after["id"], before["id"]);
    assert_eq!(second["labels"]["incident"], before["id"]);
    assert_eq!(pager.of("mass_pin").pop().expect("sent again")["labels"], page["labels"]);
    daemon.samples("devices_pinned", 3).await;
    assert_eq!(daemon.loud().await.len(), 1, "one story, one incident");
    assert_eq!(pager.causes(), ["mass_pin", "mass_unpin"], "two pages and no more");
    daemon.terminate().await;
}

#[tokio::test]
async fn a_crash_in_the_middle_loses_no_incident_and_pages_nobody_twice() {
    let quiet = "route: { receiver: nobody }\nreceivers: [{ name: nobody }]\n";
    let Some(alertmanager) = Alertmanager::start(quiet).await else { return };
    let mut fleet = Fleet::new().await;
    let configuration = fleet.paging(alertmanager.url().as_str());
    let mut daemon = Daemon::start(&configuration).await;
    daemon.samples("devices_pinned", 3).await;
    fleet.act(Act::PinEverythingToRunning).await;
    let before = daemon.incident(&["mass_pin"]).await;
    daemon.signal("-KILL");
    assert_eq!(daemon.ended().await.code(), None, "killed");

    let mut daemon = Daemon::start(&configuration).await;
    let restored = daemon.loud().await;
    assert_eq!(restored[0]["id"], before["id"], "open from the first answer on");
    assert_eq!(restored[0]["resolved_at"], Value::Null);
    let open =
        "headwater_incident_open{cause=\"mass_pin\",scope=\"platform\",severity=\"critical\"}";
    assert_eq!(daemon.metric(open).await, Some(1.0));
    daemon.samples("devices_pinned", 2).await;
    assert_eq!(daemon.metric(open).await, Some(1.0), "samples later too");
    fleet.act(Act::UnpinEverything).await;
    let after = daemon.incident(&["mass_pin", "mass_unpin"]).await;
    assert_eq!(after["id"], before["id"]);
    let alerts = wait_for("both alerts", async || {
        let alerts = alertmanager.alerts().await;
        (alerts.len() >= 2).then_some(alerts)
    })
    .await;
    let labels = |name: &str| {
        let mut values: Vec<_> =
            alerts.iter().map(|alert| alert["labels"][name].as_str().expect("a label")).collect();
        values.sort_unstable();
        values
    };
    assert_eq!(labels("cause"), ["mass_pin", "mass_unpin"]);
    let id = before["id"].as_str().expect("an id");
    assert_eq!(labels("incident"), [id, id]);
    daemon.terminate().await;
}

/// A store with an open incident, whose daemon has ended.
async fn with_an_open_incident(fleet: &mut Fleet, pager: &Pager) -> Value {
    let mut daemon = Daemon::start(&fleet.paging(&pager.url)).await;
    daemon.samples("devices_pinned", 3).await;
    fleet.act(Act::PinEverythingToRunning).await;
    let incident = daemon.incident(&["mass_pin"]).await;
    pager.page("mass_pin").await;
    daemon.terminate().await;
    incident
}

#[tokio::test]
async fn a_state_of_another_version_starts_cold_and_closes_what_it_cannot_follow() {
    let (mut fleet, pager) = (Fleet::new().await, Pager::start().await);
    let before = with_an_open_incident(&mut fleet, &pager).await;
    execute(&mut fleet.store().await, "UPDATE state SET version = version + 1").await;

    let mut daemon = Daemon::start(&fleet.paging(&pager.url)).await;
    assert_eq!(daemon.said("detection starts cold"), 1, "{}", daemon.log());
    assert_eq!(daemon.said("closed: it was open in the store"), 1, "{}", daemon.log());
    assert_eq!(daemon.said("learned from the store"), 1, "the samples are there: {}", daemon.log());
    assert_eq!(daemon.said("are still learning; the newest"), 1, "{}", daemon.log());
    let id = before["id"].as_str().expect("an id");
    let after = daemon.json(&format!("/api/v1/incidents/{id}")).await;
    assert_ne!(after["resolved_at"], Value::Null);
    let timeline = after["timeline"].as_array().expect("a list");
    let last = timeline.last().expect("it has a history")["text"].as_str().expect("a text");
    assert!(last.contains("without being over"), "{last}");
    wait_for("the end of the alert", async || {
        let alert = pager.of("mass_pin").pop()?;
        let end = since::parse(alert["endsAt"].as_str()?, Time::UNIX_EPOCH).ok()?;
        (end <= headwater::clock::Clock::System.now()).then_some(())
    })
    .await;
    // It watches again, from nothing.
    daemon.samples("devices_pinned", 3).await;
    fleet.act(Act::UnpinEverything).await;
    let next = daemon.incident(&["mass_unpin"]).await;
    assert_ne!(next["id"], before["id"]);
    daemon.terminate().await;
}

#[tokio::test]
async fn a_damaged_state_starts_cold_too() {
    let (mut fleet, pager) = (Fleet::new().await, Pager::start().await);
    with_an_open_incident(&mut fleet, &pager).await;
    execute(&mut fleet.store().await, "UPDATE state SET body = '{\"version\":'").await;
    let mut daemon = Daemon::start(&fleet.paging(&pager.url)).await;
    let log = daemon.log();
    assert!(log.contains("cannot be understood") && log.contains("detection starts cold"), "{log}");
    assert_ne!(daemon.loud().await[0]["resolved_at"], Value::Null);
    daemon.terminate().await;
}
