//! `headwater diagnose` as a user calls it: over recordings that are written here, with and without
//! a time, a graph, a target and a history; and what it refuses.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use expect_test::{Expect, expect};
use headwater::report::RankingJson;

/// The second of the fault.
const FAULT: i64 = 400;
/// Seconds of a recording: one row each.
const LENGTH: i64 = 600;
/// The first second.
const START: i64 = 1_709_251_200;

/// A whole number below 20 that is as good as drawn.
fn noise(second: i64, column: u64) -> i64 {
    let mut state = (second as u64 + 7).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (column << 40);
    state ^= state >> 29;
    state = state.wrapping_mul(0xBF58_476D_1CE4_E5B9);
    state ^= state >> 32;
    (state % 20) as i64
}

/// A shop in which the orders' processor is exhausted, which later shows in latencies; `requests`
/// counts, and goes on as before; `replicas` never moved.
fn shop(start: i64, length: i64, fault: i64) -> String {
    let mut csv =
        "time,checkout_latency,orders_latency,orders_cpu,payment_cpu,requests_total,replicas\n"
            .to_owned();
    for second in 0..length {
        let since = |delay, size| if second >= fault + delay { size } else { 0 };
        writeln!(
            csv,
            "{},{},{},{},{},{},3",
            start + second,
            200 + noise(second, 1) + since(12, 300),
            100 + noise(second, 2) + since(5, 200),
            30 + noise(second, 3) + since(0, 900),
            40 + noise(second, 4),
            50 * second + noise(second, 5),
        )
        .expect("text");
    }
    csv
}

fn write(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, text).expect("the temporary directory is writable");
    path
}

fn diagnose(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headwater"));
    command.arg("diagnose").args(arguments).current_dir(directory).env_clear();
    command.output().expect("the binary runs")
}

/// The columns in their order, and what standard error said.
fn ranked(directory: &Path, arguments: &[&str]) -> (RankingJson, String) {
    let output = diagnose(directory, &[arguments, &["--format", "json"]].concat());
    let errors = String::from_utf8(output.stderr).expect("errors are text");
    assert_eq!(output.status.code(), Some(0), "{errors}");
    let ranking = String::from_utf8(output.stdout).expect("the ranking is text");
    assert_eq!(ranking.matches('\n').count(), 1, "one object on one line: {ranking}");
    (serde_json::from_str(&ranking).expect("the contract's JSON"), errors)
}

fn onset(ranking: &RankingJson, signal: &str) -> Option<i64> {
    let column = ranking.ranking.iter().find(|one| one.signal == signal).expect("a column");
    column.onset.map(|onset| onset.0.timestamp() - START)
}

fn explained(ranking: &RankingJson, signal: &str) -> f64 {
    ranking.ranking.iter().find(|one| one.signal == signal).expect("a column").explained.0
}

#[track_caller]
fn check_refused(directory: &Path, arguments: &[&str], code: i32, expected: &Expect) {
    let output = diagnose(directory, arguments);
    assert!(output.stdout.is_empty(), "an error is no result");
    expected.assert_eq(&String::from_utf8(output.stderr).expect("errors are text"));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}");
}

#[test]
fn the_cause_is_first_with_its_own_onset_whenever_it_is_asked_for() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let directory = directory.path();
    write(directory, "shop.csv", &shop(START, LENGTH, FAULT));
    for told in [FAULT - 60, FAULT, FAULT + 60, FAULT + 150] {
        let at = (START + told).to_string();
        let (ranking, errors) = ranked(directory, &["shop.csv", "--at", &at]);
        assert_eq!(errors, "");
        assert_eq!(ranking.ranking.len(), 6, "every column is ranked");
        assert_eq!(ranking.ranking[0].signal, "orders_cpu", "told {told}");
        assert_eq!(onset(&ranking, "orders_cpu"), Some(FAULT), "told {told}");
        assert_eq!(onset(&ranking, "orders_latency"), Some(FAULT + 5), "told {told}");
        assert_eq!(onset(&ranking, "replicas"), None, "it never moved");
    }
}

#[test]
fn without_a_time_the_strongest_event_is_found_and_said() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let directory = directory.path();
    write(directory, "shop.csv", &shop(START, LENGTH, FAULT));
    let (ranking, errors) = ranked(directory, &["shop.csv"]);
    assert_eq!(ranking.ranking[0].signal, "orders_cpu");
    assert!(errors.contains("shop.csv: no --at: ranked at 2024-03-01T00:06:4"), "{errors}");
    write(directory, "quiet.csv", &shop(START, LENGTH, LENGTH));
    let (_, errors) = ranked(directory, &["quiet.csv"]);
    assert!(errors.contains("nothing stands out"), "{errors}");
}

#[test]
fn a_history_makes_a_short_recording_judgeable() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let directory = directory.path();
    write(directory, "short.csv", &shop(START, 60, 20));
    let at = (START + 20).to_string();
    let (ranking, _) = ranked(directory, &["short.csv", "--at", &at]);
    assert_eq!(ranking.ranking[0].score.0, 0.0, "nothing is known of what is ordinary");
    write(directory, "history.csv", &shop(START - LENGTH, LENGTH, LENGTH));
    let with_history = ["short.csv", "--history", "history.csv"];
    let (ranking, errors) = ranked(directory, &with_history);
    assert_eq!(ranking.ranking[0].signal, "orders_cpu");
    assert_eq!(onset(&ranking, "orders_cpu"), Some(20));
    assert!(errors.contains("no --at: ranked at 2024-03-01T00:00:2"), "{errors}");
}

