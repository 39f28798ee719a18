//! Stories as recordings, through the `headwater backtest` binary: the same causes as live, the
//! contract's lines, and what a recording with fewer columns or unruly rows still tells.

use std::{
    collections::BTreeSet, fmt::Write as _, fs, path::Path, process::Command, sync::OnceLock,
};

use chrono::TimeDelta;
use headwater::{series::Time, simulate::acts::Act, values::Values};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use super::stage::{DEMO, INTERVAL_S, Setting, Stage, pages};

/// Which columns a recording keeps.
type Keeps<'a> = &'a dyn Fn(&str) -> bool;

type Rows = Vec<(Time, Values)>;

const CHANGE_FIELDS: &[&str] = &[
    "after",
    "before",
    "detected_at",
    "direction",
    "kind",
    "onset",
    "onset_high",
    "onset_low",
    "score",
    "signal",
    "threshold",
    "type",
];
const INCIDENT_FIELDS: &[&str] = &[
    "candidates",
    "cause",
    "causes",
    "detected_at",
    "id",
    "notifications",
    "onset",
    "probability",
    "resolved_at",
    "scope",
    "severity",
    "summary",
    "symptoms",
    "title",
    "type",
];
const SUMMARY_FIELDS: &[&str] = &[
    "days",
    "incidents",
    "pages",
    "pages_per_month",
    "samples",
    "signals",
    "type",
    "warnings",
    "warnings_per_month",
];

/// A night of a middling fleet after two hours of evening: its rows, and what was paged live.
fn night() -> &'static (Rows, Vec<(String, Time)>) {
    static NIGHT: OnceLock<(Rows, Vec<(String, Time)>)> = OnceLock::new();
    NIGHT.get_or_init(|| {
        let setting = Setting::new(DEMO, 71, 20, 480);
        let at = setting.act_at();
        let unpinned_at = at + TimeDelta::seconds(120);
        let script = vec![(at, Act::PinEverythingToRunning), (unpinned_at, Act::UnpinEverything)];
        let mut stage = Stage::new();
        stage.keeps_rows = true;
        stage.play(setting.run(60, script));
        let paged = pages(&stage).into_iter().map(|(cause, at)| (cause.to_string(), at)).collect();
        (stage.rows, paged)
    })
}

/// What the binary prints on standard output.
fn backtest(arguments: &[&str], recording: &Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_headwater"))
        .arg("backtest")
        .arg(recording)
        .args(arguments)
        .output()
        .expect("the binary runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    String::from_utf8(output.stdout).expect("results are text")
}

fn lines(output: &str) -> Vec<Value> {
    output.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

fn json(arguments: &[&str], recording: &Path) -> Vec<Value> {
    let arguments: Vec<&str> = ["--format", "json"].iter().chain(arguments).copied().collect();
    lines(&backtest(&arguments, recording))
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("{field} of {value}")).to_owned()
}

/// Notifications, as (cause, severity), in the order of incidents.
fn told(lines: &[Value]) -> Vec<(String, String)> {
    let notifications = lines.iter().filter_map(|line| line["notifications"].as_array()).flatten();
    notifications.map(|one| (text(one, "cause"), text(one, "severity"))).collect()
}

fn owned(told: &[(&str, &str)]) -> Vec<(String, String)> {
    told.iter().map(|(cause, severity)| ((*cause).to_owned(), (*severity).to_owned())).collect()
}

fn both_pages() -> Vec<(String, String)> {
    owned(&[("mass_pin", "critical"), ("mass_unpin", "critical")])
}

/// A recording as `headwater export` gives it: rows of one source each. `merged` joins each fleet
/// row with the metrics row after it.
fn write_recording(
    rows: &[(Time, Values)],
    columns: impl Fn(&str) -> bool,
    merged: bool,
    output: impl std::io::Write,
) {
    let names: BTreeSet<&headwater::values::Name> =
        rows.iter().flat_map(|(_, values)| values.keys()).filter(|name| columns(name)).collect();
    let names: Vec<String> = names.into_iter().map(|name| name.to_string()).collect();
    let mut writer = headwater::recording::Writer::new(&names, output).expect("a header");
    let mut waiting: Option<(Time, Values)> = None;
    for (at, values) in rows {
        if let (true, Some((_, fleet))) = (merged, &mut waiting)
            && values.contains_key("delta_queue")
        {
            fleet.extend(values.clone());
            continue;
        }
        if let Some((at, values)) = waiting.replace((*at, values.clone())) {
            writer.row(at, names.iter().map(|name| values.get(name).copied())).expect("a row");
        }
    }
    if let Some((at, values)) = waiting {
        writer.row(at, names.iter().map(|name| values.get(name).copied())).expect("a row");
    }
    writer.finish().expect("a recording can be written");
}

fn write(path: &Path, rows: &Rows, columns: impl Fn(&str) -> bool, merged: bool) {
    let file = fs::File::create(path).expect("a temporary file");
    write_recording(rows, columns, merged, std::io::BufWriter::new(file));
}

#[test]
fn a_recording_names_the_causes_that_the_daemon_named() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (rows, paged) = night();
    assert_eq!(paged.len(), 2, "{paged:?}");
    for merged in [false, true] {
        let path = directory.path().join(format!("night-{merged}.csv"));
        write(&path, rows, |_| true, merged);
        let output = backtest(&["--format", "json", "--changes"], &path);
        assert_eq!(output, backtest(&["--format", "json", "--changes"], &path), "to the byte");
        let lines = lines(&output);
        check_fields(&lines);
        assert_eq!(told(&lines), both_pages(), "merged: {merged}");
        let found = lines.iter().filter_map(|line| line["causes"].as_array()).flatten();
        let found = found.filter(|cause| text(cause, "cause").starts_with("mass_"));
        let found: Vec<(String, Time)> = found
            .map(|cause| {
                (text(cause, "cause"), text(cause, "detected_at").parse().expect("a time"))
            })
            .collect();
        assert_eq!(&found, paged, "merged: {merged}");
        let told = backtest(&["--format", "text"], &path);
        assert!(told.contains("mass_pin") && told.contains("mass_unpin"), "{told}");
    }
}

