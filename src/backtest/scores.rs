//! Anomaly scores beside a recording: a row for each row of the file, in the file's order, and
//! under each signal's name how new its sample was when it was taken.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::BufWriter,
    path::Path,
};

use anyhow::{Context, Result, bail};

use crate::{
    cli::BacktestOptions,
    recording::{Recording, Writer},
    values::{Name, Values},
};

/// The score of each cell of a recording, 8 bytes each.
#[derive(Clone, Debug)]
pub struct Scores {
    columns: BTreeMap<Name, usize>,
    /// As the recording's rows; NaN where nothing was judged.
    scores: Vec<f64>,
}

impl Scores {
    /// No scores yet.
    pub fn of(recording: &Recording) -> Scores {
        let names = recording.columns.iter().map(|name| name.as_str().into());
        let cells = recording.rows().len() * recording.columns.len();
        Scores { columns: names.zip(0..).collect(), scores: vec![f64::NAN; cells] }
    }

    /// Takes what one observation of the row at a place brought.
    pub fn take(&mut self, place: usize, anomalies: &Values) {
        let begin = place * self.columns.len();
        for (signal, score) in anomalies {
            if let Some(column) = self.columns.get(signal) {
                self.scores[begin + column] = *score;
            }
        }
    }

    /// The scores of the row at a place.
    pub fn row(&self, place: usize) -> impl Iterator<Item = Option<f64>> {
        let width = self.columns.len();
        let scores = self.scores[place * width..(place + 1) * width].iter();
        scores.map(|score| (!score.is_nan()).then_some(*score))
    }
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
