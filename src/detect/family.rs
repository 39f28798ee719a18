//! How much likelier a change of a given size is than none: for innovations that are normal, and
//! for falls of counts, whose own distribution knows that they end at zero. Pure formulas; which
//! signals are counts is for the `baseline` to know, and which onsets are worth asking about for
//! `focus`.
//!
//! In an exponential family the log-likelihood ratio of one change of mean is a function of the
//! number of samples m and of their mean alone, `m D(mean)`, with D convex and least without a
//! change. The onsets that can be the best therefore are the same for every family: the vertices
//! of the hull of the cumulative sums (Ward, Romano, Eckley and Fearnhead, "A constant-per-
//! iteration likelihood ratio test for online changepoint detection for exponential family models",
//! Statistics and Computing 34, 2024; for counts Ward, Dilillo, Eckley and Fearnhead, "Poisson-
//! FOCuS", JASA 2023). That stays so where the ratio is divided by `1 + (m - 1) / n` for a mean
//! that is known from n samples only (see [`Law::score`]): with y the rise of the sum, `m D(y / m)
//! <= h (1 + (m - 1) / n)` is convex on the left and a line on the right, so the pairs (m, y) that
//! score no more than h are a convex set, and the highest score among points is at a vertex.
//!
//! A family is known by how its variance grows with its mean (Morris, "Natural exponential families
//! with quadratic variance functions", Annals of Statistics 10, 1982). With v the mean in units of
//! the ordinary one, `V(v) = v (1 + k v) / (1 + k)` covers counts: k = 0 is Poisson, however
//! over-dispersed, k > 0 negative binomial, k < 0 binomial (at most so many a sample). Then with c
//! the ordinary standard deviation over the mean, `D = ∫ (t - v) / V(t) dt / c²` from v to 1. How
//! V bends is seen in the skewness γ: the third cumulant is `V V'`, so `γ / c = V'(1) = (1 + 2 k) /
//! (1 + k)`. For small changes all families with the same first three moments agree; where the mean
//! falls far, it matters that V vanishes at zero.

/// Which k counts as zero: below it the formula would divide a rounding error by it.
const CURVATURE_MIN: f64 = 1e-6;

/// What the likelihood of innovations follows, and how well their mean is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Law {
    /// The variance of the mean in that of a sample: 1/n.
    level_error: f64,
    /// Of falls of counts; else normal.
    counts: Option<Counts>,
}

impl Law {
    /// Innovations are N(0,1), and have another mean after a change.
    pub fn normal(level_error: f64) -> Law {
        Law { level_error, counts: None }
    }

    /// Innovations are falls of counts, in standard deviations.
    pub fn of_falls(level_error: f64, counts: Counts) -> Law {
        Law { level_error, counts: Some(counts) }
    }

    /// The same if the level were known exactly.
    pub fn of_known_level(self) -> Law {
        Law { level_error: 0.0, ..self }
    }

    /// The log-likelihood ratio of a change so many samples ago, since when innovations sum up to
    /// `rise`. The error of a mean of n samples is in each sample since, which divides the ratio of
    /// a change of m samples by `1 + (m - 1) / n` (the likelihood ratio of two means; the first
    /// sample's share is in its innovation already).
    pub fn score(&self, rise: f64, samples: f64) -> f64 {
        let rise = rise.max(0.0);
        let error = 1.0 + (samples - 1.0) * self.level_error;
        match &self.counts {
            None => rise * rise / (2.0 * samples * error),
            Some(counts) => samples * counts.ratio(rise / samples) / error,
        }
    }
}

/// A distribution of values that are never negative, scale and variance apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Counts {
    /// The standard deviation over the mean: c.
    variation: f64,
    /// How the variance bends with the mean: k.
    curvature: f64,
    /// By what the ratio is divided: c², and more where samples are not independent.
    dispersion: f64,
}

/// What is known of a signal that has never been negative.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moments {
    /// Its mean at this time.
    pub mean: f64,
    /// The standard deviation of a sample around it.
    pub deviation: f64,
    /// The skewness that is believed.
    pub skewness: f64,
    /// The smallest step between its values.
    pub unit: f64,
    /// By how much more means of many samples scatter than if these were independent.
    pub clustering: f64,
}

impl Counts {
    /// The family with these moments. `None` where zero is no bound that shapes the distribution:
    /// the more of it lies far above zero the more skewed it would have to be (from γ = 2 c on, the
    /// gamma distribution's, no k fits), or it is not skewed upwards at all.
    pub fn of(moments: &Moments) -> Option<Counts> {
        let variation = moments.deviation / moments.mean;
        let growth = moments.skewness / variation;
        // What is not a number fails each of these.
        if !(moments.mean > 0.0 && variation > 0.0 && growth > 0.0 && growth < 2.0) {
            return None;
        }
        // Of counts that come one by one (V = m + k m²/mean) the variance alone tells k, more
        // exactly than a third moment. They may come several at once: then the skewness tells less.
        let singly = moments.deviation * variation / moments.unit - 1.0;
        // Nothing that is never negative and has these two moments is less likely to be low than
        // the one with two values, of which zero is one (Bennett, "Probability inequalities for the
        // sum of independent random variables", JASA 57, 1962).
        let two_values = -1.0 / (1.0 + variation * variation);
        let curvature = ((growth - 1.0) / (2.0 - growth)).min(singly).max(two_values);
        let dispersion = variation * variation * moments.clustering.max(1.0);
        Some(Counts { variation, curvature, dispersion })
    }

