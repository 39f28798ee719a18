//! What a signal ordinarily does: its level, how long it remembers a deviation, how it scatters.
//! Predicts the next sample and turns it into an innovation that is standard normal while nothing
//! changes. Raises no alarm; whoever calls decides what is ordinary enough to be learned.
//!
//! Two regimes. A signal that moves scatters around a level: its first-order autocorrelation is
//! removed, and what is left is held against a Student t. A signal that mostly stands still (a
//! constant, a count that changes now and then, a flow that is mostly zero) is expected where it
//! is, and its moves are held against its earlier moves. There a move counts once, however long the
//! new value stays. What falls of counts are held against, in either regime, is `flow`'s.

use serde::{Deserialize, Serialize};

use super::{
    family::Fall,
    level::Level,
    season::{Recurrence, Season, Times},
    spread::{Histogram, SCALE_MIN, StudentT},
};
use crate::{incident::Change, series::Time};

mod flow;
mod moments;
mod resolution;
mod stillness;

/// Samples before the first prediction: enough for a median and a first scale that a fifth of bad
/// samples cannot bend, few enough that a daemon sees huge leaps in its first minutes.
pub const WARM_UP_SAMPLES: usize = 24;

/// Scatter and autocorrelation forget with this one, a day and a half at 15 s: night and day count.
const NOISE_MEMORY: u32 = 8_192;

/// Moves of a still signal are rare, so they are remembered for a month at 15 s.
const MOVES_MEMORY: u32 = 200_000;

/// An innovation moves the level by no more than this many scales' worth.
const CLIP_SCALES: f64 = 3.0;

/// The band of ordinary values, in standard deviations of a normal distribution: 99.7 % of samples.
const BAND_Z: f64 = 3.0;

/// A signal that repeats its last value in more than this share of samples stands still.
const STILL_SHARE: f64 = 0.5;

/// For a season deviations count up to so many times what they count for the level.
const SEASON_REACH: f64 = 8.0;
/// At first the level's blocks are this part of what it rests on.
const EARLY_BLOCKS: f64 = 16.0;
/// Once a season is known, what was learned of the scatter without it counts as so many samples.
const NOISE_AFTER_ADOPTION: f64 = 240.0;

/// The fit is renewed once there is an eighth more to fit: a scale moves by less than its error in
/// between. Memory ends the growth.
const FIT_SHARE: u64 = 8;
const FIT_MIN: u64 = 4;
const FIT_MAX: u64 = 512;

/// A day, and the longest part of a profile: so long before a change it is clear of that.
const DAY_S: f64 = 86_400.0;
const PART_S: f64 = 3_600.0;

/// Gaps longer than this many intervals forget the previous deviation entirely.
const GAP_INTERVALS_MAX: f64 = 1_000.0;

/// A signal's ordinary behaviour.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// The first samples, until there are enough.
    warm_up: Vec<f64>,
    /// Samples learned.
    samples: u64,
    last: Option<Last>,
    level: Level,
    season: Season,
    /// Samples since which scatter and autocorrelation have been learned, in effect.
    noise_samples: f64,
    /// Means of `d_t d_{t-1}` and of `d²`: their ratio is the autocorrelation.
    product: f64,
    square: f64,
    /// The autocorrelation that is removed.
    persistence: f64,
    /// Mean square, beyond 1, and mean cube of standardised innovations, the mean square of the
    /// cubes, the skewness that is believed, and how much of it is removed.
    #[serde(default)]
    narrow_excess: f64,
    cube: f64,
    cube_square: f64,
    #[serde(default)]
    lean: f64,
    skewness: f64,
    /// Mean of what is held against the test, its mean square, and how much of the mean is removed.
    /// States from before these were kept begin without.
    #[serde(default)]
    mean: f64,
    #[serde(default)]
    mean_square: f64,
    #[serde(default)]
    center: f64,
    /// Samples in a row that were not negative.
    #[serde(default)]
    unsigned: u64,
    /// The share of samples that repeat their predecessor.
    still: f64,
    /// Decimal places seen.
    decimals: u8,
    /// Sizes of innovations.
    noise: Histogram,
    /// Sizes of moves from sample to sample.
    moves: Histogram,
    fitted: StudentT,
    /// The innovations that are as rare as one standard deviation and as the band's edge, and half
    /// the width of a still signal's band. Computed with the fit, as they take a while.
    sigma: f64,
    edge: f64,
    still_band: f64,
    /// The fit is renewed when this many samples are learned.
    fit_at: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Last {
    /// In Unix seconds.
    at_s: f64,
    value: f64,
    /// What the season was.
    season: f64,
}

