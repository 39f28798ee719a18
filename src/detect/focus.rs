//! The sequential test: exact FOCuS with known pre-change mean (Romano, Eckley, Fearnhead and
//! Rigaill, "Fast online changepoint detection via functional pruning CUSUM statistics", JMLR 24,
//! 2023) on standardised innovations. How likely one change is, is `family`'s. Knows nothing of
//! baselines or thresholds.
//!
//! For innovations `z` that are N(0,1) before a change and N(μ,1) after it, the log-likelihood
//! ratio of a change before sample i is `C_i(μ) = μ (S_t − S_i) − (t − i) μ²/2`, where `S` are
//! cumulative sums. The statistic is `max_μ max_i C_i(μ)`, over every onset and every size at once.
//! As a function of μ the maximum over onsets obeys Page's recursion, which the paper solves for
//! all μ at once: `Q_t(μ) = max(0, Q_{t−1}(μ) + μ (z_t − μ/2))`, by keeping only the onsets that
//! are best for some μ. Onset i beats a later onset j exactly for `μ < 2 (S_j − S_i) / (j − i)`, so
//! for μ > 0 the survivors are the lower convex hull of the points `(i, S_i)`, cut where its slope
//! is not positive. Their number grows with log t only.

use serde::{Deserialize, Serialize};

use super::family::Law;
use crate::series::Time;

/// Onsets that one direction keeps at most. Their expected number is about log(t) / 2, so 48 is out
/// of reach of noise; only an accelerating ramp that raises no alarm gets here, and it loses the
/// onset whose absence alters the hull least.
const CANDIDATES_MAX: usize = 48;

/// Candidates for which room is made at once, and twice of which may be empty: with the room for
/// the most there ever were, they would be the largest part of a detector.
const CANDIDATES_MORE: usize = 2;

/// A possible onset that is the best one for some size of the change: what is told of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "(Time, f64)", from = "(Time, f64)")]
pub struct Onset {
    /// The first sample of the new regime, if this is the onset.
    pub at: Time,
    /// The level that was expected at that sample: what was learned later can be unlearned with it.
    pub level: f64,
}

impl From<Onset> for (Time, f64) {
    fn from(onset: Onset) -> (Time, f64) {
        (onset.at, onset.level)
    }
}

impl From<(Time, f64)> for Onset {
    fn from((at, level): (Time, f64)) -> Onset {
        Onset { at, level }
    }
}

/// A point `(i, S_i)`, counted from the oldest candidate of its time. The count is a double, as it
/// is only ever calculated with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(into = "(f64, f64)", from = "(f64, f64)")]
struct Point {
    /// Samples before it.
    samples: f64,
    /// Their sum.
    sum: f64,
}

impl From<Point> for (f64, f64) {
    fn from(point: Point) -> (f64, f64) {
        (point.samples, point.sum)
    }
}

impl From<(f64, f64)> for Point {
    fn from((samples, sum): (f64, f64)) -> Point {
        Point { samples, sum }
    }
}

impl Point {
    fn slope_to(self, later: Point) -> f64 {
        (later.sum - self.sum) / (later.samples - self.samples)
    }

    /// Whether the line through this point is steeper after it than before it: slopes compared
    /// without a division.
    fn bends_up(self, before: Point, after: Point) -> bool {
        (self.sum - before.sum) * (after.samples - self.samples)
            < (after.sum - self.sum) * (self.samples - before.samples)
    }

    /// The likelihood ratio of a change from this point on.
    fn score(self, now: Point, law: &Law) -> f64 {
        law.score(now.sum - self.sum, now.samples - self.samples)
    }
}

/// The best explanation of the present by one change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Best<'a> {
    /// Twice the log-likelihood ratio would be χ²; this is the ratio itself, in natural units.
    pub score: f64,
    /// The mean innovation since the onset: the size in standard deviations.
    pub size: f64,
    /// Samples since the onset, the first of the new regime included.
    pub samples: f64,
    /// Its onset. `None` when no change in this direction is better than none.
    pub onset: Option<&'a Onset>,
}

/// The test for changes of one direction: upwards as it is, downwards when fed with `−z`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Focus {
    /// The candidates' points, oldest first: all that is looked at in every sample.
    points: Vec<Point>,
    /// The candidates' onsets, in the same order.
    onsets: Vec<Onset>,
    now: Point,
}

impl Focus {
    /// Takes one standardised innovation, whose sample was taken `at` with `level` expected.
    pub fn push(&mut self, innovation: f64, at: Time, level: f64) {
        debug_assert!(innovation.is_finite(), "an innovation is finite: {innovation}");
        // No change in this direction begins with a sample in the other one: its point would never
        // be on the hull.
        if innovation > 0.0 {
            self.begin_at(Onset { at, level });
        }
        self.now.samples += 1.0;
        self.now.sum += innovation;
    }

    /// The next sample becomes a candidate.
    fn begin_at(&mut self, onset: Onset) {
        self.prune();
        if self.points.is_empty() {
            // Nothing refers to the sums any more: begin again at zero, so that they never grow
            // large.
            self.now = Point::default();
        }
        if self.points.len() == CANDIDATES_MAX {
            self.drop_flattest();
        }
        self.make_room();
        self.points.push(self.now);
        self.onsets.push(onset);
    }

    /// Room for one more, and not for many.
    fn make_room(&mut self) {
        let free = self.points.capacity() - self.points.len();
        if free == 0 {
            self.points.reserve_exact(CANDIDATES_MORE);
            self.onsets.reserve_exact(CANDIDATES_MORE);
        } else if free > 2 * CANDIDATES_MORE {
            let room = self.points.len() + CANDIDATES_MORE;
            self.points.shrink_to(room);
            self.onsets.shrink_to(room);
        }
    }

