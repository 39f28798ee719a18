//! What one signal costs: nanoseconds a whole step (baseline, test, threshold), hot in the cache
//! and with very many signals in random order, and bytes of state in memory and as stored. Beside
//! it the bare sequential test and a peer crate's detectors on the same values in the same run.
//!
//! A busy machine slows a measurement, never speeds one up. So each batch of samples is taken
//! several times from the same state, the fastest counts, and the figure is the mean over
//! consecutive batches, with its standard error: what a detector does only now and then is in it.
//! In random order nothing can be repeated without being hot, so there the median of batches
//! counts. `--full` takes a million signals, if that many fit into half of the memory that is free.

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

/// Consecutive batches that are timed, their samples, and how often each is repeated. A batch is
/// shorter than a scheduler's slice.
const BATCHES: usize = 100;
const BATCH_SAMPLES: usize = 512;
const REPEATS: usize = 15;

/// Rounds over all signals in random order.
const ROUNDS: u64 = 5;

/// Different detectors among the signals in random order, and the samples by which their histories
/// differ, so that they do not all do the same at the same sample.
const DIFFERENT: u64 = 64;
const DIFFERENT_SAMPLES: u64 = 17;

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
    println!("first seed {}; {BATCHES} batches, the fastest of {REPEATS} each", options.seed);
    steps(&options);
    if options.wants("random order") {
        in_random_order(&options);
    }
    if options.wants("recursion") {
        bare_recursions(&options);
    }
}

/// Nanoseconds a sample of a state that takes samples one after another, by their index.
fn time_batches<S: Clone>(mut state: S, begin: usize, step: impl Fn(&mut S, usize)) -> Figure {
    let mut batches = Vec::with_capacity(BATCHES);
    for batch in 0..BATCHES {
        let first = begin + batch * BATCH_SAMPLES;
        let mut fastest = f64::INFINITY;
        let mut after = state.clone();
        for _ in 0..REPEATS {
            after = state.clone();
            let begun = Instant::now();
            for index in first..first + BATCH_SAMPLES {
                step(&mut after, index);
            }
            fastest = fastest.min(begun.elapsed().as_nanos() as f64);
        }
        state = after;
        batches.push(fastest / BATCH_SAMPLES as f64);
    }
    Figure::mean(&batches)
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
        let (detector, bytes) = seasoned(&values[..history]);
        let stored = serde_json::to_string(&detector).map_or(0, |stored| stored.len());
        let (settings, times) = (settings(ARL), times(values.len()));
        let figure = time_batches(detector, history, |detector, index| {
            let verdict = detector.step(&settings, SIGNAL, times[index], values[index]);
            if black_box(verdict).change.is_some() {
                detector.rebase();
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
    let before = ALLOCATOR.current_usage();
    let different: Vec<Watch> = options.each(DIFFERENT, |index| {
        let mut watch = Watch::new(Source::new(Noise::Normal, options.seed + index), ARL);
        watch.quiet(HISTORY + DIFFERENT_SAMPLES * index);
        watch
    });
    let bytes = ALLOCATOR.current_usage().saturating_sub(before) as u64 / DIFFERENT;
    let wanted = options.runs(SIGNALS, SIGNALS_FULL);
    let signals = wanted.min((memory_free() / 2 / bytes).max(SIGNALS));
    let mut detectors: Vec<(u64, Detector)> = (0..signals)
        .map(|signal| {
            let watch = &different[(signal % DIFFERENT) as usize];
            (watch.source.slot(), watch.detector.clone())
        })
        .collect();
    let mut order: Vec<usize> = (0..detectors.len()).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(options.seed));
    // Values come from a table that stays in the cache: generating them is not what is timed.
    let values = samples(Some(Noise::Normal), options.seed, BATCH_SAMPLES);
    let settings = settings(ARL);
    let mut batches = Vec::new();
    for round in 0..ROUNDS {
        for batch in order.chunks_exact(BATCH_SAMPLES) {
            let begun = Instant::now();
            for (signal, value) in batch.iter().zip(&values) {
                let (slot, detector) = &mut detectors[*signal];
                black_box(detector.step(&settings, SIGNAL, time(*slot + round), *value));
            }
            batches.push(begun.elapsed().as_nanos() as f64 / BATCH_SAMPLES as f64);
        }
    }
    batches.sort_by(f64::total_cmp);
    let at = |share: f64| batches[(share * (batches.len() - 1) as f64) as usize];
    println!(
        "\n{signals} signals in random order, N(0,1): {:.0} ns a step (median of batches; a tenth \
         of them below {:.0}, a tenth above {:.0})",
        at(0.5),
        at(0.1),
        at(0.9)
    );
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
    let times = times(values.len());
    let columns = [("recursion", 37), ("ns an update", 14), ("floor", 11), ("goal", 0)];
    let table = Table::begin("The bare recursions on N(0,1), after 20,000 samples", &columns);

    let focus = |(up, down): &mut (Focus, Focus), index: usize| {
        up.push(values[index], times[index], 0.0);
        down.push(-values[index], times[index], 0.0);
        black_box(up.best().score.max(down.best().score));
    };
    let figure = time_seasoned((Focus::default(), Focus::default()), history, focus);
    let bounds = [FOCUS_NS_FLOOR.judge(figure), FOCUS_NS_GOAL.judge(figure)];
    let row = ["FOCuS, both directions".to_owned(), figure.text(1)];
    table.row(row.into_iter().chain(bounds));

    let upwards = |up: &mut Focus, index: usize| {
        up.push(values[index], times[index], 0.0);
        black_box(up.best().score);
    };
    let figure = time_seasoned(Focus::default(), history, upwards);
    table.row(["FOCuS, one direction".to_owned(), figure.text(1)]);

    let page = |page: &mut PageHinkley, index: usize| {
        black_box(page.update(values[index]).is_ok());
    };
    let figure = time_seasoned(PageHinkley::default(), history, page);
    table.row(["rill-ml Page-Hinkley, one direction".to_owned(), figure.text(1)]);

    let adwin = |adwin: &mut Adwin, index: usize| {
        black_box(adwin.update(values[index]).is_ok());
    };
    let figure = time_seasoned(Adwin::default(), history, adwin);
    table.row(["rill-ml ADWIN".to_owned(), figure.text(1)]);
}

/// The same as `time_batches`, after the state has taken the samples before.
fn time_seasoned<S: Clone>(mut state: S, begin: usize, step: impl Fn(&mut S, usize)) -> Figure {
    (0..begin).for_each(|index| step(&mut state, index));
    time_batches(state, begin, step)
}
