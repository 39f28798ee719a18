//! The daemon as a process, on real SQLite fleets: what an operator sees of it from outside, by
//! HTTP, by signals, in its log and at the pager. What it decides is tested beside the code.

mod announced;
mod commands;
mod demo;
mod lives;
mod trouble;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{Json, Router, extract::State, http::Uri};
use chrono::TimeDelta;
use headwater::{
    http,
    series::Time,
    serve::since,
    simulate::{Settings, acts::Act, database::FleetDatabase, life::Life, night::Night},
};
use serde_json::{Value, json};
use sqlx::{Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinSet};

use crate::servers::process::wait_for;

/// How long the process may take to end by itself, on a busy machine.
const END_DEADLINE: Duration = Duration::from_secs(60);

/// A fleet in an SQLite file, small enough for any machine and wide enough for any breadth.
struct Fleet {
    life: Life,
    database: FleetDatabase,
    directory: TempDir,
}

impl Fleet {
    async fn new() -> Fleet {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let life = Life::new(Settings::new(23, 2_000, 120, 30), Night::start());
        let url = format!("sqlite://{}", directory.path().join("fleet.db").display());
        let mut database = FleetDatabase::create(&url).await.expect("an SQLite file can be made");
        database.fill(life.fleet(), life.now()).await.expect("the fleet can be written");
        Fleet { life, database, directory }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }

    async fn act(&mut self, act: Act) {
        let changes = self.life.act(&act);
        let acted = self.database.act(&act, &changes, self.life.now()).await;
        acted.expect("the act can be written");
    }

    /// A minute of ordinary life.
    async fn live(&mut self) {
        let changes = self.life.live_until(self.life.now() + TimeDelta::minutes(1));
        self.database.apply(&changes, self.life.now()).await.expect("life can be written");
    }

    /// Writes a configuration with this fleet, sampled every second, and `more` below the top.
    fn configuration(&self, more_sources: &str, more: &str) -> PathBuf {
        let path = self.path("headwater.yml");
        let text = format!(
            "fleet: test\nlisten: 127.0.0.1:0\ninterval: 1s\nstore: sqlite://{}\nsources:\n  \
             - type: open_balena\n    url: sqlite://{}\n{more_sources}{more}",
            self.path("headwater.db").display(),
            self.path("fleet.db").display(),
        );
        fs::write(&path, text).expect("the temporary directory is writable");
        path
    }

    /// The same, with an Alertmanager.
    fn paging(&self, alertmanager: &str) -> PathBuf {
        self.configuration("", &format!("notify:\n  alertmanager: [\"{alertmanager}\"]\n"))
    }

    /// A second hand at the daemon's store.
    async fn store(&self) -> SqliteConnection {
        connect(&self.path("headwater.db")).await
    }
}

async fn connect(path: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(path).busy_timeout(Duration::from_secs(20));
    SqliteConnection::connect_with(&options).await.expect("the file is a database")
}

async fn execute(connection: &mut SqliteConnection, statement: &'static str) {
    sqlx::raw_sql(statement).execute(connection).await.expect(statement);
}

/// A running daemon. Killed with its owner.
struct Daemon {
    child: Child,
    log: PathBuf,
    base: String,
    client: reqwest::Client,
}

impl Daemon {
    /// Starts the program and waits until it is ready.
    async fn start(configuration: &Path) -> Daemon {
        let log = configuration.with_extension("log");
        let output = fs::File::create(&log).expect("the temporary directory is writable");
        let child = headwater()
            .arg("run")
            .arg("--config")
            .arg(configuration)
            .stdout(Stdio::null())
            .stderr(output)
            .spawn()
            .expect("the binary runs");
        let client = http::client(Duration::from_secs(20)).expect("a client can be made");
        let mut daemon = Daemon { child, log, base: String::new(), client };
        daemon.base = wait_for("the daemon's address", async || {
            let ended = daemon.child.try_wait().expect("a child can be asked");
            assert_eq!(ended, None, "it ended: {}", daemon.log());
            let log = daemon.log();
            let (_, rest) = log.split_once("serving on ")?;
            Some(rest.split_once(char::is_whitespace)?.0.to_owned())
        })
        .await;
        wait_for("readiness", async || (daemon.get("/-/ready").await.0 == 200).then_some(())).await;
        daemon
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// How often the log says `words`.
    fn said(&self, words: &str) -> usize {
        self.log().matches(words).count()
    }

    async fn hears(&self, words: &str) {
        wait_for(words, async || (self.said(words) > 0).then_some(())).await;
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let asked = Command::new("kill").args([name, &pid]).status();
        assert!(asked.is_ok_and(|status| status.success()), "the daemon still runs");
    }

    async fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + END_DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be asked") {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end: {}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends it as systemd would.
    async fn terminate(&mut self) {
        self.signal("-TERM");
        let status = self.ended().await;
        assert_eq!(status.code(), Some(0), "{}", self.log());
        assert!(self.log().contains("all is committed"), "{}", self.log());
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let answer = self.client.get(format!("{}{path}", self.base)).send().await;
        let answer = answer.expect("the daemon answers");
        (answer.status().as_u16(), answer.text().await.expect("an answer has a body"))
    }

    async fn json(&self, path: &str) -> Value {
        let (status, body) = self.get(path).await;
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).expect("the API answers in JSON")
    }

