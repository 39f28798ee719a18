//! What is new beside a recording: an anomaly score for each row of the file, in the file's order,
//! and the changes of each signal.
//!
//! The pipeline keeps the level from before a change for as long as its incident is open: until
//! then nobody wants to hear more of it. Who asks for scores wants to hear of the next change too,
//! so each signal has a detector of its own here, which takes a new level for granted once it has
//! stood for some samples. Of flows, whose breadth is judged, it is the pipeline's own score.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::BufWriter,
    path::Path,
};

use anyhow::{Context, Result, bail};

use crate::{
    cli::BacktestOptions,
    detect::{Detector, Verdict},
    incident::Change,
    pipeline::{Pipeline, Watching},
    recording::{Recording, Writer},
    series::Time,
    values::{Name, Values},
};

/// A change has become the new normal when it has stood for so many samples, enough for their mean
/// to be a level, and when it is told whether it is a ramp.
const ACCEPTED_SAMPLES: u32 = 12;

/// An earlier alarm takes from the novelty of a later one, and fades with this time constant in
/// samples.
const ALARM_MEMORY_SAMPLES: f64 = 100.0;

/// Alarms older than this many time constants are forgotten: less than a thousandth is left.
const ALARM_MEMORIES_MAX: f64 = 7.0;

/// The threshold's score.
const THRESHOLD: f64 = 0.5;

/// The scores of a recording, 8 bytes a cell, and the detectors that they come from.
#[derive(Clone, Debug)]
pub struct Scores {
    columns: BTreeMap<Name, usize>,
    /// As the recording's rows; NaN where nothing was judged.
    scores: Vec<f64>,
    /// Of measured signals, by name.
    watches: BTreeMap<Name, Watch>,
    changes: Vec<Change>,
}

/// A signal's own detector.
#[derive(Clone, Debug)]
struct Watch {
    detector: Detector,
    /// Samples since the open change was raised.
    stood: u32,
    samples: u64,
    /// The sample and the strength of each alarm of late.
    alarms: Vec<(u64, f64)>,
}

impl Watch {
    /// Goes on where another detector stands.
    fn of(detector: &Detector) -> Watch {
        Watch { detector: detector.clone(), stood: 0, samples: 0, alarms: Vec::new() }
    }

    fn step(&mut self, signal: &str, at: Time, watching: &Watching<'_>) -> Verdict {
        let mut verdict = self.detector.step(&watching.settings, signal, at, watching.level);
        self.samples += 1;
        if verdict.change.is_some() {
            self.stood = 0;
            verdict.anomaly = THRESHOLD + (1.0 - THRESHOLD) * self.novelty(verdict.score);
        } else if self.detector.in_change().is_some() {
            self.stood += 1;
            if self.stood >= ACCEPTED_SAMPLES && self.detector.is_told() {
                self.detector.rebase();
            }
        }
        verdict
    }

    /// How new an alarm of this strength is, in 0..1: one over the number of alarms of late, itself
    /// included, of which a weaker one counts in proportion.
    fn novelty(&mut self, strength: f64) -> f64 {
        let now = self.samples;
        let age = |sample: u64| (now - sample) as f64 / ALARM_MEMORY_SAMPLES;
        self.alarms.retain(|(sample, _)| age(*sample) <= ALARM_MEMORIES_MAX);
        let weights = self
            .alarms
            .iter()
            .map(|(sample, earlier)| (-age(*sample)).exp() * (earlier / strength).min(1.0));
        let before: f64 = weights.sum();
        self.alarms.push((self.samples, strength));
        1.0 / (1.0 + before)
    }
}

impl Scores {
    /// No scores yet.
    pub fn of(recording: &Recording) -> Scores {
        let names = recording.columns.iter().map(|name| name.as_str().into());
        let cells = recording.rows().len() * recording.columns.len();
        Scores {
            columns: names.zip(0..).collect(),
            scores: vec![f64::NAN; cells],
            watches: BTreeMap::new(),
            changes: Vec::new(),
        }
    }

    /// Takes what one observation of the row at a place brought to the pipeline.
    pub(super) fn take(&mut self, place: usize, at: Time, anomalies: &Values, pipeline: &Pipeline) {
        let begin = place * self.columns.len();
        for (signal, score) in anomalies {
            let Some(column) = self.columns.get(signal) else { continue };
            let mut score = *score;
            if let Some(watching) = pipeline.watching(signal) {
                if let Some(watch) = self.watches.get_mut(signal) {
                    let verdict = watch.step(signal, at, &watching);
                    score = verdict.anomaly;
                    self.changes.extend(verdict.told().cloned());
                } else {
                    // The pipeline's has learned from the history, if there is one.
                    self.watches.insert(signal.clone(), Watch::of(watching.detector));
                    self.changes.extend(raised_at(watching.detector, at));
                }
            }
            self.scores[begin + column] = score;
        }
    }

    /// The scores of the row at a place.
    pub fn row(&self, place: usize) -> impl Iterator<Item = Option<f64>> {
        let width = self.columns.len();
        let scores = self.scores[place * width..(place + 1) * width].iter();
        scores.map(|score| (!score.is_nan()).then_some(*score))
    }

    /// Gives away the changes of all signals, in the order of their detection.
    pub(super) fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }
}

/// The change that a detector raised at this sample.
fn raised_at(detector: &Detector, at: Time) -> Option<Change> {
    detector.in_change().filter(|change| change.detected_at == at).cloned()
}

/// The file that scores are written to. It is made before the work begins, so that a wrong path is
/// not told at its end.
#[derive(Debug)]
pub(super) struct ScoresFile {
    name: String,
    file: File,
}

impl ScoresFile {
    pub(super) fn create(path: &Path, options: &BacktestOptions) -> Result<ScoresFile> {
        let name = path.display().to_string();
        let inputs = [&options.recording, &options.history, &options.config];
        let same = |input: &Path| match (fs::canonicalize(path), fs::canonicalize(input)) {
            (Ok(ours), Ok(theirs)) => ours == theirs,
            _ => false,
        };
        if inputs.into_iter().flatten().any(|input| same(input)) {
            bail!("the scores cannot be written to {name}, which is read: name another file");
        }
        let file = File::create(path).with_context(|| {
            format!("cannot write the scores to {name}: check the path and its directory")
        })?;
        Ok(ScoresFile { name, file })
    }

    pub(super) fn write(&mut self, recording: &Recording, scores: &Scores) -> Result<()> {
        let write = || {
            let mut writer = Writer::new(&recording.columns, BufWriter::new(&self.file))?;
            for place in recording.input_rows() {
                writer.row(recording.row(place).at, scores.row(place))?;
            }
            writer.finish()
        };
        write().with_context(|| format!("cannot write the scores to {}", self.name))
    }
}
