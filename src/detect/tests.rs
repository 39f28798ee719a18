//! The detector as a whole: what it promises on noise, how soon it sees, how alarms begin and end,
//! and that its state is a value. Seeds are fixed and printed.

use chrono::{DateTime, TimeDelta};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    noise::{normal, poisson, student},
    *,
};

mod counts;
mod dating;
mod further;
mod rebase;
mod state;
mod stillness;
mod weeks;

const INTERVAL_S: i64 = 15;

fn settings(arl: f64) -> Settings {
    Settings::of_measured(1.0 / arl, INTERVAL_S as f64)
}

fn time(sample: u64) -> Time {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(INTERVAL_S * sample as i64)
}

/// A detector with its clock and its settings.
struct Bench {
    detector: Detector,
    settings: Settings,
    samples: u64,
}

impl Bench {
    fn new(settings: Settings) -> Bench {
        Bench { detector: Detector::new(), settings, samples: 0 }
    }

    fn step(&mut self, value: f64) -> Verdict {
        let verdict = self.detector.step(&self.settings, "signal", time(self.samples), value);
        self.samples += 1;
        verdict
    }

    /// Feeds quiet history; false alarms in it are accepted as normal.
    fn quiet(&mut self, count: u64, mut next: impl FnMut() -> f64) {
        for _ in 0..count {
            if self.step(next()).change.is_some() {
                self.detector.rebase();
            }
        }
        if self.detector.in_change().is_some() {
            self.detector.rebase();
        }
    }

    /// Samples until an alarm, which is given back, too.
    fn until_alarm(&mut self, most: u64, mut next: impl FnMut() -> f64) -> (u64, Option<Change>) {
        for sample in 1..=most {
            if let Some(change) = self.step(next()).change {
                return (sample, Some(*change));
            }
        }
        (most, None)
    }
}

/// Sources of noise by name; the closure keeps the state of autoregressions.
fn noise(kind: &str, seed: u64) -> Box<dyn FnMut() -> f64> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut last = 0.0;
    match kind {
        "normal" => Box::new(move || normal(&mut random)),
        "t(3)" => Box::new(move || student(&mut random, 3)),
        "Poisson(1)" => Box::new(move || poisson(&mut random, 1.0)),
        "Poisson(0.3)" => Box::new(move || poisson(&mut random, 0.3)),
        "bursts" => Box::new(move || {
            // One in ten samples, of any size.
            let size = (1.0 - random.random::<f64>()).powf(-1.0 / 1.5);
            if random.random::<f64>() < 0.1 { (10.0 * size).floor() } else { 0.0 }
        }),
        "Poisson(20)" => Box::new(move || poisson(&mut random, 20.0)),
        "AR(0.7)" => Box::new(move || {
            last = 0.7 * last + normal(&mut random);
            last
        }),
        _ => unreachable!("no such noise: {kind}"),
    }
}

fn achieved_arl(kind: &str, arl: f64, history: u64, runs: u64) -> f64 {
    let (mut samples, mut alarms) = (0u64, 0u64);
    for run in 0..runs {
        let mut next = noise(kind, 1_000 + run);
        let mut bench = Bench::new(settings(arl));
        bench.quiet(history, &mut next);
        let (delay, change) = bench.until_alarm(20 * arl as u64, &mut next);
        samples += delay;
        alarms += u64::from(change.is_some());
    }
    let achieved = samples as f64 / alarms as f64;
    println!("{kind}: ARL {achieved:.0} of {arl}, history {history}, {runs} seeds from 1000");
    achieved
}

#[test]
fn false_alarm_budget_holds_on_noise_as_it_is() {
    for kind in ["normal", "AR(0.7)", "t(3)", "Poisson(20)", "Poisson(1)"] {
        let ratio = achieved_arl(kind, 1_000.0, 6_000, 60) / 1_000.0;
        // The issue's own tolerance is 0.5 to 4; the standard error of a ratio is 13 %.
        assert!((0.5..4.0).contains(&ratio), "{kind}: {ratio}");
    }
}

