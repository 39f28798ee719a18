//! Changes, causes and incidents, and how an incident lives. Pure data and transitions; who decides
//! that a cause is there is `diagnose`, who tells people is `notify`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::series::{Direction, Time};

/// What a change looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// A new level.
    Shift,
    /// A slope.
    Ramp,
    /// A deviation that went away within two samples.
    Point,
}

impl ChangeKind {
    /// Its word in the contract.
    pub fn label(self) -> &'static str {
        match self {
            ChangeKind::Shift => "shift",
            ChangeKind::Ramp => "ramp",
            ChangeKind::Point => "point",
        }
    }
}

/// A detected shift of one signal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The signal.
    pub signal: String,
    /// Its shape.
    pub kind: ChangeKind,
    /// The sample at which it was detected.
    pub detected_at: Time,
    /// The first sample of the new regime, as estimated.
    pub onset: Time,
    /// Earliest plausible onset.
    pub onset_low: Time,
    /// Latest plausible onset.
    pub onset_high: Time,
    /// Up or down.
    pub direction: Direction,
    /// The level before, in the signal's unit (per second for a counter).
    pub before: f64,
    /// The level since the onset.
    pub after: f64,
    /// The test statistic, in the unit of `threshold`.
    pub score: f64,
    /// What it had to exceed.
    pub threshold: f64,
}

/// An entry of the catalogue of causes. The ids are part of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Pins removed in many applications of many organisations.
    MassUnpin,
    /// Pins added in many applications of many organisations.
    MassPin,
    /// Pins moved to other releases in many applications of many organisations.
    MassRepin,
    /// Many applications' own targets changed.
    MassRetarget,
    /// Devices deleted in many applications of many organisations.
    MassDeletion,
    /// Delta jobs wait, and demand does not explain it.
    DeltaCapacityLoss,
    /// Delta jobs fail or do not end, and the fleet's state is as it was.
    DeltaFailure,
    /// Connected devices fell together, and stay away.
    ConnectivityLoss,
    /// The same, and they were back within minutes.
    VpnRestart,
    /// VPN flags and heartbeats part.
    StatusDrift,
    /// One owner pinned many devices.
    BulkPinByOwner,
    /// One owner unpinned many devices.
    BulkUnpinByOwner,
    /// One owner's new release makes its devices pending.
    ReleaseRollout,
    /// A signal changed and nothing known explains it.
    Unexplained,
    /// A source answers, and one of its signals has gone.
    SignalLost,
    /// The daemon itself is blind.
    SamplingLost,
}

/// How loud a cause is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Recorded and shown only.
    Info,
    /// Notifies without waking.
    Warning,
    /// Pages.
    Critical,
}

/// How far a cause reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Many organisations, or the daemon itself.
    Platform,
    /// One organisation.
    Organization,
    /// One application.
    Application,
}

impl Cause {
    /// Every cause that this version can name, in the order of the catalogue.
    pub const ALL: [Cause; 16] = [
        Cause::MassUnpin,
        Cause::MassPin,
        Cause::MassRepin,
        Cause::MassRetarget,
        Cause::MassDeletion,
        Cause::DeltaCapacityLoss,
        Cause::DeltaFailure,
        Cause::ConnectivityLoss,
        Cause::VpnRestart,
        Cause::StatusDrift,
        Cause::BulkPinByOwner,
        Cause::BulkUnpinByOwner,
        Cause::ReleaseRollout,
        Cause::Unexplained,
        Cause::SignalLost,
        Cause::SamplingLost,
    ];

