//! The notifier against a real Alertmanager, and against servers that misbehave as a real one does
//! not on demand. What an alert contains is tested beside the code.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use chrono::TimeDelta;
use headwater::{
    clock::Clock,
    http,
    incident::{BlastRadius, Cause, CauseRecord, Incident, Scope, Severity},
    notify::{
        alertmanager::{Client, Hooks, Outcome, PostError, Sender, run},
        alerts::{AlertSettings, alerts},
    },
    series::Time,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::servers::{alertmanager::Alertmanager, process::wait_for};

/// How fast the notifier's clock runs: its 10 s are 200 ms.
const SPEED: f64 = 50.0;

fn now() -> Time {
    Clock::System.now()
}

fn record(cause: Cause, severity: Severity, detected_at: Time) -> CauseRecord {
    CauseRecord {
        cause,
        severity,
        scope: Scope::Platform,
        onset: detected_at,
        detected_at,
        superseded_at: None,
        title: cause.to_string(),
        summary: format!("{cause} happened."),
        description: "Look at the rows.".to_owned(),
        probability: 0.9,
        evidence: Vec::new(),
        blast_radius: BlastRadius::default(),
        next_steps: Vec::new(),
    }
}

fn incident(id: &str, cause: Cause, severity: Severity) -> Incident {
    Incident {
        id: id.to_owned(),
        causes: vec![record(cause, severity, now())],
        candidates: Vec::new(),
        symptoms: Vec::new(),
        timeline: Vec::new(),
        notifications: Vec::new(),
        resolved_at: None,
        accepted_at: None,
        rejected_at: None,
        familiar: None,
        proposes_acceptance_since: None,
    }
}

fn settings() -> AlertSettings {
    AlertSettings {
        fleet: "test".to_owned(),
        external_url: "http://headwater.example.org".to_owned(),
        runbook_url: "http://runbooks.example.org".to_owned(),
        labels: [("cluster".to_owned(), "eu".to_owned())].into(),
    }
}

/// The incidents, as a store would hold them, and the notifiers that read them.
struct Daemon {
    incidents: Arc<Mutex<Result<Vec<Incident>, String>>>,
    wake: watch::Sender<u64>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

/// What one notifier reported to the metrics.
#[derive(Clone, Default)]
struct Counts {
    outcomes: Arc<Mutex<Vec<Outcome>>>,
    pending: Arc<AtomicUsize>,
}

impl Counts {
    fn of(&self, outcome: Outcome) -> usize {
        let outcomes = self.outcomes.lock().expect("no holder panics");
        outcomes.iter().filter(|one| **one == outcome).count()
    }

    fn pending(&self) -> usize {
        self.pending.load(Ordering::Relaxed)
    }
}

impl Daemon {
    fn new() -> Daemon {
        Daemon {
            incidents: Arc::new(Mutex::new(Ok(Vec::new()))),
            wake: watch::Sender::new(0),
            stop: CancellationToken::new(),
            tasks: JoinSet::new(),
        }
    }

    /// Starts a notifier whose clock shows now and runs at `speed`.
    fn notify(&mut self, url: &url::Url, speed: f64) -> Counts {
        let counts = Counts::default();
        let (outcomes, pending) = (counts.outcomes.clone(), counts.pending.clone());
        let sender = Sender {
            client: Client::new(url).expect("the address is one of HTTP"),
            settings: settings(),
            clock: Clock::scaled(now(), speed),
            hooks: Hooks::new(
                move |outcome| outcomes.lock().expect("no holder panics").push(outcome),
                move |count| pending.store(count, Ordering::Relaxed),
            ),
            seed: 1,
        };
        let incidents = self.incidents.clone();
        let read = move |_resolved_since: Time| {
            let read = incidents.lock().expect("no holder panics").clone();
            async move { read.map_err(|message| anyhow::anyhow!(message)) }
        };
        self.tasks.spawn(run(sender, read, self.wake.subscribe(), self.stop.clone()));
        counts
    }

    /// Stores other incidents and wakes the notifiers.
    fn store(&self, incidents: Vec<Incident>) {
        *self.incidents.lock().expect("no holder panics") = Ok(incidents);
        self.wake.send_modify(|version| *version += 1);
    }

    async fn stop(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("a notifier does not panic");
        }
    }
}

/// A server that keeps what it is sent and answers as it is told.
struct Receiver {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Request>>>,
    answer: Arc<Mutex<Answer>>,
    _tasks: JoinSet<()>,
}

#[derive(Clone)]
struct Request {
    path: String,
    authorization: Option<String>,
    body: Value,
}

#[derive(Clone, Copy)]
enum Answer {
    Status(u16),
    RedirectTo(&'static str),
    Never,
}

impl Receiver {
    async fn start(answer: Answer) -> Receiver {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let answer = Arc::new(Mutex::new(answer));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let router = Router::new().fallback(receive).with_state((seen.clone(), answer.clone()));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, router).await.expect("the server runs") });
        Receiver { address, seen, answer, _tasks: tasks }
    }

    fn url(&self, path: &str) -> url::Url {
        format!("http://{}{path}", self.address).parse().expect("a local address is a URL")
    }

    fn seen(&self) -> Vec<Request> {
        self.seen.lock().expect("no holder panics").clone()
    }

    /// What was sent and not empty.
    fn alerts(&self) -> Vec<Value> {
        let seen = self.seen();
        seen.into_iter().map(|request| request.body).filter(|body| *body != json!([])).collect()
    }

    fn answer(&self, answer: Answer) {
        *self.answer.lock().expect("no holder panics") = answer;
    }
}

