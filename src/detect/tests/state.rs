//! The state is a value: small, storable after any sample, and readable if it is an older one.

use super::*;
use crate::detect::shorts::Shorts;

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

/// Up to the fourth version's first states, samples were kept with their season and harmonics in
/// single precision.
#[test]
fn a_state_with_wider_numbers_is_taken_on() {
    let mut next = noise("normal", 7);
    let mut bench = Bench::new(settings(1e5));
    // Two days and a half: there is a profile of the day.
    let day = |sample: u64| 3.0 * (std::f64::consts::TAU * sample as f64 / 5_760.0).sin();
    for sample in 0..14_400 {
        bench.step(day(sample) + next());
    }
    let mut stored = serde_json::to_value(&bench.detector).expect("serialises");
    for sample in stored["recent"].as_array_mut().expect("a list") {
        sample.as_array_mut().expect("a row").insert(2, serde_json::json!(0.5));
    }
    let season = &mut stored["baseline"]["season"];
    for profile in ["day", "scatter"] {
        let row: Shorts =
            serde_json::from_value(season[profile]["harmonics"].take()).expect("a row");
        let numbers: Vec<f64> = row.iter().collect();
        assert!(numbers.iter().any(|number| *number != 0.0), "{profile}");
        let wide = numbers.chunks(3).map(|one| (one[0], one[1], one[2] * one[2]));
        season[profile]["harmonics"] =
            serde_json::to_value(wide.collect::<Vec<_>>()).expect("serialises");
    }
    season["week"]["harmonics"] = serde_json::json!([]);
    let detector: Detector = serde_json::from_value(stored).expect("restores");
    let settings = bench.settings.clone();
    let mut restored = Bench { detector, settings, samples: bench.samples };
    for sample in 14_400..16_000 {
        let value = day(sample) + next();
        assert_eq!(bench.step(value), restored.step(value));
    }
}
