//! The demo's pager: an Alertmanager's receiving end that prints what it gets, as the person on
//! call would read it, and at the end how long after each cause it came.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use axum::{Json, Router, extract::State, routing::post};
use chrono::TimeDelta;
use serde::Deserialize;

use crate::{clock::Clock, diagnose::texts::hms, series::Time};

/// Columns of a printed page.
const WIDTH: usize = 96;

/// The fields that a pager reads.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Alert {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    starts_at: Time,
    ends_at: Time,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Pager(Arc<Mutex<Book>>);

#[derive(Debug)]
struct Book {
    /// Label sets that were shown as firing, and as resolved.
    firing: BTreeSet<BTreeMap<String, String>>,
    resolved: BTreeSet<BTreeMap<String, String>>,
    /// When each cause began, by its id.
    began: Vec<(&'static str, Time)>,
    came: Vec<Came>,
    in_2019: TimeDelta,
    /// Of the latest page.
    incident_url: String,
}

/// A first notification, as it came.
#[derive(Debug)]
struct Came {
    cause: String,
    recognised_at: Time,
    at: Time,
}

impl Pager {
    /// A pager. `in_2019` is how long people took then.
    pub(super) fn new(in_2019: TimeDelta) -> Pager {
        let book = Book {
            firing: BTreeSet::new(),
            resolved: BTreeSet::new(),
            began: Vec::new(),
            came: Vec::new(),
            in_2019,
            incident_url: String::new(),
        };
        Pager(Arc::new(Mutex::new(book)))
    }

    /// A cause begins: from here its page's delay is measured.
    pub(super) fn begins(&self, cause: &'static str, at: Time) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).began.push((cause, at));
    }

    /// What Alertmanager's API would answer.
    pub(super) fn router(&self, clock: Clock) -> Router {
        let state = (self.clone(), clock);
        Router::new().route("/api/v2/alerts", post(receive)).with_state(state)
    }

    /// Where the incident of the latest page is shown.
    pub(super) fn incident_url(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).incident_url.clone()
    }

    /// Prints how long after each cause its page came.
    pub(super) fn conclude(&self) {
        let book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        println!("\n{}", "─".repeat(WIDTH));
        println!("How long after each cause its page came, in the fleet's time:\n");
        for (cause, began) in &book.began {
            let came = book.came.iter().find(|came| came.cause == *cause);
            let delay = came.map_or("no page".to_owned(), |came| {
                let (recognised, paged) = (came.recognised_at - *began, came.at - *began);
                format!("recognised after {}, paged after {}", spell(recognised), spell(paged))
            });
            println!("  {cause:12} began {} UTC   {delay}", hms(*began));
        }
        let expected = |cause: &str| book.began.iter().any(|(began, _)| *began == cause);
        let others = book.came.iter().filter(|came| !expected(&came.cause));
        let others: Vec<&str> = others.map(|came| came.cause.as_str()).collect();
        let others = if others.is_empty() { "none".to_owned() } else { others.join(", ") };
        println!("  other notifications: {others}");
        println!("\n  In 2019 it took {} to see the cause.", spell(book.in_2019));
    }
}

async fn receive(State((pager, clock)): State<(Pager, Clock)>, Json(alerts): Json<Vec<Alert>>) {
    let now = clock.now();
    let mut book = pager.0.lock().unwrap_or_else(PoisonError::into_inner);
    for alert in alerts {
        if alert.ends_at <= now {
            let known = book.firing.contains(&alert.labels);
            if known && book.resolved.insert(alert.labels.clone()) {
                println!("{}  resolved: {}", hms(now), name_of(&alert));
            }
        } else if book.firing.insert(alert.labels.clone()) {
            let cause = alert.labels.get("cause").cloned().unwrap_or_default();
            book.came.push(Came { cause, recognised_at: alert.starts_at, at: now });
            book.incident_url = alert.annotations.get("incident_url").cloned().unwrap_or_default();
            show(&alert, now);
        }
    }
}

fn name_of(alert: &Alert) -> &str {
    alert.labels.get("alertname").map_or("an alert", String::as_str)
}

/// The page in full, with its labels.
fn show(alert: &Alert, now: Time) {
    let severity = alert.labels.get("severity").map_or("", String::as_str);
    let kind = if severity == "critical" { "PAGE" } else { "NOTICE" };
    let heading = format!("┏━ {kind} at {} UTC ", hms(now));
    let rule = WIDTH.saturating_sub(heading.chars().count());
    println!("\n{heading}{}", "━".repeat(rule));
    let labels = alert.labels.iter().map(|(name, value)| format!("{name}={value}"));
    line(&labels.collect::<Vec<_>>().join("  "));
    for name in ["summary", "description"] {
        line("");
        for paragraph in alert.annotations.get(name).map_or("", String::as_str).lines() {
            line(paragraph);
        }
    }
    line("");
    for name in ["onset", "probability", "incident_url", "runbook_url"] {
        if let Some(value) = alert.annotations.get(name) {
            line(&format!("{name}: {value}"));
        }
    }
    println!("┗{}\n", "━".repeat(WIDTH - 1));
}

/// One paragraph of a page.
fn line(text: &str) {
    let hang = if text.starts_with("- ") { "  " } else { "" };
    for row in wrapped(text, WIDTH - 2) {
        let hang = if row.starts_with("- ") || row.is_empty() { "" } else { hang };
        println!("{}", format!("┃ {hang}{row}").trim_end());
    }
}

/// Prints a text behind `heading`, its further lines below its first word.
pub(super) fn print_wrapped(heading: &str, text: &str) {
    let indent = heading.chars().count();
    for (index, row) in wrapped(text, WIDTH - indent).iter().enumerate() {
        let before = if index == 0 { heading.to_owned() } else { " ".repeat(indent) };
        println!("{before}{row}");
    }
}

/// A text broken between words into rows of at most `width` characters; longer words stay whole.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    // Room for the hanging indent of a list's item.
    let width = if text.starts_with("- ") { width - 2 } else { width };
    let mut rows = vec![String::new()];
    for word in text.split(' ') {
        let row = rows.last_mut().filter(|row| {
            row.is_empty() || row.chars().count() + 1 + word.chars().count() <= width
        });
        match row {
            Some(row) if row.is_empty() => row.push_str(word),
            Some(row) => *row = format!("{row} {word}"),
            None => rows.push(word.to_owned()),
        }
    }
    rows.iter().map(|row| row.trim_end().to_owned()).collect()
}

/// `2 h 26 min`, `40 s`.
fn spell(length: TimeDelta) -> String {
    let seconds = length.num_seconds();
    match (seconds / 3_600, seconds % 3_600 / 60, seconds % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, min, s) => format!("{min} min {s} s"),
        (h, min, _) => format!("{h} h {min} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_break_between_words_and_end_without_a_space() {
        assert_eq!(wrapped("one two  three", 9), ["one two", "three"]);
        assert_eq!(wrapped("", 9), [""]);
        assert_eq!(wrapped("extraordinary word", 4), ["extraordinary", "word"]);
        assert_eq!(wrapped("- a bb c", 6), ["- a", "bb c"], "two less, for the indent");
    }

    #[test]
    fn lengths_are_spelled_in_their_two_largest_units() {
        assert_eq!(spell(TimeDelta::seconds(11)), "11 s");
        assert_eq!(spell(TimeDelta::seconds(75)), "1 min 15 s");
        assert_eq!(spell(TimeDelta::minutes(146)), "2 h 26 min");
    }
}