type Shared = (Arc<Mutex<Vec<Request>>>, Arc<Mutex<Answer>>);

async fn receive(
    State((seen, answer)): State<Shared>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let authorization = headers.get(header::AUTHORIZATION);
    let authorization = authorization.map(|value| value.to_str().unwrap_or_default().to_owned());
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let request = Request { path: uri.path().to_owned(), authorization, body };
    seen.lock().expect("no holder panics").push(request);
    let answer = *answer.lock().expect("no holder panics");
    match answer {
        Answer::Status(status) => {
            let status = StatusCode::from_u16(status).expect("a status");
            (status, Json("as the test\nasked")).into_response()
        }
        Answer::RedirectTo(location) => {
            (StatusCode::FOUND, [(header::LOCATION, location)]).into_response()
        }
        Answer::Never => std::future::pending().await,
    }
}

/// An Alertmanager that tells `hook` at once, each incident by itself.
fn configuration(hook: &url::Url) -> String {
    format!(
        "route: {{receiver: hook, group_by: [incident], group_wait: 0s, group_interval: 1s}}\n\
         receivers:\n\
         - name: hook\n  \
           webhook_configs: [{{url: '{hook}', send_resolved: true}}]\n"
    )
}

/// What the pager was told: status and names of the alerts of each notification.
fn told(hook: &Receiver) -> Vec<String> {
    let seen = hook.seen();
    let lines = seen.iter().map(|request| {
        let alerts = request.body["alerts"].as_array().expect("a webhook has alerts");
        let mut names: Vec<_> = alerts
            .iter()
            .map(|alert| format!("{} {}", alert["labels"]["alertname"], alert["status"]))
            .collect();
        names.sort();
        format!("{}: {}", request.body["status"], names.join(", ")).replace('"', "")
    });
    lines.collect()
}

#[tokio::test]
async fn alertmanager_is_told_once_when_it_fires_and_once_when_it_ends() {
    let hook = Receiver::start(Answer::Status(200)).await;
    let Some(alertmanager) = Alertmanager::start(&configuration(&hook.url("/hook"))).await else {
        return;
    };
    let mut daemon = Daemon::new();
    let counts = daemon.notify(&alertmanager.url(), 1.0);
    let mut one = incident("a", Cause::MassPin, Severity::Critical);
    daemon.store(vec![one.clone()]);
    let first = wait_for("the page", async || hook.seen().first().cloned()).await.body;
    assert_eq!(told(&hook), ["firing: MassPin firing"]);
    let alert = &first["alerts"][0];
    for (label, value) in [
        ("alertname", "MassPin"),
        ("cause", "mass_pin"),
        ("severity", "critical"),
        ("scope", "platform"),
        ("fleet", "test"),
        ("source", "headwater"),
        ("incident", "a"),
        ("cluster", "eu"),
    ] {
        assert_eq!(alert["labels"][label], value, "label {label}");
    }
    assert_eq!(alert["annotations"]["summary"], "mass_pin happened.");
    assert_eq!(alert["generatorURL"], "http://headwater.example.org/incidents/a");

    // Sent again and again, with annotations that nobody is told of; a restart forgets the alerts
    // but not what was notified.
    let sent = counts.of(Outcome::Sent);
    for _ in 0..3 {
        daemon.store(vec![one.clone()]);
        tokio::task::yield_now().await;
    }
    wait_for("another POST", async || (counts.of(Outcome::Sent) > sent).then_some(())).await;
    let alertmanager = alertmanager.restart().await;
    daemon.store(vec![one.clone()]);
    wait_for("the alert after the restart", async || alertmanager.alerts().await.pop()).await;

    // The sequel is one more page of the same incident; the end is told of both.
    one.causes.push(record(Cause::MassUnpin, Severity::Critical, now()));
    daemon.store(vec![one.clone()]);
    wait_for("the second page", async || (hook.seen().len() == 2).then_some(())).await;
    assert_eq!(told(&hook)[1], "firing: MassPin firing, MassUnpin firing");
    one.resolved_at = Some(now());
    daemon.store(vec![one.clone()]);
    wait_for("the end", async || (hook.seen().len() == 3).then_some(())).await;
    assert_eq!(told(&hook)[2], "resolved: MassPin resolved, MassUnpin resolved");
    assert!(alertmanager.alerts().await.is_empty());
    assert_eq!(counts.pending(), 0);
    assert_eq!(counts.of(Outcome::Rejected), 0);
    daemon.stop().await;
    assert_eq!(hook.seen().len(), 3, "the last pass told nobody anything new: {:?}", told(&hook));
}