#[test]
fn short_history_is_hardly_louder() {
    for kind in ["normal", "AR(0.7)", "t(3)"] {
        let ratio = achieved_arl(kind, 500.0, 40, 150) / 500.0;
        assert!((0.5..20.0).contains(&ratio), "{kind}: {ratio}");
    }
}

#[test]
fn shifts_are_seen_within_the_measured_delays_and_dated() {
    // Shift in σ, and the mean delay it may take at ARL 5,000 after 500 samples.
    for (shift, delay_max) in [(0.5, 90.0), (1.0, 22.0), (2.0, 6.5), (5.0, 1.7)] {
        let (runs, mut delays, mut covered) = (150, 0, 0);
        for run in 0..runs {
            let mut next = noise("normal", 5_000 + run);
            // A false alarm just before the shift would measure how fast a new normal is learned.
            let mut bench = Bench::new(settings(1e9));
            bench.quiet(500, &mut next);
            bench.settings = settings(5_000.0);
            let onset = time(bench.samples);
            let (delay, change) = bench.until_alarm(1_000, || next() + shift);
            let change = change.expect("a lasting shift is found");
            assert!(change.onset_low <= change.onset && change.onset <= change.onset_high);
            assert!(change.onset_high <= change.detected_at);
            delays += delay;
            covered += u64::from(change.onset_low <= onset && onset <= change.onset_high);
        }
        let delay = delays as f64 / runs as f64;
        let coverage = covered as f64 / runs as f64;
        println!("{shift}σ: delay {delay:.2}, coverage {coverage:.2}, {runs} seeds from 5000");
        assert!(delay < delay_max, "{shift}σ after {delay}");
        assert!(coverage > 0.9, "{shift}σ: {coverage}");
    }
}

#[test]
fn leap_to_the_short_side_of_a_skewed_signal_is_seen_at_once() {
    for side in [1.0, -1.0] {
        let mut random = ChaCha8Rng::seed_from_u64(7);
        // An exponential distribution: nothing ordinary is on one side of its end.
        let mut next = || side * (1.0 - random.random::<f64>()).ln();
        let mut bench = Bench::new(settings(1e5));
        bench.quiet(3_000, &mut next);
        let change = bench.step(side * 40.0).change.expect("a leap of forty scales");
        assert_eq!(change.onset, change.detected_at);
    }
}

#[test]
fn points_that_recur_become_ordinary_and_a_lasting_shift_of_their_size_does_not() {
    let (mut points, mut alarms, mut delays, runs) = (0, 0, 0, 20);
    for run in 0..runs {
        let mut random = ChaCha8Rng::seed_from_u64(9_000 + run);
        let mut bench = Bench::new(settings(5_000.0));
        for sample in 0..12_000 {
            let is_point = random.random::<f64>() < 0.01;
            let change = bench.step(normal(&mut random) + if is_point { 12.0 } else { 0.0 }).change;
            if sample > 6_000 {
                points += u32::from(is_point);
                alarms += u32::from(change.is_some());
            }
        }
        if bench.detector.in_change().is_some() {
            bench.detector.rebase();
        }
        delays += bench.until_alarm(100, || 12.0 + normal(&mut random)).0;
    }
    let delay = delays as f64 / runs as f64;
    println!("{alarms} alarms at {points} points, a shift after {delay:.2}, seeds from 9000");
    assert!(points > 1_000 && alarms * 20 < points, "{alarms} of {points}");
    assert!(delay < 4.0, "{delay}");
}

#[test]
fn season_that_alarms_each_day_is_learned_though_nobody_accepts_it() {
    let (mut away, runs) = ([0; 8], 10);
    for run in 0..runs {
        let mut random = ChaCha8Rng::seed_from_u64(12_000 + run);
        let mut bench = Bench::new(settings(1e5));
        for sample in 0..46_080 {
            // A business day, ten standard deviations high.
            let is_open = (1_920..4_200).contains(&(sample % 5_760));
            bench.step(normal(&mut random) + if is_open { 10.0 } else { 0.0 });
            away[sample / 5_760] += u32::from(bench.detector.in_change().is_some());
        }
    }
    println!("samples in a change, by day {away:?}, {runs} seeds from 12000");
    let late = f64::from(away[4..].iter().sum::<u32>()) / (4.0 * 5_760.0 * runs as f64);
    assert!(away[0] > 0 && late < 0.05, "{late} of the time from the fifth day on");
}

