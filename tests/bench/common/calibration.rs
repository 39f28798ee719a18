//! The threshold at which a test keeps an average run length, found by simulation, and its delays
//! at a threshold. Knows nothing of the test but its statistic: what begins a run gives back
//! something that takes the shift of the next sample, in σ, and yields the statistic.

use super::{change::Change, command_line::Options, statistics::Figure};

/// Waits are given up after so many times the run length that is sought.
const CENSORED_AT: f64 = 3.0;

/// Runs are numbered apart from those of the detectors that are measured beside, and the delays'
/// apart from the thresholds'.
const FIRST_RUN: u64 = 2_000_000;
const FIRST_DELAY_RUN: u64 = 3_000_000;

/// Halvings in the search for a threshold, from 0 to 100: to 1e-7.
const HALVINGS: usize = 30;

/// The threshold at which the statistic's average run length is `arl`, and the run length that it
/// had there.
pub(crate) fn threshold<Next: FnMut(f64) -> f64>(
    options: &Options,
    arl: f64,
    runs: u64,
    start: impl Fn(u64) -> Next + Sync,
) -> (f64, Figure) {
    let most = (CENSORED_AT * arl) as u64;
    // Records of the statistic's maximum hold the wait for every threshold at once.
    let records: Vec<Vec<(f64, u64)>> = options.each(runs, |run| {
        let mut next = start(FIRST_RUN + run);
        let (mut records, mut highest) = (Vec::new(), 0.0);
        for seen in 1..=most {
            let statistic = next(0.0);
            if statistic > highest {
                highest = statistic;
                records.push((statistic, seen));
            }
        }
        records
    });
    let run_length = |threshold: f64| {
        let wait = |records: &Vec<(f64, u64)>| {
            records.iter().find(|(statistic, _)| *statistic > threshold).map(|(_, seen)| *seen)
        };
        Figure::run_length(&records.iter().map(wait).collect::<Vec<_>>(), most)
    };
    let (mut low, mut high) = (0.0, 100.0);
    for _ in 0..HALVINGS {
        let middle = (low + high) / 2.0;
        if run_length(middle).value < arl {
            low = middle;
        } else {
            high = middle;
        }
    }
    (high, run_length(high))
}

/// The mean delay after a change, whose first sample is the run's first, at a threshold that every
/// change reaches.
pub(crate) fn delay<Next: FnMut(f64) -> f64>(
    options: &Options,
    runs: u64,
    threshold: f64,
    change: Change,
    start: impl Fn(u64) -> Next + Sync,
) -> Figure {
    let delays = options.each(runs, |run| {
        let mut next = start(FIRST_DELAY_RUN + run);
        let mut delay = 1;
        while next(change.at(delay)) <= threshold {
            delay += 1;
        }
        delay as f64
    });
    Figure::mean(&delays)
}
