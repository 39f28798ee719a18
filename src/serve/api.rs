//! The API: reads answer from the store and from what the pipeline last published; writes are
//! checked here and carried out by the pipeline's task.

use std::collections::BTreeMap;

use axum::{
    Json,
    body::{Body, Bytes},
    extract::{
        Path, Query, State,
        rejection::{JsonRejection, QueryRejection},
    },
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::TimeDelta;
use futures_util::stream;
use serde::Deserialize;
use tokio::sync::oneshot;

use super::{AppState, Command, error::Problem, since};
use crate::{
    config::Secret,
    incident::Incident,
    observation::{Observation, Outcome, Reading},
    report::{
        self, IncidentDetailJson, IncidentsJson, SignalsJson, incident_detail_json, incident_json,
    },
    series::Time,
};

/// Incidents that `GET /api/v1/incidents` lists unless it is asked for another number.
const INCIDENTS_DEFAULT: u32 = 100;

/// Incidents that one answer lists at most.
const INCIDENTS_MAX: u32 = 1_000;

/// A pushed sample that is older was taken by a clock that was never set: Unix time begins here.
pub(super) const EARLIEST: Time = Time::UNIX_EPOCH;

/// How far a pushed sample's clock may be ahead of ours.
pub(super) const AHEAD_MAX: TimeDelta = TimeDelta::seconds(60);

#[derive(Deserialize)]
pub(super) struct ListQuery {
    pub(super) limit: Option<u32>,
}

pub(super) async fn incidents(
    State(state): State<AppState>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<IncidentsJson>, Problem> {
    let Query(query) = query.map_err(|rejection| Problem::BadRequest(rejection.body_text()))?;
    let limit = query.limit.unwrap_or(INCIDENTS_DEFAULT).min(INCIDENTS_MAX);
    let incidents = state.store.incidents(limit).await?;
    Ok(Json(IncidentsJson { incidents: incidents.iter().map(incident_json).collect() }))
}

pub(super) async fn incident(
    State(state): State<AppState>,
    Path(id): Path<String>,
) -> Result<Json<IncidentDetailJson>, Problem> {
    let incident = existing(&state, &id).await?;
    Ok(Json(incident_detail_json(&incident)))
}

pub(super) async fn existing(state: &AppState, id: &str) -> Result<Incident, Problem> {
    let incident = state.store.incident(id).await?;
    incident.ok_or_else(|| Problem::NotFound(format!("there is no incident {id:?}")))
}

pub(super) async fn accept(
    State(state): State<AppState>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<IncidentDetailJson>, Problem> {
    decide(&state, &headers, id, |id, reply| Command::Accept { id, reply }).await
}

pub(super) async fn reject(
    State(state): State<AppState>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<IncidentDetailJson>, Problem> {
    decide(&state, &headers, id, |id, reply| Command::Reject { id, reply }).await
}

async fn decide(
    state: &AppState,
    headers: &HeaderMap,
    id: String,
    command: impl FnOnce(String, oneshot::Sender<Option<Incident>>) -> Command,
) -> Result<Json<IncidentDetailJson>, Problem> {
    authorize(state, headers)?;
    let closed = || Problem::Conflict(format!("the incident {id:?} is not open any more"));
    if !existing(state, &id).await?.is_open() {
        return Err(closed());
    }
    let (reply, answer) = oneshot::channel();
    send(state, command(id.clone(), reply)).await?;
    let incident = answer.await.map_err(|_| stopping())?.ok_or_else(closed)?;
    Ok(Json(incident_detail_json(&incident)))
}

pub(super) async fn signals(State(state): State<AppState>) -> Json<SignalsJson> {
    Json(report::signals_json(&state.standing.borrow()))
}

#[derive(Deserialize)]
pub(super) struct ExportQuery {
    since: Option<String>,
}

/// The stored samples as a recording, read from the store while it is sent.
pub(super) async fn export(
    State(state): State<AppState>,
    query: Result<Query<ExportQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|rejection| Problem::BadRequest(rejection.body_text()))?;
    let since = query.since.ok_or_else(|| {
        Problem::BadRequest("the parameter `since` is missing: write ?since=24h".to_owned())
    })?;
    let since = since::parse(&since, state.clock.now())
        .map_err(|error| Problem::BadRequest(format!("since: {error}")))?;
    let export = state.store.export(since).await?;
    let pieces = stream::try_unfold(export, |mut export| async move {
        let piece = export.next_piece().await.inspect_err(|error| {
            tracing::error!(error = format!("{error:#}"), "an export ended early");
        })?;
        anyhow::Ok(piece.map(|piece| (Bytes::from(piece), export)))
    });
    let kind = [(header::CONTENT_TYPE, "text/csv; charset=utf-8")];
    Ok((kind, Body::from_stream(pieces)).into_response())
}

/// The body of `POST /api/v1/samples`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pushed {
    at: Option<Time>,
    source: Option<String>,
    /// `null` is a missing value.
    values: BTreeMap<String, Option<f64>>,
}

pub(super) async fn push(
    State(state): State<AppState>,
    headers: HeaderMap,
    body: Result<Json<Pushed>, JsonRejection>,
) -> Result<StatusCode, Problem> {
    authorize(&state, &headers)?;
    let Json(pushed) = body.map_err(|rejection| Problem::BadRequest(rejection.body_text()))?;
    let observation = observation(&state, pushed).map_err(Problem::BadRequest)?;
    send(&state, Command::Samples { observation }).await?;
    Ok(StatusCode::ACCEPTED)
}

fn observation(state: &AppState, pushed: Pushed) -> Result<Observation, String> {
    let sources = state.settings.push_sources();
    let source = match &pushed.source {
        Some(source) => source.as_str(),
        None if sources.len() == 1 => sources.keys().next().copied().unwrap_or_default(),
        None => return Err("name the push source as `source`".to_owned()),
    };
    let Some(signals) = sources.get(source) else {
        return Err(format!("there is no push source {source:?} in the configuration"));
    };
    if let Some(unknown) = pushed.values.keys().find(|signal| !signals.contains(*signal)) {
        return Err(format!(
            "{unknown:?} is not a signal of the push source {source:?}: add it to its `signals`"
        ));
    }
    let now = state.clock.now();
    let at = pushed.at.unwrap_or(now);
    if at < EARLIEST {
        let at = report::time_text(at);
        return Err(format!(
            "`at` is before 1970: {at}; send the time of the sample, or leave it out"
        ));
    }
    if at > now + AHEAD_MAX {
        let (at, now) = (report::time_text(at), report::time_text(now));
        return Err(format!("`at` is in the future: {at}, and here it is {now}"));
    }
    let present = pushed.values.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let reading = Reading { values: present.collect(), ..Reading::default() };
    let outcome = Outcome::Sampled(Box::new(reading));
    Ok(Observation { at, source: source.to_owned(), outcome })
}

pub(super) async fn send(state: &AppState, command: Command) -> Result<(), Problem> {
    state.commands.send(command).await.map_err(|_| stopping())
}

pub(super) fn stopping() -> Problem {
    Problem::Unavailable("headwater is stopping: ask again when it has started".to_owned())
}

/// Whoever may reach the port may change something, unless the configuration has a token; but never
/// a page of another site in the browser of somebody who may.
pub(super) fn authorize(state: &AppState, headers: &HeaderMap) -> Result<(), Problem> {
    if let Some(site) = headers.get("sec-fetch-site")
        && site != "same-origin"
        && site != "none"
    {
        return Err(Problem::CrossSite);
    }
    let Some(token) = &state.settings.events_token else { return Ok(()) };
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.split_once(' '));
    let given = given.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    match given {
        Some((_, given)) if same(token, given.trim()) => Ok(()),
        _ => Err(Problem::Unauthorized),
    }
}

/// Compares in a time that depends on lengths only.
fn same(token: &Secret, given: &str) -> bool {
    let (token, given) = (token.expose().as_bytes(), given.as_bytes());
    let different = token.iter().zip(given).fold(0, |bits, (a, b)| bits | (a ^ b));
    token.len() == given.len() && std::hint::black_box(different) == 0
}
