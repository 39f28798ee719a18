//! Nouns that every stage shares: time, and signals with their catalogue.
//! No arithmetic on values (that is `detect`), no knowledge of where a value came from (`sample`).

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

/// An instant, always in UTC. Nothing below the shell asks for the current one.
pub type Time = DateTime<Utc>;

/// A length of so many seconds, to the millisecond, as times are kept.
pub fn seconds(length_s: f64) -> TimeDelta {
    TimeDelta::milliseconds((length_s * 1e3) as i64)
}

/// How a signal's samples are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A level, read as it is.
    Gauge,
    /// A cumulative count that may restart from zero; its rate is what is watched.
    Counter,
}

impl Kind {
    /// The convention of recordings and of Prometheus: counters end in `_total`.
    pub fn of(name: &str) -> Kind {
        if name.ends_with("_total") { Kind::Counter } else { Kind::Gauge }
    }
}

/// What a counter grew by in a second between two samples. `None` if it was reset, as nobody knows
/// how far it had come, or if no time has passed.
pub fn rate((then, was): (Time, f64), (at, value): (Time, f64)) -> Option<f64> {
    if value < was || at <= then {
        return None;
    }
    let elapsed_s = (at - then).max(TimeDelta::milliseconds(1)).as_seconds_f64();
    let rate = (value - was) / elapsed_s;
    rate.is_finite().then_some(rate)
}

/// Which way a signal moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// It rose.
    Up,
    /// It fell.
    Down,
}

