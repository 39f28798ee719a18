//! `headwater backtest --prometheus` over a real Prometheus whose history was written for it: the
//! same output as over a recording of the same numbers, and what is said when there are none.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use crate::servers::prometheus::Prometheus;

/// The first second of the history.
const START: i64 = 1_709_251_200;
/// Seconds of it: one sample each, and more than one page of a range query holds.
const LENGTH: i64 = 12_500;
/// The signal `workers` has its first sample here.
const WORKERS_FROM: i64 = 2_000;
/// The queue is longer from here on.
const STEP_AT: i64 = 8_000;
/// One of the two counters begins anew here.
const RESET_AT: i64 = 9_000;

/// A number that is as good as drawn, for each second and series.
fn noise(second: i64, series: u64) -> i64 {
    let mut state = (second as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (series << 32);
    state ^= state >> 29;
    state = state.wrapping_mul(0xBF58_476D_1CE4_E5B9);
    state ^= state >> 32;
    (state % 11) as i64
}

fn queue(second: i64, shard: u64) -> i64 {
    100 + noise(second, shard) + if second >= STEP_AT { 40 } else { 0 }
}

fn workers(second: i64) -> i64 {
    20 + noise(second, 3)
}

/// What both counters have counted by a second.
fn requests(second: i64, instance: u64) -> i64 {
    5 * second + noise(second, instance) % 3 + 10
}

/// The history as Prometheus is given it: each counter by itself, the second as it was reset.
fn open_metrics() -> String {
    let mut text = String::new();
    let mut family = |head: &str, sample: &dyn Fn(i64) -> Option<i64>, name: &str| {
        text.push_str(head);
        for second in 0..LENGTH {
            if let Some(value) = sample(second) {
                writeln!(text, "{name} {value} {}", START + second).expect("text");
            }
        }
    };
    let gauge = "# TYPE queue gauge\n";
    family(gauge, &|second| Some(queue(second, 1)), "queue{shard=\"a\"}");
    family("", &|second| Some(queue(second, 2)), "queue{shard=\"b\"}");
    let since = |second| (second >= WORKERS_FROM).then(|| workers(second));
    family("# TYPE workers gauge\n", &since, "workers");
    let counter = "# TYPE requests counter\n";
    family(counter, &|second| Some(requests(second, 4)), "requests_total{instance=\"a\"}");
    let reset = |second| {
        let lost = if second >= RESET_AT { requests(RESET_AT - 1, 5) } else { 0 };
        Some(requests(second, 5) - lost)
    };
    family("", &reset, "requests_total{instance=\"b\"}");
    text + "# EOF\n"
}

/// The same as a recording: sums, and no reset.
fn recording() -> String {
    let mut csv = "time,delta_queue,delta_requests_total,delta_workers_busy\n".to_owned();
    for second in 0..LENGTH {
        let sum = queue(second, 1) + queue(second, 2);
        let total = requests(second, 4) + requests(second, 5);
        let workers = (second >= WORKERS_FROM).then(|| workers(second).to_string());
        let workers = workers.unwrap_or_default();
        writeln!(csv, "{},{sum},{total},{workers}", START + second).expect("text");
    }
    csv
}

const SOURCES: &str = "
  - type: prometheus
    name: deltas
    url: http://127.0.0.1:9
    signals:
      delta_queue: queue
      delta_requests_total: requests_total
  - type: prometheus
    name: workers
    url: http://elsewhere.invalid
    signals:
      delta_workers_busy: workers
";

fn write(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, text).expect("the temporary directory is writable");
    path
}

fn configuration(directory: &Path, sources: &str) -> PathBuf {
    write(directory, "headwater.yml", &format!("interval: 1s\nsources:{sources}"))
}

fn backtest(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headwater"));
    command.arg("backtest").args(arguments).env_clear().output().expect("the binary runs")
}

