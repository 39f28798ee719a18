//! Jobs that come each night or each week: what is told of them until they are known, and of what
//! differs from them afterwards.

use std::f64::consts::TAU;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    boundary::{Given, observe},
    *,
};

/// Seconds between two samples: long, so that weeks are played soon.
const INTERVAL_S: i64 = 60;
const DAY_S: i64 = 86_400;
/// Two at night, UTC: the stories' days begin at ten in the evening.
const NIGHT_S: i64 = 4 * 3_600;

/// False warnings so seldom that none comes into these stories.
fn seldom() -> Settings {
    Settings { interval_s: INTERVAL_S as f64, false_warnings_per_month: 0.2, ..settings() }
}

/// As often as by default: what comes each day is far beyond a smaller budget, and raises
/// thresholds.
fn often() -> Settings {
    Settings { interval_s: INTERVAL_S as f64, ..settings() }
}

/// A job: its first second, how long it takes, and how much it adds (in standard deviations).
type Job = (i64, i64, f64);

/// Signals with noise of 1 about 100, and what jobs add to the first one.
struct Nights {
    pipeline: Pipeline,
    random: ChaCha8Rng,
    second: i64,
    swing: f64,
    incidents: BTreeMap<u64, Incident>,
}

impl Nights {
    fn new(seed: u64) -> Nights {
        Nights {
            pipeline: Pipeline::new(seldom(), State::default()),
            random: ChaCha8Rng::seed_from_u64(seed),
            second: 0,
            swing: 0.0,
            incidents: BTreeMap::new(),
        }
    }

    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.random.random::<f64>()).sum::<f64>() - 6.0
    }

    /// A job about two at night, as it usually is: minutes early or late, a third shorter or
    /// longer, a tenth more or less.
    fn usual(&mut self, day: i64) -> Job {
        let late = (180.0 * self.normal()) as i64;
        let takes = (2_400.0 * (0.2 * self.normal()).exp()) as i64;
        (day * DAY_S + NIGHT_S + late, takes, 6.0 * (0.1 * self.normal()).exp())
    }

    /// Goes on until a second, with these jobs on the first signal and these on the second.
    fn until(&mut self, end: i64, jobs: &[Job], others: &[Job]) {
        while self.second < end {
            let added = |jobs: &[Job]| -> f64 {
                let now = |(from, takes, _): &&Job| (*from..*from + *takes).contains(&self.second);
                jobs.iter().filter(now).map(|(_, _, size)| size).sum()
            };
            let day = self.swing * (TAU * self.second as f64 / DAY_S as f64).sin();
            let (first, second) = (100.0 + day + added(jobs), 100.0 + day + added(others));
            let values = vec![("jobs", first + self.normal()), ("others", second + self.normal())];
            let given = Given { second: self.second, values, behind_s: None };
            for incident in observe(&mut self.pipeline, &given).incidents {
                self.incidents.insert(incident.id.parse().unwrap(), incident);
            }
            self.second += INTERVAL_S;
        }
    }

    /// Plays nights with the usual job on those days for which `comes` says so.
    fn nights(&mut self, days: std::ops::Range<i64>, comes: impl Fn(i64) -> bool) {
        for day in days {
            let job = self.usual(day);
            let jobs = if comes(day) { vec![job] } else { Vec::new() };
            self.until((day + 1) * DAY_S, &jobs, &[]);
        }
    }

    /// Incidents of a signal that began on these days.
    fn of(&self, signal: &str, days: std::ops::Range<i64>) -> Vec<&Incident> {
        let from = |day: i64| at(0) + TimeDelta::days(day);
        let within = from(days.start)..from(days.end);
        let incidents = self.incidents.values();
        let own = incidents.filter(|one| one.first().title.starts_with(signal));
        own.filter(|one| within.contains(&one.first().detected_at)).collect()
    }

    fn warnings(&self, days: std::ops::Range<i64>) -> usize {
        self.of("jobs", days).iter().map(|one| one.notifications.len()).sum()
    }

    /// Through its stored form, as after a restart.
    fn restarted(&mut self) {
        let text = serde_json::to_string(self.pipeline.state()).unwrap();
        let restored = State::restore(STATE_VERSION, &text).unwrap();
        assert_eq!(restored.state, *self.pipeline.state());
        self.pipeline = Pipeline::new(seldom(), restored.state);
    }
}

/// A week of ordinary life, and a job in each of the nights that follow.
fn known(seed: u64, swing: f64) -> Nights {
    let mut nights = Nights::new(seed);
    nights.swing = swing;
    nights.nights(0..21, |day| day >= 7);
    nights
}

