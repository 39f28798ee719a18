//! From the false-alarm budget to a threshold of the FOCuS statistic: by theory where innovations
//! are N(0,1), by the extremes of the signal's own history where they turn out not to be.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

/// Samples of the first, shortest blocks. Long against the statistic's memory at thresholds of
/// interest (a few dozen samples), so that maxima of neighbouring blocks are nearly independent.
const BLOCK_SAMPLES: u64 = 64;

/// Maxima that are kept. When they are full, neighbours merge and blocks become twice as long: all
/// of history stays covered in bounded memory.
const BLOCKS_MAX: usize = 128;

/// Maxima for which room is made at once.
const BLOCKS_MORE: usize = 16;

/// History speaks from this number of blocks on. With fewer, a quarter of them is no tail.
const BLOCKS_MIN: usize = 32;

/// The share of maxima that counts as the tail.
const TAIL_SHARE: f64 = 0.25;

/// Pseudo-observations by which the theoretical tail (mean excess 1, as `P(score > h) ~ e^−h`)
/// enters the estimate: few against a long history, many against a short one.
const PRIOR_EXCESSES: f64 = 16.0;

/// Theory weighs as much as so many blocks of quiet history when that asks for less.
const THEORY_BLOCKS: f64 = 64.0;

/// The unit in which maxima are kept.
const HUNDREDTHS: f64 = 100.0;

/// The budget's bounds for the formulas: one false alarm in 20 samples is no test any more, and
/// rarer than this is beyond every promise.
const PER_SAMPLE_MAX: f64 = 0.05;
const PER_SAMPLE_MIN: f64 = 1e-15;

/// Limits a budget to what the formulas cover; what is not a number becomes the strictest.
pub fn bounded(per_sample: f64) -> f64 {
    if per_sample.is_nan() {
        return PER_SAMPLE_MIN;
    }
    per_sample.clamp(PER_SAMPLE_MIN, PER_SAMPLE_MAX)
}

/// The threshold that N(0,1) innovations cross once in `1 / per_sample` samples, both directions
/// together.
///
/// Siegmund and Venkatraman ("Using the generalized likelihood ratio statistic for sequential
/// detection of a change-point", Annals of Statistics 23, 1995): for the two-sided ratio with known
/// pre-change mean and `b = √(2h)`, `ARL ~ √(2π) e^h / (b ∫₀^b x ν(x)² dx)`, with `ν` the overshoot
/// function. The integral is `0.8367 − 2/b²` within 2 % from b = 3.5 on (by numerical integration
/// of Siegmund and Yakir's form of `ν`; the tail is `4/x³`). A test compares the result with
/// simulation.
pub fn theory(per_sample: f64) -> f64 {
    let arl_ln = -bounded(per_sample).ln();
    let mut threshold = arl_ln.max(3.0);
    // A contraction: each round divides the error by about 2h.
    for _ in 0..8 {
        let b = (2.0 * threshold).sqrt();
        let integral = 0.8367 - 2.0 / (b * b);
        threshold = (arl_ln - (2.0 * PI).sqrt().ln() + (b * integral).ln()).max(3.0);
    }
    threshold
}

/// The threshold for a budget.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    /// The budget.
    pub false_alarms_per_sample: f64,
    /// The threshold, by theory and by history.
    pub threshold: f64,
    /// History has a say in it.
    pub from_history: bool,
    /// What theory alone asks for.
    #[serde(default)]
    pub theory: f64,
}

/// The maximum of a block, in hundredths, rounded up: all the precision that a tail has, in a
/// state that is stored with every batch. The censored ones are negative, from minus one on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Maximum(i32);

impl Maximum {
    fn new(hundredths: i32, censored: bool) -> Maximum {
        Maximum(if censored { -1 - hundredths } else { hundredths })
    }

    fn hundredths(self) -> i32 {
        if self.is_censored() { -1 - self.0 } else { self.0 }
    }

    /// An alarm ended the block: it would have gone further, nobody knows how far.
    fn is_censored(self) -> bool {
        self.0 < 0
    }

