//! Many Prometheus series become one number: gauges are added, counters are watched for resets one
//! by one and then added. Pure; the requests are in `prometheus`.
//!
//! What a counter's total does with each series:
//!
//! - One series without any label is summed already (`sum(…)`) and passes as it is: whoever reads
//!   the total sees its falls. So does the total's own beginning, the sum of the first sample.
//! - A series that rises adds its rise.
//! - A raw series (with its metric's name) that falls was reset, and adds what it counted since.
//! - A series without its metric's name (`sum by (…)`, `rate(…)`) that falls to above zero has lost
//!   a part of unknown size: this sample is missing and the total starts again at zero, so that its
//!   reader takes the interval as missing and never as an increment.
//! - A series that vanishes keeps its last value for an hour, and continues from it if it returns.
//! - A series that is new adds its value only if no sample was missed since the previous one and
//!   none vanished with it: otherwise a renamed or restarted target would count its history twice.

use std::collections::{BTreeMap, HashMap};

use chrono::TimeDelta;

use crate::series::Time;

/// How long a vanished series is remembered.
const VANISHED_KEPT: TimeDelta = TimeDelta::hours(1);

/// A previous sample older than this many intervals was missed.
const GAP_INTERVALS: i32 = 2;

/// Which series of a query's answer: a hash of its labels, and whether it carries its metric's
/// name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct SeriesId {
    pub(super) labels_hash: u64,
    pub(super) has_name: bool,
    pub(super) has_labels: bool,
}

/// One series' value at one instant; always finite.
pub(super) type Point = (SeriesId, f64);

#[derive(Clone, Copy, Debug)]
struct Last {
    value: f64,
    at: Time,
}

/// The total of one counter signal.
#[derive(Clone, Debug, Default)]
pub(super) struct CounterTotal {
    total: f64,
    sampled_at: Option<Time>,
    last: HashMap<SeriesId, Last>,
}

impl CounterTotal {
    /// The total at `at`, from the series' values there; `None` if it is missing.
    pub(super) fn add(&mut self, at: Time, interval: TimeDelta, points: &[Point]) -> Option<f64> {
        match points {
            [] => return None,
            [(id, value)] if !id.has_labels => {
                // Forgetting the series makes a later answer with labels begin anew.
                *self = CounterTotal::default();
                return Some(*value);
            }
            _ => {}
        }
        let previous = self.sampled_at.replace(at);
        let is_first = previous.is_none();
        let gap = interval * GAP_INTERVALS;
        let unbroken = previous.is_some_and(|previous| at - previous <= gap);
        let mut increment = 0.0;
        let mut new = 0.0;
        let mut is_broken = false;
        for (id, value) in points {
            match self.last.insert(*id, Last { value: *value, at }) {
                Some(last) if *value >= last.value => increment += value - last.value,
                Some(_) if id.has_name || *value == 0.0 => increment += value,
                Some(_) => is_broken = true,
                None => new += value,
            }
        }
        let vanished = self.last.values().any(|last| Some(last.at) == previous && last.at < at);
        self.last.retain(|_, last| at - last.at <= VANISHED_KEPT);
        if is_broken {
            self.total = 0.0;
            return None;
        }
        if is_first || (unbroken && !vanished) {
            increment += new;
        }
        self.total += increment;
        Some(self.total)
    }
}

/// The sum of a gauge's series; `None` if there are none.
pub(super) fn gauge(points: &[Point]) -> Option<f64> {
    (!points.is_empty()).then(|| points.iter().map(|(_, value)| value).sum())
}

/// Arranges the series of a range by time.
#[derive(Debug, Default)]
pub(super) struct ByTime(pub(super) BTreeMap<Time, Vec<Point>>);

