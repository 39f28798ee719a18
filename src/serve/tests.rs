//! The router over a real store, with made-up incidents; no socket except for the client's tests.

use std::collections::BTreeMap;

use axum::{
    body::{Body, to_bytes},
    http::{HeaderMap, Method},
};
use chrono::TimeDelta;
use expect_test::{Expect, expect};
use tower::ServiceExt;

use super::*;
use crate::{
    config::{NotifyConfig, SourceConfig},
    observation::Outcome,
    report::{
        self,
        story::{self, at},
    },
    store::{Batch, Sample},
    values::Values,
};

mod client;
mod events;
mod pages;

const TOKEN: &str = "correct horse battery";

struct Served {
    state: AppState,
    commands: mpsc::Receiver<Command>,
    ready: watch::Sender<bool>,
    standing: watch::Sender<Standing>,
    _directory: tempfile::TempDir,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Served {
    async fn new(batch: Batch) -> Served {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/headwater.db", directory.path().display());
        let store = Store::open(&Secret::new(url)).await.unwrap();
        store.commit(&batch, None).await.unwrap();
        let (commands_in, commands) = mpsc::channel(4);
        let (standing, standing_seen) = watch::channel(Standing::default());
        let (ready, ready_seen) = watch::channel(true);
        let pushed = BTreeSet::from(["ops_queue_depth".to_owned()]);
        let settings = Settings {
            fleet: "production".to_owned(),
            runbook_url: "https://runbooks.example.org/headwater".to_owned(),
            events_token: None,
            interval: Duration::from_secs(15),
            sources: vec![
                ("fleet".to_owned(), BTreeSet::new()),
                ("prometheus".to_owned(), BTreeSet::new()),
                ("push".to_owned(), pushed),
            ],
        };
        let state = AppState {
            store,
            metrics: Arc::new(Metrics::new(["fleet"], Duration::from_secs(15), "0.1.0")),
            commands: commands_in,
            standing: standing_seen,
            ready: ready_seen,
            settings: Arc::new(settings),
            // A clock that all but stands still, two minutes after the second onset.
            clock: Clock::scaled(at("22:18:00"), 1e-9),
        };
        Served { state, commands, ready, standing, _directory: directory }
    }

    /// The night, an earlier customer's act, and samples around both.
    async fn night() -> Served {
        let served = Served::new(night()).await;
        served.standing.send_replace(story::standing());
        served
    }

    fn with_token(mut self) -> Served {
        let token = Some(Secret::new(TOKEN));
        let settings = Settings { events_token: token, ..(*self.state.settings).clone() };
        self.state.settings = Arc::new(settings);
        self
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response = router(self.state.clone()).oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        let body = String::from_utf8(body.to_vec()).unwrap();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, &[], "").await
    }

    async fn post(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.ask(Method::POST, path, headers, "").await
    }

    async fn push(&self, body: &str) -> Answer {
        let json = [("content-type", "application/json")];
        self.ask(Method::POST, "/api/v1/samples", &json, body).await
    }
}

fn night() -> Batch {
    let mut samples = Vec::new();
    for step in 0..240 {
        let instant = at("21:20:00") + TimeDelta::seconds(15 * step);
        let pinned = match instant {
            _ if instant < at("22:14:00") => 61_234.0,
            _ if instant < at("22:16:00") => 461_234.0,
            _ => 0.0,
        };
        let values = [("devices_pinned", pinned), ("pending_updates", 20_412.0)];
        let values = values.map(|(name, value)| (name.to_owned(), value));
        let source = "fleet".to_owned();
        samples.push(Sample { at: instant, source, values: Values::from(values) });
    }
    Batch {
        samples,
        changes: vec![story::change()],
        incidents: vec![story::customer_rollout(), story::night()],
        events: Vec::new(),
    }
}

#[track_caller]
fn check(answer: &Answer, status: u16, wanted: &Expect) {
    wanted.assert_eq(&answer.body);
    assert_eq!(answer.status.as_u16(), status);
}

