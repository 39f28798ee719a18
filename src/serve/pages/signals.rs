//! `/signals`: each signal with what was expected of it and how sure the detector is.

use maud::{Markup, html};

use crate::{
    pipeline::{SignalStatus, Standing},
    report::{self, RateJson, SignalJson, ToldJson},
    series::Time,
    serve::words,
};

pub(super) fn body(standing: &Standing, now: Time) -> Markup {
    let mut sorted: Vec<_> = standing.signals.iter().collect();
    // The most conspicuous first; those without a score at the end.
    sorted.sort_by(|a, b| {
        let score = |status: &SignalStatus| status.score.unwrap_or(f64::NEG_INFINITY);
        score(b).total_cmp(&score(a)).then_with(|| a.signal.cmp(&b.signal))
    });
    html! {
        @if sorted.is_empty() {
            p { "No sample has been taken yet." }
        } @else {
            (achieved(standing))
            p {
                "A score of 1 is the threshold: at it, a change is reported. Values of counters "
                "(" code { "_total" } ") are per second. A rate of alarms stands beside the one that "
                "its threshold allows, per 30 days, with its exact 95 % interval; signals read "
                "from rows are symptoms at most and notify nobody by themselves."
            }
            div.scroll tabindex="0" role="region" aria-label="Signals" {
                table {
                    thead { tr {
                        th scope="col" { "Signal" }
                        th.n scope="col" { "Value" }
                        th.n scope="col" { "Expected" }
                        th.n scope="col" { "Score" }
                        th scope="col" { "Threshold" }
                        th.n scope="col" { "Alarms" }
                        th.n scope="col" { "Samples" }
                        th scope="col" { "Source" }
                        th scope="col" { "Latest" }
                    } }
                    tbody { @for status in sorted { (row(status, now)) } }
                }
            }
        }
    }
}

/// What the whole daemon has told, beside what may be false of it.
fn achieved(standing: &Standing) -> Markup {
    let told = report::signals_json(standing).notifications;
    html! {
        p {
            "In " (words::number(told.watched_days.0)) " days of watching: "
            (told_of(&told.pages, "page", "pages")) "; "
            (told_of(&told.warnings, "warning", "warnings"))
            ". Nobody knows which of them were false: all count, and an interval above its budget "
            "says that the promise was not kept."
        }
    }
}

fn told_of(told: &ToldJson, one: &str, many: &str) -> Markup {
    html! {
        strong { (words::count(told.count)) " " (if told.count == 1 { one } else { many }) }
        @if told.rejected > 0 { " (" (words::count(told.rejected)) " rejected)" }
        (per_month(told.per_month)) ", of which the budget allows "
        (words::number(told.budget_per_month.0)) " without an event"
    }
}

/// `, 2 a month (0.3 to 7.2)`.
fn per_month(rate: Option<RateJson>) -> Markup {
    html! {
        @if let Some(RateJson { rate, low, high }) = rate {
            ", " (words::number(rate.0)) " a month ("
            (words::number(low.0)) " to " (words::number(high.0)) ")"
        }
    }
}

fn alarms_of(signal: &SignalJson) -> Markup {
    html! {
        @if let Some(budget) = signal.budget_per_month {
            (words::count(signal.alarms))
            @if signal.judged_days.0 > 0.0 {
                br; span.dim {
                    "in " (words::number(signal.judged_days.0)) " days"
                    (per_month(signal.alarms_per_month))
                }
            }
            br; span.dim { "budget " (words::number(budget.0)) }
        }
    }
}

fn row(status: &SignalStatus, now: Time) -> Markup {
    let alarms = status.score.is_some_and(|score| score >= 1.0);
    html! {
        tr {
            th scope="row" {
                bdi { (words::visible(&status.signal)) }
                @if let Some(cold) = &status.cold {
                    br; span.dim { (words::visible(cold)) }
                }
            }
            td.n { (words::number_if_known(status.value)) }
            td.n { (band(status)) }
            td.n {
                @if alarms { strong { (words::number_if_known(status.score)) " changed" } }
                @else { (words::number_if_known(status.score)) }
                @if let Some(rest) = status.unexplained.filter(|rest| *rest != 0.0) {
                    br; span.dim { (words::number(rest)) " unexplained" }
                }
            }
            td {
                (words::number_if_known(status.threshold))
                " " span.dim { (words::visible(&status.threshold_origin)) }
            }
            td.n { (alarms_of(&report::signal_json(status))) }
            td.n { (words::count(status.samples)) }
            td { (status.source) }
            td {
                @match status.at {
                    Some(at) => { (words::span(now - at)) " ago" },
                    None => { "never" },
                }
            }
        }
    }
}

fn band(status: &SignalStatus) -> Markup {
    html! {
        (words::number_if_known(status.expected))
        @if let (Some(low), Some(high)) = (status.expected_low, status.expected_high) {
            br; span.dim { (words::number(low)) " to " (words::number(high)) }
        }
    }
}
