//! Detectors that an older version stored, in the present form: the same numbers, written
//! otherwise. Knows nothing of what is stored around a detector.

use serde_json::{Value, json};

use super::shorts::Shorts;

/// What the third version of the state stored of a detector, as it is stored now. `None` if it is
/// not that.
pub fn from_third_version(mut stored: Value) -> Option<Value> {
    for direction in ["up", "down"] {
        let test = stored.get_mut(direction)?;
        *test = test_from_third_version(test)?;
    }
    let season = stored.get_mut("baseline")?.get_mut("season")?;
    for profile in ["day", "week", "scatter"] {
        for row in ["latest", "curve"] {
            let numbers = season.get_mut(profile)?.get_mut(row)?;
            let read: Vec<f64> = serde_json::from_value(numbers.take()).ok()?;
            *numbers = serde_json::to_value(Shorts::of(&read)).ok()?;
        }
    }
    Some(stored)
}

/// Candidates were stored whole, one after another.
fn test_from_third_version(test: &Value) -> Option<Value> {
    let point = |stored: &Value| {
        Some(json!([stored.get("samples")?.as_f64()?, stored.get("sum")?.as_f64()?]))
    };
    let onset = |candidate: &Value| Some(json!([candidate.get("at")?, candidate.get("level")?]));
    let candidates = test.get("candidates")?.as_array()?;
    let points = candidates.iter().map(point).collect::<Option<Vec<_>>>()?;
    let onsets = candidates.iter().map(onset).collect::<Option<Vec<_>>>()?;
    Some(json!({ "points": points, "onsets": onsets, "now": point(test)? }))
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use chrono::{DateTime, TimeDelta};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::detect::{Detector, Settings, Verdict, noise::normal};

    /// Feeds a sample every ten minutes.
    fn feed(detector: &mut Detector, samples: Range<i64>) -> Vec<Verdict> {
        let mut random = ChaCha8Rng::seed_from_u64(samples.start as u64);
        let settings = Settings::of_measured(1e-6, 600.0);
        let at = |sample| DateTime::UNIX_EPOCH + TimeDelta::seconds(600 * sample);
        samples
            .map(|sample| detector.step(&settings, "signal", at(sample), normal(&mut random)))
            .collect()
    }

    /// The same as the third version wrote it.
    fn as_third_version(detector: &Detector) -> Value {
        let mut stored = serde_json::to_value(detector).expect("serialises");
        for direction in ["up", "down"] {
            let test = &stored[direction];
            let pairs = |field: &str| test[field].as_array().expect("a list").clone();
            let candidate = |(point, onset): (Value, Value)| {
                let samples = point[0].as_f64().expect("a number") as u64;
                json!({ "at": onset[0], "level": onset[1], "samples": samples, "sum": point[1] })
            };
            let candidates = pairs("points").into_iter().zip(pairs("onsets")).map(candidate);
            let candidates: Vec<Value> = candidates.collect();
            assert!(!candidates.is_empty());
            let samples = test["now"][0].as_f64().expect("a number") as u64;
            let sum = &test["now"][1];
            stored[direction] = json!({ "candidates": candidates, "samples": samples, "sum": sum });
        }
        for profile in ["day", "week", "scatter"] {
            for row in ["latest", "curve"] {
                let row = &mut stored["baseline"]["season"][profile][row];
                let numbers: Shorts = serde_json::from_value(row.take()).expect("restores");
                *row = numbers.iter().collect::<Vec<_>>().into();
            }
        }
        stored
    }

    #[test]
    fn the_third_versions_detectors_go_on() {
        let mut detector = Detector::new();
        feed(&mut detector, 0..500);
        let stored = as_third_version(&detector);
        assert!(serde_json::from_value::<Detector>(stored.clone()).is_err());
        let upgraded = from_third_version(stored).expect("it is the third version's");
        let mut restored: Detector = serde_json::from_value(upgraded).expect("restores");
        let went_on = feed(&mut detector, 500..900).into_iter().zip(feed(&mut restored, 500..900));
        for (straight, restored) in went_on {
            // The unit of a profile's means may differ.
            assert!((straight.score - restored.score).abs() < 1e-4 * (1.0 + straight.score));
            assert_eq!(straight.threshold, restored.threshold);
            assert_eq!(straight.samples, restored.samples);
        }
        assert_eq!(from_third_version(json!({ "up": {}, "down": [] })), None);
    }
}
