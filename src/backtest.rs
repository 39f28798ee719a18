//! `headwater backtest`: the pipeline over a recording, with the recording's time as its clock. The
//! same recording and configuration give the same output to the byte.
//!
//! A recording does not say which source gave a column. Its fleet columns (those read from rows)
//! are taken as one source and all others as another: when every cell of a source is empty at a row
//! where its sample was due, that source gave none. Where rows are missing altogether nobody was
//! watching.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{BufWriter, Write},
    path::Path,
};

use anyhow::{Context, Result, bail};

mod archive;
mod output;
pub mod scores;

use scores::{Scores, ScoresFile};

use crate::{
    budget::{MONTH_DAYS, poisson_rate},
    cli::{self, BacktestInput, BacktestOptions, OutputFormat},
    config::Config,
    incident::{Change, Incident, Severity},
    observation::{Failure, FailureReason, Observation, Outcome, Reading},
    pipeline::{Pipeline, Settings, State, Step},
    progress::Progress,
    recording::{Recording, Row},
    report::Summary,
    series::{Time, built_in},
    values::{Name, Values},
};

/// The source of a recording's fleet columns.
const FLEET: &str = "fleet";
/// The source of all other columns.
const OTHER: &str = "other";
/// Spacing of a recording of one row, where none can be measured: the default interval.
const INTERVAL_DEFAULT_S: f64 = 15.0;

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
    /// The budgets beside them: false pages and false warnings a month.
    pub budgets: (f64, f64),
    /// Kinds of irregularities, with their counts.
    pub irregularities: BTreeMap<&'static str, u64>,
}

/// `headwater backtest`.
pub async fn run_command(
    options: &BacktestOptions,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<()> {
    let input = options.input()?;
    let config = options.config.as_ref().map(|path| Config::load(path, environment)).transpose()?;
    let scores_file = options.scores.as_ref().map(|path| ScoresFile::create(path, options));
    let mut scores_file = scores_file.transpose()?;
    let history = options.history.as_ref().map(|path| read(path)).transpose()?;
    let (name, recording, interval_s) = match input {
        BacktestInput::Recording(path) => {
            let recording = read(path)?;
            let interval_s = interval_s(&recording);
            (path.display().to_string(), recording, interval_s)
        }
        BacktestInput::Prometheus(archive) => {
            let config = config.as_ref().context("--prometheus needs --config")?;
            let recording = archive::fetch(archive, config).await?;
            (archive::name(archive.url), recording, config.interval.as_secs_f64())
        }
    };
    let settings = settings(config.as_ref(), interval_s);
    let asked = scores_file.is_some() || options.changes;
    let mut scores = asked.then(|| Scores::of(&recording));
    let outcomes = replay(settings, history.as_ref(), &recording, scores.as_mut())?;
    for line in recording.irregularities.describe() {
        eprintln!("{name}: {line}");
    }
    for (kind, count) in &outcomes.irregularities {
        eprintln!("{name}: {kind}: {count}");
    }
    if let (Some(file), Some(scores)) = (&mut scores_file, &scores) {
        file.write(&recording, scores)?;
    }
    let mut output = BufWriter::new(std::io::stdout().lock());
    let written = match options.format {
        OutputFormat::Json => output::json(&mut output, &outcomes, options.changes),
        OutputFormat::Text => output::text(&mut output, &outcomes, options.changes),
    };
    let written = cli::written(written.and_then(|()| output.flush()));
    written.map(|_| ()).context("cannot write the results")
}

fn read(path: &Path) -> Result<Recording> {
    let name = path.display().to_string();
    let file = File::open(path)
        .with_context(|| format!("cannot open the recording {name}: check the path"))?;
    let bytes = file.metadata().map_or(0, |metadata| metadata.len());
    Recording::parse(Progress::begin("reading", bytes).reading(file), &name)
}

/// What the pipeline is told: the configuration's budgets and signals if there is one.
pub fn settings(config: Option<&Config>, interval_s: f64) -> Settings {
    let defaults = || Settings {
        interval_s,
        false_pages_per_month: crate::config::FALSE_PAGES_PER_MONTH_DEFAULT,
        false_warnings_per_month: crate::config::FALSE_WARNINGS_PER_MONTH_DEFAULT,
        signals: BTreeMap::new(),
        graph: crate::config::graph::open_balena(),
        plain_ids: true,
    };
    let configured = config.map(Config::pipeline_settings);
    configured.map_or_else(defaults, |settings| Settings {
        interval_s,
        plain_ids: true,
        ..settings
    })
}

/// Runs the pipeline over `history`, of which only the learning stays, and then over `recording`,
/// whose anomaly scores go to `scores`. With scores the changes are those that they tell of: each
/// signal is held against its latest level then, also while an incident keeps the one before it.
pub fn replay(
    settings: Settings,
    history: Option<&Recording>,
    recording: &Recording,
    mut scores: Option<&mut Scores>,
) -> Result<Outcomes> {
    let budgets = (settings.false_pages_per_month, settings.false_warnings_per_month);
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
        let mut progress = Progress::begin("learning", history.rows().len() as u64);
        for (place, observation) in observations(history) {
            pipeline.learn(&observation);
            progress.reach(place as u64);
        }
    }
    let mut gathered = Gathered::default();
    let mut progress = Progress::begin("replaying", recording.rows().len() as u64);
    for (place, observation) in observations(recording) {
        let step = pipeline.step(&observation);
        if let Some(scores) = &mut scores {
            scores.take(place, observation.at, &step.anomalies, &pipeline);
        }
        gathered.take(step);
        progress.reach(place as u64);
    }
    if let Some(scores) = scores {
        gathered.changes = scores.take_changes();
    }
    Ok(gathered.finish(recording, pipeline.standing().tally.watched_s, budgets))
}

