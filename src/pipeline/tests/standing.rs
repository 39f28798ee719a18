//! A source that stands still and does not say that it is behind: it is told once that has lasted,
//! with what it showed last, and nothing of it is lost.

use super::{
    boundary::{Given, lively, observe},
    *,
};

/// Rows that its gauges move in before anything happens.
const LIVELY_ROWS: i64 = 2_500;
/// Repeats until somebody hears of it: five minutes.
const TOLD_AFTER: i64 = 20;

/// A source and what was told of it.
struct Told {
    pipeline: Pipeline,
    second: i64,
    incidents: BTreeMap<String, Incident>,
}

impl Told {
    /// A source whose gauges have always moved.
    fn lively() -> Told {
        let mut told = Told {
            pipeline: Pipeline::new(settings(), State::default()),
            second: -15,
            incidents: BTreeMap::new(),
        };
        told.go_on(LIVELY_ROWS, 0.0);
        assert!(told.incidents.is_empty(), "ordinary life tells nothing");
        told
    }

    fn take(&mut self, values: Vec<(&'static str, f64)>) {
        self.second += 15;
        // A counter that stands still is a change by itself.
        let gauges = values.into_iter().filter(|(name, _)| !name.ends_with("_total"));
        let given = Given { second: self.second, values: gauges.collect(), behind_s: None };
        for incident in observe(&mut self.pipeline, &given).incidents {
            self.incidents.insert(incident.id.clone(), incident);
        }
    }

    /// Its gauges move as ever, so far above where they were.
    fn go_on(&mut self, rows: i64, higher: f64) {
        let first = self.second / 15 + 1;
        for given in lively(first + rows).into_iter().skip(first as usize) {
            let values = given.values.into_iter().map(|(name, value)| (name, value + higher));
            self.take(values.collect());
        }
    }

    /// The same row, again and again.
    fn stand(&mut self, rows: i64, values: &[(&'static str, f64)]) {
        (0..rows).for_each(|_| self.take(values.to_vec()));
    }

    fn latest(&self) -> Vec<(&'static str, f64)> {
        lively(self.second / 15 + 1).pop().unwrap().values
    }

    /// Every notification: its cause, its severity and when, in samples.
    fn causes(&self) -> Vec<(Cause, Severity)> {
        let incidents = self.incidents.values();
        let notifications = incidents.flat_map(|incident| &incident.notifications);
        notifications.map(|one| (one.cause, one.severity)).collect()
    }

    fn one(&self) -> &Incident {
        let incidents: Vec<_> = self.incidents.values().collect();
        let [incident] = incidents.as_slice() else { panic!("{incidents:#?}") };
        incident
    }
}

const STOOD: [(Cause, Severity); 1] = [(Cause::SamplingLost, Severity::Warning)];

/// Everything leaps at once, and stays.
fn leapt() -> Vec<(&'static str, f64)> {
    vec![("busy", 1_000.0), ("online", 400.0), ("queue", 900.0)]
}

#[test]
fn values_that_freeze_are_told_once_and_until_they_move() {
    let mut told = Told::lively();
    let latest = told.latest();
    told.stand(TOLD_AFTER, &latest);
    assert_eq!(told.causes(), [], "as long as blindness may last");
    told.stand(3_000, &latest);
    assert_eq!(told.causes(), STOOD);
    let record = told.one().current();
    let detected = (record.detected_at - record.onset).num_seconds();
    assert_eq!(detected, 15 * (TOLD_AFTER - 1), "{record:?}");
    assert!(record.title.contains("stands still"), "{}", record.title);
    assert!(!record.summary.contains("moved"), "nothing did: {}", record.summary);
    told.go_on(3, 0.0);
    assert!(!told.one().is_open(), "it moves again");
    assert_eq!(told.causes(), STOOD, "and is where it was");
}

#[test]
fn a_leap_of_all_gauges_that_stays_is_told_and_confirmed_by_the_next_news() {
    let mut told = Told::lively();
    told.stand(3_000, &leapt());
    assert_eq!(told.causes(), STOOD);
    let summary = &told.one().current().summary;
    for moved in ["busy from 107 to 1,000", "queue from 108 to 900", "online"] {
        assert!(summary.contains(moved), "{moved}: {summary}");
    }
    told.go_on(5, 800.0);
    let causes = told.causes();
    assert_eq!(causes[..1], STOOD);
    assert_eq!(causes[1..], [(Cause::Unexplained, Severity::Warning)], "as one event");
    assert_eq!(told.incidents.values().filter(|one| one.is_open()).count(), 1);
}

#[test]
fn an_operator_says_whether_values_that_stand_are_true() {
    let decided = |decide: fn(&mut Pipeline, &str, Time) -> Option<Incident>| {
        let mut told = Told::lively();
        told.stand(40, &leapt());
        let id = told.one().id.clone();
        let now = told.one().current().detected_at;
        decide(&mut told.pipeline, &id, now).expect("it is open");
        told.stand(1_000, &leapt());
        told.causes()
    };
    let unexplained = (Cause::Unexplained, Severity::Warning);
    assert_eq!(decided(Pipeline::accept), STOOD, "the new normal");
    assert_eq!(decided(Pipeline::reject), [STOOD[0], unexplained], "true, and news");
}

#[test]
fn standing_still_as_long_as_twice_before_is_ordinary() {
    let mut told = Told::lively();
    for (night, expected) in [(200, 1), (200, 2), (200, 2), (240, 2), (400, 3)] {
        let latest = told.latest();
        told.stand(night, &latest);
        told.go_on(300, 0.0);
        assert_eq!(told.causes().len(), expected, "{night}");
    }
}
