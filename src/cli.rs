//! The command line: every command and option, with the words that `--help` says. Parsing checks
//! values and does nothing; `main` calls what the command names.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum, error::ErrorKind};
use url::Url;

use crate::{
    clock::Clock,
    config::{self, DEFAULT_LISTEN},
    recording::{self, format_time},
    series::Time,
    serve::since,
};

/// What became of writing results to standard output: `false` if nobody reads them any more, as
/// after `| head`. That is no failure.
pub fn written(result: io::Result<()>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error),
    }
}

/// Faster than this and a minute of the story is shorter than a sample takes.
const DEMO_SPEED_MAX: f64 = 600.0;

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 the command line or the configuration is \
                          wrong. Results go to standard output, everything else to standard error.";

/// Pages the people on call for a device fleet with the cause of an incident, not its loudest
/// symptom.
#[derive(Debug, Parser)]
#[command(name = "headwater", version, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How the log is written.
    #[command(flatten)]
    pub log: LogOptions,
}

/// Options of the log, which goes to standard error. Every command has them.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Log, on standard error")]
pub struct LogOptions {
    /// Log this level and what is graver [default: info; error in the demo, which tells its story]
    #[arg(long = "log.level", value_name = "LEVEL", global = true)]
    pub log_level: Option<LogLevel>,
    /// Log for people or for machines
    #[arg(long = "log.format", value_name = "FORMAT", default_value = "text", global = true)]
    pub log_format: LogFormat,
}

