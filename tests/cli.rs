//! What people see of the command line itself: help texts, and exit codes.

use std::process::{Command, Output, Stdio};

use expect_test::{Expect, ExpectFile, expect, expect_file};

fn headwater(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_headwater"))
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env_clear()
        .output()
        .expect("the binary runs")
}

#[track_caller]
fn check_help(arguments: &[&str], expected: &ExpectFile) {
    let output = headwater(arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}");
    assert!(output.stderr.is_empty(), "help is a result: it goes to standard output");
    expected.assert_eq(&String::from_utf8(output.stdout).expect("help is text"));
}

#[track_caller]
fn check_refused(arguments: &[&str], code: i32, expected: &Expect) {
    let output = headwater(arguments);
    assert!(output.stdout.is_empty(), "an error is no result: it goes to standard error");
    expected.assert_eq(&String::from_utf8(output.stderr).expect("errors are text"));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}");
}

#[test]
fn every_command_has_help() {
    check_help(&["--help"], &expect_file!["cli/headwater.txt"]);
    check_help(&["run", "--help"], &expect_file!["cli/run.txt"]);
    check_help(&["check", "--help"], &expect_file!["cli/check.txt"]);
    check_help(&["demo", "--help"], &expect_file!["cli/demo.txt"]);
    check_help(&["backtest", "--help"], &expect_file!["cli/backtest.txt"]);
    check_help(&["diagnose", "--help"], &expect_file!["cli/diagnose.txt"]);
    check_help(&["incidents", "--help"], &expect_file!["cli/incidents.txt"]);
    check_help(&["incidents", "accept", "--help"], &expect_file!["cli/incidents-accept.txt"]);
    check_help(&["export", "--help"], &expect_file!["cli/export.txt"]);
}

#[test]
fn a_wrong_command_line_exits_2_and_says_what_would_be_right() {
    check_refused(
        &["rum"],
        2,
        &expect![[r#"
        error: unrecognized subcommand 'rum'

          tip: a similar subcommand exists: 'run'

        Usage: headwater [OPTIONS] <COMMAND>

        For more information, try '--help'.
    "#]],
    );
    check_refused(
        &["check"],
        2,
        &expect![[r#"
        error: the following required arguments were not provided:
          --config <FILE>

        Usage: headwater check --config <FILE>

        For more information, try '--help'.
    "#]],
    );
    check_refused(
        &["check", "--confg", "a.yml"],
        2,
        &expect![[r#"
        error: unexpected argument '--confg' found

          tip: a similar argument exists: '--config'

        Usage: headwater check --config <FILE>

        For more information, try '--help'.
    "#]],
    );
    check_refused(
        &["export", "--since", "yesterday"],
        2,
        &expect![[r#"
            error: invalid value 'yesterday' for '--since <TIME>': "yesterday" is not a time: write 2019-09-23T22:14:00Z, "2019-09-23 22:14:00", Unix seconds, or how long ago, as in 24h

            For more information, try '--help'.
        "#]],
    );
    check_refused(
        &["demo", "--speed", "0"],
        2,
        &expect![[r#"
        error: invalid value '0' for '--speed <N>': write a number above 0, up to 600

        For more information, try '--help'.
    "#]],
    );
    check_refused(
        &["run", "-c", "a.yml", "--log.level", "loud"],
        2,
        &expect![[r#"
        error: invalid value 'loud' for '--log.level <LEVEL>'
          [possible values: error, warn, info, debug, trace]

        For more information, try '--help'.
    "#]],
    );
}

#[test]
fn a_configuration_that_is_not_there_exits_2() {
    check_refused(
        &["check", "--config", "no/such.yml"],
        2,
        &expect![[r#"
        error: the configuration is wrong
        no/such.yml: cannot be read: No such file or directory (os error 2); see --config
    "#]],
    );
    check_refused(
        &["check", "--config.file", "tests"],
        2,
        &expect![[r#"
        error: the configuration is wrong
        tests: cannot be read: Is a directory (os error 21); see --config
    "#]],
    );
}

#[test]
fn results_that_nobody_reads_any_more_are_no_failure() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("recording.csv");
    let rows = (0..20_000).map(|row| format!("{},{}\n", 1_700_000_000 + 15 * row, row % 7));
    std::fs::write(&path, "time,queue\n".to_owned() + &rows.collect::<String>()).expect("written");
    for format in ["text", "json"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_headwater"));
        command.arg("backtest").arg(&path).args(["--format", format]).env_clear();
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs");
        // Long before the end of the recording.
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("it ends");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*errors), (Some(0), ""), "{format}");
    }
}
