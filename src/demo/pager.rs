//! The demo's pager: an Alertmanager's receiving end that prints what it gets, as the person on call
//! would read it, and at the end how long after each cause it came.

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
    /// When each cause began, by its id, and when its page came.
    began: Vec<(&'static str, Time)>,
    came: Vec<(String, Time)>,
    in_2019: TimeDelta,
    pages: String,
}

impl Pager {
    /// A pager. `in_2019` is how long people took then.
    pub(super) fn new(in_2019: TimeDelta, pages: String) -> Pager {
        let book = Book {
            firing: BTreeSet::new(),
            resolved: BTreeSet::new(),
            began: Vec::new(),
            came: Vec::new(),
            in_2019,
            pages,
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

    /// Prints how long after each cause its page came.
    pub(super) fn conclude(&self) {
        let book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        println!("\n{}", "─".repeat(WIDTH));
        println!("How long after each cause its page came, in the fleet's time:\n");
        for (cause, began) in &book.began {
            let came = book.came.iter().find(|(name, _)| name == cause);
            let delay = came.map_or("no page".to_owned(), |(_, at)| spell(*at - *began));
            println!("  {cause:12} began {} UTC   paged after {delay}", hms(*began));
        }
        let others =
            book.came.iter().filter(|(name, _)| book.began.iter().all(|(cause, _)| cause != name));
        let others: Vec<&str> = others.map(|(name, _)| name.as_str()).collect();
        let others = if others.is_empty() { "none".to_owned() } else { others.join(", ") };
        println!("  other notifications: {others}");
        println!("\n  In 2019 it took {} to see the cause.", spell(book.in_2019));
        println!("  The incident's page: {}/\n", book.pages);
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
            book.came.push((cause, alert.starts_at));
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
    println!("\n┏━ {kind} at {} UTC {}", hms(now), "━".repeat(WIDTH - 24));
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
    println!("┗{}\n", "━".repeat(WIDTH));
}

/// One paragraph, broken between words.
fn line(text: &str) {
    let hang = if text.starts_with("- ") { "  " } else { "" };
    let mut row = String::new();
    for word in text.split(' ') {
        if !row.is_empty() && row.chars().count() + 1 + word.chars().count() > WIDTH - 3 {
            println!("┃ {row}");
            row = hang.to_owned();
        } else if !row.is_empty() {
            row.push(' ');
        }
        row.push_str(word);
    }
    println!("┃ {row}");
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
