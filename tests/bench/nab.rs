//! The Numenta Anomaly Benchmark 1.1: an anomaly score for each row of each file, forward and once,
//! with the defaults, through the set's scorer (standard profile, one threshold for all files, as
//! for every detector on its scoreboard). Nothing is set for a file.
//!
//! The scores are those of `backtest --scores`: the file is a recording of one signal.

mod common;

use std::{fs, path::Path};

use anyhow::{Context, Result};
use common::{command_line::Options, sets};
use headwater::{
    backtest::{self, scores::Scores},
    recording::Recording,
};

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
    let text = fs::read_to_string(path)?.replacen("timestamp", "time", 1);
    let recording = Recording::parse(text.as_bytes(), &path.display().to_string())?;
    let settings = backtest::settings(None, backtest::interval_s(&recording));
    let mut scores = Scores::of(&recording);
    backtest::replay(settings, None, &recording, Some(&mut scores))?;
    let mut output = csv::Writer::from_path(written)?;
    output.write_record(["timestamp", "anomaly_score"])?;
    for place in recording.input_rows() {
        // What is not judged is not new.
        let score = scores.row(place).next().flatten().unwrap_or(0.0);
        output.write_record([recording.row(place).at.to_rfc3339(), score.to_string()])?;
    }
    output.flush()?;
    Ok(())
}
