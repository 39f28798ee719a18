//! The HTTP side: metrics, health, the API and pages for people. Reads the store and what the
//! pipeline publishes; whatever changes state goes to the pipeline as a [`Command`]. Decides
//! nothing.

mod api;
pub mod client;
mod error;
mod events;
mod pages;
pub mod since;
mod words;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    change_event::ChangeEvent,
    clock::Clock,
    config::{Config, Secret, SourceKind},
    incident::Incident,
    metrics::{self, Metrics},
    observation::Observation,
    pipeline::{Posted, Standing},
    store::Store,
};
use error::Problem;

/// Longer than any honest request to the API: some hundreds of pushed values.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// From a request's head to its response's head. An export's body may take longer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// What the handlers share.
#[derive(Clone, Debug)]
pub struct AppState {
    /// To read from.
    pub store: Store,
    /// To render.
    pub metrics: Arc<Metrics>,
    /// To the task that owns the pipeline. Bounded by whoever created it.
    pub commands: mpsc::Sender<Command>,
    /// Everything that is watched, as it stood after the pipeline's latest step.
    pub standing: watch::Receiver<Standing>,
    /// State is restored and samples are being taken.
    pub ready: watch::Receiver<bool>,
    /// What the configuration says.
    pub settings: Arc<Settings>,
    /// What "now" is on pages.
    pub clock: Clock,
}

/// What serving needs to know of the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name of the fleet.
    pub fleet: String,
    /// Where runbooks are; `#` and the cause's id are appended.
    pub runbook_url: String,
    /// What every request that changes something must carry, if set.
    pub events_token: Option<Secret>,
    /// Between two samples of a source.
    pub interval: Duration,
    /// Every source, in the order of the file, with the signals that may be pushed to it.
    pub sources: Vec<(String, BTreeSet<String>)>,
}

impl Settings {
    /// The part of the configuration that matters here.
    pub fn of(config: &Config) -> Settings {
        let sources = config.sources.iter().map(|source| {
            let pushed = match &source.kind {
                SourceKind::Push { signals } => signals.iter().cloned().collect(),
                _ => BTreeSet::new(),
            };
            (source.name.clone(), pushed)
        });
        Settings {
            fleet: config.fleet.clone(),
            runbook_url: config.runbook_url.clone(),
            events_token: config.events_token.clone(),
            interval: config.interval,
            sources: sources.collect(),
        }
    }

    /// Sources to which values are posted, with their signals.
    fn push_sources(&self) -> BTreeMap<&str, &BTreeSet<String>> {
        let pushed = self.sources.iter().filter(|(_, signals)| !signals.is_empty());
        pushed.map(|(name, signals)| (name.as_str(), signals)).collect()
    }
}

/// What a request asks of the pipeline. Whoever owns the pipeline carries it out between two
/// observations and answers after the commit, so that the next read shows it.
#[derive(Debug)]
pub enum Command {
    /// The present state is the new normal: resolve the incident.
    Accept {
        /// Of the incident.
        id: String,
        /// The incident as it then is; `None` if it is not open.
        reply: oneshot::Sender<Option<Incident>>,
    },
    /// The diagnosis is wrong: keep that with the incident.
    Reject {
        /// Of the incident.
        id: String,
        /// The incident as it then is; `None` if it is not open.
        reply: oneshot::Sender<Option<Incident>>,
    },
    /// Somebody tells of a change.
    Event {
        /// Checked.
        event: ChangeEvent,
        /// What became of it.
        reply: oneshot::Sender<Posted>,
    },
    /// Values for a push source: to be handled as if a sampler had delivered them.
    Samples {
        /// Checked against the configuration.
        observation: Observation,
    },
}

/// Everything that Headwater answers.
pub fn router(state: AppState) -> Router {
    Router::new()
        .route("/", get(pages::overview))
        .route("/incidents/{id}", get(pages::incident))
        .route("/signals", get(pages::signals))
        .route("/runbooks", get(pages::runbooks))
        .route("/metrics", get(exposition))
        .route("/-/healthy", get(healthy))
        .route("/-/ready", get(ready))
        .route("/api/v1/incidents", get(api::incidents))
        .route("/api/v1/incidents/{id}", get(api::incident))
        .route("/api/v1/incidents/{id}/accept", post(api::accept))
        .route("/api/v1/incidents/{id}/reject", post(api::reject))
        .route("/api/v1/signals", get(api::signals))
        .route("/api/v1/events", get(events::list).post(events::post))
        .route("/api/v1/samples", get(api::export).post(api::push))
        .fallback(nothing_here)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(within_time))
        .with_state(state)
}

async fn within_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let message = format!("not answered within {} s", REQUEST_TIMEOUT.as_secs());
            Problem::Unavailable(message).into_response()
        }
    }
}

async fn exposition(State(state): State<AppState>) -> Result<Response, Problem> {
    let text = state.metrics.render().map_err(|error| Problem::Internal(error.into()))?;
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}

/// The process lives and its HTTP side answers. Says nothing of sources: a restart would not heal
/// them.
async fn healthy() -> &'static str {
    "headwater is healthy\n"
}

async fn ready(State(state): State<AppState>) -> (StatusCode, &'static str) {
    if *state.ready.borrow() {
        (StatusCode::OK, "headwater is ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "headwater is starting\n")
    }
}

async fn nothing_here(State(state): State<AppState>, request: Request) -> Response {
    let path = request.uri().path();
    let problem = Problem::NotFound(format!("there is nothing at {path}"));
    if path.starts_with("/api/") {
        problem.into_response()
    } else {
        pages::problem(&state, path, &problem)
    }
}

async fn wrong_method(request: Request) -> Problem {
    Problem::WrongMethod(format!("{} does not take {}", request.uri().path(), request.method()))
}

#[cfg(test)]
mod tests;