/// Exactly the contract's fields, with the summary last.
fn check_fields(lines: &[Value]) {
    let mut kinds = BTreeSet::new();
    for (index, line) in lines.iter().enumerate() {
        let mut fields: Vec<&str> =
            line.as_object().expect("an object").keys().map(String::as_str).collect();
        fields.sort_unstable();
        let kind = text(line, "type");
        let expected = match kind.as_str() {
            "change" => CHANGE_FIELDS,
            "incident" => INCIDENT_FIELDS,
            _ => SUMMARY_FIELDS,
        };
        assert_eq!(fields, expected, "{line}");
        assert_eq!(kind == "summary", index + 1 == lines.len(), "the summary is the last line");
        if kind == "incident" {
            let candidates = line["candidates"].as_array().expect("candidates");
            let sum: f64 = candidates.iter().filter_map(|one| one["probability"].as_f64()).sum();
            assert!((sum - 1.0).abs() < 1e-9, "{line}");
            assert!(text(line, "onset").ends_with('Z'));
        }
        kinds.insert(kind);
    }
    assert_eq!(kinds.len(), 3, "changes, incidents and a summary: {kinds:?}");
}

/// The rate in the summary's field, with its interval.
fn rate(summary: &Value, field: &str) -> [f64; 3] {
    ["rate", "low", "high"].map(|part| summary[field][part].as_f64().expect("a number"))
}

#[test]
fn the_summary_says_what_the_budgets_came_to() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (rows, _) = night();
    let path = directory.path().join("night.csv");
    write(&path, rows, |_| true, false);
    let lines = json(&[], &path);
    let summary = lines.last().expect("a summary");
    let months = summary["days"].as_f64().expect("a number") / 30.0;
    // Two pages: the rate, and Garwood's limits for a count of two.
    let [rate, low, high] = rate(summary, "pages_per_month").map(|one| one * months);
    assert!((rate - 2.0).abs() < 1e-9, "{summary}");
    assert!((low - 0.2422).abs() < 1e-3 && (high - 7.2247).abs() < 1e-3, "{summary}");
    let text = backtest(&[], &path);
    assert!(text.contains("pages a month: ") && text.contains("the budget of false ones is 1\n"));
}

/// The cells of a CSV, row by row.
fn cells(path: &Path) -> Vec<Vec<String>> {
    let text = fs::read_to_string(path).expect("a file");
    text.lines().map(|line| line.split(',').map(str::to_owned).collect()).collect()
}

