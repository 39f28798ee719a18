//! The top-level keys, `labels` and `notify`: which keys there are, what they default to, and what
//! each alone must satisfy. Sources and signals are `sources`; what several keys must satisfy
//! together is `consistency`.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use super::{
    Config, NotifyConfig, Secret, SourceConfig,
    graph::{self, Written},
    reader::{Field, Reader},
    sources::{signals, sources},
    yaml::Node,
};
use crate::{diagnose::declared::Declared, series::SignalSettings};

const DEFAULT_FLEET: &str = "default";
/// `headwater incidents` and `headwater export` look for the daemon here too.
pub const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9855);
const DEFAULT_INTERVAL: Duration = Duration::from_secs(15);
/// A database is not asked more than once a second.
const INTERVAL_MIN: Duration = Duration::from_secs(1);
/// Beyond an hour, "within one sampling interval" is no promise.
const INTERVAL_MAX: Duration = Duration::from_secs(3600);
const DEFAULT_STORE: &str = "sqlite://headwater.db";
const DEFAULT_RETENTION: Duration = Duration::from_secs(90 * DAY_S);
/// Below an hour not even the evidence of an open incident would be kept.
const RETENTION_MIN: Duration = Duration::from_secs(3600);
/// Ten years: within what a calendar can subtract from the present.
const RETENTION_MAX: Duration = Duration::from_secs(3650 * DAY_S);
const DAY_S: u64 = 86_400;
/// The budget of pages without an event, per 30 days, unless one is configured.
pub const FALSE_PAGES_PER_MONTH_DEFAULT: f64 = 1.0;
/// The same for warnings.
pub const FALSE_WARNINGS_PER_MONTH_DEFAULT: f64 = 10.0;

/// Set by Headwater on every alert: an alert's identity must not depend on the configuration.
const RESERVED_LABELS: &[&str] =
    &["alertname", "incident", "cause", "severity", "scope", "fleet", "source"];

const KEYS: &[&str] = &[
    "fleet",
    "listen",
    "external_url",
    "interval",
    "store",
    "retention",
    "false_pages_per_month",
    "false_warnings_per_month",
    "labels",
    "runbook_url",
    "events_token",
    "sources",
    "signals",
    "graph",
    "notify",
];

/// A resolved part and where it was written, for the checks over several parts.
#[derive(Clone, Debug)]
pub(super) struct Placed<Part> {
    pub(super) part: Part,
    pub(super) path: String,
    pub(super) line: usize,
}

/// Everything that was read, with its places. `None` stands for what could not be read, which is a
/// mistake already.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) config: Config,
    pub(super) sources: Vec<Placed<Option<SourceConfig>>>,
    pub(super) signals: Vec<Placed<(String, SignalSettings)>>,
    /// What drives what, beside the preset.
    pub(super) edges: Vec<Written>,
}

/// Reads the whole file; where something is wrong a default stands in, and a mistake is noted.
pub(super) fn read(reader: &mut Reader<'_>, root: &Node) -> Option<Read> {
    let field = Field { path: String::new(), line: root.line, node: root };
    let table = reader.table(&field, KEYS)?;
    let listen = table.get("listen").and_then(|field| listen(reader, &field));
    let listen = listen.unwrap_or(DEFAULT_LISTEN);
    let external_url = table.get("external_url").and_then(|field| public_url(reader, &field));
    let external_url = external_url.unwrap_or_else(|| format!("http://{listen}"));
    let runbook_url = table.get("runbook_url").and_then(|field| public_url(reader, &field));
    let runbook_url = runbook_url.unwrap_or_else(|| format!("{external_url}/runbooks"));
    let budget = |reader: &mut Reader<'_>, key: &str, default: f64| {
        table.get(key).and_then(|field| positive(reader, &field)).unwrap_or(default)
    };
    let duration = |reader: &mut Reader<'_>, key: &str, default: Duration, least, most| {
        let field = table.get(key);
        field.and_then(|field| reader.duration(&field, least, most)).unwrap_or(default)
    };
    let text = |reader: &mut Reader<'_>, key: &str| {
        table.get(key).and_then(|field| reader.text(&field)).map(|text| text.value)
    };
    let interval = duration(reader, "interval", DEFAULT_INTERVAL, INTERVAL_MIN, INTERVAL_MAX);
    let retention = duration(reader, "retention", DEFAULT_RETENTION, RETENTION_MIN, RETENTION_MAX);
    let false_pages_per_month =
        budget(reader, "false_pages_per_month", FALSE_PAGES_PER_MONTH_DEFAULT);
    let false_warnings_per_month =
        budget(reader, "false_warnings_per_month", FALSE_WARNINGS_PER_MONTH_DEFAULT);
    let config = Config {
        fleet: text(reader, "fleet").unwrap_or_else(|| DEFAULT_FLEET.to_owned()),
        listen,
        external_url,
        interval,
        store: store(reader, table.get("store")),
        retention,
        false_pages_per_month,
        false_warnings_per_month,
        labels: table.get("labels").map(|field| labels(reader, &field)).unwrap_or_default(),
        runbook_url,
        events_token: text(reader, "events_token").map(Secret::new),
        sources: Vec::new(),
        signals: BTreeMap::new(),
        graph: Declared::default(),
        notify: table.get("notify").map(|field| notify(reader, &field)).unwrap_or_default(),
    };
    let sources = table.get("sources").map(|field| sources(reader, &field)).unwrap_or_default();
    let mut edges = Vec::new();
    let signals = table.get("signals").map(|field| signals(reader, &field, &mut edges));
    let signals = signals.unwrap_or_default();
    if let Some(field) = table.get("graph") {
        edges.extend(graph::read(field.node, &field.path, &mut reader.mistakes));
    }
    Some(Read { config, sources, signals, edges })
}

