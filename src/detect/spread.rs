//! How far innovations ordinarily lie from what was expected: a decaying histogram of their sizes,
//! a Student t fitted to it, and for series that mostly stand still a bound without any model.
//! Turns an innovation into a standard normal one. Knows nothing of levels or time.

use serde::{Deserialize, Serialize};
use statrs::{
    distribution::{ContinuousCDF, Normal},
    function::gamma::ln_gamma,
};

/// Bins of a factor of two. A bin is 19 % wide, against which the fit's own error at a thousand
/// samples is large.
const BINS_PER_OCTAVE: f64 = 4.0;

/// Occupied bins at most: twelve octaves. Beyond, the smallest sizes share a bin: they decide
/// nothing.
const BINS_MAX: usize = 48;

/// Bins for which room is made at once.
const BINS_MORE: usize = 8;

/// Reciprocal degrees of freedom that the fit weighs against each other: from nearly normal to
/// tails with hardly a variance, each half as plausible at first as the one before.
const TAIL_INDEXES: [f64; 10] = [0.002, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.48];

/// Parameters estimated from the same samples and priced in nowhere else: autocorrelation,
/// skewness.
const ESTIMATED: f64 = 2.0;

/// Rounds of the fit of one scale (expectation-maximisation, which gains a digit in three).
const FIT_ROUNDS: usize = 5;

/// Standardised sizes beyond this are one: squares stay finite.
const STANDARDISED_MAX: f64 = 1e60;

/// The logarithm of one ratio of a Pareto tail of index two, in the mean.
const PARETO_PRIOR: f64 = 0.5;

/// Sizes beyond two to this power are not searched for: they still have a finite double.
const SIZE_LOG2_MAX: f64 = 1_000.0;

/// Scales below this are one: quotients stay finite.
pub const SCALE_MIN: f64 = 1e-150;

/// Sizes with counts that fade.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// Logarithmic bins with their counts, in order; only occupied ones.
    bins: Vec<Bin>,
    /// Zeros have no bin.
    zeros: u32,
}

/// A logarithmic bin and its count, in four bytes: the bin in the upper twelve bits, the count in
/// the lower twenty, of which the longest memory of moves needs nineteen.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "(i16, u32)", from = "(i16, u32)")]
struct Bin(u32);

impl Bin {
    const COUNT_BITS: u32 = 20;
    const COUNT_MAX: u32 = (1 << Bin::COUNT_BITS) - 1;

    fn new(place: i16, count: u32) -> Bin {
        Bin((i32::from(place) << Bin::COUNT_BITS) as u32 | count.min(Bin::COUNT_MAX))
    }

    /// Which bin it is.
    fn place(self) -> i16 {
        (self.0 as i32 >> Bin::COUNT_BITS) as i16
    }

    fn count(self) -> u32 {
        self.0 & Bin::COUNT_MAX
    }

    fn with_more(self, count: u32) -> Bin {
        Bin::new(self.place(), self.count() + count)
    }
}

impl From<Bin> for (i16, u32) {
    fn from(bin: Bin) -> (i16, u32) {
        (bin.place(), bin.count())
    }
}

impl From<(i16, u32)> for Bin {
    fn from((place, count): (i16, u32)) -> Bin {
        Bin::new(place, count)
    }
}

impl Histogram {
    /// Counts one size.
    pub fn add(&mut self, size: f64) {
        if size <= 0.0 {
            self.zeros = self.zeros.saturating_add(1);
            return;
        }
        let place = bin_of(size);
        match self.find(place) {
            Ok(index) => self.bins[index] = self.bins[index].with_more(1),
            Err(index) => self.occupy(index, place),
        }
    }

    /// Where a bin is, or else where it belongs. Around the middle no bin is empty, and there
    /// nearly all sizes are: their places follow from the middle one's.
    fn find(&self, place: i16) -> Result<usize, usize> {
        let middle = self.bins.len() / 2;
        let away = self.bins.get(middle).map_or(0, |bin| isize::from(place - bin.place()));
        let guess = middle.wrapping_add_signed(away);
        if self.bins.get(guess).is_some_and(|bin| bin.place() == place) {
            return Ok(guess);
        }
        self.bins.binary_search_by_key(&place, |bin| bin.place())
    }

    /// One more bin, of which one is counted.
    fn occupy(&mut self, index: usize, place: i16) {
        if self.bins.len() >= BINS_MAX {
            if index == 0 {
                self.bins[0] = self.bins[0].with_more(1);
                return;
            }
            let smallest = self.bins.remove(0);
            self.bins[0] = self.bins[0].with_more(smallest.count());
            self.bins.insert(index - 1, Bin::new(place, 1));
            return;
        }
        if self.bins.len() == self.bins.capacity() {
            self.bins.reserve_exact(BINS_MORE);
        }
        self.bins.insert(index, Bin::new(place, 1));
    }

