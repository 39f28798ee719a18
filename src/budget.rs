//! What was achieved beside what was promised: a rate of events with its exact interval. How
//! thresholds follow from a budget is `detect`'s business, who counts the events the caller's.

use statrs::distribution::{ChiSquared, ContinuousCDF};

/// A month of the budgets, in days.
pub const MONTH_DAYS: f64 = 30.0;

/// Probability that the true rate lies beyond an end of the interval: 95 % lie within.
const BEYOND_AN_END: f64 = 0.025;

/// How often something happens in a unit of exposure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Events divided by exposure; not a number where nothing was exposed.
    pub rate: f64,
    /// Lower end of the 95 % interval.
    pub low: f64,
    /// Upper end of the 95 % interval; infinite where nothing was exposed.
    pub high: f64,
}

/// The rate of so many events in so much exposure, with its exact 95 % Poisson interval: Garwood,
/// "Fiducial limits for the Poisson distribution", Biometrika 28 (1936), in the chi-squared form
/// `[χ²(0.025; 2k) / 2, χ²(0.975; 2k + 2) / 2]` for k events. The interval holds the true rate at
/// least as often as it says, however few events there were.
pub fn poisson_rate(events: u64, exposure: f64) -> Rate {
    if !(exposure.is_finite() && exposure > 0.0) {
        return Rate { rate: f64::NAN, low: 0.0, high: f64::INFINITY };
    }
    let count = events as f64;
    let low = if events == 0 { 0.0 } else { half_chi_squared(2.0 * count, BEYOND_AN_END) };
    let high = half_chi_squared(2.0 * count + 2.0, 1.0 - BEYOND_AN_END);
    Rate { rate: count / exposure, low: low / exposure, high: high / exposure }
}

fn half_chi_squared(freedom: f64, probability: f64) -> f64 {
    // Degrees of freedom here are finite and at least 2, which is all that the constructor asks.
    ChiSquared::new(freedom).map_or(f64::NAN, |found| found.inverse_cdf(probability) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(events: u64, exposure: f64, expected: [f64; 3]) {
        let Rate { rate, low, high } = poisson_rate(events, exposure);
        for (found, wanted) in [rate, low, high].into_iter().zip(expected) {
            assert!((found - wanted).abs() <= 5e-4 * wanted.max(1.0), "{events}: {found} {wanted}");
        }
    }

    #[test]
    fn the_interval_is_garwoods() {
        // The published table's limits for single counts, as every textbook repeats them.
        check(0, 1.0, [0.0, 0.0, 3.689]);
        check(1, 1.0, [1.0, 0.0253, 5.572]);
        check(2, 1.0, [2.0, 0.242, 7.225]);
        check(5, 1.0, [5.0, 1.623, 11.668]);
        check(10, 1.0, [10.0, 4.795, 18.390]);
        check(50, 1.0, [50.0, 37.111, 65.919]);
    }

    #[test]
    fn exposure_divides_rate_and_interval_alike() {
        check(3, 3.0, [1.0, 0.6187 / 3.0, 8.7673 / 3.0]);
    }

    #[test]
    fn either_end_is_where_so_many_events_have_a_chance_of_one_in_forty() {
        // The definition itself, with the Poisson sum written out.
        let at_most = |events: u64, mean: f64| -> f64 {
            let terms = (0..=events).scan(1.0, |term, k| {
                if k > 0 {
                    *term *= mean / k as f64;
                }
                Some(*term)
            });
            terms.sum::<f64>() * (-mean).exp()
        };
        for events in 1..60 {
            let Rate { low, high, .. } = poisson_rate(events, 1.0);
            assert!((at_most(events, high) - 0.025).abs() < 1e-6, "{events}: {high}");
            assert!((1.0 - at_most(events - 1, low) - 0.025).abs() < 1e-6, "{events}: {low}");
        }
    }

    #[test]
    fn many_events_have_a_narrow_interval() {
        let Rate { rate, low, high } = poisson_rate(1_000_000, 1.0);
        assert!(low < rate && rate < high && high - low < 4_000.0, "{low} {high}");
    }

    #[test]
    fn nothing_is_known_without_exposure() {
        for exposure in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let Rate { rate, low, high } = poisson_rate(2, exposure);
            assert!(rate.is_nan() && low == 0.0 && high == f64::INFINITY);
        }
    }
}
