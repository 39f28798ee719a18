//! What recurs: how far each part of a day, or of a week, ordinarily lies from the mean of the
//! whole. Learned from the means of the parts, period by period. Knows nothing of single samples,
//! of levels or of alarms.
//!
//! A period's means are taken apart into harmonics (a discrete Fourier transform), which are
//! averaged over the periods. How much of each harmonic is kept follows from its noise: that of the
//! means themselves, or the scatter from period to period where that is larger. A harmonic is
//! pooled towards nothing by the non-negative garrote (Breiman, "Better subset regression using the
//! nonnegative garrote", Technometrics 37, 1995) at the universal threshold (Donoho and Johnstone,
//! "Ideal spatial adaptation by wavelet shrinkage", Biometrika 81, 1994), so that a smooth day
//! costs two numbers and a signal without one nothing.
//!
//! Whether there is a period at all is decided by foresight, not by fit, since the path of one day
//! of a random walk looks like a day: the profile is believed once the parts that follow are
//! foreseen better with it than without.

use std::f64::consts::TAU;

use serde::{Deserialize, Serialize};

use super::shorts::Shorts;

/// A profile is believed at these odds (95 to 5) in favour of it, and disbelieved at the contrary.
const BELIEF_LOG_ODDS: f64 = 3.0;

/// Evidence stops to count at this rate a period: half of it after a period and a half.
const FORGETTING_A_PERIOD: f64 = 0.6;

/// An event counts up to so many times what the period before had at its time.
const GROWTH: f64 = 2.0;

/// Harmonics that are kept, as a share of the parts: a wave of less than four parts is no shape.
const HARMONICS_SHARE: usize = 4;

/// Deviations beyond this are taken for it: their squares stay finite.
const DEVIATION_MAX: f64 = 1e18;

/// The parts of a period.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// How many parts a period has.
    pub parts: usize,
    /// How long each is, in seconds. Periods begin at the Unix epoch's multiples of their length.
    pub part_s: i64,
    /// Two parts so far apart are compared to see whether the profile foresees their difference.
    pub lag: usize,
    /// Periods after which a profile is forgotten.
    pub memory_periods: f64,
}

/// One harmonic of a period.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Harmonic {
    cosine: f64,
    sine: f64,
    /// Mean squared distance of one period's coefficients from these, of either.
    variance: f64,
}

/// Harmonics as they are kept between two periods: cosine, sine and root mean squared distance of
/// each, one after another.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "HarmonicsOfAnyVersion")]
struct Harmonics(Shorts);

/// States used to hold each harmonic's cosine, sine and variance in single precision.
#[derive(Deserialize)]
#[serde(untagged)]
enum HarmonicsOfAnyVersion {
    Now(Shorts),
    Singles(Vec<(f32, f32, f32)>),
}

impl From<HarmonicsOfAnyVersion> for Harmonics {
    fn from(stored: HarmonicsOfAnyVersion) -> Harmonics {
        match stored {
            HarmonicsOfAnyVersion::Now(row) => Harmonics(row),
            HarmonicsOfAnyVersion::Singles(singles) => {
                let all = singles.into_iter().map(|(cosine, sine, variance)| {
                    let [cosine, sine, variance] = [cosine, sine, variance].map(f64::from);
                    Harmonic { cosine, sine, variance }
                });
                Harmonics::of(&all.collect::<Vec<_>>())
            }
        }
    }
}

impl Harmonics {
    fn of(harmonics: &[Harmonic]) -> Harmonics {
        let numbers = harmonics.iter().flat_map(|harmonic| {
            [harmonic.cosine, harmonic.sine, harmonic.variance.sqrt()].map(bounded)
        });
        Harmonics(Shorts::of(&numbers.collect::<Vec<_>>()))
    }

    /// So many of them; zeros if they are not there yet.
    fn read(&self, count: usize) -> Vec<Harmonic> {
        let harmonic = |index: usize| Harmonic {
            cosine: self.0.get(3 * index),
            sine: self.0.get(3 * index + 1),
            variance: self.0.get(3 * index + 2).powi(2),
        };
        (0..count).map(harmonic).collect()
    }
}

/// How one kind of period recurs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// The part under way, counted from the epoch, and what it has brought so far.
    part: i64,
    sum: f64,
    count: u32,
    /// The means of the latest period's parts, by position in the period, from `origin`.
    latest: Shorts,
    origin: f64,
    /// Parts seen in a row.
    seen: u32,
    /// Samples that a part usually has.
    usual_count: f64,
    harmonics: Harmonics,
    /// Whole periods learned.
    periods: u32,
    /// The profile, by position; empty before the first period.
    curve: Shorts,
    /// Mean squared error of foreseen differences, and how many there were.
    variance: f64,
    foreseen: u32,
    /// The evidence for the profile.
    log_odds: f64,
    believed: bool,
}

