//! `headwater demo`: the night of 23 September 2019 on a simulated fleet, with the daemon on it
//! exactly as `run` would have it: the same sources, pipeline, store, notifier and pages, on a
//! clock that runs faster. Only the pager is the terminal.

mod pager;

use std::{future::Future, net::SocketAddr, path::PathBuf};

use anyhow::{Context, Result};
use chrono::TimeDelta;
use rand::random;
use tokio::net::TcpListener;

use crate::{
    cli::DemoOptions,
    clock::Clock,
    config::Config,
    daemon::{self, Shutdown},
    diagnose::texts::{count, hms},
    series::Time,
    simulate::{
        Settings,
        night::{self, Night},
        play::Play,
    },
};
use pager::Pager;

/// The simulated fleet lives in steps of this length, in its own time.
const STEP: TimeDelta = TimeDelta::seconds(5);
/// Between two lines on the fleet's state, in the fleet's time: in the evening, and in the night.
const EVENING_LINE_S: i64 = 600;
const NIGHT_LINE_S: i64 = 60;

/// `headwater demo`.
pub async fn run_command(options: &DemoOptions) -> Result<()> {
    let seed = options.seed.unwrap_or_else(random);
    let listener = TcpListener::bind(options.listen).await.with_context(|| {
        format!("cannot serve on {}: choose another address with --listen", options.listen)
    })?;
    // With port 0 the system chose one.
    let listen = listener.local_addr().context("a bound listener has an address")?;
    let folder = Folder::new()?;
    let mut stage = Stage::set(seed, &folder).await?;
    println!("Headwater demo, seed {seed} (--seed {seed} shows the same fleet again).");
    println!("Pages: http://{listen}/   Fleet time runs {} times as fast.\n", options.speed);
    let shutdown = Shutdown::default();
    let signals = daemon::on_signals(shutdown.clone())?;
    let clock = Clock::scaled(Night::start(), options.speed);
    let config = stage.config(listen)?;
    // Prometheus and pager stay until the daemon has ended: it sends once more while it drains.
    let serving = stage.serve(clock);
    let playing = async {
        let mut watching = std::pin::pin!(daemon::run(&config, listener, clock, shutdown.clone()));
        tokio::select! {
            ended = &mut watching => ended,
            told = stage.tell(&clock, options.exit) => {
                shutdown.soft.cancel();
                let ended = watching.await;
                told.and(ended)
            }
        }
    };
    let outcome = tokio::select! {
        failed = serving => failed,
        played = playing => played,
    };
    signals.abort();
    outcome
}

/// Everything around the daemon.
struct Stage {
    play: Play,
    fleet_url: String,
    store_url: String,
    prometheus: Server,
    pager: Pager,
    alerts: Server,
}

/// A helper server on a free port of the loopback interface.
struct Server {
    listener: Option<TcpListener>,
    address: SocketAddr,
}

impl Server {
    async fn bind() -> Result<Server> {
        let listener =
            TcpListener::bind("127.0.0.1:0").await.context("no free port on the loopback")?;
        let address = listener.local_addr().context("a bound listener has an address")?;
        Ok(Server { listener: Some(listener), address })
    }

    /// Serves until dropped.
    async fn serve(listener: Option<TcpListener>, router: axum::Router) -> Result<()> {
        let listener = listener.context("a server of the demo was started twice")?;
        axum::serve(listener, router).await.context("a server of the demo failed")
    }
}

impl Stage {
    async fn set(seed: u64, folder: &Folder) -> Result<Stage> {
        let settings = Settings::demo(seed);
        eprintln!(
            "Making a fleet of {} devices in {} applications of {} organisations …",
            count(settings.devices as i64),
            settings.applications,
            settings.organizations
        );
        let fleet_url = folder.url("fleet.db");
        let play = Play::begin(settings, &fleet_url, night::TAIL).await?;
        Ok(Stage {
            play,
            fleet_url,
            store_url: folder.url("headwater.db"),
            prometheus: Server::bind().await?,
            pager: Pager::new(night::RECOGNISED_AFTER),
            alerts: Server::bind().await?,
        })
    }

