//! The promise about false alarms: the average run length (ARL) that is achieved on noise as it is,
//! at a nominal one of 5,000 samples, after long and short quiet histories. Nothing is told about
//! the noise. Prints a table; `--full` takes 400 calibrations a noise.
//!
//! A calibration is one detector's quiet history and its wait for the first alarm after it, which
//! is given up after 20 times the nominal. The ARL is samples over alarms; its standard error is
//! that between calibrations, so the luck of each history is in it. Slots without a sample do not
//! count.

mod common;

use common::{
    command_line::Options,
    noise::{Noise, Source},
    statistics::{Bound, Figure},
    table::Table,
    watch::Watch,
};

/// The average run length that is asked for, in samples.
const ARL: f64 = 5_000.0;

/// A wait for a false alarm is given up after so many times the nominal.
const CENSORED_AT: f64 = 20.0;

/// Quiet samples before; the first is what the bounds are for, 3½ days at 15 s.
const HISTORIES: [u64; 3] = [20_000, 6_000, 500];

/// What must hold after the long history.
const FLOOR: Bound = Bound::Within(2_500.0, 20_000.0);
/// What should.
const GOAL: Bound = Bound::Within(4_000.0, 10_000.0);
/// After a short history the detector may be slower, never louder.
const FLOOR_SHORT: Bound = Bound::Least(2_500.0);
const GOAL_SHORT: Bound = Bound::Least(4_000.0);

fn main() {
    let options = Options::read();
    let runs = options.runs(100, 400);
    let title = format!(
        "Achieved average run length at nominal {ARL}, {runs} calibrations a row, seeds {} to {}",
        options.seed,
        options.seed + runs - 1
    );
    let columns = [
        ("noise", 15),
        ("history", 7),
        ("ARL ± s.e.", 15),
        ("censored", 8),
        ("floor", 17),
        ("goal", 0),
    ];
    let table = Table::begin(&title, &columns);
    for noise in Noise::ALL.into_iter().filter(|noise| options.wants(&noise.name())) {
        for history in HISTORIES {
            let (achieved, censored) = achieved(&options, noise, history, runs);
            let long = history == HISTORIES[0];
            let (floor, goal) = if long { (FLOOR, GOAL) } else { (FLOOR_SHORT, GOAL_SHORT) };
            table.row([
                noise.name(),
                history.to_string(),
                achieved.text(0),
                censored.to_string(),
                floor.judge(achieved),
                goal.judge(achieved),
            ]);
        }
    }
}

/// The run length after a history, and how many waits were given up.
fn achieved(options: &Options, noise: Noise, history: u64, runs: u64) -> (Figure, usize) {
    let most = (CENSORED_AT * ARL) as u64;
    let waits = options.each(runs, |run| {
        let mut watch = Watch::new(Source::new(noise, options.seed + run), ARL);
        watch.quiet(history);
        watch.until_alarm(most, |_| 0.0)
    });
    let censored = waits.iter().filter(|wait| wait.is_none()).count();
    (Figure::run_length(&waits, most), censored)
}
