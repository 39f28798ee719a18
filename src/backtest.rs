//! `headwater backtest`: the pipeline over a recording, with the recording's time as its clock. The
//! same recording and configuration give the same output to the byte.
//!
//! A recording does not say which source gave a column. Its fleet columns (those read from rows)
//! are taken as one source and all others as another: when every cell of a source is empty at a row
//! where its sample was due, that source gave none. Where rows are missing altogether nobody was
//! watching.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufWriter, Write},
};

use anyhow::{Context, Result, bail};

use crate::{
    cli::{BacktestOptions, OutputFormat},
    config::Config,
    diagnose::texts::quoted,
    incident::{Change, Incident, Severity},
    observation::{Failure, FailureReason, Observation, Outcome, Reading},
    pipeline::{Pipeline, Settings, State, Step},
    recording::{Recording, Row},
    report::{self, Summary},
    series::{Time, built_in},
};

/// The source of a recording's fleet columns.
const FLEET: &str = "fleet";
/// The source of all other columns.
const OTHER: &str = "other";
/// Spacing of a recording of one row, where none can be measured: the default interval.
const INTERVAL_DEFAULT_S: f64 = 15.0;

/// A signal's name on a terminal: any characters may stand in it.
const NAME_CHARS_MAX: usize = 120;
/// The part of its spacing after which a source's next sample is due.
const DUE_SHARE: f64 = 0.75;

/// What a recording brought about.
#[derive(Clone, Debug)]
pub struct Outcomes {
    /// Changes, in the order of their detection.
    pub changes: Vec<Change>,
    /// Incidents as they were left at the end, in the order in which they opened.
    pub incidents: Vec<Incident>,
    /// The closing figures.
    pub summary: Summary,
    /// Kinds of irregularities, with their counts.
    pub irregularities: BTreeMap<&'static str, u64>,
}

