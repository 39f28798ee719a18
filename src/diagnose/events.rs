//! When something happened in a recording of many columns, for whoever does not say it. The columns
//! are watched together: how surprising the latest samples of the most surprising twentieth of them
//! are is one number a time, whose own extremes say what is out of the ordinary. A fault moves many
//! metrics of one service at once, each perhaps no further than it moves once a day.
//!
//! Looks back: what is ordinary is learned from all there is, or from a history that is told apart.
//! The sequential detection with its promised rates is `detect`'s; the cause is `rank`'s business.

use std::collections::{BTreeMap, VecDeque};

use super::rank::{
    Column, LEVEL_SAMPLES, Ordinary, ROUNDING, bounded, rolling_medians, scale_place,
};
use crate::series::Time;

/// The median of so many latest samples is held against the level before: one lone leap of a
/// measured signal is none, and two samples show.
const LATEST_SAMPLES: usize = 3;

/// The share of the columns that speaks: those of one service or one device among many.
const COLUMNS_SHARE: f64 = 0.05;

/// So many latest moves of a column are its ordinary ones.
const MOVES_MAX: usize = 1_000;
/// As few make a scale.
const MOVES_MIN: usize = 2 * LEVEL_SAMPLES;

/// Strengths from which on their own tail is known: a twentieth of them are five.
const STRENGTHS_MIN: usize = 100;

/// The share of the strengths that is the tail.
const TAIL_SHARE: f64 = 0.05;

/// How much all columns together moved by the latest samples before a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Strength {
    /// The latest of the samples.
    pub at: Time,
    /// The mean surprise of the columns that moved most.
    pub strength: f64,
}

/// The strength at each time at which any column has a sample and enough before it.
pub fn strengths(columns: &[Column]) -> Vec<Strength> {
    let mut surprises: BTreeMap<Time, Vec<f64>> = BTreeMap::new();
    for column in columns {
        for (at, surprise) in column_surprises(&column.samples) {
            surprises.entry(at).or_default().push(surprise);
        }
    }
    let strength = |(at, mut surprises): (Time, Vec<f64>)| {
        let count = (surprises.len() as f64 * COLUMNS_SHARE).ceil() as usize;
        surprises.sort_unstable_by(|a, b| b.total_cmp(a));
        let strongest = &surprises[..count];
        Strength { at, strength: strongest.iter().sum::<f64>() / count as f64 }
    };
    surprises.into_iter().map(strength).collect()
}

/// How surprising the latest samples of a column were, each time.
fn column_surprises(samples: &[(Time, f64)]) -> impl Iterator<Item = (Time, f64)> {
    let values = bounded(samples);
    let levels = rolling_medians(&values, LEVEL_SAMPLES);
    let latest = rolling_medians(&values, LATEST_SAMPLES).into_iter().skip(LEVEL_SAMPLES);
    let times = samples.iter().skip(LEVEL_SAMPLES + LATEST_SAMPLES - 1);
    let mut moves = Moves::default();
    times.zip(levels.into_iter().zip(latest)).filter_map(move |((at, _), (level, latest))| {
        let rounding = ROUNDING * level.abs().max(latest.abs());
        let surprise = moves.take((latest - level).abs(), rounding);
        surprise.map(|surprise| (*at, surprise))
    })
}

/// The latest moves of a column.
#[derive(Default)]
struct Moves {
    latest: VecDeque<f64>,
    sorted: Vec<f64>,
}

impl Moves {
    /// The surprise of one more, once enough are known.
    fn take(&mut self, size: f64, rounding: f64) -> Option<f64> {
        let known = self.sorted.len();
        let place = |sorted: &[f64], size: f64| {
            sorted.partition_point(|other| other.total_cmp(&size).is_lt())
        };
        let mut surprise = None;
        if known >= MOVES_MIN {
            let quantile = self.sorted[scale_place(known)];
            let ordinary = Ordinary::new(quantile, known, rounding);
            let of_moved =
                |ordinary: Ordinary| ordinary.surprise(size, || known - place(&self.sorted, size));
            surprise =
                ordinary.map(|ordinary| if size > rounding { of_moved(ordinary) } else { 0.0 });
        }
        if known == MOVES_MAX
            && let Some(oldest) = self.latest.pop_front()
        {
            self.sorted.remove(place(&self.sorted, oldest));
        }
        self.latest.push_back(size);
        self.sorted.insert(place(&self.sorted, size), size);
        surprise
    }
}