#[track_caller]
fn check_has(page: &str, parts: &[&str]) {
    for part in parts {
        assert!(page.contains(part), "{part} is missing in\n{page}");
    }
}

/// What holds for every page.
#[track_caller]
fn check_page(answer: &Answer, status: u16) {
    assert_eq!(answer.status.as_u16(), status, "{}", answer.body);
    assert_eq!(answer.headers["content-type"], "text/html; charset=utf-8");
    let policy = answer.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    let page = &answer.body;
    check_has(page, &["<html lang=\"en\">", "name=\"viewport\"", "<title>", "<main><h1>", "UTC"]);
    for foreign in ["<script", "<link", "<img", "src=", "@import", "url("] {
        assert!(!page.contains(foreign), "{foreign} in\n{page}");
    }
    assert!(page.len() < 100_000, "{} bytes", page.len());
}

#[tokio::test]
async fn health_and_metrics_answer() {
    let served = Served::night().await;
    check(&served.get("/-/healthy").await, 200, &expect!["headwater is healthy\n"]);
    check(&served.get("/-/ready").await, 200, &expect!["headwater is ready\n"]);
    served.ready.send_replace(false);
    check(&served.get("/-/ready").await, 503, &expect!["headwater is starting\n"]);
    let metrics = served.get("/metrics").await;
    assert_eq!(metrics.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    check_has(&metrics.body, &["headwater_build_info{version=\"0.1.0\"} 1"]);
}

#[tokio::test]
async fn incidents_are_the_contracts_json() {
    let served = Served::night().await;
    let answer = served.get("/api/v1/incidents").await;
    assert_eq!(answer.headers["content-type"], "application/json");
    let incidents = [story::night(), story::customer_rollout()];
    let lines = incidents.iter().map(|incident| report::line(&report::incident_json(incident)));
    let lines: Vec<_> = lines.collect();
    assert_eq!(answer.body, format!("{{\"incidents\":[{}]}}", lines.join(",")), "newest first");

    let one = served.get("/api/v1/incidents?limit=1").await;
    assert_eq!(one.body, format!("{{\"incidents\":[{}]}}", lines[0]));

    let id = story::night().id;
    let detail = served.get(&format!("/api/v1/incidents/{id}")).await;
    assert_eq!(detail.body, report::line(&report::incident_detail_json(&story::night())));

    let missing = served.get("/api/v1/incidents/none%22such").await;
    check(&missing, 404, &expect![[r#"{"error":"there is no incident \"none\\\"such\""}"#]]);
    let wrong = served.get("/api/v1/incidents?limit=many").await;
    assert!(wrong.status == 400 && wrong.body.starts_with("{\"error\":"), "{}", wrong.body);
    let empty = Served::new(Batch::default()).await;
    check(&empty.get("/api/v1/incidents").await, 200, &expect![[r#"{"incidents":[]}"#]]);
}

#[tokio::test]
async fn signals_are_sorted_by_name() {
    let served = Served::night().await;
    let answer = served.get("/api/v1/signals").await;
    let lines = story::signals();
    let lines: Vec<_> =
        lines.iter().map(|status| report::line(&report::signal_json(status))).collect();
    let signals = format!("{{\"signals\":[{}],", lines.join(","));
    let rest = answer.body.strip_prefix(&signals).expect("the signals, in the order of names");
    expect![[r#""notifications":{"watched_days":60,"pages":{"count":2,"rejected":0,"per_month":{"rate":1,"low":0.12110463927198248,"high":3.6123438338619773},"budget_per_month":1},"warnings":{"count":7,"rejected":1,"per_month":{"rate":3.5,"low":1.4071815257599338,"high":7.211337680851216},"budget_per_month":10}}}"#]].assert_eq(rest);
    let pinned = lines[1].split("\"unexplained\":400000,").last().unwrap();
    expect![[r#""alarms":3,"judged_days":90,"alarms_per_month":{"rate":1,"low":0.20622404096520067,"high":2.922424356580775},"budget_per_month":0.25}"#]].assert_eq(pinned);
    assert!(
        lines[0].contains("\"alarms_per_month\":null,\"budget_per_month\":null"),
        "{}",
        lines[0]
    );
}

#[tokio::test]
async fn paths_and_methods_that_do_not_exist_say_so() {
    let served = Served::night().await;
    let nothing = served.get("/api/v1/nothing").await;
    check(&nothing, 404, &expect![[r#"{"error":"there is nothing at /api/v1/nothing"}"#]]);
    let id = story::night().id;
    let wrong = served.get(&format!("/api/v1/incidents/{id}/accept")).await;
    assert_eq!(wrong.status, 405, "{}", wrong.body);
    assert_eq!(served.post("/metrics", &[]).await.status, 405);
}

/// Answers one accept or reject as the pipeline's task would.
async fn pipeline(commands: &mut mpsc::Receiver<Command>, answer: Option<Incident>) -> String {
    match commands.recv().await.unwrap() {
        Command::Accept { id, reply } => {
            reply.send(answer).unwrap();
            format!("accept {id}")
        }
        Command::Reject { id, reply } => {
            reply.send(answer).unwrap();
            format!("reject {id}")
        }
        Command::Samples { .. } | Command::Event { .. } => panic!("not a decision"),
    }
}

#[tokio::test]
async fn operators_accept_and_reject_through_the_pipeline() {
    let mut served = Served::night().await;
    let (_, unused) = mpsc::channel(1);
    let mut commands = std::mem::replace(&mut served.commands, unused);
    let resolved = at("22:18:00");
    let accepted =
        Incident { resolved_at: Some(resolved), accepted_at: Some(resolved), ..story::night() };
    let id = story::night().id;
    for (verb, incident) in [("accept", &accepted), ("reject", &story::night())] {
        let path = format!("/api/v1/incidents/{id}/{verb}");
        let (answer, asked) =
            tokio::join!(served.post(&path, &[]), pipeline(&mut commands, Some(incident.clone())));
        assert_eq!(asked, format!("{verb} {id}"));
        assert_eq!(answer.status, 200);
        assert_eq!(answer.body, report::line(&report::incident_detail_json(incident)));
    }
    let path = format!("/api/v1/incidents/{id}/accept");
    let (answer, _) = tokio::join!(served.post(&path, &[]), pipeline(&mut commands, None));
    assert_eq!(answer.status, 409, "it was resolved meanwhile: {}", answer.body);
    let resolved = format!("/api/v1/incidents/{}/accept", story::customer_rollout().id);
    assert_eq!(served.post(&resolved, &[]).await.status, 409);
    assert_eq!(served.post("/api/v1/incidents/404/accept", &[]).await.status, 404);
    drop(commands);
    assert_eq!(served.post(&path, &[]).await.status, 503, "the pipeline has stopped");
}

#[tokio::test]
async fn what_changes_something_needs_the_token() {
    let mut served = Served::night().await.with_token();
    let path = format!("/api/v1/incidents/{}/reject", story::night().id);
    let bearer = format!("Bearer {TOKEN}");
    for wrong in
        ["", "Bearer", "Bearer correct horse batterz", "Bearer correct horse", "Basic eDp5"]
    {
        let answer = served.post(&path, &[("authorization", wrong)]).await;
        assert_eq!(answer.status, 401, "{wrong}");
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
        assert!(!answer.body.contains("horse"), "{}", answer.body);
    }
    let cross = [("authorization", bearer.as_str()), ("sec-fetch-site", "cross-site")];
    assert_eq!(served.post(&path, &cross).await.status, 403);
    assert!(served.commands.try_recv().is_err(), "nothing reached the pipeline");
    assert_eq!(served.get("/api/v1/incidents").await.status, 200, "reading is free");

    let (_, unused) = mpsc::channel(1);
    let mut commands = std::mem::replace(&mut served.commands, unused);
    let headers = [("authorization", bearer.as_str())];
    let (answer, _) =
        tokio::join!(served.post(&path, &headers), pipeline(&mut commands, Some(story::night())));
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn pushed_values_reach_the_pipeline_as_an_observation() {
    let mut served = Served::night().await;
    let body = r#"{"at":"2019-09-23T22:17:30Z","values":{"ops_queue_depth":3.5}}"#;
    assert_eq!(served.push(body).await.status, 202);
    let Command::Samples { observation } = served.commands.try_recv().unwrap() else {
        panic!("a sample is no decision")
    };
    assert_eq!((observation.at, observation.source.as_str()), (at("22:17:30"), "push"));
    let Outcome::Sampled(reading) = observation.outcome else { panic!("it was present") };
    assert_eq!(reading.values, Values::from([("ops_queue_depth", 3.5)]));

    let missing = served.push(r#"{"source":"push","values":{"ops_queue_depth":null}}"#).await;
    assert_eq!(missing.status, 202);
    let Command::Samples { observation } = served.commands.try_recv().unwrap() else { panic!() };
    assert!((observation.at - at("22:18:00")).abs() < TimeDelta::seconds(1), "by our clock");
    let Outcome::Sampled(reading) = observation.outcome else { panic!("the source answered") };
    assert!(reading.values.is_empty(), "null is missing, not zero");
}

#[tokio::test]
async fn pushed_values_that_are_wrong_are_refused_with_the_reason() {
    let mut served = Served::night().await;
    for (body, reason) in [
        (r#"{"values":{"devices":1}}"#, "is not a signal of the push source"),
        (r#"{"source":"fleet","values":{}}"#, "there is no push source"),
        (r#"{"at":"2019-09-23T22:20:00Z","values":{}}"#, "is in the future"),
        (r#"{"at":"-262143-01-01T00:00:00Z","values":{}}"#, "before 1970: -262143-01-01T00:00"),
        (r#"{"at":"1969-12-31T23:59:59Z","values":{}}"#, "before 1970: 1969-12-31T23:59:59"),
        (r#"{"at":"+262142-12-31T23:59:59Z","values":{}}"#, "in the future: +262142-12-31T23"),
        (r#"{"values":{"ops_queue_depth":"3"}}"#, "invalid type: string"),
        (r#"{"values":{},"colour":"red"}"#, "unknown field"),
        ("{", "EOF"),
    ] {
        let answer = served.push(body).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.body);
        assert!(answer.body.contains(reason), "{body}: {}", answer.body);
    }
    let long = format!(r#"{{"values":{{}},"source":"{}"}}"#, "x".repeat(BODY_BYTES_MAX));
    let answer = served.push(&long).await;
    assert!(answer.status.is_client_error(), "{}", answer.status);
    assert!(served.commands.try_recv().is_err(), "nothing reached the pipeline");
}

#[test]
fn the_settings_know_which_signals_may_be_pushed() {
    let config = Config {
        fleet: "production".to_owned(),
        listen: "127.0.0.1:9855".parse().unwrap(),
        external_url: "http://127.0.0.1:9855".to_owned(),
        interval: Duration::from_secs(15),
        store: Secret::new("sqlite://headwater.db"),
        retention: Duration::from_secs(1),
        false_pages_per_month: 1.0,
        false_warnings_per_month: 10.0,
        labels: BTreeMap::new(),
        runbook_url: "https://runbooks.example.org".to_owned(),
        events_token: None,
        sources: [
            ("ops", SourceKind::Push { signals: vec!["ops_queue_depth".to_owned()] }),
            ("fleet", SourceKind::OpenBalena { url: Secret::new("x"), evidence_url: None }),
        ]
        .map(|(name, kind)| SourceConfig { name: name.to_owned(), kind })
        .into(),
        signals: BTreeMap::new(),
        graph: crate::config::graph::open_balena(),
        notify: NotifyConfig::default(),
    };
    let settings = Settings::of(&config);
    let pushed = BTreeSet::from(["ops_queue_depth".to_owned()]);
    assert_eq!(settings.push_sources(), BTreeMap::from([("ops", &pushed)]));
    assert_eq!(settings.sources.len(), 2);
}
