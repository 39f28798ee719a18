//! The router over a real store, with made-up incidents; no socket except for the client's tests.

use std::{collections::BTreeMap, future::Future};

use axum::{
    body::{Body, to_bytes},
    http::{HeaderMap, Method},
};
use chrono::TimeDelta;
use expect_test::{Expect, expect};
use tower::ServiceExt;
use url::Url;

use super::{client::Api, *};
use crate::{
    incident::{Affected, Cause, Severity},
    report::{
        self,
        story::{self, at},
    },
    series::Outcome,
    store::{Batch, Sample},
};

const TOKEN: &str = "correct horse battery";

struct Served {
    state: AppState,
    commands: mpsc::Receiver<Command>,
    ready: watch::Sender<bool>,
    signals: watch::Sender<Vec<SignalStatus>>,
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
        let (signals, signals_seen) = watch::channel(Vec::new());
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
            signals: signals_seen,
            ready: ready_seen,
            settings: Arc::new(settings),
            // A clock that all but stands still, two minutes after the second onset.
            clock: Clock::scaled(at("22:18:00"), 1e-9),
        };
        Served { state, commands, ready, signals, _directory: directory }
    }

    /// The night, an earlier customer's act, and samples around both.
    async fn night() -> Served {
        let served = Served::new(night()).await;
        served.signals.send_replace(story::signals());
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
        samples.push(Sample { at: instant, source, values: BTreeMap::from(values) });
    }
    Batch {
        samples,
        changes: vec![story::change()],
        incidents: vec![story::customer_rollout(), story::night()],
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
    assert_eq!(answer.body, format!("{{\"signals\":[{}]}}", lines.join(",")));
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
        Command::Samples { .. } => panic!("not a decision"),
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
    assert_eq!(reading.values, BTreeMap::from([("ops_queue_depth".to_owned(), 3.5)]));

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

#[tokio::test]
async fn the_overview_says_what_is_wrong_and_since_when() {
    let served = Served::night().await;
    let answer = served.get("/").await;
    check_page(&answer, 200);
    check_has(
        &answer.body,
        &[
            "<h1><bdi>1 incident is open</bdi></h1>",
            "<a href=\"incidents/20190923T221415-mass_pin\">",
            "461,234 devices unpinned in 1,500 applications",
            "<strong>Open</strong> since <time datetime=\"2019-09-23T22:14:00Z\">",
            "(4 min)",
            "critical",
            "20,000 devices pinned by their owner",
            "<strong>silent</strong> since",
            "none yet",
        ],
    );
    let open = answer.body.find("devices unpinned").unwrap();
    assert!(open < answer.body.find("pinned by their owner").unwrap(), "what is open comes first");
}

#[tokio::test]
async fn the_overview_never_says_well_when_it_does_not_know() {
    let served = Served::new(Batch::default()).await;
    let headline = async |served: &Served| {
        let answer = served.get("/").await;
        check_page(&answer, 200);
        let (_, rest) = answer.body.split_once("<h1><bdi>").unwrap();
        rest.split_once("</bdi>").unwrap().0.to_owned()
    };
    assert_eq!(headline(&served).await, "No sample yet: nothing can be said");
    served.ready.send_replace(false);
    assert_eq!(headline(&served).await, "Headwater is starting");
    served.ready.send_replace(true);
    let mut signals = story::signals();
    signals[1].at = Some(at("22:17:55"));
    served.signals.send_replace(signals.clone());
    assert_eq!(headline(&served).await, "All is well");
    signals[1].at = Some(at("22:16:55"));
    served.signals.send_replace(signals);
    assert_eq!(headline(&served).await, "No incident is open, but 1 source is silent");
}

#[tokio::test]
async fn the_incident_page_has_what_a_person_needs() {
    let served = Served::night().await;
    let answer = served.get(&format!("/incidents/{}", story::night().id)).await;
    check_page(&answer, 200);
    let page = &answer.body;
    let places = ["CAUSE", "FIRST EFFECT", "BLAST RADIUS", "NEXT STEP", "Evidence", "Timeline"];
    let places = places.map(|place| page.find(&format!(">{place}</h2>")).expect(place));
    assert!(places.is_sorted(), "fixed places: {places:?}");
    check_has(
        page,
        &[
            "<code>mass_unpin</code>",
            "<code>mass_pin</code>",
            "recognised 15 s later with 98 %",
            "delta_queue</bdi></strong> went from 12 to 8,412",
            "3 min 30 s after the onset",
            "<strong>461,234</strong>",
            "61,234 before the first onset, 0 at the latest sample",
            "stop updates before anything else",
            "https://runbooks.example.org/headwater#mass_unpin",
            "headwater incidents accept 20190923T221415-mass_pin",
            "of role ops wrote 461,234 rows",
            "migration device/0042-pin was running",
            "8,731 new release pairs, each one delta",
            "scooters",
            "<svg ",
            "devices_pinned from 21:44 to 22:18 UTC: between 0 and 461,234, 0 at the end",
            "href=\"../signals\"",
        ],
    );
}

#[tokio::test]
async fn the_signals_page_shows_band_score_and_threshold() {
    let served = Served::night().await;
    let answer = served.get("/signals").await;
    check_page(&answer, 200);
    check_has(
        &answer.body,
        &[
            "devices_pinned",
            "461,234",
            "61,100 to 61,400",
            "37.36 changed",
            "21.75",
            "budget",
            "5,760",
            "no sample yet",
            "never",
        ],
    );
    let first = answer.body.find("devices_pinned").unwrap();
    assert!(first < answer.body.find("delta_queue").unwrap(), "the most conspicuous first");
}

#[tokio::test]
async fn missing_pages_are_pages() {
    let served = Served::night().await;
    let answer = served.get("/incidents/none").await;
    check_page(&answer, 404);
    check_has(&answer.body, &["there is no incident", "href=\"../\""]);
    let answer = served.get("/favicon.ico").await;
    check_page(&answer, 404);
}

fn hostile() -> Incident {
    let name = "<script>alert(\"1\")</script>'\u{202e}&amp;\u{0}";
    let mut incident = story::night();
    let record = &mut incident.causes[1];
    for text in [&mut record.title, &mut record.summary, &mut record.next_steps[0]] {
        *text = format!("{name} was unpinned");
    }
    record.evidence[0].text = name.repeat(10_000);
    record.blast_radius.most_affected = (0..10)
        .map(|application| Affected {
            application,
            name: name.to_owned(),
            devices: 1,
            pinned_before: 1,
            pinned_after: 0,
        })
        .collect();
    incident.symptoms[0].signal = name.to_owned();
    for step in 0..5_000 {
        incident.note(
            at("22:20:00") + TimeDelta::seconds(step),
            "an application named ".to_owned() + name,
        );
    }
    incident
}

#[tokio::test]
async fn hostile_names_are_only_text() {
    let incidents = vec![hostile()];
    let served = Served::new(Batch { incidents, ..Batch::default() }).await;
    for path in ["/", "/incidents/20190923T221415-mass_pin", "/<script>alert(1)"] {
        let path = path.replace('<', "%3C").replace('>', "%3E");
        let answer = served.get(&path).await;
        check_page(&answer, if path.contains('%') { 404 } else { 200 });
        for harmful in ['\u{202e}', '\u{0}'] {
            assert!(!answer.body.contains(harmful), "{path}");
        }
        if !path.contains('%') {
            check_has(&answer.body, &["&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;"]);
        }
    }
    let text = client::show_text(&report::incident_detail_json(&hostile()));
    assert!(!text.contains(['\u{202e}', '\u{0}']), "a terminal is not reordered either");
}

#[tokio::test]
async fn a_long_night_stays_a_short_page() {
    let incidents = (0..150).map(|number| {
        let mut incident = story::night();
        incident.id = number.to_string();
        incident.causes[1].severity = [Severity::Warning, Severity::Critical][number % 2];
        incident.causes[1].cause = Cause::Unexplained;
        incident
    });
    let served = Served::new(Batch { incidents: incidents.collect(), ..Batch::default() }).await;
    let answer = served.get("/").await;
    check_page(&answer, 200);
    check_has(&answer.body, &["150 incidents are open", "… and 120 more open incidents"]);
}

/// Runs `asked` while the router is served on a socket.
async fn with_server<T>(served: &Served, asked: impl AsyncFnOnce(Api) -> T) -> T {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/", listener.local_addr().unwrap());
    let token = served.state.settings.events_token.clone();
    let api = Api::new(Url::parse(&base).unwrap(), token, http());
    let server: std::pin::Pin<Box<dyn Future<Output = _>>> =
        Box::pin(axum::serve(listener, router(served.state.clone())).into_future());
    tokio::select! {
        stopped = server => panic!("the server stopped: {stopped:?}"),
        result = asked(api) => result,
    }
}

fn http() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().timeout(Duration::from_secs(5)).build().unwrap()
}

