//! An Alertmanager of one's own: without a cluster, on a free port, its data in a temporary
//! directory, gone when the test ends.

use std::fs;

use tempfile::TempDir;

use super::process::{Process, get_json};

/// The name of Debian's binary; upstream's is `alertmanager`.
const PROGRAM: &str = "prometheus-alertmanager";

/// A running Alertmanager.
pub(crate) struct Alertmanager {
    // In this order: the process ends before its directory goes.
    process: Process,
    directory: TempDir,
}

impl Alertmanager {
    /// Starts one with this configuration. `None` if it is not installed, which is said on standard
    /// error, and is a failure under `CI`.
    pub(crate) async fn start(configuration: &str) -> Option<Alertmanager> {
        let directory = tempfile::Builder::new()
            .prefix("headwater-alertmanager-")
            .tempdir()
            .expect("a temporary directory can be made");
        fs::write(directory.path().join("alertmanager.yml"), configuration)
            .expect("the temporary directory is writable");
        let process = Process::start(PROGRAM, directory.path(), arguments).await?;
        Some(Alertmanager { process, directory })
    }

    /// Ends it as an operator would and starts it again, on the same port and with the same data.
    pub(crate) async fn restart(self) -> Alertmanager {
        let Alertmanager { process, directory } = self;
        let port = process.port;
        process.terminate();
        let process = Process::launch(PROGRAM, directory.path(), &arguments(port), port).await;
        let process = process.expect("the port that was just in use is free");
        Alertmanager { process, directory }
    }

    /// What a configuration would name.
    pub(crate) fn url(&self) -> url::Url {
        self.process.url("").parse().expect("a local address is a URL")
    }

    /// The alerts that it holds and that have not ended, suppressed ones among them.
    pub(crate) async fn alerts(&self) -> Vec<serde_json::Value> {
        let answer = get_json(&self.process.url("api/v2/alerts")).await;
        answer.as_array().expect("a list of alerts").clone()
    }
}

fn arguments(port: u16) -> Vec<String> {
    vec![
        "--config.file=alertmanager.yml".to_owned(),
        "--storage.path=data".to_owned(),
        format!("--web.listen-address=127.0.0.1:{port}"),
        "--cluster.listen-address=".to_owned(),
    ]
}
