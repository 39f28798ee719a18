//! A signal that was constant for three weeks: its first move is seen at the first sample, at the
//! budget of a whole fleet. Prints a table. Nothing is random, so there is no seed.

mod common;

use chrono::TimeDelta;
use common::{
    command_line::Options,
    statistics::{Bound, Figure},
    table::Table,
    watch::{INTERVAL_S, SIGNAL, settings, time},
};
use headwater::detect::Detector;

/// The level that the signal had.
const LEVEL: f64 = 21_000.0;

/// For how long.
const CONSTANT_WEEKS: i64 = 3;

/// One page a month over so many signals.
const SIGNALS: i64 = 40;

/// A move that is not seen within so many samples is shown as not seen.
const DELAY_MAX: u64 = 1_000;

/// The first sample.
const BOUND: Bound = Bound::Most(1.0);

fn main() {
    let options = Options::read();
    let interval = TimeDelta::seconds(INTERVAL_S).num_seconds();
    let arl = TimeDelta::days(30).num_seconds() / interval * SIGNALS;
    let quiet = TimeDelta::weeks(CONSTANT_WEEKS).num_seconds() / interval;
    let title = format!("Constant at {LEVEL} for {quiet} samples, then another level; ARL {arl}");
    let table = Table::begin(&title, &[("move", 10), ("seen at sample", 8), ("bound", 0)]);
    for (name, after) in [("to 20,790", LEVEL * 0.99), ("to 0", 0.0), ("to 21,210", LEVEL * 1.01)] {
        if !options.wants(name) {
            continue;
        }
        let seen = first_seen(arl as f64, quiet as u64, after);
        let text = seen.map_or_else(|| format!("not in {DELAY_MAX}"), |sample| sample.to_string());
        let figure =
            Figure { value: seen.map_or(f64::INFINITY, |sample| sample as f64), error: 0.0 };
        table.row([name.to_owned(), text, BOUND.judge(figure)]);
    }
}

/// The number of the sample, from 1, at which a move away from the level is seen.
fn first_seen(arl: f64, quiet: u64, after: f64) -> Option<u64> {
    let (mut detector, settings) = (Detector::new(), settings(arl));
    for slot in 0..quiet {
        let verdict = detector.step(&settings, SIGNAL, time(slot), LEVEL);
        assert!(verdict.change.is_none(), "a constant signal raised an alarm at sample {slot}");
    }
    (1..=DELAY_MAX).find(|sample| {
        let at = time(quiet + sample - 1);
        detector.step(&settings, SIGNAL, at, after).change.is_some()
    })
}
