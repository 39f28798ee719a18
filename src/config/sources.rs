//! The keys of `sources` and `signals`: what each source needs by its type, what is configured of a
//! signal, and what a signal may be called.

use std::collections::BTreeMap;

use url::Url;

use super::{
    Secret, SourceConfig, SourceKind,
    graph::Written,
    mistake::{join, suggestion},
    reader::{Field, Reader, Table, Text},
    resolve::Placed,
};
use crate::series::{Direction, SignalSettings};

/// Longer signal names are no names: they are labels of metrics and columns of recordings.
const SIGNAL_NAME_LENGTH_MAX: usize = 200;

/// The sources, in order; one that cannot be read is `None`.
pub(super) fn sources(
    reader: &mut Reader<'_>,
    field: &Field<'_>,
) -> Vec<Placed<Option<SourceConfig>>> {
    let items = reader.items(field);
    let place =
        |item: Field<'_>| Placed { part: source(reader, &item), path: item.path, line: item.line };
    items.into_iter().map(place).collect()
}

const SOURCE_TYPES: &[&str] = &["open_balena", "prometheus", "sql", "push"];

fn source(reader: &mut Reader<'_>, item: &Field<'_>) -> Option<SourceConfig> {
    // The keys depend on the type, so the type is read first.
    let untyped = item.type_of(reader)?;
    let keys: &[&str] = match untyped.value.as_str() {
        "open_balena" => &["type", "name", "url", "evidence_url"],
        "prometheus" | "sql" => &["type", "name", "url", "signals"],
        "push" => &["type", "name", "signals"],
        other => {
            let guess = suggestion(other, SOURCE_TYPES.iter().copied());
            let types = SOURCE_TYPES.join(", ");
            reader.wrong(&untyped, &format!("is no type of source{guess}; types: {types}"));
            return None;
        }
    };
    let table = reader.table(item, keys)?;
    let name = match table.get("name") {
        Some(field) => reader.text(&field)?.value,
        None => untyped.value.clone(),
    };
    let kind = match untyped.value.as_str() {
        "open_balena" => open_balena(reader, item, &table),
        "prometheus" => {
            let url = required(reader, item, &table, "url", "http://HOST:PORT");
            let url = url.and_then(|text| reader.http_url(&text));
            let signals = queries(reader, item, &table, "PromQL")?;
            SourceKind::Prometheus { url: url.unwrap_or_else(url_stand_in), signals }
        }
        "sql" => {
            let url = required(reader, item, &table, "url", "postgres://… or sqlite://…");
            let url = url.and_then(|text| reader.database_url(&text));
            let signals = queries(reader, item, &table, "SQL")?;
            SourceKind::Sql { url: url.unwrap_or_else(database_stand_in), signals }
        }
        _ => SourceKind::Push { signals: pushed_signals(reader, item, &table)? },
    };
    Some(SourceConfig { name, kind })
}

impl Field<'_> {
    /// The `type` of a source.
    fn type_of(&self, reader: &mut Reader<'_>) -> Option<Text> {
        let types = SOURCE_TYPES.join(", ");
        let entries = reader.entries(self)?;
        match entries.iter().find(|entry| entry.key == "type") {
            Some(entry) => {
                let path = format!("{}.type", self.path);
                reader.text(&Field { path, line: entry.line, node: &entry.node })
            }
            None => {
                let message = format!("a source needs a type: add `type:` with one of {types}");
                reader.mistake(self.line, &self.path, message);
                None
            }
        }
    }
}

fn open_balena(reader: &mut Reader<'_>, item: &Field<'_>, table: &Table<'_>) -> SourceKind {
    let url = required(reader, item, table, "url", "postgres://… or sqlite://…");
    let url = url.and_then(|text| reader.database_url(&text));
    let evidence_url = table.get("evidence_url").and_then(|field| reader.text(&field));
    let evidence_url = evidence_url.and_then(|text| reader.database_url(&text));
    SourceKind::OpenBalena { url: url.unwrap_or_else(database_stand_in), evidence_url }
}

// Stand-ins for URLs that are mistakes already, so that a source's name and signals still take part
// in the checks between sources. No configuration with a mistake leaves this module.

fn database_stand_in() -> Secret {
    Secret::new("")
}

fn url_stand_in() -> Url {
    Url::parse("http://127.0.0.1").expect("a constant URL that parses")
}

fn required(
    reader: &mut Reader<'_>,
    item: &Field<'_>,
    table: &Table<'_>,
    key: &str,
    example: &str,
) -> Option<Text> {
    match table.get(key) {
        Some(field) => reader.text(&field),
        None => {
            let message = format!("this source needs `{key}`: add `{key}: {example}`");
            reader.mistake(item.line, &item.path, message);
            None
        }
    }
}

/// Queries by signal; at least one.
fn queries(
    reader: &mut Reader<'_>,
    item: &Field<'_>,
    table: &Table<'_>,
    language: &str,
) -> Option<BTreeMap<String, String>> {
    let mistakes_before = reader.mistakes.len();
    let mut queries = BTreeMap::new();
    if let Some(field) = table.get("signals") {
        for (name, text) in reader.text_by_name(&field) {
            if is_signal_name(reader, &name, text.line, &text.path) {
                queries.insert(name, text.value);
            }
        }
    }
    if reader.mistakes.len() > mistakes_before {
        return None;
    }
    if queries.is_empty() {
        let message = format!("this source gives no signal: add `signals:` with NAME: {language}");
        reader.mistake(item.line, &item.path, message);
        return None;
    }
    Some(queries)
}

