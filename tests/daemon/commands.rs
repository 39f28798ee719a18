//! The commands that speak with a running daemon, and what they and the API may do.

use super::*;

const TOKEN: &str = "correct-horse";

/// `headwater incidents …`, against a daemon.
async fn incidents(daemon: &Daemon, arguments: &[&str], token: Option<&str>) -> (i32, String) {
    let mut command = headwater();
    command.arg("incidents").args(arguments).args(["--url", &daemon.base]);
    command.envs(token.map(|token| ("HEADWATER_TOKEN", token)));
    let output = run(command).await;
    let said = [output.stdout, output.stderr].concat();
    let code = output.status.code().expect("it ended by itself");
    (code, String::from_utf8(said).expect("it is text"))
}

async fn post(daemon: &Daemon, path: &str, token: Option<&str>) -> u16 {
    let mut request = daemon.client.post(format!("{}{path}", daemon.base));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    request.send().await.expect("the daemon answers").status().as_u16()
}

#[tokio::test]
async fn an_incident_is_accepted_through_the_api_and_rejected_by_the_command() {
    let mut fleet = Fleet::new().await;
    let token = format!("events_token: {TOKEN}\n");
    let mut daemon = Daemon::start(&fleet.configuration("", &token)).await;
    assert_eq!(incidents(&daemon, &[], None).await, (0, "no incidents\n".to_owned()));
    daemon.samples("devices_pinned", 3).await;
    fleet.act(Act::PinEverythingToRunning).await;
    let first = daemon.incident(&["mass_pin"]).await["id"].as_str().expect("an id").to_owned();

    let (code, list) = incidents(&daemon, &["list"], None).await;
    assert!(code == 0 && list.contains("open") && list.contains(&first), "{list}");
    let (code, shown) = incidents(&daemon, &["show", &first], None).await;
    assert!(code == 0 && shown.contains("CAUSE") && shown.contains("mass_pin"), "{shown}");
    let (code, said) = incidents(&daemon, &["accept", &first], None).await;
    assert!(code == 1 && said.contains("401") && said.contains("events_token"), "{said}");
    let accept = format!("/api/v1/incidents/{first}/accept");
    assert_eq!(post(&daemon, &accept, Some("wrong")).await, 401);
    assert_eq!(post(&daemon, &accept, Some(TOKEN)).await, 200);
    let accepted = daemon.json(&format!("/api/v1/incidents/{first}")).await;
    assert_ne!(accepted["accepted_at"], Value::Null);
    assert_eq!(post(&daemon, &accept, Some(TOKEN)).await, 409, "it is closed");
    assert_eq!(post(&daemon, "/api/v1/incidents/none/accept", Some(TOKEN)).await, 404);

    daemon.samples("devices_pinned", 2).await;
    fleet.act(Act::UnpinEverything).await;
    let second = daemon.incident(&["mass_unpin"]).await["id"].as_str().expect("an id").to_owned();
    let (code, said) = incidents(&daemon, &["reject", &second], Some(TOKEN)).await;
    assert!(code == 0 && said.contains("the diagnosis was called wrong"), "{said}");
    daemon.samples("devices_pinned", 3).await;
    assert_eq!(daemon.loud().await.len(), 2, "a closed incident does not open again");
    assert!(!daemon.log().contains(TOKEN), "no secret in the log");
    daemon.terminate().await;
}

#[tokio::test]
async fn without_a_token_whoever_reaches_the_port_may_decide() {
    let mut fleet = Fleet::new().await;
    let mut daemon = Daemon::start(&fleet.configuration("", "")).await;
    daemon.samples("devices_pinned", 3).await;
    fleet.act(Act::PinEverythingToRunning).await;
    let id = daemon.incident(&["mass_pin"]).await["id"].as_str().expect("an id").to_owned();
    let (code, said) = incidents(&daemon, &["accept", &id], None).await;
    assert!(code == 0 && said.contains("accepted as the new normal"), "{said}");
    let (code, said) = incidents(&daemon, &["reject", &id], None).await;
    assert!(code == 1 && said.contains("is not open any more"), "{said}");
    daemon.terminate().await;
}

#[tokio::test]
async fn what_was_sampled_comes_out_as_a_recording_that_a_backtest_finds_quiet() {
    let mut fleet = Fleet::new().await;
    let (prometheus, _serving) = prometheus().await;
    let sources = format!(
        "  - type: prometheus\n    url: {prometheus}\n    signals:\n      delta_queue: queue\n"
    );
    let configuration = fleet.configuration(&sources, "");
    let mut daemon = Daemon::start(&configuration).await;
    for _ in 0..6 {
        fleet.live().await;
        daemon.samples("devices_pinned", 2).await;
    }
    let export = async |arguments: &[&str]| {
        let mut command = headwater();
        command.args(["export", "--since", "1h"]).args(arguments);
        let output = run(command).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("a recording is text")
    };
    let asked = export(&["--url", &daemon.base]).await;
    let path = configuration.display().to_string();
    let read = export(&["--config", &path]).await;
    assert!(asked.lines().count() > 12, "{asked}");
    assert!(read.starts_with(&asked), "the same, and what came since:\n{asked}\n{read}");
    daemon.terminate().await;
    assert!(export(&["--config", &path]).await.starts_with(&asked), "the daemon need not run");

    let recording = fleet.path("recording.csv");
    fs::write(&recording, &asked).expect("the temporary directory is writable");
    let mut command = headwater();
    command.arg("backtest").arg(&recording).args(["--format", "json"]);
    let output = run(command).await;
    let results = String::from_utf8(output.stdout).expect("results are text");
    let summary: Value =
        serde_json::from_str(results.lines().last().expect("a summary")).expect("results are JSON");
    assert_eq!(summary["type"], "summary", "{results}");
    assert_eq!((&summary["pages"], &summary["warnings"]), (&json!(0), &json!(0)), "{results}");
}