    /// The log-likelihood ratio a sample of a lasting fall by so many standard deviations: D.
    /// Beyond zero there is nothing.
    fn ratio(&self, fall: f64) -> f64 {
        let k = self.curvature;
        let v = (1.0 - self.variation * fall).max(0.0);
        let bent = 1.0 + k * v;
        let missing = (1.0 - v) / bent;
        let zeros = if k.abs() < CURVATURE_MIN { missing } else { (k * missing).ln_1p() / k };
        let rest = if v > 0.0 { v * ((1.0 + k) * v / bent).ln() } else { 0.0 };
        ((1.0 + k) * (zeros + rest)).max(0.0) / self.dispersion
    }
}

/// What falls of a signal that has never been negative are held against, at one sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fall {
    /// The level to which the signal belongs at this time.
    pub level: f64,
    /// The value that was expected of the sample.
    pub expected: f64,
    /// The standard deviation of a sample around that.
    pub deviation: f64,
    /// Standard deviations upwards that count as so many: as they did for the moments, else one
    /// burst would excuse a long silence after it.
    pub reach: f64,
    /// How falls are distributed.
    pub counts: Counts,
}

impl Fall {
    /// A sample in standard deviations, positive below what was expected.
    pub fn innovation(&self, value: f64) -> f64 {
        ((self.expected - value) / self.deviation).max(-self.reach)
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};
    use proptest::prelude::*;

    use super::*;
    use crate::{detect::focus::Focus, series::Time};

    /// A distribution of counts by name, with mean and variance, and the logarithm of the
    /// likelihood of a mean per sample without what all means share.
    #[derive(Clone, Copy, Debug)]
    enum Truth {
        Poisson { mean: f64 },
        NegativeBinomial { mean: f64, size: f64 },
        Binomial { mean: f64, most: f64 },
    }

    impl Truth {
        fn mean(self) -> f64 {
            match self {
                Truth::Poisson { mean }
                | Truth::NegativeBinomial { mean, .. }
                | Truth::Binomial { mean, .. } => mean,
            }
        }

        /// Variance, and the third cumulant.
        fn cumulants(self) -> (f64, f64) {
            let mean = self.mean();
            let bend = match self {
                Truth::Poisson { .. } => 0.0,
                Truth::NegativeBinomial { size, .. } => 1.0 / size,
                Truth::Binomial { most, .. } => -1.0 / most,
            };
            let variance = mean * (1.0 + bend * mean);
            (variance, variance * (1.0 + 2.0 * bend * mean))
        }

        fn counts(self) -> Counts {
            let (variance, third) = self.cumulants();
            let deviation = variance.sqrt();
            let skewness = third / (deviation * variance);
            let moments =
                Moments { mean: self.mean(), deviation, skewness, unit: 1.0, clustering: 1.0 };
            Counts::of(&moments).expect("counts are skewed as counts are")
        }

        /// Samples of this mean beside the ordinary mean: the ratio a sample.
        fn ratio(self, after: f64) -> f64 {
            let before = self.mean();
            let part = |count: f64, odds: f64| if count > 0.0 { count * odds.ln() } else { 0.0 };
            let own = part(after, after / before);
            match self {
                Truth::Poisson { .. } => own - (after - before),
                Truth::NegativeBinomial { size, .. } => {
                    own - part(after + size, (after + size) / (before + size))
                }
                Truth::Binomial { most, .. } => {
                    own + part(most - after, (most - after) / (most - before))
                }
            }
        }
    }

    fn time(index: usize) -> Time {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(index as i64)
    }

