//! From nodes to typed values, collecting every mistake on the way. Knows what a URL, a duration or
//! a list is, and not which keys there are: that is `resolve`.

use std::time::Duration;

use url::Url;

use super::{
    mistake::{Mistake, join, suggestion},
    text::{Secret, format_duration, masked, parse_duration, replace_variables},
    yaml::{Entry, Node, Value},
};

/// Reads values and remembers what was wrong.
pub(super) struct Reader<'env> {
    /// The environment.
    pub(super) env: &'env dyn Fn(&str) -> Option<String>,
    /// So far.
    pub(super) mistakes: Vec<Mistake>,
}

/// A value under a key (or in a list), with where it stands.
#[derive(Clone, Debug)]
pub(super) struct Field<'node> {
    /// `sources[1].url`.
    pub(super) path: String,
    /// Of the key.
    pub(super) line: usize,
    /// The value.
    pub(super) node: &'node Node,
}

/// A mapping whose keys are all known.
#[derive(Debug)]
pub(super) struct Table<'node> {
    path: String,
    entries: &'node [Entry],
}

impl<'node> Table<'node> {
    /// The value under `key`, if it is there.
    pub(super) fn get(&self, key: &str) -> Option<Field<'node>> {
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        Some(Field { path: join(&self.path, key), line: entry.line, node: &entry.node })
    }
}

/// A single value, variables replaced.
#[derive(Clone, Debug)]
pub(super) struct Text {
    /// What it means.
    pub(super) value: String,
    /// What a message may quote: as written, so that nothing from the environment is repeated, and
    /// passwords masked.
    pub(super) shown: String,
    /// `sources[1].url`.
    pub(super) path: String,
    /// Where it stands.
    pub(super) line: usize,
}

