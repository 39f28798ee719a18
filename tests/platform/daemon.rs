//! `headwater run` as a child process, asked from outside as its users ask it: by HTTP, and by
//! `/proc` for what it costs.

use std::{fs, path::Path, time::Duration};

use headwater::{http, series::Time};
use serde_json::Value;
use tempfile::TempDir;

use super::surroundings::Surroundings;
use crate::servers::process::{Process, get_json};

/// `/proc` counts processor time in hundredths of a second on every Linux that Rust knows.
const CLOCK_TICKS_PER_S: f64 = 100.0;

/// A running daemon. Its store goes with it.
pub(super) struct Daemon {
    process: Process,
    _directory: TempDir,
}

impl Daemon {
    /// Starts it on these surroundings and waits until it is ready.
    pub(super) async fn start(around: &Surroundings, interval_s: u32) -> Daemon {
        let directory = tempfile::Builder::new()
            .prefix("headwater-run-")
            .tempdir()
            .expect("a temporary directory can be made");
        let path = directory.path().join("headwater.yml");
        let process =
            Process::start_here(env!("CARGO_BIN_EXE_headwater"), directory.path(), |port| {
                let text = configuration(around, interval_s, port, directory.path());
                fs::write(&path, text).expect("the temporary directory is writable");
                vec!["run".to_owned(), "--config".to_owned(), path.display().to_string()]
            });
        Daemon { process: process.await, _directory: directory }
    }

    /// Ends it as an operator would; panics if it does not end.
    pub(super) fn terminate(self) {
        self.process.terminate();
    }

    /// What it has logged.
    pub(super) fn log(&self) -> String {
        self.process.words()
    }

    /// When it last had a sample of the fleet.
    pub(super) async fn sampled_at_s(&self) -> Option<f64> {
        let client = http::client(Duration::from_secs(10)).expect("a client can be made");
        let answer = client.get(self.process.url("metrics")).send().await.expect("it answers");
        let text = answer.text().await.expect("the answer has a body");
        let name = "headwater_sample_last_success_timestamp_seconds{source=\"fleet\"} ";
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.parse().ok()
    }

    /// Lives on until the daemon has had this many samples of the fleet that began after `since`.
    pub(super) async fn samples_after(
        &self,
        around: &mut Surroundings,
        since: Time,
        samples: u32,
        interval_s: u32,
    ) {
        let enough = since.timestamp_millis() as f64 / 1e3 + f64::from(samples * interval_s);
        let sampled = async |_: &Surroundings| {
            self.sampled_at_s().await.is_some_and(|at| at >= enough).then_some(())
        };
        around.live_until("samples of the fleet", 60 + samples * interval_s, sampled).await;
    }

    /// Every incident of which it knows, newest first.
    pub(super) async fn incidents(&self) -> Vec<Value> {
        let answer = get_json(&self.process.url("api/v1/incidents")).await;
        answer["incidents"].as_array().expect("a list of incidents").clone()
    }

    /// One incident in full.
    pub(super) async fn incident(&self, id: &str) -> Value {
        get_json(&self.process.url(&format!("api/v1/incidents/{id}"))).await
    }

    /// Resident memory, now and at its peak, in MiB.
    pub(super) fn memory_mib(&self) -> (f64, f64) {
        let status = self.proc("status");
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next());
            number.and_then(|kib| kib.parse::<f64>().ok()).expect("a size in KiB") / 1024.0
        };
        (field("VmRSS:"), field("VmHWM:"))
    }

    /// Processor time used so far, user and system, in seconds.
    pub(super) fn cpu_s(&self) -> f64 {
        let stat = self.proc("stat");
        // The name of the program stands in parentheses and may hold spaces.
        let (_, fields) = stat.rsplit_once(") ").expect("a name in parentheses");
        let ticks = |index: usize| {
            let field = fields.split_whitespace().nth(index);
            field.and_then(|ticks| ticks.parse::<f64>().ok()).expect("a count of ticks")
        };
        // Fields 14 and 15 of proc(5), counted from the state, which is field 3.
        (ticks(11) + ticks(12)) / CLOCK_TICKS_PER_S
    }

    fn proc(&self, file: &str) -> String {
        let path = format!("/proc/{}/{file}", self.process.id());
        fs::read_to_string(path).expect("a running process stands in /proc")
    }
}

fn configuration(around: &Surroundings, interval_s: u32, port: u16, directory: &Path) -> String {
    format!(
        "fleet: test\n\
         listen: 127.0.0.1:{port}\n\
         external_url: http://headwater.example.org\n\
         interval: {interval_s}s\n\
         store: sqlite://{}/headwater.db\n\
         labels: {{cluster: eu}}\n\
         sources:\n\
         - type: open_balena\n  name: fleet\n  url: {}\n\
         - type: prometheus\n  url: {}\n  signals:\n    \
             delta_queue: sum(delta_queue)\n    \
             delta_workers_busy: sum(delta_workers_busy)\n    \
             delta_requests_total: delta_requests_total\n    \
             delta_successes_total: delta_successes_total\n    \
             delta_failures_total: delta_failures_total\n    \
             egress_bytes_total: egress_bytes_total\n    \
             api_requests_total: api_requests_total\n\
         notify:\n  alertmanager: ['{}', 'http://{}']\n",
        directory.display(),
        around.url(),
        around.prometheus.url(""),
        around.alertmanager.url(),
        around.posts.address,
    )
}
