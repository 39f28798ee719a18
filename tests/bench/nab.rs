//! The Numenta Anomaly Benchmark 1.1: an anomaly score for each row of each file, forward and once,
//! with the defaults, through the set's scorer (standard profile, one threshold for all files, as
//! for every detector on its scoreboard). Nothing is set for a file.
//!
//! The detector is asked directly, with what `backtest` would tell it: the file's median spacing
//! as its interval and the default budget of warnings for a daemon of one signal. Every file has a
//! score for each row, so a row that a detector cannot take (its time does not follow the row
//! before) repeats the score before it.

mod common;

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};
use common::{
    command_line::Options,
    sets,
    watch::{INTERVAL_S, SIGNAL},
};
use headwater::{
    backtest,
    detect::{Detector, Settings},
    recording::{Recording, parse_time},
    series::Time,
};

/// A month of the budgets, in seconds.
const MONTH_S: f64 = 30.0 * 86_400.0;

fn main() -> Result<()> {
    let options = Options::read();
    let Some(folder) = sets::folder("nab") else { return Ok(()) };
    let scratch = tempfile::tempdir()?;
    let (mut categories, mut files) = (Vec::new(), 0);
    for category in sets::folders(&folder.join("data"))? {
        let name = category.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !options.wants(&name) {
            continue;
        }
        let target = scratch.path().join(&name);
        fs::create_dir(&target)?;
        for path in sets::csv_files(&category)? {
            let written = target.join(path.file_name().unwrap_or_default());
            write_scores(&path, &written).with_context(|| path.display().to_string())?;
            files += 1;
        }
        categories.push(name);
    }
    println!("{files} files; floor 54.0 (random cut forest), goal 73.6 (HTM), standard profile:\n");
    let only = categories.join(",");
    let arguments = [scratch.path(), Path::new("--nab"), &folder, Path::new("--only")];
    sets::score(&folder, "nab_score.py", &arguments, &[only.as_str()])
}

/// Writes one score a row, under the header that the scorer wants.
fn write_scores(path: &Path, written: &Path) -> Result<()> {
    let rows = rows(path)?;
    let mut output = csv::Writer::from_path(written)?;
    output.write_record(["timestamp", "anomaly_score"])?;
    for ((at, _), score) in rows.iter().zip(scores(path, &rows)?) {
        output.write_record([at.to_rfc3339(), score.to_string()])?;
    }
    output.flush()?;
    Ok(())
}

/// The rows of a file as they stand there.
fn rows(path: &Path) -> Result<Vec<(Time, f64)>> {
    let mut rows = Vec::new();
    for row in csv::Reader::from_path(path)?.records() {
        let row = row?;
        let (Some(at), Ok(value)) = (parse_time(&row[0]), row[1].parse::<f64>()) else {
            bail!("row {}: {row:?} is no time and value", rows.len() + 2);
        };
        rows.push((at, value));
    }
    Ok(rows)
}

/// How new each row is, in 0..1.
fn scores(path: &Path, rows: &[(Time, f64)]) -> Result<Vec<f64>> {
    let settings = settings(path)?;
    let mut detector = Detector::new();
    let (mut previous, mut score, mut scores) = (None, 0.0, Vec::with_capacity(rows.len()));
    for (at, value) in rows {
        if value.is_finite() && previous.is_none_or(|previous| previous < *at) {
            score = detector.step(&settings, SIGNAL, *at, *value).anomaly;
            previous = Some(*at);
        }
        scores.push(score);
    }
    Ok(scores)
}

/// What `backtest` tells the detector of a recording of one signal.
fn settings(path: &Path) -> Result<Settings> {
    let text = fs::read_to_string(path)?.replacen("timestamp", "time", 1);
    let recording = Recording::parse(text.as_bytes(), &path.display().to_string())?;
    let defaults = backtest::settings(None, backtest::interval_s(&recording));
    let interval_s = recording.interval_s().unwrap_or(INTERVAL_S as f64);
    Ok(Settings {
        false_alarms_per_sample: defaults.false_warnings_per_month * interval_s / MONTH_S,
        interval_s,
        ..common::watch::settings(1.0)
    })
}
