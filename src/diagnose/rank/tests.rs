//! The ranking on recordings that are made here: what is first, since when, and what never matters.

use proptest::prelude::*;

use super::*;
use crate::diagnose::declared::{Edge, Relation};

/// The sample at which things happen.
const FAULT: usize = 300;
const LENGTH: usize = 500;

fn at(second: usize) -> Time {
    Time::from_timestamp(1_700_000_000 + second as i64, 0).expect("a time")
}

/// Noise in 0..1 that is as good as drawn.
fn noise(place: usize, seed: usize) -> f64 {
    let mixed = ((place * 1_009 + seed) as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ (mixed >> 31)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    ((mixed ^ (mixed >> 29)) >> 11) as f64 / (1_u64 << 53) as f64
}

/// A column of level and noise, one sample a second, that moves at a sample.
fn column(name: &str, level: f64, scatter: f64, shift: f64, from: usize) -> Column {
    let seed = name.bytes().map(usize::from).sum();
    let value =
        |place| level + scatter * noise(place, seed) + if place >= from { shift } else { 0.0 };
    let samples = (0..LENGTH).map(|place| (at(place), value(place))).collect();
    Column { name: name.to_owned(), samples }
}

/// The cause, an effect that is as large in its noise, and columns that only scatter.
fn shop() -> Vec<Column> {
    vec![
        column("idle", 3.0, 1.0, 0.0, 0),
        column("latency", 100.0, 10.0, 80.0, FAULT + 5),
        column("cpu", 2.0, 0.2, 70.0, FAULT),
        column("memory", 3e8, 1e5, -3e7, FAULT),
        column("constant", 8.0, 0.0, 0.0, 0),
    ]
}

fn ask(at: Time) -> Question<'static> {
    Question { at, interval_s: 1.0, target: None }
}

fn names(ranked: &[Ranked]) -> Vec<&str> {
    ranked.iter().map(|one| one.signal.as_str()).collect()
}

fn find<'a>(ranked: &'a [Ranked], name: &str) -> &'a Ranked {
    ranked.iter().find(|one| one.signal == name).expect("every column is ranked")
}

fn graph(edges: &[(&str, &str, Option<i64>)]) -> Declared {
    let edge = |(parent, child, delay_s): &(&str, &str, Option<i64>)| Edge {
        parent: (*parent).to_owned(),
        child: (*child).to_owned(),
        delay_max: delay_s.map(TimeDelta::seconds),
        relation: Relation::Learned,
    };
    Declared::new(edges.iter().map(edge)).expect("no cycle")
}

#[test]
fn the_cause_is_first_whether_the_time_is_early_exact_or_late() {
    let columns = shop();
    for second in [FAULT - 90, FAULT - 30, FAULT, FAULT + 1, FAULT + 60, FAULT + 150] {
        let ranked = rank(&columns, &ask(at(second)), &Declared::default());
        assert_eq!(names(&ranked)[0], "cpu", "told {second}");
        assert_eq!(ranked[0].moved.map(|own| own.onset), Some(at(FAULT)), "told {second}");
        assert_eq!(names(&ranked)[4], "constant", "told {second}");
        assert_eq!(find(&ranked, "constant").moved, None);
    }
}

#[test]
fn each_column_keeps_its_own_onset() {
    let ranked = rank(&shop(), &ask(at(FAULT + 40)), &Declared::default());
    let onset = |name| find(&ranked, name).moved.map(|own| own.onset);
    assert_eq!(onset("latency"), Some(at(FAULT + 5)));
    assert_eq!(onset("memory"), Some(at(FAULT)));
}

#[test]
fn a_large_column_with_little_noise_does_not_hide_a_manifold_rise() {
    let ranked = rank(&shop(), &ask(at(FAULT)), &Declared::default());
    let (cpu, memory) = (find(&ranked, "cpu"), find(&ranked, "memory"));
    let surprise = |one: &Ranked| one.moved.expect("it moved").surprise;
    assert!(surprise(memory) > 0.5 * surprise(cpu), "significant by itself");
    assert!(memory.score < 0.5 * cpu.score, "but a tenth of its level");
}

#[test]
fn a_signal_that_never_moved_is_as_surprising_as_its_history_is_long() {
    let moved = |length: usize| {
        let value = |place| if place < length { 4.0 } else { 0.0 };
        let samples: Vec<_> = (0..length + 40).map(|place| (at(place), value(place))).collect();
        let question = Question { at: at(length), interval_s: 1.0, target: None };
        strongest_move(&samples, &question).expect("it moved")
    };
    let (short, long) = (moved(300), moved(3_000));
    assert_eq!((short.onset, short.before, short.after), (at(300), 4.0, 0.0));
    assert!(short.surprise > 4.0 && long.surprise > short.surprise + 2.0);
    assert!(short.size.is_finite() && short.size > 1.0, "a fall to zero is large");
}

#[test]
fn what_leaps_to_and_fro_began_with_its_first_leap() {
    let swings = |place: usize| match place {
        ..FAULT => 0.0,
        _ if ((place - FAULT) / 30).is_multiple_of(2) => 60.0,
        _ => 0.0,
    };
    let sample = |place| (at(place), 10.0 + noise(place, 5) + swings(place));
    let samples: Vec<_> = (0..LENGTH).map(sample).collect();
    let own = strongest_move(&samples, &ask(at(FAULT + 80))).expect("it moved");
    assert_eq!(own.onset, at(FAULT));
}