#[test]
fn lasting_change_stays_open_while_a_season_is_learned() {
    let mut random = ChaCha8Rng::seed_from_u64(13);
    let mut bench = Bench::new(settings(1e5));
    let mut value = |sample: u64| {
        let day = std::f64::consts::TAU * sample as f64 / 5_760.0;
        normal(&mut random) + 2.0 * day.sin()
    };
    let mut sample = 0;
    bench.quiet(2_000, || {
        sample += 1;
        value(sample)
    });
    bench.step(value(2_001) + 60.0).change.expect("a leap alarms at once");
    for sample in 2_002..28_800 {
        let verdict = bench.step(value(sample) + 60.0);
        assert!(verdict.returned.is_none() && bench.detector.in_change().is_some(), "{sample}");
    }
}

#[test]
fn leaps_one_way_and_slides_the_other_are_no_change() {
    let (mut samples, mut alarms) = (0, 0);
    for run in 0..20 {
        let mut random = ChaCha8Rng::seed_from_u64(8_000 + run);
        let mut value = 0.0;
        let mut next = || {
            let leap = if random.random::<f64>() < 0.05 { 8.0 } else { 0.0 };
            value = 0.9 * value + leap + 0.3 * normal(&mut random);
            value
        };
        let mut bench = Bench::new(settings(1_000.0));
        bench.quiet(6_000, &mut next);
        let (delay, change) = bench.until_alarm(20_000, &mut next);
        samples += delay;
        alarms += u64::from(change.is_some());
    }
    let achieved = samples as f64 / alarms as f64;
    println!("ARL {achieved:.0} of 1000, 20 seeds from 8000");
    // The issue's own tolerance; the standard error is a fifth.
    assert!((500.0..4_000.0).contains(&achieved), "{achieved}");
}

#[test]
fn a_changes_levels_say_which_way_it_went() {
    let mut changes = 0;
    for seed in 0..20 {
        let mut next = noise("normal", 400 + seed);
        let mut bench = Bench::new(settings(200.0));
        let mut carried = 0.0;
        for sample in 0..6_000 {
            // Far from its level for long, on a day that swings.
            carried = 0.98 * carried + next();
            let day = std::f64::consts::TAU * f64::from(sample) / 5_760.0;
            let Some(change) = bench.step(carried + 20.0 * day.sin()).change else { continue };
            let rose = change.direction == Direction::Up;
            assert_eq!(change.after > change.before, rose, "{change:?}, seed {seed}");
            changes += 1;
            bench.detector.rebase();
        }
    }
    println!("{changes} changes, 20 seeds from 400");
    assert!(changes > 100);
}

#[test]
fn slow_ramp_is_seen() {
    let mut next = noise("normal", 5);
    let mut bench = Bench::new(settings(5_000.0));
    bench.quiet(500, &mut next);
    let mut level = 0.0;
    let (delay, change) = bench.until_alarm(1_000, || {
        level += 0.01;
        next() + level
    });
    assert!(delay < 120, "{delay}");
    let raised = change.expect("found");
    assert_eq!((raised.direction, raised.kind), (Direction::Up, ChangeKind::Shift));
    let mut told = None;
    for _ in 0..5 * delay {
        level += 0.01;
        told = bench.step(next() + level).ramp;
        if told.is_some() {
            // When it has doubled it is told as another change.
            break;
        }
    }
    // The same change, told once, and perhaps begun as early as it did.
    let ramp = *told.expect("what follows tells a ramp");
    assert_eq!(ramp.kind, ChangeKind::Ramp);
    assert_eq!((ramp.onset, ramp.detected_at), (raised.onset, raised.detected_at));
    assert!(ramp.onset_low <= raised.onset_low);
    assert_eq!(bench.detector.in_change(), Some(&ramp));
}