impl Profile {
    /// Takes a value of the part that `at_s` (Unix seconds) lies in; `noise` is the variance of one
    /// sample about its level (times what autocorrelation adds in a mean). `true` when that ended
    /// another part, after which the profile may have moved.
    pub fn observe(&mut self, shape: Shape, at_s: i64, value: f64, noise: f64) -> bool {
        // In most samples the part is the same: no division.
        let begun_s = self.part * shape.part_s;
        let ended = at_s < begun_s || begun_s + shape.part_s <= at_s;
        if ended {
            self.close(shape, at_s.div_euclid(shape.part_s), noise);
        }
        self.sum += value;
        self.count += 1;
        ended
    }

    /// Whether its periods have these parts.
    pub fn is_of(&self, shape: Shape) -> bool {
        self.latest.len() == shape.parts
    }

    /// What is believed of this time, between the middles of two parts in a straight line.
    pub fn at(&self, shape: Shape, at_s: f64) -> f64 {
        if !self.believed || self.curve.len() != shape.parts {
            return 0.0;
        }
        let position = at_s / shape.part_s as f64 - 0.5;
        let before = position.floor();
        let index = (before as i64).rem_euclid(shape.parts as i64) as usize;
        let next = if index + 1 == shape.parts { 0 } else { index + 1 };
        let (from, to) = (self.curve.get(index), self.curve.get(next));
        from + (position - before) * (to - from)
    }

    /// A value that may be of an event, as far as it teaches: it counts up to `reach` beyond what
    /// twice the same part of the period before was from the mean. What recurs is learned in full
    /// from its second time on, and what does not recur bends nothing for long. All of the first
    /// period counts: what recurs of it nobody can tell.
    pub fn teachable(&self, shape: Shape, at_s: i64, value: f64, reach: f64) -> f64 {
        if self.periods == 0 {
            return value;
        }
        let index = at_s.div_euclid(shape.part_s).rem_euclid(shape.parts as i64) as usize;
        let most = GROWTH * self.latest.get(index).abs() + reach;
        self.origin + (value - self.origin).clamp(-most, most)
    }

    /// Whether the profile is believed.
    pub fn is_believed(&self) -> bool {
        self.believed
    }

    /// The mean of the latest whole period.
    pub fn period_mean(&self) -> f64 {
        self.origin + self.latest.iter().sum::<f64>() / self.latest.len().max(1) as f64
    }

    /// The level moved for good: a period begins anew, as one that spans two levels looks like a
    /// season. While no profile is believed nothing tells a new level from a time of day, and
    /// periods that differ are averaged.
    pub fn level_moved(&mut self) {
        (self.sum, self.count) = (0.0, 0);
        if self.believed {
            self.seen = 0;
        }
    }

    #[inline(never)]
    fn close(&mut self, shape: Shape, next: i64, noise: f64) {
        if !self.is_of(shape) {
            let (part, sum, count) = (self.part, self.sum, self.count);
            let latest = Shorts::zeros(shape.parts);
            *self = Profile { part, sum, count, latest, ..Profile::default() };
        }
        let (ended, count) = (self.part, self.count);
        let mean = self.sum / f64::from(count.max(1));
        if self.seen == 0 {
            self.origin = mean;
            self.latest = Shorts::zeros(shape.parts);
        }
        (self.part, self.sum, self.count) = (next, 0.0, 0);
        if count > 0 {
            self.usual_count +=
                (f64::from(count) - self.usual_count) / f64::from(self.seen.min(99) + 1);
            self.take(shape, ended, mean, noise / self.usual_count.max(1.0));
        }
        // Parts without a sample are taken as ordinary ones, lest a gap look like a season.
        let missing = next - ended - i64::from(count > 0);
        if missing >= shape.parts as i64 {
            self.seen = 0;
            return;
        }
        let level = self.period_mean();
        for part in next - missing.max(0)..next {
            let index = part.rem_euclid(shape.parts as i64) as usize;
            self.latest.set(index, bounded(level - self.origin + self.curve.get(index)));
        }
    }

    fn take(&mut self, shape: Shape, part: i64, mean: f64, noise: f64) {
        let at = |part: i64| part.rem_euclid(shape.parts as i64) as usize;
        let (index, earlier) = (at(part), at(part - shape.lag as i64));
        if !self.curve.is_empty() && self.seen as usize >= shape.lag {
            let difference = mean - self.origin - self.latest.get(earlier);
            let foreseen = self.curve.get(index) - self.curve.get(earlier);
            self.judge(shape, difference, foreseen, noise);
        }
        self.latest.set(index, bounded(mean - self.origin));
        self.seen = self.seen.saturating_add(1);
        if (self.seen as usize).is_multiple_of(shape.parts) {
            self.learn_period(shape, noise);
        }
    }

