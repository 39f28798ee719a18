//! What stands around the daemon in the acceptance test: a fleet that lives in PostgreSQL, the
//! delta service's metrics in a Prometheus, an Alertmanager with its pager, and a recorder of what
//! the daemon posts. What is expected of the daemon is in the test.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State,
    routing::{get, post},
};
use chrono::TimeDelta;
use headwater::{
    clock::Clock,
    sample::GRANTS,
    series::Time,
    simulate::{Settings, acts::Act, database::FleetDatabase, life::Life},
};
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinSet, time::Interval};

use crate::servers::{alertmanager::Alertmanager, postgres::Postgres, prometheus::Prometheus};

/// Between two ticks of the fleet's life, in real time.
const TICK: Duration = Duration::from_secs(1);

/// The database of the fleet.
const DATABASE: &str = "fleet";

/// Roles as a platform has them. The daemon's role may only what its grants say.
const ROLES: &str = "CREATE ROLE headwater LOGIN; CREATE ROLE api LOGIN; \
                     CREATE ROLE migrator LOGIN; CREATE ROLE ops LOGIN";

/// What the platform's own roles may.
const WRITERS: &str = "GRANT ALL ON ALL TABLES IN SCHEMA public TO api, migrator, ops; \
                       GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO api, migrator, ops";

pub(super) fn now() -> Time {
    Clock::System.now()
}

/// Somebody who acts on the fleet, with a connection in a role of that name.
#[derive(Clone, Copy, Debug)]
pub(super) enum Role {
    Api,
    Migrator,
    Ops,
}

/// The fleet and everything that watches it but the daemon.
pub(super) struct Surroundings {
    server: Postgres,
    pub(super) life: Life,
    /// Simulated seconds in a real one.
    speed: f64,
    api: FleetDatabase,
    migrator: FleetDatabase,
    ops: FleetDatabase,
    ticks: Interval,
    exposition: Arc<Mutex<String>>,
    pub(super) prometheus: Prometheus,
    pub(super) alertmanager: Alertmanager,
    pub(super) posts: Posts,
}

impl Surroundings {
    /// Starts and fills everything. `None` if a server is not installed.
    pub(super) async fn start(settings: Settings, speed: f64) -> Option<Surroundings> {
        let server = Postgres::start(&[])?;
        let posts = Posts::start().await;
        let exposition = Arc::new(Mutex::new(String::new()));
        let exporter = export(exposition.clone(), &posts).await;
        let scraping = format!(
            "global: {{scrape_interval: 1s}}\n\
             scrape_configs:\n\
             - job_name: delta\n  static_configs: [{{targets: ['{exporter}']}}]\n"
        );
        let prometheus = Prometheus::start(&scraping, &[]).await?;
        let paging = format!(
            "route: {{receiver: pager, group_by: ['...'], group_wait: 0s}}\n\
             receivers:\n\
             - name: pager\n  webhook_configs: [{{url: 'http://{}/pager'}}]\n",
            posts.address
        );
        let alertmanager = Alertmanager::start(&paging).await?;
        let life = Life::new(settings, now());
        server.create_database(DATABASE);
        server.psql(ROLES);
        let mut owner = open_as(&server, "postgres", true).await;
        owner.fill(life.fleet(), life.now()).await.expect("the tables take the fleet");
        owner.close().await.expect("the server says goodbye");
        server.psql_in(DATABASE, &format!("{WRITERS}; {GRANTS}"));
        Some(Surroundings {
            api: open_as(&server, "api", false).await,
            migrator: open_as(&server, "migrator", false).await,
            ops: open_as(&server, "ops", false).await,
            server,
            life,
            speed,
            ticks: tokio::time::interval(TICK),
            exposition,
            prometheus,
            alertmanager,
            posts,
        })
    }

    /// The fleet's address for the daemon.
    pub(super) fn url(&self) -> String {
        self.server.url("headwater", DATABASE)
    }

    /// Lives on by a tick: everything that happened meanwhile is in the database, and scraped when
    /// Prometheus next comes by.
    pub(super) async fn tick(&mut self) {
        self.ticks.tick().await;
        let lived = TimeDelta::milliseconds((TICK.as_secs_f64() * self.speed * 1e3) as i64);
        let changes = self.life.live_until(self.life.now() + lived);
        self.api.apply(&changes, self.life.now()).await.expect("the tables take ordinary life");
        let metrics = self.life.metrics();
        let lines = metrics.iter().map(|(name, value)| format!("{name} {value}\n"));
        *self.exposition.lock().expect("no holder panics") = lines.collect();
    }