    fn truth() -> impl Strategy<Value = Truth> {
        prop_oneof![
            (0.2..30.0f64).prop_map(|mean| Truth::Poisson { mean }),
            (0.2..30.0f64, 0.2..20.0f64)
                .prop_map(|(mean, size)| Truth::NegativeBinomial { mean, size }),
            (0.05..0.45f64, 1..9u8).prop_map(|(share, most)| Truth::Binomial {
                mean: share * f64::from(most),
                most: f64::from(most)
            }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]
        #[test]
        fn hull_has_the_best_of_all_onsets_of_every_family(
            truth in truth(),
            sizes in prop::collection::vec(0.0..3.0f64, 1..80),
            fall in 0.0..1.0f64,
            level_error in prop_oneof![Just(0.0), 1e-4..1.0f64],
        ) {
            let law = Law::of_falls(level_error, truth.counts());
            let (mean, deviation) = (truth.mean(), truth.cumulants().0.sqrt());
            let mut test = Focus::default();
            let mut values = Vec::new();
            for (index, size) in sizes.iter().enumerate() {
                let share = if 2 * index < sizes.len() { 1.0 } else { 1.0 - fall };
                values.push((size * mean * share).round());
                test.push((mean - values[index]) / deviation, time(index), 0.0);
                let mut best = (0.0, 0);
                for onset in 0..=index {
                    let samples = (index + 1 - onset) as f64;
                    let after = values[onset..].iter().sum::<f64>() / samples;
                    let ratio = if after < mean { truth.ratio(after) } else { 0.0 };
                    let score = samples * ratio / (1.0 + (samples - 1.0) * level_error);
                    if score > best.0 {
                        best = (score, onset);
                    }
                }
                let found = test.best_from(&law);
                prop_assert!(
                    (found.score - best.0).abs() <= 1e-6 * (1.0 + best.0),
                    "{:?} {:?}", found, best
                );
                if best.0 > 1e-3 {
                    // Where two onsets are as good as each other, rounding decides.
                    let onset = found.onset.map(|onset| onset.at);
                    let mut near = test.plausible(&law, best.0, 1e-9);
                    let near = near.any(|other| other.at == time(best.1));
                    prop_assert!(onset == Some(time(best.1)) || near, "{:?} {:?}", found, best);
                }
            }
        }

        #[test]
        fn what_is_never_negative_is_no_less_likely_to_be_low(
            mean in 0.1..50.0f64,
            deviation in 0.05..50.0f64,
            skewness in 0.01..4.0f64,
        ) {
            let moments = Moments { mean, deviation, skewness, unit: 1.0, clustering: 1.0 };
            if let Some(counts) = Counts::of(&moments) {
                let variation = deviation / mean;
                // Two values, of which one is zero.
                let zero = -(-1.0 / (1.0 + variation * variation)).ln_1p();
                let found = counts.ratio(1.0 / variation);
                prop_assert!(found >= zero * (1.0 - 1e-9), "{} {}", found, zero);
                // Small falls are those of a normal distribution; more says more, and beyond zero
                // there is nothing.
                let small = 1e-3 / variation.max(1.0);
                prop_assert!((counts.ratio(small) / (small * small / 2.0) - 1.0).abs() < 0.01);
                let falls = (0..20).map(|step| f64::from(step) * 0.1);
                let ratios: Vec<f64> = falls.map(|fall| counts.ratio(fall)).collect();
                prop_assert!(ratios.is_sorted(), "{:?}", ratios);
                prop_assert!((counts.ratio(9.0 / variation) / found - 1.0).abs() < 1e-9);
            }
        }
    }

    fn of(mean: f64, deviation: f64, skewness: f64) -> Option<Counts> {
        Counts::of(&Moments { mean, deviation, skewness, unit: 1.0, clustering: 1.0 })
    }

    #[test]
    fn moments_tell_the_family() {
        let curvature = |counts: Option<Counts>| counts.map_or(f64::NAN, |counts| counts.curvature);
        // Poisson, and the same counts ten at a time.
        assert!(curvature(of(4.0, 2.0, 0.5)).abs() < 1e-9);
        assert!(curvature(of(40.0, 20.0, 0.5)).abs() < 1e-9);
        // Negative binomial of mean 20 and size 10: k is the mean over the size.
        let (variance, third) = Truth::NegativeBinomial { mean: 20.0, size: 10.0 }.cumulants();
        let skewness = third / variance.powf(1.5);
        assert!((curvature(of(20.0, variance.sqrt(), skewness)) - 2.0).abs() < 1e-9);
        // A skewness that is estimated too high: counts tell k by their variance.
        assert!((curvature(of(20.0, variance.sqrt(), 1.15 * skewness)) - 2.0).abs() < 1e-9);
        // Gamma, lognormal: zero is not what shapes these. Not skewed, or downwards.
        for (mean, deviation, skewness) in
            [(20.0, 20.0, 2.0), (20.0, 10.0, 1.6), (20.0, 4.0, 0.0), (20.0, 4.0, -0.2)]
        {
            assert_eq!(of(mean, deviation, skewness), None);
        }
        for number in [0.0, -1.0, f64::NAN] {
            assert_eq!(of(number, 1.0, 0.5), None);
            assert_eq!(of(1.0, number, 0.5), None);
        }
    }

    #[test]
    fn spells_of_counts_count_for_less() {
        let moments =
            Moments { mean: 1.0, deviation: 1.0, skewness: 1.0, unit: 1.0, clustering: 4.0 };
        let spells = Counts::of(&moments).expect("counts");
        let single = of(1.0, 1.0, 1.0).expect("counts");
        assert!((single.ratio(0.7) / spells.ratio(0.7) - 4.0).abs() < 1e-9);
    }
}
