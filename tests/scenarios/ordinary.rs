//! Days without an event: nobody is paged, and warnings stay within their budget.

use std::time::Instant;

use headwater::{budget, incident::Severity};

use super::{
    play::each,
    stage::{DEMO, MODEST, SMALL, Setting, Shape, Stage},
};

const SAMPLES_A_DAY: i64 = 86_400 / 15;

/// What days on fleets told.
#[derive(Clone, Copy, Debug, Default)]
struct Lived {
    days: f64,
    pages: usize,
    warnings: usize,
    /// Alarms of the z-score rules.
    rules: usize,
}

/// Lives through days on a fleet, and says what was told.
fn live(setting: &Setting, days: i64) -> Lived {
    let mut stage = Stage::new();
    let started = Instant::now();
    stage.play(setting.run(days * SAMPLES_A_DAY, Vec::new()));
    let lived = Lived {
        days: days as f64,
        pages: stage.count(Severity::Critical),
        warnings: stage.count(Severity::Warning),
        rules: stage.rules.alarms.len(),
    };
    println!(
        "{}: {days} days, {} pages, {} warnings, {} records; {:?}, {:?} in the pipeline{}",
        setting.name(),
        lived.pages,
        lived.warnings,
        stage.incidents.len(),
        started.elapsed(),
        stage.in_pipeline,
        stage.tale(),
    );
    lived
}

/// Adds them up, and says how many there would be in a month.
fn sum(name: &str, all: &[Lived]) -> Lived {
    let mut sum = Lived::default();
    for lived in all {
        sum.days += lived.days;
        sum.pages += lived.pages;
        sum.warnings += lived.warnings;
        sum.rules += lived.rules;
    }
    let months = sum.days / budget::MONTH_DAYS;
    println!("{name}: {} fleet-days", sum.days);
    for (what, count) in
        [("pages", sum.pages), ("warnings", sum.warnings), ("alarms of z-score rules", sum.rules)]
    {
        let rate = budget::poisson_rate(count as u64, months);
        println!(
            "    {count} {what}: {:.1} a month ({:.1} to {:.1})",
            rate.rate, rate.low, rate.high
        );
    }
    sum
}

#[test]
fn days_without_an_event_page_nobody() {
    let settings = [(SMALL, 41, 0), (DEMO, 42, 6), (MODEST, 43, 18)]
        .map(|(shape, seed, hour)| Setting::new(shape, seed, hour, 0));
    let Lived { days, pages, warnings, .. } =
        sum("quiet", &each(&settings, |setting| live(setting, 1)));
    assert_eq!(pages, 0);
    // The budget is ten a month; at its 99 % Poisson limit three days may hold four.
    assert!(warnings <= 4, "{warnings} warnings in {days} days");
}

/// Half of them are of another nature.
fn fleets() -> Vec<(Setting, i64)> {
    let shapes = [
        (SMALL, 21),
        (Shape(2_000, 40, 12), 20),
        (Shape(3_000, 100, 25), 15),
        (MODEST, 20),
        (Shape(10_000, 200, 40), 6),
        (DEMO, 4),
        (Shape(20_000, 400, 12), 3),
        (Shape(20_000, 1_200, 900), 1),
        (Shape(50_000, 800, 120), 1),
    ];
    let fleets = shapes.iter().enumerate().flat_map(|(index, (shape, days))| {
        let setting = |seed: u64| Setting::new(*shape, seed, (seed * 7 % 24) as i64, 0);
        let seed = 300 + index as u64;
        [(setting(seed), *days), (setting(seed + 100).drawn(), *days)]
    });
    fleets.collect()
}

#[test]
fn half_a_year_of_fleets_without_an_event_keeps_the_budgets() {
    if std::env::var_os("HEADWATER_LONG").is_none() {
        println!("SKIPPED: 180 fleet-days take long: set HEADWATER_LONG, or tests/run --long");
        return;
    }
    let fleets = fleets();
    let lived = each(&fleets, |(setting, days)| live(setting, *days));
    let of = |drawn: bool| {
        let all = fleets.iter().zip(&lived);
        all.filter(|((it, _), _)| it.drawn == drawn).map(|(_, it)| *it).collect::<Vec<Lived>>()
    };
    sum("the demo's physics", &of(false));
    sum("drawn physics", &of(true));
    let Lived { days, pages, warnings, .. } = sum("all", &lived);
    assert!(days >= 180.0, "{days}");
    assert!(pages <= 1, "{pages} pages");
    // Six months: a third of the budget of ten a month.
    assert!(warnings <= 20, "{warnings} warnings");
}
