//! Words for people: exact numbers with separators, UTC times, quoted untrusted text. The sentences
//! of each cause are in `causes`; here is how their parts are spelled.

use crate::series::Time;

/// `147,773`.
pub fn count(number: i64) -> String {
    let digits = grouped(number.unsigned_abs());
    if number < 0 { format!("-{digits}") } else { digits }
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `1 device`, `2 devices`.
pub fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(number), if number == 1 { one } else { many })
}

/// `22:16:00`.
pub fn hms(at: Time) -> String {
    at.format("%H:%M:%S").to_string()
}

/// Text that somebody else wrote, on one line, without control characters, at most `max`
/// characters.
pub fn quoted(text: &str, max: usize) -> String {
    let visible = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let one_line = visible.collect::<String>();
    let words: Vec<&str> = one_line.split_whitespace().collect();
    let joined = words.join(" ");
    if joined.chars().count() <= max {
        return joined;
    }
    let mut cut: String = joined.chars().take(max.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// A level with no more digits than it needs: `21,000`, `0.25`.
pub fn level(value: f64) -> String {
    if value.abs() >= 1e18 {
        return format!("{value:e}");
    }
    if value.abs() >= 100.0 || value == value.trunc() {
        return count(value.round() as i64);
    }
    // Three significant digits.
    let magnitude = value.abs().log10().floor() as i32;
    let decimals = (2 - magnitude).clamp(0, 12) as usize;
    let rounded = format!("{value:.decimals$}");
    if decimals == 0 {
        return rounded;
    }
    rounded.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spelled_for_people() {
        assert_eq!(count(0), "0");
        assert_eq!(count(147_773), "147,773");
        assert_eq!(count(-1_000), "-1,000");
        assert_eq!(counted(1, "device", "devices"), "1 device");
        assert_eq!(counted(2_000, "device", "devices"), "2,000 devices");
        assert_eq!(level(21_000.4), "21,000");
        assert_eq!(level(0.25), "0.25");
        assert_eq!((level(99.999_999_999_999_99), level(99.7)), ("100".into(), "99.7".into()));
        assert_eq!((level(0.000_4), level(1e200)), ("0.0004".to_owned(), "1e200".to_owned()));
    }

    #[test]
    fn foreign_text_is_tamed() {
        assert_eq!(quoted("UPDATE \"device\"\n\tSET\u{7} x", 80), "UPDATE \"device\" SET x");
        assert_eq!(quoted("abcdef", 4), "abc…");
    }
}
