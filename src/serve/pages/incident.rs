//! `/incidents/{id}`: the four things that somebody woken at night needs, always in the same
//! places, then what proves them.

use maud::{Markup, html};

use super::{badge, chart::Chart, status};
use crate::{
    incident::{Affected, BlastRadius, CauseRecord, Incident, Symptom},
    report::{current_cause, pinned_before_first_onset},
    series::Time,
    serve::{Settings, words},
};

/// Lines of the timeline that the page shows: the first ones and the latest. The API has all.
const TIMELINE_FIRST: usize = 20;
/// See [`TIMELINE_FIRST`].
const TIMELINE_LATEST: usize = 80;

/// Facts and symptoms that the page shows; the API has all.
const ROWS_MAX: usize = 50;

pub(super) fn body(
    incident: &Incident,
    charts: &[Chart],
    settings: &Settings,
    now: Time,
) -> Markup {
    let current = current_cause(incident);
    html! {
        p { (badge(incident.severity())) " " (status(incident, now)) }
        section aria-labelledby="cause" {
            h2 id="cause" { "CAUSE" }
            @for record in incident.causes.iter().rev() { (cause(record)) }
            (candidates(incident))
        }
        section aria-labelledby="first-effect" {
            h2 id="first-effect" { "FIRST EFFECT" }
            (first_effect(incident))
        }
        section aria-labelledby="blast-radius" {
            h2 id="blast-radius" { "BLAST RADIUS" }
            (blast_radius(&current.blast_radius, pinned_before_first_onset(incident)))
        }
        section aria-labelledby="next-step" {
            h2 id="next-step" { "NEXT STEP" }
            (next_step(incident, current, settings))
        }
        (evidence(incident))
        @if !charts.is_empty() {
            h2 { "Around the onset" }
            @for chart in charts { (chart.render()) }
        }
        (symptoms(incident))
        (most_affected(&current.blast_radius.most_affected))
        (timeline(incident))
    }
}

fn cause(record: &CauseRecord) -> Markup {
    html! {
        article class=(record.severity.label()) {
            h3 { code { (record.cause) } " – " bdi { (words::visible(&record.title)) } }
            p { bdi { (words::visible(&record.summary)) } }
            p.dim {
                "Onset " (words::instant(record.onset)) ", recognised "
                (words::span(record.detected_at - record.onset)) " later with "
                (words::percent(record.probability)) "; scope " (record.scope.label()) "."
            }
        }
    }
}

fn candidates(incident: &Incident) -> Markup {
    html! {
        @if incident.candidates.len() > 1 {
            p.dim {
                "How probable is what: "
                @for (position, (cause, probability)) in incident.candidates.iter().enumerate() {
                    @if position > 0 { ", " }
                    code { (cause) } " " (words::percent(*probability))
                }
                "."
            }
        }
    }
}

fn first_effect(incident: &Incident) -> Markup {
    let first = incident.symptoms.iter().min_by_key(|symptom| symptom.onset);
    html! {
        @match first {
            Some(symptom) => {
                p {
                    strong { bdi { (words::visible(&symptom.signal)) } } " went from "
                    (words::number(symptom.before)) " to " (words::number(symptom.after)) " at "
                    (words::instant(symptom.onset)) ", "
                    (words::span(symptom.onset - incident.first().onset)) " after the onset."
                }
            },
            None => { p { "No other signal has moved with it yet." } },
        }
    }
}

fn blast_radius(radius: &BlastRadius, pinned_before: Option<u64>) -> Markup {
    html! {
        dl {
            dt { "Devices" } dd { strong { (words::count(radius.devices)) } }
            dt { "Applications" } dd { (words::count_if_known(radius.applications)) }
            dt { "Organisations" } dd { (words::count_if_known(radius.organizations)) }
            @if pinned_before.is_some() || radius.pinned_after.is_some() {
                dt { "Pinned devices" }
                dd {
                    (words::count_if_known(pinned_before)) " before the first onset, "
                    (words::count_if_known(radius.pinned_after)) " at the latest sample"
                }
            }
            @if let Some(counted) = radius.counted {
                dt { "Count of " (counted.quantity.noun()) }
                dd {
                    (words::count_if_known(counted.before)) " before the first onset, "
                    (words::count_if_known(counted.after)) " at the latest sample"
                }
            }
            @if radius.pending_before.is_some() || radius.pending_after.is_some() {
                dt { "Pending updates" }
                dd {
                    (words::count_if_known(radius.pending_before)) " before, "
                    (words::count_if_known(radius.pending_after)) " at the latest sample"
                }
            }
            @if let Some(pending) = radius.pending_if_unpinned {
                dt { "If all pins were cleared now" }
                dd {
                    strong { (words::count(pending.devices)) " devices" }
                    " would start an update, over " (words::count(pending.pairs)) " release pairs"
                }
            }
        }
    }
}

