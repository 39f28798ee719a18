//! What a backtest prints: for people, or the contract's lines. The fields of a line are
//! `report`'s.

use std::io::{self, Write};

use super::Outcomes;
use crate::{
    budget::Rate,
    diagnose::texts::quoted,
    report::{self, Summary},
};

/// A signal's name on a terminal: any characters may stand in it.
const NAME_CHARS_MAX: usize = 120;

/// One JSON object a line: changes and incidents in the order of their detection, then the summary.
pub(super) fn json(
    output: &mut impl Write,
    outcomes: &Outcomes,
    with_changes: bool,
) -> io::Result<()> {
    let mut changes = outcomes.changes.iter().filter(|_| with_changes).peekable();
    for incident in &outcomes.incidents {
        let detected_at = incident.first().detected_at;
        while let Some(change) = changes.next_if(|change| change.detected_at <= detected_at) {
            writeln!(output, "{}", report::line(&report::change_json(change)))?;
        }
        writeln!(output, "{}", report::line(&report::incident_json(incident)))?;
    }
    for change in changes {
        writeln!(output, "{}", report::line(&report::change_json(change)))?;
    }
    writeln!(output, "{}", report::line(&report::summary_json(outcomes.summary)))
}

pub(super) fn text(
    output: &mut impl Write,
    outcomes: &Outcomes,
    with_changes: bool,
) -> io::Result<()> {
    if with_changes {
        for change in &outcomes.changes {
            let time = report::time_text(change.onset);
            writeln!(
                output,
                "{time}  {} {} -> {} (score {:.1}, threshold {:.1})",
                quoted(&change.signal, NAME_CHARS_MAX),
                change.before,
                change.after,
                change.score,
                change.threshold
            )?;
        }
    }
    for incident in &outcomes.incidents {
        for record in &incident.causes {
            let detected_at = report::time_text(record.detected_at);
            let severity = record.severity.label();
            writeln!(output, "{detected_at}  {severity:8}  {}  {}", record.cause, record.summary)?;
        }
        for symptom in &incident.symptoms {
            let percent = symptom.explained * 100.0;
            let onset = report::time_text(symptom.onset);
            writeln!(
                output,
                "{onset}    symptom   {} ({percent:.0} % explained)",
                quoted(&symptom.signal, NAME_CHARS_MAX)
            )?;
        }
        if let Some(at) = incident.resolved_at {
            writeln!(output, "{}    resolved", report::time_text(at))?;
        }
    }
    let Summary { samples, signals, days, incidents, pages, warnings, .. } = outcomes.summary;
    writeln!(
        output,
        "{samples} samples of {signals} signals over {days:.2} days: {incidents} incidents, {pages} \
         pages, {warnings} warnings"
    )?;
    let Summary { pages_per_month, warnings_per_month, .. } = outcomes.summary;
    let (pages_budget, warnings_budget) = outcomes.budgets;
    for (what, achieved, budget) in [
        ("pages", pages_per_month, pages_budget),
        ("warnings", warnings_per_month, warnings_budget),
    ] {
        if let Some(rate) = rate_text(achieved) {
            writeln!(output, "{what} a month: {rate}; the budget of false ones is {budget}")?;
        }
    }
    Ok(())
}

/// Nothing where nothing can be said: a recording of one instant.
fn rate_text(achieved: Rate) -> Option<String> {
    let Rate { rate, low, high } = achieved;
    rate.is_finite().then(|| format!("{rate:.2} (95 % interval {low:.2} to {high:.2})"))
}
