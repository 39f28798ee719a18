//! `/`: is all well, and if not, what is wrong since when; the loudest first.

use std::{cmp::Reverse, time::Duration};

use chrono::TimeDelta;
use maud::{Markup, html};

use super::{badge, status};
use crate::{
    incident::{Incident, Severity},
    pipeline::SignalStatus,
    report::current_cause,
    series::Time,
    serve::{Settings, words},
};

/// Resolved and merely informing incidents that are listed below the open ones.
const RECENT_MAX: usize = 20;

/// Open incidents shown in full; more are counted.
const OPEN_MAX: usize = 30;

/// A source whose latest sample is older than so many intervals is called silent.
const SILENT_INTERVALS: u32 = 3;

pub(super) struct Overview<'a> {
    /// Newest first.
    pub(super) incidents: &'a [Incident],
    pub(super) signals: &'a [SignalStatus],
    pub(super) settings: &'a Settings,
    pub(super) ready: bool,
    pub(super) now: Time,
}

/// A source as the latest samples of its signals show it.
struct SourceState<'a> {
    name: &'a str,
    signals: usize,
    latest: Option<Time>,
}

impl Overview<'_> {
    pub(super) fn headline(&self) -> String {
        let loud = self.open(|severity| severity > Severity::Info).len();
        let sources = self.sources();
        let silent = sources.iter().filter(|source| self.is_silent(source)).count();
        match (loud, silent) {
            (1, _) => "1 incident is open".to_owned(),
            (2.., _) => format!("{loud} incidents are open"),
            (0, _) if !self.ready => "Headwater is starting".to_owned(),
            (0, 0) if sources.iter().all(|source| source.latest.is_none()) => {
                "No sample yet: nothing can be said".to_owned()
            }
            (0, 0) => "All is well".to_owned(),
            (0, 1) => "No incident is open, but 1 source is silent".to_owned(),
            (0, _) => format!("No incident is open, but {silent} sources are silent"),
        }
    }

    pub(super) fn body(&self) -> Markup {
        let open = self.open(|_| true);
        let recent: Vec<_> =
            self.incidents.iter().filter(|incident| !incident.is_open()).take(RECENT_MAX).collect();
        html! {
            @for incident in open.iter().take(OPEN_MAX) { (self.card(incident)) }
            @if open.len() > OPEN_MAX {
                p { "… and " (open.len() - OPEN_MAX) " more open incidents in the API." }
            }
            h2 { "Sources" }
            (self.source_table())
            h2 { "Resolved of late" }
            @if recent.is_empty() { p.dim { "None." } } @else { (self.recent_table(&recent)) }
        }
    }

    /// Open incidents of these severities, the loudest first, then the newest.
    fn open(&self, severity_is_wanted: impl Fn(Severity) -> bool) -> Vec<&Incident> {
        let mut open: Vec<_> = self
            .incidents
            .iter()
            .filter(|incident| incident.is_open() && severity_is_wanted(incident.severity()))
            .collect();
        open.sort_by_key(|incident| {
            Reverse((incident.severity(), current_cause(incident).detected_at))
        });
        open
    }

    fn card(&self, incident: &Incident) -> Markup {
        let current = current_cause(incident);
        let severity = incident.severity();
        html! {
            article class=(severity.label()) {
                h2 {
                    (badge(severity)) " "
                    a href={ "incidents/" (incident.id) } {
                        bdi { (words::visible(&current.title)) }
                    }
                }
                p { bdi { (words::visible(&current.summary)) } }
                p.dim {
                    (status(incident, self.now)) " Cause "
                    code { (current.cause) } ", " (words::percent(current.probability)) "."
                    @if incident.causes.len() > 1 {
                        " Before it: "
                        @for record in &incident.causes {
                            @if record.cause != current.cause {
                                code { (record.cause) } " at " (words::instant(record.onset)) ". "
                            }
                        }
                    }
                }
            }
        }
    }

    fn sources(&self) -> Vec<SourceState<'_>> {
        let state = |name: &'_ String| -> (usize, Option<Time>) {
            let signals = self.signals.iter().filter(|status| status.source == *name);
            (signals.clone().count(), signals.filter_map(|status| status.at).max())
        };
        let sources = self.settings.sources.iter().map(|(name, _)| {
            let (signals, latest) = state(name);
            SourceState { name, signals, latest }
        });
        sources.collect()
    }

    fn is_silent(&self, source: &SourceState<'_>) -> bool {
        let patience = self.settings.interval * SILENT_INTERVALS;
        let patience = TimeDelta::from_std(patience.max(Duration::from_secs(1)));
        source.latest.is_some_and(|at| patience.is_ok_and(|patience| self.now - at > patience))
    }

    fn source_table(&self) -> Markup {
        html! {
            div.scroll tabindex="0" role="region" aria-label="Sources" {
                table {
                    thead { tr {
                        th scope="col" { "Source" } th.n scope="col" { "Signals" }
                        th scope="col" { "Latest sample" }
                    } }
                    tbody {
                        @for source in self.sources() {
                            tr {
                                th scope="row" { bdi { (source.name) } }
                                td.n { (source.signals) }
                                td {
                                    @match source.latest {
                                        None => { "none yet" },
                                        Some(at) if self.is_silent(&source) => {
                                            strong { "silent" } " since "
                                            (words::since(at, self.now))
                                        },
                                        Some(at) => { (words::span(self.now - at)) " ago" },
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    fn recent_table(&self, recent: &[&Incident]) -> Markup {
        html! {
            div.scroll tabindex="0" role="region" aria-label="Resolved incidents" {
                table {
                    thead { tr {
                        th scope="col" { "Severity" } th scope="col" { "Incident" }
                        th scope="col" { "Onset" } th scope="col" { "Lasted" }
                    } }
                    tbody {
                        @for incident in recent {
                            @let onset = incident.first().onset;
                            @let end = incident.resolved_at.unwrap_or(self.now);
                            tr {
                                td { (badge(incident.severity())) }
                                td.text {
                                    a href={ "incidents/" (incident.id) } {
                                        bdi { (words::visible(&current_cause(incident).title)) }
                                    }
                                }
                                td { (words::instant(onset)) }
                                td { (words::span(end - onset)) }
                            }
                        }
                    }
                }
            }
        }
    }
}
