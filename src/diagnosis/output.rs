//! What `diagnose` prints: a table for people, or the contract's one object.

use std::io::{self, Write};

use crate::{
    diagnose::{
        rank::Ranked,
        texts::{level, quoted},
    },
    report::{self, RankingJson},
    series::Time,
};

/// A signal's name on a terminal: any characters may stand in it.
const NAME_CHARS_MAX: usize = 60;

/// So many causes are worth reading; the others are in the JSON.
const ROWS_MAX: usize = 10;

/// One object with every column.
pub(super) fn json(output: &mut impl Write, ranking: &[Ranked]) -> io::Result<()> {
    let ranking = RankingJson::of(ranking);
    writeln!(output, "{}", report::line(&ranking))
}

/// The first columns that moved and are not explained away.
pub(super) fn text(output: &mut impl Write, ranking: &[Ranked], at: Time) -> io::Result<()> {
    let likely: Vec<&Ranked> = ranking.iter().filter(|one| one.score > 0.0).collect();
    let at = report::time_text(at);
    if likely.is_empty() {
        return writeln!(output, "no column moved around {at} beyond what explains it");
    }
    writeln!(output, "likely causes of what happened around {at}, the likeliest first:")?;
    let shown = &likely[..likely.len().min(ROWS_MAX)];
    let names: Vec<String> = shown.iter().map(|one| quoted(&one.signal, NAME_CHARS_MAX)).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    writeln!(output, "    score  {:20}  {:width$}  moved", "onset", "signal")?;
    for ((place, one), name) in (1..).zip(shown).zip(&names) {
        let Some(moved) = one.moved else { continue };
        write!(
            output,
            "{place:2}  {:5.2}  {:20}  {name:width$}  {} -> {}",
            one.score,
            report::time_text(moved.onset),
            level(moved.before),
            level(moved.after),
        )?;
        if one.explained > 0.0 {
            write!(output, " ({:.0} % explained)", one.explained * 100.0)?;
        }
        writeln!(output)?;
    }
    let left = likely.len() - shown.len();
    if left > 0 {
        writeln!(output, "and {left} more, with less: see --format json")?;
    }
    Ok(())
}
