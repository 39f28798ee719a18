//! How soon a change is seen: mean delays after a shift or the beginning of a ramp, in samples, the
//! first changed sample being 1. Prints tables; `--full` takes 20,000 runs a figure.
//!
//! The quiet part before a change has a budget of one false alarm in 1e9 samples, so that none
//! precedes the change; from the change on the budget is the nominal one. Where a history is long
//! its detector is copied, and each copy sees a future of its own: a run is a copy, and standard
//! errors are those between histories.
//!
//! A detector that is quieter than it was asked to be pays with delay. So the delays are measured
//! twice: at the nominal ARL of 5,000, and at the nominal one at which the ARL that is achieved
//! after the same history is 5,000.
//!
//! The next table compares with the same test told the true noise model (`common/oracle.rs`), at an
//! achieved ARL of 5,000. The shift is 2 standard deviations of the innovations and is added to the
//! level of the observed series: in AR(φ) the innovations themselves shift by 2 at once and by
//! 2 (1 − φ) from then on, for whoever whitens exactly.
//!
//! The last table is of counts that fall by half, and to nothing, beside the exact test of their
//! family with known parameters.

mod common;

use common::{
    change::Change,
    command_line::Options,
    noise::Noise,
    oracle,
    statistics::{Bound, Figure},
    table::Table,
    watch::{Called, DELAY_MAX, Runs, Watch, delay, future, watches},
};

/// The average run length of most figures, in samples.
const ARL: f64 = 5_000.0;
/// And that of a signal that may seldom be wrong.
const ARL_LONG: f64 = 500_000.0;

/// Waits for a false alarm are given up after so many times the ARL that is sought.
const CENSORED_AT: f64 = 20.0;

/// A nominal budget is found when the achieved run length is this close.
const NEAR_ENOUGH: f64 = 0.03;
/// Scalings of the nominal budget in that search.
const SCALINGS_MAX: usize = 8;

/// The shift of the comparison with the oracle, in standard deviations of the innovations.
const SHIFT_COMPARED: f64 = 2.0;
/// The delay over the oracle's: what must hold, and what should.
const RATIO_FLOOR: Bound = Bound::Most(2.0);
const RATIO_GOAL: Bound = Bound::Most(1.3);

/// The shares of counts that are gone.
const FALLS: [f64; 2] = [0.5, 1.0];

/// A change whose delay is measured, with the delay that it must and should keep to.
#[derive(Clone, Copy, Debug)]
struct Case {
    name: &'static str,
    change: Change,
    floor: f64,
    goal: f64,
}

const fn shift(name: &'static str, size: f64, floor: f64, goal: f64) -> Case {
    Case { name, change: Change::Shift(size), floor, goal }
}

/// What must hold at an ARL of 5,000 after 500 samples.
const CASES: [Case; 5] = [
    shift("0.5σ", 0.5, 62.0, 58.0),
    shift("1σ", 1.0, 17.0, 15.0),
    shift("2σ", 2.0, 5.0, 4.5),
    shift("5σ", 5.0, 1.3, 1.2),
    Case { name: "ramp 0.01σ", change: Change::Ramp(0.01), floor: 72.0, goal: 68.0 },
];

/// What must hold at an ARL of 500,000 after 20,000 samples.
const CASES_LONG: [Case; 3] =
    [shift("1σ", 1.0, 27.0, 25.0), shift("2σ", 2.0, 7.5, 7.0), shift("5σ", 5.0, 1.7, 1.6)];

fn main() {
    let options = Options::read();
    println!("delays in samples, the first changed sample is 1; first seed {}", options.seed);
    if options.wants("normal") {
        on_normal_noise(&options);
    }
    if options.wants("long") {
        at_long_run_lengths(&options);
    }
    if options.wants("kinds") {
        called(&options);
    }
    against_the_oracle(&options);
    falls_of_counts(&options);
}

/// The run length that is achieved at a nominal one.
fn achieved(options: &Options, watches: &[Watch], nominal: f64, sought: f64) -> Figure {
    let most = (CENSORED_AT * sought) as u64;
    let waits = options.each(watches.len() as u64, |run| {
        let mut watch = future(options, &watches[run as usize], run, 0, nominal);
        watch.until_alarm(most, |_| 0.0)
    });
    Figure::run_length(&waits, most)
}

