//! The configuration: what was written (strict YAML) becomes what it means (typed, resolved, secrets
//! masked) before the first side effect. Nothing here opens a connection or a file other than its own.

use std::{collections::BTreeMap, fmt, net::SocketAddr, time::Duration};

use url::Url;

use crate::series::SignalSettings;

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
    /// `sqlite://…`.
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
#[derive(Clone, Debug)]
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
#[derive(Clone, Debug, Default)]
pub struct NotifyConfig {
    /// Alertmanagers; each is sent to.
    pub alertmanager: Vec<Url>,
}

/// A value that never appears in a log, a page or an error: credentials, and URLs that may hold them.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Secret {
        Secret(value.into())
    }

    /// The value itself, for the one place that connects with it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}