impl LogOptions {
    /// The level asked for, or what suits the command.
    pub fn level_for(&self, command: &Command) -> LogLevel {
        let quiet = matches!(command, Command::Demo(_));
        self.log_level.unwrap_or(if quiet { LogLevel::Error } else { LogLevel::Info })
    }
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
#[expect(missing_docs, reason = "help texts of the values would only repeat them")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    /// As filters spell it.
    pub fn name(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
#[expect(missing_docs, reason = "help texts of the values would only repeat them")]
pub enum LogFormat {
    Text,
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch a fleet: sample, detect, diagnose, notify, and serve metrics and pages
    #[command(after_help = RUN_HELP)]
    Run(RunOptions),
    /// Validate a configuration; with --connect sample each of its sources once
    #[command(after_help = CHECK_HELP)]
    Check(CheckOptions),
    /// Play the night of 2019-09-23 on a simulated fleet, with no set-up
    #[command(after_help = DEMO_HELP)]
    Demo(DemoOptions),
    /// Run the pipeline over a recording, as fast as it can
    #[command(after_help = BACKTEST_HELP)]
    Backtest(BacktestOptions),
    /// Rank the columns of any recording as root cause of what happened around a time
    #[command(after_help = DIAGNOSE_HELP)]
    Diagnose(DiagnoseOptions),
    /// List, show, accept or reject the incidents of a running daemon
    #[command(after_help = "Without a command, lists the incidents.")]
    Incidents(IncidentsOptions),
    /// Write stored samples to standard output as a recording
    #[command(after_help = "The recording is what `headwater backtest` reads.")]
    Export(ExportOptions),
}

// After the options rather than in the doc comments: with a long description, clap would spread
// every option over several lines.

const RUN_HELP: &str = "\
Runs until SIGTERM or SIGINT, which drains and commits what is under way; a second one cuts. All \
state is in the store that the configuration names, and is taken up again at the next start.";

const CHECK_HELP: &str = "\
Reports all mistakes of the file together, each with its line, its key and the remedy, and exits \
with 2. With --connect, prints what each source gave, how long it took and which grants it lacks, \
and exits with 1 if a source failed. Nothing is stored and nobody is notified.";

const DEMO_HELP: &str = "\
An embedded SQLite fleet of some 20,000 devices lives an ordinary life, then a migration pins \
every device, and a hasty rollback unpins every device. The daemon watches it as `run` would. The \
terminal tells the story as it happens, with each page in full, and the web pages are served \
meanwhile.";

const BACKTEST_HELP: &str = "\
The same pipeline as the daemon's, with the recording's time as its clock: the same recording and \
configuration give the same output to the byte. A recording is wide CSV: a column `time` \
(RFC 3339, `YYYY-MM-DD hh:mm:ss` in UTC, or Unix seconds) and one column a signal; an empty cell, \
NaN or null is a missing sample; columns whose names end in `_total` are counters.

Scores have the rows of the recording in its order, repeated and late ones too: each has the score \
of the sample that it became part of. A score is 0 while nothing can alarm, and empty where the \
sample is missing or not judged: the first of a counter, and flows, of which only the breadth is.

Prometheus is asked at the configuration's interval, page by page; a point that it does not have is \
a missing sample. On a terminal, standard error shows how far it has come.";

const DIAGNOSE_HELP: &str = "\
Each column is judged at its own onset, within three minutes (or three samples) before the time and \
two minutes (or one sample) after it, against what it ordinarily does: the score is the surprise of \
its move times the square root of its relative size, less the part that declared causes explain. \
Two minutes late is as good as to the second. Without --at the time is that at which the columns \
together moved most, and it is said on standard error.

A graph is YAML: `parent: [child, ...]`, or `parent: {child: 30s}` with the longest delay after \
which an effect still follows. It may not have a cycle, and names columns only. The edges between \
the signals that headwater itself knows always hold, unless the file declares them otherwise.";

/// The options that together stand for a recording.
const ARCHIVE_HEADING: &str = "Instead of a recording";

/// Options of `run`.
#[derive(Args, Clone, Debug)]
pub struct RunOptions {
    /// The configuration (YAML)
    #[arg(short, long, visible_alias = "config.file", value_name = "FILE")]
    pub config: PathBuf,
}

/// Options of `check`.
#[derive(Args, Clone, Debug)]
pub struct CheckOptions {
    /// The configuration (YAML)
    #[arg(short, long, visible_alias = "config.file", value_name = "FILE")]
    pub config: PathBuf,
    /// Also sample each source once, and print what it gave
    #[arg(long)]
    pub connect: bool,
}

/// Options of `demo`.
#[derive(Args, Clone, Debug)]
pub struct DemoOptions {
    /// Play this many times faster than real time
    #[arg(long, value_name = "N", default_value_t = 60.0, value_parser = parse_speed)]
    pub speed: f64,
    /// End with the story instead of serving its pages until interrupted
    #[arg(long)]
    pub exit: bool,
    /// Simulate from this seed, to see the same fleet again [default: a new one, printed]
    #[arg(long, value_name = "SEED")]
    pub seed: Option<u64>,
    /// Serve the pages here
    #[arg(long, value_name = "IP:PORT", default_value_t = DEFAULT_LISTEN)]
    pub listen: SocketAddr,
}

/// Options of `backtest`.
#[derive(Args, Clone, Debug)]
pub struct BacktestOptions {
    /// The recording (CSV)
    #[arg(value_name = "RECORDING", required_unless_present = "prometheus")]
    pub recording: Option<PathBuf>,
    /// Take budgets and the settings of signals from this configuration [default: the defaults]
    #[arg(short, long, visible_alias = "config.file", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Feed this recording first, and print nothing of it: it is what the pipeline remembers
    #[arg(long, value_name = "RECORDING")]
    pub history: Option<PathBuf>,
    /// Write for people, or one JSON object a line
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: OutputFormat,
    /// Also write each detected change of a signal
    #[arg(long)]
    pub changes: bool,
    /// Also write anomaly scores to this file: a row for each row of the recording, and under each
    /// signal's name 0..1, where 0.5 is the threshold
    #[arg(long, value_name = "FILE")]
    pub scores: Option<PathBuf>,
    /// Read what this Prometheus remembers: the signals of every `prometheus` source of the
    /// configuration, whatever its own url is
    #[arg(
        long,
        value_name = "URL",
        value_parser = parse_http_url,
        requires_all = ["start", "end", "config"],
        conflicts_with = "recording",
        help_heading = ARCHIVE_HEADING
    )]
    pub prometheus: Option<Url>,
    /// From this instant on, spelled as in recordings
    #[arg(
        long,
        value_name = "TIME",
        value_parser = parse_instant,
        requires = "prometheus",
        help_heading = ARCHIVE_HEADING
    )]
    pub start: Option<Time>,
    /// Up to this instant
    #[arg(
        long,
        value_name = "TIME",
        value_parser = parse_instant,
        requires = "prometheus",
        help_heading = ARCHIVE_HEADING
    )]
    pub end: Option<Time>,
}

/// What a backtest runs over.
#[derive(Clone, Copy, Debug)]
pub enum BacktestInput<'a> {
    /// A file.
    Recording(&'a Path),
    /// What a Prometheus remembers.
    Prometheus(Archive<'a>),
}

/// A part of what a Prometheus remembers.
#[derive(Clone, Copy, Debug)]
pub struct Archive<'a> {
    /// The server.
    pub url: &'a Url,
    /// The first instant.
    pub start: Time,
    /// No sample is later.
    pub end: Time,
    /// The file that says what is asked.
    pub config: &'a Path,
}