#[test]
fn a_migration_in_batches_is_a_ramp_of_what_stood_still_and_one_leap_is_none() {
    for (batches, kind) in [(1, ChangeKind::Shift), (8, ChangeKind::Ramp)] {
        let mut bench = Bench::new(Settings { exact: true, ..settings(1e6) });
        bench.quiet(3_000, || 21_000.0);
        assert!(bench.step(22_000.0).change.is_some());
        for batch in 1..batches {
            bench.step(22_000.0 + 1_000.0 * f64::from(batch));
            // A pause.
            bench.step(22_000.0 + 1_000.0 * f64::from(batch));
        }
        (0..50).for_each(|_| {
            bench.step(21_000.0 + 1_000.0 * f64::from(batches));
        });
        let open = bench.detector.in_change().map(|change| change.kind);
        assert_eq!(open, Some(kind), "{batches} batches");
    }
}

#[test]
fn a_small_shift_seems_to_return_about_as_seldom_as_promised() {
    // One in 22,000 samples, once its size is known; at first it is overstated by the noise that
    // raised the alarm.
    let mut returned = 0;
    for seed in 0..60 {
        let mut next = noise("normal", 300 + seed);
        let mut bench = Bench::new(settings(5_000.0));
        bench.quiet(2_000, &mut next);
        bench.until_alarm(2_000, || next() + 1.0).1.expect("found");
        let samples = 500;
        let seen = (0..samples).any(|_| bench.step(next() + 1.0).returned.is_some());
        returned += u32::from(seen);
    }
    assert!(returned <= 10, "{returned} of 60");
}

#[test]
fn constant_for_weeks_then_one_percent_less_is_seen_at_once() {
    // One page a month over some forty signals at 15 s.
    let fleet = settings(7e6);
    for after in [20_790.0, 0.0] {
        let mut bench = Bench::new(fleet.clone());
        bench.quiet(120_960, || 21_000.0);
        let change = bench.step(after).change.expect("the first sample shows it");
        assert_eq!((change.before, change.after), (21_000.0, after));
        assert_eq!(change.onset, change.detected_at);
        assert_eq!(change.direction, Direction::Down);
        assert!(bench.step(after).returned.is_none(), "it stays away");
    }
}

#[test]
fn one_count_more_is_no_alarm_until_history_can_promise_it() {
    let mut bench = Bench::new(settings(1e5));
    bench.quiet(45, || 400.0);
    assert!(bench.until_alarm(200, || 401.0).1.is_none(), "45 samples cannot tell");
    // The same move after more samples than two orders above the budget is one.
    let mut bench = Bench::new(settings(1e3));
    bench.quiet(100_000, || 400.0);
    assert!(bench.step(401.0).change.is_some());
}

#[test]
fn cold_start_says_so_and_sees_a_huge_leap() {
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let mut bench = Bench::new(settings(7e6));
    let first = bench.step(2.0);
    assert_eq!(first.threshold, None);
    assert!(first.cold.is_some_and(|text| text.contains("23 of 24 first samples to go")));
    for _ in 1..40 {
        let verdict = bench.step(f64::from(random.random_range(0..6u8)));
        assert!(verdict.change.is_none());
        assert!(verdict.cold.is_some());
    }
    let (delay, change) = bench.until_alarm(5, || 300.0);
    assert!(delay <= 2, "{delay}");
    assert_eq!(change.map(|change| change.after), Some(300.0));
}

#[test]
fn measured_point_returns_and_exact_leap_is_a_shift() {
    for (exact, away, kind) in [
        (false, 1, ChangeKind::Point),
        (false, 2, ChangeKind::Point),
        (false, 5, ChangeKind::Shift),
        (true, 1, ChangeKind::Shift),
    ] {
        let mut next = noise("normal", 11);
        let mut bench = Bench::new(Settings { exact, ..settings(1e5) });
        bench.quiet(2_000, &mut next);
        let raised = bench.step(40.0).change.expect("a leap alarms at once");
        assert_eq!(raised.kind, ChangeKind::Shift);
        for _ in 1..away {
            assert!(bench.step(40.0 + next()).returned.is_none());
        }
        assert_eq!(bench.detector.in_change(), Some(&*raised));
        let verdict = bench.step(0.3);
        let returned = verdict.returned.map(|returned| *returned);
        assert_eq!(returned, Some(Change { kind, ..*raised }), "{exact} {away}");
        assert_eq!(verdict.change, None);
        assert_eq!(bench.detector.in_change(), None);
    }
}

