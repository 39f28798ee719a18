//! Stated probabilities against the truth: of what is told with 90 %, 90 % should be true. Measures
//! only; nothing is fitted here.

use headwater::incident::Severity;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    figures::{Figures, print_kinds},
    play::{Played, each, play_kinds},
    stage::{SMALL, Setting, Shape},
};

/// Something that was told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stated {
    /// How probable it was said to be.
    pub(super) probability: f64,
    /// It was so.
    pub(super) right: bool,
    /// On which fleet: what happens to one fleet is not independent.
    pub(super) fleet: u64,
}

/// Bins of equal width.
const BINS: usize = 10;

const RESAMPLED: usize = 2_000;

/// The expected calibration error: Naeini, Cooper and Hauskrecht, "Obtaining well calibrated
/// probabilities using Bayesian binning", AAAI (2015): over bins of equal width the distance of the
/// mean stated probability from the share that was right, weighted by what is in the bin.
fn expected_calibration_error<'a>(stated: impl Iterator<Item = &'a Stated>) -> f64 {
    let mut bins = [(0.0, 0.0, 0.0); BINS];
    let mut all = 0.0;
    for it in stated {
        let (count, sum, right) = &mut bins[bin(it.probability)];
        *count += 1.0;
        *sum += it.probability;
        *right += f64::from(u8::from(it.right));
        all += 1.0;
    }
    bins.iter().map(|(_, sum, right)| f64::abs(sum - right)).sum::<f64>() / f64::max(all, 1.0)
}

fn bin(probability: f64) -> usize {
    ((probability * BINS as f64) as usize).min(BINS - 1)
}

/// The 95 % interval of the error by the bootstrap (Efron, Annals of Statistics 7, 1979: its
/// percentiles) over whole fleets. The error is a sum of distances, so that what is resampled has
/// somewhat more of it than what was sampled.
fn interval(stated: &[Stated]) -> (f64, f64) {
    let mut fleets: Vec<Vec<&Stated>> = Vec::new();
    let mut known: Vec<u64> = Vec::new();
    for it in stated {
        let position = known.iter().position(|fleet| *fleet == it.fleet).unwrap_or_else(|| {
            known.push(it.fleet);
            fleets.push(Vec::new());
            fleets.len() - 1
        });
        fleets[position].push(it);
    }
    let mut chance = ChaCha8Rng::seed_from_u64(1);
    let mut errors: Vec<f64> = (0..RESAMPLED)
        .map(|_| {
            let drawn: Vec<usize> =
                fleets.iter().map(|_| chance.random_range(0..fleets.len())).collect();
            let drawn = drawn.iter().flat_map(|fleet| fleets[*fleet].iter().copied());
            expected_calibration_error(drawn)
        })
        .collect();
    errors.sort_by(f64::total_cmp);
    (errors[RESAMPLED / 40], errors[RESAMPLED - RESAMPLED / 40])
}

/// Prints the error with its interval, and each bin.
pub(super) fn print(stated: &[Stated]) {
    if stated.is_empty() {
        return;
    }
    let error = expected_calibration_error(stated.iter());
    let (low, high) = interval(stated);
    println!(
        "expected calibration error             {error:.4} ({low:.4} to {high:.4}) of {} told",
        stated.len()
    );
    println!("    stated          told   mean stated   right");
    for number in 0..BINS {
        let within = || stated.iter().filter(|it| bin(it.probability) == number);
        let count = within().count();
        if count > 0 {
            let mean = within().map(|it| it.probability).sum::<f64>() / count as f64;
            let right = within().filter(|it| it.right).count() as f64 / count as f64;
            let (from, to) = (number as f64 / BINS as f64, (number + 1) as f64 / BINS as f64);
            println!("    {from:.1} to {to:.1}   {count:>8}   {mean:>11.3}   {right:>5.3}");
        }
    }
}

/// Small fleets of another nature each, after half a day to three days.
fn settings(fleets: u64) -> Vec<Setting> {
    let shapes = [
        SMALL,
        Shape(2_000, 120, 20),
        Shape(5_000, 100, 30),
        Shape(5_000, 150, 90),
        Shape(6_000, 120, 60),
    ];
    let histories = [2_880, 5_760, 8_700, 4_000, 9_000, 3_400];
    (0..fleets)
        .map(|index| {
            let shape = shapes[index as usize % shapes.len()];
            let history = histories[index as usize % histories.len()];
            Setting::new(shape, 1_000 + index, (index * 7 % 24) as i64, history).drawn()
        })
        .collect()
}

/// At least 2,000 events of drawn physics, none of which the diagnosis was fitted on: it is fitted
/// on none.
#[test]
fn stated_probabilities_are_held_against_the_truth() {
    if std::env::var_os("HEADWATER_LONG").is_none() {
        println!("SKIPPED: 2,000 events take minutes: set HEADWATER_LONG, or tests/run --long");
        return;
    }
    let played: Vec<Played> = each(&settings(110), |setting| play_kinds(*setting, |_| true))
        .into_iter()
        .flatten()
        .collect();
    let events: usize = played.iter().map(|it| it.events.len()).sum();
    print_kinds(&played);
    Figures::of(&played).print();
    let warned = |it: &&Played| it.kind.told.iter().any(|told| told.severity == Severity::Warning);
    let warnings: Vec<Stated> =
        played.iter().filter(warned).flat_map(|it| it.stated.clone()).collect();
    println!("of events that must warn alone:");
    print(&warnings);
    assert!(events >= 2_000, "{events} events are too few to say");
}

#[test]
fn the_error_is_the_distance_of_what_is_stated_from_what_is_so() {
    let stated = |probability, right, count: u64| {
        (0..count).map(move |fleet| Stated { probability, right, fleet })
    };
    let honest: Vec<Stated> = stated(0.9, true, 90).chain(stated(0.9, false, 10)).collect();
    assert!(expected_calibration_error(honest.iter()) < 1e-9);
    let boasting: Vec<Stated> = stated(0.99, true, 60).chain(stated(0.99, false, 40)).collect();
    assert!((expected_calibration_error(boasting.iter()) - 0.39).abs() < 1e-9);
    let (low, high) = interval(&boasting);
    assert!(low < 0.39 && 0.39 < high && high - low < 0.3, "{low} {high}");
    // Bins do not make up for one another.
    let torn: Vec<Stated> = stated(0.95, false, 50).chain(stated(0.05, true, 50)).collect();
    assert!((expected_calibration_error(torn.iter()) - 0.95).abs() < 1e-9);
}