    /// Halves all counts once there are more than twice `memory`: between one and two memories'
    /// worth of samples count. Halves are rounded up, so that a rare size takes long to be
    /// forgotten.
    pub fn limit(&mut self, memory: u32) {
        if self.weight() <= 2.0 * f64::from(memory) {
            return;
        }
        self.zeros = self.zeros.div_ceil(2);
        // A single one would stay for ever: it goes.
        self.bins.retain(|bin| bin.count() > 1);
        for bin in &mut self.bins {
            *bin = Bin::new(bin.place(), bin.count().div_ceil(2));
        }
    }

    /// How many samples count.
    pub fn weight(&self) -> f64 {
        let sized: u64 = self.bins.iter().map(|bin| u64::from(bin.count())).sum();
        (sized + u64::from(self.zeros)) as f64
    }

    /// An upper bound of the chance that the next size reaches `size`, without any model:
    /// Chebyshev's inequality on each past size b, `min(1, (b / size)²)`, and on one more of a
    /// `unit` that has not been seen yet. For a series that never moved in n samples this is the
    /// rule of succession: a move of one unit has a chance of 1 / (n + 1), one of k units 1 / ((n +
    /// 1) k²).
    fn tail(&self, size: f64, unit: f64) -> f64 {
        let share = |past: f64| {
            let ratio = (past / size).min(1.0);
            ratio * ratio
        };
        let seen = self.bins.iter().map(|bin| f64::from(bin.count()) * share(upper(bin.place())));
        ((seen.sum::<f64>() + share(unit)) / (self.weight() + 1.0)).min(1.0)
    }

    /// The chance that the next size reaches one that lies beyond all that were seen, from the
    /// largest quarter of them: their excesses over its least are exponential, or the logarithms of
    /// their ratios to it are (a Pareto tail: Hill, "A simple general approach to inference about
    /// the tail of a distribution", Annals of Statistics 3, 1975). Each model has an inverse-gamma
    /// prior of one excess, by a `unit` or of the index two that `tail` holds for the heaviest, and
    /// is weighed by its evidence; the chance is that of the predictive distribution.
    fn beyond(&self, size: f64, unit: f64) -> f64 {
        let Some((count, least)) = self.largest_quarter() else { return 1.0 };
        let (mut excess, mut ratio, mut size_log) = (unit, PARETO_PRIOR, 0.0);
        for bin in self.bins.iter().filter(|bin| upper(bin.place()) > least) {
            let (count, end) = (f64::from(bin.count()), upper(bin.place()));
            excess += count * (end - least);
            ratio += count * (end / least).ln();
            size_log += count * end.ln();
        }
        let shape = count + 1.0;
        let exponential = unit.ln() - shape * excess.ln();
        let pareto = PARETO_PRIOR.ln() - shape * ratio.ln() - size_log;
        let heavy = 1.0 / (1.0 + (exponential - pareto).exp());
        let light_chance = (1.0 + (size - least) / excess).powf(-shape);
        let heavy_chance = (1.0 + (size / least).ln() / ratio).powf(-shape);
        shape / (self.weight() + 1.0) * (heavy * heavy_chance + (1.0 - heavy) * light_chance)
    }

    /// How many sizes the largest quarter holds, in whole bins, and where it begins.
    fn largest_quarter(&self) -> Option<(f64, f64)> {
        let all: u32 = self.bins.iter().map(|bin| bin.count()).sum();
        let mut count = 0;
        let last = self.bins.iter().rev().find(|bin| {
            count += bin.count();
            4 * u64::from(count) >= u64::from(all)
        })?;
        Some((f64::from(count), upper(last.place() - 1)))
    }

    /// A size that none has exceeded.
    fn largest(&self) -> f64 {
        self.bins.last().map_or(0.0, |bin| upper(bin.place()))
    }
}

/// The bin of a size: four times its logarithm to base two, rounded down. Read off the number's own
/// exponent and fraction, since it is wanted at every sample. Sizes lie within 1e±150, so bins lie
/// within ±2,000.
fn bin_of(size: f64) -> i16 {
    const FRACTION_BITS: u32 = 52;
    const BIAS: i16 = 1_023;
    let bits = size.max(SCALE_MIN).to_bits();
    let exponent = ((bits >> FRACTION_BITS) & 0x7ff) as i16 - BIAS;
    let fraction = f64::from_bits(bits & ((1 << FRACTION_BITS) - 1) | (1_023 << FRACTION_BITS));
    // The fourth roots of 2, 4 and 8.
    let quarter = [1.189_207_115_002_721, std::f64::consts::SQRT_2, 1.681_792_830_507_429]
        .iter()
        .filter(|root| fraction >= **root)
        .count();
    4 * exponent + quarter as i16
}