#[test]
fn lone_leap_of_a_flow_returns_at_the_next_sample() {
    let mut bench = Bench::new(Settings { exact: true, ..settings(1e6) });
    bench.quiet(3_000, || 0.0);
    assert!(bench.step(20_000.0).change.is_some());
    let verdict = bench.step(0.0);
    assert_eq!(verdict.returned.map(|change| change.kind), Some(ChangeKind::Shift));
    assert!(bench.step(0.0).change.is_none());
    // The leap was no ordinary sample: its like is seen again.
    assert!(bench.step(20_000.0).change.is_some());
}

#[test]
fn leap_past_the_old_level_to_the_other_side_is_a_second_change() {
    let mut bench = Bench::new(Settings { exact: true, ..settings(1e5) });
    bench.quiet(3_000, || 8_000.0);
    let first = bench.step(20_000.0).change.expect("up to everything");
    for _ in 0..8 {
        assert!(bench.step(20_000.0).change.is_none());
    }
    let second = bench.step(0.0).change.expect("down to nothing");
    assert_eq!((first.direction, second.direction), (Direction::Up, Direction::Down));
    assert_eq!((second.before, second.after), (8_000.0, 0.0));
}

#[test]
fn small_lasting_shift_stays_open_and_its_end_is_noticed() {
    let mut next = noise("normal", 21);
    let mut bench = Bench::new(settings(1e4));
    bench.quiet(3_000, &mut next);
    bench.until_alarm(200, || next() + 1.5).1.expect("found");
    let mut returned = 0;
    for _ in 0..100 {
        returned += u64::from(bench.step(next() + 1.5).returned.is_some());
    }
    assert_eq!(returned, 0, "it lasts");
    let back = (0..60).any(|_| bench.step(next()).returned.is_some());
    assert!(back, "it ends");
}

#[test]
fn unresolved_change_does_not_poison_the_baseline() {
    let mut next = noise("normal", 31);
    let mut bench = Bench::new(settings(1e5));
    bench.quiet(1_000, &mut next);
    let samples = bench.step(100.0).samples;
    for _ in 0..2_000 {
        let verdict = bench.step(100.0 + next());
        assert!(verdict.change.is_none());
        assert!(verdict.expected.is_some_and(|expected| expected.abs() < 0.3));
        assert_eq!(verdict.samples, samples);
    }
    assert!(bench.step(0.0).returned.is_some());
}

#[test]
fn rebase_accepts_the_new_level_at_once() {
    let mut next = noise("normal", 41);
    let mut bench = Bench::new(settings(1e5));
    bench.quiet(1_000, &mut next);
    for _ in 0..20 {
        bench.step(100.0 + next());
    }
    assert!(bench.detector.in_change().is_some());
    bench.detector.rebase();
    assert!(bench.detector.in_change().is_none());
    for _ in 0..200 {
        let verdict = bench.step(100.0 + next());
        assert!(verdict.change.is_none(), "{verdict:?}");
        assert!(verdict.expected.is_some_and(|expected| (expected - 100.0).abs() < 2.0));
    }
    assert!(bench.until_alarm(2, || 90.0).1.is_some(), "the new level is watched as well");
}

#[test]
fn direction_and_least_change_are_respected() {
    let mut next = noise("normal", 51);
    let only_up = Settings { direction: Some(Direction::Up), ..settings(1e4) };
    let mut bench = Bench::new(only_up);
    bench.quiet(1_000, &mut next);
    assert!(bench.until_alarm(20, || -10.0).1.is_none());

    let at_least = Settings { min_change: Some(5.0), ..settings(1e4) };
    let mut bench = Bench::new(at_least);
    bench.quiet(1_000, &mut next);
    let threshold = bench.step(next()).threshold;
    assert!(bench.until_alarm(50, || next() + 2.0).1.is_none());
    assert_eq!(
        bench.step(next() + 2.0).threshold,
        threshold,
        "what does not matter teaches nothing"
    );
    assert!(bench.until_alarm(5, || next() + 20.0).1.is_some());
}