#[test]
fn declared_parents_explain_what_they_can_carry() {
    let columns = shop();
    let question = ask(at(FAULT + 20));
    let ranked = rank(&columns, &question, &graph(&[("cpu", "latency", Some(30))]));
    let latency = find(&ranked, "latency");
    assert_eq!((latency.explained, latency.score), (1.0, 0.0), "a smaller move than its cause's");
    // Explained columns stand before those that did not move at all.
    assert_eq!(names(&ranked).last(), Some(&"constant"));
    let reversed = rank(&columns, &question, &graph(&[("latency", "cpu", Some(30))]));
    assert_eq!(find(&reversed, "cpu").explained, 0.0, "an effect does not precede its cause");
    let late = rank(&columns, &question, &graph(&[("cpu", "latency", Some(2))]));
    assert_eq!(find(&late, "latency").explained, 0.0, "later than declared");
    let weak = rank(&columns, &question, &graph(&[("idle", "memory", None)]));
    assert!(find(&weak, "memory").explained < 0.5, "noise carries no leap");
}

#[test]
fn a_target_is_not_caused_by_what_moved_later_or_by_what_it_drives() {
    let columns = shop();
    let asked = |target, graph: &Declared| {
        rank(&columns, &Question { target: Some(target), ..ask(at(FAULT + 20)) }, graph)
    };
    let ranked = asked("latency", &Declared::default());
    assert_eq!(names(&ranked)[0], "cpu");
    assert_eq!(find(&ranked, "latency").explained, 1.0, "it is asked about as an effect");
    let ranked = asked("memory", &Declared::default());
    assert_eq!(find(&ranked, "latency").score, 0.0, "it moved later");
    let ranked = asked("memory", &graph(&[("memory", "cpu", None)]));
    assert_eq!(find(&ranked, "cpu").score, 0.0, "it is driven by the target");
}

#[test]
fn a_column_of_which_too_little_is_known_is_not_judged() {
    let samples: Vec<_> = (0..20).map(|place| (at(place), place as f64)).collect();
    assert_eq!(strongest_move(&samples, &ask(at(3))), None, "nothing before the window");
    assert_eq!(strongest_move(&[], &ask(at(3))), None);
    let gap = [column("gap", 1.0, 0.1, 5.0, FAULT).samples[..100].to_vec()].concat();
    assert_eq!(strongest_move(&gap, &ask(at(LENGTH))), None, "nothing inside the window");
}

#[test]
fn medians_roll() {
    assert_eq!(rolling_medians(&[3.0, 1.0, 2.0, 9.0], 3), [2.0, 2.0]);
    assert_eq!(rolling_medians(&[3.0, 1.0, 2.0], 2), [2.0, 1.5]);
    assert_eq!(rolling_medians(&[1.0], 2), [0.0; 0]);
}

proptest! {
    #[test]
    fn a_unit_does_not_matter(exponent in -12..12_i32, column in 0..4_usize) {
        let unit = 2.0_f64.powi(exponent);
        let mut columns = shop();
        let before = rank(&columns, &ask(at(FAULT)), &Declared::default());
        for (_, value) in &mut columns[column].samples {
            *value *= unit;
        }
        let after = rank(&columns, &ask(at(FAULT)), &Declared::default());
        for (one, other) in before.iter().zip(&after) {
            prop_assert_eq!(&one.signal, &other.signal);
            prop_assert!((one.score - other.score).abs() < 1e-9);
        }
    }

    #[test]
    fn the_order_of_the_columns_does_not_matter(turn in 0..5_usize) {
        let mut columns = shop();
        let before = rank(&columns, &ask(at(FAULT)), &Declared::default());
        columns.rotate_left(turn);
        let after = rank(&columns, &ask(at(FAULT)), &Declared::default());
        prop_assert_eq!(before, after);
    }

    #[test]
    fn any_numbers_give_a_ranking_in_order(
        values in prop::collection::vec(
            prop_oneof![
                prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO,
                -3.0..3.0,
                Just(0.0),
            ],
            0..120,
        ),
        told in 0..130_usize,
        interval_s in prop_oneof![Just(1.0), Just(60.0), Just(1e-3), Just(1e9)],
    ) {
        let samples = values.iter().enumerate().map(|(place, value)| (at(place), *value));
        let samples = samples.collect();
        let mut columns = shop();
        columns.push(Column { name: "any".to_owned(), samples });
        let question = Question { at: at(told), interval_s, target: Some("any") };
        let ranked = rank(&columns, &question, &graph(&[("any", "cpu", None)]));
        prop_assert_eq!(ranked.len(), columns.len());
        for one in &ranked {
            prop_assert!(one.score.is_finite() && one.score >= 0.0);
            prop_assert!((0.0..=1.0).contains(&one.explained));
        }
        prop_assert!(ranked.windows(2).all(|pair| pair[0].score >= pair[1].score));
    }
}