/// The nominal run length at which the achieved one is `sought`, with the achieved one. The futures
/// are the same at each step, so the search does not chase its own noise.
fn nominal_for(options: &Options, watches: &[Watch], sought: f64) -> (f64, Figure) {
    let mut nominal = sought;
    let mut figure = achieved(options, watches, nominal, sought);
    for _ in 0..SCALINGS_MAX {
        let ratio = sought / figure.value;
        if (ratio - 1.0).abs() < NEAR_ENOUGH {
            break;
        }
        // Never by more than tenfold: where nothing alarmed there is no ratio.
        nominal *= ratio.clamp(0.1, 10.0);
        figure = achieved(options, watches, nominal, sought);
    }
    (nominal, figure)
}

/// The columns of a table of delays on normal noise.
const COLUMNS: [(&str, usize); 8] = [
    ("history", 7),
    ("nominal ARL", 11),
    ("achieved ARL", 14),
    ("change", 10),
    ("delay ± s.e.", 15),
    ("missed", 6),
    ("floor", 12),
    ("goal", 0),
];

/// Prints one row for each case.
fn rows(table: &Table, of: &[String; 3], cases: &[(Case, Figure, u64)], judged: bool) {
    for (case, figure, missed) in cases {
        let judge = |bound: f64| match judged {
            true => Bound::Most(bound).judge(*figure),
            false => String::new(),
        };
        let own = [case.name.to_owned(), figure.text(2), missed.to_string()];
        let bounds = [judge(case.floor), judge(case.goal)];
        table.row(of.clone().into_iter().chain(own).chain(bounds));
    }
}

fn on_normal_noise(options: &Options) {
    let histories = [
        (500, Runs { histories: options.runs(4_000, 20_000), futures: options.runs(5, 1) }),
        (6_000, Runs { histories: options.runs(400, 2_000), futures: 10 }),
        (20_000, Runs { histories: options.runs(200, 2_000), futures: options.runs(20, 10) }),
    ];
    let title =
        "N(0,1), mean and scatter unknown, at an ARL of 5,000: as asked for, and as achieved";
    let table = Table::begin(title, &COLUMNS);
    for (history, runs) in histories {
        let watches = watches(options, Noise::Normal, history, runs);
        let some = &watches[..watches.len().min(options.runs(400, 2_000) as usize)];
        let asked = (ARL, achieved(options, some, ARL, ARL));
        for (nominal, achieved) in [asked, nominal_for(options, some, ARL)] {
            let measured = CASES.map(|case| {
                let (figure, missed) = delay(options, &watches, runs.futures, nominal, case.change);
                (case, figure, missed)
            });
            let of = [history.to_string(), format!("{nominal:.0}"), achieved.text(0)];
            // The bounds are for the shortest history.
            rows(&table, &of, &measured, history == histories[0].0);
        }
    }
}

fn at_long_run_lengths(options: &Options) {
    let runs = Runs { histories: options.runs(200, 2_000), futures: options.runs(20, 10) };
    let watches = watches(options, Noise::Normal, 20_000, runs);
    let title = "N(0,1) at a nominal ARL of 500,000; the achieved one is measured with --full only";
    let table = Table::begin(title, &COLUMNS);
    let achieved = if options.full {
        let some = &watches[..watches.len().min(400)];
        achieved(options, some, ARL_LONG, ARL_LONG).text(0)
    } else {
        String::new()
    };
    let measured = CASES_LONG.map(|case| {
        let (figure, missed) = delay(options, &watches, runs.futures, ARL_LONG, case.change);
        (case, figure, missed)
    });
    rows(&table, &["20000".to_owned(), ARL_LONG.to_string(), achieved], &measured, true);
}

/// What changes are called by the time that they have stood 40 times as long as it took to see
/// them: a ramp is told from a shift by what follows the alarm.
fn called(options: &Options) {
    const STANDS: u64 = 40;
    let cases = [
        ("shift 0.5σ", Change::Shift(0.5)),
        ("shift 1σ", Change::Shift(1.0)),
        ("shift 2σ", Change::Shift(2.0)),
        ("shift 4σ", Change::Shift(4.0)),
        ("shift 8σ", Change::Shift(8.0)),
        ("ramp 0.003σ", Change::Ramp(0.003)),
        ("ramp 0.01σ", Change::Ramp(0.01)),
        ("ramp 0.1σ", Change::Ramp(0.1)),
        ("ramp 1σ", Change::Ramp(1.0)),
    ];
    let runs = Runs { histories: options.runs(1_000, 20_000), futures: 1 };
    let columns = [
        ("change", 11),
        ("alarm", 14),
        ("called ramp %", 13),
        ("after samples", 14),
        ("seen to return %", 0),
    ];
    let title = "What a change is called, after 6,000 samples at a nominal ARL of 5,000";
    let table = Table::begin(title, &columns);
    let watches = watches(options, Noise::Normal, 6_000, runs);
    for (name, change) in cases {
        let results = options.each(runs.histories, |run| {
            let mut watch = watches[run as usize].clone();
            watch.set_arl(ARL);
            let alarm = watch.until_alarm(DELAY_MAX, |sample| change.at(sample))?;
            let wait = |sample| change.at(alarm + sample);
            Some((alarm, watch.until_called(STANDS * alarm, wait)))
        });
        let found: Vec<(u64, Called)> = results.into_iter().flatten().collect();
        let alarms: Vec<f64> = found.iter().map(|(alarm, _)| *alarm as f64).collect();
        let ramps = found.iter().filter_map(|(_, called)| match called {
            Called::Ramp(after) => Some(*after as f64),
            _ => None,
        });
        let ramps: Vec<f64> = ramps.collect();
        let share = |called: &dyn Fn(&Called) -> bool| {
            let hits = found.iter().map(|(_, each)| f64::from(u8::from(called(each))) * 100.0);
            Figure::mean(&hits.collect::<Vec<_>>()).text(1)
        };
        table.row([
            name.to_owned(),
            Figure::mean(&alarms).text(1),
            share(&|called| matches!(called, Called::Ramp(_))),
            Figure::mean(&ramps).text(1),
            share(&|called| matches!(called, Called::Returned)),
        ]);
    }
}