fn upper(bin: i16) -> f64 {
    ((f64::from(bin) + 1.0) / BINS_PER_OCTAVE).exp2()
}

fn middle(bin: i16) -> f64 {
    ((f64::from(bin) + 0.5) / BINS_PER_OCTAVE).exp2()
}

/// A Student t distribution around zero.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StudentT {
    /// Its scale.
    pub scale: f64,
    /// Its degrees of freedom.
    pub freedom: f64,
    /// The scale is known as well as from so many normal samples.
    pub scale_freedom: f64,
}

impl StudentT {
    /// Fits scale and tail to a histogram by maximum likelihood over a few tail indexes, averaged
    /// by their posterior weight. `scale_min` bounds the scale from below (the signal's own
    /// resolution).
    ///
    /// With n samples the scale is known as well as from `n ν / (ν + 3)` normal ones (Fisher
    /// information of a t's log-scale).
    pub fn fit(histogram: &Histogram, scale_min: f64) -> StudentT {
        let sizes: Vec<(f64, f64)> = histogram
            .bins
            .iter()
            .map(|bin| (middle(bin.place()), f64::from(bin.count())))
            .collect();
        let weight: f64 = sizes.iter().map(|size| size.1).sum();
        if weight < 1.0 {
            return StudentT { scale: scale_min.max(SCALE_MIN), freedom: 2.0, scale_freedom: 1.0 };
        }
        let mut scale = median(&sizes, weight).max(scale_min).max(SCALE_MIN) / 0.75;
        let mut fits = [(0.0, 0.0); TAIL_INDEXES.len()];
        for (fit, index) in fits.iter_mut().zip(TAIL_INDEXES) {
            scale = fit_scale(&sizes, weight, scale, 1.0 / index);
            *fit = (scale, log_likelihood(&sizes, weight, scale, 1.0 / index));
        }
        let best = fits.iter().map(|fit| fit.1).fold(f64::NEG_INFINITY, f64::max);
        let (mut total, mut index_mean, mut scale_log, mut prior) = (0.0, 0.0, 0.0, 1.0);
        for ((scale, likelihood), index) in fits.into_iter().zip(TAIL_INDEXES) {
            let share = (likelihood - best).exp() * prior;
            prior /= 2.0;
            total += share;
            index_mean += share * index;
            scale_log += share * scale.ln();
        }
        let freedom = total / index_mean;
        StudentT {
            scale: (scale_log / total).exp().max(scale_min).max(SCALE_MIN),
            freedom: 1.0 / (1.0 / freedom + ESTIMATED / weight),
            scale_freedom: (weight * freedom / (freedom + 3.0)).max(1.0),
        }
    }

    /// The standard normal value as rare as `innovation`, by Wallace's transformation ("Bounds on
    /// normal approximations to Student's and the chi-square distributions", 1959). Far out in
    /// heavy tails it is below the truth: by 3 % of z at forty scales with three degrees of
    /// freedom, by 4.4 % with two.
    pub fn standardise(&self, innovation: f64) -> f64 {
        let t = (innovation / self.scale).clamp(-STANDARDISED_MAX, STANDARDISED_MAX);
        let size = self.shrink() * (self.freedom * ln_of_more(t * t / self.freedom)).sqrt();
        size.copysign(innovation)
    }

    /// A log-likelihood ratio of standardised innovations, for a scale that is estimated: that of a
    /// mean when the variance is not known, `n/2 ln(1 + t²/n)`. An error of the scale is in every
    /// sample of a sum alike, where heavier tails of each would not show it.
    pub fn discount(&self, ratio: f64) -> f64 {
        self.scale_freedom / 2.0 * ln_of_more(2.0 * ratio / self.scale_freedom)
    }

    /// The inverse of `discount`.
    pub fn undiscounted(&self, ratio: f64) -> f64 {
        // An exponent of 500 is a ratio that nothing reaches; it stays finite.
        self.scale_freedom / 2.0 * (2.0 * ratio / self.scale_freedom).min(500.0).exp_m1()
    }

    /// The inverse of `standardise`: the innovation as rare as the standard normal `z`.
    pub fn innovation(&self, z: f64) -> f64 {
        let root = z / self.shrink();
        // An exponent of 500 is a size that no signal reaches; it stays finite.
        let grown = (root * root / self.freedom).min(500.0).exp_m1();
        self.scale * (self.freedom * grown).sqrt()
    }

