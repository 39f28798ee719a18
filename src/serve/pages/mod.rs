//! Pages for people: server-rendered, no script, nothing from outside, links relative so that they
//! work behind a proxy under any path. What an incident says of itself is untrusted text: maud
//! escapes it, and [`words::visible`] takes the sting out of control characters.

mod chart;
mod incident;
mod overview;
mod runbooks;
mod signals;

use axum::{
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{AppState, api, error::Problem, words};
use crate::{
    incident::{Incident, Severity},
    series::Time,
};

/// The one stylesheet, inline: a page must be readable when everything else is down.
const STYLE: &str = include_str!("style.css");

/// What a page may load: nothing but its own inline style.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Seconds after which the overview loads itself again.
const REFRESH_S: u32 = 15;

/// Incidents that the overview considers: more are in the API.
const INCIDENTS_MAX: u32 = 200;

pub(super) async fn overview(State(state): State<AppState>) -> Response {
    let now = state.clock.now();
    let newest = state.store.incidents(INCIDENTS_MAX).await;
    let open = state.store.active_incidents(now).await;
    match newest.and_then(|newest| Ok((newest, open?))) {
        Ok((mut incidents, open)) => {
            // An open one counts however much has been recorded since.
            let newest: Vec<String> = incidents.iter().map(|one| one.id.clone()).collect();
            incidents.extend(open.into_iter().filter(|one| !newest.contains(&one.id)));
            let signals = state.standing.borrow().signals.clone();
            let overview = overview::Overview {
                incidents: &incidents,
                signals: &signals,
                settings: &state.settings,
                ready: *state.ready.borrow(),
                now,
            };
            let page = Page {
                title: overview.headline(),
                root: "",
                refresh_s: Some(REFRESH_S),
                body: overview.body(),
            };
            page.respond(&state, StatusCode::OK)
        }
        Err(error) => problem(&state, "/", &Problem::Internal(error)),
    }
}

pub(super) async fn incident(State(state): State<AppState>, Path(id): Path<String>) -> Response {
    let path = "/incidents/";
    let incident = match api::existing(&state, &id).await {
        Ok(incident) => incident,
        Err(error) => return problem(&state, path, &error),
    };
    let now = state.clock.now();
    let charts =
        match chart::of_incident(&state.store, &incident, state.settings.interval, now).await {
            Ok(charts) => charts,
            Err(error) => return problem(&state, path, &Problem::Internal(error)),
        };
    let page = Page {
        title: words::visible(&crate::report::current_cause(&incident).title),
        root: "../",
        refresh_s: None,
        body: incident::body(&incident, &charts, &state.settings, now),
    };
    page.respond(&state, StatusCode::OK)
}

pub(super) async fn signals(State(state): State<AppState>) -> Response {
    let standing = state.standing.borrow().clone();
    let body = signals::body(&standing, state.clock.now());
    let page = Page { title: "Signals".to_owned(), root: "", refresh_s: None, body };
    page.respond(&state, StatusCode::OK)
}

pub(super) async fn runbooks(State(state): State<AppState>) -> Response {
    let body = runbooks::body();
    let page = Page { title: "Runbooks".to_owned(), root: "", refresh_s: None, body };
    page.respond(&state, StatusCode::OK)
}

/// A problem as a page. `path` says how deep the page lies.
pub(super) fn problem(state: &AppState, path: &str, problem: &Problem) -> Response {
    problem.log();
    // From `/a/b` the root is `../`; the address of a missing page may have any depth.
    let depth = path.matches('/').count().saturating_sub(1);
    let body = html! {
        p { (words::visible(problem.message())) }
        p { a href={ (root_of(depth)) } { "What is wrong now" } }
    };
    let title = match problem.status() {
        StatusCode::NOT_FOUND => "Not found",
        _ => "This page cannot be shown",
    };
    let page = Page { title: title.to_owned(), root: &root_of(depth), refresh_s: None, body };
    page.respond(state, problem.status())
}

fn root_of(depth: usize) -> String {
    if depth == 0 { "./".to_owned() } else { "../".repeat(depth) }
}

struct Page<'a> {
    title: String,
    /// What leads from this page to the overview: empty, or `../` for each level.
    root: &'a str,
    refresh_s: Option<u32>,
    body: Markup,
}

impl Page<'_> {
    fn respond(self, state: &AppState, status: StatusCode) -> Response {
        let headers = [
            (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CACHE_CONTROL, "no-store"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
        ];
        let page = self.render(&state.settings.fleet, state.clock.now());
        (status, headers, page.into_string()).into_response()
    }

    fn render(&self, fleet: &str, now: Time) -> Markup {
        let home = if self.root.is_empty() { "./" } else { self.root };
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    @if let Some(seconds) = self.refresh_s {
                        meta http-equiv="refresh" content=(seconds);
                    }
                    title { (self.title) " · " (fleet) " · Headwater" }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    header {
                        nav aria-label="Pages" {
                            a href=(home) { strong { "Headwater" } }
                            span { (fleet) }
                            a href={ (self.root) "signals" } { "Signals" }
                            a href={ (self.root) "runbooks" } { "Runbooks" }
                            a href={ (self.root) "metrics" } { "Metrics" }
                        }
                    }
                    main {
                        h1 { bdi { (self.title) } }
                        (self.body)
                    }
                    footer { "As of " (words::instant(now)) ". All times are UTC." }
                }
            }
        }
    }
}

/// The severity as a word in its colour, never as a colour alone.
fn badge(severity: Severity) -> Markup {
    html! { span class={ "badge " (severity.label()) } { (severity.label()) } }
}

/// Open since when, or how it ended.
fn status(incident: &Incident, now: Time) -> Markup {
    let onset = incident.first().onset;
    html! {
        @match (incident.resolved_at, incident.accepted_at) {
            (None, _) => { strong { "Open" } " since " (words::since(onset, now)) },
            (Some(at), None) => {
                "Resolved at " (words::instant(at)) ", "
                (words::span(at - onset)) " after its onset"
            },
            (Some(at), Some(_)) => {
                "Accepted as the new normal at " (words::instant(at)) ", "
                (words::span(at - onset)) " after its onset"
            },
        }
        @if incident.rejected_at.is_some() { ". An operator said that the diagnosis is wrong" }
        @if let Some(familiar) = &incident.familiar {
            ". Nobody is notified: " bdi { (words::visible(&familiar.to_string())) }
        }
        @if let Some(since) = incident.proposes_acceptance_since {
            ". It stays, and is proposed as the new normal since " (words::instant(since))
        }
        "."
    }
}