/// Names of signals that are posted; at least one.
fn pushed_signals(
    reader: &mut Reader<'_>,
    item: &Field<'_>,
    table: &Table<'_>,
) -> Option<Vec<String>> {
    let mistakes_before = reader.mistakes.len();
    let mut names: Vec<String> = Vec::new();
    for field in table.get("signals").map(|field| reader.items(&field)).unwrap_or_default() {
        let Some(text) = reader.text(&field) else { continue };
        if names.contains(&text.value) {
            reader.wrong(&text, "stands in this list twice: remove one");
        } else if is_signal_name(reader, &text.value, text.line, &text.path) {
            names.push(text.value);
        }
    }
    if reader.mistakes.len() > mistakes_before {
        return None;
    }
    if names.is_empty() {
        let message = "this source gives no signal: add `signals: [NAME]`";
        reader.mistake(item.line, &item.path, message);
        return None;
    }
    Some(names)
}

/// A signal may have almost any name, for recordings have columns of almost any name.
fn is_signal_name(reader: &mut Reader<'_>, name: &str, line: usize, path: &str) -> bool {
    let problem = if name.trim().is_empty() {
        "a signal without a name: give it one"
    } else if name == "time" {
        "\"time\" is the time column of recordings: give the signal another name"
    } else if name.trim() != name || name.chars().any(char::is_control) {
        "a signal's name must not hold control characters, nor begin or end with a space"
    } else if name.len() > SIGNAL_NAME_LENGTH_MAX {
        "a signal's name must not be longer than 200 bytes"
    } else {
        return true;
    };
    reader.mistake(line, path, problem);
    false
}

/// The `signals` section: settings by signal. What they drive is added to the `edges`.
pub(super) fn signals(
    reader: &mut Reader<'_>,
    field: &Field<'_>,
    edges: &mut Vec<Written>,
) -> Vec<Placed<(String, SignalSettings)>> {
    let mut signals = Vec::new();
    for entry in reader.entries(field).unwrap_or_default() {
        let path = join(&field.path, &entry.key);
        let value = Field { path: path.clone(), line: entry.line, node: &entry.node };
        let settings = signal(reader, &entry.key, &value, edges);
        if is_signal_name(reader, &entry.key, entry.line, &path)
            && let Some(settings) = settings
        {
            signals.push(Placed { part: (entry.key.clone(), settings), path, line: entry.line });
        }
    }
    signals
}

const SIGNAL_KEYS: &[&str] = &[
    "drives",
    "direction",
    "min_change",
    "min_change_relative",
    "valid_min",
    "valid_max",
    "false_alarms_per_month",
];

/// Reads one signal's settings; what it drives is added to the `edges`.
fn signal(
    reader: &mut Reader<'_>,
    name: &str,
    field: &Field<'_>,
    edges: &mut Vec<Written>,
) -> Option<SignalSettings> {
    let table = reader.table(field, SIGNAL_KEYS)?;
    let mut settings = SignalSettings::default();
    for item in table.get("drives").map(|field| reader.items(&field)).unwrap_or_default() {
        if let Some(text) = reader.text(&item) {
            edges.push(Written::drives(name, text.value, text.line, join(&field.path, "drives")));
        }
    }
    if let Some(text) = table.get("direction").and_then(|field| reader.text(&field)) {
        match text.value.as_str() {
            "up" => settings.direction = Some(Direction::Up),
            "down" => settings.direction = Some(Direction::Down),
            _ => reader.wrong(&text, "is no direction: write up or down, or remove it for both"),
        }
    }
    settings.min_change = not_negative(
        reader,
        table.get("min_change"),
        "is negative: write the size of a change, 0 or more",
    );
    settings.min_change_relative = not_negative(
        reader,
        table.get("min_change_relative"),
        "is negative: write a share of the level before, 0 or more (0.05 is 5 %)",
    );
    settings.false_alarms_per_month = table
        .get("false_alarms_per_month")
        .and_then(|field| super::resolve::positive(reader, &field));
    (settings.valid_min, settings.valid_max) = valid_range(reader, &table);
    Some(settings)
}

fn not_negative(reader: &mut Reader<'_>, field: Option<Field<'_>>, negative: &str) -> Option<f64> {
    let (number, text) = reader.number(&field?)?;
    if number < 0.0 {
        reader.wrong(&text, negative);
        return None;
    }
    Some(number)
}

/// The range in which values can be true. One without room between its ends would leave nothing.
fn valid_range(reader: &mut Reader<'_>, table: &Table<'_>) -> (Option<f64>, Option<f64>) {
    let least = table.get("valid_min").and_then(|field| reader.number(&field));
    let most = table.get("valid_max").and_then(|field| reader.number(&field));
    if let (Some((least, _)), Some((most, text))) = (&least, &most)
        && least >= most
    {
        let message = format!(
            "is not above valid_min, {least}: every value would be missing; exchange them, or \
             remove one"
        );
        reader.wrong(text, &message);
        return (None, None);
    }
    (least.map(|(number, _)| number), most.map(|(number, _)| number))
}
