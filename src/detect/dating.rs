//! How well an onset is known: the earliest and the latest one that are nearly as likely as the
//! best.

use chrono::TimeDelta;

use super::{Detector, baseline::Expectation, focus::Best, sign};
use crate::series::{Direction, Time};

/// Onsets whose log-likelihood is within this of the best are plausible. A change's profile falls
/// off on each side like a random walk with drift, whose maximum exceeds c with a chance below
/// e^-c: both sides together stay within 3.7 in 95 % of cases, whatever the size of the change.
pub(super) const ONSET_DROP: f64 = 3.7;

/// In 95 % of cases the distance of the true onset from the estimated one, in samples, is within
/// this over the squared size of the change in standard deviations (Bai 1997, "Estimation of a
/// change point in multiple regression models": the quantile of the maximum of a two-sided random
/// walk).
const ONSET_WIDTH: f64 = 11.0;

/// No onset is less certain than by a month.
const WIDTH_MAX_S: f64 = 30.0 * 86_400.0;

impl Detector {
    /// The earliest and the latest onset that are nearly as likely as the best one: from the
    /// profile of the likelihood over the latest samples, and the surviving candidates before them.
    /// An onset that is older than those gets the asymptotic interval as well.
    pub(super) fn onset_interval(
        &self,
        direction: Direction,
        expected: &Expectation,
        best: Best<'_>,
        onset: Time,
        interval_s: f64,
    ) -> (Time, Time) {
        let (mut low, mut high) = (onset, onset);
        let law = self.law(direction, expected);
        let test = self.test(direction);
        for candidate in test.plausible(&law, best.score, ONSET_DROP) {
            low = low.min(candidate.at);
            high = high.max(candidate.at);
        }
        let known = law.of_known_level();
        let (mut rise, mut count) = (0.0, 0.0);
        for sample in self.recent.iter().rev() {
            rise += match expected.fall_in(direction) {
                Some(fall) => fall.innovation(fall.expected + sample.value - fall.level),
                None => sign(direction) * f64::from(sample.innovation),
            };
            count += 1.0;
            if rise > 0.0 && known.score(rise, count) >= best.score - ONSET_DROP {
                low = low.min(sample.at);
                high = high.max(sample.at);
            }
        }
        if self.recent.front().is_some_and(|oldest| onset < oldest.at) {
            let width_s = (ONSET_WIDTH / (best.size * best.size) * interval_s).min(WIDTH_MAX_S);
            // Nothing is known of the time before the first sample.
            let latest = self.recent.back().map_or(onset, |latest| latest.at);
            let learned_s = self.baseline.samples() as f64 * interval_s;
            let known_s = (learned_s - (latest - onset).as_seconds_f64()).clamp(0.0, width_s);
            // A cast saturates, and makes zero of what is not a number.
            let earlier = TimeDelta::seconds(known_s as i64);
            let later = TimeDelta::seconds(width_s as i64);
            low = low.min(onset.checked_sub_signed(earlier).unwrap_or(onset));
            high = high.max(onset.checked_add_signed(later).unwrap_or(onset));
        }
        (low, high)
    }
}