impl BacktestOptions {
    /// What to run over. Fails on what the definition of the options cannot refuse by itself.
    pub fn input(&self) -> Result<BacktestInput<'_>, clap::Error> {
        let wrong = |kind, text| wrong("backtest", kind, text);
        if let Some(recording) = &self.recording {
            return Ok(BacktestInput::Recording(recording));
        }
        let (Some(url), Some(start), Some(end), Some(config)) =
            (&self.prometheus, self.start, self.end, &self.config)
        else {
            let text = "--prometheus needs --start, --end and --config".to_owned();
            return Err(wrong(ErrorKind::MissingRequiredArgument, text));
        };
        if start >= end {
            let (start, end) = (format_time(start), format_time(end));
            let text = format!("--start {start} is not before --end {end}: exchange them");
            return Err(wrong(ErrorKind::ValueValidation, text));
        }
        Ok(BacktestInput::Prometheus(Archive { url, start, end, config }))
    }
}

/// Options of `diagnose`.
#[derive(Args, Clone, Debug)]
pub struct DiagnoseOptions {
    /// The recording (CSV), as `backtest` reads it
    #[arg(value_name = "RECORDING")]
    pub recording: PathBuf,
    /// Around when it happened, spelled as in recordings [default: when the columns moved most]
    #[arg(long, value_name = "TIME", value_parser = parse_instant)]
    pub at: Option<Time>,
    /// What drives what (YAML) [default: what headwater knows of its own signals]
    #[arg(long, value_name = "FILE")]
    pub graph: Option<PathBuf>,
    /// The column whose change is to be explained: what moved later cannot be its cause
    #[arg(long, value_name = "SIGNAL")]
    pub target: Option<String>,
    /// Learn from this recording too what is ordinary
    #[arg(long, value_name = "RECORDING")]
    pub history: Option<PathBuf>,
    /// Write for people, or one JSON object
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: OutputFormat,
}

impl DiagnoseOptions {
    /// What is said of a target that the recording does not have.
    pub fn unknown_target(&self, target: &str, columns: &[String]) -> clap::Error {
        let similar = config::suggestion(target, columns.iter().map(String::as_str));
        let text = format!(
            "--target \"{target}\" is no column of {}{similar}: name one of its columns",
            self.recording.display()
        );
        wrong("diagnose", ErrorKind::ValueValidation, text)
    }
}

/// An error of a command's command line that its definition cannot find by itself.
fn wrong(command: &str, kind: ErrorKind, text: String) -> clap::Error {
    let mut commands = Cli::command();
    // Its parts get the usage that errors show.
    commands.build();
    match commands.find_subcommand_mut(command) {
        Some(command) => command.error(kind, text),
        None => commands.error(kind, text),
    }
}

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
#[expect(missing_docs, reason = "help texts of the values would only repeat them")]
pub enum OutputFormat {
    Text,
    Json,
}

/// Options of `incidents`.
#[derive(Args, Clone, Debug)]
pub struct IncidentsOptions {
    /// What to do; nothing: list.
    #[command(subcommand)]
    pub action: Option<IncidentsAction>,
    /// Where the daemon is.
    #[command(flatten)]
    pub daemon: DaemonOptions,
}

/// Where a running daemon is, and what it wants to see.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "The daemon")]
pub struct DaemonOptions {
    /// Its address
    #[arg(
        long,
        value_name = "URL",
        default_value_t = default_url(),
        value_parser = parse_http_url,
        global = true
    )]
    pub url: Url,
    /// Its `events_token`, needed to accept and reject where one is configured
    #[arg(
        long,
        value_name = "TOKEN",
        env = "HEADWATER_TOKEN",
        hide_env_values = true,
        global = true
    )]
    pub token: Option<String>,
}

/// What to do with incidents.
#[derive(Clone, Debug, Subcommand)]
pub enum IncidentsAction {
    /// List incidents, newest first
    List,
    /// Show one incident in full: causes, evidence, blast radius, timeline, next steps
    Show(IncidentId),
    /// Accept the present state as the new normal: resolves the incident
    Accept(IncidentId),
    /// Say that the diagnosis is wrong: closes the incident, and what is like it notifies nobody
    Reject(IncidentId),
}

/// Which incident.
#[derive(Args, Clone, Debug)]
pub struct IncidentId {
    /// The incident's id, as `list` and its alert's label `incident` show it
    #[arg(value_name = "ID", value_parser = parse_incident_id)]
    pub id: String,
}