    /// Whether a difference of two parts was foreseen better with the profile than without.
    /// Differences overlap: as many as the lag say the same.
    fn judge(&mut self, shape: Shape, difference: f64, foreseen: f64, noise: f64) {
        let error = difference - foreseen;
        self.foreseen = self.foreseen.saturating_add(1);
        let memory = f64::from(self.foreseen).min(shape.parts as f64);
        self.variance += (error * error - self.variance) / memory;
        let variance = self.variance.max(2.0 * noise).max(f64::MIN_POSITIVE);
        let gain = (difference * difference - error * error) / (2.0 * variance * shape.lag as f64);
        let keep = FORGETTING_A_PERIOD.powf(1.0 / shape.parts as f64);
        self.log_odds = keep * self.log_odds + gain.clamp(-1.0, 1.0);
        if self.log_odds.abs() > BELIEF_LOG_ODDS {
            self.believed = self.log_odds > 0.0;
        }
    }

    /// Averages the harmonics of the latest period into those of all, and draws the curve anew.
    fn learn_period(&mut self, shape: Shape, noise: f64) {
        let mut harmonics = self.harmonics.read(shape.parts / HARMONICS_SHARE);
        if self.log_odds < -BELIEF_LOG_ODDS {
            // What was learned misleads: it is begun anew from this period, and so is the evidence.
            harmonics.fill(Harmonic::default());
            (self.periods, self.foreseen) = (0, 0);
            (self.variance, self.log_odds) = (0.0, 0.0);
        }
        self.periods = self.periods.saturating_add(1);
        let memory = f64::from(self.periods).min(shape.memory_periods);
        self.center();
        let transformed = transform(&self.latest, harmonics.len());
        for (harmonic, (cosine, sine)) in harmonics.iter_mut().zip(transformed) {
            let (off_cosine, off_sine) = (cosine - harmonic.cosine, sine - harmonic.sine);
            harmonic.cosine += off_cosine / memory;
            harmonic.sine += off_sine / memory;
            if self.periods > 1 {
                // A period differs from the mean of n others by (n + 1) / n times its variance.
                let before = memory - 1.0;
                let square = f64::midpoint(off_cosine * off_cosine, off_sine * off_sine);
                let square = square * before / memory;
                harmonic.variance += (square - harmonic.variance) / before;
            }
        }
        self.draw(shape, &harmonics, 2.0 * noise / shape.parts as f64, memory);
        self.harmonics = Harmonics::of(&harmonics);
    }

    /// Counts the means from their own mean: however a signal grows, they stay small.
    fn center(&mut self) {
        let mean = self.period_mean();
        let by = self.origin - mean;
        let centered: Vec<f64> = self.latest.iter().map(|earlier| earlier + by).collect();
        self.latest = Shorts::of(&centered);
        self.origin = mean;
    }

    /// The curve from the harmonics, each pooled towards nothing by its noise.
    fn draw(&mut self, shape: Shape, harmonics: &[Harmonic], white: f64, periods: f64) {
        let count = harmonics.len();
        let universal = (count as f64).ln();
        let mut kept: Vec<(f64, f64)> = Vec::with_capacity(count);
        for order in 1..=count {
            // The scatter of a single harmonic over a few periods is known badly: an octave's is
            // better.
            let band = &harmonics[(order - 1) / 2..(2 * order).min(count)];
            let scatter = band.iter().map(|other| other.variance).sum::<f64>();
            let noise = white.max(scatter / band.len() as f64) / periods;
            let Harmonic { cosine, sine, .. } = harmonics[order - 1];
            let power = f64::midpoint(cosine * cosine, sine * sine);
            let share = (1.0 - universal * noise / power.max(f64::MIN_POSITIVE)).max(0.0);
            kept.push((share * cosine, share * sine));
        }
        let deviation =
            |(waves, (cosine, sine)): (Waves, &(f64, f64))| waves.0 * cosine + waves.1 * sine;
        let curve: Vec<f64> = (0..shape.parts)
            .map(|index| waves(index, shape.parts).zip(&kept).map(deviation).sum())
            .collect();
        self.curve = Shorts::of(&curve);
    }
}

/// Finite, and its square too.
fn bounded(number: f64) -> f64 {
    number.clamp(-DEVIATION_MAX, DEVIATION_MAX)
}

/// Cosine and sine of one harmonic at one part.
type Waves = (f64, f64);