#[track_caller]
fn check_refused(arguments: &[&str], code: i32, parts: &[&str]) {
    let output = backtest(arguments);
    let errors = String::from_utf8(output.stderr).expect("errors are text");
    assert_eq!(output.status.code(), Some(code), "{errors}");
    assert!(output.stdout.is_empty(), "an error is no result");
    for part in parts {
        assert!(errors.contains(part), "{part:?} is not in: {errors}");
    }
}

#[tokio::test]
async fn prometheus_history_gives_what_a_recording_of_the_same_numbers_gives() {
    let Some(server) = Prometheus::start_with_history(&open_metrics()).await else { return };
    let directory = tempfile::tempdir().expect("a temporary directory");
    let directory = directory.path();
    let config = configuration(directory, SOURCES).display().to_string();
    let recorded = write(directory, "recorded.csv", &recording()).display().to_string();
    let [theirs, ours] =
        ["theirs.csv", "ours.csv"].map(|name| directory.join(name).display().to_string());
    let (start, end) = ("2024-03-01T00:00:00Z", (START + LENGTH - 1).to_string());
    let url = server.url("");
    let archive = ["--prometheus", &url, "--start", start, "--end", &end, "--config", &config];
    let wanted = ["--format", "json", "--changes", "--scores"];
    let asked = backtest(&[&archive[..], &wanted, &[&theirs]].concat());
    let errors = String::from_utf8_lossy(&asked.stderr);
    assert_eq!(asked.status.code(), Some(0), "{errors}");
    assert_eq!(errors, "", "progress is for terminals");
    let read = backtest(&[&[&*recorded, "--config", &config], &wanted[..], &[&ours]].concat());
    let (asked, read) = (String::from_utf8(asked.stdout), String::from_utf8(read.stdout));
    let asked = asked.expect("results are text");
    assert_eq!(asked, read.expect("results are text"));
    assert!(asked.contains(r#""signal":"delta_queue""#), "the step is seen: {asked}");
    assert!(asked.contains(&format!(r#""samples":{LENGTH},"signals":3"#)), "{asked}");
    let scores = |path: &str| fs::read_to_string(path).expect("scores");
    assert!(scores(&theirs) == scores(&ours), "the scores differ");

    let before = ["--prometheus", &url, "--start", "0", "--end", "3600", "--config", &config];
    check_refused(&before, 1, &["no value of any signal from 1970-01-01T00:00:00Z", "retention"]);
    let source =
        format!("\n  - {{type: prometheus, url: {url}, signals: {{bad: 'sum(', queue: queue}}}}");
    let bad = configuration(directory, &source).display().to_string();
    let bad = ["--prometheus", &url, "--start", start, "--end", &end, "--config", &bad];
    check_refused(&bad, 1, &["query of bad (sum()", "bad_data"]);
}

#[test]
fn what_cannot_be_asked_is_refused_with_a_remedy() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let config = configuration(directory.path(), SOURCES).display().to_string();
    // Nobody listens on port 9 (discard) here.
    let url = "http://ops:hunter2@127.0.0.1:9";
    let ask = |start, end, config| {
        vec!["--prometheus", url, "--start", start, "--end", end, "--config", config]
    };
    let refused = "check that the server runs";
    check_refused(&ask("2024-03-01", "2024-03-02", &config), 1, &["127.0.0.1:9", refused]);
    let output = backtest(&ask("2024-03-01", "2024-03-02", &config));
    assert!(!String::from_utf8_lossy(&output.stderr).contains("hunter2"), "a secret is told");
    let backwards = ask("2024-03-02", "2024-03-01", &config);
    check_refused(&backwards, 2, &["--start 2024-03-02T00:00:00Z is not before --end", "Usage"]);
    check_refused(&ask("1970-01-01", "2024-03-01", &config), 1, &["ask for a shorter time"]);
    let push = "\n  - {type: push, signals: [ops]}";
    let other = configuration(directory.path(), push).display().to_string();
    check_refused(&ask("2024-03-01", "2024-03-02", &other), 2, &["no source of type prometheus"]);
}