    /// By size, and the censored one of two.
    fn rank(self) -> (i32, bool) {
        (self.hundredths(), self.is_censored())
    }

    fn value(self) -> f64 {
        f64::from(self.hundredths()) / HUNDREDTHS
    }
}

/// Maxima of the statistic over blocks of the signal's own quiet history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// Of finished blocks, oldest first.
    maxima: Vec<Maximum>,
    /// Samples of a block that no alarm ends.
    block_samples: u64,
    /// Samples of all finished blocks. States from before this was kept have full blocks only.
    #[serde(default)]
    covered_samples: Option<u64>,
    /// Samples in the unfinished block, and their maximum.
    pending_samples: u64,
    pending_maximum: i32,
}

impl Default for History {
    fn default() -> History {
        History {
            maxima: Vec::new(),
            block_samples: BLOCK_SAMPLES,
            covered_samples: Some(0),
            pending_samples: 0,
            pending_maximum: 0,
        }
    }
}

impl History {
    /// Takes the statistic of one quiet sample; `true` when that finished a block.
    pub fn observe(&mut self, score: f64) -> bool {
        self.pending_samples += 1;
        let hundredths = score * HUNDREDTHS;
        if hundredths > f64::from(self.pending_maximum) {
            self.pending_maximum = hundredths.ceil() as i32;
        }
        if self.pending_samples < self.block_samples {
            return false;
        }
        self.close(false);
        true
    }

    fn close(&mut self, censored: bool) {
        if self.maxima.len() == self.maxima.capacity() {
            self.maxima.reserve_exact(BLOCKS_MORE);
        }
        let covered = self.covered_samples() + self.pending_samples;
        self.covered_samples = Some(covered);
        self.maxima.push(Maximum::new(self.pending_maximum, censored));
        self.pending_samples = 0;
        self.pending_maximum = 0;
        if self.maxima.len() == BLOCKS_MAX {
            let pairs = self.maxima.chunks(2);
            let larger = pairs.filter_map(|pair| pair.iter().copied().max_by_key(|one| one.rank()));
            self.maxima = larger.collect();
            // Blocks that alarms cut short are no longer than before, in pairs.
            if covered > self.block_samples * self.maxima.len() as u64 {
                self.block_samples *= 2;
            }
        }
    }

    fn covered_samples(&self) -> u64 {
        self.covered_samples.unwrap_or(self.block_samples * self.maxima.len() as u64)
    }

    /// Ends the unfinished block with an alarm at this threshold. How far the statistic would have
    /// gone without it nobody knows: the maximum is censored. An alarm counts thus whatever it
    /// meant: history that left its own alarms out would promise ever more of them. One real change
    /// among many quiet blocks alters little, and a signal that alarms time and again needs ever
    /// more to do so.
    pub fn alarm(&mut self, threshold: f64) {
        self.pending_maximum = self.pending_maximum.max((threshold * HUNDREDTHS).ceil() as i32);
        self.close(true);
    }

    /// The threshold for a budget: by theory, and by history.
    pub fn limit(&self, false_alarms_per_sample: f64) -> Limit {
        let theory = theory(false_alarms_per_sample);
        let threshold = self.threshold(false_alarms_per_sample).map_or(theory, |history| {
            // What history asks for more holds at once, what it asks for less as far as it is seen.
            let seen = self.blocks() as f64;
            history.max(theory + (history - theory) * seen / (seen + THEORY_BLOCKS))
        });
        let from_history = threshold != theory;
        Limit { false_alarms_per_sample, threshold, from_history, theory }
    }

    /// Finished blocks.
    pub fn blocks(&self) -> usize {
        self.maxima.len()
    }