    fn shrink(&self) -> f64 {
        (8.0 * self.freedom + 1.0) / (8.0 * self.freedom + 3.0)
    }
}

/// `ln(1 + excess)`. `ln_1p` takes twice as long for being exact where the excess is next to
/// nothing, which is next to no evidence here.
fn ln_of_more(excess: f64) -> f64 {
    (1.0 + excess).ln()
}

fn median(sizes: &[(f64, f64)], weight: f64) -> f64 {
    let mut below = 0.0;
    for (size, share) in sizes {
        below += share;
        if below >= weight / 2.0 {
            return *size;
        }
    }
    sizes.last().map_or(0.0, |size| size.0)
}

/// The scale of greatest likelihood for a given tail, from a start that is not far off.
fn fit_scale(sizes: &[(f64, f64)], weight: f64, start: f64, freedom: f64) -> f64 {
    let mut scale = start;
    for _ in 0..FIT_ROUNDS {
        let mut moment = 0.0;
        for (size, share) in sizes {
            let ratio = size / scale;
            let square = (ratio * ratio).min(1e100);
            moment += share * (freedom + 1.0) * square / (freedom + square);
        }
        scale = (scale * (moment / weight).sqrt()).max(SCALE_MIN);
    }
    scale
}

fn log_likelihood(sizes: &[(f64, f64)], weight: f64, scale: f64, freedom: f64) -> f64 {
    let constant = ln_gamma(f64::midpoint(freedom, 1.0))
        - ln_gamma(freedom / 2.0)
        - freedom.ln() / 2.0
        - scale.ln();
    let tails = sizes.iter().map(|(size, share)| {
        let ratio = size / scale;
        share * ln_of_more((ratio * ratio).min(1e100) / freedom)
    });
    weight * constant - f64::midpoint(freedom, 1.0) * tails.sum::<f64>()
}

/// A series that mostly stands still: the sizes of its moves between two samples.
#[derive(Clone, Copy, Debug)]
pub struct Stillness<'a> {
    /// Sizes of moves, and zeros for samples without one.
    pub moves: &'a Histogram,
    /// The smallest move that the signal can make, as far as one can tell.
    pub unit: f64,
    /// The tail of moves is held to foresee those beyond all that were seen. Without it only the
    /// bound does, that needs no model and hardly gains from more samples.
    pub foresees: bool,
}

