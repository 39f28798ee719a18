//! The shell: opens the store, restores the state, starts every task and ends them in order. The
//! only place that spawns. Decides nothing about the fleet.
//!
//! ```text
//! samplers ──bounded channel──▶ keeper (owns the pipeline) ──▶ store ◀── HTTP, notifiers
//! ```
//!
//! The end comes in that order too: samplers stop, the keeper drains what they left and commits,
//! the notifiers send once more, HTTP drains, the store closes.

mod keeper;
mod learning;
mod lifecycle;
mod restore;

use std::{
    future::Future,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use chrono::TimeDelta;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use lifecycle::{Shutdown, on_signals};

use crate::{
    cli::RunOptions,
    clock::Clock,
    config::{Config, SourceKind},
    incident::Incident,
    metrics::Metrics,
    notify::{alertmanager, alerts::AlertSettings},
    observation::{Observation, Outcome, Reading},
    sample::{self, Range, Source},
    series::Time,
    serve,
    store::Store,
    values::Name,
};
use keeper::Keeper;
use lifecycle::Tasks;

/// Observations on their way to the keeper. A sampler that finds it full waits, and counts the
/// places that it missed meanwhile.
const OBSERVATIONS_MAX: usize = 64;
/// Requests on their way to the keeper; who finds it full waits.
const COMMANDS_MAX: usize = 16;
/// How much of Prometheus' memory shortens a cold start.
const HISTORY: TimeDelta = TimeDelta::hours(24);
/// How long a start waits for it.
const HISTORY_TIMEOUT: Duration = Duration::from_secs(20);
/// Between two prunings of the store.
const PRUNE_EVERY: Duration = Duration::from_secs(3_600);

/// `headwater run`.
pub async fn run_command(
    options: &RunOptions,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<()> {
    let config = Config::load(&options.config, environment)?;
    config.require_sources(&options.config.to_string_lossy())?;
    let listener = TcpListener::bind(config.listen).await.with_context(|| {
        format!("cannot listen on {}: is another daemon there? (`listen`)", config.listen)
    })?;
    let shutdown = Shutdown::default();
    let signals = on_signals(shutdown.clone())?;
    let outcome = run(&config, listener, Clock::System, shutdown).await;
    signals.abort();
    outcome
}

/// Runs the daemon until `shutdown`. Listener, clock and shutdown are the caller's, so that tests
/// and the demo own them. Fails if the store cannot be opened, and if a task ends by itself.
pub async fn run(
    config: &Config,
    listener: TcpListener,
    clock: Clock,
    shutdown: Shutdown,
) -> Result<()> {
    let store = Store::open(&config.store).await?;
    let sources = connect(config, &clock)?;
    let names = config.sources.iter().map(|source| source.name.as_str());
    let metrics = Arc::new(Metrics::new(names, config.interval, env!("CARGO_PKG_VERSION")));
    let pipeline = restore::restore(&store, config, clock.now()).await?;
    metrics.incidents_restored(pipeline.incidents());

    let (observations, observed) = mpsc::channel(OBSERVATIONS_MAX);
    let (commands, commanded) = mpsc::channel(COMMANDS_MAX);
    let (standing, standing_seen) = watch::channel(pipeline.standing());
    let (ready, ready_seen) = watch::channel(false);
    let (wake, woken) = watch::channel(0u64);
    let (unsaved, unsaved_seen) = watch::channel(Vec::new());
    let soft = shutdown.soft.clone();
    let mut tasks = Tasks::new(shutdown);

    let state = serve::AppState {
        store: store.clone(),
        metrics: Arc::clone(&metrics),
        commands,
        standing: standing_seen,
        ready: ready_seen,
        settings: Arc::new(serve::Settings::of(config)),
        clock,
    };
    let address = listener.local_addr().context("the listener has no address")?;
    info!(
        version = env!("CARGO_PKG_VERSION"),
        fleet = config.fleet,
        sources = config.sources.len(),
        "serving on http://{address}"
    );
    tasks.http("http", serve_until(listener, state, tasks.http_stops()));
    for notifier in notifiers(config, &clock, &metrics)? {
        let stop = tasks.notify_stops();
        let sending = notify(notifier, store.clone(), unsaved_seen.clone(), woken.clone(), stop);
        tasks.notifier("notifier", sending);
    }
    let mut keeper =
        Keeper { pipeline, store: store.clone(), metrics, clock, standing, wake, unsaved };
    // A history that is slow to come must not keep the daemon from ending.
    let learning = keeper.learn_history(sources, HISTORY, HISTORY_TIMEOUT, config);
    let sources = soft.run_until_cancelled(learning).await.unwrap_or_default();
    let configured = config.sources.iter().map(|source| source.signal_names().len()).sum();
    info!("{}", learning::still_learning(&keeper.pipeline.signals(), configured));
    let keeping = keeper.run(observed, commanded, tasks.keeper_stops());
    tasks.keeper("pipeline", keeping);
    for source in sources {
        let name = format!("sampler of {}", source.name());
        let stop = tasks.samplers_stop();
        let sampling = sample::run(source, clock, config.interval, observations.clone(), stop);
        tasks.sampler(&name, async move {
            sampling.await;
            Ok(())
        });
    }
    drop(observations);
    tasks.sampler("pruning", prune(store.clone(), clock, config.retention, tasks.samplers_stop()));
    // Whoever waits for readiness finds every task running.
    ready.send_replace(true);
    let outcome = tasks.finish().await;
    store.close().await;
    outcome
}

/// Every source that is asked.
fn connect(config: &Config, clock: &Clock) -> Result<Vec<Source>> {
    let asked =
        config.sources.iter().filter(|source| !matches!(source.kind, SourceKind::Push { .. }));
    asked.map(|source| Source::connect_lazy(source, clock.real(config.interval))).collect()
}

fn notifiers(
    config: &Config,
    clock: &Clock,
    metrics: &Arc<Metrics>,
) -> Result<Vec<alertmanager::Sender>> {
    if config.notify.alertmanager.is_empty() {
        warn!("nobody is notified: `notify.alertmanager` names no Alertmanager");
    }
    let (posted, pending) = (Arc::clone(metrics), Arc::clone(metrics));
    let hooks = alertmanager::Hooks::new(
        move |outcome| posted.notified(alertmanager::NOTIFIER, outcome.label()),
        move |count| pending.notifications_pending(count),
    );
    let outcomes = alertmanager::Outcome::ALL.map(alertmanager::Outcome::label);
    metrics.notifier(alertmanager::NOTIFIER, outcomes);
    let sender = |url: &url::Url| {
        let mut seed = DefaultHasher::new();
        url.as_str().hash(&mut seed);
        Ok(alertmanager::Sender {
            client: alertmanager::Client::new(url)?,
            settings: AlertSettings::from(config),
            clock: *clock,
            hooks: hooks.clone(),
            seed: seed.finish(),
        })
    };
    config.notify.alertmanager.iter().map(sender).collect()
}

/// Keeps one Alertmanager informed until `stop`.
async fn notify(
    notifier: alertmanager::Sender,
    store: Store,
    unsaved: watch::Receiver<Vec<Incident>>,
    woken: watch::Receiver<u64>,
    stop: CancellationToken,
) -> Result<()> {
    let incidents = move |since: Time| {
        let (reader, unsaved) = (store.clone(), unsaved.borrow().clone());
        async move { with_unsaved(reader.active_incidents(since).await, unsaved) }
    };
    alertmanager::run(notifier, incidents, woken, stop).await;
    Ok(())
}

/// What is stored, with what is not stored yet in its place. While the store takes nothing, the
/// pipeline's word stands for all of it.
fn with_unsaved(stored: Result<Vec<Incident>>, unsaved: Vec<Incident>) -> Result<Vec<Incident>> {
    if unsaved.is_empty() {
        return stored;
    }
    let mut incidents = stored.unwrap_or_default();
    incidents.retain(|incident| unsaved.iter().all(|newer| newer.id != incident.id));
    incidents.extend(unsaved);
    Ok(incidents)
}

async fn serve_until(
    listener: TcpListener,
    state: serve::AppState,
    stop: CancellationToken,
) -> Result<()> {
    let serving = axum::serve(listener, serve::router(state));
    serving.with_graceful_shutdown(stop.cancelled_owned()).await.context("the HTTP server failed")
}

async fn prune(
    store: Store,
    clock: Clock,
    retention: Duration,
    stop: CancellationToken,
) -> Result<()> {
    loop {
        let before = clock.now() - TimeDelta::from_std(retention).unwrap_or(TimeDelta::MAX);
        if let Err(error) = store.prune(before).await {
            warn!("{error:#}; it is tried again in an hour");
        }
        let pause = tokio::time::sleep(clock.real(PRUNE_EVERY));
        if stop.run_until_cancelled(pause).await.is_none() {
            return Ok(());
        }
    }
}

impl Keeper {
    /// Learns from what the store and Prometheus remember, so that a new daemon does not start
    /// blind, and gives the sources back. What cannot be had is said and done without.
    async fn learn_history(
        &mut self,
        mut sources: Vec<Source>,
        length: TimeDelta,
        patience: Duration,
        config: &Config,
    ) -> Vec<Source> {
        let end = self.clock.now();
        let stored = learning::learn_stored(&self.store, &mut self.pipeline, config, end).await;
        if let Err(error) = stored {
            warn!("starting without what the store remembers: {error:#}");
        }
        for source in &mut sources {
            let known = self.pipeline.latest(source.name());
            let start = known.map_or(end - length, |latest| latest.max(end - length));
            let step = Duration::from_secs_f64(self.pipeline.interval_s());
            let mut unheard = |_| {};
            let asked = source.history(Range { start, end, step }, &mut unheard);
            let history = match tokio::time::timeout(patience, asked).await {
                Ok(Ok(history)) => history,
                Ok(Err(error)) => {
                    warn!(source = source.name(), "starting without its history: {error:#}");
                    continue;
                }
                Err(_) => {
                    warn!(
                        source = source.name(),
                        "starting without its history: no answer in time"
                    );
                    continue;
                }
            };
            let samples = history.rows().len();
            let columns: Vec<Name> = history.columns.iter().map(|name| (**name).into()).collect();
            for row in history.rows() {
                let reading = Reading { values: row.named(&columns), ..Reading::default() };
                self.pipeline.learn(&Observation {
                    at: row.at,
                    source: source.name().to_owned(),
                    outcome: Outcome::Sampled(Box::new(reading)),
                });
            }
            if samples > 0 {
                info!(source = source.name(), samples, "learned from its history");
            }
        }
        sources
    }
}

/// A task's future: ends by itself only in failure.
type Task = std::pin::Pin<Box<dyn Future<Output = Result<()>> + Send>>;
