//! The Turing Change Point Dataset (van den Burg and Williams 2020, arXiv:2003.06222): each series
//! through `backtest` as a user would run it, with the defaults, forward and once; the onsets of
//! its changes through the set's scorer. Nothing is set for a series.
//!
//! What `backtest --changes` prints is read like this: every change is the beginning of a regime at
//! its onset; one that is later called a `point` came back and began none. Of several signals in
//! one series all onsets count.
//!
//! Times are those of the file where it has any: a date, a month or a year (its first day), a time
//! of day. Where rows have only an index they are one default sampling interval apart.

mod common;

use std::{
    collections::BTreeMap,
    fs::File,
    io::BufWriter,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use chrono::{DateTime, TimeDelta};
use common::{command_line::Options, sets, watch::INTERVAL_S};
use headwater::{
    backtest::{self, scores::Scores},
    incident::{Change, ChangeKind},
    recording::{Recording, Writer, parse_time},
    series::Time,
};

/// A year has so many digits.
const YEAR_DIGITS: usize = 4;

fn main() -> Result<()> {
    let options = Options::read();
    let Some(folder) = sets::folder("tcpd") else { return Ok(()) };
    let scratch = tempfile::tempdir()?;
    let mut predictions: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for path in sets::csv_files(&folder)? {
        let name = sets::stem(&path);
        if !options.wants(&name) {
            continue;
        }
        let found = onsets(&path, &scratch.path().join("recording.csv"))
            .with_context(|| path.display().to_string())?;
        predictions.insert(name, found);
    }
    for (name, found) in &predictions {
        println!("{name}: {found:?}");
    }
    let predicted = scratch.path().join("predictions.json");
    serde_json::to_writer(File::create(&predicted)?, &predictions)?;
    println!("\nfloor F1 .72 and cover .70, goal .80 and .76, of the scorer's MEAN:\n");
    let arguments: [PathBuf; 8] = [
        "--pred".into(),
        predicted,
        "--anno".into(),
        folder.join("annotations.json"),
        "--meta".into(),
        folder.join("series.json"),
        "--published".into(),
        folder.join("published.json"),
    ];
    let arguments: Vec<&Path> = arguments.iter().map(PathBuf::as_path).collect();
    sets::score(&folder, "tcpd_score.py", &arguments, &["--paper"])
}

/// The rows at which regimes begin.
fn onsets(series: &Path, recorded: &Path) -> Result<Vec<usize>> {
    let times = record(series, recorded)?;
    let recording = Recording::read(recorded)?;
    let settings = backtest::settings(None, backtest::interval_s(&recording));
    let mut scores = Scores::of(&recording);
    let outcomes = backtest::replay(settings, None, &recording, Some(&mut scores))?;
    let is_point = |change: &Change| {
        let same = |other: &&Change| other.signal == change.signal && other.onset == change.onset;
        let mut others = outcomes.changes.iter().filter(same);
        others.any(|other| other.kind == ChangeKind::Point)
    };
    let lasting = outcomes.changes.iter().filter(|change| !is_point(change));
    let mut found: Vec<usize> =
        lasting.filter_map(|change| times.binary_search(&change.onset).ok()).collect();
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// Writes a series as a recording, and gives the times of its rows.
fn record(series: &Path, recorded: &Path) -> Result<Vec<Time>> {
    let mut rows = csv::Reader::from_path(series)?;
    let header = rows.headers()?.clone();
    let time_column = header.iter().position(|name| name == "time");
    let value_columns: Vec<usize> =
        (0..header.len()).filter(|column| !["index", "time"].contains(&&header[*column])).collect();
    let columns: Vec<String> =
        value_columns.iter().map(|index| header[*index].to_owned()).collect();
    let mut output = Writer::new(&columns, BufWriter::new(File::create(recorded)?))?;
    let mut times = Vec::new();
    for (index, row) in rows.records().enumerate() {
        let row = row?;
        let told = time_column.and_then(|column| time_of(&row[column], index));
        let at = told.unwrap_or_else(|| {
            DateTime::UNIX_EPOCH + TimeDelta::seconds(INTERVAL_S) * index as i32
        });
        output.row(at, value_columns.iter().map(|column| row[*column].parse().ok()))?;
        times.push(at);
    }
    output.finish()?;
    Ok(times)
}

/// The time that a cell tells; `None` if it only counts rows.
fn time_of(cell: &str, index: usize) -> Option<Time> {
    if cell == index.to_string() {
        return None;
    }
    let is_year = cell.len() == YEAR_DIGITS && cell.bytes().all(|letter| letter.is_ascii_digit());
    let date = match cell.len() {
        _ if is_year => format!("{cell}-01-01"),
        // A month: 1992-01.
        7 => format!("{cell}-01"),
        _ => cell.to_owned(),
    };
    parse_time(&date)
}