/// The strength that is exceeded with this chance a sample, by peaks over threshold: the excesses
/// of a tail are exponential (the Gumbel domain of Pickands 1975, Annals of Statistics 3, 119), and
/// the quantile is that of the predictive distribution, whose tail is the heavier the fewer
/// excesses are known. `None` while there are too few.
pub fn threshold(strengths: &[Strength], per_sample: f64) -> Option<f64> {
    let known = strengths.len();
    if known < STRENGTHS_MIN {
        return None;
    }
    let mut sorted: Vec<f64> = strengths.iter().map(|one| one.strength).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let tail_from = known - (known as f64 * TAIL_SHARE) as usize;
    let over = sorted[tail_from - 1];
    let tail = &sorted[tail_from..];
    let excesses = tail.len() as f64;
    let mean = tail.iter().map(|strength| strength - over).sum::<f64>() / excesses;
    let rarer = excesses / known as f64 / per_sample;
    Some(over + mean * excesses * (rarer.powf(1.0 / excesses) - 1.0).max(0.0))
}

/// The times at which the strength rises above the threshold, not having been there at the two
/// samples before.
pub fn openings(strengths: &[Strength], threshold: f64) -> Vec<Strength> {
    let is_above = |place: usize| strengths[place].strength > threshold;
    let opens = |place: &usize| {
        let before = place.saturating_sub(LATEST_SAMPLES - 1)..*place;
        is_above(*place) && !before.clone().any(is_above)
    };
    (0..strengths.len()).filter(opens).map(|place| strengths[place]).collect()
}

/// The time of the greatest strength, the first of equals.
pub fn strongest(strengths: &[Strength]) -> Option<Strength> {
    strengths
        .iter()
        .copied()
        .reduce(|best, one| if one.strength > best.strength { one } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: usize) -> Time {
        Time::from_timestamp(1_700_000_000 + second as i64, 0).expect("a time")
    }

    /// Noise in 0..1 that is as good as drawn.
    fn noise(place: usize, column: usize) -> f64 {
        let mixed = ((place * 64 + column) as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mixed = (mixed ^ (mixed >> 31)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        ((mixed ^ (mixed >> 29)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Forty columns of noise, of which the first three are shifted from a sample on.
    fn columns(shift: f64, from: usize, length: usize) -> Vec<Column> {
        let value = |place, column| {
            let shifted = column < 3 && place >= from;
            50.0 + noise(place, column) + if shifted { shift } else { 0.0 }
        };
        let samples = |column| (0..length).map(|place| (at(place), value(place, column))).collect();
        (0..40)
            .map(|column| Column { name: column.to_string(), samples: samples(column) })
            .collect()
    }

    #[test]
    fn the_strongest_time_is_that_at_which_several_columns_move() {
        let strengths = strengths(&columns(2.0, 400, 600));
        let strongest = strongest(&strengths).expect("enough samples");
        // The second sample of the new level is the middle one of the latest three.
        assert!((at(401)..=at(403)).contains(&strongest.at), "{strongest:?}");
        let before = strengths.partition_point(|one| one.at < at(400));
        let threshold = threshold(&strengths[..before], 1e-3).expect("enough samples");
        assert!(strongest.strength > threshold);
        let openings = openings(&strengths, threshold);
        let near = openings.iter().filter(|one| (at(401)..=at(403)).contains(&one.at));
        assert_eq!(near.count(), 1, "one event opens once: {openings:?}");
    }

    #[test]
    fn thresholds_hold_their_rate_on_noise() {
        let strengths = strengths(&columns(0.0, 0, 8_000));
        let (learned, judged) = strengths.split_at(strengths.len() / 2);
        let above = |per_sample| {
            let threshold = threshold(learned, per_sample).expect("enough samples");
            judged.iter().filter(|one| one.strength > threshold).count()
        };
        let rates = [0.02, 0.002].map(|rate| above(rate) as f64 / judged.len() as f64);
        assert!((0.01..0.04).contains(&rates[0]), "{rates:?}");
        assert!((0.0002..0.008).contains(&rates[1]), "{rates:?}");
    }

    #[test]
    fn a_lone_leap_is_no_event_and_constant_columns_have_strength_zero() {
        let mut quiet = columns(0.0, 0, 600);
        for column in &mut quiet {
            for (_, value) in &mut column.samples {
                *value = 7.0;
            }
        }
        quiet[0].samples[300].1 = 1e6;
        assert!(strengths(&quiet).iter().all(|one| one.strength == 0.0));
        assert_eq!(strengths(&[]), []);
        assert_eq!(strongest(&[]), None);
        assert_eq!(threshold(&strengths(&quiet)[..50], 0.01), None, "too few to know a tail");
    }
}