impl Reader<'_> {
    /// Notes a mistake.
    pub(super) fn mistake(&mut self, line: usize, path: &str, message: impl Into<String>) {
        self.mistakes.push(Mistake::new(line, path, message));
    }

    /// Notes what is wrong with `text`, which is quoted before the message.
    pub(super) fn wrong(&mut self, text: &Text, message: &str) {
        self.mistake(text.line, &text.path, format!("\"{}\" {message}", text.shown));
    }

    /// The mapping of `field`. Keys that are not in `valid` are mistakes; with nothing in it, it is
    /// an empty one.
    pub(super) fn table<'node>(
        &mut self,
        field: &Field<'node>,
        valid: &[&str],
    ) -> Option<Table<'node>> {
        let entries = self.entries(field)?;
        for entry in entries.iter().filter(|entry| !valid.contains(&entry.key.as_str())) {
            let guess = suggestion(&entry.key, valid.iter().copied());
            let message = format!("unknown key{guess}; valid keys here: {}", valid.join(", "));
            self.mistake(entry.line, &join(&field.path, &entry.key), message);
        }
        Some(Table { path: field.path.clone(), entries })
    }

    /// The keys and values of a mapping in which any key may stand.
    pub(super) fn entries<'node>(&mut self, field: &Field<'node>) -> Option<&'node [Entry]> {
        match &field.node.value {
            Value::Mapping(entries) => Some(entries),
            Value::Null => Some(&[]),
            other => {
                let message = format!("expected keys with values, found {}", other.kind());
                self.mistake(field.line, &field.path, message);
                None
            }
        }
    }

    /// The items of a list, each with its own place.
    pub(super) fn items<'node>(&mut self, field: &Field<'node>) -> Vec<Field<'node>> {
        match &field.node.value {
            Value::Sequence(nodes) => {
                let item = |(index, node): (usize, &'node Node)| Field {
                    path: format!("{}[{index}]", field.path),
                    line: node.line,
                    node,
                };
                nodes.iter().enumerate().map(item).collect()
            }
            Value::Null => Vec::new(),
            other => {
                let message = format!("expected a list such as [a, b], found {}", other.kind());
                self.mistake(field.line, &field.path, message);
                Vec::new()
            }
        }
    }

    /// Names and texts of a mapping in which any key may stand.
    pub(super) fn text_by_name(&mut self, field: &Field<'_>) -> Vec<(String, Text)> {
        let mut texts = Vec::new();
        for entry in self.entries(field).unwrap_or_default() {
            let path = join(&field.path, &entry.key);
            let value = Field { path, line: entry.line, node: &entry.node };
            if let Some(text) = self.text(&value) {
                texts.push((entry.key.clone(), text));
            }
        }
        texts
    }

    /// A single value that is not empty.
    pub(super) fn text(&mut self, field: &Field<'_>) -> Option<Text> {
        let written = match &field.node.value {
            Value::Scalar(written) => written,
            Value::Null => {
                self.mistake(field.line, &field.path, "no value: give one, or remove the key");
                return None;
            }
            other => {
                let message = format!("expected a single value, found {}", other.kind());
                self.mistake(field.line, &field.path, message);
                return None;
            }
        };
        let value = match replace_variables(written, self.env) {
            Ok(value) => value,
            Err(message) => {
                self.mistake(field.line, &field.path, message);
                return None;
            }
        };
        if value.trim().is_empty() {
            let message = match written.trim() {
                "" => "empty: give a value, or remove the key".to_owned(),
                written => format!("{written} is empty: set the variable to a value"),
            };
            self.mistake(field.line, &field.path, message);
            return None;
        }
        let shown = masked(written.trim());
        let value = value.trim().to_owned();
        Some(Text { value, shown, path: field.path.clone(), line: field.line })
    }

    /// A duration within bounds, both included.
    pub(super) fn duration(
        &mut self,
        field: &Field<'_>,
        least: Duration,
        most: Duration,
    ) -> Option<Duration> {
        let text = self.text(field)?;
        let Some(duration) = parse_duration(&text.value) else {
            let bare = text.value.bytes().all(|byte| byte.is_ascii_digit());
            let remedy = if bare {
                format!("has no unit: write {}s for seconds", text.shown)
            } else {
                "is no duration: write whole numbers with the units d, h, m, s, ms, as in 15s, \
                 1h30m or 90d"
                    .to_owned()
            };
            self.wrong(&text, &remedy);
            return None;
        };
        if duration < least || duration > most {
            let (least, most) = (format_duration(least), format_duration(most));
            self.wrong(&text, &format!("is out of range: give a duration from {least} to {most}"));
            return None;
        }
        Some(duration)
    }

    /// A finite number.
    pub(super) fn number(&mut self, field: &Field<'_>) -> Option<(f64, Text)> {
        let text = self.text(field)?;
        match text.value.parse::<f64>() {
            Ok(number) if number.is_finite() => Some((number, text)),
            _ => {
                self.wrong(&text, "is no finite number: write one such as 1 or 0.5");
                None
            }
        }
    }

    /// The base URL of something that speaks HTTP.
    pub(super) fn http_url(&mut self, text: &Text) -> Option<Url> {
        let example = "write it as http://HOST:PORT or https://HOST";
        let url = match Url::parse(&text.value) {
            Ok(url) if matches!(url.scheme(), "http" | "https") => url,
            _ => {
                self.wrong(text, &format!("is no http or https URL: {example}"));
                return None;
            }
        };
        if url.query().is_some() || url.fragment().is_some() {
            let message = "must be a base without ? and #: paths and parameters are appended to it";
            self.wrong(text, message);
            return None;
        }
        Some(url)
    }

    /// The URL of a database.
    pub(super) fn database_url(&mut self, text: &Text) -> Option<Secret> {
        let value = &text.value;
        if let Some(path) = value.strip_prefix("sqlite://") {
            if path.split('?').next().unwrap_or_default().is_empty() {
                self.wrong(text, "names no file: write sqlite://PATH");
                return None;
            }
            return Some(Secret::new(value.as_str()));
        }
        let is_postgres = ["postgres", "postgresql"];
        match Url::parse(value) {
            Ok(url) if is_postgres.contains(&url.scheme()) => Some(Secret::new(value.as_str())),
            Ok(_) => {
                let message = "is no URL of a database that can be read: its scheme must be \
                               postgres:// or sqlite://";
                self.wrong(text, message);
                None
            }
            Err(error) => {
                let message = format!(
                    "is no URL ({error}): write postgres://USER:PASSWORD@HOST:PORT/DATABASE, \
                     special characters in the password percent-encoded, or sqlite://PATH"
                );
                self.wrong(text, &message);
                None
            }
        }
    }
}
