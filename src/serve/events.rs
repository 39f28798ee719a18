//! `/api/v1/events`: what is posted is checked here, taken by the pipeline's task and stored with
//! its next commit; what is listed is read from the store.

use axum::{
    Json,
    extract::{
        Query, State,
        rejection::{JsonRejection, QueryRejection},
    },
    http::{HeaderMap, StatusCode},
};
use chrono::{SubsecRound as _, TimeDelta};
use tokio::sync::oneshot;

use super::{
    AppState, Command,
    api::{AHEAD_MAX, EARLIEST, ListQuery, authorize, send, stopping},
    error::Problem,
};
use crate::{
    change_event::{ChangeEvent, Expected, HEADWATER_START, MAINTENANCE},
    pipeline::Posted,
    report::{
        events::{EventJson, EventsJson, announcement, event_json},
        time_text,
    },
    series::Time,
};

/// Events that one answer lists unless it is asked for another number, and at most.
const EVENTS_DEFAULT: u32 = 100;
const EVENTS_MAX: u32 = 1_000;

/// Lengths in characters: a word, a line and a name.
const KIND_MAX: usize = 40;
const TITLE_MAX: usize = 200;
const SOURCE_MAX: usize = 80;
/// Applications that an announcement names at most.
const APPLICATIONS_MAX: usize = 1_000;

/// How long a maintenance may last: what takes longer is the normal state.
const MAINTENANCE_MAX: TimeDelta = TimeDelta::days(7);
/// How far ahead one may be announced.
const ANNOUNCED_AHEAD_MAX: TimeDelta = TimeDelta::days(366);

pub(super) async fn list(
    State(state): State<AppState>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<EventsJson>, Problem> {
    let Query(query) = query.map_err(|rejection| Problem::BadRequest(rejection.body_text()))?;
    let events = state.store.events(query.limit.unwrap_or(EVENTS_DEFAULT).min(EVENTS_MAX)).await?;
    Ok(Json(EventsJson { events: events.iter().map(event_json).collect() }))
}

/// Answers after the commit: 201 with the event as it was taken, or 200 if it was told before.
pub(super) async fn post(
    State(state): State<AppState>,
    headers: HeaderMap,
    body: Result<Json<EventJson>, JsonRejection>,
) -> Result<(StatusCode, Json<EventJson>), Problem> {
    authorize(&state, &headers)?;
    let Json(posted) = body.map_err(|rejection| Problem::BadRequest(rejection.body_text()))?;
    let event = checked(posted, state.clock.now()).map_err(Problem::BadRequest)?;
    let json = event_json(&event);
    // The pipeline remembers the latest events only, the store those of the whole retention.
    if state.store.same_event(&event).await?.is_some_and(|known| known == event) {
        return Ok((StatusCode::OK, Json(json)));
    }
    let (reply, answer) = oneshot::channel();
    send(&state, Command::Event { event, reply }).await?;
    match answer.await.map_err(|_| stopping())? {
        Posted::Taken(_) => Ok((StatusCode::CREATED, Json(json))),
        Posted::Known => Ok((StatusCode::OK, Json(json))),
        Posted::Refused(reason) => Err(Problem::Conflict(reason)),
    }
}

/// The event, if it is one that can be believed.
fn checked(posted: EventJson, now: Time) -> Result<ChangeEvent, String> {
    check_text("kind", &posted.kind, KIND_MAX)?;
    check_text("title", &posted.title, TITLE_MAX)?;
    check_text("source", &posted.source, SOURCE_MAX)?;
    if posted.kind == HEADWATER_START {
        return Err(format!("{HEADWATER_START} is headwater's own word: name another `kind`"));
    }
    // To the millisecond, as times are kept: an event that is told again is the same then.
    let at = posted.at.map_or(now, |at| at.0).trunc_subsecs(3);
    check_time(&posted, at, now)?;
    if let Some(expected) = &posted.expects {
        check_expected(expected)?;
    }
    let announcement = announcement(&posted);
    let EventJson { kind, title, source, .. } = posted;
    Ok(ChangeEvent { at, kind, title, source, announcement })
}

fn check_text(field: &str, text: &str, length_max: usize) -> Result<(), String> {
    let length = text.chars().count();
    if text.trim().is_empty() {
        return Err(format!("`{field}` is empty"));
    }
    if length > length_max {
        return Err(format!("`{field}` has {length} characters: at most {length_max} are taken"));
    }
    if text.chars().any(char::is_control) {
        return Err(format!("`{field}` has control characters"));
    }
    Ok(())
}

fn check_time(posted: &EventJson, at: Time, now: Time) -> Result<(), String> {
    if at < EARLIEST {
        return Err(format!("`at` is before 1970: {}", time_text(at)));
    }
    let is_maintenance = posted.kind == MAINTENANCE;
    let ahead_max = if is_maintenance { ANNOUNCED_AHEAD_MAX } else { AHEAD_MAX };
    if at > now + ahead_max {
        let (at, now) = (time_text(at), time_text(now));
        let most = if is_maintenance { "more than a year ahead" } else { "in the future" };
        return Err(format!("`at` is {most}: {at}, and here it is {now}"));
    }
    if !is_maintenance && (posted.until.is_some() || posted.expects.is_some()) {
        return Err(format!("`until` and `expects` are for events of kind {MAINTENANCE}"));
    }
    let Some(until) = posted.until.map(|until| until.0) else {
        return match posted.expects {
            None => Ok(()),
            Some(_) => Err("`expects` needs `until`: a maintenance has an end".to_owned()),
        };
    };
    if until <= at {
        let (at, until) = (time_text(at), time_text(until));
        return Err(format!("`until` is {until}, which is not after `at`, {at}"));
    }
    if until - at > MAINTENANCE_MAX {
        let days = MAINTENANCE_MAX.num_days();
        return Err(format!("a maintenance lasts at most {days} days: announce it in parts"));
    }
    Ok(())
}

fn check_expected(expected: &Expected) -> Result<(), String> {
    let cause = expected.cause;
    if !Expected::can_be_announced(cause) {
        return Err(format!(
            "{cause} cannot be announced: it notifies nobody, or has no bounds that can be held"
        ));
    }
    let Some(applications) = &expected.applications else { return Ok(()) };
    if !Expected::knows_applications(cause) {
        return Err(format!("of {cause} it is not known in which applications it happens"));
    }
    match applications.len() {
        0 => Err("`applications` is empty: leave it out, or name some".to_owned()),
        many if many > APPLICATIONS_MAX => {
            Err(format!("`applications` names {many}: at most {APPLICATIONS_MAX} are taken"))
        }
        _ => Ok(()),
    }
}
