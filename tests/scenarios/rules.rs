//! What people run today, fed the same numbers as Headwater: a z-score rule on each signal of a
//! plain list, `(x - avg_over_time(x[W])) / stddev_over_time(x[W])` beyond 3 for three samples, for
//! a window of an hour and one of a day, as one writes it for Prometheus; counters by their rate
//! over five minutes. Knows no cause: an alarm names a signal.

use std::collections::{BTreeMap, VecDeque};

use headwater::{
    series::Time,
    values::{Name, Values},
};

/// What a dashboard of such a platform shows.
const SIGNALS: &[&str] = &[
    "devices",
    "devices_online",
    "devices_vpn_heartbeat_mismatch",
    "devices_pinned",
    "pending_updates",
    "pending_pairs",
    "updates_in_progress",
    "delta_queue",
    "delta_workers_busy",
    "delta_seconds_p95",
    "delta_requests_total",
    "delta_successes_total",
    "delta_failures_total",
    "egress_bytes_total",
    "api_requests_total",
];

/// Samples of an hour and of a day.
const WINDOWS: [usize; 2] = [240, 5_760];

/// Samples of the five minutes over which a counter's rate is taken.
const RATE_SAMPLES: usize = 20;

/// Standard deviations beyond which a value is strange, and samples for which it must be.
const LIMIT: f64 = 3.0;
const SAMPLES: u32 = 3;

/// An alarm that began.
#[derive(Clone, Debug)]
pub(super) struct Alarm {
    pub(super) at: Time,
    pub(super) signal: &'static str,
}

/// The rules, and what they said so far.
#[derive(Clone, Default)]
pub(super) struct Rules {
    watched: BTreeMap<&'static str, Watched>,
    pub(super) alarms: Vec<Alarm>,
}

#[derive(Clone, Default)]
struct Watched {
    counted: VecDeque<(Time, f64)>,
    windows: [Window; 2],
}

/// A moving window with its sums, taken from its first value on so that equal values have no
/// variance at all.
#[derive(Clone, Default)]
struct Window {
    values: VecDeque<f64>,
    offset: f64,
    sum: f64,
    squares: f64,
    strange: u32,
}

impl Rules {
    pub(super) fn observe(&mut self, at: Time, values: &Values) {
        for signal in SIGNALS {
            let value = values.get(&Name::from(*signal)).copied().filter(|it| it.is_finite());
            let Some(value) = value else { continue };
            let watched = self.watched.entry(signal).or_default();
            let Some(value) = watched.gauge(signal, at, value) else { continue };
            for (window, samples) in watched.windows.iter_mut().zip(WINDOWS) {
                if window.begins_alarm(value, samples) {
                    self.alarms.push(Alarm { at, signal });
                }
            }
        }
    }

    /// The first alarm that began between two times, both included.
    pub(super) fn first_between(&self, from: Time, to: Time) -> Option<&Alarm> {
        self.alarms.iter().find(|alarm| from <= alarm.at && alarm.at <= to)
    }
}

impl Watched {
    /// The value as a rule sees it: of a counter its rate.
    fn gauge(&mut self, signal: &str, at: Time, value: f64) -> Option<f64> {
        if !signal.ends_with("_total") {
            return Some(value);
        }
        if self.counted.back().is_some_and(|(_, before)| value < *before) {
            self.counted.clear();
        }
        self.counted.push_back((at, value));
        if self.counted.len() > RATE_SAMPLES {
            self.counted.pop_front();
        }
        let (begun, first) = *self.counted.front()?;
        let seconds = (at - begun).num_milliseconds() as f64 / 1e3;
        (seconds > 0.0).then(|| (value - first) / seconds)
    }
}

impl Window {
    fn begins_alarm(&mut self, value: f64, samples: usize) -> bool {
        if self.values.is_empty() {
            self.offset = value;
        }
        let shifted = value - self.offset;
        self.values.push_back(shifted);
        self.sum += shifted;
        self.squares += shifted * shifted;
        if self.values.len() > samples
            && let Some(oldest) = self.values.pop_front()
        {
            self.sum -= oldest;
            self.squares -= oldest * oldest;
        }
        let count = self.values.len() as f64;
        let mean = self.sum / count;
        // Rounding leaves a trace of what has gone: below it there is no variance.
        let variance = self.squares / count - mean * mean;
        let variance = if variance < 1e-12 * self.squares { 0.0 } else { variance };
        let is_strange = variance > 0.0 && (shifted - mean).abs() > LIMIT * variance.sqrt();
        self.strange = if is_strange { self.strange + 1 } else { 0 };
        self.strange == SAMPLES
    }
}

#[test]
fn a_rule_alarms_once_on_the_third_strange_sample_and_never_on_a_constant() {
    let mut window = Window::default();
    for index in 0..1_000 {
        assert!(!window.begins_alarm(5.0 + f64::from(index % 2), 240), "quiet at {index}");
    }
    let alarms: Vec<bool> = (0..6).map(|_| window.begins_alarm(9.0, 240)).collect();
    assert_eq!(alarms, [false, false, true, false, false, false]);
    let mut constant = Window::default();
    assert!((0..1_000).all(|_| !constant.begins_alarm(0.1, 240)));
}
