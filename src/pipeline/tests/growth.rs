//! A signal that moves on while an incident is open for it.

use super::{
    boundary::{Given, observe},
    *,
};

/// Plays values of one signal, and gives back how its incidents were left.
fn play(values: impl IntoIterator<Item = f64>) -> Vec<Incident> {
    let mut pipeline = Pipeline::new(settings(), State::default());
    let mut incidents = BTreeMap::new();
    for (sample, value) in values.into_iter().enumerate() {
        // Some scatter that never repeats itself for long.
        let scatter = (sample as f64 * 0.754_877).fract() + (sample as f64 * 0.569_840).fract();
        let values = vec![("queue", value + scatter)];
        let given = Given { second: 15 * sample as i64, values, behind_s: None };
        for incident in observe(&mut pipeline, &given).incidents {
            incidents.insert(incident.id.parse::<u64>().unwrap(), incident);
        }
    }
    incidents.into_values().collect()
}

/// So many samples at a level.
fn at_level(level: f64, samples: usize) -> impl Iterator<Item = f64> {
    std::iter::repeat_n(level, samples)
}

#[test]
fn a_leap_long_after_a_small_change_is_another_incident() {
    let incidents =
        play(at_level(100.0, 2_000).chain(at_level(103.0, 400)).chain(at_level(900.0, 40)));
    let [small, large] = incidents.as_slice() else { panic!("{incidents:#?}") };
    assert!(!small.is_open(), "one incident a signal");
    assert!(small.timeline.iter().any(|line| line.text.contains("moved on")), "{small:#?}");
    assert!(large.is_open() && large.notifications.len() == 1);
    assert!(large.current().summary.contains("to 90"), "{}", large.current().summary);
    assert!(large.current().summary.contains("from 101"), "{}", large.current().summary);
}

#[test]
fn its_opposite_is_another_incident_too() {
    let incidents =
        play(at_level(100.0, 2_000).chain(at_level(103.0, 400)).chain(at_level(10.0, 40)));
    let [up, down] = incidents.as_slice() else { panic!("{incidents:#?}") };
    assert!(!up.is_open() && down.is_open());
    assert!(down.current().title.contains("fell"), "{}", down.current().title);
}

#[test]
fn a_change_that_grows_within_one_event_is_told_once_with_its_latest_size() {
    let steps = (1..=20).flat_map(|step| at_level(100.0 + 20.0 * f64::from(step), 5));
    let incidents = play(at_level(100.0, 2_000).chain(steps).chain(at_level(500.0, 40)));
    let [incident] = incidents.as_slice() else { panic!("{incidents:#?}") };
    assert_eq!(incident.notifications.len(), 1);
    assert!(incident.timeline.iter().any(|line| line.text.contains("moved on")), "{incident:#?}");
    assert!(!incident.current().summary.contains("to 12"), "{}", incident.current().summary);
}
