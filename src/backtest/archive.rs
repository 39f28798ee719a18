//! What Prometheus remembers, as a recording: the signals of every `prometheus` source of the
//! configuration, asked of one server. How many series become one number, and pages of a range, are
//! `sample`'s, as for the daemon.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Result, bail};
use url::Url;

use crate::{
    cli::Archive,
    config::{Config, ConfigError, Mistake, SourceConfig, SourceKind},
    progress::Progress,
    recording::{Recording, format_time},
    sample::{Range, Source},
};

/// Thousandths of the work, as progress counts it.
const PARTS: f64 = 1_000.0;

/// The server as messages call it: a URL may hold credentials.
pub(super) fn name(url: &Url) -> String {
    let port = url.port_or_known_default().map_or_else(String::new, |port| format!(":{port}"));
    format!("{}{port}", url.host_str().unwrap_or_default())
}

/// Asks for the signals of all `prometheus` sources, whatever their own servers are.
pub(super) async fn fetch(archive: Archive<'_>, config: &Config) -> Result<Recording> {
    let signals = signals(config);
    if signals.is_empty() {
        let message = "no source of type prometheus: add one with its `signals`, which \
                       --prometheus asks for";
        let file = archive.config.display().to_string();
        bail!(ConfigError::new(&file, vec![Mistake::new(0, "sources", message)]));
    }
    let kind = SourceKind::Prometheus { url: archive.url.clone(), signals };
    let source = SourceConfig { name: "prometheus".to_owned(), kind };
    let range = Range { start: archive.start, end: archive.end, step: config.interval };
    let recording = ask(&source, range).await?;
    let (start, end) = (format_time(archive.start), format_time(archive.end));
    if recording.rows().len() == 0 {
        bail!(
            "{} has no value of any signal from {start} to {end}: check the time, how long the \
             server keeps samples (its retention), and the queries in the configuration",
            name(archive.url)
        );
    }
    for (place, column) in recording.columns.iter().enumerate() {
        if recording.rows().all(|row| row.value(place).is_none()) {
            eprintln!("{}: {column} has no value from {start} to {end}", name(archive.url));
        }
    }
    Ok(recording)
}

/// PromQL by signal, over all sources: a signal has one source only.
fn signals(config: &Config) -> BTreeMap<String, String> {
    let sources = config.sources.iter().filter_map(|source| match &source.kind {
        SourceKind::Prometheus { signals, .. } => Some(signals.clone()),
        _ => None,
    });
    sources.flatten().collect()
}

async fn ask(source: &SourceConfig, range: Range) -> Result<Recording> {
    // The interval of a live sample sets its limits; pages of a range have their own.
    let mut source = Source::connect_lazy(source, range.step.max(Duration::from_secs(1)))?;
    let mut progress = Progress::begin("asking", PARTS as u64);
    source.history(range, &mut |share| progress.reach((share * PARTS) as u64)).await
}
