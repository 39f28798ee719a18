//! The Prometheus source against an HTTP server that answers as told: resets, nothing, errors,
//! answers that are too long or too slow, and history in pages.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, http::StatusCode, routing::post};
use headwater::{
    config::SourceKind,
    observation::FailureReason,
    sample::{Range, Source},
    series::Time,
    values::Values,
};
use tokio::{net::TcpListener, task::JoinSet};
use url::Url;

use super::{SHORT_INTERVAL, assert_contains, at, failure, reading, source};

/// What the server answers to a query: a status, a body and how long it thinks.
#[derive(Clone)]
struct Answer {
    status: u16,
    body: String,
    delay: Duration,
}

fn vector(series: &[(&str, &str)]) -> Answer {
    let series: Vec<String> = series
        .iter()
        .map(|(metric, value)| format!(r#"{{"metric":{{{metric}}},"value":[1,"{value}"]}}"#))
        .collect();
    let body = format!(
        r#"{{"status":"success","data":{{"resultType":"vector","result":[{}]}}}}"#,
        series.join(",")
    );
    Answer { status: 200, body, delay: Duration::ZERO }
}

/// A server on a free port; it ends with the value.
pub(super) struct Server {
    url: Url,
    answers: Arc<Mutex<BTreeMap<String, Answer>>>,
    /// Point counts of the range queries that came.
    pages: Arc<Mutex<Vec<i64>>>,
    _tasks: JoinSet<()>,
}

impl Server {
    pub(super) async fn start() -> Server {
        let answers: Arc<Mutex<BTreeMap<String, Answer>>> = Arc::default();
        let pages: Arc<Mutex<Vec<i64>>> = Arc::default();
        let (told, counted) = (answers.clone(), pages.clone());
        let instant = move |body: String| {
            let answer = told
                .lock()
                .expect("no test panicked under the lock")
                .get(&form(&body)["query"])
                .cloned();
            async move {
                let answer = answer.expect("the test has told an answer");
                tokio::time::sleep(answer.delay).await;
                (StatusCode::from_u16(answer.status).expect("a status"), answer.body)
            }
        };
        let range = move |body: String| {
            let page = range(&form(&body), &counted);
            async move { page }
        };
        let router = Router::new()
            .route("/prefix/api/v1/query", post(instant))
            .route("/prefix/api/v1/query_range", post(range));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("a bound listener has one").port();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, router).await.expect("served") });
        let url = Url::parse(&format!("http://127.0.0.1:{port}/prefix/")).expect("a URL");
        Server { url, answers, pages, _tasks: tasks }
    }

    fn tell(&self, query: &str, answer: Answer) {
        self.answers
            .lock()
            .expect("no test panicked under the lock")
            .insert(query.to_owned(), answer);
    }

    /// Tells a query's only value, and how long it takes.
    pub(super) fn tell_value(&self, query: &str, value: &str, delay: Duration) {
        self.tell(query, Answer { delay, ..vector(&[("", value)]) });
    }

    pub(super) fn kind(&self, signals: &[(&str, &str)]) -> SourceKind {
        let signals = signals.iter().map(|(name, query)| ((*name).to_owned(), (*query).to_owned()));
        SourceKind::Prometheus { url: self.url.clone(), signals: signals.collect() }
    }

    fn source(&self, signals: &[(&str, &str)]) -> Source {
        source(self.kind(signals), SHORT_INTERVAL)
    }
}

fn form(body: &str) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(body.as_bytes()).into_owned().collect()
}