    /// Somebody acts. Returns how many rows were written, and when that was committed.
    pub(super) async fn act(&mut self, role: Role, act: &Act) -> (u64, Time) {
        let changes = self.life.act(act);
        let database = match role {
            Role::Api => &mut self.api,
            Role::Migrator => &mut self.migrator,
            Role::Ops => &mut self.ops,
        };
        let rows = database.act(act, &changes, self.life.now()).await;
        (rows.expect("the role may do this"), now())
    }

    /// Lives on until `look` gives something, and gives that; panics after so many ticks.
    pub(super) async fn live_until<T>(
        &mut self,
        what: &str,
        ticks_max: u32,
        mut look: impl AsyncFnMut(&Surroundings) -> Option<T>,
    ) -> T {
        for _ in 0..ticks_max {
            if let Some(found) = look(self).await {
                return found;
            }
            self.tick().await;
        }
        panic!("lived in vain for {ticks_max} s: {what}");
    }

    pub(super) fn count(&self, signal: &str) -> u64 {
        let counts = self.life.fleet().snapshot(self.life.now(), None).counts();
        let metrics: BTreeMap<String, f64> = self.life.metrics();
        counts.get(signal).or_else(|| metrics.get(signal)).copied().unwrap_or(0.0) as u64
    }

    pub(super) async fn close(self) {
        for database in [self.api, self.migrator, self.ops] {
            database.close().await.expect("the server says goodbye");
        }
    }
}

async fn open_as(server: &Postgres, role: &str, creates: bool) -> FleetDatabase {
    let url = server.url(role, DATABASE);
    let opened =
        if creates { FleetDatabase::create(&url).await } else { FleetDatabase::open(&url).await };
    opened.expect("the role may connect")
}

/// What was posted, by the daemon to an Alertmanager and by Alertmanager to the pager.
pub(super) struct Posts {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    tasks: Mutex<JoinSet<()>>,
}

#[derive(Clone, Default)]
struct Seen {
    /// Alerts as the daemon sent them, in the order of arrival, every re-send included.
    alerts: Vec<(Time, Value)>,
    /// Alerts as the pager was told of them.
    pages: Vec<Value>,
}

type Shared = State<Arc<Mutex<Seen>>>;

impl Posts {
    async fn start() -> Posts {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let router = Router::new()
            .route("/api/v2/alerts", post(take_alerts))
            .route("/pager", post(take_page))
            .with_state(seen.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, router).await.expect("the server runs") });
        Posts { address, seen, tasks: Mutex::new(tasks) }
    }

    /// The first POST of each alert: when it came, and the alert.
    pub(super) fn first_alerts(&self) -> Vec<(Time, Value)> {
        let mut known: Vec<(Time, Value)> = Vec::new();
        for (at, alert) in self.seen.lock().expect("no holder panics").alerts.iter() {
            if known.iter().all(|(_, earlier)| earlier["labels"] != alert["labels"]) {
                known.push((*at, alert.clone()));
            }
        }
        known
    }

    /// The first POST of a cause's alert.
    pub(super) fn first_alert(&self, cause: &str) -> Option<(Time, Value)> {
        self.first_alerts().into_iter().find(|(_, alert)| alert["labels"]["cause"] == cause)
    }

    /// The causes of which the pager was told, in order.
    pub(super) fn paged(&self) -> Vec<String> {
        let seen = self.seen.lock().expect("no holder panics");
        let causes = seen.pages.iter().map(|alert| alert["labels"]["cause"].as_str());
        causes.map(|cause| cause.unwrap_or_default().to_owned()).collect()
    }
}

async fn take_alerts(State(seen): Shared, Json(alerts): Json<Vec<Value>>) {
    let alerts = alerts.into_iter().map(|alert| (now(), alert));
    seen.lock().expect("no holder panics").alerts.extend(alerts);
}

async fn take_page(State(seen): Shared, Json(told): Json<Value>) {
    let alerts = told["alerts"].as_array().expect("a webhook has alerts").clone();
    seen.lock().expect("no holder panics").pages.extend(alerts);
}

/// Serves the delta service's metrics where Prometheus can scrape them.
async fn export(exposition: Arc<Mutex<String>>, posts: &Posts) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let address = listener.local_addr().expect("a bound listener has an address");
    let show = move || {
        let text = exposition.lock().expect("no holder panics").clone();
        async move { text }
    };
    let router = Router::new().route("/metrics", get(show));
    let mut tasks = posts.tasks.lock().expect("no holder panics");
    tasks.spawn(async move { axum::serve(listener, router).await.expect("the server runs") });
    address
}