/// What the next sample should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expectation {
    /// The value.
    pub value: f64,
    /// Half the width of the band in which ordinary values lie.
    pub band: f64,
    /// The level to which the signal belongs at this time, whatever the last deviation.
    pub level: f64,
    /// What is ordinary at this time, even if the signal stands still.
    times: Times,
    /// The time, in Unix seconds.
    at_s: f64,
    /// By how much the scatter is wider than the fitted one: the level's own uncertainty, and gaps.
    widening: f64,
    /// The latest sample's deviation from its level, and the value that follows from it unless the
    /// signal stands still. That is learned on even if it does, for the day when it comes to life.
    deviation: f64,
    scattering: f64,
    /// The signal stands still.
    still: bool,
    /// The previous sample is one interval away.
    adjacent: bool,
    /// What falls are held against instead, of counts.
    pub fall: Option<Fall>,
}

/// A value, held against what was expected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observed {
    /// As it is.
    pub value: f64,
    /// Its innovation, as a standard normal one.
    pub innovation: f64,
    /// Its innovation in the scatter as it is fitted, and the same without skewness.
    narrow: f64,
    symmetric: f64,
}

impl Default for Baseline {
    fn default() -> Baseline {
        Baseline {
            warm_up: Vec::with_capacity(WARM_UP_SAMPLES),
            samples: 0,
            last: None,
            level: Level::default(),
            season: Season::default(),
            noise_samples: 0.0,
            product: 0.0,
            square: 0.0,
            persistence: 0.0,
            cube: 0.0,
            cube_square: 0.0,
            skewness: 0.0,
            mean: 0.0,
            mean_square: 0.0,
            center: 0.0,
            narrow_excess: 0.0,
            lean: 0.0,
            unsigned: 0,
            still: 0.0,
            decimals: 0,
            noise: Histogram::default(),
            moves: Histogram::default(),
            fitted: StudentT { scale: 1.0, freedom: 1.0, scale_freedom: 1.0 },
            sigma: 1.0,
            edge: BAND_Z,
            still_band: 0.0,
            fit_at: 0,
        }
    }
}

impl Baseline {
    /// There is enough history to predict.
    pub fn is_warm(&self) -> bool {
        self.samples >= WARM_UP_SAMPLES as u64
    }

    /// Samples learned.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// The variance of the level in that of a sample. A still signal's level is its last value.
    pub fn level_error(&self) -> f64 {
        if self.still > STILL_SHARE { 0.0 } else { self.level.error() }
    }

    /// The level rests on enough samples for what differs from it to be scatter.
    pub fn is_settled(&self) -> bool {
        self.still > STILL_SHARE || self.level.is_settled()
    }

    /// The shift of the level that shows as so many innovations of this mean: the first one shows
    /// it whole, the later ones without what autocorrelation takes for granted. `None` for a signal
    /// that stands still, unless it falls as counts do.
    pub fn shift(&self, samples: f64, mean_innovation: f64, fall: Option<&Fall>) -> Option<f64> {
        let deviation = match fall {
            Some(fall) => fall.deviation,
            None if self.still > STILL_SHARE => return None,
            None => self.sigma,
        };
        let shown = 1.0 + (samples - 1.0) * (1.0 - self.persistence);
        Some(deviation * mean_innovation * samples / shown)
    }

    /// Takes a sample of the warm-up.
    pub fn warm_up(&mut self, at: Time, value: f64) {
        debug_assert!(!self.is_warm());
        self.note_kind(value);
        self.warm_up.push(value);
        self.samples += 1;
        self.last = Some(Last { at_s: unix_s(at), value, season: 0.0 });
        if self.is_warm() {
            let values = std::mem::take(&mut self.warm_up);
            self.learn_first(&values);
        }
    }