fn next_step(incident: &Incident, current: &CauseRecord, settings: &Settings) -> Markup {
    html! {
        ol {
            @for step in current.next_steps.iter().take(ROWS_MAX) {
                li { bdi { (words::visible(step)) } }
            }
        }
        p {
            a href={ (settings.runbook_url) "#" (current.cause) } rel="noreferrer" {
                "Runbook for " (current.cause)
            }
        }
        @if incident.is_open() {
            p.dim {
                "If this is the new normal: " code { "headwater incidents accept " (incident.id) }
                ". If the diagnosis is wrong: " code { "headwater incidents reject " (incident.id) }
                "."
            }
        }
    }
}

fn evidence(incident: &Incident) -> Markup {
    let facts = incident
        .causes
        .iter()
        .flat_map(|record| record.evidence.iter().map(move |fact| (record.cause, fact)));
    html! {
        h2 { "Evidence" }
        @if incident.causes.iter().all(|record| record.evidence.is_empty()) {
            p.dim { "None yet." }
        } @else {
            ul {
                @for (cause, fact) in facts.take(ROWS_MAX) {
                    li {
                        bdi { (words::visible(&fact.text)) }
                        span.dim { " (" (words::visible(&fact.kind)) ", " (cause) ")" }
                    }
                }
            }
        }
    }
}

fn symptoms(incident: &Incident) -> Markup {
    html! {
        @if !incident.symptoms.is_empty() {
            h2 { "Symptoms that it explains" }
            div.scroll tabindex="0" role="region" aria-label="Symptoms" {
                table {
                    thead { tr {
                        th scope="col" { "Signal" } th scope="col" { "Onset" }
                        th.n scope="col" { "Before" } th.n scope="col" { "Since" }
                        th.n scope="col" { "Explained" } th scope="col" { "By" }
                    } }
                    tbody {
                        @for symptom in incident.symptoms.iter().take(ROWS_MAX) { (row(symptom)) }
                    }
                }
            }
        }
    }
}

fn row(symptom: &Symptom) -> Markup {
    html! {
        tr {
            th scope="row" { bdi { (words::visible(&symptom.signal)) } }
            td { (words::instant(symptom.onset)) }
            td.n { (words::number(symptom.before)) }
            td.n { (words::number(symptom.after)) }
            td.n { (words::percent(symptom.explained)) }
            td.text { bdi { (words::visible(&symptom.explanation)) } }
        }
    }
}

fn most_affected(affected: &[Affected]) -> Markup {
    let others = affected.iter().any(|application| application.counted.is_some());
    let [before, now] = if others { ["Before", "Now"] } else { ["Pinned before", "Pinned now"] };
    html! {
        @if !affected.is_empty() {
            h2 { "Most affected applications" }
            div.scroll tabindex="0" role="region" aria-label="Most affected applications" {
                table {
                    thead { tr {
                        th scope="col" { "Application" } th.n scope="col" { "Id" }
                        th.n scope="col" { "Devices" } th.n scope="col" { (before) }
                        th.n scope="col" { (now) }
                    } }
                    tbody {
                        @for application in affected.iter().take(ROWS_MAX) {
                            tr {
                                th scope="row" { bdi { (words::visible(&application.name)) } }
                                td.n { (application.application) }
                                td.n { (words::count(application.devices)) }
                                @if let Some(counted) = application.counted {
                                    td.n { (words::count_if_known(counted.before)) }
                                    td.n { (words::count_if_known(counted.after)) }
                                } @else {
                                    td.n { (words::count(application.pinned_before)) }
                                    td.n { (words::count(application.pinned_after)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn timeline(incident: &Incident) -> Markup {
    let entries = &incident.timeline;
    let omitted = entries.len().saturating_sub(TIMELINE_FIRST + TIMELINE_LATEST);
    let first = if omitted > 0 { TIMELINE_FIRST } else { entries.len() };
    html! {
        h2 { "Timeline" }
        ol {
            @for (position, entry) in entries.iter().enumerate() {
                @if position < first || position >= first + omitted {
                    li { (words::instant(entry.at)) " " bdi { (words::visible(&entry.text)) } }
                } @else if position == first {
                    li.dim { "… " (omitted) " more lines are in the API …" }
                }
            }
        }
    }
}
