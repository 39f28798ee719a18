//! Prints what was played as tables: each kind, and the table of what was promised. Counts with
//! their 95 % Wilson intervals.

use std::collections::BTreeMap;

use super::{
    calibration::{self, Stated},
    catalogue::{FAST, IN_FIVE_MINUTES, Kind, kinds},
    play::{Event, Played},
};

/// A share with its 95 % interval: Wilson, "Probable inference, the law of succession, and
/// statistical inference", Journal of the American Statistical Association 22 (1927).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Share {
    pub(super) of: usize,
    pub(super) share: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

pub(super) fn share(count: usize, of: usize) -> Share {
    const Z: f64 = 1.959_964;
    let (n, p) = (of as f64, count as f64 / of as f64);
    let scale = 1.0 + Z * Z / n;
    let middle = (p + Z * Z / (2.0 * n)) / scale;
    let half = Z / scale * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    Share { of, share: p, low: middle - half, high: middle + half }
}

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.of == 0 {
            return write!(f, "none were played");
        }
        let [share, low, high] = [self.share, self.low, self.high].map(|it| it * 100.0);
        write!(f, "{share:.2} % of {} ({low:.2} to {high:.2})", self.of)
    }
}

/// The figures of the promised table.
pub(super) struct Figures {
    pub(super) notified: Share,
    pub(super) right: Share,
    pub(super) look_alikes: usize,
    pub(super) look_alikes_that_page: usize,
    pub(super) look_alikes_that_warn: usize,
    pub(super) recorded: Share,
    /// Samples from a fast event to its page: median and worst.
    pub(super) fast: (i64, i64),
    /// Of what comes in batches, the same.
    pub(super) batched: (i64, i64),
    /// Events with one incident.
    pub(super) one_incident: Share,
    pub(super) incidents_an_event: f64,
    pub(super) stated: Vec<Stated>,
    /// Events and look-alikes of which a z-score rule said that a signal is strange.
    pub(super) noticed_by_rules: Share,
    pub(super) look_alikes_by_rules: Share,
}

impl Figures {
    pub(super) fn of(played: &[Played]) -> Figures {
        let (look_alikes, happened): (Vec<&Played>, Vec<&Played>) =
            played.iter().partition(|it| it.kind.is_look_alike());
        let events = || happened.iter().flat_map(|it| &it.events);
        let count = |is: fn(&&Event) -> bool| events().filter(is).count();
        let all = events().count();
        let by_rules = |these: &[&Played]| {
            share(these.iter().filter(|it| it.rule.is_some()).count(), these.len())
        };
        let recorded: Vec<bool> = look_alikes.iter().filter_map(|it| it.recorded).collect();
        let incidents: usize = happened.iter().map(|it| it.incidents).sum();
        Figures {
            notified: share(count(|it| it.notified), all),
            right: share(count(|it| it.right), all),
            look_alikes: look_alikes.len(),
            look_alikes_that_page: look_alikes.iter().filter(|it| it.pages > 0).count(),
            look_alikes_that_warn: look_alikes.iter().filter(|it| it.warnings > 0).count(),
            recorded: share(recorded.iter().filter(|it| **it).count(), recorded.len()),
            fast: delays(&happened, Kind::is_fast),
            batched: delays(&happened, Kind::is_batched),
            one_incident: share(
                happened.iter().filter(|it| it.incidents == 1).count(),
                happened.len(),
            ),
            incidents_an_event: incidents as f64 / happened.len() as f64,
            stated: played.iter().flat_map(|it| it.stated.clone()).collect(),
            noticed_by_rules: by_rules(&happened),
            look_alikes_by_rules: by_rules(&look_alikes),
        }
    }