    /// The value of a series of /metrics, by its name with labels.
    async fn metric(&self, series: &str) -> Option<f64> {
        let (_, text) = self.get("/metrics").await;
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map(|value| value.parse().expect("a metric's value is a number"))
    }

    /// How many samples a signal has behind it, and the time of the latest.
    async fn signal_state(&self, name: &str) -> Option<(u64, Time)> {
        let answer = self.json("/api/v1/signals").await;
        let signals = answer["signals"].as_array().expect("a list");
        let signal = signals.iter().find(|signal| signal["signal"] == name)?;
        let at = since::parse(signal["at"].as_str()?, Time::UNIX_EPOCH).ok()?;
        Some((signal["samples"].as_u64()?, at))
    }

    /// Waits for `count` further samples of a signal.
    async fn samples(&self, signal: &str, count: u64) {
        let seen = async || self.signal_state(signal).await.map(|(samples, _)| samples);
        let before = seen().await.unwrap_or(0);
        wait_for(signal, async || (seen().await? >= before + count).then_some(())).await;
    }

    /// Every incident that notifies, newest first.
    async fn loud(&self) -> Vec<Value> {
        let answer = self.json("/api/v1/incidents").await;
        let incidents = answer["incidents"].as_array().expect("a list").clone();
        incidents.into_iter().filter(|incident| incident["severity"] != "info").collect()
    }

    /// Waits for a loud incident whose causes are these, in order.
    async fn incident(&self, causes: &[&str]) -> Value {
        let what = format!("an incident of {causes:?}");
        wait_for(&what, async || {
            self.loud().await.into_iter().find(|incident| causes_of(incident) == causes)
        })
        .await
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn headwater() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headwater"));
    command.env_clear().stdin(Stdio::null());
    command
}

/// Runs a command to its end without holding up the servers of the test.
async fn run(mut command: Command) -> Output {
    let running = tokio::task::spawn_blocking(move || command.output());
    running.await.expect("waiting does not panic").expect("the binary runs")
}

fn causes_of(incident: &Value) -> Vec<&str> {
    let causes = incident["causes"].as_array().expect("a list").iter();
    causes.map(|cause| cause["cause"].as_str().expect("a name")).collect()
}

/// An Alertmanager that only writes down what it is sent.
struct Pager {
    url: String,
    alerts: Arc<Mutex<Vec<Value>>>,
    _serving: JoinSet<()>,
}

impl Pager {
    async fn start() -> Pager {
        async fn receive(
            State(alerts): State<Arc<Mutex<Vec<Value>>>>,
            Json(some): Json<Vec<Value>>,
        ) {
            alerts.lock().expect("no holder panics").extend(some);
        }
        let alerts = Arc::new(Mutex::new(Vec::new()));
        let router = Router::new()
            .route("/api/v2/alerts", axum::routing::post(receive))
            .with_state(Arc::clone(&alerts));
        let (url, serving) = serve(router).await;
        Pager { url, alerts, _serving: serving }
    }

    /// Every alert of a cause, as often as it was sent.
    fn of(&self, cause: &str) -> Vec<Value> {
        let alerts = self.alerts.lock().expect("no holder panics");
        alerts.iter().filter(|alert| alert["labels"]["cause"] == cause).cloned().collect()
    }

    async fn page(&self, cause: &str) -> Value {
        wait_for(cause, async || self.of(cause).pop()).await
    }

    /// The causes that notified, each label set once.
    fn causes(&self) -> Vec<String> {
        let alerts = self.alerts.lock().expect("no holder panics");
        let mut labels: Vec<String> =
            alerts.iter().map(|alert| alert["labels"].to_string()).collect();
        labels.sort();
        labels.dedup();
        let cause = |text: &String| {
            let labels: Value = serde_json::from_str(text).expect("it was JSON before");
            labels["cause"].as_str().expect("every alert has a cause").to_owned()
        };
        labels.iter().map(cause).collect()
    }
}

async fn serve(router: Router) -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound listener has an address");
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        let _ = axum::serve(listener, router).await;
    });
    (format!("http://{address}"), serving)
}

/// A Prometheus that knows the present only: every query gives 5.
async fn prometheus() -> (String, JoinSet<()>) {
    async fn answer(uri: Uri) -> Json<Value> {
        let now = headwater::clock::Clock::System.now().timestamp();
        let data = if uri.path().ends_with("query_range") {
            json!({ "resultType": "matrix", "result": [] })
        } else {
            let result = json!([{ "metric": {}, "value": [now, "5"] }]);
            json!({ "resultType": "vector", "result": result })
        };
        Json(json!({ "status": "success", "data": data }))
    }
    serve(Router::new().fallback(answer)).await
}