/// A signal that Headwater knows by name.
#[derive(Clone, Copy, Debug)]
pub struct BuiltIn {
    /// The name in recordings, metrics, API and pages.
    pub name: &'static str,
    /// Read from rows in one snapshot, hence exact: a lone leap of it is real.
    pub exact: bool,
    /// What it is about, as a signal that must be above a number for this one to have a value:
    /// the quantile of no durations is no number, and one organisation tells no owners apart.
    pub needs: Option<(&'static str, f64)>,
    /// One line for people.
    pub meaning: &'static str,
}

const fn exact(name: &'static str, meaning: &'static str) -> BuiltIn {
    BuiltIn { name, exact: true, needs: None, meaning }
}

const fn among_owners(name: &'static str, meaning: &'static str) -> BuiltIn {
    BuiltIn { name, exact: true, needs: Some(("organizations", 1.0)), meaning }
}

const fn measured(name: &'static str, meaning: &'static str) -> BuiltIn {
    BuiltIn { name, exact: false, needs: None, meaning }
}

const fn describing(work: &'static str, name: &'static str, meaning: &'static str) -> BuiltIn {
    BuiltIn { name, exact: false, needs: Some((work, 0.0)), meaning }
}

/// Deltas that end in a second in which others wait: computed from the queue and the counters.
pub const DELTA_THROUGHPUT: &str = "delta_throughput";

/// The share of failures among the deltas that end: computed from the counters.
pub const DELTA_FAILURE_RATIO: &str = "delta_failure_ratio";

/// Every signal of the `open_balena` source, then those expected from Prometheus.
pub const BUILT_IN: &[BuiltIn] = &[
    exact("devices", "devices in the database"),
    exact("applications", "applications that have devices"),
    exact("organizations", "organisations that have devices"),
    exact("devices_added", "devices that appeared since the previous sample"),
    exact("devices_removed", "devices that left since the previous sample"),
    exact("applications_devices_removed", "applications that lost devices"),
    among_owners("organizations_devices_removed", "organisations that lost devices"),
    exact("devices_online", "connected to the VPN or with an online heartbeat"),
    exact("devices_vpn_connected", "connected to the VPN"),
    exact("devices_heartbeat_online", "with an online API heartbeat"),
    exact("devices_vpn_heartbeat_mismatch", "VPN flag and heartbeat disagree"),
    exact("devices_pinned", "a pin is set"),
    exact("devices_pinned_to_running", "the pin equals the running release"),
    exact("pending_updates", "a target is set and differs from the running release"),
    exact("pending_pairs", "distinct (application, running, target) among pending"),
    exact("applications_pending", "applications with a pending update"),
    exact("updates_in_progress", "online devices that download or apply an update"),
    exact("pins_added", "devices that gained a pin since the previous sample"),
    exact("pins_removed", "devices that lost their pin since the previous sample"),
    exact("pins_moved", "devices whose pin moved to another release"),
    exact("applications_pins_added", "applications in which pins were added"),
    exact("applications_pins_removed", "applications in which pins were removed"),
    exact("applications_pins_moved", "applications in which pins moved"),
    among_owners("organizations_pins_added", "organisations in which pins were added"),
    among_owners("organizations_pins_removed", "organisations in which pins were removed"),
    among_owners("organizations_pins_moved", "organisations in which pins moved"),
    exact("application_targets_changed", "applications whose own target release changed"),
    among_owners("organizations_targets_changed", "organisations of those applications"),
    exact("devices_os_targeted", "a host OS target is set"),
    exact("os_targets_added", "devices that gained a host OS target since the previous sample"),
    exact("os_targets_removed", "devices that lost their host OS target"),
    exact("os_targets_moved", "devices whose host OS target moved to another release"),
    exact("applications_os_targets_added", "applications in which host OS targets were added"),
    exact("applications_os_targets_removed", "applications in which they were removed"),
    exact("applications_os_targets_moved", "applications in which they moved"),
    among_owners(
        "organizations_os_targets_added",
        "organisations in which host OS targets were added",
    ),
    among_owners("organizations_os_targets_removed", "organisations in which they were removed"),
    among_owners("organizations_os_targets_moved", "organisations in which they moved"),
    exact("devices_supervisor_targeted", "a supervisor target is set"),
    exact("supervisor_targets_added", "devices that gained a supervisor target"),
    exact("supervisor_targets_removed", "devices that lost their supervisor target"),
    exact("supervisor_targets_moved", "devices whose supervisor target moved"),
    exact("applications_supervisor_targets_added", "applications in which they were added"),
    exact("applications_supervisor_targets_removed", "applications in which they were removed"),
    exact("applications_supervisor_targets_moved", "applications in which they moved"),
    among_owners(
        "organizations_supervisor_targets_added",
        "organisations in which they were added",
    ),
    among_owners(
        "organizations_supervisor_targets_removed",
        "organisations in which they were removed",
    ),
    among_owners("organizations_supervisor_targets_moved", "organisations in which they moved"),
    measured("device_rows_written_total", "rows of device inserted, updated, deleted"),
    measured("delta_requests_total", "deltas asked for"),
    measured("delta_successes_total", "deltas generated"),
    measured("delta_failures_total", "deltas that failed"),
    measured("delta_queue", "delta jobs that wait"),
    measured("delta_workers_busy", "delta workers at work"),
    describing(
        "delta_successes_total",
        "delta_seconds_p95",
        "95th percentile of delta generation, seconds",
    ),
    describing("delta_queue", DELTA_THROUGHPUT, "deltas that end in a second while others wait"),
    describing("delta_successes_total", DELTA_FAILURE_RATIO, "share of the deltas that fail"),
    measured("egress_bytes_total", "bytes sent to devices"),
    measured("api_requests_total", "API requests"),
];

/// The catalogue's entry of `name`, if it has one.
pub fn built_in(name: &str) -> Option<&'static BuiltIn> {
    BUILT_IN.iter().find(|signal| signal.name == name)
}

/// What is configured of one signal.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SignalSettings {
    /// Only this direction matters.
    pub direction: Option<Direction>,
    /// Smaller changes do not matter, in the signal's unit.
    pub min_change: Option<f64>,
    /// Smaller changes do not matter, as a share of the level before.
    pub min_change_relative: Option<f64>,
    /// Smaller values are faults of the measurement, and missing.
    pub valid_min: Option<f64>,
    /// Larger values are faults of the measurement, and missing.
    pub valid_max: Option<f64>,
    /// False alarms per 30 days that this signal alone may bring, in place of its share of the
    /// budget.
    pub false_alarms_per_month: Option<f64>,
}
