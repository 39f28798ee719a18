//! Numbers, times and untrusted text as people read them.

use chrono::TimeDelta;
use maud::{Markup, html};

use crate::{report::time_text, series::Time};

/// Untrusted text is cut after so many characters; the API has all of it.
const TEXT_MAX: usize = 2_000;

/// A count with separators: `147,773`.
pub(super) fn count(count: u64) -> String {
    grouped(&count.to_string())
}

/// A count, or that it is not known.
pub(super) fn count_if_known(number: Option<u64>) -> String {
    number.map_or_else(|| "not known".to_owned(), count)
}

/// A number of any size: whole ones in full, others with about four digits.
pub(super) fn number(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let magnitude = value.abs();
    if magnitude >= 1e15 || (magnitude > 0.0 && magnitude < 1e-3) {
        return format!("{value:.3e}");
    }
    let decimals = if magnitude >= 1_000.0 {
        0
    } else if magnitude >= 100.0 {
        1
    } else if magnitude >= 10.0 {
        2
    } else {
        3
    };
    let text = format!("{magnitude:.decimals$}");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let fraction = fraction.trim_end_matches('0');
    let sign = if value < 0.0 { "−" } else { "" };
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{}{point}{fraction}", grouped(whole))
}

/// A number, or a dash for a missing one.
pub(super) fn number_if_known(value: Option<f64>) -> String {
    number(value.unwrap_or(f64::NAN))
}

/// A share as a whole percentage that never claims certainty or impossibility by rounding.
pub(super) fn percent(share: f64) -> String {
    let rounded = (share * 100.0).round();
    if rounded >= 100.0 && share < 1.0 {
        "> 99 %".to_owned()
    } else if rounded <= 0.0 && share > 0.0 {
        "< 1 %".to_owned()
    } else {
        format!("{rounded} %")
    }
}

fn grouped(digits: &str) -> String {
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// An instant to the second: `2019-09-23 22:14:00 UTC`.
pub(super) fn instant(at: Time) -> Markup {
    html! { time datetime=(time_text(at)) { (at.format("%Y-%m-%d %H:%M:%S UTC")) } }
}

/// An instant, and how long ago it is.
pub(super) fn since(at: Time, now: Time) -> Markup {
    html! { (instant(at)) " (" (span(now - at)) ")" }
}

/// A duration in its two largest units: `2 h 26 min`.
pub(super) fn span(duration: TimeDelta) -> String {
    let seconds = duration.num_seconds().max(0);
    let (days, hours) = (seconds / 86_400, seconds / 3_600 % 24);
    let (minutes, seconds) = (seconds / 60 % 60, seconds % 60);
    let units = [(days, "d"), (hours, "h"), (minutes, "min"), (seconds, "s")];
    let largest = units.iter().position(|(amount, _)| *amount > 0).unwrap_or(units.len() - 1);
    let shown = units.iter().skip(largest).take(2).filter(|(amount, _)| *amount > 0);
    let words: Vec<_> = shown.map(|(amount, unit)| format!("{amount} {unit}")).collect();
    if words.is_empty() { "0 s".to_owned() } else { words.join(" ") }
}

/// Untrusted text of one line, with what would reorder or hide its surroundings made visible.
pub(super) fn visible(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(TEXT_MAX)
        .map(|character| if is_harmful(character) { '\u{fffd}' } else { character })
        .collect();
    if text.chars().nth(TEXT_MAX).is_some() {
        shown.push('…');
    }
    shown
}

/// Control characters, and the explicit bidirectional ones.
fn is_harmful(character: char) -> bool {
    (character.is_control() && character != '\n' && character != '\t')
        || matches!(character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_short() {
        let shown =
            [0.0, 147_773.0, -1_234_567.0, 0.123_456, 12.346, 461_234.7, 5e-7, 1e21, f64::NAN];
        let shown = shown.map(number);
        let wanted = [
            "0",
            "147,773",
            "−1,234,567",
            "0.123",
            "12.35",
            "461,235",
            "5.000e-7",
            "1.000e21",
            "–",
        ];
        assert_eq!(shown, wanted);
        assert_eq!([0, 999, 1_000, 400_000].map(count), ["0", "999", "1,000", "400,000"]);
    }

    #[test]
    fn shares_do_not_round_to_certainty() {
        assert_eq!(
            [0.0, 0.001, 0.5, 0.97, 0.999, 1.0].map(percent),
            ["0 %", "< 1 %", "50 %", "97 %", "> 99 %", "100 %"]
        );
    }

    #[test]
    fn spans_have_two_units() {
        let shown = [-5, 0, 59, 60, 8_760, 86_400, 180_061].map(|s| span(TimeDelta::seconds(s)));
        assert_eq!(shown, ["0 s", "0 s", "59 s", "1 min", "2 h 26 min", "1 d", "2 d 2 h"]);
    }

    #[test]
    fn text_cannot_reorder_the_page() {
        assert_eq!(visible("gnp.\u{202e}exe\u{0}"), "gnp.\u{fffd}exe\u{fffd}");
        assert_eq!(visible("مرحبا"), "مرحبا", "a name in Arabic is as good as any");
        assert_eq!(visible(&"x".repeat(TEXT_MAX + 1)).chars().count(), TEXT_MAX + 1);
    }
}