#[test]
fn a_nightly_job_is_told_until_it_is_known_and_then_recorded() {
    for (seed, swing) in [(1, 0.0), (2, 8.0), (3, 0.0)] {
        let nights = known(seed, swing);
        assert_eq!(nights.warnings(7..12), 5, "seed {seed}: a fault could come again so often");
        assert!(nights.warnings(12..21) <= 1, "seed {seed}: known, at the budget's rate");
        let recorded = nights.of("jobs rose", 12..21);
        assert!(recorded.len() >= 8, "{recorded:#?}");
        let quiet: Vec<_> = recorded.iter().filter(|one| one.notifications.is_empty()).collect();
        for incident in &quiet {
            assert_eq!(incident.current().severity, Severity::Info);
            assert!(!incident.is_open());
            let why = incident.familiar.as_ref().expect("it is familiar").to_string();
            assert!(why.starts_with("expected at this time: it came between 0"), "{why}");
            assert!(incident.timeline.iter().any(|line| line.text.contains(&why)));
        }
        assert!(quiet.len() >= 8);
    }
}

#[test]
fn a_night_without_its_job_is_silent_and_so_is_the_one_after() {
    let mut nights = known(4, 0.0);
    nights.nights(21..25, |day| day != 22);
    assert_eq!(nights.warnings(22..25), 0, "{:#?}", nights.of("jobs", 22..25));
}

#[test]
fn twice_the_job_another_hour_and_a_job_that_does_not_end_are_told() {
    let from = 21 * DAY_S;
    let odd: [(&str, Job); 3] = [
        ("twice", (from + NIGHT_S, 2_400, 15.0)),
        ("at another hour", (from + 11 * 3_600, 2_400, 6.0)),
        ("four hours", (from + NIGHT_S, 4 * 3_600, 6.0)),
    ];
    for (what, job) in odd {
        let mut nights = known(5, 0.0);
        assert_eq!(nights.warnings(14..21), 0);
        nights.until(from + DAY_S, &[job], &[]);
        let told = nights.of("jobs rose", 21..22);
        let notified = told.iter().map(|one| one.notifications.len()).sum::<usize>();
        assert_eq!(notified, 1, "{what}: {told:#?}");
    }
}

#[test]
fn a_known_job_hides_no_other_signal_that_moves_meanwhile() {
    let mut nights = known(6, 0.0);
    let from = 21 * DAY_S + NIGHT_S;
    nights.until(22 * DAY_S, &[(from, 2_400, 6.0)], &[(from + 600, 7_200, 9.0)]);
    let told: Vec<_> =
        nights.incidents.values().flat_map(|one| &one.notifications).rev().take(1).collect();
    assert!(told[0].title.starts_with("others rose"), "{told:?}");
    let day = nights.of("jobs", 21..22);
    assert_eq!(day.len(), 1, "one incident: {day:#?}");
    assert_eq!(day[0].notifications.len(), 1);
    assert!(day[0].timeline.iter().any(|line| line.text.contains("no part of what is known")));
}

#[test]
fn a_weekly_job_is_known_after_as_many_weeks() {
    let mut nights = Nights::new(7);
    nights.nights(0..56, |day| day % 7 == 3);
    assert_eq!(nights.of("jobs rose", 0..56).len(), 8);
    assert_eq!(nights.warnings(0..35), 5);
    assert_eq!(nights.warnings(35..56), 0);
    let last = nights.of("jobs rose", 49..56)[0].familiar.as_ref().unwrap().to_string();
    assert!(last.contains("in 7 of the last 7 weeks"), "{last}");
}

#[test]
fn changes_that_come_by_chance_are_told_every_time() {
    let mut nights = Nights::new(8);
    nights.pipeline = Pipeline::new(often(), State::default());
    let mut told = 0;
    for day in 2..40 {
        let from = day * DAY_S + nights.random.random_range(0..80_000);
        let job = (from, 2_400, 6.0);
        nights.until((day + 1) * DAY_S, &[job], &[]);
        told += usize::from(nights.warnings(day..day + 1) > 0);
    }
    assert!(told >= 36, "{told} of 38");
}

#[test]
fn what_is_known_survives_a_restart_and_an_operator_can_make_it_forgotten() {
    let (mut straight, mut restarted) = (known(9, 0.0), known(9, 0.0));
    restarted.restarted();
    let job = (21 * DAY_S + NIGHT_S, 2_400, 6.0);
    straight.until(21 * DAY_S + NIGHT_S + 1_800, &[job], &[]);
    restarted.until(21 * DAY_S + NIGHT_S + 1_800, &[job], &[]);
    restarted.restarted();
    straight.until(22 * DAY_S, &[job], &[]);
    restarted.until(22 * DAY_S, &[job], &[]);
    assert_eq!(straight.incidents, restarted.incidents);
    assert_eq!(straight.warnings(21..22), 0);

    let job = (22 * DAY_S + NIGHT_S, 2_400, 6.0);
    straight.until(22 * DAY_S + NIGHT_S + 1_200, &[job], &[]);
    let open = straight.pipeline.incidents();
    let [open] = open.as_slice() else { panic!("{open:#?}") };
    assert!(open.familiar.is_some());
    let (id, now) = (open.id.clone(), open.first().detected_at);
    let rejected = straight.pipeline.reject(&id, now).unwrap();
    assert!(rejected.timeline.iter().any(|line| line.text.contains("the next one is told")));
    straight.until(23 * DAY_S, &[job], &[]);
    straight.nights(23..24, |_| true);
    assert_eq!(straight.warnings(23..24), 1, "forgotten");
}
