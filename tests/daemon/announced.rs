//! Maintenance that was announced to a running daemon, over a restart and beyond its bounds.

use super::*;

async fn tell(daemon: &Daemon, event: &Value) -> (u16, Value) {
    let request = daemon.client.post(format!("{}/api/v1/events", daemon.base)).json(event);
    let answer = request.send().await.expect("the daemon answers");
    (answer.status().as_u16(), answer.json().await.expect("it answers in JSON"))
}

/// The incidents of a cause, with everything that is known of them.
async fn of_cause(daemon: &Daemon, cause: &str) -> Option<Value> {
    let answer = daemon.json("/api/v1/incidents").await;
    let incidents = answer["incidents"].as_array().expect("a list").clone();
    let own = incidents.into_iter().find(|incident| incident["cause"] == cause)?;
    let id = own["id"].as_str().expect("an id");
    Some(daemon.json(&format!("/api/v1/incidents/{id}")).await)
}

#[tokio::test]
async fn what_was_announced_is_silent_until_it_goes_beyond() {
    let mut fleet = Fleet::new().await;
    let pager = Pager::start().await;
    let configuration = fleet.paging(&pager.url);
    let mut daemon = Daemon::start(&configuration).await;
    daemon.samples("devices_pinned", 3).await;
    let now = headwater::clock::Clock::System.now();
    let planned = json!({
        "kind": "maintenance", "title": "pin the first half", "source": "ops",
        "until": (now + TimeDelta::hours(1)).to_rfc3339(),
        "expects": { "cause": "mass_pin", "devices_max": 1_000 },
    });
    let (status, taken) = tell(&daemon, &planned).await;
    assert_eq!(status, 201, "{taken}");
    assert_eq!(tell(&daemon, &taken).await.0, 200, "told twice, it is one event");
    assert_eq!(tell(&daemon, &json!({ "kind": "deploy" })).await.0, 400);
    fleet.act(Act::PinToRunningBatch { devices: 700 }).await;
    let silent = wait_for("it is recorded", async || of_cause(&daemon, "mass_pin").await).await;
    assert_eq!(silent["severity"], "info", "{silent}");
    assert_eq!(silent["notifications"], json!([]));
    daemon.samples("devices_pinned", 2).await;
    daemon.terminate().await;

    let mut daemon = Daemon::start(&configuration).await;
    daemon.samples("devices_pinned", 2).await;
    let listed = daemon.json("/api/v1/events").await;
    let kinds: Vec<&str> = listed["events"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|event| event["kind"].as_str().expect("a word"))
        .collect();
    assert_eq!(kinds, ["headwater_start", "maintenance", "headwater_start"]);
    assert_eq!(pager.causes(), [""; 0]);
    fleet.act(Act::PinToRunningBatch { devices: 700 }).await;
    let page = pager.page("mass_pin").await;
    let summary = page["annotations"]["summary"].as_str().expect("a summary");
    assert!(
        summary.contains("beyond the announced maintenance \"pin the first half\""),
        "{summary}"
    );
    assert_eq!(page["labels"]["severity"], "critical");
    let told = of_cause(&daemon, "mass_pin").await.expect("the same incident");
    assert_eq!((&told["id"], &told["severity"]), (&silent["id"], &json!("critical")));
    let evidence = told["evidence"].to_string();
    assert!(evidence.contains("more than announced"), "{evidence}");
    assert_eq!(pager.causes(), ["mass_pin"]);
    daemon.terminate().await;
}