/// Options of `export`.
#[derive(Args, Clone, Debug)]
pub struct ExportOptions {
    /// From this instant on: RFC 3339, `YYYY-MM-DD[ hh:mm:ss]` in UTC, Unix seconds, or how long
    /// ago, as in 24h
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub since: Time,
    /// Read the store that this configuration names, whether or not its daemon runs [default: ask
    /// the daemon at --url]
    #[arg(short, long, visible_alias = "config.file", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Ask the daemon here
    #[arg(
        long,
        value_name = "URL",
        default_value_t = default_url(),
        value_parser = parse_http_url,
        conflicts_with = "config"
    )]
    pub url: Url,
}

/// Where a daemon with the default configuration listens.
fn default_url() -> Url {
    let text = format!("http://{DEFAULT_LISTEN}");
    Url::parse(&text).expect("an address with a port makes a URL")
}

fn parse_http_url(text: &str) -> Result<Url, String> {
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(url),
        _ => Err("write it as http://HOST:PORT or https://HOST".to_owned()),
    }
}

fn parse_speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if speed > 0.0 && speed <= DEMO_SPEED_MAX => Ok(speed),
        _ => Err(format!("write a number above 0, up to {DEMO_SPEED_MAX}")),
    }
}

fn parse_time(text: &str) -> Result<Time, String> {
    since::parse(text, Clock::System.now()).map_err(|error| error.to_string())
}

fn parse_instant(text: &str) -> Result<Time, String> {
    recording::parse_time(text.trim()).ok_or_else(|| {
        "write RFC 3339 (2019-09-23T22:12:00Z), \"2019-09-23 22:12:00\" in UTC, or Unix seconds"
            .to_owned()
    })
}

/// Ids become part of a URL's path.
fn parse_incident_id(text: &str) -> Result<String, String> {
    let url_safe =
        |character: char| character.is_ascii_alphanumeric() || "-_.~".contains(character);
    if !text.is_empty() && text.chars().all(url_safe) && text.chars().any(|c| c != '.') {
        return Ok(text.to_owned());
    }
    Err("an id has letters, digits and -_.~ only: see `headwater incidents list`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn both_spellings_of_config_work() {
        for line in [
            "headwater run --config a.yml",
            "headwater run --config=a.yml",
            "headwater run --config.file a.yml",
            "headwater run --config.file=a.yml",
            "headwater run -c a.yml --log.level debug",
            "headwater --log.format=json run -c a.yml",
        ] {
            match parse(line).expect(line).command {
                Command::Run(options) => assert_eq!(options.config, PathBuf::from("a.yml")),
                other => panic!("{line}: {other:?}"),
            }
        }
    }

    #[test]
    fn wrong_values_are_refused() {
        for line in [
            "headwater",
            "headwater run",
            "headwater demo --speed 0",
            "headwater demo --speed NaN",
            "headwater demo --speed 1e9",
            "headwater demo --listen localhost",
            "headwater backtest",
            "headwater backtest a.csv --format xml",
            "headwater backtest a.csv --start 0 --end 1",
            "headwater backtest --prometheus http://h --start 0 --end 1",
            "headwater backtest --prometheus http://h --start 0 --config a.yml",
            "headwater backtest --prometheus h --start 0 --end 1 --config a.yml",
            "headwater backtest --prometheus http://h --start 1h --end 1 --config a.yml",
            "headwater backtest a.csv --prometheus http://h --start 0 --end 1 --config a.yml",
            "headwater diagnose",
            "headwater diagnose a.csv --at soon",
            "headwater diagnose a.csv --format xml",
            "headwater incidents show",
            "headwater incidents show a/b",
            "headwater incidents show ..",
            "headwater incidents --url 127.0.0.1:9855",
            "headwater export",
            "headwater export --since yesterday",
            "headwater export --since 2019-09-23 --config a.yml --url http://h",
        ] {
            let error = parse(line).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn an_export_asks_the_daemon_unless_told_of_a_configuration() {
        let Command::Export(options) =
            parse("headwater export --since 2019-09-23").expect("valid").command
        else {
            panic!("another command")
        };
        assert_eq!(options.since.to_rfc3339(), "2019-09-23T00:00:00+00:00");
        assert_eq!((options.config, options.url.as_str()), (None, "http://127.0.0.1:9855/"));
        let with_config = parse("headwater export --since 0 --config a.yml");
        assert!(with_config.is_ok(), "the default of --url is no conflict");
    }
}