/// Sends an alert that is not Headwater's, as a Prometheus would.
async fn send_foreign(alertmanager: &Alertmanager, labels: Value) {
    let client = http::client(Duration::from_secs(5)).expect("a client can be made");
    let url = alertmanager.url().join("api/v2/alerts").expect("a path of the API");
    let answer = client.post(url).json(&json!([{ "labels": labels }])).send().await;
    assert!(answer.expect("Alertmanager answers").status().is_success());
}

/// The names of the alerts that Alertmanager mutes because of another.
async fn inhibited(alertmanager: &Alertmanager) -> Vec<String> {
    let alerts = alertmanager.alerts().await;
    let muted = alerts.iter().filter(|alert| alert["status"]["inhibitedBy"] != json!([]));
    let mut names: Vec<_> = muted
        .map(|alert| alert["labels"]["alertname"].as_str().unwrap_or_default().to_owned())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn the_shipped_configuration_mutes_the_symptoms_of_a_cause_and_nothing_else() {
    let hook = Receiver::start(Answer::Status(200)).await;
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/alerts/alertmanager.example.yml");
    let example = std::fs::read_to_string(example).expect("the example is there");
    // Nobody outside is told: the key is in no file, and the chat is ours.
    let configuration = example
        .replace("/etc/alertmanager/pagerduty.key", "/nonexistent/pagerduty.key")
        .replace("http://127.0.0.1:9094/alerts", hook.url("/hook").as_str());
    assert!(configuration.contains("/nonexistent/") && configuration.contains("/hook"));
    let Some(alertmanager) = Alertmanager::start(&configuration).await else { return };
    for (name, labels) in [
        ("QueueLong", json!({ "fleet": "test", "fleet_symptom": "true" })),
        ("OtherQueueLong", json!({ "fleet": "other", "fleet_symptom": "true" })),
        ("NobodysQueueLong", json!({ "fleet_symptom": "true" })),
        ("DiskFull", json!({ "fleet": "test" })),
        ("HeadwaterSourceDown", json!({ "source": "fleet" })),
        ("HeadwaterSourceStale", json!({ "source": "fleet" })),
        ("HeadwaterIncidentOpen", json!({ "cause": "mass_unpin" })),
    ] {
        let mut labels = labels;
        labels["alertname"] = json!(name);
        labels["severity"] = json!("critical");
        send_foreign(&alertmanager, labels).await;
    }
    assert!(inhibited(&alertmanager).await.is_empty());

    let mut daemon = Daemon::new();
    daemon.notify(&alertmanager.url(), 1.0);
    let cause = incident("a", Cause::MassUnpin, Severity::Critical);
    let blind = incident("b", Cause::SamplingLost, Severity::Critical);
    let quiet = incident("c", Cause::Unexplained, Severity::Warning);
    let muted = async |expected: &[&str]| {
        let what = format!("muted are {expected:?}");
        wait_for(&what, async || (inhibited(&alertmanager).await == expected).then_some(())).await;
        let alerts = alertmanager.alerts().await;
        let own = alerts.iter().filter(|alert| alert["labels"]["source"] == "headwater");
        own.count()
    };
    daemon.store(vec![quiet.clone()]);
    wait_for("the warning in the chat", async || hook.seen().pop()).await;
    assert_eq!(muted(&[]).await, 1, "a warning mutes nothing");
    daemon.store(vec![quiet.clone(), cause.clone()]);
    assert_eq!(muted(&["HeadwaterIncidentOpen", "QueueLong"]).await, 2);
    daemon.store(vec![quiet, cause, blind]);
    let all = ["HeadwaterIncidentOpen", "HeadwaterSourceDown", "QueueLong"];
    assert_eq!(muted(&all).await, 3);
    daemon.stop().await;
}

#[tokio::test]
async fn a_dead_alertmanager_delays_no_other_and_is_counted() {
    let dead = Receiver::start(Answer::Never).await;
    let refusing = Receiver::start(Answer::Status(503)).await;
    let living = Receiver::start(Answer::Status(200)).await;
    let mut daemon = Daemon::new();
    let of_dead = daemon.notify(&dead.url("/"), SPEED);
    let of_refusing = daemon.notify(&refusing.url("/"), SPEED);
    let of_living = daemon.notify(&living.url("/"), SPEED);
    daemon.store(vec![incident("a", Cause::MassUnpin, Severity::Critical)]);
    wait_for("the living one has it twice", async || (living.alerts().len() >= 2).then_some(()))
        .await;
    assert_eq!(of_dead.of(Outcome::Sent) + of_refusing.of(Outcome::Sent), 0);
    assert_eq!(of_living.of(Outcome::Failed), 0);
    wait_for("a retry", async || (of_refusing.of(Outcome::Failed) >= 3).then_some(())).await;
    assert_eq!(of_refusing.pending(), 1);

    // It heals by itself.
    refusing.answer(Answer::Status(200));
    wait_for("delivery", async || (of_refusing.of(Outcome::Sent) >= 1).then_some(())).await;
    wait_for("nothing pending", async || (of_refusing.pending() == 0).then_some(())).await;
    assert_eq!(of_dead.pending(), 1);
}

#[tokio::test]
async fn a_pager_that_is_gone_is_known_before_it_is_needed() {
    let gone = Receiver::start(Answer::Status(401)).await;
    let mut daemon = Daemon::new();
    let counts = daemon.notify(&gone.url("/"), SPEED);
    wait_for("refusals", async || (counts.of(Outcome::Rejected) >= 2).then_some(())).await;
    assert!(gone.alerts().is_empty());
    gone.answer(Answer::Status(200));
    let passes = gone.seen().len();
    wait_for("two more passes", async || (gone.seen().len() >= passes + 2).then_some(())).await;
    assert_eq!(counts.of(Outcome::Sent), 0, "an empty list notifies nobody");
    daemon.stop().await;
}

#[tokio::test]
async fn a_store_that_fails_resolves_nothing() {
    let receiver = Receiver::start(Answer::Status(200)).await;
    let mut daemon = Daemon::new();
    daemon.notify(&receiver.url("/"), SPEED);
    daemon.store(vec![incident("a", Cause::MassPin, Severity::Critical)]);
    wait_for("the alert", async || receiver.alerts().pop()).await;
    *daemon.incidents.lock().expect("no holder panics") = Err("disk full".to_owned());
    let before = receiver.alerts().len();
    wait_for("two passes", async || (receiver.alerts().len() >= before + 3).then_some(())).await;
    let ends = |alerts: &Value| -> Time {
        let end = alerts[0]["endsAt"].as_str().expect("an alert ends");
        end.parse().expect("an instant")
    };
    let sent = receiver.alerts();
    assert!(ends(&sent[sent.len() - 1]) > ends(&sent[before - 1]), "still prolonged");
    daemon.stop().await;
}

#[tokio::test]
async fn the_loudest_go_first_and_the_last_state_is_sent_before_the_end() {
    let receiver = Receiver::start(Answer::Status(200)).await;
    let mut daemon = Daemon::new();
    // At the clock's own pace: only the wake-up and the end can bring a pass.
    let counts = daemon.notify(&receiver.url("/"), 1.0);
    let quiet = incident("a", Cause::Unexplained, Severity::Warning);
    let mut loud = incident("b", Cause::MassPin, Severity::Critical);
    daemon.store(vec![quiet.clone(), loud.clone()]);
    let sent = wait_for("both", async || receiver.alerts().pop()).await;
    let severities = [&sent[0]["labels"]["severity"], &sent[1]["labels"]["severity"]];
    assert_eq!(severities, ["critical", "warning"]);
    // Stored without a wake-up, as by a batch that commits during the shutdown.
    loud.resolved_at = Some(loud.causes[0].detected_at + TimeDelta::milliseconds(1));
    let ended = loud.resolved_at.map(|at| at.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true));
    *daemon.incidents.lock().expect("no holder panics") = Ok(vec![quiet, loud]);
    daemon.stop().await;
    let sent = receiver.alerts().pop().expect("a last POST");
    assert_eq!(sent[0]["endsAt"].as_str(), ended.as_deref());
    assert_eq!(counts.pending(), 0);
}