fn listen(reader: &mut Reader<'_>, field: &Field<'_>) -> Option<SocketAddr> {
    let text = reader.text(field)?;
    let address = text.value.parse().ok();
    if address.is_none() {
        reader.wrong(
            &text,
            "is no address with a port: write IP:PORT such as 127.0.0.1:9855, or 0.0.0.0:9855 for \
             every interface",
        );
    }
    address
}

/// A URL that goes into alerts: no credentials, no trailing slash.
fn public_url(reader: &mut Reader<'_>, field: &Field<'_>) -> Option<String> {
    let text = reader.text(field)?;
    let url = reader.http_url(&text)?;
    if !url.username().is_empty() || url.password().is_some() {
        reader.wrong(&text, "holds credentials, and alerts repeat this URL: remove them");
        return None;
    }
    Some(url.as_str().trim_end_matches('/').to_owned())
}

/// A budget: a number above zero.
pub(super) fn positive(reader: &mut Reader<'_>, field: &Field<'_>) -> Option<f64> {
    let (number, text) = reader.number(field)?;
    if number <= 0.0 {
        reader.wrong(
            &text,
            "is no budget: a detector without false alarms detects nothing, give a number above 0",
        );
        return None;
    }
    Some(number)
}

fn store(reader: &mut Reader<'_>, field: Option<Field<'_>>) -> Secret {
    let default = Secret::new(DEFAULT_STORE);
    let Some(text) = field.and_then(|field| reader.text(&field)) else { return default };
    if text.value.starts_with("postgres://") || text.value.starts_with("postgresql://") {
        let message = "is not supported by this version as a store: use sqlite://PATH";
        reader.wrong(&text, message);
        return default;
    }
    if !text.value.starts_with("sqlite://") {
        reader.wrong(&text, "is no store: write sqlite://PATH");
        return default;
    }
    reader.database_url(&text).unwrap_or(default)
}

fn labels(reader: &mut Reader<'_>, field: &Field<'_>) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    for (name, text) in reader.text_by_name(field) {
        if RESERVED_LABELS.contains(&name.as_str()) {
            let message = format!(
                "Headwater sets the label \"{name}\" itself: choose another name ({} are taken)",
                RESERVED_LABELS.join(", ")
            );
            reader.mistake(text.line, &text.path, message);
        } else if !is_label_name(&name) {
            let message = format!(
                "\"{name}\" is no label name: letters, digits and underscores, no digit first, no \
                 two underscores first"
            );
            reader.mistake(text.line, &text.path, message);
        } else {
            labels.insert(name, text.value);
        }
    }
    labels
}

fn is_label_name(name: &str) -> bool {
    let mut characters = name.chars();
    let first = characters.next();
    first.is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && characters.all(|character| character.is_ascii_alphanumeric() || character == '_')
        && !name.starts_with("__")
}

fn notify(reader: &mut Reader<'_>, field: &Field<'_>) -> NotifyConfig {
    let mut config = NotifyConfig::default();
    let keys = ["alertmanager", "pagerduty", "webhook"];
    let Some(table) = reader.table(field, &keys) else { return config };
    for key in ["pagerduty", "webhook"] {
        if let Some(field) = table.get(key) {
            let message = "not supported by this version: use notify.alertmanager, and let \
                           Alertmanager pass alerts on";
            reader.mistake(field.line, &field.path, message);
        }
    }
    let Some(field) = table.get("alertmanager") else { return config };
    for item in reader.items(&field) {
        let Some(text) = reader.text(&item) else { continue };
        let Some(url) = reader.http_url(&text) else { continue };
        if config.alertmanager.contains(&url) {
            reader.wrong(&text, "stands here twice: remove one, each Alertmanager is sent to");
        } else {
            config.alertmanager.push(url);
        }
    }
    config
}

impl Read {
    /// The configuration, once nothing is wrong with it.
    pub(super) fn into_config(self, graph: Declared) -> Config {
        let mut config = self.config;
        config.sources = self.sources.into_iter().filter_map(|placed| placed.part).collect();
        config.graph = graph;
        config.signals = self.signals.into_iter().map(|placed| placed.part).collect();
        config
    }
}