#[test]
fn a_graph_explains_and_a_target_narrows() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let directory = directory.path();
    write(directory, "shop.csv", &shop(START, LENGTH, FAULT));
    let edges = "orders_cpu: [orders_latency: 10s]\norders_latency: checkout_latency\n";
    write(directory, "graph.yml", edges);
    let at = (START + FAULT + 30).to_string();
    let asked = ["shop.csv", "--at", &at];
    let (ranking, _) = ranked(directory, &[&asked[..], &["--graph", "graph.yml"]].concat());
    assert_eq!(ranking.ranking[0].signal, "orders_cpu");
    assert_eq!(explained(&ranking, "orders_latency"), 1.0);
    assert_eq!(explained(&ranking, "checkout_latency"), 1.0, "over two steps");
    let target = ["--target", "orders_latency"];
    let (ranking, _) = ranked(directory, &[&asked[..], &target].concat());
    assert_eq!(ranking.ranking[0].signal, "orders_cpu");
    let later = ranking.ranking.iter().find(|one| one.signal == "checkout_latency");
    assert_eq!(later.expect("a column").score.0, 0.0, "it moved after the target");
}

#[test]
fn people_get_a_table() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let directory = directory.path();
    write(directory, "shop.csv", &shop(START, LENGTH, FAULT));
    write(directory, "graph.yml", "orders_latency: {checkout_latency: 1m}\n");
    let at = (START + FAULT + 30).to_string();
    let asked = ["shop.csv", "--at", &at, "--graph", "graph.yml"];
    let output = diagnose(directory, &asked);
    expect![[r#"
        likely causes of what happened around 2024-03-01T00:07:10Z, the likeliest first:
            score  onset                 signal            moved
         1   8.85  2024-03-01T00:06:40Z  orders_cpu        38 -> 938
         2   3.58  2024-03-01T00:06:45Z  orders_latency    108 -> 310
         3   2.00  2024-03-01T00:06:52Z  checkout_latency  209 -> 511 (50 % explained)
         4   0.44  2024-03-01T00:04:22Z  payment_cpu       49.5 -> 40
         5   0.30  2024-03-01T00:05:14Z  requests_total    51 -> 48
    "#]]
    .assert_eq(&String::from_utf8(output.stdout).expect("text"));
}

#[test]
fn what_cannot_be_asked_is_refused_with_a_remedy() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let directory = directory.path();
    write(directory, "shop.csv", &shop(START, LENGTH, FAULT));
    write(directory, "cycle.yml", "orders_cpu: [orders_latency]\norders_latency: [orders_cpu]\n");
    write(directory, "typo.yml", "orders_cpu: [order_latency]\n");
    write(directory, "few.csv", "time,a\n0,1\n1,2\n");
    check_refused(
        directory,
        &["shop.csv", "--graph", "cycle.yml"],
        2,
        &expect![[r#"
            error: the configuration is wrong
            cycle.yml:1: orders_cpu.orders_latency: "orders_cpu" -> "orders_latency" -> "orders_cpu" is a cycle, and no effect drives its cause: remove one of these edges
        "#]],
    );
    check_refused(
        directory,
        &["shop.csv", "--graph", "typo.yml"],
        2,
        &expect![[r#"
        error: the configuration is wrong
        typo.yml:1: "order_latency" is no column of the recording (did you mean "orders_latency"?): name a column, or remove it
    "#]],
    );
    check_refused(
        directory,
        &["shop.csv", "--graph", "no.yml"],
        2,
        &expect![[r#"
        error: the configuration is wrong
        no.yml: cannot be read: No such file or directory (os error 2); see --graph
    "#]],
    );
    check_refused(
        directory,
        &["shop.csv", "--target", "orders_cp"],
        2,
        &expect![[r#"
        error: --target "orders_cp" is no column of shop.csv (did you mean "orders_cpu"?): name one of its columns

        Usage: headwater diagnose [OPTIONS] <RECORDING>

        For more information, try '--help'.
    "#]],
    );
    check_refused(
        directory,
        &["shop.csv", "--at", "2019-09-23"],
        1,
        &expect![[r#"
        error: --at 2019-09-23T00:00:00Z is outside the recording shop.csv, which lasts from 2024-03-01T00:00:00Z to 2024-03-01T00:09:59Z: name a time within it
    "#]],
    );
    check_refused(
        directory,
        &["shop.csv", "--history", "shop.csv"],
        1,
        &expect![[r#"
        error: the history ends at 2024-03-01T00:09:59Z, which is not before the recording's beginning at 2024-03-01T00:00:00Z: give a history from before it
    "#]],
    );
    check_refused(
        directory,
        &["few.csv"],
        1,
        &expect![[r#"
        error: few.csv: too few samples to find when something happened: name the time with --at
    "#]],
    );
    check_refused(
        directory,
        &["none.csv"],
        1,
        &expect![[r#"
        error: cannot open the recording none.csv: check the path: No such file or directory (os error 2)
    "#]],
    );
}