impl ByTime {
    /// Adds a point of a series.
    pub(super) fn push(&mut self, at: Time, point: Point) {
        self.0.entry(at).or_default().push(point);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: TimeDelta = TimeDelta::seconds(15);

    fn raw(labels_hash: u64) -> SeriesId {
        SeriesId { labels_hash, has_name: true, has_labels: true }
    }

    fn grouped(labels_hash: u64) -> SeriesId {
        SeriesId { labels_hash, has_name: false, has_labels: true }
    }

    fn summed() -> SeriesId {
        SeriesId { labels_hash: 0, has_name: false, has_labels: false }
    }

    /// Totals of one sample an interval.
    fn totals(samples: &[&[Point]]) -> Vec<Option<f64>> {
        let mut total = CounterTotal::default();
        let at = |place: usize| Time::UNIX_EPOCH + INTERVAL * place as i32;
        let samples = samples.iter().enumerate();
        samples.map(|(place, points)| total.add(at(place), INTERVAL, points)).collect()
    }

    #[test]
    fn rises_of_all_series_are_added() {
        let samples: [&[Point]; 2] =
            [&[(raw(1), 10.0), (raw(2), 5.0)], &[(raw(1), 12.0), (raw(2), 9.0)]];
        assert_eq!(totals(&samples), [Some(15.0), Some(21.0)]);
    }

    #[test]
    fn one_reset_among_many_is_not_a_fall_of_the_total() {
        let samples: [&[Point]; 2] =
            [&[(raw(1), 1000.0), (raw(2), 5.0)], &[(raw(1), 3.0), (raw(2), 6.0)]];
        assert_eq!(totals(&samples), [Some(1005.0), Some(1009.0)]);
    }

    #[test]
    fn a_summed_counter_passes_as_it_is() {
        let samples: [&[Point]; 3] =
            [&[(summed(), 50.0)], &[(summed(), 60.0)], &[(summed(), 20.0)]];
        assert_eq!(totals(&samples), [Some(50.0), Some(60.0), Some(20.0)]);
    }

    #[test]
    fn a_grouped_counter_that_falls_to_above_zero_is_missing_and_never_an_increment() {
        let samples: [&[Point]; 3] = [
            &[(grouped(1), 900.0), (grouped(2), 5.0)],
            &[(grouped(1), 400.0), (grouped(2), 6.0)],
            &[(grouped(1), 410.0), (grouped(2), 6.0)],
        ];
        assert_eq!(totals(&samples), [Some(905.0), None, Some(10.0)]);
    }

    #[test]
    fn a_new_series_counts_from_zero_unless_another_vanished_with_it() {
        let joins: [&[Point]; 2] = [&[(raw(1), 10.0)], &[(raw(1), 10.0), (raw(2), 4.0)]];
        assert_eq!(totals(&joins), [Some(10.0), Some(14.0)]);
        let replaces: [&[Point]; 3] =
            [&[(raw(1), 1000.0)], &[(raw(2), 1001.0)], &[(raw(2), 1003.0)]];
        assert_eq!(totals(&replaces), [Some(1000.0), Some(1000.0), Some(1002.0)]);
    }

    #[test]
    fn a_new_series_after_a_missing_sample_is_not_counted() {
        let samples: [&[Point]; 5] = [
            &[(raw(1), 10.0)],
            &[],
            &[],
            &[(raw(1), 12.0), (raw(2), 700.0)],
            &[(raw(1), 12.0), (raw(2), 701.0)],
        ];
        assert_eq!(totals(&samples), [Some(10.0), None, None, Some(12.0), Some(13.0)]);
    }

    #[test]
    fn a_series_that_returns_continues_from_where_it_was() {
        let samples: [&[Point]; 3] = [
            &[(raw(1), 10.0), (raw(2), 100.0)],
            &[(raw(1), 11.0)],
            &[(raw(1), 11.0), (raw(2), 103.0)],
        ];
        assert_eq!(totals(&samples), [Some(110.0), Some(111.0), Some(114.0)]);
    }

    #[test]
    fn gauges_are_added_and_none_is_missing() {
        assert_eq!(gauge(&[(raw(1), 2.0), (raw(2), 3.0)]), Some(5.0));
        assert_eq!(gauge(&[]), None);
    }
}
