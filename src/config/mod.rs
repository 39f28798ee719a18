//! The configuration: what was written (strict YAML) becomes what it means (typed, resolved,
//! secrets masked) before the first side effect. Nothing here opens a connection or a file other
//! than its own.

use std::{
    collections::BTreeMap, fmt, fs::File, io::Read as _, net::SocketAddr, path::Path,
    time::Duration,
};

use url::Url;

use crate::{diagnose::declared::Declared, pipeline, series::SignalSettings};

mod consistency;
pub mod graph;
mod mistake;
mod reader;
mod resolve;
mod sources;
mod text;
mod yaml;

pub use consistency::open_balena_signals;
pub(crate) use mistake::suggestion;
pub use mistake::{ConfigError, Mistake};
pub use resolve::{
    DEFAULT_LISTEN, FALSE_PAGES_PER_MONTH_DEFAULT, FALSE_WARNINGS_PER_MONTH_DEFAULT,
};
pub use text::{Secret, format_duration, masked, masked_url, parse_duration};

use reader::Reader;
use yaml::{Node, Value};

/// A configuration is a page or two; a file larger than this is something else.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A resolved configuration: every value is valid by type.
#[derive(Clone, Debug)]
pub struct Config {
    /// A label on everything.
    pub fleet: String,
    /// Where the HTTP side listens.
    pub listen: SocketAddr,
    /// What links in alerts begin with, without a trailing slash.
    pub external_url: String,
    /// Between two samples of a source.
    pub interval: Duration,
    /// `sqlite://…`; a relative path is relative to the working directory.
    pub store: Secret,
    /// How long samples and resolved incidents are kept.
    pub retention: Duration,
    /// Upper limit of pages without an event, per 30 days.
    pub false_pages_per_month: f64,
    /// The same for warnings.
    pub false_warnings_per_month: f64,
    /// Added to every alert.
    pub labels: BTreeMap<String, String>,
    /// Where runbooks are; `#` and the cause's id are appended.
    pub runbook_url: String,
    /// What POST, accept and reject must carry, if set.
    pub events_token: Option<Secret>,
    /// In the order of the file, with distinct names.
    pub sources: Vec<SourceConfig>,
    /// User signals and overrides.
    pub signals: BTreeMap<String, SignalSettings>,
    /// What drives what: the preset, and what was written beside it.
    pub graph: Declared,
    /// Who is told.
    pub notify: NotifyConfig,
}

/// One source.
#[derive(Clone, Debug)]
pub struct SourceConfig {
    /// Its label; default its type.
    pub name: String,
    /// What it is.
    pub kind: SourceKind,
}

/// The kinds of sources.
#[derive(Clone)]
pub enum SourceKind {
    /// An open-balena database.
    OpenBalena {
        /// `postgres://…` or `sqlite://…`.
        url: Secret,
        /// The primary, when `url` is a replica.
        evidence_url: Option<Secret>,
    },
    /// A Prometheus HTTP API.
    Prometheus {
        /// Its base.
        url: Url,
        /// PromQL by signal.
        signals: BTreeMap<String, String>,
    },
    /// Any SQL database.
    Sql {
        /// `postgres://…` or `sqlite://…`.
        url: Secret,
        /// A query that gives one number, by signal.
        signals: BTreeMap<String, String>,
    },
    /// Whoever posts to `/api/v1/samples`.
    Push {
        /// The signals that may be posted.
        signals: Vec<String>,
    },
}

/// Who is told.
#[derive(Clone, Default)]
pub struct NotifyConfig {
    /// Alertmanagers; each is sent to.
    pub alertmanager: Vec<Url>,
}

impl Config {
    /// Reads the file at `path`; `env` answers for `${NAME}`.
    pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, ConfigError> {
        let file = path.display().to_string();
        let whole_file =
            |message: String| ConfigError::new(&file, vec![Mistake::new(0, "", message)]);
        let mut text = String::new();
        File::open(path)
            .and_then(|opened| opened.take(FILE_BYTES_MAX + 1).read_to_string(&mut text))
            .map_err(|error| whole_file(format!("cannot be read: {error}; see --config")))?;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(whole_file(format!(
                "larger than {FILE_BYTES_MAX} bytes, which no configuration is; see --config"
            )));
        }
        Config::parse(&text, &file, env)
    }

    /// Reads `text`, which messages call `file`. All mistakes are reported together, as far as one
    /// does not hide another. A configuration without sources is valid: recordings need none; the
    /// daemon asks `require_sources`.
    pub fn parse(
        text: &str,
        file: &str,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Config, ConfigError> {
        let mut reader = Reader { env, mistakes: Vec::new() };
        let root = yaml::parse(text, &mut reader.mistakes);
        let nothing = Node { line: 0, value: Value::Mapping(Vec::new()) };
        let read = match root {
            // After a mistake of the syntax there is nothing to read.
            None if !reader.mistakes.is_empty() => None,
            root => resolve::read(&mut reader, &root.unwrap_or(nothing)),
        };
        let read = read.map(|read| {
            let (graph, mistakes) = consistency::check(&read);
            reader.mistakes.extend(mistakes);
            (read, graph)
        });
        match read {
            Some((read, graph)) if reader.mistakes.is_empty() => Ok(read.into_config(graph)),
            _ => Err(ConfigError::new(file, reader.mistakes)),
        }
    }

    /// A daemon without a source would watch nothing.
    pub fn require_sources(&self, file: &str) -> Result<(), ConfigError> {
        if !self.sources.is_empty() {
            return Ok(());
        }
        let message = "no source: add one, such as `- type: open_balena` with its `url`";
        Err(ConfigError::new(file, vec![Mistake::new(0, "sources", message)]))
    }

    /// What the pipeline needs to know of this configuration.
    pub fn pipeline_settings(&self) -> pipeline::Settings {
        pipeline::Settings {
            interval_s: self.interval.as_secs_f64(),
            false_pages_per_month: self.false_pages_per_month,
            false_warnings_per_month: self.false_warnings_per_month,
            signals: self.signals.clone(),
            graph: self.graph.clone(),
            plain_ids: false,
        }
    }
}

impl fmt::Debug for SourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SourceKind::OpenBalena { url, evidence_url } => f
                .debug_struct("OpenBalena")
                .field("url", url)
                .field("evidence_url", evidence_url)
                .finish(),
            SourceKind::Prometheus { url, signals } => f
                .debug_struct("Prometheus")
                .field("url", &masked_url(url))
                .field("signals", signals)
                .finish(),
            SourceKind::Sql { url, signals } => {
                f.debug_struct("Sql").field("url", url).field("signals", signals).finish()
            }
            SourceKind::Push { signals } => {
                f.debug_struct("Push").field("signals", signals).finish()
            }
        }
    }
}

impl fmt::Debug for NotifyConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let alertmanager: Vec<String> = self.alertmanager.iter().map(masked_url).collect();
        f.debug_struct("NotifyConfig").field("alertmanager", &alertmanager).finish()
    }
}

#[cfg(test)]
mod tests;
