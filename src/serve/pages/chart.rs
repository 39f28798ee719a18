//! Small line charts of stored signals around an incident's onset, as SVG in the page.

use std::time::Duration;

use anyhow::Result;
use chrono::TimeDelta;
use maud::{Markup, html};

use crate::{incident::Incident, series::Time, serve::words, store::Store};

/// Signals that tell the story of most causes, if the store has them.
const SIGNALS: [&str; 2] = ["devices_pinned", "pending_updates"];

/// Symptoms that get a chart as well.
const SYMPTOMS_MAX: usize = 2;

/// How much of the time before the onset is shown, and how much after it at most.
const BEFORE: TimeDelta = TimeDelta::minutes(30);
/// See [`BEFORE`].
const AFTER_MAX: TimeDelta = TimeDelta::hours(12);

/// Columns of a chart; each shows the extremes of its samples, so that no spike is lost.
const COLUMNS: usize = 200;

/// Small, because the drawing is scaled to the page and its labels with it: on a phone they must
/// still be readable.
const WIDTH: f64 = 440.0;
/// See [`WIDTH`].
const HEIGHT: f64 = 130.0;
/// Room for the labels of the axes.
const LEFT: f64 = 72.0;
/// See [`LEFT`].
const BOTTOM: f64 = 18.0;
const TOP: f64 = 8.0;

/// A line is broken where samples are missing for longer than so many intervals.
const GAP_INTERVALS: i32 = 5;

/// One signal over time.
#[derive(Debug)]
pub(super) struct Chart {
    signal: String,
    points: Vec<(Time, f64)>,
    from: Time,
    to: Time,
    onsets: Vec<Time>,
    gap: TimeDelta,
}

/// The charts of an incident; none where the store has no samples.
pub(super) async fn of_incident(
    store: &Store,
    incident: &Incident,
    interval: Duration,
    now: Time,
) -> Result<Vec<Chart>> {
    let onset = incident.first().onset;
    let from = onset - BEFORE;
    let end = incident.resolved_at.map_or(now, |at| at + BEFORE);
    let to = end.clamp(onset + TimeDelta::minutes(1), onset + AFTER_MAX);
    let onsets: Vec<Time> = incident.causes.iter().map(|record| record.onset).collect();
    let interval = TimeDelta::from_std(interval).unwrap_or(TimeDelta::minutes(1));

    let symptoms = incident.symptoms.iter().map(|symptom| symptom.signal.as_str());
    // A cumulative counter's chart is a slope that shows nothing.
    let symptoms =
        symptoms.filter(|signal| !SIGNALS.contains(signal) && !signal.ends_with("_total"));
    let mut charts = Vec::new();
    for signal in SIGNALS.into_iter().chain(symptoms.take(SYMPTOMS_MAX)) {
        let points = store.series(signal, from, to).await?;
        if points.len() > 1 {
            let signal = signal.to_owned();
            let gap = (interval * GAP_INTERVALS).max((to - from) / COLUMNS as i32 * 2);
            charts.push(Chart { signal, points, from, to, onsets: onsets.clone(), gap });
        }
    }
    Ok(charts)
}

impl Chart {
    pub(super) fn render(&self) -> Markup {
        let (low, high) = self.extremes();
        let title = format!(
            "{} from {} to {}: between {} and {}, {} at the end",
            words::visible(&self.signal),
            self.from.format("%H:%M"),
            self.to.format("%H:%M UTC"),
            words::number(low),
            words::number(high),
            words::number_if_known(self.points.last().map(|(_, value)| *value)),
        );
        html! {
            figure {
                figcaption { bdi { (words::visible(&self.signal)) } }
                svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label=(title) {
                    title { (title) }
                    line.axis x1=(LEFT) y1=(HEIGHT - BOTTOM) x2=(WIDTH) y2=(HEIGHT - BOTTOM) {}
                    @for onset in self.onsets.iter().filter(|onset| **onset <= self.to) {
                        @let x = coordinate(self.x(*onset));
                        line.onset x1=(x) y1=(TOP) x2=(x) y2=(HEIGHT - BOTTOM) {}
                    }
                    path.value d=(self.path(low, high)) {}
                    @let top = if low < high { TOP + 8.0 } else { (TOP + HEIGHT - BOTTOM) / 2.0 };
                    (label(LEFT - 6.0, top, "end", &words::number(high)))
                    @if low < high {
                        (label(LEFT - 6.0, HEIGHT - BOTTOM, "end", &words::number(low)))
                    }
                    (label(LEFT, HEIGHT - 4.0, "start", &self.from.format("%H:%M").to_string()))
                    (label(WIDTH, HEIGHT - 4.0, "end", &self.to.format("%H:%M UTC").to_string()))
                }
            }
        }
    }

    fn extremes(&self) -> (f64, f64) {
        let values = self.points.iter().map(|(_, value)| *value);
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        })
    }

    fn x(&self, at: Time) -> f64 {
        let share = (at - self.from).as_seconds_f64() / (self.to - self.from).as_seconds_f64();
        LEFT + share * (WIDTH - LEFT)
    }

    fn path(&self, low: f64, high: f64) -> String {
        let height = HEIGHT - BOTTOM - TOP;
        let mut path = String::new();
        let mut previous: Option<Time> = None;
        for (at, value) in self.thinned() {
            // A flat line lies in the middle.
            let share = if high > low { (value - low) / (high - low) } else { 0.5 };
            let draws = previous.is_some_and(|previous| at - previous <= self.gap);
            path.push(if draws { 'L' } else { 'M' });
            let (x, y) = (coordinate(self.x(at)), coordinate(TOP + (1.0 - share) * height));
            path.push_str(&format!("{x} {y}"));
            previous = Some(at);
        }
        path
    }

    /// At most two points a column: its lowest and its highest, in order of time.
    fn thinned(&self) -> Vec<(Time, f64)> {
        let column_of =
            |at: Time| ((self.x(at) - LEFT) / (WIDTH - LEFT) * COLUMNS as f64).floor() as i64;
        let mut thinned = Vec::new();
        for column in self.points.chunk_by(|a, b| column_of(a.0) == column_of(b.0)) {
            let lowest = column.iter().min_by(|a, b| a.1.total_cmp(&b.1));
            let highest = column.iter().max_by(|a, b| a.1.total_cmp(&b.1));
            let mut extremes: Vec<_> = lowest.into_iter().chain(highest).copied().collect();
            extremes.sort_by_key(|(at, _)| *at);
            extremes.dedup();
            thinned.extend(extremes);
        }
        thinned
    }
}

fn label(x: f64, y: f64, anchor: &str, text: &str) -> Markup {
    html! { text x=(x) y=(y) text-anchor=(anchor) { (text) } }
}

/// A tenth of a unit is finer than a screen.
fn coordinate(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
