//! `headwater check`: says whether a configuration is valid, and with `--connect` what its sources
//! give. Validation itself is `config`'s, sampling is `sample`'s; here is what is printed.

use std::{
    io::{self, Write as _},
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use futures_util::future::try_join_all;

use crate::{
    cli::CheckOptions,
    clock::Clock,
    config::{Config, SourceConfig, SourceKind, format_duration},
    observation::{Observation, Outcome, Reading},
    sample::Source,
    series::{BUILT_IN, Time},
    values::Name,
};

/// Runs the command. Mistakes of the configuration come back as `ConfigError`.
pub async fn run(options: &CheckOptions, env: &dyn Fn(&str) -> Option<String>) -> Result<()> {
    let file = options.config.display().to_string();
    let config = Config::load(&options.config, env)?;
    config.require_sources(&file)?;
    writeln!(io::stdout(), "{}", summary(&config, &file))?;
    if !options.connect {
        return Ok(());
    }
    let at = Clock::System.now();
    let answers = config.sources.iter().map(|source| sample_once(source, config.interval, at));
    let samples = try_join_all(answers).await?;
    write!(io::stdout(), "\n{}", render(&samples))?;
    let failed: Vec<&str> =
        samples.iter().filter(|sampled| sampled.failed()).map(|s| s.source.as_str()).collect();
    match failed.len() {
        0 => Ok(()),
        number => bail!("{} failed: {}", count(number, "source"), failed.join(", ")),
    }
}

/// Asks one source as the daemon would, with the daemon's timeouts.
async fn sample_once(config: &SourceConfig, interval: Duration, at: Time) -> Result<Sampled> {
    let mut answer = None;
    if !matches!(config.kind, SourceKind::Push { .. }) {
        let mut source = Source::connect_lazy(config, interval)?;
        let started = Instant::now();
        let observation = source.sample(at).await;
        answer = Some((observation, started.elapsed()));
        source.close().await;
    }
    Ok(Sampled { source: config.name.clone(), kind: config.type_name(), answer })
}

/// What a valid configuration amounts to.
fn summary(config: &Config, file: &str) -> String {
    let source = |source: &SourceConfig| {
        let (name, kind) = (source.name.as_str(), source.type_name());
        if name == kind { name.to_owned() } else { format!("{name} ({kind})") }
    };
    let sources: Vec<String> = config.sources.iter().map(source).collect();
    let signals: usize = config.sources.iter().map(|source| source.signal_names().len()).sum();
    let told = match config.notify.alertmanager.len() {
        0 => "nobody is notified: notify.alertmanager is empty".to_owned(),
        1 => "notifies 1 Alertmanager".to_owned(),
        count => format!("notifies {count} Alertmanagers"),
    };
    [
        format!("{file} is valid: fleet \"{}\"", config.fleet),
        format!("  {}: {}", count(config.sources.len(), "source"), sources.join(", ")),
        format!("  {} every {}", count(signals, "signal"), format_duration(config.interval)),
        format!("  listens on {}, links begin with {}", config.listen, config.external_url),
        format!("  keeps {} in {}", format_duration(config.retention), config.store.masked_url()),
        format!("  {told}"),
    ]
    .join("\n")
}

fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// One source's answer, as `check --connect` shows it.
#[derive(Clone, Debug)]
pub struct Sampled {
    /// The source's name.
    pub source: String,
    /// Its type, as the file spells it.
    pub kind: &'static str,
    /// What it answered and how long that took; `None` for a source that is pushed to.
    pub answer: Option<(Observation, Duration)>,
}

impl Sampled {
    fn failed(&self) -> bool {
        let outcome = self.answer.as_ref().map(|(observation, _)| &observation.outcome);
        matches!(outcome, Some(Outcome::Failed(_)))
    }
}

/// The table of sources, then each source with its signals, its evidence and its notes.
pub fn render(samples: &[Sampled]) -> String {
    let rows: Vec<[String; 5]> = samples.iter().map(row).collect();
    let header = ["source", "type", "outcome", "took", "signals"].map(str::to_owned);
    let mut text = table(&[vec![header], rows].concat());
    for sampled in samples {
        let details = details(sampled);
        if !details.is_empty() {
            text.push_str(&format!("\n{}\n", sampled.source));
            for line in details {
                text.push_str(&format!("  {line}\n"));
            }
        }
    }
    text
}

fn row(sampled: &Sampled) -> [String; 5] {
    let (outcome, took, signals) = match &sampled.answer {
        None => ("pushed to, not asked".to_owned(), String::new(), String::new()),
        Some((observation, took)) => {
            let took = format!("{:.3} s", took.as_secs_f64());
            match &observation.outcome {
                Outcome::Sampled(reading) => {
                    ("sampled".to_owned(), took, values(reading).len().to_string())
                }
                Outcome::Failed(failure) => {
                    (format!("FAILED ({})", failure.reason), took, "0".to_owned())
                }
            }
        }
    };
    [sampled.source.clone(), sampled.kind.to_owned(), outcome, took, signals]
}

/// Columns padded to their widest cell.
fn table(rows: &[[String; 5]]) -> String {
    let width = |column: usize| {
        rows.iter().map(|row: &[String; 5]| row[column].chars().count()).max().unwrap_or(0)
    };
    let widths: [usize; 5] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn details(sampled: &Sampled) -> Vec<String> {
    let reading = match sampled.answer.as_ref().map(|(observation, _)| &observation.outcome) {
        None => return Vec::new(),
        Some(Outcome::Failed(failure)) => return vec![failure.message.clone()],
        Some(Outcome::Sampled(reading)) => reading,
    };
    let values = values(reading);
    let width = values.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let mut lines: Vec<String> =
        values.iter().map(|(name, value)| format!("{name:width$}  {value}")).collect();
    lines.extend(evidence(reading));
    lines.extend(reading.notes.iter().map(|note| format!("note: {note}")));
    lines
}

/// Every value of the answer: the fleet's counts and the plain ones, in the order of the catalogue,
/// then the user's own by name. Flows need two samples and are not here.
fn values(reading: &Reading) -> Vec<(Name, f64)> {
    let mut named = reading.values.clone();
    if let Some(fleet) = &reading.fleet {
        named.extend(fleet.counts());
    }
    // What the snapshot counts as 0 because its column cannot be read is missing, not 0; so is what
    // is no number.
    named.retain(|name, value| !reading.absent.contains(&**name) && value.is_finite());
    let place = |name: &str| {
        BUILT_IN.iter().position(|signal| signal.name == name).unwrap_or(BUILT_IN.len())
    };
    let mut values: Vec<(Name, f64)> = named.into_iter().collect();
    values.sort_by_key(|(name, _)| place(name));
    values
}

/// Which of the views that prove a cause could be read. What is not readable has a note of its own.
fn evidence(reading: &Reading) -> Option<String> {
    let accounting = reading.accounting.as_ref()?;
    let parts = [
        ("pg_stat_statements", accounting.statements.is_some()),
        ("pg_stat_user_tables", accounting.device.is_some()),
        ("\"migration status\"", accounting.migrations.is_some()),
        ("\"executed migrations\"", accounting.executed_migrations.is_some()),
        ("WAL position", accounting.wal_lsn.is_some()),
    ];
    let readable = parts.iter().filter(|(_, readable)| *readable).map(|(name, _)| *name);
    let readable: Vec<&str> = readable.collect();
    if readable.is_empty() {
        return Some("evidence that can be read: none".to_owned());
    }
    Some(format!("evidence that can be read: {}", readable.join(", ")))
}

#[cfg(test)]
mod tests;
