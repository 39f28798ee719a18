//! What is wrong with a configuration, in the words that its author reads: the file, the line, the
//! key's path, the value, the remedy. Never a secret: callers mask values before they get here.

use std::{error::Error, fmt};

/// Names farther apart than this many edits are no typing error of one another.
const EDITS_MAX: usize = 3;

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// The line, counted from 1; 0 if it concerns the whole file.
    pub line: usize,
    /// The key's path (`sources[1].url`); empty if it concerns no key.
    pub path: String,
    /// What is wrong, and the remedy.
    pub message: String,
}

impl Mistake {
    /// A mistake at a line and a key.
    pub fn new(line: usize, path: impl Into<String>, message: impl Into<String>) -> Mistake {
        Mistake { line, path: path.into(), message: message.into() }
    }
}

/// Every mistake of one configuration: one line each in `Display`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file as it was named.
    pub file: String,
    /// In the order of the file; never empty.
    pub mistakes: Vec<Mistake>,
}

impl ConfigError {
    /// The mistakes of `file`, sorted by line, repetitions removed.
    pub fn new(file: &str, mut mistakes: Vec<Mistake>) -> ConfigError {
        mistakes.sort();
        mistakes.dedup();
        ConfigError { file: file.to_owned(), mistakes }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.mistakes.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            f.write_str(&self.file)?;
            if mistake.line > 0 {
                write!(f, ":{}", mistake.line)?;
            }
            f.write_str(": ")?;
            if !mistake.path.is_empty() {
                write!(f, "{}: ", mistake.path)?;
            }
            f.write_str(&mistake.message)?;
        }
        Ok(())
    }
}

impl Error for ConfigError {}

/// A key's path below another.
pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// The name that was probably meant, if one is near enough.
pub(super) fn nearest<'name>(
    written: &str,
    valid: impl IntoIterator<Item = &'name str>,
) -> Option<&'name str> {
    let distance = |name: &&str| strsim::damerau_levenshtein(&written.to_lowercase(), name);
    let near = valid.into_iter().min_by_key(distance)?;
    // Of a short word not more than a third may differ, or everything resembles everything.
    let allowed = EDITS_MAX.min(written.chars().count().max(near.len()).div_ceil(3));
    (distance(&near) <= allowed).then_some(near)
}

/// ` (did you mean "…"?)` or nothing.
pub(crate) fn suggestion<'name>(
    written: &str,
    valid: impl IntoIterator<Item = &'name str>,
) -> String {
    match nearest(written, valid) {
        Some(name) => format!(" (did you mean \"{name}\"?)"),
        None => String::new(),
    }
}