    /// Level by a winsorised mean around the median, scatter and autocorrelation around that.
    fn learn_first(&mut self, values: &[f64]) {
        let middle = median(values.iter().copied());
        // 1.4826 makes the median absolute deviation of normal noise its standard deviation.
        let spread = 1.4826 * median(values.iter().map(|value| (value - middle).abs()));
        let reach = CLIP_SCALES * spread.max(self.scale_min());
        let count = values.len() as f64;
        let clipped = |center: f64| {
            values
                .iter()
                .map(move |value| (value - center).clamp(-reach, reach))
                .collect::<Vec<_>>()
        };
        let level = middle + clipped(middle).iter().sum::<f64>() / count;
        self.level.start(level, count);
        self.noise_samples = count;
        let deviations = clipped(level);
        let pairs = deviations.windows(2);
        self.product = pairs.map(|pair| pair[0] * pair[1]).sum::<f64>() / (count - 1.0);
        self.square = deviations.iter().map(|d| d * d).sum::<f64>() / count;
        self.persistence = self.estimate_persistence();
        let mut still = 0.0;
        for pair in values.windows(2) {
            let expected = level + self.persistence * (pair[0] - level);
            self.noise.add(self.countable(pair[1] - expected));
            self.moves.add((pair[1] - pair[0]).abs());
            still += f64::from(u8::from(pair[1] == pair[0]));
        }
        self.still = still / (count - 1.0);
        self.fit();
    }

    /// What the sample taken `at` should be. Only once warm.
    pub fn expect(&self, at: Time, interval_s: f64) -> Expectation {
        debug_assert!(self.is_warm());
        let at_s = unix_s(at);
        let steps = self.last.map_or(1.0, |last| intervals_between(last.at_s, at_s, interval_s));
        let adjacent = steps == 1.0;
        // An autoregression seen every k-th time is one with φ^k and that much more scatter.
        let persistence = if adjacent { self.persistence } else { self.persistence.powf(steps) };
        let times = self.season.at(at_s);
        let deviation = self.last_deviation();
        let level = self.level.now() + times.sum();
        if self.still > STILL_SHARE {
            let last = self.last.map_or_else(|| self.level.now(), |last| last.value);
            return Expectation {
                value: last,
                band: self.still_band,
                level: last,
                times,
                at_s,
                widening: 1.0,
                deviation,
                scattering: level + self.persistence * deviation,
                still: true,
                adjacent,
                fall: self.fall(times.sum(), 1.0, persistence),
            };
        }
        let mut widening = 1.0 + self.level.error();
        if !adjacent {
            widening *= (1.0 - persistence * persistence) / self.unforeseen();
        }
        let widening = widening.sqrt() * self.season.scatter_at(at_s);
        let scattering = level + persistence * deviation;
        Expectation {
            value: scattering,
            band: self.edge * widening,
            level,
            times,
            at_s,
            widening,
            deviation,
            scattering,
            still: false,
            adjacent,
            fall: self.fall(times.sum(), widening, persistence),
        }
    }

    /// How far the latest sample was from its level.
    fn last_deviation(&self) -> f64 {
        self.last.map_or(0.0, |last| last.value - last.season - self.level.now())
    }

    /// Holds a value against what was expected. Whether it is `exact` matters to what stands still.
    pub fn observe(&self, expected: &Expectation, value: f64, exact: bool) -> Observed {
        let narrow = (value - expected.scattering) / expected.widening;
        let symmetric = self.symmetric(narrow);
        let innovation = if expected.still {
            self.stillness(exact).standardise(value - expected.value)
        } else {
            self.fitted.standardise(symmetric) - self.center
        };
        Observed { value, innovation, narrow, symmetric }
    }

    /// A log-likelihood ratio, for a scatter that is estimated.
    pub fn discount(&self, ratio: f64) -> f64 {
        if self.still > STILL_SHARE { ratio } else { self.fitted.discount(ratio) }
    }

    /// The least leap that a single sample shows with this log-likelihood ratio.
    pub fn leap(&self, ratio: f64, exact: bool) -> f64 {
        if self.still > STILL_SHARE {
            return self.stillness(exact).innovation((2.0 * ratio).sqrt());
        }
        let z = (2.0 * self.fitted.undiscounted(ratio)).sqrt();
        self.fitted.innovation(z) * (1.0 + self.level.error()).sqrt()
    }

