//! The state is a value: small, storable after any sample, and readable if it is an older one.

use super::*;

#[test]
fn state_from_before_a_mean_was_kept_is_read() {
    let mut next = noise("normal", 82);
    let mut bench = Bench::new(settings(1e4));
    bench.quiet(1_000, &mut next);
    let mut stored = serde_json::to_value(&bench.detector).expect("serialises");
    let baseline = stored["baseline"].as_object_mut().expect("a detector has a baseline");
    for name in ["mean", "mean_square", "center"] {
        assert!(baseline.remove(name).is_some(), "{name}");
    }
    let mut older: Detector = serde_json::from_value(stored).expect("an older state is read");
    assert_eq!(older.baseline.samples(), bench.detector.baseline.samples());
    let verdict = older.step(&bench.settings, "signal", time(bench.samples), 9.0);
    assert!(verdict.change.is_some(), "what was learned stays");
}

#[test]
fn restart_anywhere_gives_the_same_output_to_the_bit() {
    for (kind, leap) in [("AR(0.7)", 9.0), ("Poisson(20)", 60.0)] {
        let mut next = noise(kind, 81);
        let values: Vec<f64> = (0..6_000)
            .map(|sample| next() + if (2_000..2_040).contains(&sample) { leap } else { 0.0 })
            .collect();
        let (mut straight, mut restarted) = (Bench::new(settings(2e3)), Bench::new(settings(2e3)));
        for (sample, value) in values.into_iter().enumerate() {
            if sample % 7 == 3 {
                let stored = serde_json::to_string(&restarted.detector).expect("serialises");
                restarted.detector = serde_json::from_str(&stored).expect("restores");
                assert_eq!(restarted.detector, straight.detector);
            }
            assert_eq!(straight.step(value), restarted.step(value));
        }
    }
}

#[test]
fn state_stays_small() {
    for kind in ["normal", "t(3)", "AR(0.7)", "Poisson(20)"] {
        let mut next = noise(kind, 91);
        let mut bench = Bench::new(settings(1e6));
        bench.quiet(30_000, &mut next);
        let stored = serde_json::to_string(&bench.detector).expect("serialises");
        println!("{kind}: {} bytes of JSON", stored.len());
        assert!(stored.len() < 10_000, "{}", stored.len());
    }
}
