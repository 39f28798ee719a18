//! Counts of things that come and go, read from rows, that repeat themselves most of the time.

use super::*;

fn exact(arl: f64) -> Settings {
    Settings { exact: true, ..settings(arl) }
}

/// A count around 800 of which some come and some go, in a third of the samples.
fn comings_and_goings(seed: u64) -> impl FnMut() -> f64 {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut count = 800.0;
    move || {
        count += poisson(&mut random, 0.25) - poisson(&mut random, 0.25 * count / 800.0);
        count
    }
}

#[test]
fn losses_at_once_are_seen_the_sooner_the_larger_they_are() {
    // Ten warnings a month over some ten signals at 15 s.
    for (hours, lost) in [(1, 400.0), (1, 240.0), (24, 40.0)] {
        for seed in 0..20 {
            let mut next = comings_and_goings(seed);
            let mut bench = Bench::new(exact(1.4e5));
            bench.quiet(hours * 240, &mut next);
            let change = bench.step(next() - lost).change;
            let change = change.unwrap_or_else(|| panic!("seed {seed} hides {lost} at {hours} h"));
            assert_eq!((change.direction, change.onset), (Direction::Down, change.detected_at));
        }
    }
}

#[test]
fn a_measured_signal_may_leap_by_an_error() {
    let mut next = comings_and_goings(1);
    let mut bench = Bench::new(settings(1.4e5));
    bench.quiet(240, &mut next);
    assert!(bench.step(next() - 240.0).change.is_none());
}

#[test]
fn what_comes_and_goes_keeps_the_budget_from_the_first_hours_on() {
    let (arl, hours, runs) = (2_000.0, 12, 60);
    let mut alarms = 0;
    for seed in 0..runs {
        let mut next = comings_and_goings(1_000 + seed);
        let mut bench = Bench::new(exact(arl));
        for _ in 0..hours * 240 {
            if bench.step(next()).change.is_some() {
                alarms += 1;
                bench.detector.rebase();
            }
        }
    }
    let wanted = (runs * hours * 240) as f64 / arl;
    println!("{alarms} alarms, {wanted:.0} wanted, seeds from 1000");
    assert!(f64::from(alarms) < 1.5 * wanted, "{alarms} of {wanted}");
}

/// Alarms of groups that come and go, whose sizes have a Pareto tail of this index.
fn alarms_of_groups(settings: &Settings, index: f64, seed: u64) -> u32 {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut bench = Bench::new(settings.clone());
    let (mut count, mut alarms) = (1e5, 0);
    for _ in 0..8_000 {
        if random.random::<f64>() < 0.2 {
            let group = (1.0 - random.random::<f64>()).powf(-1.0 / index).floor();
            count += if random.random::<bool>() { group } else { -group };
        }
        if bench.step(count).change.is_some() {
            alarms += 1;
            bench.detector.rebase();
        }
    }
    alarms
}

#[test]
fn sizes_with_heavy_tails_keep_the_budget() {
    for index in [1.0, 1.5, 2.0, 2.5, 3.0, 4.0] {
        let (arl, runs) = (2_000.0, 40);
        let alarms = |settings: Settings| -> u32 {
            (0..runs).map(|seed| alarms_of_groups(&settings, index, seed)).sum()
        };
        let (foreseen, bounded) = (alarms(exact(arl)), alarms(settings(arl)));
        let wanted = (runs * 8_000) as f64 / arl;
        println!("index {index}: {foreseen} alarms, {bounded} by the bound alone, {wanted} wanted");
        assert!(f64::from(foreseen) < 1.2 * wanted, "index {index}: {foreseen} of {wanted}");
    }
}