#[test]
fn large_levels_lose_no_precision() {
    let mut next = noise("normal", 61);
    // Multiples of 2^-20: exact at either level.
    let mut next = || (next() * 1_048_576.0).round() / 1_048_576.0;
    let (mut low, mut high) = (Bench::new(settings(1e4)), Bench::new(settings(1e4)));
    for sample in 0..3_000 {
        let value = next() + if sample >= 2_500 { 0.8 } else { 0.0 };
        let (a, b) = (low.step(value), high.step(1e8 + value));
        assert!((a.score - b.score).abs() < 1e-4 * (1.0 + a.score), "{sample}: {a:?} {b:?}");
        assert_eq!(a.change.map(|change| change.onset), b.change.map(|change| change.onset));
    }
    assert!(low.detector.in_change().is_some());
}

#[test]
fn gap_forgets_the_last_deviation() {
    let mut next = noise("AR(0.7)", 71);
    let mut bench = Bench::new(settings(1e6));
    bench.quiet(3_000, &mut next);
    bench.step(3.0);
    let near = bench.detector.baseline.expect(time(bench.samples), INTERVAL_S as f64);
    let far = bench.detector.baseline.expect(time(bench.samples + 50), INTERVAL_S as f64);
    assert!((1.7..2.6).contains(&near.value), "{near:?}");
    assert!(far.value.abs() < 0.3, "{far:?}");
    assert!(far.band > 1.2 * near.band, "{near:?} {far:?}");
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn any_finite_value_is_survived_and_the_state_stays_storable(
        values in prop::collection::vec(
            prop_oneof![
                prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO,
                -10.0..10.0f64,
                Just(7.0),
                Just(f64::MAX),
                Just(f64::MIN),
            ],
            1..300,
        ),
        budget in prop_oneof![Just(f64::NAN), Just(0.0), Just(-1.0), Just(2.0), Just(1e-3)],
        interval_s in prop_oneof![Just(f64::NAN), Just(0.0), Just(15.0), Just(1e-300)],
        rebase_at in 0..300usize,
    ) {
        let settings = Settings { false_alarms_per_sample: budget, interval_s, ..settings(1.0) };
        let mut bench = Bench::new(settings);
        for (sample, value) in values.into_iter().enumerate() {
            let verdict = bench.step(value);
            prop_assert!(verdict.score.is_finite());
            let numbers = [verdict.expected, verdict.expected_low, verdict.expected_high];
            prop_assert!(numbers.into_iter().flatten().all(f64::is_finite), "{:?}", verdict);
            if sample == rebase_at {
                bench.detector.rebase();
            }
        }
        let stored = serde_json::to_string(&bench.detector).expect("serialises");
        prop_assert!(!stored.contains("NaN") && !stored.contains("inf"));
        let restored: Detector = serde_json::from_str(&stored).expect("restores");
        prop_assert_eq!(restored, bench.detector);
    }

    #[test]
    fn scale_does_not_matter(
        seed in 0..1_000u64,
        scale_exponent in -8..8i32,
    ) {
        // A power of two scales exactly; noise of full precision has no resolution to notice.
        let scale = f64::from(scale_exponent).exp2();
        let mut next = noise("normal", seed);
        let (mut plain, mut scaled) = (Bench::new(settings(1e3)), Bench::new(settings(1e3)));
        let mut alarms = 0;
        for sample in 0..400 {
            let value = next() + if sample >= 300 { 4.0 } else { 0.0 };
            let (a, b) = (plain.step(value), scaled.step(value * scale));
            let difference = (a.score - b.score).abs();
            prop_assert!(difference <= 0.15 * (1.0 + a.score), "{} {}", a.score, b.score);
            alarms += usize::from(a.change.is_some());
        }
        prop_assert!(alarms > 0);
    }
}