#[tokio::test]
async fn the_client_lists_and_shows() {
    let served = Served::night().await;
    let (list, show, missing) = with_server(&served, async |api| {
        let list = client::list_text(&api.incidents().await.unwrap());
        let show = client::show_text(&api.incident(&story::night().id).await.unwrap());
        (list, show, api.incident("a/b ?").await.unwrap_err().to_string())
    })
    .await;
    expect![[r#"
        2019-09-23T22:14:00Z  open      critical  mass_unpin  20190923T221415-mass_pin
            461,234 devices unpinned in 1,500 applications
        2019-09-23T10:14:45Z  resolved  info      bulk_pin_by_owner  20190923T101500-bulk_pin_by_owner
            20,000 devices pinned by their owner
    "#]].assert_eq(&list);
    expect![[r#"
        461,234 devices unpinned in 1,500 applications
        critical, open since 2019-09-23T22:14:00Z (20190923T221415-mass_pin)

        CAUSE
          mass_pin: onset 2019-09-23T22:14:00Z, recognised 15 s later
          mass_unpin: onset 2019-09-23T22:16:00.250Z, recognised 14 s later
          461,234 devices in 1,500 applications of 60 organisations lost their pin since 22:16:00 (97 %)

        FIRST EFFECT
          delta_queue at 2019-09-23T22:17:30Z

        BLAST RADIUS
          devices: 461,234; applications: 1,500; organisations: 60
          pinned: 61,234 before the first onset, 0 at the latest sample
          pending updates: 1,001 before, 147,773 at the latest sample
          scooters (application 17): 30,120 devices, pinned 4,005 before, 0 now

        NEXT STEP
          stop updates before anything else
          restore the pins of 22:13:45, the last sample before the onset

        EVIDENCE
          migration device/0042-pin was running: 400,000 rows
          one UPDATE "device" SET "is pinned on-release" = $1 of role ops wrote 461,234 rows

        SYMPTOMS
          2019-09-23T22:17:30Z  delta_queue, 96 % explained

        TIMELINE
          2019-09-23T22:14:15Z  400,000 devices in 1,500 applications of 60 organisations were pinned since 22:14:00
          2019-09-23T22:16:15Z  461,234 devices in 1,500 applications of 60 organisations lost their pin since 22:16:00
          2019-09-23T22:17:45Z  delta_queue rose from 12 to 8,412: explained by pending_pairs

    "#]].assert_eq(&show);
    check_has(&missing, &["answers 404 Not Found: there is no incident \"a/b ?\""]);
}

#[tokio::test]
async fn the_client_accepts_with_its_token() {
    let mut served = Served::night().await.with_token();
    let (_, unused) = mpsc::channel(1);
    let mut commands = std::mem::replace(&mut served.commands, unused);
    let resolved = Some(at("22:18:00"));
    let accepted = Incident { resolved_at: resolved, accepted_at: resolved, ..story::night() };
    let answer = with_server(&served, async |api| {
        let id = story::night().id;
        let (answer, _) =
            tokio::join!(api.accept(&id), pipeline(&mut commands, Some(accepted.clone())));
        answer.unwrap()
    })
    .await;
    assert_eq!(answer, report::incident_detail_json(&accepted));
    check_has(
        &client::show_text(&answer),
        &["accepted as the new normal at 2019-09-23T22:18:00Z, after 4 min"],
    );
}

#[tokio::test]
async fn the_client_exports_what_the_store_exports() {
    let served = Served::night().await;
    let since = at("21:59:00");
    let remote = with_server(&served, async |api| {
        let mut text = Vec::new();
        api.export(since, &mut text).await.unwrap();
        text
    })
    .await;
    let mut local = Vec::new();
    client::export_store(&served.state.store, since, &mut local).await.unwrap();
    assert_eq!(remote, local);
    let text = String::from_utf8(local).unwrap();
    assert_eq!(text.lines().count(), 1 + 84, "the header, and 21 minutes at 15 s");
    check_has(&text, &["time,devices_pinned,pending_updates\n2019-09-23T21:59:00Z,61234,20412\n"]);
    check(
        &served.get("/api/v1/samples").await,
        400,
        &expect![[r#"{"error":"the parameter `since` is missing: write ?since=24h"}"#]],
    );
    let wrong = served.get("/api/v1/samples?since=soon").await;
    check_has(&wrong.body, &["is not a time"]);
}

#[tokio::test]
async fn the_client_says_where_nobody_answers() {
    // A port that was free a moment ago, and on which nobody listens.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let base = Url::parse(&format!("http://me:hunter2@{address}/")).unwrap();
    let error = Api::new(base, None, http()).incidents().await.unwrap_err();
    let text = format!("{error:#}");
    check_has(&text, &[&format!("cannot reach headwater at http://{address}/: is it running")]);
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn an_empty_list_says_so() {
    assert_eq!(client::list_text(&[]), "no incidents\n");
}