/// Two raw counters that rise by 1 a second, the second of which restarts at second 30,000. Answers
/// as Prometheus does: both ends included, no more than 11,000 points.
fn range(form: &BTreeMap<String, String>, pages: &Mutex<Vec<i64>>) -> (StatusCode, String) {
    let number = |key: &str| form[key].parse::<f64>().expect("a number") as i64;
    let (start, end, step) = (number("start"), number("end"), number("step"));
    let points = (end - start) / step + 1;
    pages.lock().expect("no test panicked under the lock").push(points);
    if points > 11_000 {
        let body = r#"{"status":"error","errorType":"bad_data","error":"exceeded"}"#;
        return (StatusCode::BAD_REQUEST, body.to_owned());
    }
    // A long-winded server: its answers to long pages are beyond what is read.
    let padding =
        if form["query"] == "long" { " ".repeat(points as usize * 2_000) } else { String::new() };
    let origin = at(0).timestamp();
    let series = |instance: &str, restarts: bool| {
        // One without a value at every third point.
        let present = (0..points).filter(|point| form["query"] != "holes" || point % 3 != 2);
        let values: Vec<String> = present
            .map(|point| {
                let time = start + point * step;
                let age = time - origin;
                let value = if restarts && age >= 30_000 { age - 30_000 } else { age };
                format!(r#"[{time},"{value}"]"#)
            })
            .collect();
        let values = values.join(",");
        format!(
            r#"{{"metric":{{"__name__":"x_total","instance":"{instance}"}},"values":[{values}]}}"#
        )
    };
    let both = format!("{},{}", series("a", false), series("b", true));
    let body = format!(
        r#"{{"status":"success",{padding}"data":{{"resultType":"matrix","result":[{both}]}}}}"#
    );
    (StatusCode::OK, body)
}

#[tokio::test]
async fn gauges_are_added_and_resets_are_seen_one_by_one() {
    let server = Server::start().await;
    let mut source =
        server.source(&[("delta_queue", "queue"), ("delta_requests_total", "requests")]);
    let (a, b) = (r#""__name__":"r_total","i":"a""#, r#""__name__":"r_total","i":"b""#);
    server.tell("queue", vector(&[(r#""q":"1""#, "2"), (r#""q":"2""#, "3.5")]));
    server.tell("requests", vector(&[(a, "1000"), (b, "10")]));
    let first = reading(source.sample(at(0)).await);
    assert_eq!(first.values["delta_queue"], 5.5);
    assert_eq!(first.values["delta_requests_total"], 1010.0);
    server.tell("requests", vector(&[(a, "4"), (b, "16")]));
    let second = reading(source.sample(at(2)).await);
    assert_eq!(second.values["delta_requests_total"], 1020.0);
}

#[tokio::test]
async fn what_is_not_there_is_missing() {
    let server = Server::start().await;
    let mut source =
        server.source(&[("empty", "empty"), ("nan", "nan"), ("nothing_total", "empty")]);
    server.tell("empty", vector(&[]));
    server.tell("nan", vector(&[("", "NaN")]));
    let mut reading = reading(source.sample(at(0)).await);
    let none = reading.values.remove("nan").expect("the pipeline counts it, and leaves it out");
    assert!(none.is_nan() && reading.values.is_empty(), "{:?}", reading.values);
    assert!(reading.notes.is_empty(), "{:?}", reading.notes);
}

#[tokio::test]
async fn one_bad_query_costs_its_own_signal_only() {
    let server = Server::start().await;
    let mut source =
        server.source(&[("bad", "bad"), ("good", "good"), ("long", "long"), ("slow", "slow")]);
    let error = r#"{"status":"error","errorType":"bad_data","error":"unexpected end of input"}"#;
    server.tell("bad", Answer { status: 400, body: error.to_owned(), delay: Duration::ZERO });
    server.tell("good", vector(&[("", "7")]));
    server.tell("long", Answer { status: 200, body: " ".repeat(9 << 20), delay: Duration::ZERO });
    server.tell("slow", Answer { delay: Duration::from_secs(600), ..vector(&[]) });
    let read = reading(source.sample(at(0)).await);
    assert_eq!(read.values, Values::from([("good", 7.0)]));
    let notes = read.notes.join("\n");
    for part in ["unexpected end of input", "longer than 8388608 bytes", "no answer in time"] {
        assert_contains(&notes, part);
    }
    assert_eq!(read.notes.len(), 3);

    let mut source = server.source(&[("bad", "bad"), ("slow", "slow")]);
    assert_eq!(failure(source.sample(at(0)).await).reason, FailureReason::Query);
    let mut source = server.source(&[("slow", "slow")]);
    assert_eq!(failure(source.sample(at(0)).await).reason, FailureReason::Timeout);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_a_connection_failure_without_credentials() {
    // Nobody listens on port 9 (discard) here.
    let url = Url::parse("http://ops:hunter2@127.0.0.1:9/").unwrap();
    let signals = BTreeMap::from([("up".to_owned(), "up".to_owned())]);
    let mut source = source(SourceKind::Prometheus { url, signals }, SHORT_INTERVAL);
    let refused = failure(source.sample(at(0)).await);
    assert_eq!(refused.reason, FailureReason::Connection);
    assert_contains(&refused.message, "127.0.0.1:9");
    assert!(!refused.message.contains("hunter2"), "{}", refused.message);
}

#[tokio::test]
async fn history_comes_in_pages_and_its_counters_go_on() {
    let server = Server::start().await;
    let mut source = server.source(&[("x_total", "x")]);
    let mut shares = Vec::new();
    let range = range_of(0, 50_000, 2);
    let history = source.history(range, &mut |share| shares.push(share)).await.unwrap();
    assert_eq!(*server.pages.lock().unwrap(), [11_000, 11_000, 3_001]);
    assert_eq!(shares, [11_000.0, 22_000.0, 25_001.0].map(|points| points / 25_001.0));
    assert_eq!((history.rows().len(), &*history.columns), (25_001, &["x_total".to_owned()][..]));
    let times: Vec<Time> = history.rows().map(|row| row.at).collect();
    assert!(times.is_sorted() && times[0] == at(0) && times[25_000] == at(50_000));
    // Both rise by 50,000, but for the two seconds of the restart.
    assert_eq!(history.row(25_000).value(0), Some(100_000.0 - 2.0));
    let names = |i: &str| format!(r#""__name__":"x_total","instance":"{i}""#);
    server.tell("x", vector(&[(&names("a"), "50003"), (&names("b"), "20004")]));
    let live = reading(source.sample(at(50_002)).await);
    assert_eq!(live.values["x_total"], 99_998.0 + 3.0 + 4.0);
}

#[tokio::test]
async fn a_page_that_is_too_long_is_asked_for_in_halves() {
    let server = Server::start().await;
    let mut source = server.source(&[("x", "long")]);
    let history = source.history(range_of(0, 9_999, 1), &mut |_| {}).await.unwrap();
    assert_eq!(history.rows().len(), 10_000);
    assert!(server.pages.lock().unwrap().len() > 2);
    let backwards = source.history(range_of(1, 0, 1), &mut |_| {}).await.unwrap();
    assert_eq!(backwards.rows().len(), 0);
}

#[tokio::test]
async fn a_history_that_would_not_fit_into_memory_is_refused_before_anything_is_asked() {
    let server = Server::start().await;
    let mut source = server.source(&[("x", "x")]);
    let thirty_years = range_of(0, 30 * 365 * 86_400, 1);
    let refused = source.history(thirty_years, &mut |_| {}).await.unwrap_err();
    assert_contains(&refused.to_string(), "ask for a shorter time, or raise the interval");
    assert!(server.pages.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_time_without_any_value_has_no_row_and_a_missing_point_is_missing() {
    let server = Server::start().await;
    let mut source = server.source(&[("holes", "holes"), ("x", "x")]);
    let history = source.history(range_of(0, 10, 2), &mut |_| {}).await.unwrap();
    let rows: Vec<(Time, Vec<Option<f64>>)> =
        history.rows().map(|row| (row.at, row.values().collect())).collect();
    assert_eq!(rows.len(), 6);
    assert_eq!(rows[1], (at(2), vec![Some(4.0), Some(4.0)]));
    assert_eq!(rows[2], (at(4), vec![None, Some(8.0)]));
    let mut alone = server.source(&[("holes", "holes")]);
    let history = alone.history(range_of(0, 10, 2), &mut |_| {}).await.unwrap();
    let times: Vec<Time> = history.rows().map(|row| row.at).collect();
    assert_eq!(times, [at(0), at(2), at(6), at(8)]);
}

fn range_of(start: i64, end: i64, step_s: u64) -> Range {
    Range { start: at(start), end: at(end), step: Duration::from_secs(step_s) }
}
