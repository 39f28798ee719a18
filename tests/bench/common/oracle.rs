//! The same sequential test, told everything: the true noise model and its parameters, and a
//! threshold that was found by simulating that very noise. What no detector that has to learn can
//! be expected to beat by much.
//!
//! Where the noise is normal once it is whitened (N, AR, seasons, gaps) this is exact FOCuS with
//! known mean in both directions (Romano, Eckley, Fearnhead and Rigaill, JMLR 24, 2023) on the
//! exactly whitened values. For independent counts it is the same over the true family (Ward,
//! Dilillo, Eckley and Fearnhead, "Poisson-FOCuS", JASA 2023; Ward, Romano, Eckley and Fearnhead,
//! "A constant-per-iteration likelihood ratio test for online changepoint detection for exponential
//! family models", Statistics and Computing 34, 2024); of bursts it is how often they come.
//! Elsewhere it is the generalised likelihood ratio of the true family over a grid of sizes in both
//! directions, over every onset by Page's recursion for each size. It shares no code with the
//! detector.

use super::{
    calibration,
    change::Change,
    command_line::Options,
    noise::{COUNT_SIZE, Noise, Source},
    statistics::Figure,
};

/// The smallest and the largest size of the grid, in σ, and the ratio of two neighbours. Halfway
/// between two the loss of drift is the square of half the ratio's excess: below 1 %.
const SIZE_MIN: f64 = 0.1;
const SIZE_MAX: f64 = 12.0;
const SIZE_RATIO: f64 = 1.2;

/// The least mean that a shift downwards may leave to counts.
const COUNT_MEAN_MIN: f64 = 0.05;

/// The least mean of the seasonal counts over a day.
const SEASONAL_MEAN_MIN: f64 = 10.0;

/// Quiet samples before a shift: a test that knows everything needs no more.
const QUIET_SAMPLES: u64 = 500;

/// The test of one run.
#[derive(Clone, Debug)]
pub(crate) struct Oracle {
    noise: Noise,
    test: Test,
    /// The last value of an autoregression.
    last: Option<f64>,
}

#[derive(Clone, Debug)]
enum Test {
    /// Changes upwards, and downwards as changes upwards of the mirrored values.
    Normal { up: Hull, down: Hull },
    /// The same for counts, by the likelihood of their own family.
    Counts { up: Hull, down: Hull },
    /// Page's statistic for each size.
    Grid(Vec<(f64, f64)>),
}

impl Oracle {
    /// The test that knows this noise.
    pub(crate) fn new(noise: Noise) -> Oracle {
        let test = match noise {
            Noise::Poisson(_) | Noise::NegativeBinomial(..) | Noise::Bursts(_) => {
                Test::Counts { up: Hull::default(), down: Hull::default() }
            }
            Noise::Student | Noise::Laplace | Noise::SeasonalCounts => {
                Test::Grid(sizes(noise).into_iter().map(|size| (size, 0.0)).collect())
            }
            _ => Test::Normal { up: Hull::default(), down: Hull::default() },
        };
        Oracle { noise, test, last: None }
    }

    /// Takes one sample, whose mean without a change is known; the statistic is given back.
    fn step(&mut self, value: f64, mean: f64) -> f64 {
        let noise = self.noise;
        match &mut self.test {
            Test::Normal { up, down } => {
                let innovation = match (noise, self.last) {
                    (Noise::Autoregressive(share), Some(last)) => value - share * last,
                    (Noise::Autoregressive(share), None) => value * (1.0 - share * share).sqrt(),
                    _ => value - mean,
                };
                self.last = Some(value);
                up.step(innovation, normal_score).max(down.step(-innovation, normal_score))
            }
            Test::Counts { up, down } => {
                let count = if let Noise::Bursts(_) = noise { value.min(1.0) } else { value };
                let score = |sign: f64| {
                    move |rise: f64, samples: f64| {
                        samples * family_ratio(noise, mean + sign * rise / samples, mean)
                    }
                };
                up.step(count - mean, score(1.0)).max(down.step(mean - count, score(-1.0)))
            }
            Test::Grid(sizes) => {
                let mut best = 0.0_f64;
                for (size, page) in sizes {
                    let ratio = log_likelihood_ratio(noise, value, mean, *size);
                    *page = (*page + ratio).max(0.0);
                    best = best.max(*page);
                }
                best
            }
        }
    }

    /// Takes the next slot of a noise; `None` if it has no sample.
    fn watch(&mut self, source: &mut Source, shift: f64) -> Option<f64> {
        let mean = source.seasonal_mean();
        source.sample(shift).map(|value| self.step(value, mean))
    }
}

