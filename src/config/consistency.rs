//! What several parts of a configuration must satisfy together: distinct names, one giver for each
//! signal, edges between signals that exist, no cycles.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    SourceConfig, SourceKind,
    graph::{self, Written},
    mistake::{Mistake, suggestion},
    resolve::{Placed, Read},
};
use crate::{
    diagnose::declared::Declared,
    series::{BUILT_IN, built_in},
};

/// The one measured signal that an `open_balena` source gives beside those read from rows.
const ROWS_WRITTEN: &str = "device_rows_written_total";

/// The signals that an `open_balena` source gives by itself.
pub fn open_balena_signals() -> impl Iterator<Item = &'static str> {
    BUILT_IN
        .iter()
        .filter(|signal| signal.exact || signal.name == ROWS_WRITTEN)
        .map(|signal| signal.name)
}

impl SourceConfig {
    /// The signals that this source gives.
    pub fn signal_names(&self) -> Vec<&str> {
        match &self.kind {
            SourceKind::OpenBalena { .. } => open_balena_signals().collect(),
            SourceKind::Prometheus { signals, .. } | SourceKind::Sql { signals, .. } => {
                signals.keys().map(String::as_str).collect()
            }
            SourceKind::Push { signals } => signals.iter().map(String::as_str).collect(),
        }
    }

    /// The type as the file spells it.
    pub fn type_name(&self) -> &'static str {
        match &self.kind {
            SourceKind::OpenBalena { .. } => "open_balena",
            SourceKind::Prometheus { .. } => "prometheus",
            SourceKind::Sql { .. } => "sql",
            SourceKind::Push { .. } => "push",
        }
    }
}

/// Everything that is wrong between the parts of `read`, and what drives what by it.
pub(super) fn check(read: &Read) -> (Declared, Vec<Mistake>) {
    let mut mistakes = Vec::new();
    check_source_names(read, &mut mistakes);
    check_givers(read, &mut mistakes);
    check_signal_names(read, &mut mistakes);
    // Nothing may drive itself, directly or by others: the most upstream signal must exist.
    let graph = graph::combine(&graph::open_balena(), &read.edges, &mut mistakes);
    (graph, mistakes)
}

fn readable(read: &Read) -> impl Iterator<Item = (&Placed<Option<SourceConfig>>, &SourceConfig)> {
    read.sources.iter().filter_map(|placed| Some((placed, placed.part.as_ref()?)))
}

fn check_source_names(read: &Read, mistakes: &mut Vec<Mistake>) {
    let mut first_lines: BTreeMap<&str, usize> = BTreeMap::new();
    for (placed, source) in readable(read) {
        match first_lines.get(source.name.as_str()) {
            Some(first) => mistakes.push(Mistake::new(
                placed.line,
                placed.path.as_str(),
                format!(
                    "a second source with the name \"{}\", the first is on line {first}: give each \
                     a `name` of its own (the default is the type)",
                    source.name
                ),
            )),
            None => {
                first_lines.insert(&source.name, placed.line);
            }
        }
    }
}

/// A signal has one source, or two numbers would take turns in one series.
fn check_givers(read: &Read, mistakes: &mut Vec<Mistake>) {
    let mut givers: BTreeMap<&str, (&Placed<_>, &SourceConfig)> = BTreeMap::new();
    for (placed, source) in readable(read) {
        let mut taken: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
        for signal in source.signal_names() {
            match givers.get(signal) {
                Some((first, _)) => taken.entry(first.line).or_default().push(signal),
                None => {
                    givers.insert(signal, (placed, source));
                }
            }
        }
        for signals in taken.values() {
            let Some((first, giver)) = signals.first().and_then(|signal| givers.get(signal)) else {
                continue;
            };
            mistakes.push(second_giver(placed, source, first, giver, signals));
        }
    }
}

fn second_giver(
    placed: &Placed<Option<SourceConfig>>,
    source: &SourceConfig,
    first: &Placed<Option<SourceConfig>>,
    giver: &SourceConfig,
    signals: &[&str],
) -> Mistake {
    let both_open_balena =
        [source, giver].iter().all(|source| matches!(source.kind, SourceKind::OpenBalena { .. }));
    let message = if both_open_balena {
        format!(
            "a second open_balena source, the first is \"{}\" on line {}: both would give the same \
             signals; one daemon watches one fleet, run another for the other",
            giver.name, first.line
        )
    } else {
        let by_itself = matches!(giver.kind, SourceKind::OpenBalena { .. });
        format!(
            "the source \"{}\" gives {}, but \"{}\" (line {}) gives {} {}: remove or rename it in \
             one of them",
            source.name,
            signals.join(", "),
            giver.name,
            first.line,
            if signals.len() == 1 { "it" } else { "them" },
            if by_itself { "by itself" } else { "too" },
        )
    };
    Mistake::new(placed.line, placed.path.as_str(), message)
}

/// Settings and edges must name signals that exist. In a configuration without sources, which
/// serves recordings, the signals are the recording's columns and cannot be known here; where a
/// source could not be read, its signals are not known either.
fn check_signal_names(read: &Read, mistakes: &mut Vec<Mistake>) {
    if read.sources.is_empty() || read.sources.iter().any(|placed| placed.part.is_none()) {
        return;
    }
    let given: BTreeSet<&str> =
        readable(read).flat_map(|(_, source)| source.signal_names()).collect();
    let exists = |name: &str| given.contains(name) || built_in(name).is_some();
    let guess = |name: &str| {
        suggestion(name, given.iter().copied().chain(BUILT_IN.iter().map(|signal| signal.name)))
    };
    let mut unknown = BTreeSet::new();
    for placed in &read.signals {
        let (name, _) = &placed.part;
        if !exists(name) {
            unknown.insert(name);
            let message = format!(
                "\"{name}\" is not built in, and no source gives it{}: correct the name, or add it \
                 to a source's signals",
                guess(name)
            );
            mistakes.push(Mistake::new(placed.line, placed.path.as_str(), message));
        }
    }
    for Written { line, path, edge, .. } in &read.edges {
        for name in [&edge.parent, &edge.child].into_iter().filter(|name| !exists(name)) {
            if !unknown.insert(name) {
                continue;
            }
            let message = format!(
                "\"{name}\" is not built in, and no source gives it{}: correct the name, or add it \
                 to a source's signals",
                guess(name)
            );
            mistakes.push(Mistake::new(*line, path.as_str(), message));
        }
    }
}