    /// The threshold that a sample exceeds with the given chance, by peaks over threshold: the
    /// excesses of block maxima over their upper quartile are exponential, their mean β has an
    /// inverse-gamma prior around the theoretical 1, censored ones count for how far they came only
    /// (the maximum-likelihood estimate under censoring), and the threshold is a quantile of the
    /// *predictive* distribution `P(excess > x) = (1 + x / (k β))^−k`. Its tail is the heavier the
    /// fewer excesses k there are: that prices a short history. Where the budget asks for less than
    /// the quartile it is the empirical quantile, or, as long as alarms hide that, at least the
    /// quantile of all maxima's excesses over the least. `None` while there is too little history.
    pub fn threshold(&self, per_sample: f64) -> Option<f64> {
        if self.maxima.len() < BLOCKS_MIN {
            return None;
        }
        let block_samples = self.covered_samples() as f64 / self.maxima.len() as f64;
        let block_chance = -(-bounded(per_sample) * block_samples).exp_m1();
        let mut sorted = self.maxima.clone();
        sorted.sort_unstable_by_key(|maximum| maximum.rank());
        if block_chance < TAIL_SHARE {
            return Some(predicted(&sorted, TAIL_SHARE, block_chance));
        }
        // Within the data: no tail needed, unless alarms censored what lies there.
        let index = ((1.0 - block_chance) * sorted.len() as f64) as usize;
        let beyond = &sorted[index.min(sorted.len() - 1)..];
        let seen = beyond.first()?.value();
        let is_censored = beyond.iter().any(|maximum| maximum.is_censored());
        Some(if is_censored { seen.max(predicted(&sorted, 1.0, block_chance)) } else { seen })
    }
}

