//! A change that goes on while it is open.

use super::*;

/// A detector whose signal has shifted by 2 σ and stayed for so long.
fn shifted(seed: u64, noise_after: f64) -> (Bench, Box<dyn FnMut() -> f64>) {
    let mut next = noise("normal", seed);
    let mut bench = Bench::new(settings(1e5));
    bench.quiet(2_000, &mut next);
    let (_, change) = bench.until_alarm(200, || 2.0 + next());
    assert_eq!(change.map(|change| change.direction), Some(Direction::Up), "seed {seed}");
    for _ in 0..500 {
        bench.step(2.0 + noise_after * next());
    }
    (bench, next)
}

/// Changes of the next samples.
fn raised(bench: &mut Bench, samples: u64, mut next: impl FnMut(u64) -> f64) -> Vec<Change> {
    let found = (0..samples).filter_map(|sample| bench.step(next(sample)).change);
    found.map(|change| *change).collect()
}

#[test]
fn a_leap_is_not_hidden_by_a_small_change_that_is_open() {
    for (seed, to) in [(1, 6.0), (2, 10.0), (3, 50.0), (4, 1e6)] {
        let (mut bench, mut next) = shifted(seed, 1.0);
        let leapt_at = time(bench.samples);
        let changes = raised(&mut bench, 30, |_| to + next());
        let [change] = changes.as_slice() else { panic!("to {to}: {changes:#?}") };
        assert_eq!((change.direction, change.kind), (Direction::Up, ChangeKind::Shift));
        assert!(change.before.abs() < 0.3, "from where it ordinarily is: {change:?}");
        assert!((change.after - to).abs() < 0.25 * to, "{change:?}");
        assert!(change.onset_low <= leapt_at && leapt_at <= change.onset_high, "{change:?}");
        let delay = (change.detected_at - leapt_at).num_seconds() / INTERVAL_S;
        assert!((2..12).contains(&delay), "to {to}: {delay} samples");
        // Back at the first level it has returned for good.
        let back = (0..60).filter(|_| bench.step(next()).returned.is_some()).count();
        assert!(back == 1 && bench.detector.in_change().is_none());
    }
}

#[test]
fn a_level_that_stays_is_told_once_however_it_scatters() {
    for (seed, noise_after) in [(11, 1.0), (12, 2.0)] {
        let (mut bench, mut next) = shifted(seed, noise_after);
        let up = raised(&mut bench, 20_000, |_| 20.0 + noise_after * next());
        // The leap to it, and not its scatter.
        assert!(up.len() <= 1, "{noise_after}: {up:#?}");
        let stays = raised(&mut bench, 20_000, |_| 20.0 + noise_after * next());
        assert_eq!(stays, [], "{noise_after}");
    }
}

#[test]
fn what_leaps_further_for_two_samples_is_a_point() {
    let (mut bench, mut next) = shifted(21, 1.0);
    let changes = raised(&mut bench, 300, |sample| {
        let leaps = (100..102).contains(&sample);
        next() + if leaps { 100.0 } else { 2.0 }
    });
    assert_eq!(changes, []);
}

#[test]
fn growth_is_told_each_time_that_it_has_doubled() {
    let (mut bench, mut next) = shifted(31, 1.0);
    let changes = raised(&mut bench, 20_000, |sample| 2.0 + sample as f64 / 100.0 + next());
    // From 2 or 3 to 200: six doublings.
    assert!((3..=7).contains(&changes.len()), "{changes:#?}");
    for pair in changes.windows(2) {
        assert!(pair[1].after >= 1.9 * pair[0].after, "{pair:#?}");
    }
}