    /// The id of the contract, `mass_unpin`.
    pub fn id(self) -> &'static str {
        match self {
            Cause::MassUnpin => "mass_unpin",
            Cause::MassPin => "mass_pin",
            Cause::MassRepin => "mass_repin",
            Cause::MassRetarget => "mass_retarget",
            Cause::MassDeletion => "mass_deletion",
            Cause::DeltaCapacityLoss => "delta_capacity_loss",
            Cause::DeltaFailure => "delta_failure",
            Cause::ConnectivityLoss => "connectivity_loss",
            Cause::VpnRestart => "vpn_restart",
            Cause::StatusDrift => "status_drift",
            Cause::BulkPinByOwner => "bulk_pin_by_owner",
            Cause::BulkUnpinByOwner => "bulk_unpin_by_owner",
            Cause::ReleaseRollout => "release_rollout",
            Cause::Unexplained => "unexplained",
            Cause::SignalLost => "signal_lost",
            Cause::SamplingLost => "sampling_lost",
        }
    }

    /// The cause with this id.
    pub fn from_id(id: &str) -> Option<Cause> {
        Cause::ALL.into_iter().find(|cause| cause.id() == id)
    }

    /// The `alertname` label, `MassUnpin`.
    pub fn alert_name(self) -> String {
        let mut name = String::new();
        for word in self.id().split('_') {
            let (first, rest) = word.split_at(1);
            name.push_str(&first.to_uppercase());
            name.push_str(rest);
        }
        name
    }

    /// The severity that the cause has when it opens.
    pub fn severity(self) -> Severity {
        match self {
            Cause::MassUnpin
            | Cause::MassPin
            | Cause::MassRepin
            | Cause::MassRetarget
            | Cause::MassDeletion
            | Cause::DeltaCapacityLoss
            | Cause::DeltaFailure => Severity::Critical,
            Cause::ConnectivityLoss
            | Cause::StatusDrift
            | Cause::Unexplained
            | Cause::SignalLost
            | Cause::SamplingLost => Severity::Warning,
            Cause::VpnRestart
            | Cause::BulkPinByOwner
            | Cause::BulkUnpinByOwner
            | Cause::ReleaseRollout => Severity::Info,
        }
    }

    /// Every (severity, scope) that the cause can have: the label sets of its metrics. What is
    /// announced, and what is known to be benign, is `info`, whatever it is called.
    pub fn label_sets(self) -> &'static [(Severity, Scope)] {
        match self {
            Cause::MassUnpin
            | Cause::MassPin
            | Cause::MassRepin
            | Cause::MassRetarget
            | Cause::MassDeletion
            | Cause::DeltaCapacityLoss
            | Cause::DeltaFailure => {
                &[(Severity::Critical, Scope::Platform), (Severity::Info, Scope::Platform)]
            }
            Cause::ConnectivityLoss
            | Cause::StatusDrift
            | Cause::Unexplained
            | Cause::SignalLost => {
                &[(Severity::Warning, Scope::Platform), (Severity::Info, Scope::Platform)]
            }
            Cause::VpnRestart => &[(Severity::Info, Scope::Platform)],
            Cause::SamplingLost => {
                &[(Severity::Warning, Scope::Platform), (Severity::Critical, Scope::Platform)]
            }
            Cause::BulkPinByOwner | Cause::BulkUnpinByOwner | Cause::ReleaseRollout => {
                &[(Severity::Info, Scope::Application), (Severity::Info, Scope::Organization)]
            }
        }
    }
}

impl Severity {
    /// The label value.
    pub fn label(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }
}

impl Scope {
    /// The label value.
    pub fn label(self) -> &'static str {
        match self {
            Scope::Platform => "platform",
            Scope::Organization => "organization",
            Scope::Application => "application",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// The kind of evidence that a change event is, whether it was announced or posted.
pub const EVENT: &str = "event";

/// The kind of evidence that says why nobody is notified.
const FAMILIAR: &str = "familiar";

/// A checkable fact attached to a cause.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// What kind of fact: `flow`, `statement`, `table`, `migration`, `writer`, `event`, `missing`.
    pub kind: String,
    /// The fact in a sentence, with its numbers.
    pub text: String,
}

/// Who is affected, at the onset and since.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BlastRadius {
    /// Devices whose state changed.
    pub devices: u64,
    /// In how many applications; `None` where the source does not say.
    pub applications: Option<u64>,
    /// Of how many organisations; `None` where the source does not say.
    pub organizations: Option<u64>,
    /// Pinned devices in the last good sample before the incident's first onset.
    pub pinned_before: Option<u64>,
    /// Pinned devices at the latest sample.
    pub pinned_after: Option<u64>,
    /// Devices with a pending update before, and now.
    pub pending_before: Option<u64>,
    /// Devices with a pending update at the latest sample.
    pub pending_after: Option<u64>,
    /// Devices that would start an update if every pin were cleared now, and their release pairs.
    pub pending_if_unpinned: Option<crate::fleet::Pending>,
    /// The count that the cause moved, where that is not the pinned devices.
    #[serde(default)]
    pub counted: Option<Counted>,
    /// The most affected applications, most devices first, at most ten.
    pub most_affected: Vec<Affected>,
}

