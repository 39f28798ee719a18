//! Counts that fall: as soon as the test of their family, and no louder.

use super::*;

#[test]
fn falls_of_counts_are_seen_as_soon_as_by_the_test_of_their_family() {
    // What is left of the counts, the mean delay that exact Poisson-FOCuS has with known rate at an
    // average run length of 5,000, and by how much more this may take.
    for (kind, left, exact, slack) in [
        ("Poisson(1)", 0.5, 43.2, 1.25),
        ("Poisson(1)", 0.0, 8.4, 1.25),
        ("Poisson(0.3)", 0.5, 128.4, 1.3),
        ("Poisson(0.3)", 0.0, 25.1, 1.3),
    ] {
        let (runs, mut delays) = (60, 0);
        for run in 0..runs {
            let mut next = noise(kind, 7_000 + run);
            let mut bench = Bench::new(settings(1e9));
            bench.quiet(8_000, &mut next);
            bench.settings = settings(5_000.0);
            let mut thinned = ChaCha8Rng::seed_from_u64(run);
            let (delay, change) = bench.until_alarm(5_000, || {
                // Each count is kept with this chance: a Poisson of a smaller rate.
                (0..next() as u32).filter(|_| thinned.random::<f64>() < left).count() as f64
            });
            let change = change.expect("the fall is found");
            assert_eq!(change.direction, Direction::Down);
            assert!(change.after < change.before, "{change:?}");
            assert!(change.onset_low <= change.onset && change.onset <= change.onset_high);
            delays += delay;
        }
        let delay = delays as f64 / runs as f64;
        println!("{kind} to {left}: delay {delay:.1}, exact {exact}, {runs} seeds from 7000");
        assert!(delay < slack * exact, "{kind} to {left} after {delay}");
    }
}

#[test]
fn seldom_counts_that_cease_stay_away_until_they_come_again() {
    let mut next = noise("Poisson(0.3)", 13);
    let mut bench = Bench::new(settings(1e5));
    bench.quiet(8_000, &mut next);
    let change = bench.until_alarm(100, || 0.0).1.expect("found");
    assert!((0.2..0.4).contains(&change.before), "{change:?}");
    assert_eq!(change.direction, Direction::Down);
    assert!(change.after.abs() < 0.01, "{change:?}");
    for _ in 0..500 {
        assert!(bench.step(0.0).returned.is_none(), "it lasts");
    }
    assert!((0..150).any(|_| bench.step(next()).returned.is_some()), "it ends");
}

#[test]
fn bursts_are_no_louder_and_leaps_beyond_them_seen_at_once() {
    let (mut alarms, runs, samples) = (0, 10, 20_000);
    for run in 0..runs {
        let mut next = noise("bursts", 100 + run);
        let mut bench = Bench::new(settings(5_000.0));
        for _ in 0..samples {
            if bench.step(next()).change.is_some() {
                alarms += 1;
                bench.detector.rebase();
            }
        }
        assert!(bench.step(50_000.0).change.is_some(), "run {run}");
    }
    // Four a run is what was asked for.
    println!("{alarms} alarms in {runs} runs of {samples} samples, seeds from 100");
    assert!(alarms < 60, "{alarms}");
}

#[test]
fn a_state_from_before_falls_of_counts_loads_and_learns_them() {
    let mut next = noise("Poisson(1)", 17);
    let mut bench = Bench::new(settings(1e9));
    bench.quiet(3_000, &mut next);
    let mut stored = serde_json::to_value(&bench.detector).expect("serialises");
    let detector = stored.as_object_mut().expect("an object");
    assert!(detector.remove("falls_beside_moves").is_some());
    for (part, key) in [
        ("baseline", "narrow_excess"),
        ("baseline", "lean"),
        ("baseline", "unsigned"),
        ("limit", "theory"),
    ] {
        let part = detector[part].as_object_mut().expect("an object");
        assert!(part.remove(key).is_some(), "{key}");
    }
    bench.detector = serde_json::from_value(stored).expect("restores");
    let falls = |bench: &Bench| {
        let expected = bench.detector.baseline.expect(time(bench.samples), INTERVAL_S as f64);
        expected.fall_in(Direction::Down).is_some()
    };
    assert!(!falls(&bench), "whether it is ever negative is not known");
    bench.quiet(9_000, &mut next);
    assert!(falls(&bench));
}
