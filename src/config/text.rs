//! Text values: `${NAME}` from the environment, masks over what may be a secret, durations. No
//! knowledge of keys.

use std::{fmt, time::Duration};

use url::Url;

/// A value that never appears in a log, a page or an error: credentials, and URLs that may hold
/// them.
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

    /// The value as a URL for people: without its password.
    pub fn masked_url(&self) -> String {
        masked(&self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// `text` with every `${NAME}` replaced by `env(NAME)` and every `$$` by a dollar; a dollar before
/// anything else stands for itself, as regular expressions in queries need it. What is put in is
/// not searched again. The error is a message without the key.
pub(super) fn replace_variables(
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<String, String> {
    let mut replaced = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        replaced.push_str(&rest[..dollar]);
        let after = &rest[dollar + 1..];
        if let Some(after_dollars) = after.strip_prefix('$') {
            replaced.push('$');
            rest = after_dollars;
        } else if let Some(opened) = after.strip_prefix('{') {
            let Some(end) = opened.find('}') else {
                return Err("`${` without `}`: write ${NAME}, or $$ for a dollar".to_owned());
            };
            let name = &opened[..end];
            if !is_variable_name(name) {
                return Err(format!(
                    "\"{name}\" is no name of a variable: a name has letters, digits and \
                     underscores; write $${{…}} for the text itself"
                ));
            }
            let Some(value) = env(name) else {
                return Err(format!(
                    "the environment variable {name} is not set: set it, or write the value here"
                ));
            };
            replaced.push_str(&value);
            rest = &opened[end + 1..];
        } else {
            replaced.push('$');
            rest = after;
        }
    }
    replaced.push_str(rest);
    Ok(replaced)
}

fn is_variable_name(name: &str) -> bool {
    let mut characters = name.chars();
    characters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && characters.all(|character| character.is_ascii_alphanumeric() || character == '_')
}

/// What hides a password.
const MASK: &str = "***";

/// `text` with the password of a URL hidden, whether or not the text is a valid URL: after the
/// scheme, everything from the first colon to the last `@`, and the values of parameters named like
/// secrets.
pub fn masked(text: &str) -> String {
    let mut shown = text.to_owned();
    if let Some(scheme_end) = shown.find("://").map(|at| at + 3)
        && let Some(at_sign) = shown[scheme_end..].rfind('@').map(|at| at + scheme_end)
    {
        match shown[scheme_end..at_sign].find(':').map(|at| at + scheme_end) {
            Some(colon) => shown.replace_range(colon + 1..at_sign, MASK),
            // Over HTTP, a name without a password is likely to be a token.
            None if shown.starts_with("http") => shown.replace_range(scheme_end..at_sign, MASK),
            None => {}
        }
    }
    for name in ["password=", "passwd=", "pwd=", "token=", "secret=", "key="] {
        let mut searched = 0;
        // Positions in the lowered text are positions in the text, for only ASCII is lowered.
        while let Some(found) = shown[searched..].to_ascii_lowercase().find(name) {
            let start = searched + found + name.len();
            let ends = |character: char| character == '&' || character.is_whitespace();
            let end = shown[start..].find(ends).map_or(shown.len(), |length| start + length);
            shown.replace_range(start..end, MASK);
            searched = start + MASK.len();
        }
    }
    shown
}

/// A URL for people: without its password.
pub fn masked_url(url: &Url) -> String {
    masked(url.as_str())
}

/// Units of durations with their milliseconds, largest first: the order in which they may stand.
const UNITS_MS: &[(&str, u64)] =
    &[("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Reads `15s`, `5m`, `1h30m`, `90d`: whole numbers with units, each unit once, the largest first.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut total_ms = 0u64;
    let mut rest = text;
    let mut units = UNITS_MS.iter();
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !character.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|character: char| character.is_ascii_digit()).unwrap_or(rest.len());
        let unit = &rest[..letters];
        rest = &rest[letters..];
        let (_, unit_ms) = units.by_ref().find(|(name, _)| *name == unit)?;
        total_ms = total_ms.checked_add(number.checked_mul(*unit_ms)?)?;
    }
    (!text.is_empty()).then(|| Duration::from_millis(total_ms))
}

/// The spelling that `parse_duration` reads; parts below a millisecond are dropped.
pub fn format_duration(duration: Duration) -> String {
    let mut rest_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (name, unit_ms) in UNITS_MS {
        // 90 days are usual, 24 hours too: a unit is used where it divides without leaving a mess.
        let count = rest_ms / unit_ms;
        if count > 0 {
            text.push_str(&format!("{count}{name}"));
            rest_ms %= unit_ms;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(name: &str) -> Option<String> {
        match name {
            "NAME" => Some("value".to_owned()),
            "NESTED" => Some("${NAME}$$".to_owned()),
            _ => None,
        }
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(replace_variables(text, &environment).as_deref(), Ok(expected));
    }

    #[test]
    fn variables_are_replaced_once_and_dollars_survive() {
        check("", "");
        check("a${NAME}b${NAME}", "avaluebvalue");
        check("$$", "$");
        check("$${NAME}", "${NAME}");
        check("$$${NAME}", "$value");
        check("up{job=~\"a.*$\"} $1 $", "up{job=~\"a.*$\"} $1 $");
        // A password that looks like a variable stays as it is.
        check("${NESTED}", "${NAME}$$");
    }

    #[test]
    fn variables_that_cannot_be_replaced_say_why() {
        let error = |text| replace_variables(text, &environment).unwrap_err();
        assert!(error("x${MISSING}").contains("environment variable MISSING is not set"));
        assert!(error("${NAME").contains("without `}`"));
        assert!(error("${}").contains("no name of a variable"));
        assert!(error("${1A}").contains("no name of a variable"));
    }

    #[test]
    fn passwords_are_masked_even_in_broken_urls() {
        for (text, expected) in [
            ("postgres://u:p@h/db", "postgres://u:***@h/db"),
            ("postgres://u:p/w@rd@h:x/db", "postgres://u:***@h:x/db"),
            ("postgres://u@h/db", "postgres://u@h/db"),
            ("https://token@h/", "https://***@h/"),
            ("postgres://h/db?user=u&password=p&a=b", "postgres://h/db?user=u&password=***&a=b"),
            ("host=h PASSWORD=p user=u", "host=h PASSWORD=*** user=u"),
            ("http://h:9090/", "http://h:9090/"),
        ] {
            assert_eq!(masked(text), expected);
        }
    }

    #[test]
    fn durations_read_and_write() {
        for (text, seconds) in [
            ("15s", 15.0),
            ("5m", 300.0),
            ("1h", 3600.0),
            ("90d", 90.0 * 86_400.0),
            ("1h30m", 5400.0),
            ("250ms", 0.25),
            ("0s", 0.0),
        ] {
            let duration = parse_duration(text).expect(text);
            assert_eq!(duration, Duration::from_secs_f64(seconds), "{text}");
            assert_eq!(format_duration(duration), text);
        }
        for text in ["", "15", "s", "1.5h", "30m1h", "1h1h", "-1s", "1 h", "99999999999999999d"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
