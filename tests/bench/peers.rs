//! What other tests would do in the detector's place, on N(0,1): each told what it cannot learn,
//! each with the threshold at which it achieves the same average run length. Prints tables;
//! `--full` takes 20,000 runs a delay.
//!
//! After a long history, at run lengths of 5,000 and 500,000: a bank of five two-sided CUSUMs
//! (Page, Biometrika 41, 1954; sizes 0.25, 0.5, 1, 2 and 4) that is told mean and scatter, and so
//! never learns a change by mistake; and exact FOCuS told the same. A bank sees small shifts sooner
//! than FOCuS only as far as it watches fewer sizes.
//!
//! After 500 samples, at 5,000: the exact likelihood ratio of two means over every onset of the
//! latest 800, told the scatter but not the mean. Nothing that keeps its promise from the first
//! hour on can be expected to be sooner. It stands beside the detector, which learns the scatter,
//! its tails and the autocorrelation as well.

mod common;

use common::{
    calibration,
    change::Change,
    command_line::Options,
    noise::{Noise, Source},
    oracle::{Hull, normal_score},
    table::Table,
    watch::{self, Runs, watches},
};

/// The detector's name in the table.
const DETECTOR: &str = "Headwater, nothing told";

/// Sizes of the bank, in standard deviations.
const BANK: [f64; 5] = [0.25, 0.5, 1.0, 2.0, 4.0];

/// Samples before the change for those that are told the mean.
const QUIET_TOLD: u64 = 500;

/// Samples from which the two-mean test has its first mean.
const HISTORY: u64 = 500;

/// Onsets that the two-mean test looks back over: far beyond every delay that is measured.
const ONSETS: usize = 800;

/// What is to be seen.
const CHANGES: [(&str, Change); 5] = [
    ("0.5σ", Change::Shift(0.5)),
    ("1σ", Change::Shift(1.0)),
    ("2σ", Change::Shift(2.0)),
    ("5σ", Change::Shift(5.0)),
    ("ramp 0.01σ", Change::Ramp(0.01)),
];

#[derive(Clone, Debug)]
enum Peer {
    Bank { up: [f64; BANK.len()], down: [f64; BANK.len()] },
    Focus { up: Hull, down: Hull },
    TwoMeans { sums: Vec<f64> },
}

impl Peer {
    fn bank() -> Peer {
        Peer::Bank { up: [0.0; BANK.len()], down: [0.0; BANK.len()] }
    }

    fn focus() -> Peer {
        Peer::Focus { up: Hull::default(), down: Hull::default() }
    }

    fn two_means() -> Peer {
        Peer::TwoMeans { sums: vec![0.0] }
    }

    /// Takes one sample; the log-likelihood ratio is given back.
    fn step(&mut self, value: f64) -> f64 {
        match self {
            Peer::Bank { up, down } => {
                let page = |sum: &mut f64, size: f64, value: f64| {
                    *sum = (*sum + size * (value - size / 2.0)).max(0.0);
                    *sum
                };
                let mut best = 0.0_f64;
                for (index, size) in BANK.into_iter().enumerate() {
                    best = best.max(page(&mut up[index], size, value));
                    best = best.max(page(&mut down[index], size, -value));
                }
                best
            }
            Peer::Focus { up, down } => {
                up.step(value, normal_score).max(down.step(-value, normal_score))
            }
            Peer::TwoMeans { sums } => {
                let seen = sums.len();
                let sum = sums[seen - 1] + value;
                sums.push(sum);
                let first = seen.saturating_sub(ONSETS).max(HISTORY as usize);
                let ratio = |onset: usize| {
                    let (before, after) = (onset as f64, (seen - onset) as f64);
                    let difference = (sum - sums[onset]) / after - sums[onset] / before;
                    difference * difference * before * after / (before + after) / 2.0
                };
                (first..seen).map(ratio).fold(0.0, f64::max)
            }
        }
    }
}

/// A run of a test, from the end of its quiet part on.
fn run(options: &Options, peer: &Peer, quiet: u64, run: u64) -> impl FnMut(f64) -> f64 + use<> {
    let mut source = Source::new(Noise::Normal, options.seed + run);
    let mut peer = peer.clone();
    // This noise has a sample in every slot.
    let mut next = move |shift| source.sample(shift).map_or(0.0, |value| peer.step(value));
    (0..quiet).for_each(|_| {
        next(0.0);
    });
    next
}

fn main() {
    let options = Options::read();
    println!("delays in samples, the first changed sample is 1; first seed {}", options.seed);
    let columns = [("test", 24), ("history", 8), ("ARL", 16), ("threshold", 9)];
    let columns: Vec<_> = columns.into_iter().chain(CHANGES.map(|(name, ..)| (name, 14))).collect();
    let table = Table::begin("N(0,1), each test at the run length it achieves", &columns);
    let peers = [
        ("two means, scatter told", Peer::two_means(), HISTORY, "500", 5_000.0),
        ("FOCuS, all told", Peer::focus(), QUIET_TOLD, "any", 5_000.0),
        ("5 CUSUMs, all told", Peer::bank(), QUIET_TOLD, "any", 5_000.0),
        ("FOCuS, all told", Peer::focus(), QUIET_TOLD, "any", 500_000.0),
        ("5 CUSUMs, all told", Peer::bank(), QUIET_TOLD, "any", 500_000.0),
    ];
    for (name, peer, quiet, history, arl) in peers {
        if !options.wants(name) {
            continue;
        }
        let start = |number| run(&options, &peer, quiet, number);
        let calibrations = options.runs(400, 2_000);
        let (threshold, achieved) = calibration::threshold(&options, arl, calibrations, start);
        let runs = options.runs(4_000, 20_000);
        let delays = CHANGES.map(|(_, change)| {
            calibration::delay(&options, runs, threshold, change, start).text(2)
        });
        let of = [name.into(), history.into(), achieved.text(0), format!("{threshold:.2}")];
        table.row(of.into_iter().chain(delays));
    }
    if !options.wants(DETECTOR) {
        return;
    }
    let runs = Runs { histories: options.runs(400, 2_000), futures: 10 };
    for (history, arls) in [(500, &[5_000.0][..]), (20_000, &[5_000.0, 500_000.0])] {
        let watches = watches(&options, Noise::Normal, history, runs);
        for arl in arls {
            let delays = CHANGES.map(|(_, change)| {
                watch::delay(&options, &watches, runs.futures, *arl, change).0.text(2)
            });
            let of =
                [DETECTOR.into(), history.to_string(), format!("{arl} nominal"), String::new()];
            table.row(of.into_iter().chain(delays));
        }
    }
}