#[tokio::test]
async fn more_alerts_than_fit_are_sent_in_several_posts() {
    let receiver = Receiver::start(Answer::Status(200)).await;
    let mut daemon = Daemon::new();
    daemon.notify(&receiver.url("/"), 1.0);
    let many = (0..120).map(|n| incident(&n.to_string(), Cause::MassPin, Severity::Critical));
    daemon.store(many.collect());
    wait_for("all of them", async || (receiver.alerts().len() == 3).then_some(())).await;
    let sizes: Vec<_> =
        receiver.alerts().iter().map(|body| body.as_array().map_or(0, Vec::len)).collect();
    assert_eq!(sizes, [50, 50, 20]);
    daemon.stop().await;
}

/// What one POST to a server that answers so is taken for.
async fn post_to(answer: Answer, path: &str) -> (Result<(), PostError>, Receiver) {
    let receiver = Receiver::start(answer).await;
    let mut url = receiver.url(path);
    url.set_username("pager").expect("HTTP addresses have users");
    url.set_password(Some("hunter2")).expect("HTTP addresses have passwords");
    let client = Client::new(&url).expect("the address is one of HTTP");
    assert!(!client.name().contains("hunter2"), "{}", client.name());
    let sent = alerts(&incident("a", Cause::MassPin, Severity::Critical), now(), &settings());
    (client.post(&sent).await, receiver)
}