    /// How far from its level the signal ordinarily is, whatever it was before. After a fall of a
    /// signal that mostly stands still, its level is more than its last value.
    pub fn ordinary(&self, fall: Option<&Fall>) -> Ordinary {
        if self.still > STILL_SHARE {
            let persistence = self.persistence;
            let scatter = fall.map(|fall| Scatter { sigma: fall.deviation, persistence });
            return Ordinary { band: self.still_band, scatter };
        }
        Ordinary {
            band: self.edge / self.unforeseen().sqrt(),
            scatter: Some(Scatter { sigma: self.sigma, persistence: self.persistence }),
        }
    }

    /// Learns an ordinary sample: its scatter, its time of day and, unless a small change is
    /// suspected, its level. `true` when what was learned so far of the scatter's extremes holds
    /// no longer.
    pub fn learn(
        &mut self,
        expected: &Expectation,
        observed: &Observed,
        interval_s: f64,
        follow: bool,
    ) -> bool {
        let value = observed.value;
        self.note_kind(value);
        self.samples += 1;
        self.noise_samples += 1.0;
        let before = self.last.map_or(value, |last| last.value);
        self.moves.add((value - before).abs());
        let memory = self.noise_samples.min(f64::from(NOISE_MEMORY));
        let share = 1.0 / memory;
        self.still += (f64::from(u8::from(value == before)) - self.still) * share;
        let season = expected.times.sum();
        let now = value - season - self.level.now();
        if self.level.is_settled() {
            self.learn_skewness(observed.narrow, share);
        }
        let size = self.countable(observed.symmetric);
        self.noise.add(size);
        let reach = self.reach();
        if expected.adjacent {
            self.learn_persistence(expected.deviation, now, reach, share);
        }
        let wide = size.max(self.scale_min()) * expected.widening;
        let clipped = |most: f64| value - (now.abs() - most).max(0.0).copysign(now);
        // What counts for a flow's level is a share of its samples: it is never far off.
        let youth = if self.is_still_flow() { 1.0 } else { self.level.youth() };
        let ordinary = clipped(reach * youth);
        // A season that is not known yet looks like a deviation.
        let seasonal = clipped(SEASON_REACH * reach);
        let noise = self.noise_in_means();
        let (at_s, times) = (expected.at_s, expected.times);
        let progress = self.season.observe(at_s, interval_s, times, seasonal, noise, wide.ln());
        if follow {
            self.level.observe(ordinary - season);
            if self.level.is_settled() && !expected.still {
                self.learn_mean(observed.innovation + self.center, share);
            }
        }
        let early = f64::from(self.level.pending()) >= self.level.samples() / EARLY_BLOCKS;
        if progress.part_ended || early {
            self.level.close_block();
        }
        if let Some(level) = progress.level {
            self.level.start(level, NOISE_AFTER_ADOPTION);
            self.limit_noise();
        }
        let season = if progress.part_ended { self.season.at(at_s).sum() } else { season };
        self.last = Some(Last { at_s, value, season });
        if self.samples >= self.fit_at {
            self.fit();
        }
        progress.level.is_some()
    }

    /// Learns of a sample that was not ordinary only how far from its expectation it was. A still
    /// signal's moves are not learned like this: there is no tail to be fitted.
    pub fn learn_size(&mut self, standard: f64) {
        if self.still <= STILL_SHARE {
            let size = self.fitted.innovation((standard + self.center).abs());
            self.noise.add(self.countable(size));
        }
    }

    /// Deviations from the level count up to here.
    fn reach(&self) -> f64 {
        CLIP_SCALES * self.fitted.scale / self.unforeseen().sqrt()
    }

    /// The share of the variance around the level that the previous deviation does not foresee.
    fn unforeseen(&self) -> f64 {
        1.0 - self.persistence * self.persistence
    }

    /// The variance of a sample in a mean of many, autocorrelation included.
    fn noise_in_means(&self) -> f64 {
        let sigma = self.sigma / (1.0 - self.persistence);
        sigma * sigma
    }

    /// Takes note of a sample that is not to be learned: the next one is still predicted from it.
    pub fn pass(&mut self, at: Time, value: f64) {
        self.last = Some(Last { at_s: unix_s(at), value, season: self.season_at(at) });
        self.level.discard_blocks();
    }

