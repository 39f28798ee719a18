//! The false-alarm budgets: what each test may spend of them, and what was spent. How a share
//! becomes a threshold is `detect`'s business; how a count becomes a rate, whoever shows it.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use crate::{
    detect::{Detector, FALSE_ALARMS_PER_SAMPLE_MAX, Settings as DetectorSettings},
    diagnose::{flows::FlowKind, signatures},
    incident::{Incident, Notification, Severity},
    pipeline::{MONTH_S, Pipeline, arrival::watched_between, known},
    series::{Time, seconds},
};

/// A signal keeps its share for so long after its last value: the longer of a day …
const SHARE_KEPT: TimeDelta = TimeDelta::days(1);
/// … and this many intervals. Thresholds follow shares, so shares must not come and go with every
/// gap.
const SHARE_KEPT_INTERVALS: f64 = 100.0;

/// So often shares are counted anew, and whenever a signal is new.
const COUNTED_EVERY: TimeDelta = TimeDelta::hours(1);

/// A test of one direction spends half of what the test of both would at the same threshold.
const ONE_DIRECTION: f64 = 0.5;

/// Into how many shares the budget of warnings was divided, and when.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Shares {
    counted_at: Time,
    signals: usize,
    shares: f64,
}

/// What the whole daemon has told, and in how much time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// Seconds in which something was watched, gaps left out.
    pub watched_s: f64,
    /// First notifications that paged.
    pub pages: u64,
    /// First notifications that warned.
    pub warnings: u64,
    /// Pages of incidents that an operator rejected.
    pub pages_rejected: u64,
    /// Warnings of incidents that an operator rejected.
    pub warnings_rejected: u64,
    /// The latest sample of any source.
    latest_at: Option<Time>,
}

impl Tally {
    /// A sample was taken.
    pub(super) fn sampled(&mut self, at: Time, interval_s: f64) {
        if let Some(latest) = self.latest_at {
            self.watched_s += watched_between(latest, at, interval_s);
        }
        // A clock that was set back goes on from where it is.
        let keep = self.latest_at.filter(|latest| {
            at <= *latest && *latest - at <= seconds(SHARE_KEPT_INTERVALS * interval_s)
        });
        self.latest_at = Some(keep.unwrap_or(at));
    }

    /// People were notified.
    pub(super) fn told(&mut self, notifications: &[Notification]) {
        let (pages, warnings) = by_severity(notifications);
        self.pages += pages;
        self.warnings += warnings;
    }

    /// An operator says that an incident was none.
    pub(super) fn rejected(&mut self, incident: &Incident) {
        let (pages, warnings) = by_severity(&incident.notifications);
        self.pages_rejected += pages;
        self.warnings_rejected += warnings;
    }
}

fn by_severity(notifications: &[Notification]) -> (u64, u64) {
    let of = |severity| notifications.iter().filter(|one| one.severity == severity).count() as u64;
    (of(Severity::Critical), of(Severity::Warning))
}

/// How long one signal's detector has judged, and how often it has raised an alarm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Judged {
    /// Seconds in which it could have raised one, gaps left out.
    pub(super) seconds: f64,
    /// Alarms, those included that went away again.
    pub(super) alarms: u64,
    /// Its latest sample, whether it could judge or not.
    pub(super) latest_at: Option<Time>,
}

impl Judged {
    /// A sample went through the detector, which could alarm or not, and did or did not.
    pub(super) fn sampled(&mut self, at: Time, could: bool, alarmed: bool, interval_s: f64) {
        let since = self.latest_at.replace(at);
        if let (true, Some(since)) = (could, since) {
            self.seconds += watched_between(since, at, interval_s);
        }
        self.alarms += u64::from(alarmed);
    }
}

/// A signal's detector and its latest sample.
#[derive(Clone, Debug)]
pub struct Watching<'a> {
    /// The detector, after that sample.
    pub detector: &'a Detector,
    /// What it was told.
    pub settings: DetectorSettings,
    /// The value that it took: per second for a counter.
    pub level: f64,
}