#[test]
fn scores_stand_beside_each_row_in_the_order_of_the_file() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("orderly.csv");
    user_signal(&path, 960, |sample| if sample >= 640 { 10.0 } else { 0.0 });
    let orderly = fs::read_to_string(&path).expect("the recording");
    let mut lines: Vec<String> = orderly.lines().map(str::to_owned).collect();
    // Line 641 is sample 640, with the header before them all.
    let without = lines[300].rsplit_once(',').expect("cells").0;
    lines[300] = format!("{without},");
    lines.swap(641, 645);
    lines.insert(701, lines[700].clone());
    let unruly = directory.path().join("unruly.csv");
    fs::write(&unruly, lines.join("\n")).expect("a temporary file");
    let scores = directory.path().join("scores.csv");
    let asked = ["--scores", scores.to_str().expect("a path of text"), "--format", "json"];
    assert_eq!(backtest(&asked, &unruly), backtest(&["--format", "json"], &unruly));
    let (input, scored) = (cells(&unruly), cells(&scores));
    assert_eq!(scored[0], ["time", "queue depth", "invoices"]);
    assert_eq!(input.len(), scored.len());
    for (input, scored) in input.iter().zip(&scored).skip(1) {
        let time = format!("{}Z", input[0].replace(' ', "T"));
        assert_eq!(scored[0], time);
        for (value, score) in input[1..].iter().zip(&scored[1..]) {
            assert_eq!(value.is_empty(), score.is_empty(), "{input:?} {scored:?}");
        }
    }
    let queue = |line: usize| scored[line][1].parse::<f64>().expect("a score");
    assert!(scored[1..=20].iter().all(|row| row[1] == "0"), "nothing can alarm yet");
    // The step is seen where its first sample was put, and nothing before it.
    assert!((21..641).all(|line| queue(line) < 0.5), "quiet");
    assert!(queue(645) >= 0.5, "{}", queue(645));
    assert_eq!(scored[700], scored[701], "a repeated row has its sample's score");
}

#[test]
fn of_flows_their_breadth_is_scored() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (rows, paged) = night();
    let path = directory.path().join("night.csv");
    write(&path, rows, |_| true, true);
    let scores = directory.path().join("scores.csv");
    backtest(&["--scores", scores.to_str().expect("a path of text")], &path);
    let scored = cells(&scores);
    let column = |name: &str| scored[0].iter().position(|cell| cell == name).expect("a column");
    let (breadth, size) = (column("organizations_pins_added"), column("pins_added"));
    let pinned_at = paged[0].1;
    for row in &scored[2..] {
        let at: Time = row[0].parse().expect("a time");
        let score: f64 = row[breadth].parse().expect("a score");
        assert!((0.0..1.0).contains(&score) && row[size].is_empty(), "{row:?}");
        assert_eq!(score >= 0.5, at == pinned_at, "{row:?}");
    }
}

#[test]
fn a_second_step_is_new_while_the_first_one_s_incident_is_open() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("steps.csv");
    let steps = |sample| f64::from(u8::from(sample >= 640) + u8::from(sample >= 680));
    user_signal(&path, 720, |sample| 20.0 * steps(sample));
    let scores = directory.path().join("scores.csv");
    let asked = ["--changes", "--scores", scores.to_str().expect("a path of text")];
    let lines = json(&asked, &path);
    let changes = lines.iter().filter(|line| line["type"] == "change");
    let ups = changes.filter(|line| line["signal"] == "queue depth" && line["direction"] == "up");
    let onsets: Vec<String> = ups.map(|line| text(line, "onset")).collect();
    assert_eq!(onsets, ["2024-03-01T02:40:00Z", "2024-03-01T02:50:00Z"], "{lines:?}");
    let incident = lines.iter().find(|line| line["type"] == "incident").expect("an incident");
    assert!(incident["resolved_at"].is_null(), "{incident}");
    // The header is line 0. The second alarm is half as new as the first.
    let scored = cells(&scores);
    let queue = |sample: usize| scored[sample + 1][1].parse::<f64>().expect("a score");
    assert!(queue(640) > 0.99, "{}", queue(640));
    assert!((0.6..0.9).contains(&queue(680)), "{}", queue(680));
    assert!((641..680).all(|sample| queue(sample) < 0.5), "told once");
}

#[test]
fn scores_go_to_no_file_that_is_read() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("a.csv");
    user_signal(&path, 10, |_| 0.0);
    let before = fs::read(&path).expect("the recording");
    for (scores, part) in [(path.clone(), "which is read"), (path.join("x"), "cannot write")] {
        let output = Command::new(env!("CARGO_BIN_EXE_headwater"))
            .arg("backtest")
            .arg(&path)
            .arg("--scores")
            .arg(scores)
            .output()
            .expect("the binary runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && errors.contains(part), "{errors}");
        assert_eq!(fs::read(&path).expect("the recording"), before);
    }
}

#[test]
fn history_is_learned_from_and_not_told() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (rows, _) = night();
    let cut = rows.len() - 2 * 80;
    let (earlier, later) = (rows[..cut].to_vec(), rows[cut..].to_vec());
    let (history, recording) =
        (directory.path().join("history.csv"), directory.path().join("recording.csv"));
    write(&history, &earlier, |_| true, false);
    write(&recording, &later, |_| true, false);
    let history = history.display().to_string();
    let lines = json(&["--history", &history], &recording);
    assert_eq!(told(&lines), both_pages());
    let begins = later[0].0;
    for line in &lines[..lines.len() - 1] {
        let detected_at: Time = text(line, "detected_at").parse().expect("a time");
        assert!(detected_at >= begins, "{line}");
    }
    let summary = lines.last().expect("a summary");
    assert_eq!(summary["samples"], later.len());
}

