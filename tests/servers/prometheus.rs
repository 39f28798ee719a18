//! A Prometheus of one's own: on a free port, its data in a temporary directory, gone when the test
//! ends.

use std::{fs, process::Command};

use tempfile::TempDir;

use super::process::{Process, get_json};

/// A running Prometheus.
pub(crate) struct Prometheus {
    // In this order: the process ends before its directory goes.
    process: Process,
    _directory: TempDir,
}

impl Prometheus {
    /// Starts one with this `prometheus.yml` and further files (name and text) beside it, which it
    /// can name. `None` if it is not installed, which is said on standard error, and is a failure
    /// under `CI`.
    ///
    /// The first scrape comes some 5 to 10 s after the start, by Prometheus' own batching.
    pub(crate) async fn start(configuration: &str, files: &[(&str, &str)]) -> Option<Prometheus> {
        let directory = temporary();
        for (name, text) in files.iter().chain(&[("prometheus.yml", configuration)]) {
            fs::write(directory.path().join(name), text)
                .expect("the temporary directory is writable");
        }
        Prometheus::serve(directory).await
    }

    /// Starts one that scrapes nothing and remembers samples given in the OpenMetrics format, of
    /// whatever time. `None` as above.
    pub(crate) async fn start_with_history(open_metrics: &str) -> Option<Prometheus> {
        let directory = temporary();
        fs::write(directory.path().join("prometheus.yml"), "")
            .expect("the temporary directory is writable");
        fs::write(directory.path().join("history"), open_metrics)
            .expect("the temporary directory is writable");
        let imported = Command::new("promtool")
            .args(["tsdb", "create-blocks-from", "openmetrics", "history", "data"])
            .current_dir(directory.path())
            .output();
        // It comes with Prometheus: where one is missing, `serve` says so.
        if let Ok(output) = imported {
            let words = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "promtool refuses the history: {words}");
        }
        Prometheus::serve(directory).await
    }

    async fn serve(directory: TempDir) -> Option<Prometheus> {
        let process = Process::start("prometheus", directory.path(), |port| {
            vec![
                "--config.file=prometheus.yml".to_owned(),
                "--storage.tsdb.path=data".to_owned(),
                format!("--web.listen-address=127.0.0.1:{port}"),
            ]
        });
        Some(Prometheus { process: process.await?, _directory: directory })
    }

    /// An address of its API: `path` with its query, without a leading slash.
    pub(crate) fn url(&self, path: &str) -> String {
        self.process.url(path)
    }

    /// The `result` of an instant query; panics if Prometheus refuses the expression.
    pub(crate) async fn query(&self, expression: &str) -> Vec<serde_json::Value> {
        let query = [("query", expression)];
        let url = url::Url::parse_with_params(&self.url("api/v1/query"), query);
        let answer = get_json(url.expect("a local address is a URL").as_str()).await;
        answer["data"]["result"].as_array().expect("a vector").clone()
    }
}

fn temporary() -> TempDir {
    tempfile::Builder::new()
        .prefix("headwater-prometheus-")
        .tempdir()
        .expect("a temporary directory can be made")
}
