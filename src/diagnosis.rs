//! `headwater diagnose`: the columns of a recording, ranked as root cause of what happened around a
//! time. Reads the files and writes the answer; the ranking is `diagnose::rank`'s, the time where
//! none is named `diagnose::events`', the graph's file `config::graph`'s.

use std::io::{BufWriter, Write};

use anyhow::{Context, Result, bail};

mod output;

use crate::{
    backtest::interval_s,
    cli::{DiagnoseOptions, OutputFormat},
    config,
    diagnose::{
        events::{self, Strength},
        rank::{Column, Question, Ranked, rank},
    },
    recording::{Recording, format_time},
    series::{Kind, Time, rate},
};

/// What stands out is stronger than anything in so many recordings of its length without an event.
const RECORDINGS: f64 = 20.0;

/// `headwater diagnose`.
pub fn run_command(options: &DiagnoseOptions) -> Result<()> {
    let recording = Recording::read(&options.recording)?;
    let name = options.recording.display().to_string();
    for line in recording.irregularities.describe() {
        eprintln!("{name}: {line}");
    }
    if let Some(target) = &options.target
        && !recording.columns.contains(target)
    {
        return Err(options.unknown_target(target, &recording.columns).into());
    }
    let graph = match &options.graph {
        Some(path) => config::graph::load(path, &recording.columns)?,
        None => config::graph::of_columns(&recording.columns),
    };
    let history = options.history.as_ref().map(|path| Recording::read(path)).transpose()?;
    let columns = columns(history.as_ref(), &recording)?;
    let interval_s = interval_s(&recording);
    let at = match options.at {
        Some(at) => within(at, &recording, &name)?,
        None => found(&columns, &recording, &name)?,
    };
    let question = Question { at, interval_s, target: options.target.as_deref() };
    let ranking = rank(&columns, &question, &graph);
    write(&ranking, at, options.format).context("cannot write the ranking")
}

fn write(ranking: &[Ranked], at: Time, format: OutputFormat) -> std::io::Result<()> {
    let mut output = BufWriter::new(std::io::stdout().lock());
    match format {
        OutputFormat::Json => output::json(&mut output, ranking)?,
        OutputFormat::Text => output::text(&mut output, ranking, at)?,
    }
    output.flush()
}

/// Each column of the recording with its samples, behind those of the history's column of its name:
/// gauges as they are, counters as rates.
pub fn columns(history: Option<&Recording>, recording: &Recording) -> Result<Vec<Column>> {
    let begins = recording.rows().next().map(|row| row.at);
    if let (Some(ends), Some(begins)) = (history.and_then(last), begins)
        && ends >= begins
    {
        bail!(
            "the history ends at {}, which is not before the recording's beginning at {}: give a \
             history from before it",
            format_time(ends),
            format_time(begins)
        );
    }
    let with_history = |name: &String, place: usize| {
        let mut samples = Vec::new();
        if let Some(history) = history
            && let Some(place) = history.columns.iter().position(|other| other == name)
        {
            samples = samples_of(history, place);
        }
        samples.extend(samples_of(recording, place));
        if Kind::of(name) == Kind::Counter {
            let rates = samples.windows(2).filter_map(|pair| {
                let [before, now] = pair else { return None };
                Some((now.0, rate(*before, *now)?))
            });
            samples = rates.collect();
        }
        Column { name: name.clone(), samples }
    };
    let names = recording.columns.iter().zip(0..);
    Ok(names.map(|(name, place)| with_history(name, place)).collect())
}

fn samples_of(recording: &Recording, column: usize) -> Vec<(Time, f64)> {
    recording.rows().filter_map(|row| Some((row.at, row.value(column)?))).collect()
}

fn last(recording: &Recording) -> Option<Time> {
    recording.rows().last().map(|row| row.at)
}

/// The time that was asked for, if the recording tells of it.
fn within(at: Time, recording: &Recording, name: &str) -> Result<Time> {
    let first = recording.rows().next().map(|row| row.at);
    let (Some(first), Some(last)) = (first, last(recording)) else {
        bail!("{name}: no row: nothing can be ranked");
    };
    if at < first || at > last {
        bail!(
            "--at {} is outside the recording {name}, which lasts from {} to {}: name a time within \
             it",
            format_time(at),
            format_time(first),
            format_time(last)
        );
    }
    Ok(at)
}

/// The time of the strongest event of the recording, which is said.
fn found(columns: &[Column], recording: &Recording, name: &str) -> Result<Time> {
    let strengths = events::strengths(columns);
    let begins = recording.rows().next().map(|row| row.at);
    let learned = strengths.partition_point(|one| begins.is_some_and(|begins| one.at < begins));
    let (before, during) = strengths.split_at(learned);
    let Some(Strength { at, strength }) = events::strongest(during) else {
        bail!("{name}: too few samples to find when something happened: name the time with --at");
    };
    // Without a history the recording itself has to say what is ordinary, as far as it may.
    let quiet = during.partition_point(|one| one.at < at);
    let ordinary = if before.is_empty() { &during[..quiet] } else { before };
    let per_sample = 1.0 / (RECORDINGS * during.len() as f64);
    match events::threshold(ordinary, per_sample) {
        Some(threshold) if strength > threshold => {
            let count = events::openings(during, threshold).len();
            let others = match count {
                0 | 1 => "the only event".to_owned(),
                count => format!("the strongest of {count} events"),
            };
            eprintln!("{name}: no --at: ranked at {}, {others}", format_time(at));
        }
        _ => eprintln!(
            "{name}: no --at, and nothing stands out: ranked at {}, where the columns move most",
            format_time(at)
        ),
    }
    Ok(at)
}
