//! `/signals`: each signal with what was expected of it and how sure the detector is.

use maud::{Markup, html};

use crate::{pipeline::SignalStatus, series::Time, serve::words};

pub(super) fn body(signals: &[SignalStatus], now: Time) -> Markup {
    let mut sorted: Vec<_> = signals.iter().collect();
    // The most conspicuous first; those without a score at the end.
    sorted.sort_by(|a, b| {
        let score = |status: &SignalStatus| status.score.unwrap_or(f64::NEG_INFINITY);
        score(b).total_cmp(&score(a)).then_with(|| a.signal.cmp(&b.signal))
    });
    html! {
        @if sorted.is_empty() {
            p { "No sample has been taken yet." }
        } @else {
            p {
                "A score of 1 is the threshold: at it, a change is reported. Values of counters "
                "(" code { "_total" } ") are per second."
            }
            div.scroll tabindex="0" role="region" aria-label="Signals" {
                table {
                    thead { tr {
                        th scope="col" { "Signal" }
                        th.n scope="col" { "Value" }
                        th.n scope="col" { "Expected" }
                        th.n scope="col" { "Score" }
                        th scope="col" { "Threshold" }
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