    /// Drops the candidates that the present sum has put above the hull, or at its top. They can
    /// never be the best onset again, whatever comes.
    fn prune(&mut self) {
        let mut kept = self.points.len();
        loop {
            let keeps = match self.points[..kept] {
                [] => true,
                [only] => only.sum < self.now.sum,
                [.., previous, last] => last.bends_up(previous, self.now),
            };
            if keeps {
                break;
            }
            kept -= 1;
        }
        self.points.truncate(kept);
        self.onsets.truncate(kept);
    }

    /// Drops the inner candidate at which the hull bends least.
    fn drop_flattest(&mut self) {
        let bend = |window: &[Point]| window[1].slope_to(window[2]) - window[0].slope_to(window[1]);
        let bends = self.points.windows(3).map(bend).enumerate();
        if let Some((index, _)) = bends.min_by(|a, b| a.1.total_cmp(&b.1)) {
            self.points.remove(index + 1);
            self.onsets.remove(index + 1);
        }
    }

    /// The maximum of the likelihood ratio over all onsets and sizes of this direction, for normal
    /// innovations and a level that is known.
    pub fn best(&self) -> Best<'_> {
        self.best_from(&Law::normal(0.0))
    }

    /// The same for any law: the best onset is a vertex of this hull for each (see `family`).
    pub fn best_from(&self, law: &Law) -> Best<'_> {
        let mut best = Best { score: 0.0, size: 0.0, samples: 0.0, onset: None };
        for (point, onset) in self.points.iter().zip(&self.onsets) {
            let score = point.score(self.now, law);
            if score > best.score {
                let samples = self.now.samples - point.samples;
                let size = point.slope_to(self.now);
                best = Best { score, size, samples, onset: Some(onset) };
            }
        }
        best
    }

    /// The score of the best onset alone: it is wanted at every sample, and needs no branches.
    pub fn score_from(&self, law: &Law) -> f64 {
        let scores = self.points.iter().map(|point| point.score(self.now, law));
        scores.fold(0.0, |best, score| if score > best { score } else { best })
    }

    /// The candidates that explain the present nearly as well: within `drop` of `score`.
    pub fn plausible(&self, law: &Law, score: f64, drop: f64) -> impl Iterator<Item = &Onset> {
        let candidates = self.points.iter().zip(&self.onsets);
        let near = move |point: &Point| point.score(self.now, law) >= score - drop;
        candidates.filter(move |(point, _)| near(point)).map(|(_, onset)| onset)
    }

    /// Forgets everything: the test begins anew with the next sample.
    pub fn clear(&mut self) {
        self.points.clear();
        self.onsets.clear();
        self.now = Point::default();
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};
    use proptest::prelude::*;

    use super::*;

    /// The maximum over every onset, one by one, with the first onset that reaches it.
    fn brute_force(innovations: &[f64], level_error: f64) -> (f64, usize) {
        let mut best = (0.0, 0);
        for onset in 0..innovations.len() {
            let rise: f64 = innovations[onset..].iter().sum();
            let samples = (innovations.len() - onset) as f64;
            let variance = samples + samples * (samples - 1.0) * level_error;
            let score = rise.max(0.0).powi(2) / (2.0 * variance);
            if score > best.0 {
                best = (score, onset);
            }
        }
        best
    }

    fn time(index: usize) -> Time {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(index as i64)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]
        #[test]
        fn pruned_maximum_is_the_maximum_over_all_onsets(
            innovations in prop::collection::vec(-5.0..5.0f64, 1..120),
            shift in -2.0..2.0f64,
            level_error in prop_oneof![Just(0.0), 1e-4..1.0f64],
        ) {
            let (mut up, mut down) = (Focus::default(), Focus::default());
            let half = innovations.len() / 2;
            let moved = innovations.iter().enumerate();
            let moved: Vec<_> =
                moved.map(|(index, z)| if index < half { *z } else { z + shift }).collect();
            let mirrored: Vec<_> = moved.iter().map(|z| -z).collect();
            for index in 0..moved.len() {
                up.push(moved[index], time(index), 0.0);
                down.push(mirrored[index], time(index), 0.0);
                for (test, values) in [(&up, &moved), (&down, &mirrored)] {
                    let (score, onset) = brute_force(&values[..=index], level_error);
                    let law = Law::normal(level_error);
                    let best = test.best_from(&law);
                    prop_assert_eq!(test.score_from(&law), best.score);
                    prop_assert!((best.score - score).abs() <= 1e-9 * (1.0 + score));
                    if score > 1e-6 {
                        prop_assert_eq!(best.onset.map(|found| found.at), Some(time(onset)));
                    }
                }
            }
        }
    }

    #[test]
    fn candidates_stay_few() {
        let mut test = Focus::default();
        let mut peak = 0;
        for index in 0..20_000u64 {
            // A low-discrepancy sequence around zero: noise without a generator.
            let z = ((index as f64 * 0.618_033_988_749_895).fract() - 0.5) * 3.4;
            test.push(z, DateTime::UNIX_EPOCH, 0.0);
            peak = peak.max(test.points.len());
        }
        assert!((2..CANDIDATES_MAX / 2).contains(&peak), "{peak} candidates");
    }

    #[test]
    fn accelerating_ramp_is_bounded_and_still_dated() {
        let mut test = Focus::default();
        for index in 0..500 {
            test.push(index as f64 * 0.001, time(index), 0.0);
        }
        assert_eq!(test.points.len(), CANDIDATES_MAX);
        let values: Vec<_> = (0..500).map(|index| f64::from(index) * 0.001).collect();
        let (score, _) = brute_force(&values, 0.0);
        let best = test.best().score;
        assert!(best > 0.99 * score, "{best} of {score}");
    }
}