#[tokio::test]
async fn the_base_path_and_the_credentials_are_kept() {
    for (path, expected) in [
        ("", "/api/v2/alerts"),
        ("/", "/api/v2/alerts"),
        ("/alertmanager", "/alertmanager/api/v2/alerts"),
        ("/tenant/alertmanager/", "/tenant/alertmanager/api/v2/alerts"),
    ] {
        let (answer, receiver) = post_to(Answer::Status(200), path).await;
        assert_eq!(answer, Ok(()));
        let request = receiver.seen().pop().expect("a request");
        assert_eq!(request.path, expected);
        assert_eq!(request.authorization.as_deref(), Some("Basic cGFnZXI6aHVudGVyMg=="));
        assert_eq!(request.body.as_array().map(Vec::len), Some(1));
    }
}

#[tokio::test]
async fn what_cannot_help_is_given_up_and_what_may_help_is_retried() {
    for (status, retried) in [
        (400, false),
        (401, false),
        (404, false),
        (422, false),
        (408, true),
        (429, true),
        (500, true),
    ] {
        let (answer, _receiver) = post_to(Answer::Status(status), "").await;
        let error = answer.expect_err("not accepted");
        let is_retried = matches!(error, PostError::Retry(_));
        assert_eq!(is_retried, retried, "{status}: {error:?}");
        let (PostError::Retry(message) | PostError::GiveUp(message)) = error;
        assert!(message.contains(&status.to_string()), "{message}");
        assert!(message.contains("as the test\\nasked"), "{message}");
    }
}

#[tokio::test]
async fn a_redirect_is_no_delivery() {
    let (answer, receiver) = post_to(Answer::RedirectTo("/elsewhere"), "").await;
    let Err(PostError::GiveUp(message)) = answer else { panic!("{answer:?}") };
    assert_eq!(message, "it answered 302 Found; give the address that it redirects to");
    assert_eq!(receiver.seen().len(), 1, "it is not followed");
}

#[tokio::test]
async fn nobody_there_is_retried_and_named_without_the_password() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let address = listener.local_addr().expect("a bound listener has an address");
    drop(listener);
    let mut url: url::Url = format!("http://{address}").parse().expect("a URL");
    url.set_password(Some("hunter2")).expect("HTTP addresses have passwords");
    let client = Client::new(&url).expect("the address is one of HTTP");
    let Err(PostError::Retry(message)) = client.post(&[]).await else { panic!("not retried") };
    assert!(!message.contains("hunter2"), "{message}");
    assert!(message.contains("refused"), "{message}");
}

#[tokio::test]
async fn nobody_hangs_on_a_server_that_does_not_answer() {
    let (answer, _receiver) = post_to(Answer::Never, "").await;
    assert!(matches!(answer, Err(PostError::Retry(_))), "{answer:?}");
}