/// The quantile of the predictive distribution that a maximum exceeds with this chance, from the
/// excesses of the given share of the maxima, which are sorted.
fn predicted(sorted: &[Maximum], share: f64, chance: f64) -> f64 {
    let tail_from = (sorted.len() - (share * sorted.len() as f64) as usize).max(1);
    let over = sorted[tail_from - 1].value();
    let tail = &sorted[tail_from..];
    let excesses = tail.iter().map(|maximum| maximum.value() - over);
    let finished = tail.iter().filter(|maximum| !maximum.is_censored()).count();
    let count = finished as f64 + PRIOR_EXCESSES;
    let sum = excesses.sum::<f64>() + PRIOR_EXCESSES;
    over + sum * ((share / chance).powf(1.0 / count) - 1.0)
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::detect::{focus::Focus, noise::normal};

    #[test]
    fn theory_gives_the_promised_rate_on_normal_noise() {
        let seed = 7;
        println!("seed {seed}");
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        for (arl, runs) in [(200.0, 500), (1_000.0, 300)] {
            let threshold = theory(1.0 / arl);
            let mut samples = 0u64;
            for _ in 0..runs {
                let (mut up, mut down) = (Focus::default(), Focus::default());
                loop {
                    let z = normal(&mut random);
                    up.push(z, DateTime::UNIX_EPOCH, 0.0);
                    down.push(-z, DateTime::UNIX_EPOCH, 0.0);
                    samples += 1;
                    if up.best().score.max(down.best().score) > threshold {
                        break;
                    }
                }
            }
            let achieved = samples as f64 / f64::from(runs);
            // The standard error is 4 to 6 %; the formula itself is good to some 5 %.
            let ratio = achieved / arl;
            println!("ARL {arl}: threshold {threshold:.3}, achieved {achieved:.0}");
            assert!((0.8..1.35).contains(&ratio), "{achieved} instead of {arl}");
        }
    }

    #[test]
    fn a_decade_of_budget_costs_what_theory_says() {
        let (near, far) = (theory(1e-3), theory(1e-6));
        assert!((2.3..2.55).contains(&((far - near) / 3.0)), "{near} {far}");
        assert!(theory(f64::NAN).is_finite() && theory(0.0).is_finite() && theory(9.0) > 0.0);
    }

    fn history(blocks: usize, mean_excess: f64) -> History {
        let mut history = History::default();
        for block in 0..blocks {
            // Quantiles of an exponential above 4, in scrambled order.
            let rank = (block * 37 % blocks) as f64 + 0.5;
            let maximum = 4.0 - mean_excess * (rank / blocks as f64).ln();
            for _ in 0..BLOCK_SAMPLES {
                history.observe(maximum);
            }
        }
        history
    }

    #[test]
    fn heavier_tails_and_shorter_histories_raise_the_threshold() {
        assert_eq!(history(BLOCKS_MIN - 1, 1.0).threshold(1e-6), None);
        let thresholds = [(100, 1.0), (100, 2.0), (40, 2.0)]
            .map(|(blocks, mean)| history(blocks, mean).threshold(1e-6).expect("enough blocks"));
        let truth = |mean: f64| 4.0 - mean * (1e-6 * BLOCK_SAMPLES as f64).ln();
        assert!(thresholds[0] > truth(1.0) && thresholds[0] < truth(1.0) + 3.0, "{thresholds:?}");
        assert!(thresholds[1] > thresholds[0] + 3.0, "{thresholds:?}");
        // The shorter history is pulled towards theory, yet stays far above it.
        assert!(thresholds[2] > thresholds[0] + 2.0, "{thresholds:?}");
    }

    #[test]
    fn alarms_of_the_past_count() {
        let mut alarming = history(60, 1.0);
        let quiet = alarming.threshold(1e-6).expect("enough blocks");
        alarming.observe(2.0);
        alarming.alarm(quiet);
        assert_eq!((alarming.blocks(), alarming.pending_samples), (61, 0));
        let once = alarming.threshold(1e-6).expect("enough blocks");
        assert!(quiet < once && once < quiet + 6.0, "{quiet} {once}");
        (0..10).for_each(|_| alarming.alarm(once));
        assert!(alarming.threshold(1e-6).expect("enough blocks") > once + 5.0);
    }

    #[test]
    fn alarms_count_however_long_history_is() {
        let mut random = ChaCha8Rng::seed_from_u64(11);
        let mut exponential = || -(1.0 - rand::RngExt::random::<f64>(&mut random)).ln();
        // Ten a month of samples a minute, after four quiet months; then four alarms a day, each of
        // which ends at the threshold however high that is.
        let per_sample = 10.0 / 43_200.0;
        let mut history = History::default();
        (0..120 * 1_440).for_each(|_| {
            history.observe(0.6 * exponential());
        });
        let quiet = history.limit(per_sample).threshold;
        for _ in 0..60 {
            for _ in 0..4 {
                (0..360).for_each(|_| {
                    history.observe(0.6 * exponential());
                });
                history.alarm(history.limit(per_sample).threshold);
            }
        }
        let alarmed = history.limit(per_sample).threshold;
        assert!(alarmed > 1.5 * quiet, "{alarmed}, {quiet} when quiet");
    }

    #[test]
    fn blocks_that_alarms_cut_short_are_not_counted_as_full() {
        let mut history = History::default();
        for _ in 0..1_000 {
            (0..8).for_each(|_| {
                history.observe(1.0);
            });
            history.alarm(5.0);
        }
        assert_eq!(history.covered_samples(), 8_000);
        assert!(history.block_samples <= 2 * 8_000 / (BLOCKS_MAX as u64 / 2), "{history:?}");
        assert!(history.blocks() < BLOCKS_MAX);
    }

    #[test]
    fn history_from_before_samples_were_counted_has_full_blocks() {
        let counted = history(40, 1.0);
        let mut stored = serde_json::to_value(&counted).expect("serialises");
        stored.as_object_mut().expect("an object").remove("covered_samples");
        let mut older: History = serde_json::from_value(stored).expect("restores");
        assert_eq!(older.threshold(1e-6), counted.threshold(1e-6));
        (0..BLOCK_SAMPLES).for_each(|_| {
            older.observe(1.0);
        });
        assert_eq!(older.covered_samples(), 41 * BLOCK_SAMPLES);
    }

    #[test]
    fn history_stays_bounded_and_keeps_its_extremes() {
        let mut history = History::default();
        for sample in 0..200_000u64 {
            history.observe(if sample == 100 { 50.0 } else { (sample % 7) as f64 });
        }
        assert!(history.blocks() < BLOCKS_MAX);
        assert!(history.block_samples > BLOCK_SAMPLES);
        assert!(history.maxima.iter().any(|maximum| maximum.hundredths() == 5_000));
    }
}