    /// The floors of the promised table that are not reached.
    pub(super) fn missed(&self) -> Vec<&'static str> {
        let floors = [
            (self.notified.share < 1.0, "100 % of events notified"),
            (self.right.share < 0.97, "97 % of causes right"),
            (self.look_alikes_that_page > 0, "no look-alike pages"),
            (self.fast.0 > 1 || self.fast.1 > FAST, "fast events within 1 and 3 samples"),
            (self.batched.1 > IN_FIVE_MINUTES, "batches within 5 minutes"),
            (self.one_incident.share < 1.0, "one incident an event"),
        ];
        floors.into_iter().filter(|(is_missed, _)| *is_missed).map(|(_, floor)| floor).collect()
    }

    pub(super) fn print(&self) {
        let (median, worst) = self.fast;
        println!("critical and warning events notified   {}", self.notified);
        println!("top-1 cause right                      {}", self.right);
        println!(
            "look-alikes that page / warn           {} / {} of {}",
            self.look_alikes_that_page, self.look_alikes_that_warn, self.look_alikes
        );
        println!("look-alikes recorded as what they are  {}", self.recorded);
        println!("samples from a fast event to its page  median {median}, worst {worst}");
        println!(
            "samples of what comes in batches       median {}, worst {}",
            self.batched.0, self.batched.1
        );
        println!(
            "incidents an event                     {:.3}; exactly one: {}",
            self.incidents_an_event, self.one_incident
        );
        println!("z-score rules: events noticed          {}", self.noticed_by_rules);
        println!("z-score rules: look-alikes that alarm  {}", self.look_alikes_by_rules);
        calibration::print(&self.stated);
    }
}

/// Median and worst delay in samples of the kinds that `counts` names; 0 where there are none.
fn delays(played: &[&Played], counts: impl Fn(&Kind) -> bool) -> (i64, i64) {
    let counted = played.iter().filter(|it| counts(it.kind));
    let mut delays: Vec<i64> =
        counted.flat_map(|it| it.events.iter().filter_map(|event| event.samples)).collect();
    delays.sort_unstable();
    let median = delays.get(delays.len() / 2).copied().unwrap_or(0);
    (median, delays.last().copied().unwrap_or(0))
}

/// One line a kind.
pub(super) fn print_kinds(played: &[Played]) {
    println!(
        "{:42} {:>5} {:>8} {:>5} {:>6} {:>6} {:>5}  z-score rules say",
        "kind", "cases", "notified", "right", "median", "worst", "told"
    );
    for kind in kinds() {
        let cases: Vec<&Played> = played.iter().filter(|it| std::ptr::eq(it.kind, kind)).collect();
        if cases.is_empty() {
            continue;
        }
        let events = || cases.iter().flat_map(|it| &it.events);
        let notified = events().filter(|it| it.notified).count();
        let right = events().filter(|it| it.right).count();
        let of = events().count();
        let told: usize = cases.iter().map(|it| it.incidents).sum();
        let (median, worst) = delays(&cases, |_| true);
        let quiet = cases.iter().filter(|it| it.incidents == 0).count();
        let (notified, right) = if kind.is_look_alike() {
            ("-".to_owned(), format!("{quiet}/{}", cases.len()))
        } else {
            (format!("{notified}/{of}"), format!("{right}/{of}"))
        };
        println!(
            "{:42} {:>5} {notified:>8} {right:>5} {median:>6} {worst:>6} {told:>5}  {}",
            kind.name,
            cases.len(),
            rules(&cases)
        );
    }
}

/// How often a rule said something, and what it said first most often.
fn rules(cases: &[&Played]) -> String {
    let mut signals: BTreeMap<&str, usize> = BTreeMap::new();
    for signal in cases.iter().filter_map(|it| it.rule) {
        *signals.entry(signal).or_default() += 1;
    }
    let said: usize = signals.values().sum();
    let most = signals.into_iter().max_by_key(|(_, count)| *count);
    most.map_or_else(|| "nothing".to_owned(), |(signal, _)| format!("{signal}, in {said}"))
}

#[test]
fn wilsons_interval_is_that_of_the_textbooks() {
    let Share { low, high, .. } = share(81, 263);
    assert!((low - 0.2553).abs() < 5e-4 && (high - 0.3662).abs() < 5e-4, "{low} {high}");
    let Share { low, high, .. } = share(20, 20);
    assert!((low - 0.8389).abs() < 5e-4 && (high - 1.0).abs() < 1e-9, "{low} {high}");
}
