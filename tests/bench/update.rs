//! What one signal costs: nanoseconds a whole step (baseline, test, threshold), hot in the cache and
//! with very many signals in random order, and bytes of state in memory and as stored. Beside it
//! the bare sequential test and a peer crate's detectors on the same values in the same run.
//!
//! A figure is the median of batches with half the distance of their quartiles as its error: a busy
//! machine slows some batches, never speeds one up. `--full` takes a million signals in random
//! order, if that many fit into half of the memory that is free.

mod common;

use std::{hint::black_box, time::Instant};

use common::{
    command_line::Options,
    noise::{Noise, Source},
    statistics::{Bound, Figure},
    table::Table,
    watch::{SIGNAL, Watch, settings, time},
};
use headwater::{
    detect::{Detector, focus::Focus},
    series::Time,
};
use peak_alloc::PeakAlloc;
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use rill_ml::drift::{Adwin, DriftDetector, PageHinkley};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// A fleet's budget: one false page a month over 40 signals at 15 s.
const ARL: f64 = 7e6;

/// Samples that a detector has seen before it is timed.
const HISTORY: u64 = 20_000;

/// Batches that are timed, and their samples.
const BATCHES: usize = 41;
const BATCH_SAMPLES: usize = 4_096;

/// Rounds over all signals in random order.
const ROUNDS: u64 = 5;

/// Signals in random order: at least this many, and with `--full` if there is memory.
const SIGNALS: u64 = 100_000;
const SIGNALS_FULL: u64 = 1_000_000;

const STEP_NS_FLOOR: Bound = Bound::Most(250.0);
const STEP_NS_GOAL: Bound = Bound::Most(100.0);
const STATE_FLOOR: Bound = Bound::Most(4_096.0);
const STATE_GOAL: Bound = Bound::Most(1_536.0);
const FOCUS_NS_FLOOR: Bound = Bound::Most(60.0);
const FOCUS_NS_GOAL: Bound = Bound::Most(38.0);

fn main() {
    let options = Options::read();
    println!(
        "first seed {}; medians of {BATCHES} batches ± half their quartile distance",
        options.seed
    );
    steps(&options);
    if options.wants("random order") {
        in_random_order(&options);
    }
    if options.wants("recursion") {
        bare_recursions(&options);
    }
}

/// The median of batches, with half the distance of their quartiles.
fn median(mut batches: Vec<f64>) -> Figure {
    batches.sort_by(f64::total_cmp);
    let at = |share: f64| batches[(share * (batches.len() - 1) as f64) as usize];
    Figure { value: at(0.5), error: (at(0.75) - at(0.25)) / 2.0 }
}

/// Nanoseconds a sample, of batches that `run` takes one after another.
fn time_batches(mut run: impl FnMut(usize)) -> Figure {
    let batches = (0..BATCHES).map(|batch| {
        let begun = Instant::now();
        run(batch);
        begun.elapsed().as_nanos() as f64 / BATCH_SAMPLES as f64
    });
    median(batches.collect())
}

/// A constant signal has no generator.
fn kinds() -> impl Iterator<Item = (String, Option<Noise>)> {
    let noises = [
        Noise::Normal,
        Noise::Student,
        Noise::Autoregressive(0.7),
        Noise::Poisson(1.0),
        Noise::Poisson(20.0),
        Noise::SeasonalCounts,
        Noise::Seasonal(2.0),
    ];
    let noises = noises.into_iter().map(|noise| (noise.name(), Some(noise)));
    noises.chain([("constant".to_owned(), None)])
}

/// So many samples of a noise; of a constant if there is none.
fn samples(noise: Option<Noise>, seed: u64, count: usize) -> Vec<f64> {
    let mut source = noise.map(|noise| Source::new(noise, seed));
    let next = |_| match &mut source {
        Some(source) => source.sample(0.0).unwrap_or_default(),
        None => 21_000.0,
    };
    (0..count).map(next).collect()
}

/// When those samples were taken: working that out is not what is timed.
fn times(count: usize) -> Vec<Time> {
    (0..count as u64).map(time).collect()
}

/// A detector after its history, and the bytes that it takes.
fn seasoned(values: &[f64]) -> (Detector, f64) {
    let before = ALLOCATOR.current_usage();
    let (mut detector, settings) = (Detector::new(), settings(ARL));
    for (slot, value) in (0..).zip(values) {
        if detector.step(&settings, SIGNAL, time(slot), *value).change.is_some() {
            detector.rebase();
        }
    }
    let heap = ALLOCATOR.current_usage().saturating_sub(before);
    (detector, (heap + size_of::<Detector>()) as f64)
}