/// Sizes of changes in the noise's own unit, both directions.
fn sizes(noise: Noise) -> Vec<f64> {
    let least_mean = match noise {
        Noise::SeasonalCounts => Some(SEASONAL_MEAN_MIN),
        _ => None,
    };
    let upwards = std::iter::successors(Some(SIZE_MIN), |size| Some(size * SIZE_RATIO));
    let upwards = upwards.take_while(|size| *size <= SIZE_MAX);
    let both = upwards.flat_map(|size| [size, -size]).map(|size| size * noise.deviation());
    both.filter(|size| least_mean.is_none_or(|mean| mean + size >= COUNT_MEAN_MIN)).collect()
}

/// ln f(value | mean + size) − ln f(value | mean).
fn log_likelihood_ratio(noise: Noise, value: f64, mean: f64, size: f64) -> f64 {
    let (before, after) = (value - mean, value - mean - size);
    match noise {
        Noise::Student => -2.0 * ((3.0 + after * after) / (3.0 + before * before)).ln(),
        Noise::Laplace => before.abs() - after.abs(),
        Noise::SeasonalCounts => {
            let (count, shifted) = (f64::from(COUNT_SIZE), mean + size);
            let width = ((count + shifted) / (count + mean)).ln();
            value * ((shifted / mean).ln() - width) - count * width
        }
        _ => size * (before - size / 2.0),
    }
}

/// The log-likelihood ratio a sample of counts with the mean `after` instead of `before`, when
/// `after` is the mean of what was seen.
fn family_ratio(noise: Noise, after: f64, before: f64) -> f64 {
    let part = |count: f64, from: f64| if count > 0.0 { count * (count / from).ln() } else { 0.0 };
    let after = after.max(0.0);
    match noise {
        Noise::NegativeBinomial(_, size) => {
            let size = f64::from(size);
            part(after, before) - part(after + size, before + size)
        }
        Noise::Bursts(_) => part(after, before) + part(1.0 - after, 1.0 - before),
        _ => part(after, before) - (after - before),
    }
}

/// FOCuS upwards: the onsets that are best for some size, as the lower convex hull of the
/// cumulative sums.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hull {
    /// Samples before each onset, and their sum.
    onsets: Vec<(f64, f64)>,
    samples: f64,
    sum: f64,
}

impl Hull {
    /// Takes one innovation; the statistic is given back, by the score of a rise over so many
    /// samples.
    pub(crate) fn step(&mut self, innovation: f64, score: impl Fn(f64, f64) -> f64) -> f64 {
        let now = (self.samples, self.sum);
        while let Some(last) = self.onsets.last() {
            let floor = match self.onsets.len() {
                1 => 0.0,
                length => slope(self.onsets[length - 2], *last),
            };
            if slope(*last, now) > floor {
                break;
            }
            self.onsets.pop();
        }
        self.onsets.push(now);
        self.samples += 1.0;
        self.sum += innovation;
        let ratios = self
            .onsets
            .iter()
            .map(|(samples, sum)| score((self.sum - sum).max(0.0), self.samples - samples));
        ratios.fold(0.0, f64::max)
    }
}

/// The log-likelihood ratio of a shift of N(0,1) that rose so far over so many samples.
pub(crate) fn normal_score(rise: f64, samples: f64) -> f64 {
    rise * rise / (2.0 * samples)
}

fn slope(from: (f64, f64), to: (f64, f64)) -> f64 {
    (to.1 - from.1) / (to.0 - from.0)
}

/// A run of the test that knows a noise, after so many quiet samples.
fn run(options: &Options, noise: Noise, run: u64, quiet: u64) -> impl FnMut(f64) -> f64 + use<> {
    let mut source = Source::new(noise, options.seed + run);
    let mut oracle = Oracle::new(noise);
    let mut next = move |shift| loop {
        if let Some(statistic) = oracle.watch(&mut source, shift) {
            return statistic;
        }
    };
    (0..quiet).for_each(|_| {
        next(0.0);
    });
    next
}

/// The threshold at which the test that knows this noise has the average run length `arl`, and the
/// run length that it had there.
pub(crate) fn threshold(options: &Options, noise: Noise, arl: f64, runs: u64) -> (f64, Figure) {
    calibration::threshold(options, arl, runs, |number| run(options, noise, number, 0))
}

/// The mean delay of the test that knows this noise, at a threshold.
pub(crate) fn delay(
    options: &Options,
    noise: Noise,
    threshold: f64,
    shift: f64,
    runs: u64,
) -> Figure {
    let start = |number| run(options, noise, number, QUIET_SAMPLES);
    calibration::delay(options, runs, threshold, Change::Shift(shift), start)
}