/// One application among the affected.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Affected {
    /// The application's id.
    pub application: i64,
    /// Its name, as the platform spells it (untrusted text).
    pub name: String,
    /// Devices whose state changed.
    pub devices: u64,
    /// Pinned devices before the onset.
    pub pinned_before: u64,
    /// Pinned devices now.
    pub pinned_after: u64,
    /// `BlastRadius::counted` of this application.
    #[serde(default)]
    pub counted: Option<Counted>,
}

/// A count of devices before an incident's first onset and now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// What is counted.
    pub quantity: Quantity,
    /// In the last good sample before the first onset, where that is known.
    pub before: Option<u64>,
    /// At the latest sample.
    pub after: Option<u64>,
}

/// What a mass change moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// Devices with a pin.
    #[default]
    DevicesPinned,
    /// Devices.
    Devices,
    /// Devices with a host OS target.
    DevicesOsTargeted,
    /// Devices with a supervisor target.
    DevicesSupervisorTargeted,
}

impl Quantity {
    /// The signal that counts it.
    pub fn signal(self) -> &'static str {
        match self {
            Quantity::DevicesPinned => "devices_pinned",
            Quantity::Devices => "devices",
            Quantity::DevicesOsTargeted => "devices_os_targeted",
            Quantity::DevicesSupervisorTargeted => "devices_supervisor_targeted",
        }
    }

    /// `devices`, as a heading says it.
    pub fn noun(self) -> &'static str {
        match self {
            Quantity::DevicesPinned => "pinned devices",
            Quantity::Devices => "devices",
            Quantity::DevicesOsTargeted => "devices with a host OS target",
            Quantity::DevicesSupervisorTargeted => "devices with a supervisor target",
        }
    }
}

/// One cause within an incident. Its severity and scope never change: they are labels of its alert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CauseRecord {
    /// Which.
    pub cause: Cause,
    /// How loud.
    pub severity: Severity,
    /// How far.
    pub scope: Scope,
    /// First sample of the new regime.
    pub onset: Time,
    /// The sample at which it was recognised.
    pub detected_at: Time,
    /// `sampling_lost` grows from warning to critical, and an announced cause beyond what was
    /// announced: the record that replaces this one ends it earlier than its incident.
    pub superseded_at: Option<Time>,
    /// A short headline.
    pub title: String,
    /// One sentence: what, how many, where, since when, by whom. Frozen when first notified.
    pub summary: String,
    /// Evidence, explained symptoms, next step, what not to do. Frozen when first notified.
    pub description: String,
    /// The probability of this cause among its candidates, when it was recognised.
    pub probability: f64,
    /// Facts that prove it, kept up to date.
    pub evidence: Vec<Evidence>,
    /// Who is affected, kept up to date.
    pub blast_radius: BlastRadius,
    /// What to do first, and what not to do.
    pub next_steps: Vec<String>,
}

/// A changed signal that an incident's causes explain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Symptom {
    /// The signal.
    pub signal: String,
    /// Its own onset.
    pub onset: Time,
    /// Up or down.
    pub direction: Direction,
    /// Level before.
    pub before: f64,
    /// Level since.
    pub after: f64,
    /// The share of its size that its parents explain, 0..1.
    pub explained: f64,
    /// In words: by what, and how the share was computed.
    pub explanation: String,
}

/// A line of an incident's history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimelineEntry {
    /// When.
    pub at: Time,
    /// What, in a sentence.
    pub text: String,
}

/// The first notification of a cause.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notification {
    /// When it became due.
    pub at: Time,
    /// How loud.
    pub severity: Severity,
    /// Of which cause.
    pub cause: Cause,
    /// Its headline.
    pub title: String,
}