/// The waves of the harmonics, from the first on, at one part of a period: each is the one before,
/// turned by as much as the first.
fn waves(index: usize, parts: usize) -> impl Iterator<Item = Waves> {
    let (sine, cosine) = (TAU * index as f64 / parts as f64).sin_cos();
    let turn = move |wave: &Waves| {
        Some((wave.0 * cosine - wave.1 * sine, wave.1 * cosine + wave.0 * sine))
    };
    std::iter::successors(Some((cosine, sine)), turn)
}

/// The coefficients of so many harmonics of a period's means, whose own mean is zero.
fn transform(means: &Shorts, count: usize) -> Vec<(f64, f64)> {
    let parts = means.len();
    let scale = 2.0 / parts as f64;
    let mut coefficients = vec![(0.0, 0.0); count];
    for (index, mean) in means.iter().enumerate() {
        for (coefficient, wave) in coefficients.iter_mut().zip(waves(index, parts)) {
            coefficient.0 += scale * mean * wave.0;
            coefficient.1 += scale * mean * wave.1;
        }
    }
    coefficients
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::detect::noise::normal;

    const SHAPE: Shape = Shape { parts: 24, part_s: 3_600, lag: 3, memory_periods: 21.0 };
    const PER_PART: i64 = 10;

    fn learned(days: i64, mut value: impl FnMut(f64, &mut ChaCha8Rng) -> f64) -> Profile {
        let mut random = ChaCha8Rng::seed_from_u64(3);
        let mut profile = Profile::default();
        for sample in 0..days * 24 * PER_PART {
            let at_s = sample * SHAPE.part_s / PER_PART;
            let day = TAU * at_s as f64 / 86_400.0;
            profile.observe(SHAPE, at_s, value(day, &mut random), 1.0);
        }
        profile
    }

    #[test]
    fn a_day_is_known_after_two_and_what_is_no_day_never() {
        let wave = learned(2, |day, random| 1e8 + 2.0 * day.sin() + normal(random));
        assert!(wave.is_believed());
        for hour in 0..24 {
            let truth = 2.0 * (TAU * (f64::from(hour) + 0.5) / 24.0).sin();
            let known = wave.at(SHAPE, (f64::from(hour) + 0.5) * 3_600.0);
            assert!((known - truth).abs() < 0.35, "{hour}: {known} for {truth}");
        }
        assert!(!learned(21, |_, random| normal(random)).is_believed());
    }

    #[test]
    fn a_day_that_ends_is_no_longer_believed() {
        let mut days = 0.0;
        let ended = learned(12, |day, random| {
            days = day / TAU;
            let amplitude = if days < 6.0 { 2.0 } else { 0.0 };
            amplitude * day.sin() + normal(random)
        });
        assert!(!ended.is_believed());
    }

    #[test]
    fn a_profile_of_other_parts_is_begun_anew() {
        let mut profile = learned(3, |day, random| 2.0 * day.sin() + normal(random));
        let finer = Shape { parts: 48, part_s: 1_800, lag: 6, ..SHAPE };
        assert!(profile.is_believed());
        assert_eq!(profile.at(finer, 3.0 * 86_400.0), 0.0);
        profile.observe(finer, 3 * 86_400, 0.0, 1.0);
        assert!(!profile.is_believed());
    }

    #[test]
    fn an_event_teaches_twice_what_was_there_before_and_its_reach() {
        let profile = learned(2, |day, _| if day < TAU { 0.0 } else { 5.0 * day.sin() });
        let at_s = |hour: i64| 2 * 86_400 + 3_600 * hour;
        // At six it was 5, at noon nothing to speak of.
        let taught = |hour: i64, value: f64| profile.teachable(SHAPE, at_s(hour), value, 3.0);
        assert!((taught(6, 100.0) - 13.0).abs() < 0.3, "{}", taught(6, 100.0));
        assert!((taught(12, -100.0) + 3.0).abs() < 1.6, "{}", taught(12, -100.0));
        assert_eq!(taught(6, 7.0), 7.0);
        assert_eq!(Profile::default().teachable(SHAPE, at_s(6), 100.0, 3.0), 100.0);
    }

    #[test]
    fn a_gap_is_no_season() {
        let mut random = ChaCha8Rng::seed_from_u64(4);
        let mut profile = Profile::default();
        for sample in 0..14 * 24 * PER_PART {
            let at_s = sample * SHAPE.part_s / PER_PART;
            // Nobody samples at night.
            if at_s % 86_400 > 6 * 3_600 {
                profile.observe(SHAPE, at_s, 100.0 + normal(&mut random), 1.0);
            }
        }
        assert!(!profile.is_believed());
    }
}