impl Pipeline {
    /// False pages that one sample of one page-worthy test may cost, a probability.
    pub(super) fn page_alpha(&self) -> f64 {
        (self.pages_a_month_each() / self.samples_a_month()).clamp(1e-12, 0.5)
    }

    /// False pages a month that each test which can page may cost.
    pub(super) fn pages_a_month_each(&self) -> f64 {
        let tests = FlowKind::ALL.len() + signatures::paging_signals();
        self.settings.false_pages_per_month / tests as f64
    }

    /// Into how many shares the budget of warnings is divided.
    pub(super) fn warning_shares(&mut self, at: Time) -> f64 {
        let signals = self.state.signals.len();
        if let Some(known) = self.state.shares
            && known.signals == signals
            && (TimeDelta::zero()..COUNTED_EVERY).contains(&(at - known.counted_at))
        {
            return known.shares;
        }
        let shares = self.count_shares(at);
        self.state.shares = Some(Shares { counted_at: at, signals, shares });
        shares
    }

    /// A share is for a test that can warn: of a signal that was there within the last day,
    /// measured or a count of connections, without a budget of its own. What would page spends from
    /// the budget of pages.
    pub(super) fn count_shares(&self, at: Time) -> f64 {
        let kept = SHARE_KEPT.max(seconds(SHARE_KEPT_INTERVALS * self.settings.interval_s));
        let shares = self.state.signals.iter().map(|(signal, watched)| {
            let alive = watched.raw.is_some_and(|(latest, _)| at - latest <= kept);
            if !alive || !known::can_warn(signal) || signatures::can_page(signal) {
                return 0.0;
            }
            match self.settings.signals.get(&**signal) {
                Some(own) if own.false_alarms_per_month.is_some() => 0.0,
                Some(own) if own.direction.is_some() => ONE_DIRECTION,
                _ => 1.0,
            }
        });
        shares.sum::<f64>().max(ONE_DIRECTION)
    }

    /// False alarms that one sample of a signal may cost, a probability, for a test of both
    /// directions: its share of the budget, or the budget that it has of its own.
    pub(super) fn warning_alpha(&self, signal: &str, shares: f64) -> f64 {
        let own = self.settings.signals.get(signal);
        let a_month = match own.and_then(|own| own.false_alarms_per_month) {
            Some(alarms) => alarms / self.spent_share(signal),
            None if signatures::can_page(signal) => self.pages_a_month_each(),
            None => self.settings.false_warnings_per_month / shares,
        };
        (a_month / self.samples_a_month()).clamp(1e-12, FALSE_ALARMS_PER_SAMPLE_MAX)
    }

    /// The detector of a measured signal, with what it was told at its latest sample. `None` for
    /// flows, which have none.
    pub fn watching(&self, signal: &str) -> Option<Watching<'_>> {
        let watched = self.state.signals.get(signal).filter(|watched| !watched.known.is_flow)?;
        let alpha = self.warning_alpha(signal, self.state.shares?.shares);
        Some(Watching {
            detector: &watched.detector,
            settings: watched.detector_settings(signal, alpha, &self.settings),
            level: watched.status.value?,
        })
    }

    /// False alarms a month that a probability a sample amounts to.
    pub(super) fn alarms_a_month(&self, signal: &str, alpha: f64) -> f64 {
        alpha * self.samples_a_month() * self.spent_share(signal)
    }

    /// The budget of warnings of the whole daemon: the one that is shared out, and those that
    /// signals have of their own.
    pub(super) fn warnings_budget(&self) -> f64 {
        let own = self.settings.signals.iter().filter(|(signal, _)| {
            known::can_warn(signal) && self.state.signals.contains_key(signal.as_str())
        });
        let own = own.filter_map(|(_, settings)| settings.false_alarms_per_month);
        self.settings.false_warnings_per_month + own.sum::<f64>()
    }

    fn spent_share(&self, signal: &str) -> f64 {
        let own = self.settings.signals.get(signal);
        let one_direction = own.is_some_and(|own| own.direction.is_some());
        if one_direction { ONE_DIRECTION } else { 1.0 }
    }

    fn samples_a_month(&self) -> f64 {
        MONTH_S / self.settings.interval_s
    }
}