    /// Learns of a sample during a change only its time of day and week, and that only as far as
    /// none is believed: until then nothing tells a change from one, and what raises an alarm each
    /// morning, or each Saturday, would never be learned. `true` when that made one believed. The
    /// level is then the one that, with it, explains what was expected before the change.
    pub fn learn_season(&mut self, at: Time, interval_s: f64, value: f64, change: &Change) -> bool {
        if self.still > STILL_SHARE {
            return false;
        }
        let (at_s, noise) = (unix_s(at), self.noise_in_means());
        let times = self.season.at(at_s);
        let known =
            self.season.observe_change(at_s, interval_s, times, value, (noise, self.reach()));
        if let Some(recurrence) = known {
            self.level.shift(-self.recurred_before(recurrence, change.onset, interval_s));
            self.limit_noise();
        }
        known.is_some()
    }

    /// What a day or a week that is known only now added to the level before a change: a level that
    /// knew no day followed it, and one that knew no week is a mean.
    fn recurred_before(&self, recurrence: Recurrence, onset: Time, interval_s: f64) -> f64 {
        // At the onset itself the parts on both sides of it mix.
        let clear_s = unix_s(onset) - PART_S;
        let rests_on_s = match recurrence {
            Recurrence::Day => 0.0,
            Recurrence::Week => (self.level.samples() * interval_s).clamp(0.0, DAY_S - PART_S),
        };
        let parts = 1 + (rests_on_s / PART_S) as u32;
        let added = (0..parts).map(|part| {
            let at_s = clear_s - PART_S * f64::from(part);
            self.season.at(at_s).of(recurrence)
        });
        added.sum::<f64>() / f64::from(parts)
    }

    /// What was learned of the scatter without a season says little of it with one.
    fn limit_noise(&mut self) {
        self.noise_samples = self.noise_samples.min(NOISE_AFTER_ADOPTION);
        self.noise.limit(NOISE_AFTER_ADOPTION as u32);
    }

    /// What the signal should be at this time if it is on its level.
    pub fn level_at(&self, at: Time) -> f64 {
        self.level.now() + self.season_at(at)
    }

    /// The level without them, of a signal that does not stand still.
    pub fn moving_level(&self) -> Option<f64> {
        (self.still <= STILL_SHARE).then(|| self.level.now())
    }

    /// What the times of day and week add at this time.
    pub fn season_at(&self, at: Time) -> f64 {
        self.season.at(unix_s(at)).sum()
    }

    /// Unlearns what was learned since a change: the level as it was expected then.
    pub fn unlearn(&mut self, onset: Time, level: f64) {
        self.level.shift(level - self.level_at(onset));
    }

    /// A new normal: the mean of so many samples, without the season.
    pub fn rebase(&mut self, level: f64, samples: f64) {
        self.season.level_moved();
        self.level.restart(level, samples);
    }

    fn fit(&mut self) {
        self.noise.limit(NOISE_MEMORY);
        self.moves.limit(MOVES_MEMORY);
        self.persistence = self.estimate_persistence();
        self.lean = self.estimate_lean();
        self.skewness = self.removed_skewness();
        self.center = self.estimate_center();
        self.fitted = StudentT::fit(&self.noise, self.scale_min());
        (self.sigma, self.edge) = (self.fitted.innovation(1.0), self.fitted.innovation(BAND_Z));
        if self.still > STILL_SHARE / 2.0 {
            self.still_band = self.stillness(false).innovation(BAND_Z);
        }
        self.fit_at = self.samples + (self.samples / FIT_SHARE).clamp(FIT_MIN, FIT_MAX);
    }
}

/// The ordinary distance from the level.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ordinary {
    /// Half the width of the band around the level.
    pub band: f64,
    /// Of a signal that moves.
    pub scatter: Option<Scatter>,
}

/// How a signal that moves scatters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scatter {
    /// The innovation that is as rare as one standard deviation.
    pub sigma: f64,
    /// The autocorrelation.
    pub persistence: f64,
}

fn unix_s(at: Time) -> f64 {
    at.timestamp_millis() as f64 / 1e3
}

fn intervals_between(from_s: f64, to_s: f64, interval_s: f64) -> f64 {
    let elapsed_s = to_s - from_s;
    if elapsed_s < 1.5 * interval_s {
        // As it mostly is.
        return 1.0;
    }
    let steps = (elapsed_s / interval_s).round();
    if steps.is_finite() { steps.clamp(1.0, GAP_INTERVALS_MAX) } else { 1.0 }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        count => f64::midpoint(sorted[(count - 1) / 2], sorted[count / 2]),
    }
}