#[test]
fn fewer_columns_name_the_same_causes() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (rows, _) = night();
    let few = |name: &str| {
        ["devices", "devices_pinned", "pending_updates", "delta_queue"].contains(&name)
    };
    let pins_alone = |name: &str| ["devices", "devices_pinned"].contains(&name);
    let without_organizations = |name: &str| !name.starts_with("organizations");
    let variants: [(&str, Keeps); 3] = [
        ("few", &few),
        ("pins-alone", &pins_alone),
        ("without-organizations", &without_organizations),
    ];
    for (name, columns) in variants {
        let path = directory.path().join(format!("{name}.csv"));
        write(&path, rows, columns, true);
        let mut told = told(&json(&[], &path));
        // Without the release pairs an ordinary rollout's queue may be unexplained, and without
        // organisations a rollout to many applications of one owner looks like one of many owners.
        told.retain(|(cause, _)| cause != "unexplained" && cause != "mass_retarget");
        assert_eq!(told, both_pages(), "{name}");
    }
}

#[test]
fn unruly_rows_are_put_in_order() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (rows, _) = night();
    let path = directory.path().join("orderly.csv");
    write(&path, rows, |_| true, false);
    let orderly = fs::read_to_string(&path).expect("the recording");
    let mut lines: Vec<&str> = orderly.lines().collect();
    for index in (10..lines.len() - 10).step_by(7) {
        lines.swap(index, index + 3);
    }
    let repeated: Vec<&str> = lines
        .iter()
        .enumerate()
        .flat_map(|(index, line)| [*line].repeat(1 + usize::from(index % 11 == 5)))
        .collect();
    let unruly = directory.path().join("unruly.csv");
    fs::write(&unruly, repeated.join("\n")).expect("a temporary file");
    assert_eq!(backtest(&["--format", "json"], &unruly), backtest(&["--format", "json"], &path));
}

#[test]
fn empty_fleet_columns_for_minutes_are_blindness_and_nothing_of_the_fleet() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (rows, _) = night();
    // Before the event: half an hour, with eight minutes of empty cells in it.
    let mut quiet: Rows = rows[..240].to_vec();
    for (_, values) in &mut quiet[100..164] {
        values.retain(|name, _| name.starts_with("delta_") || name.ends_with("_total"));
    }
    let path = directory.path().join("blind.csv");
    write(&path, &quiet, |name| name != "device_rows_written_total", true);
    let lines = json(&[], &path);
    let expected = owned(&[("sampling_lost", "warning"), ("sampling_lost", "critical")]);
    assert_eq!(told(&lines), expected);
    let lost = lines.iter().find(|line| line["cause"] == "sampling_lost").expect("an incident");
    assert!(!lost["resolved_at"].is_null(), "samples came back: {lost}");
}

/// A user's own signal: noise about 100, with a step or a point at its two-thirds.
fn user_signal(path: &Path, samples: i64, shape: impl Fn(i64) -> f64) {
    let start: Time = "2024-03-01T00:00:00Z".parse().expect("a time");
    let mut random = ChaCha8Rng::seed_from_u64(2);
    let mut csv = "time,queue depth,invoices\n".to_owned();
    for sample in 0..samples {
        // Twelve uniform numbers less six are as good as normal.
        let mut noise = || (0..12).map(|_| random.random::<f64>()).sum::<f64>() - 6.0;
        let at = start + TimeDelta::seconds(INTERVAL_S * sample);
        let (queue, invoices) = (100.0 + noise() + shape(sample), 40.0 + noise());
        let at = at.format("%Y-%m-%d %H:%M:%S");
        writeln!(csv, "{at},{queue:.3},{invoices:.3}").expect("text");
    }
    fs::write(path, csv).expect("a temporary file");
}

#[test]
fn a_step_of_a_user_s_signal_is_unexplained_and_a_point_is_not() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("step.csv");
    user_signal(&path, 960, |sample| if sample >= 640 { 10.0 } else { 0.0 });
    let lines = json(&["--changes"], &path);
    assert_eq!(told(&lines), owned(&[("unexplained", "warning")]), "{lines:?}");
    let incident = lines.iter().find(|line| line["type"] == "incident").expect("an incident");
    assert_eq!(text(incident, "onset"), "2024-03-01T02:40:00Z");
    assert!(text(incident, "summary").contains("queue depth"), "{incident}");

    let path = directory.path().join("point.csv");
    user_signal(&path, 960, |sample| if sample == 640 { 30.0 } else { 0.0 });
    let lines = json(&["--changes"], &path);
    assert_eq!(told(&lines), [], "{lines:?}");
    let kinds: Vec<&Value> =
        lines.iter().filter(|line| line["type"] == "change").map(|line| &line["kind"]).collect();
    assert!(kinds.iter().any(|kind| *kind == "point"), "{lines:?}");
}
