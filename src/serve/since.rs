//! Times as people type them.

use anyhow::{Context, Result, bail};
use chrono::TimeDelta;

use crate::{config, recording, series::Time};

/// Reads an instant: RFC 3339, `YYYY-MM-DD hh:mm:ss` (or only the date) in UTC, Unix seconds, or a
/// duration (`90s`, `30m`, `24h`, `7d`, `2w`) before `now`.
pub fn parse(text: &str, now: Time) -> Result<Time> {
    let text = text.trim();
    if let Some(at) = recording::parse_time(text) {
        return Ok(at);
    }
    if let Some(ago) = duration(text) {
        return now
            .checked_sub_signed(ago)
            .with_context(|| format!("the time {text:?} is out of range"));
    }
    bail!(
        "{text:?} is not a time: write 2019-09-23T22:14:00Z, \"2019-09-23 22:14:00\", Unix \
         seconds, or how long ago, as in 24h"
    )
}

/// As in the configuration, and in weeks.
fn duration(text: &str) -> Option<TimeDelta> {
    let weeks = text.strip_suffix('w').and_then(|weeks| weeks.parse::<i64>().ok());
    if let Some(weeks) = weeks.filter(|weeks| *weeks >= 0) {
        return TimeDelta::try_weeks(weeks);
    }
    TimeDelta::from_std(config::parse_duration(text)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::time_text;

    #[track_caller]
    fn check(text: &str, wanted: &str) {
        let now = "2019-09-24T00:42:00Z".parse().unwrap();
        let got = parse(text, now).map(time_text).unwrap_or_else(|error| error.to_string());
        assert_eq!(got, wanted, "{text}");
    }

    #[test]
    fn times_are_read_in_every_spelling() {
        check("2019-09-23T22:14:00Z", "2019-09-23T22:14:00Z");
        check("2019-09-24T00:14:00+02:00", "2019-09-23T22:14:00Z");
        check(" 2019-09-23 22:14:00.250 ", "2019-09-23T22:14:00.250Z");
        check("2019-09-23", "2019-09-23T00:00:00Z");
        check("1569276840", "2019-09-23T22:14:00Z");
        check("1569276840.5", "2019-09-23T22:14:00.500Z");
        check("24h", "2019-09-23T00:42:00Z");
        check("90s", "2019-09-24T00:40:30Z");
        check("2w", "2019-09-10T00:42:00Z");
    }

    #[test]
    fn what_is_no_time_is_refused_with_examples() {
        for text in ["", "1e300", "NaN", "yesterday", "24", "h", "-3h", "5y", "99999999999999999w"]
        {
            let now = "2019-09-24T00:42:00Z".parse().unwrap();
            match parse(text, now) {
                Ok(at) => assert_eq!((text, time_text(at)), ("24", "1970-01-01T00:00:24Z".into())),
                Err(error) => assert!(format!("{error}").contains("24h"), "{text}: {error}"),
            }
        }
    }
}
