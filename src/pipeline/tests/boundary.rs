//! The boundary as a table: rows in, and of each row what was wrong with it and which of its values
//! were taken.

use super::*;
use crate::{
    diagnose::declared::{Declared, Edge, Relation},
    series::SignalSettings,
};
use IrregularityKind::{
    ClockStep, CounterReset, Duplicate, Gap, NotFinite, OutOfOrder, OutOfRange, Stale,
};

const DAY_S: i64 = 86_400;
const YEAR_S: i64 = 365 * DAY_S;

/// A row: seconds since the start, its values, how far behind its source says that it is.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) second: i64,
    pub(super) values: Vec<(&'static str, f64)>,
    pub(super) behind_s: Option<f64>,
}

pub(super) fn row(second: i64, values: &[(&'static str, f64)]) -> Given {
    Given { second, values: values.to_vec(), behind_s: None }
}

/// What became of a row: the values that were recorded, and what was wrong.
type Taken = (Vec<f64>, Vec<IrregularityKind>);

fn time(second: i64) -> Time {
    at(0) + TimeDelta::seconds(second)
}

pub(super) fn observe(pipeline: &mut Pipeline, given: &Given) -> Step {
    let values = given.values.iter().map(|(name, value)| ((*name).to_owned(), *value));
    let reading =
        Reading { values: values.collect(), behind_s: given.behind_s, ..Reading::default() };
    let outcome = Outcome::Sampled(Box::new(reading));
    let observation = Observation { at: time(given.second), source: "source".to_owned(), outcome };
    pipeline.step(&observation)
}

fn configured() -> Settings {
    let range = SignalSettings {
        valid_min: Some(-40.0),
        valid_max: Some(125.0),
        ..SignalSettings::default()
    };
    let rate = SignalSettings { valid_max: Some(1_000.0), ..SignalSettings::default() };
    let signals = [("temperature", range), ("requests_total", rate)];
    let signals = signals.map(|(name, settings)| (name.to_owned(), settings));
    Settings { signals: BTreeMap::from(signals), ..settings() }
}

#[track_caller]
fn check(name: &str, rows: &[Given], expected: &[Taken]) -> Pipeline {
    let mut pipeline = Pipeline::new(configured(), State::default());
    let mut taken = Vec::new();
    for given in rows {
        let step = observe(&mut pipeline, given);
        assert_eq!(step.incidents, [], "{name}: nothing of this is an incident");
        let kinds = step.irregularities.iter().map(|one| one.kind).collect();
        taken.push((step.values.into_iter().map(|(_, value)| value).collect::<Vec<f64>>(), kinds));
    }
    assert_eq!(taken, expected, "{name}");
    pipeline
}

fn fine(values: &[f64]) -> Taken {
    (values.to_vec(), vec![])
}

fn wrong(values: &[f64], kind: IrregularityKind) -> Taken {
    (values.to_vec(), vec![kind])
}

/// A row at each of these seconds, whose value is its place.
fn series(seconds: &[i64]) -> Vec<Given> {
    let rows = seconds.iter().enumerate();
    rows.map(|(place, second)| row(*second, &[("queue", place as f64)])).collect()
}

#[test]
fn rows_that_repeat_a_time_or_come_late_are_left_out() {
    check("in order", &series(&[0, 15, 30]), &[fine(&[0.0]), fine(&[1.0]), fine(&[2.0])]);
    check("a gap", &series(&[0, 15, 60]), &[fine(&[0.0]), fine(&[1.0]), wrong(&[2.0], Gap)]);
    check(
        "a repeat in time",
        &series(&[0, 15, 15, 30]),
        &[fine(&[0.0]), fine(&[1.0]), wrong(&[], Duplicate), fine(&[3.0])],
    );
    check(
        "late rows",
        &series(&[0, 30, 15, 45, 40, 60]),
        &[
            fine(&[0.0]),
            fine(&[1.0]),
            wrong(&[], OutOfOrder),
            fine(&[3.0]),
            wrong(&[], OutOfOrder),
            fine(&[5.0]),
        ],
    );
}

#[test]
fn a_clock_that_was_set_deafens_a_source_in_neither_direction() {
    check(
        "one time a year ahead",
        &series(&[0, 15, YEAR_S, 30, 45]),
        &[fine(&[0.0]), fine(&[1.0]), wrong(&[], ClockStep), fine(&[3.0]), fine(&[4.0])],
    );
    check(
        "a clock set ahead by a year, for good",
        &series(&[0, 15, YEAR_S, YEAR_S + 15, YEAR_S + 30]),
        &[fine(&[0.0]), fine(&[1.0]), wrong(&[], ClockStep), wrong(&[3.0], Gap), fine(&[4.0])],
    );
    check(
        "a clock set ahead by a year, and back",
        &series(&[0, 15, YEAR_S, YEAR_S + 15, 30, 45, 60, 75]),
        &[
            fine(&[0.0]),
            fine(&[1.0]),
            wrong(&[], ClockStep),
            wrong(&[3.0], Gap),
            wrong(&[], OutOfOrder),
            wrong(&[], OutOfOrder),
            wrong(&[6.0], ClockStep),
            fine(&[7.0]),
        ],
    );
    check(
        "a clock set back by a minute",
        &series(&[0, 60, 75, 15, 30, 45, 60, 75, 90]),
        &[
            fine(&[0.0]),
            wrong(&[1.0], Gap),
            fine(&[2.0]),
            wrong(&[], OutOfOrder),
            wrong(&[], OutOfOrder),
            wrong(&[5.0], ClockStep),
            fine(&[6.0]),
            fine(&[7.0]),
            fine(&[8.0]),
        ],
    );
    check(
        "a clock set back by less than an interval",
        &series(&[0, 15, 14, 29, 44]),
        &[fine(&[0.0]), fine(&[1.0]), wrong(&[], OutOfOrder), fine(&[3.0]), fine(&[4.0])],
    );
    check(
        "a source that speaks every other day",
        &series(&[0, 2 * DAY_S, 4 * DAY_S, 6 * DAY_S, 8 * DAY_S]),
        &[
            fine(&[0.0]),
            wrong(&[], ClockStep),
            wrong(&[2.0], Gap),
            wrong(&[3.0], Gap),
            wrong(&[4.0], Gap),
        ],
    );
}

#[test]
fn a_time_that_cannot_be_is_left_out_from_any_source() {
    let mut pipeline = Pipeline::new(settings(), State::default());
    // One that drives another is remembered for as long as its effects may take.
    let edge = Edge {
        parent: "queue".to_owned(),
        child: "other".to_owned(),
        delay_max: None,
        relation: Relation::Learned,
    };
    pipeline.settings.graph = Declared::new([edge]).expect("no cycle");
    let near = [-62_167_219_201, 253_402_300_800].map(|it| Time::from_timestamp(it, 0).unwrap());
    for at in near.into_iter().chain([Time::MIN_UTC, Time::MAX_UTC]) {
        let reading = Reading { values: Values::from([("queue", 1.0)]), ..Reading::default() };
        let outcome = Outcome::Sampled(Box::new(reading));
        let step = pipeline.step(&Observation { at, source: "source".to_owned(), outcome });
        let kinds: Vec<_> = step.irregularities.iter().map(|one| one.kind).collect();
        assert_eq!((kinds, step.values.is_empty()), (vec![ClockStep], true), "{at}");
    }
    for given in series(&[0, 15]) {
        assert_eq!(observe(&mut pipeline, &given).irregularities, [], "{given:?}");
    }
}

#[test]
fn values_that_cannot_be_are_missing_and_never_zero() {
    let infinity = f64::INFINITY;
    let gauge = |values: &[f64]| -> Vec<Given> {
        let rows = values.iter().zip(0..);
        rows.map(|(value, place)| row(15 * place, &[("temperature", *value)])).collect()
    };
    check(
        "no numbers",
        &gauge(&[20.0, f64::NAN, infinity, -infinity, 21.0]),
        &[
            fine(&[20.0]),
            wrong(&[], NotFinite),
            wrong(&[], NotFinite),
            wrong(&[], NotFinite),
            fine(&[21.0]),
        ],
    );
    check(
        "beyond the valid range, and at its ends",
        &gauge(&[-40.0, -40.1, 125.0, 125.1, 85.0]),
        &[
            fine(&[-40.0]),
            wrong(&[], OutOfRange),
            fine(&[125.0]),
            wrong(&[], OutOfRange),
            fine(&[85.0]),
        ],
    );
    let counters = |rows: &[[f64; 2]]| -> Vec<Given> {
        let rows = rows.iter().zip(0..);
        rows.map(|([requests, errors], place)| {
            row(15 * place, &[("errors_total", *errors), ("requests_total", *requests)])
        })
        .collect()
    };
    // Recorded is the count as it is; the interval of a reset has no rate.
    let resets = counters(&[
        [1_000.0, 10.0],
        [1_150.0, 25.0],
        [150.0, 40.0],
        [300.0, 0.0],
        [450.0, 15.0],
        [900_000.0, 30.0],
        [900_150.0, 45.0],
    ]);
    let pipeline = check(
        "counters that are reset one at a time, one to above zero, and a rate beyond its range",
        &resets,
        &[
            fine(&[10.0, 1_000.0]),
            fine(&[25.0, 1_150.0]),
            wrong(&[40.0, 150.0], CounterReset),
            wrong(&[0.0, 300.0], CounterReset),
            fine(&[15.0, 450.0]),
            wrong(&[30.0, 900_000.0], OutOfRange),
            fine(&[45.0, 900_150.0]),
        ],
    );
    for status in pipeline.signals() {
        let expected = if status.signal == "errors_total" { 1.0 } else { 10.0 };
        assert_eq!(status.value, Some(expected), "{}", status.signal);
        let missing = if status.signal == "errors_total" { 2 } else { 3 };
        assert_eq!(status.samples, 7 - missing, "{}: rates that are known", status.signal);
    }
}

/// Rows of a source whose gauges move with every row.
pub(super) fn lively(rows: i64) -> Vec<Given> {
    let value = |place: i64, step: i64| 100.0 + (place * step % 17) as f64;
    let rows = (0..rows).map(|place| {
        row(
            15 * place,
            &[
                ("busy", value(place, 3)),
                ("jobs_total", 10.0 * place as f64),
                ("online", value(place, 5)),
                ("queue", value(place, 7)),
            ],
        )
    });
    rows.collect()
}

/// The kinds of what was wrong with the repeats of a row that follow `rows`.
fn repeated(rows: &[Given], behind_s: Option<f64>, repeats: i64) -> Vec<Vec<IrregularityKind>> {
    let mut pipeline = Pipeline::new(settings(), State::default());
    for given in rows {
        assert_eq!(observe(&mut pipeline, given).irregularities, []);
    }
    let last = rows.last().unwrap();
    let again = (1..=repeats).map(|place| {
        let second = last.second + 15 * place;
        let step = observe(&mut pipeline, &Given { second, behind_s, ..last.clone() });
        let kinds: Vec<_> = step.irregularities.iter().map(|one| one.kind).collect();
        assert_eq!(step.values.is_empty(), kinds.contains(&Stale), "stale is missing");
        kinds
    });
    again.collect()
}

#[test]
fn a_row_that_repeats_is_stale_when_its_source_says_so_or_never_did_it_before() {
    let stale = |from: usize| -> Vec<Vec<IrregularityKind>> {
        (0..6).map(|place| if place < from { vec![] } else { vec![Stale] }).collect()
    };
    assert_eq!(repeated(&lively(3), Some(60.0), 6), stale(0), "the replica says so");
    assert_eq!(repeated(&lively(3), Some(14.0), 6), stale(6), "within its interval");
    assert_eq!(repeated(&lively(3), None, 6), stale(6), "too little history");
    assert_eq!(repeated(&lively(500), None, 6), stale(2), "never before in 500 rows");
    let quiet = |rows: i64, silent: &dyn Fn(&(&str, f64)) -> bool| -> Vec<Given> {
        let mut rows = lively(rows);
        for given in &mut rows {
            given.values.retain(|value| !silent(value));
        }
        rows
    };
    let few = quiet(500, &|(name, _)| *name == "queue");
    assert_eq!(repeated(&few, None, 6), stale(6), "two gauges may well stand still");
    let mut idle = lively(500);
    idle.push(row(
        15 * 500,
        &[("busy", 0.0), ("jobs_total", 5e3), ("online", 9.0), ("queue", 0.0)],
    ));
    assert_eq!(repeated(&idle, None, 6), stale(6), "a service that does nothing repeats it");
    let still: Vec<Given> =
        (0..500).map(|place| Given { second: 15 * place, ..lively(1)[0].clone() }).collect();
    assert_eq!(repeated(&still, None, 6), stale(6), "what always stands still");
}

#[test]
fn a_fleet_that_repeats_is_stale_whatever_the_primary_counts_meanwhile() {
    let mut story = Story::new(400, 200);
    let sample = |story: &mut Story, written: f64, behind_s| {
        let values = Values::from([("device_rows_written_total", written)]);
        let reading = Reading { values, behind_s, ..story.reading() };
        let step = story.observe(Outcome::Sampled(Box::new(reading)));
        (step.irregularities.iter().map(|one| one.kind).collect::<Vec<_>>(), step)
    };
    for place in 0..5 {
        assert_eq!(sample(&mut story, 10.0 * f64::from(place), Some(2.0)).0, []);
    }
    for place in 5..12 {
        assert_eq!(sample(&mut story, 10.0 * f64::from(place), Some(60.0)).0, [Stale]);
    }
    // It catches up with everything at once, and that is no older than it can be.
    story.unpin(1..=400);
    let (kinds, step) = sample(&mut story, 4_000.0, Some(20.0));
    assert_eq!(kinds, []);
    let record = only(&step).current();
    assert_eq!((record.cause, record.onset), (Cause::MassUnpin, at(12)));
    assert!(record.summary.contains("between 22:01:00 and 22:03:00 UTC"), "{}", record.summary);
}

#[test]
fn a_replica_that_stands_still_is_blindness_that_wakes_nobody() {
    let mut pipeline = Pipeline::new(settings(), State::default());
    let rows = lively(20);
    for given in &rows {
        observe(&mut pipeline, given);
    }
    let last = rows.last().unwrap();
    let mut told = Vec::new();
    for place in 1..=80 {
        let second = last.second + 15 * place;
        let behind_s = Some(15.0 * place as f64 + 20.0);
        let step = observe(&mut pipeline, &Given { second, behind_s, ..last.clone() });
        told.extend(step.incidents.iter().map(|one| (place, one.current().clone())));
    }
    let [(place, record)] = told.as_slice() else { panic!("{told:#?}") };
    assert_eq!(
        (*place, record.cause, record.severity),
        (20, Cause::SamplingLost, Severity::Warning)
    );
    assert!(record.summary.contains("the replica is 320 s behind"), "{}", record.summary);
    let second = last.second + 15 * 81;
    let step = observe(&mut pipeline, &row(second, &[("busy", 1.0), ("queue", 2.0)]));
    assert!(only(&step).resolved_at.is_some());
}

#[test]
fn what_was_learned_outlives_a_small_step_of_the_clock_and_waits_for_its_time() {
    let learned = |back_s: i64| {
        let mut pipeline = Pipeline::new(settings(), State::default());
        let rows = lively(600);
        for given in &rows {
            observe(&mut pipeline, given);
        }
        let end = rows.last().unwrap().second;
        for place in 1..=4 {
            let second = end - back_s + 15 * place;
            observe(&mut pipeline, &Given { second, ..lively(4)[place as usize - 1].clone() });
        }
        let status = pipeline.signals().into_iter().find(|one| one.signal == "queue").unwrap();
        (status.samples, status.cold.unwrap_or_default())
    };
    let (samples, cold) = learned(120);
    assert_eq!(samples, 600);
    assert!(cold.starts_with("waits until 2019-09-24 00:29:45 UTC"), "{cold}");
    let (samples, _) = learned(3_600);
    assert_eq!(samples, 2, "begun anew with the third older row");
}

#[test]
fn every_kind_has_a_name_of_its_own() {
    let labels: std::collections::BTreeSet<_> =
        IrregularityKind::ALL.iter().map(|kind| kind.label()).collect();
    assert_eq!(labels.len(), IrregularityKind::ALL.len());
}
