//! Many owners within the hour: by themselves, or by one act in batches.

use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::*;

const INTERVAL_S: i64 = 15;
const OWNERS: i64 = 300;

fn at(sample: i64) -> Time {
    Time::from_timestamp(1_569_188_000 + sample * INTERVAL_S, 0).expect("a time")
}

/// Applications that change in one sample: each owner has one of his own id.
fn sample_of(number: i64, applications: &[i64]) -> FlowSample {
    let count = applications.len() as u64;
    FlowSample {
        at: at(number),
        since: at(number - 1),
        intervals: 1.0,
        amount: count,
        applications: Some(count),
        organizations: Some(count),
        is_total: false,
        by_application: applications.iter().map(|id| (*id, *id, 1)).collect(),
        targets_before: applications.iter().map(|id| (*id, Some(id * 10))).collect(),
    }
}

/// After a quiet day, so many applications a sample in this order: the sample, from 1, at which it
/// is held to be of the platform.
fn told_at(kind: FlowKind, order: &[i64], each: usize) -> Option<(usize, Platform)> {
    let circumstances = Circumstances {
        alpha: 1e-7,
        interval_s: INTERVAL_S as f64,
        organizations: Some(OWNERS as u64),
        eligible: Some(OWNERS as u64),
        weight: Some(20),
        shared: kind.is_shared(),
    };
    let mut history = FlowHistory::default();
    history.breadth.observe(0, 5_760.0);
    order.chunks(each).enumerate().find_map(|(index, applications)| {
        let sample = sample_of(5_760 + index as i64, applications);
        match history.judge(&sample, circumstances) {
            Judgement::Platform(platform) => Some((index + 1, platform)),
            Judgement::Ordinary | Judgement::Owner => None,
        }
    })
}

fn in_no_order(seed: u64) -> Vec<i64> {
    let mut ids: Vec<i64> = (1..=OWNERS).collect();
    ids.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    ids
}

#[test]
fn owners_may_all_ship_within_the_hour() {
    for seed in 0..50 {
        for each in [1, 3, 6] {
            assert_eq!(told_at(FlowKind::Retargeted, &in_no_order(seed), each), None, "{each}");
        }
    }
    let one_by_one: Vec<i64> = (1..=60).collect();
    assert_eq!(told_at(FlowKind::Retargeted, &one_by_one, 1), None);
}

#[test]
fn targets_that_change_in_batches_by_id_are_one_act() {
    for (each, at_most) in [(2, 8), (3, 8), (6, 4)] {
        let upwards: Vec<i64> = (1..=OWNERS).collect();
        let downwards: Vec<i64> = upwards.iter().rev().copied().collect();
        for order in [upwards, downwards] {
            let (sample, platform) = told_at(FlowKind::Retargeted, &order, each).expect("told");
            assert!(sample <= at_most, "{each} at a time: at sample {sample}");
            assert!(platform.probability >= 0.5, "{}", platform.probability);
            assert!(platform.bound.origin.contains("order of ids"), "{}", platform.bound.origin);
            let changed = &order[..sample * each];
            assert_eq!(platform.amount, changed.len() as u64);
            assert!(changed.iter().all(|id| platform.targets_before[id] == Some(id * 10)));
        }
    }
}

#[test]
fn more_than_act_in_one_sample_need_no_order() {
    let (sample, platform) = told_at(FlowKind::Retargeted, &in_no_order(1), 7).expect("told");
    assert_eq!((sample, platform.breadth), (1, 7));
}

#[test]
fn pins_are_not_changed_together_by_chance() {
    let (sample, _) = told_at(FlowKind::Removed, &in_no_order(1), 3).expect("told");
    assert!(sample <= 4, "{sample}");
}
