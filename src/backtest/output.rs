//! What a backtest prints: for people, or the contract's lines. The fields of a line are
//! `report`'s.

use std::io::{self, Write};

use super::Outcomes;
use crate::{
    budget::Rate,
    diagnose::texts::{counted, quoted},
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
            writeln!(
                output,
                "{}  {:5}  {} {} -> {}, detected {} (score {:.1}, threshold {:.1})",
                report::time_text(change.onset),
                change.kind.label(),
                quoted(&change.signal, NAME_CHARS_MAX),
                change.before,
                change.after,
                report::time_text(change.detected_at),
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
        "{} of {} in {days:.2} watched days: {}, {}, {}",
        counted(samples, "sample", "samples"),
        counted(signals, "signal", "signals"),
        counted(incidents, "incident", "incidents"),
        counted(pages, "page", "pages"),
        counted(warnings, "warning", "warnings"),
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use expect_test::expect;

    use super::*;
    use crate::{
        budget::poisson_rate,
        incident::{Change, ChangeKind},
        series::Direction,
    };

    #[test]
    fn people_read_which_kind_a_change_is_and_when_it_was_detected() {
        let change = |kind, detected_at: &str| Change {
            signal: "queue".to_owned(),
            kind,
            detected_at: detected_at.parse().unwrap(),
            onset: "2026-01-05T10:00:00Z".parse().unwrap(),
            onset_low: "2026-01-05T09:59:00Z".parse().unwrap(),
            onset_high: "2026-01-05T10:00:30Z".parse().unwrap(),
            direction: Direction::Up,
            before: 5.0,
            after: 9.25,
            score: 12.34,
            threshold: 8.5,
        };
        let rate = poisson_rate(1, 0.5);
        let outcomes = Outcomes {
            changes: vec![
                change(ChangeKind::Shift, "2026-01-05T10:01:00Z"),
                change(ChangeKind::Ramp, "2026-01-05T10:01:00Z"),
            ],
            incidents: Vec::new(),
            summary: Summary {
                samples: 86_400,
                signals: 1,
                days: 15.0,
                incidents: 0,
                pages: 1,
                warnings: 2,
                pages_per_month: rate,
                warnings_per_month: rate,
            },
            budgets: (1.0, 10.0),
            irregularities: BTreeMap::new(),
        };
        let mut written = Vec::new();
        text(&mut written, &outcomes, true).unwrap();
        expect![[r#"
            2026-01-05T10:00:00Z  shift  queue 5 -> 9.25, detected 2026-01-05T10:01:00Z (score 12.3, threshold 8.5)
            2026-01-05T10:00:00Z  ramp   queue 5 -> 9.25, detected 2026-01-05T10:01:00Z (score 12.3, threshold 8.5)
            86,400 samples of 1 signal in 15.00 watched days: 0 incidents, 1 page, 2 warnings
            pages a month: 2.00 (95 % interval 0.05 to 11.14); the budget of false ones is 1
            warnings a month: 2.00 (95 % interval 0.05 to 11.14); the budget of false ones is 10
        "#]]
        .assert_eq(&String::from_utf8(written).unwrap());
    }
}
