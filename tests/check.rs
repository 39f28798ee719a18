//! `headwater check --connect` on real sources: what it prints, and its exit codes.

use std::{fs, net::TcpListener, path::Path, process::Command};

use expect_test::{Expect, expect};
use sqlx::{
    ConnectOptions as _, Connection as _,
    sqlite::{SqliteConnectOptions, SqliteJournalMode},
};

const FLEET: &str = r#"
CREATE TABLE "application" ("id" integer, "organization" integer,
    "should be running-release" integer);
INSERT INTO "application" VALUES (1, 1, 100);
CREATE TABLE "device" ("id" integer, "belongs to-application" integer,
    "is pinned on-release" integer, "is running-release" integer, "is connected to vpn" integer);
INSERT INTO "device" VALUES (1, 1, NULL, 99, 1), (2, 1, 100, 100, 0);
"#;

const SHOP: &str = "CREATE TABLE orders (id integer); INSERT INTO orders VALUES (1), (2), (3);";

async fn create(path: &Path, sql: &'static str) {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Delete)
        .create_if_missing(true);
    let mut connection = options.connect().await.expect("a database");
    sqlx::raw_sql(sql).execute(&mut connection).await.expect("tables");
    connection.close().await.expect("closed");
}

/// Runs the check in `folder`, where the configuration and the databases are. Durations are
/// replaced, and the samplers' own messages cut: their wording is tested with them.
fn check(folder: &Path, config: &str, code: i32, expected: &Expect) {
    fs::write(folder.join("headwater.yml"), config).expect("a configuration");
    let output = Command::new(env!("CARGO_BIN_EXE_headwater"))
        .args(["check", "--connect", "--config", "headwater.yml"])
        .current_dir(folder)
        .env_clear()
        .output()
        .expect("the binary runs");
    let mut text = String::from_utf8(output.stdout).expect("text");
    text.push_str("--- standard error\n");
    text.push_str(&String::from_utf8(output.stderr).expect("text"));
    assert!(!text.contains("hunter2"), "a secret is shown: {text}");
    let mut seen = String::new();
    for line in text.lines() {
        if let Some((source, _)) = line.split_once("\": ") {
            seen.push_str(&format!("{source}\": …\n"));
            continue;
        }
        let words: Vec<&str> = line.split(' ').collect();
        let is_duration = |word: &str| word.len() == 5 && word.parse::<f64>().is_ok();
        let words = words.into_iter().map(|word| if is_duration(word) { "#.###" } else { word });
        seen.push_str(&(words.collect::<Vec<_>>().join(" ") + "\n"));
    }
    expected.assert_eq(&seen);
    assert_eq!(output.status.code(), Some(code));
}

#[tokio::test]
async fn every_source_is_sampled_once() {
    let folder = tempfile::tempdir().expect("a folder");
    create(&folder.path().join("fleet.db"), FLEET).await;
    create(&folder.path().join("shop.db"), SHOP).await;
    let config = "\
sources:
  - type: open_balena
    url: sqlite://fleet.db
  - type: sql
    url: sqlite://shop.db
    signals: { orders: SELECT count(*) FROM orders, refunds: SELECT count(*) FROM refunds }
  - type: push
    signals: [depth]
";
    check(
        folder.path(),
        config,
        0,
        &expect![[r#"
            headwater.yml is valid: fleet "default"
              3 sources: open_balena, sql, push
              52 signals every 15s
              listens on 127.0.0.1:9855, links begin with http://127.0.0.1:9855
              keeps 90d in sqlite://headwater.db
              nobody is notified: notify.alertmanager is empty

            source       type         outcome               took     signals
            open_balena  open_balena  sampled               #.### s  10
            sql          sql          sampled               #.### s  1
            push         push         pushed to, not asked

            open_balena
              devices                    2
              applications               1
              organizations              1
              devices_online             1
              devices_vpn_connected      1
              devices_pinned             1
              devices_pinned_to_running  1
              pending_updates            1
              pending_pairs              1
              applications_pending       1
              evidence that can be read: none
              note: source "open_balena": …
              note: source "open_balena": …
              note: source "open_balena": …
              note: source "open_balena": …
              note: source "open_balena": …
              note: source "open_balena": …
              note: source "open_balena": …
              note: source "open_balena": …

            sql
              orders  3
              note: source "sql": …
            --- standard error
        "#]],
    );
}

#[tokio::test]
async fn a_source_that_fails_is_named_and_the_others_are_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    create(&folder.path().join("shop.db"), SHOP).await;
    // A port on which nobody listens: it was free a moment ago, and is not given out again soon.
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("its address").port().to_string()
    };
    let config = format!(
        "\
sources:
  - type: prometheus
    url: http://reader:hunter2@127.0.0.1:{port}
    signals: {{ delta_queue: sum(delta_queue) }}
  - type: open_balena
    url: sqlite://no-such.db
  - type: sql
    url: sqlite://shop.db
    signals: {{ orders: SELECT count(*) FROM orders }}
"
    );
    check(
        folder.path(),
        &config,
        1,
        &expect![[r#"
            headwater.yml is valid: fleet "default"
              3 sources: prometheus, open_balena, sql
              51 signals every 15s
              listens on 127.0.0.1:9855, links begin with http://127.0.0.1:9855
              keeps 90d in sqlite://headwater.db
              nobody is notified: notify.alertmanager is empty

            source       type         outcome              took     signals
            prometheus   prometheus   FAILED (connection)  #.### s  0
            open_balena  open_balena  FAILED (connection)  #.### s  0
            sql          sql          sampled              #.### s  1

            prometheus
              source "prometheus": …

            open_balena
              source "open_balena": …

            sql
              orders  3
            --- standard error
            error: 2 sources failed: prometheus, open_balena
        "#]],
    );
}