    /// The configuration, as a user would write it.
    fn config(&self, listen: SocketAddr) -> Result<Config> {
        let text = format!(
            "fleet: demo\n\
             listen: {listen}\n\
             store: {}\n\
             sources:\n\
             \x20 - type: open_balena\n\
             \x20   url: {}\n\
             \x20 - type: prometheus\n\
             \x20   url: http://{}\n\
             \x20   signals:\n\
             \x20     delta_queue: sum(delta_queue)\n\
             \x20     delta_workers_busy: sum(delta_workers_busy)\n\
             \x20     delta_requests_total: delta_requests_total\n\
             \x20     delta_successes_total: delta_successes_total\n\
             \x20     delta_failures_total: delta_failures_total\n\
             \x20     delta_seconds_p95: delta_seconds_p95\n\
             \x20     egress_bytes_total: egress_bytes_total\n\
             \x20     api_requests_total: api_requests_total\n\
             notify:\n\
             \x20 alertmanager: [\"http://{}\"]\n",
            self.store_url, self.fleet_url, self.prometheus.address, self.alerts.address,
        );
        Ok(Config::parse(&text, "the demo's configuration", &|_| None)?)
    }

    /// The Prometheus and the pager; they end by failure only.
    fn serve(&mut self, clock: Clock) -> impl Future<Output = Result<()>> + use<> {
        let scraped = self.play.scraped().router();
        let prometheus = Server::serve(self.prometheus.listener.take(), scraped);
        let alerts = Server::serve(self.alerts.listener.take(), self.pager.router(clock));
        async move {
            tokio::select! {
                failed = prometheus => failed,
                failed = alerts => failed,
            }
        }
    }

    /// Plays the night and tells it, until the story has ended or for ever.
    async fn tell(&mut self, clock: &Clock, exit: bool) -> Result<()> {
        let mut ended = false;
        loop {
            let next = self.play.life().now() + STEP;
            clock.sleep_until(next).await;
            for moment in self.play.play_until(next).await? {
                if !moment.narration.is_empty() {
                    pager::print_wrapped(&format!("{}  ", hms(moment.at)), &moment.narration);
                }
                if let Some(cause) = moment.begins {
                    self.pager.begins(cause, moment.at);
                }
            }
            self.state_line(next);
            if !ended && next >= self.play.end() {
                ended = true;
                self.pager.conclude();
                if exit {
                    println!("  Without --exit, the incident's page can be looked at now.");
                    return Ok(());
                }
                println!("  The incident's page: {}", self.pager.incident_url());
                println!("  Life goes on, and the pages are served, until Ctrl-C.");
            }
        }
    }

    fn state_line(&self, at: Time) {
        let is_night = at >= night::migration_start() - TimeDelta::seconds(NIGHT_LINE_S);
        let every_s = if is_night { NIGHT_LINE_S } else { EVENING_LINE_S };
        if at.timestamp() % every_s != 0 || at > self.play.end() {
            return;
        }
        let counts = self.play.life().fleet().snapshot(at, None).counts();
        let metrics = self.play.life().metrics();
        let number = |name: &str| {
            let value = counts.get(name).or_else(|| metrics.get(name)).copied().unwrap_or(f64::NAN);
            count(value as i64)
        };
        println!(
            "{}    pinned {} of {} · updates pending {} over {} release pairs · delta queue {}",
            hms(at),
            number("devices_pinned"),
            number("devices"),
            number("pending_updates"),
            number("pending_pairs"),
            number("delta_queue"),
        );
    }
}

/// A folder for the two databases, gone with the demo.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Folder> {
        let path = std::env::temp_dir().join(format!(
            "headwater-demo-{}-{:08x}",
            std::process::id(),
            random::<u32>()
        ));
        std::fs::create_dir_all(&path)
            .with_context(|| format!("cannot make the folder {}", path.display()))?;
        Ok(Folder(path))
    }

    fn url(&self, file: &str) -> String {
        format!("sqlite://{}", self.0.join(file).display())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A leftover in the temporary folder is no reason to fail.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