/// The columns of one source.
#[derive(Clone, Debug)]
struct Group {
    source: &'static str,
    /// Places among the recording's columns, in the order of the names.
    columns: Vec<(Name, usize)>,
    /// Median spacing of the rows in which any of its cells is filled, in seconds.
    spacing_s: f64,
    latest: Option<Time>,
}

impl Group {
    fn of(recording: &Recording, source: &'static str) -> Option<Group> {
        let is_fleet = |name: &str| built_in(name).is_some_and(|signal| signal.exact);
        let columns = recording.columns.iter().enumerate();
        let own = columns.filter(|(_, name)| is_fleet(name) == (source == FLEET));
        let mut columns: Vec<(Name, usize)> =
            own.map(|(index, name)| (name.as_str().into(), index)).collect();
        columns.sort();
        let present = recording
            .rows()
            .filter(|row| columns.iter().any(|(_, index)| row.value(*index).is_some()));
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
        let mut values = Values::with_capacity(self.columns.len());
        for (name, index) in &self.columns {
            if let Some(value) = row.value(*index) {
                values.push(name.clone(), value);
            }
        }
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

/// A recording as the samplers would have delivered it, each observation with its row's place.
pub fn observations(recording: &Recording) -> impl Iterator<Item = (usize, Observation)> {
    let mut groups: Vec<Group> =
        [FLEET, OTHER].into_iter().filter_map(|source| Group::of(recording, source)).collect();
    recording.rows().enumerate().flat_map(move |(place, row)| {
        let seen = groups.iter_mut().filter_map(|group| group.observe(row));
        seen.map(|observation| (place, observation)).collect::<Vec<_>>()
    })
}

/// The interval at which a recording was made: its fleet columns' where it has some, since rows of
/// several sources may alternate.
pub fn interval_s(recording: &Recording) -> f64 {
    let mut groups = [FLEET, OTHER].into_iter();
    let group = groups.find_map(|source| Group::of(recording, source));
    let spaced = group.filter(|_| recording.interval_s().is_some());
    spaced.map_or(INTERVAL_DEFAULT_S, |group| group.spacing_s)
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

    fn finish(self, recording: &Recording, watched_s: f64, budgets: (f64, f64)) -> Outcomes {
        let incidents: Vec<Incident> = self.incidents.into_values().collect();
        let told = |severity: Severity| {
            let notifications = incidents.iter().flat_map(|incident| &incident.notifications);
            notifications.filter(|notification| notification.severity == severity).count() as u64
        };
        let columns: BTreeSet<&String> = recording.columns.iter().collect();
        let days = watched_s / 86_400.0;
        let (pages, warnings) = (told(Severity::Critical), told(Severity::Warning));
        let summary = Summary {
            samples: recording.rows().len() as u64,
            signals: columns.len() as u64,
            days,
            incidents: incidents.len() as u64,
            pages,
            pages_per_month: poisson_rate(pages, days / MONTH_DAYS),
            warnings,
            warnings_per_month: poisson_rate(warnings, days / MONTH_DAYS),
        };
        let (changes, irregularities) = (self.changes, self.irregularities);
        Outcomes { changes, incidents, summary, budgets, irregularities }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The closing figures of a recording of one signal.
    fn summary(rows: impl IntoIterator<Item = String>) -> Summary {
        let text = rows.into_iter().fold("time,x\n".to_owned(), |text, row| text + &row + "\n");
        let recording = Recording::parse(text.as_bytes(), "test").unwrap();
        let settings = settings(None, interval_s(&recording));
        replay(settings, None, &recording, None).unwrap().summary
    }

    #[test]
    fn a_month_of_the_budgets_is_one_of_watched_time() {
        // Eight hours a day for a fortnight, once a minute.
        let day = |day: i64| (0..480).map(move |minute| 1_700_000_000 + 86_400 * day + 60 * minute);
        let office = (0..14).flat_map(day).map(|second| format!("{second},{}", second % 7));
        let watched_s = 14.0 * 479.0 * 60.0 + 13.0 * 2.5 * 60.0;
        let found = summary(office.clone());
        assert!((found.days - watched_s / 86_400.0).abs() < 1e-9, "{}", found.days);
        let none_told = poisson_rate(0, found.days / MONTH_DAYS);
        assert_eq!(found.warnings_per_month.high, none_told.high);
        // A time that nobody believes is not watched up to.
        let astray = summary(office.chain(["9999-12-31T23:59:59Z,5".to_owned()]));
        assert_eq!(astray.days, found.days);
    }
}