fn against_the_oracle(options: &Options) {
    let noises = Noise::ALL.into_iter().filter(|noise| options.wants(&noise.name()));
    let noises: Vec<Noise> = noises.collect();
    if noises.is_empty() {
        return;
    }
    let title = "A shift of 2 innovations' σ after 20,000 samples at a nominal ARL of 5,000, and \
                 the same test told the true noise model at an achieved one";
    let columns = [
        ("noise", 15),
        ("delay ± s.e.", 15),
        ("missed", 6),
        ("oracle's threshold", 5),
        ("its ARL", 11),
        ("its delay", 15),
        ("ratio", 12),
        ("floor", 10),
        ("goal", 0),
    ];
    let table = Table::begin(title, &columns);
    let runs = Runs { histories: options.runs(100, 1_000), futures: 20 };
    for noise in noises {
        let calibrations = options.runs(300, 2_000);
        let (threshold, achieved) = oracle::threshold(options, noise, ARL, calibrations);
        let oracle_runs = runs.histories * runs.futures;
        let told = oracle::delay(options, noise, threshold, SHIFT_COMPARED, oracle_runs);
        let watches = watches(options, noise, 20_000, runs);
        let change = Change::Shift(SHIFT_COMPARED);
        let (figure, missed) = delay(options, &watches, runs.futures, ARL, change);
        let ratio = figure.over(told);
        table.row([
            noise.name(),
            figure.text(2),
            missed.to_string(),
            format!("{threshold:.2}"),
            achieved.text(0),
            told.text(2),
            ratio.text(2),
            RATIO_FLOOR.judge(ratio),
            RATIO_GOAL.judge(ratio),
        ]);
    }
}

fn falls_of_counts(options: &Options) {
    let wanted = |noise: &Noise| options.wants(&format!("falls {}", noise.name()));
    let noises: Vec<Noise> = Noise::COUNTS.into_iter().filter(wanted).collect();
    if noises.is_empty() {
        return;
    }
    let title = "Counts that fall, after 20,000 samples at a nominal ARL of 5,000, and the exact \
                 test of their family with known parameters at an achieved one";
    let columns = [
        ("noise", 13),
        ("ARL ± s.e.", 15),
        ("fall", 6),
        ("delay ± s.e.", 17),
        ("missed", 6),
        ("exact test's threshold", 9),
        ("its ARL", 11),
        ("its delay", 15),
        ("ratio", 0),
    ];
    let table = Table::begin(title, &columns);
    let runs = Runs { histories: options.runs(100, 1_000), futures: options.runs(5, 20) };
    for noise in noises {
        let calibrations = options.runs(300, 2_000);
        let (threshold, told_achieved) = oracle::threshold(options, noise, ARL, calibrations);
        let watches = watches(options, noise, 20_000, runs);
        let own_achieved = achieved(options, &watches, ARL, ARL);
        for share in FALLS {
            let shift = -share * noise.mean() / noise.deviation();
            let told = oracle::delay(options, noise, threshold, shift, 5 * calibrations);
            let change = Change::Shift(shift);
            let (figure, missed) = delay(options, &watches, runs.futures, ARL, change);
            table.row([
                noise.name(),
                own_achieved.text(0),
                format!("{:.0} %", -100.0 * share),
                figure.text(2),
                missed.to_string(),
                format!("{threshold:.2}"),
                told_achieved.text(0),
                told.text(2),
                figure.over(told).text(2),
            ]);
        }
    }
}
