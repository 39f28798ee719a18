//! What people see of a configuration: `config/valid/*.yml` and `config/invalid/*.yml`, each beside
//! the text that `headwater check` prints of it (`*.txt`). `UPDATE_EXPECT=1` rewrites the texts.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use expect_test::expect_file;

/// What no message may repeat; the fixtures use it wherever a secret can stand.
const PASSWORD: &str = "hunter2";

fn fixtures(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config").join(folder);
    let entries = fs::read_dir(&folder).expect("the folder of fixtures");
    let paths = entries.map(|entry| entry.expect("an entry of the folder").path());
    let mut paths: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "yml")).collect();
    paths.sort();
    paths
}

/// `headwater check` as a user at the top of the repository would call it.
fn check(fixture: &Path) -> Output {
    let relative = fixture.strip_prefix(env!("CARGO_MANIFEST_DIR")).expect("inside the repository");
    Command::new(env!("CARGO_BIN_EXE_headwater"))
        .arg("check")
        .arg("--config")
        .arg(relative)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env_clear()
        .envs([
            ("FLEET_DATABASE_URL", "postgres://headwater:hunter2@db.example.org/resin"),
            ("PRIMARY_URL", "postgres://headwater:hunter2@primary.example.org/resin"),
            ("BILLING_DATABASE_URL", "sqlite:///var/lib/billing/hunter2.db"),
            ("EVENTS_TOKEN", "hunter2"),
            ("WRONG_SCHEME_URL", "mysql://headwater:hunter2@db.example.org/resin"),
            ("WRONG_INTERVAL", "hunter2"),
            ("EMPTY", ""),
        ])
        .output()
        .expect("the binary runs")
}

fn text(bytes: Vec<u8>) -> String {
    let text = String::from_utf8(bytes).expect("output is text");
    assert!(!text.contains(PASSWORD), "a secret is shown: {text}");
    text
}

#[test]
fn valid_configurations_are_summed_up() {
    let fixtures = fixtures("valid");
    assert!(fixtures.len() >= 4, "the fixtures are gone");
    for fixture in fixtures {
        let output = check(&fixture);
        assert_eq!(text(output.stderr), "", "{}", fixture.display());
        assert_eq!(output.status.code(), Some(0), "{}", fixture.display());
        expect_file![fixture.with_extension("txt")].assert_eq(&text(output.stdout));
    }
}

#[test]
fn invalid_configurations_are_explained_and_exit_2() {
    let fixtures = fixtures("invalid");
    assert!(fixtures.len() >= 20, "the fixtures are gone");
    for fixture in fixtures {
        let output = check(&fixture);
        assert_eq!(output.status.code(), Some(2), "{}", fixture.display());
        assert_eq!(text(output.stdout), "", "{}", fixture.display());
        expect_file![fixture.with_extension("txt")].assert_eq(&text(output.stderr));
    }
}
