//! Days without an event: nobody is paged, and warnings stay within their budget.

use std::time::Instant;

use headwater::incident::Severity;

use super::stage::{DEMO, SMALL, Setting, Shape, Stage};

const SAMPLES_A_DAY: i64 = 86_400 / 15;

/// Lives through days on fleets, and says what was told. Gives (days, pages, warnings).
fn live(settings: &[(Shape, u64, i64)], days: i64) -> (f64, usize, usize) {
    let (mut lived, mut pages, mut warnings) = (0.0, 0, 0);
    for (shape, seed, hour) in settings {
        let setting = Setting::new(*shape, *seed, *hour, 0);
        let mut stage = Stage::new();
        let started = Instant::now();
        stage.play(setting.run(days * SAMPLES_A_DAY, Vec::new()));
        lived += days as f64;
        pages += stage.count(Severity::Critical);
        warnings += stage.count(Severity::Warning);
        println!(
            "{}: {days} days, {} pages, {} warnings, {} records; {:?}, {:?} in the pipeline{}",
            setting.name(),
            stage.count(Severity::Critical),
            stage.count(Severity::Warning),
            stage.incidents.len(),
            started.elapsed(),
            stage.in_pipeline,
            stage.tale(),
        );
    }
    let a_month = 30.0 / lived;
    println!(
        "{lived} fleet-days: {pages} pages ({:.1} a month), {warnings} warnings ({:.1} a month)",
        pages as f64 * a_month,
        warnings as f64 * a_month
    );
    (lived, pages, warnings)
}

#[test]
fn days_without_an_event_page_nobody() {
    let fleets = [(SMALL, 41, 0), (DEMO, 42, 6), (Shape(5_000, 100, 30), 43, 18)];
    let (days, pages, warnings) = live(&fleets, 1);
    assert_eq!(pages, 0);
    // The budget is ten a month; at its 99 % Poisson limit three days may hold four.
    assert!(warnings <= 4, "{warnings} warnings in {days} days");
}

#[test]
fn a_month_without_an_event_keeps_the_budget_of_warnings() {
    if std::env::var_os("HEADWATER_LONG").is_none() {
        println!("SKIPPED: 33 fleet-days take minutes: set HEADWATER_LONG, or tests/run --long");
        return;
    }
    let fleets = [
        (SMALL, 51, 0),
        (SMALL, 52, 9),
        (Shape(5_000, 100, 30), 53, 3),
        (Shape(5_000, 100, 30), 54, 12),
        (DEMO, 55, 6),
        (DEMO, 56, 15),
        (DEMO, 57, 22),
        (Shape(2_000, 40, 12), 58, 19),
        (Shape(50_000, 800, 120), 59, 0),
        (Shape(10_000, 200, 40), 60, 8),
        (Shape(3_000, 100, 25), 61, 17),
    ];
    let (days, pages, warnings) = live(&fleets, 3);
    assert_eq!(pages, 0);
    // Ten a month, within the 99 % Poisson limit of what 33 days may then hold.
    assert!(warnings <= 19, "{warnings} warnings in {days} days");
}
