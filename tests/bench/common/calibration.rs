//! The threshold at which a test keeps an average run length, found by simulation. Knows nothing of
//! the test but its statistic.

use super::{command_line::Options, statistics::Figure};

/// Waits are given up after so many times the run length that is sought.
const CENSORED_AT: f64 = 3.0;

/// Halvings in the search for a threshold, from 0 to 100: to 1e-7.
const HALVINGS: usize = 30;

/// The threshold at which the statistic's average run length is `arl`, and the run length that it
/// had there. `start` begins a run: what it gives back yields the statistic sample by sample.
pub(crate) fn threshold<Next: FnMut() -> f64>(
    options: &Options,
    arl: f64,
    runs: u64,
    start: impl Fn(u64) -> Next + Sync,
) -> (f64, Figure) {
    let most = (CENSORED_AT * arl) as u64;
    // Records of the statistic's maximum hold the wait for every threshold at once.
    let records: Vec<Vec<(f64, u64)>> = options.each(runs, |run| {
        let mut next = start(run);
        let (mut records, mut highest) = (Vec::new(), 0.0);
        for seen in 1..=most {
            let statistic = next();
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