/// One cause (and earlier, joined causes), its symptoms, evidence, blast radius and timeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// URL-safe.
    pub id: String,
    /// In order of onset; never empty. The last is the current one.
    pub causes: Vec<CauseRecord>,
    /// What else it could be, with this cause, most probable first; sums to 1.
    pub candidates: Vec<(Cause, f64)>,
    /// Explained signals.
    pub symptoms: Vec<Symptom>,
    /// What happened, oldest first.
    pub timeline: Vec<TimelineEntry>,
    /// First notifications, oldest first; none for `info`.
    pub notifications: Vec<Notification>,
    /// When everything had returned, or somebody accepted it.
    pub resolved_at: Option<Time>,
    /// An operator said that this is the new normal.
    pub accepted_at: Option<Time>,
    /// An operator said that the diagnosis is wrong.
    pub rejected_at: Option<Time>,
    /// Why nobody is notified of the current cause, though it would notify by itself.
    #[serde(default)]
    pub familiar: Option<Familiar>,
    /// Since when it has been proposed to accept the present state as the new normal.
    #[serde(default)]
    pub proposes_acceptance_since: Option<Time>,
}

/// Why a cause that would notify notifies nobody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Familiar {
    /// An operator has rejected what it is like.
    Rejected {
        /// The incident that was rejected.
        incident: String,
        /// When.
        at: Time,
    },
    /// It comes at the same time again and again.
    Recurring {
        /// How often, and when, in words.
        text: String,
    },
}

impl fmt::Display for Familiar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Familiar::Rejected { incident, at } => {
                write!(f, "like incident {incident}, rejected {}", at.format("%Y-%m-%d"))
            }
            Familiar::Recurring { text } => write!(f, "expected at this time: {text}"),
        }
    }
}

impl Incident {
    /// The current cause: the last one. An incident is never without one.
    pub fn current(&self) -> &CauseRecord {
        self.causes.last().expect("an incident is built with a cause and never loses one")
    }

    /// The first cause.
    pub fn first(&self) -> &CauseRecord {
        self.causes.first().expect("an incident is built with a cause and never loses one")
    }

    /// Not resolved yet.
    pub fn is_open(&self) -> bool {
        self.resolved_at.is_none()
    }

    /// The loudest severity among its causes.
    pub fn severity(&self) -> Severity {
        self.causes.iter().map(|record| record.severity).max().unwrap_or(Severity::Info)
    }

    /// Adds a line to the history.
    pub fn note(&mut self, at: Time, text: impl Into<String>) {
        self.timeline.push(TimelineEntry { at, text: text.into() });
    }

    /// Takes back the loudness of the current cause, of which nobody was notified yet.
    pub fn quieten(&mut self, familiar: Familiar) {
        let Some(record) = self.silence() else { return };
        record.evidence.push(Evidence { kind: FAMILIAR.to_owned(), text: familiar.to_string() });
        let at = record.detected_at;
        self.note(at, format!("Nobody is notified: {familiar}."));
        self.familiar = Some(familiar);
    }

    /// Nobody is notified of the current cause, which was told to nobody yet: it is recorded.
    pub fn silence(&mut self) -> Option<&mut CauseRecord> {
        let record = self.causes.last_mut()?;
        record.severity = Severity::Info;
        let (cause, at) = (record.cause, record.detected_at);
        self.notifications.retain(|told| told.cause != cause || told.at != at);
        Some(record)
    }

    /// Another record takes the place of the current cause's, which stays as it was told.
    pub fn supersede(&mut self, at: Time, record: CauseRecord) {
        if let Some(earlier) = self.causes.last_mut() {
            earlier.superseded_at = Some(at);
        }
        self.join(record);
    }

    /// What was familiar is so no more: people are notified of the current cause after all. Its
    /// record as it was stays, and ends.
    pub fn speak_up(&mut self, at: Time, why: &str) {
        self.familiar = None;
        let mut record = self.current().clone();
        record.severity = record.cause.severity();
        record.detected_at = at;
        record.summary = format!("{} {why}", record.summary);
        record.description = format!("{why}\n\n{}", record.description);
        record.evidence.retain(|fact| fact.kind != FAMILIAR);
        record.evidence.push(Evidence { kind: "change".to_owned(), text: why.to_owned() });
        self.supersede(at, record);
    }

    /// Adds a cause, with its line in the history and its notification if it is loud enough.
    pub fn join(&mut self, record: CauseRecord) {
        self.note(record.detected_at, record.summary.clone());
        if record.severity > Severity::Info {
            self.notifications.push(Notification {
                at: record.detected_at,
                severity: record.severity,
                cause: record.cause,
                title: record.title.clone(),
            });
        }
        self.causes.push(record);
    }
}