fn steps(options: &Options) {
    let title =
        "A whole step of one signal, hot, and its state, after 20,000 samples at an ARL of 7e6";
    let columns = [
        ("noise", 15),
        ("ns a step", 14),
        ("floor", 12),
        ("goal", 12),
        ("bytes", 6),
        ("floor", 13),
        ("goal", 13),
        ("stored", 6),
    ];
    let table = Table::begin(title, &columns);
    for (name, noise) in kinds().filter(|(name, _)| options.wants(name)) {
        let history = HISTORY as usize;
        let values = samples(noise, options.seed, history + BATCHES * BATCH_SAMPLES);
        let (mut detector, bytes) = seasoned(&values[..history]);
        let stored = serde_json::to_string(&detector).map_or(0, |stored| stored.len());
        let (settings, times) = (settings(ARL), times(values.len()));
        let figure = time_batches(|batch| {
            let begin = history + batch * BATCH_SAMPLES;
            let batch = begin..begin + BATCH_SAMPLES;
            for (at, value) in times[batch.clone()].iter().zip(&values[batch]) {
                let verdict = detector.step(&settings, SIGNAL, *at, *value);
                if black_box(verdict).change.is_some() {
                    detector.rebase();
                }
            }
        });
        let exactly = Figure { value: bytes, error: 0.0 };
        table.row([
            name,
            figure.text(0),
            STEP_NS_FLOOR.judge(figure),
            STEP_NS_GOAL.judge(figure),
            format!("{bytes:.0}"),
            STATE_FLOOR.judge(exactly),
            STATE_GOAL.judge(exactly),
            stored.to_string(),
        ]);
    }
}

fn in_random_order(options: &Options) {
    let mut watch = Watch::new(Source::new(Noise::Normal, options.seed), ARL);
    let before = ALLOCATOR.current_usage();
    watch.quiet(HISTORY);
    let bytes = ALLOCATOR.current_usage().saturating_sub(before) + size_of::<Detector>();
    let wanted = options.runs(SIGNALS, SIGNALS_FULL);
    let signals = wanted.min((memory_free() / 2 / bytes as u64).max(SIGNALS));
    let mut detectors: Vec<Detector> = (0..signals).map(|_| watch.detector.clone()).collect();
    let mut order: Vec<usize> = (0..detectors.len()).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(options.seed));
    // Values come from a table that stays in the cache: generating them is not what is timed.
    let values = samples(Some(Noise::Normal), options.seed + 1, BATCH_SAMPLES);
    let settings = settings(ARL);
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        let at = time(HISTORY + round);
        let begun = Instant::now();
        for (index, signal) in order.iter().enumerate() {
            let value = values[(index + round as usize * 7) % BATCH_SAMPLES];
            black_box(detectors[*signal].step(&settings, SIGNAL, at, value));
        }
        rounds.push(begun.elapsed().as_nanos() as f64 / signals as f64);
    }
    let figure = median(rounds);
    println!("\n{signals} signals in random order, N(0,1): {} ns a step", figure.text(0));
    if signals < wanted {
        println!("({wanted} signals would take more than half of the memory that is free)");
    }
}

/// Bytes of memory that are free; none where the system does not say.
fn memory_free() -> u64 {
    let told = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = told.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kibibytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kibibytes.unwrap_or(0) * 1_024
}

fn bare_recursions(options: &Options) {
    let history = HISTORY as usize;
    let values = samples(Some(Noise::Normal), options.seed, history + BATCHES * BATCH_SAMPLES);
    let columns = [("recursion", 31), ("ns an update", 14), ("floor", 11), ("goal", 0)];
    let table = Table::begin("The bare recursions on N(0,1), after 20,000 samples", &columns);
    let batch_of =
        |batch: usize| history + batch * BATCH_SAMPLES..history + (batch + 1) * BATCH_SAMPLES;

    let times = times(values.len());
    let (mut up, mut down) = (Focus::default(), Focus::default());
    let mut step = |slot: usize| {
        up.push(values[slot], times[slot], 0.0);
        down.push(-values[slot], times[slot], 0.0);
        up.best().score.max(down.best().score)
    };
    (0..history).for_each(|slot| {
        black_box(step(slot));
    });
    let figure = time_batches(|batch| {
        for slot in batch_of(batch) {
            black_box(step(slot));
        }
    });
    let bounds = [FOCUS_NS_FLOOR.judge(figure), FOCUS_NS_GOAL.judge(figure)];
    let row = ["FOCuS, both directions".to_owned(), figure.text(1)];
    table.row(row.into_iter().chain(bounds));

    let mut peers: [(&str, Box<dyn DriftDetector>); 2] = [
        ("rill-ml Page-Hinkley (one direction)", Box::new(PageHinkley::default())),
        ("rill-ml ADWIN", Box::new(Adwin::default())),
    ];
    for (name, peer) in &mut peers {
        for value in &values[..history] {
            black_box(peer.update(*value).is_ok());
        }
        let figure = time_batches(|batch| {
            for value in &values[batch_of(batch)] {
                black_box(peer.update(*value).is_ok());
            }
        });
        table.row([(*name).to_owned(), figure.text(1)]);
    }
}