/// `headwater backtest`.
pub fn run_command(
    options: &BacktestOptions,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<()> {
    let recording = Recording::read(&options.recording)?;
    let config = options.config.as_ref().map(|path| Config::load(path, environment)).transpose()?;
    let history = options.history.as_ref().map(|path| Recording::read(path)).transpose()?;
    let settings = settings(config.as_ref(), &recording);
    let outcomes = replay(settings, history.as_ref(), &recording)?;
    for line in recording.irregularities.describe() {
        eprintln!("{}: {line}", options.recording.display());
    }
    for (kind, count) in &outcomes.irregularities {
        eprintln!("{}: {kind}: {count}", options.recording.display());
    }
    let mut output = BufWriter::new(std::io::stdout().lock());
    let written = match options.format {
        OutputFormat::Json => write_json(&mut output, &outcomes, options.changes),
        OutputFormat::Text => write_text(&mut output, &outcomes, options.changes),
    };
    written.and_then(|()| output.flush()).context("cannot write the results")
}

/// What the pipeline is told about a recording: the configuration's budgets and signals if there is
/// one, and the recording's own spacing as the interval.
pub fn settings(config: Option<&Config>, recording: &Recording) -> Settings {
    let interval_s = interval_s(recording).unwrap_or(INTERVAL_DEFAULT_S);
    let defaults = Settings {
        interval_s,
        false_pages_per_month: crate::config::FALSE_PAGES_PER_MONTH_DEFAULT,
        false_warnings_per_month: crate::config::FALSE_WARNINGS_PER_MONTH_DEFAULT,
        signals: BTreeMap::new(),
        plain_ids: true,
    };
    let configured = config.map(Config::pipeline_settings);
    configured.map_or(defaults, |settings| Settings { interval_s, plain_ids: true, ..settings })
}

/// Runs the pipeline over `history`, of which only the learning stays, and then over `recording`.
pub fn replay(
    settings: Settings,
    history: Option<&Recording>,
    recording: &Recording,
) -> Result<Outcomes> {
    let mut pipeline = Pipeline::new(settings, State::default());
    if let Some(history) = history {
        let ends = history.rows().last().map(|row| row.at);
        let begins = recording.rows().next().map(|row| row.at);
        if let (Some(ends), Some(begins)) = (ends, begins)
            && ends >= begins
        {
            bail!(
                "the history ends at {ends}, which is not before the recording's beginning at \
                 {begins}: give a history from before it"
            );
        }
        for observation in observations(history) {
            pipeline.learn(&observation);
        }
    }
    let mut gathered = Gathered::default();
    for observation in observations(recording) {
        gathered.take(pipeline.step(&observation));
    }
    let first = recording.rows().next().map(|row| row.at);
    let last = recording.rows().last().map(|row| row.at);
    Ok(gathered.finish(recording, first.zip(last)))
}

/// The columns of one source.
#[derive(Clone, Debug)]
struct Group {
    source: &'static str,
    columns: Vec<(usize, String)>,
    /// Median spacing of the rows in which any of its cells is filled, in seconds.
    spacing_s: f64,
    latest: Option<Time>,
}

impl Group {
    fn of(recording: &Recording, source: &'static str) -> Option<Group> {
        let is_fleet = |name: &str| built_in(name).is_some_and(|signal| signal.exact);
        let columns = recording.columns.iter().enumerate();
        let own = columns.filter(|(_, name)| is_fleet(name) == (source == FLEET));
        let columns: Vec<_> = own.map(|(index, name)| (index, name.clone())).collect();
        let present = recording
            .rows()
            .filter(|row| columns.iter().any(|(index, _)| row.value(*index).is_some()));
        let times: Vec<Time> = present.map(|row| row.at).collect();
        let spacings = times.windows(2).map(|pair| (pair[1] - pair[0]).as_seconds_f64());
        let mut spacings: Vec<f64> = spacings.collect();
        spacings.sort_by(f64::total_cmp);
        let spacing_s = spacings.get(spacings.len() / 2).copied().unwrap_or(INTERVAL_DEFAULT_S);
        (!columns.is_empty()).then_some(Group { source, columns, spacing_s, latest: None })
    }

    /// What the source's sampler would have delivered at a row. In a row of another source, sooner
    /// than the next sample of this one was due, its cells are empty because nobody asked it.
    fn observe(&mut self, row: Row<'_>) -> Option<Observation> {
        let cells = self.columns.iter();
        let values: BTreeMap<String, f64> =
            cells.filter_map(|(index, name)| Some((name.clone(), row.value(*index)?))).collect();
        let elapsed_s = self.latest.map(|latest| (row.at - latest).as_seconds_f64());
        let not_due = elapsed_s.is_none_or(|elapsed_s| elapsed_s < DUE_SHARE * self.spacing_s);
        if values.is_empty() && not_due {
            return None;
        }
        self.latest = Some(row.at);
        let outcome = if values.is_empty() {
            let message = "every cell of the recording is empty".to_owned();
            Outcome::Failed(Failure { reason: FailureReason::Answer, message })
        } else {
            Outcome::Sampled(Box::new(Reading { values, ..Reading::default() }))
        };
        Some(Observation { at: row.at, source: self.source.to_owned(), outcome })
    }
}

/// A recording as the samplers would have delivered it.
pub fn observations(recording: &Recording) -> impl Iterator<Item = Observation> {
    let mut groups: Vec<Group> =
        [FLEET, OTHER].into_iter().filter_map(|source| Group::of(recording, source)).collect();
    recording.rows().flat_map(move |row| {
        groups.iter_mut().filter_map(|group| group.observe(row)).collect::<Vec<_>>()
    })
}

/// The interval at which a recording was made: its fleet columns' where it has some, since rows of
/// several sources may alternate.
fn interval_s(recording: &Recording) -> Option<f64> {
    recording.interval_s()?;
    let groups = [FLEET, OTHER].into_iter();
    groups.filter_map(|source| Group::of(recording, source)).map(|group| group.spacing_s).next()
}

#[derive(Default)]
struct Gathered {
    changes: Vec<Change>,
    incidents: BTreeMap<u64, Incident>,
    irregularities: BTreeMap<&'static str, u64>,
}

impl Gathered {
    fn take(&mut self, step: Step) {
        self.changes.extend(step.changes);
        for incident in step.incidents {
            // Plain ids count up: their order is the order of opening.
            let number = incident.id.parse().unwrap_or(u64::MAX);
            self.incidents.insert(number, incident);
        }
        for irregularity in step.irregularities {
            *self.irregularities.entry(irregularity.kind.label()).or_insert(0) += 1;
        }
    }

    fn finish(self, recording: &Recording, span: Option<(Time, Time)>) -> Outcomes {
        let incidents: Vec<Incident> = self.incidents.into_values().collect();
        let told = |severity: Severity| {
            let notifications = incidents.iter().flat_map(|incident| &incident.notifications);
            notifications.filter(|notification| notification.severity == severity).count() as u64
        };
        let columns: BTreeSet<&String> = recording.columns.iter().collect();
        let days = span.map_or(0.0, |(first, last)| (last - first).as_seconds_f64() / 86_400.0);
        let summary = Summary {
            samples: recording.rows().len() as u64,
            signals: columns.len() as u64,
            days,
            incidents: incidents.len() as u64,
            pages: told(Severity::Critical),
            warnings: told(Severity::Warning),
        };
        let (changes, irregularities) = (self.changes, self.irregularities);
        Outcomes { changes, incidents, summary, irregularities }
    }
}

/// One JSON object a line: changes and incidents in the order of their detection, then the summary.
fn write_json(
    output: &mut impl Write,
    outcomes: &Outcomes,
    with_changes: bool,
) -> std::io::Result<()> {
    let mut changes = outcomes.changes.iter().filter(|_| with_changes).peekable();
    for incident in &outcomes.incidents {
        let detected_at = incident.first().detected_at;
        while let Some(change) = changes.next_if(|change| change.detected_at <= detected_at) {
            writeln!(output, "{}", report::line(&report::change_json(change)))?;
        }
        writeln!(output, "{}", report::line(&report::incident_json(incident)))?;
    }
    for change in changes {
        writeln!(output, "{}", report::line(&report::change_json(change)))?;
    }
    writeln!(output, "{}", report::line(&report::summary_json(outcomes.summary)))
}

fn write_text(
    output: &mut impl Write,
    outcomes: &Outcomes,
    with_changes: bool,
) -> std::io::Result<()> {
    if with_changes {
        for change in &outcomes.changes {
            let time = report::time_text(change.onset);
            writeln!(
                output,
                "{time}  {} {} -> {} (score {:.1}, threshold {:.1})",
                quoted(&change.signal, NAME_CHARS_MAX),
                change.before,
                change.after,
                change.score,
                change.threshold
            )?;
        }
    }
    for incident in &outcomes.incidents {
        for record in &incident.causes {
            let detected_at = report::time_text(record.detected_at);
            let severity = record.severity.label();
            writeln!(output, "{detected_at}  {severity:8}  {}  {}", record.cause, record.summary)?;
        }
        for symptom in &incident.symptoms {
            let percent = symptom.explained * 100.0;
            let onset = report::time_text(symptom.onset);
            writeln!(
                output,
                "{onset}    symptom   {} ({percent:.0} % explained)",
                quoted(&symptom.signal, NAME_CHARS_MAX)
            )?;
        }
        if let Some(at) = incident.resolved_at {
            writeln!(output, "{}    resolved", report::time_text(at))?;
        }
    }
    let Summary { samples, signals, days, incidents, pages, warnings } = outcomes.summary;
    writeln!(
        output,
        "{samples} samples of {signals} signals over {days:.2} days: {incidents} incidents, {pages} \
         pages, {warnings} warnings"
    )
}
