//! Weeks: weekends are learned though each of them opens a change, and lasting changes are not.

use std::f64::consts::TAU;

use super::*;

const DAY: u64 = 1_440;
const WEEK: u64 = 7 * DAY;

/// Ten warnings a month, of a sample a minute.
fn settings_of_minutes() -> Settings {
    Settings::of_measured(10.0 / (30.0 * DAY as f64), 60.0)
}

/// Unix time begins on a Thursday: the first sample is of the Monday after.
fn minute(sample: u64) -> Time {
    DateTime::UNIX_EPOCH + TimeDelta::minutes((4 * DAY + sample) as i64)
}

fn is_weekend(sample: u64) -> bool {
    sample % WEEK >= 5 * DAY
}

fn time_of_day(sample: u64) -> f64 {
    (TAU * sample as f64 / DAY as f64).sin()
}

/// Alarms at weekends and on Mondays, by week: `value` gives what is expected of a sample.
fn alarms_around_weekends(seed: u64, weeks: u64, value: impl Fn(u64) -> f64) -> Vec<u32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let (mut detector, settings) = (Detector::new(), settings_of_minutes());
    let mut alarms = vec![0; weeks as usize];
    for sample in 0..weeks * WEEK {
        let verdict =
            detector.step(&settings, "signal", minute(sample), value(sample) + normal(&mut random));
        let is_around = is_weekend(sample) || sample % WEEK < DAY;
        alarms[(sample / WEEK) as usize] += u32::from(is_around && verdict.change.is_some());
    }
    alarms
}

#[test]
fn weekends_are_quiet_from_the_third_on() {
    let quieter = |sample: u64| time_of_day(sample) * if is_weekend(sample) { 0.5 } else { 1.0 };
    let incident = |sample: u64| if sample / DAY == 3 { 40.0 } else { 0.0 };
    // The swing of a day in standard deviations, halved at weekends; and whether the first week has
    // an incident of a day, which costs another week.
    for (swing, has_incident) in [(3.0, false), (5.0, false), (3.0, true)] {
        let (runs, weeks, learning) = (4, 5, if has_incident { 3 } else { 2 });
        let value =
            |sample| swing * quieter(sample) + if has_incident { incident(sample) } else { 0.0 };
        let mut alarms = vec![0; weeks];
        for run in 0..runs {
            let seen = alarms_around_weekends(600 + run, weeks as u64, value);
            alarms.iter_mut().zip(seen).for_each(|(sum, seen)| *sum += seen);
        }
        println!("swing {swing}, {has_incident}: {alarms:?} alarms by week, {runs} seeds from 600");
        // Three of seven days, of the seven thirtieths of ten a month.
        let budget = (runs * (weeks as u64 - learning)) as f64;
        let late = alarms[learning as usize..].iter().sum::<u32>();
        assert!(f64::from(late) < 2.0 * budget, "{late}, a budget of {budget}");
    }
}

#[test]
fn change_that_lasts_for_weeks_is_no_weekend() {
    for seed in 0..3 {
        let mut random = ChaCha8Rng::seed_from_u64(700 + seed);
        let (mut detector, settings) = (Detector::new(), settings_of_minutes());
        let (onset, until) = (9 * DAY + 700, 37 * DAY);
        let (mut opened, mut returned) = (0, 0);
        for sample in 0..until {
            let lasting = if sample >= onset { 6.0 } else { 0.0 };
            let ordinary = 2.0 * time_of_day(sample);
            let value = ordinary + lasting + normal(&mut random);
            let verdict = detector.step(&settings, "signal", minute(sample), value);
            if sample < onset {
                if verdict.change.is_some() {
                    detector.rebase();
                }
                continue;
            }
            opened += u32::from(verdict.change.is_some());
            returned += u32::from(verdict.returned.is_some());
            if sample > onset + DAY {
                let expected = verdict.expected.expect("warm for long");
                assert!((expected - ordinary).abs() < 1.5, "{sample}: {expected}, {ordinary}");
            }
        }
        assert_eq!((opened, returned), (1, 0), "seed {seed}");
        assert!(detector.in_change().is_some());
    }
}