impl Stillness<'_> {
    /// The standard normal value as rare as this move.
    pub fn standardise(&self, movement: f64) -> f64 {
        if movement == 0.0 {
            return 0.0;
        }
        let chance = self.chance(movement.abs()).max(1e-300);
        // In the lower half the quantile is accurate however small the chance is.
        (-Normal::standard().inverse_cdf(chance / 2.0)).max(0.0).copysign(movement)
    }

    /// The move as rare as the standard normal `z`.
    pub fn innovation(&self, z: f64) -> f64 {
        let chance = 2.0 * Normal::standard().cdf(-z.abs());
        self.size_at(chance.max(1e-300))
    }

    /// An upper bound of the chance that the next move is of this size or a larger one.
    fn chance(&self, size: f64) -> f64 {
        let bound = self.moves.tail(size, self.unit);
        if self.foresees && size > self.moves.largest() {
            return bound.min(self.moves.beyond(size, self.unit));
        }
        bound
    }

    /// The size that has this chance, by bisection; never below half a unit.
    fn size_at(&self, chance: f64) -> f64 {
        let unit = self.unit.max(SCALE_MIN);
        let largest = self.moves.largest().max(unit);
        // At this size even a history of nothing but the largest has the chance.
        let (mut low, mut high) =
            ((unit / 2.0).log2(), (largest / chance.sqrt()).log2().min(SIZE_LOG2_MAX));
        for _ in 0..40 {
            let middle = (low + high) / 2.0;
            if self.chance(middle.exp2()) > chance {
                low = middle;
            } else {
                high = middle;
            }
        }
        high.exp2()
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use statrs::distribution::StudentsT;

    use super::*;
    use crate::detect::noise::{normal, student};

    fn filled(count: usize, mut next: impl FnMut() -> f64) -> Histogram {
        let mut histogram = Histogram::default();
        (0..count).for_each(|_| histogram.add(next().abs()));
        histogram
    }

    #[test]
    fn fit_finds_scale_and_tail() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let light = StudentT::fit(&filled(5_000, || 3.0 * normal(&mut random)), 0.0);
        assert!((2.85..3.1).contains(&light.scale), "{light:?}");
        assert!(light.freedom > 20.0, "{light:?}");
        let heavy = StudentT::fit(&filled(5_000, || 3.0 * student(&mut random, 3)), 0.0);
        assert!((2.8..3.2).contains(&heavy.scale), "{heavy:?}");
        assert!((2.5..3.6).contains(&heavy.freedom), "{heavy:?}");
        let short = StudentT::fit(&filled(20, || 3.0 * normal(&mut random)), 0.0);
        assert!((1.5..20.0).contains(&short.freedom), "{short:?}");
    }

    #[test]
    fn standardised_values_are_as_rare_as_the_originals() {
        for freedom in [3.0, 8.0, 40.0] {
            let fitted = StudentT { scale: 2.0, freedom, scale_freedom: 1e3 };
            let exact = StudentsT::new(0.0, 2.0, freedom).expect("valid parameters");
            for innovation in [0.5, 3.0, 10.0, 40.0] {
                let z = fitted.standardise(innovation);
                let chance = exact.cdf(-innovation).max(1e-300);
                let truth = -Normal::standard().inverse_cdf(chance);
                assert!(
                    (z - truth).abs() < 0.03 * truth + 0.01,
                    "{freedom} {innovation} {z} {truth}"
                );
                assert!((fitted.innovation(z) - innovation).abs() < 1e-9 * innovation);
                assert_eq!(fitted.standardise(-innovation), -z);
            }
        }
    }

    #[test]
    fn a_series_that_never_moved_follows_the_rule_of_succession() {
        let moves = filled(999, || 0.0);
        let still = Stillness { moves: &moves, unit: 1.0, foresees: false };
        assert!((moves.tail(1.0, 1.0) - 1e-3).abs() < 1e-12);
        assert!((moves.tail(10.0, 1.0) - 1e-5).abs() < 1e-12);
        assert_eq!(still.standardise(0.0), 0.0);
        let z = still.standardise(-50.0);
        assert!(z < -4.9, "{z}");
        assert!((still.innovation(z) - 50.0).abs() < 1e-6);
    }

    #[test]
    fn past_leaps_excuse_their_like_and_nothing_far_beyond() {
        let mut moves = filled(10_000, || 0.0);
        (0..20).for_each(|_| moves.add(500.0));
        let still = Stillness { moves: &moves, unit: 1.0, foresees: false };
        assert!(still.standardise(400.0) < 3.2);
        assert!(still.standardise(500_000.0) > 5.5);
    }

    #[test]
    fn bins_are_quarters_of_octaves() {
        for step in -40_000..40_000 {
            // Between the bins' ends, where rounding decides.
            let exponent = (f64::from(step) + 0.5) / 100.0;
            let bin = (exponent * BINS_PER_OCTAVE).floor() as i16;
            assert_eq!(bin_of(exponent.exp2()), bin, "{exponent}");
        }
        assert_eq!(bin_of(0.0), bin_of(SCALE_MIN));
    }

    #[test]
    fn a_bin_keeps_place_and_count_and_counts_no_further_than_it_can() {
        for place in [-2_000, -1, 0, 2_000] {
            let bin = Bin::new(place, 400_000).with_more(7);
            assert_eq!((bin.place(), bin.count()), (place, 400_007));
            let full = bin.with_more(Bin::COUNT_MAX);
            assert_eq!((full.place(), full.count()), (place, Bin::COUNT_MAX));
        }
    }

    #[test]
    fn a_bin_is_found_wherever_the_gaps_are() {
        let mut histogram = Histogram::default();
        let sizes: Vec<f64> = [-9, -4, -3, -2, 0, 1, 2, 3, 7, 20].map(f64::from).to_vec();
        for size in &sizes {
            histogram.add(size.exp2());
            histogram.add(size.exp2());
        }
        let counts: Vec<u32> = histogram.bins.iter().map(|bin| bin.count()).collect();
        assert_eq!(counts, vec![2; sizes.len()]);
        assert!(histogram.bins.is_sorted_by_key(|bin| bin.place()));
    }

    #[test]
    fn histogram_is_bounded_and_fades() {
        let mut histogram = Histogram::default();
        for exponent in -140..140 {
            histogram.add(10f64.powi(exponent));
        }
        assert_eq!(histogram.bins.len(), BINS_MAX);
        assert_eq!(histogram.weight(), 280.0);
        for _ in 0..99 {
            histogram.add(1e120);
        }
        histogram.limit(180);
        // The largest pile and the merged smallest are halved, the lone ones are gone.
        assert_eq!(histogram.bins.len(), 2, "{histogram:?}");
        assert_eq!(histogram.weight(), 117.0 + 50.0, "{histogram:?}");
    }
}
