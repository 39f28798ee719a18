//! Flows of pins, targets and devices: read from a sample's values (and, live, from its cohorts),
//! and judged by their breadth as ordinary, as an owner's own act, or as a fault of the platform.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use crate::{
    diagnose::{
        breadth::{Bound, BreadthHistory, Question},
        ledger::Written,
        order::chance_of_order,
        owner::ActHistory,
    },
    fleet::{ApplicationFlow, Flows, Snapshot},
    incident::{Cause, Quantity},
    series::{Time, seconds},
    values::Values,
};

/// Windows of 1, 2, 4, … samples up to this many are looked at, so that an act in batches that
/// touch a few organisations each is seen as well. About an hour at the default interval.
pub const WINDOW_SAMPLES_MAX: usize = 256;

/// What flows have in common of which one can be the sequel, or the way back, of another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Family {
    /// Devices' pins.
    #[default]
    Pins,
    /// Applications' own targets.
    Targets,
    /// The devices themselves.
    Devices,
    /// Devices' host OS targets.
    HostOs,
    /// Devices' supervisor targets.
    Supervisor,
}

/// What happened to what flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// There is more of it.
    Added,
    /// There is less.
    Removed,
    /// It points elsewhere.
    Moved,
}

impl Family {
    /// The flows in it.
    pub fn kinds(self) -> impl Iterator<Item = FlowKind> {
        FlowKind::ALL.into_iter().filter(move |kind| kind.family() == self)
    }

    /// The flow in it that goes this way.
    pub fn going(self, way: Way) -> Option<FlowKind> {
        self.kinds().find(|kind| kind.way() == Some(way))
    }
}

/// The quantities that can be mass-changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum FlowKind {
    /// Devices that gained a pin.
    Added,
    /// Devices that lost theirs.
    Removed,
    /// Devices whose pin moved to another release.
    Moved,
    /// Applications whose own target changed.
    Retargeted,
    /// Devices that were deleted.
    Deleted,
    /// Devices that gained a host OS target.
    HostOsAdded,
    /// Devices that lost theirs.
    HostOsRemoved,
    /// Devices whose host OS target moved to another release.
    HostOsMoved,
    /// Devices that gained a supervisor target.
    SupervisorAdded,
    /// Devices that lost theirs.
    SupervisorRemoved,
    /// Devices whose supervisor target moved to another release.
    SupervisorMoved,
}

impl FlowKind {
    /// All of them.
    pub const ALL: [FlowKind; 11] = [
        FlowKind::Added,
        FlowKind::Removed,
        FlowKind::Moved,
        FlowKind::Retargeted,
        FlowKind::Deleted,
        FlowKind::HostOsAdded,
        FlowKind::HostOsRemoved,
        FlowKind::HostOsMoved,
        FlowKind::SupervisorAdded,
        FlowKind::SupervisorRemoved,
        FlowKind::SupervisorMoved,
    ];

    /// What it is a flow of.
    pub fn family(self) -> Family {
        match self {
            FlowKind::Added | FlowKind::Removed | FlowKind::Moved => Family::Pins,
            FlowKind::Retargeted => Family::Targets,
            FlowKind::Deleted => Family::Devices,
            FlowKind::HostOsAdded | FlowKind::HostOsRemoved | FlowKind::HostOsMoved => {
                Family::HostOs
            }
            FlowKind::SupervisorAdded | FlowKind::SupervisorRemoved | FlowKind::SupervisorMoved => {
                Family::Supervisor
            }
        }
    }

    /// Which way it goes; `None` for applications' own targets, which are told apart no further.
    pub fn way(self) -> Option<Way> {
        match self {
            FlowKind::Added | FlowKind::HostOsAdded | FlowKind::SupervisorAdded => Some(Way::Added),
            FlowKind::Removed
            | FlowKind::Deleted
            | FlowKind::HostOsRemoved
            | FlowKind::SupervisorRemoved => Some(Way::Removed),
            FlowKind::Moved | FlowKind::HostOsMoved | FlowKind::SupervisorMoved => Some(Way::Moved),
            FlowKind::Retargeted => None,
        }
    }

    /// The signals of (size, applications, organisations).
    pub fn signals(self) -> [&'static str; 3] {
        macro_rules! of {
            ($flow:literal) => {
                [$flow, concat!("applications_", $flow), concat!("organizations_", $flow)]
            };
        }
        match self {
            FlowKind::Added => of!("pins_added"),
            FlowKind::Removed => of!("pins_removed"),
            FlowKind::Moved => of!("pins_moved"),
            FlowKind::Retargeted => [
                "application_targets_changed",
                "application_targets_changed",
                "organizations_targets_changed",
            ],
            FlowKind::Deleted => of!("devices_removed"),
            FlowKind::HostOsAdded => of!("os_targets_added"),
            FlowKind::HostOsRemoved => of!("os_targets_removed"),
            FlowKind::HostOsMoved => of!("os_targets_moved"),
            FlowKind::SupervisorAdded => of!("supervisor_targets_added"),
            FlowKind::SupervisorRemoved => of!("supervisor_targets_removed"),
            FlowKind::SupervisorMoved => of!("supervisor_targets_moved"),
        }
    }

    /// What it is called when many organisations are hit: the same for each kind of target that a
    /// device has of its own.
    pub fn mass_cause(self) -> Cause {
        match (self.family(), self.way()) {
            (Family::Devices, _) => Cause::MassDeletion,
            (Family::Targets, _) | (_, None) => Cause::MassRetarget,
            (_, Some(Way::Added)) => Cause::MassPin,
            (_, Some(Way::Removed)) => Cause::MassUnpin,
            (_, Some(Way::Moved)) => Cause::MassRepin,
        }
    }

    /// What it is called when one owner acts; `None` where that is nothing to speak of.
    pub fn owner_cause(self) -> Option<Cause> {
        match (self.family(), self.way()) {
            (Family::Devices, _) => None,
            (Family::Targets, _) | (_, None) => Some(Cause::ReleaseRollout),
            (_, Some(Way::Added | Way::Moved)) => Some(Cause::BulkPinByOwner),
            (_, Some(Way::Removed)) => Some(Cause::BulkUnpinByOwner),
        }
    }

    /// The count that it moves; that of pins stands in for applications' targets, of which there is
    /// none.
    pub fn quantity(self) -> Quantity {
        match self.family() {
            Family::Pins | Family::Targets => Quantity::DevicesPinned,
            Family::Devices => Quantity::Devices,
            Family::HostOs => Quantity::DevicesOsTargeted,
            Family::Supervisor => Quantity::DevicesSupervisorTargeted,
        }
    }

    /// Whether owners who act for themselves may all do so at one time, for a reason that they
    /// share: releases are shipped when what they are built on is mended, or before a date. How
    /// many ship within the hour then says nothing of the platform.
    pub fn is_shared(self) -> bool {
        self.family() == Family::Targets
    }

    /// What a statement writes to bring it about.
    pub fn written(self) -> Written<'static> {
        match self.family() {
            Family::Pins => Written::Column("is pinned on-release"),
            Family::Targets => Written::Elsewhere,
            Family::Devices => Written::Deletion,
            Family::HostOs => Written::Column("should be operated by-release"),
            Family::Supervisor => Written::Column("should be managed by-release"),
        }
    }

    fn amount(self, flow: &ApplicationFlow) -> u64 {
        match self {
            FlowKind::Added => flow.pins_added,
            FlowKind::Removed => flow.pins_removed,
            FlowKind::Moved => flow.pins_moved,
            FlowKind::Retargeted => u64::from(flow.target_changed),
            FlowKind::Deleted => flow.devices_deleted,
            FlowKind::HostOsAdded => flow.host_os.added,
            FlowKind::HostOsRemoved => flow.host_os.removed,
            FlowKind::HostOsMoved => flow.host_os.moved,
            FlowKind::SupervisorAdded => flow.supervisor.added,
            FlowKind::SupervisorRemoved => flow.supervisor.removed,
            FlowKind::SupervisorMoved => flow.supervisor.moved,
        }
    }
}

/// One flow in one sample.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FlowSample {
    /// The sample.
    pub at: Time,
    /// The previous present sample.
    pub since: Time,
    /// Intervals between the two, at least 1.
    pub intervals: f64,
    /// Devices (applications for `Retargeted`).
    pub amount: u64,
    /// In how many applications, where that is known.
    pub applications: Option<u64>,
    /// In how many organisations, where that is known.
    pub organizations: Option<u64>,
    /// Every device that could take part did, but for those beyond reach.
    pub is_total: bool,
    /// Live only: application, owner, amount.
    pub by_application: Vec<(i64, i64, u64)>,
    /// Of applications whose own target changed, live: what it was.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub targets_before: BTreeMap<i64, Option<i64>>,
}

/// What the previous and the present sample say, as far as flows are concerned.
#[derive(Clone, Copy, Debug)]
pub struct Samples<'a> {
    /// The present sample.
    pub at: Time,
    /// The previous present one.
    pub since: Time,
    /// Seconds between two samples.
    pub interval_s: f64,
    /// Signals of the previous present sample.
    pub before: &'a Values,
    /// Signals of this one.
    pub now: &'a Values,
    /// The flows by application, live.
    pub flows: Option<&'a Flows>,
    /// The cohorts of the previous present sample, live.
    pub cohorts_before: Option<&'a Snapshot>,
}

impl FlowSample {
    /// Reads a flow. A recording without flow columns still has the net change of `devices_pinned`
    /// and of `devices`.
    pub fn read(kind: FlowKind, samples: Samples<'_>) -> Option<FlowSample> {
        let value = |name: &str| samples.now.get(name).copied();
        let [amount, applications, organizations] = kind.signals().map(value);
        let amount = amount.or_else(|| net_flow(kind, samples))?;
        let elapsed_s = (samples.at - samples.since).as_seconds_f64();
        let mut by_application = Vec::new();
        for (id, flow) in samples.flows.iter().flat_map(|flows| &flows.applications) {
            if kind.amount(flow) > 0 {
                // Where organisations do not tell owners apart, applications stand in for them.
                let owner = if organizations.is_some() { flow.organization } else { *id };
                by_application.push((*id, owner, kind.amount(flow)));
            }
        }
        let count = |value: Option<f64>| value.map(|value| value.max(0.0) as u64);
        let targets_before = match (kind, samples.cohorts_before) {
            (FlowKind::Retargeted, Some(before)) => targets_of(before, &by_application),
            _ => BTreeMap::new(),
        };
        Some(FlowSample {
            at: samples.at,
            since: samples.since,
            intervals: (elapsed_s / samples.interval_s).max(1.0),
            amount: amount.max(0.0) as u64,
            applications: count(applications),
            organizations: count(organizations),
            is_total: amount >= 1.0 && is_total(kind, samples),
            by_application,
            targets_before,
        })
    }

    /// Live: the owner that moved most, and how much.
    pub fn largest_owner(&self) -> Option<(i64, u64)> {
        let mut owners: BTreeMap<i64, u64> = BTreeMap::new();
        for (_, owner, amount) in &self.by_application {
            *owners.entry(*owner).or_insert(0) += amount;
        }
        owners.into_iter().max_by_key(|(owner, amount)| (*amount, std::cmp::Reverse(*owner)))
    }

    /// Organisations, or where they are not known, applications: the breadth that there is.
    pub fn breadth(&self) -> Option<u64> {
        self.organizations.or(self.applications)
    }
}

/// Where these applications' own targets point to.
fn targets_of(snapshot: &Snapshot, applications: &[(i64, i64, u64)]) -> BTreeMap<i64, Option<i64>> {
    let known = applications
        .iter()
        .filter_map(|(id, _, _)| snapshot.applications.get(id).map(|found| (*id, found.target)));
    known.collect()
}

fn net_flow(kind: FlowKind, samples: Samples<'_>) -> Option<f64> {
    let count = kind.quantity().signal();
    let rise = samples.now.get(count)? - samples.before.get(count)?;
    match kind.way()? {
        Way::Added => Some(rise.max(0.0)),
        Way::Removed => Some((-rise).max(0.0)),
        Way::Moved => None,
    }
}

/// The part of the fleet that no statement over all of it reaches: a device that runs nothing, or a
/// deleted release, cannot be pinned to what it runs. The share is that of the declared prior.
const BEYOND_REACH_SHARE: f64 = 0.02;

fn is_total(kind: FlowKind, samples: Samples<'_>) -> bool {
    let count = |values: &Values| values.get(kind.quantity().signal()).copied();
    match (kind.way(), count(samples.before), count(samples.now), samples.now.get("devices")) {
        (Some(Way::Removed), Some(before), Some(now), _) => {
            before > 0.0 && now < before && now <= before * BEYOND_REACH_SHARE
        }
        (Some(Way::Added), Some(before), Some(now), Some(devices)) => {
            let whole = devices * (1.0 - BEYOND_REACH_SHARE);
            before < whole && now >= whole
        }
        _ => false,
    }
}

/// What a flow is held to be.
#[derive(Clone, Debug, PartialEq)]
pub enum Judgement {
    /// Nothing moved, or nothing worth a word.
    Ordinary,
    /// One owner's act that stands out.
    Owner,
    /// More organisations than act for themselves.
    Platform(Platform),
}

/// Why a flow is held to be a fault of the platform.
#[derive(Clone, Debug, PartialEq)]
pub struct Platform {
    /// First sample of the window in which too many acted.
    pub onset: Time,
    /// The sample before it.
    pub quiet_at: Time,
    /// Organisations (or applications) in the window.
    pub breadth: u64,
    /// What would have been ordinary.
    pub bound: Bound,
    /// The probability of a platform fault against owners acting for themselves.
    pub probability: f64,
    /// The flow within the window, application by application; empty in a recording.
    pub by_application: BTreeMap<i64, u64>,
    /// Whose these applications are.
    pub owners: BTreeMap<i64, i64>,
    /// Where the targets that changed within the window pointed before it, live.
    pub targets_before: BTreeMap<i64, Option<i64>>,
    /// Its amount within the window.
    pub amount: u64,
}

/// What is remembered of one kind of flow.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FlowHistory {
    breadth: BreadthHistory,
    acts: ActHistory,
    /// Recent samples in which something moved, oldest first.
    recent: VecDeque<FlowSample>,
}

/// What a judgement needs beside the flow itself.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances {
    /// False pages that one sample of this kind may cost.
    pub alpha: f64,
    /// Seconds between two samples.
    pub interval_s: f64,
    /// Organisations on the platform, where known.
    pub organizations: Option<u64>,
    /// Organisations that could take part, where known.
    pub eligible: Option<u64>,
    /// What the largest owner's act is measured by, if it is not the whole amount: live, that
    /// owner's devices; for `Retargeted`, the devices that became pending.
    pub weight: Option<u64>,
    /// Whether owners may act together without being made to: `FlowKind::is_shared`.
    pub shared: bool,
}

impl FlowHistory {
    /// The bound for a single sample, as `/signals` shows it.
    pub fn bound(&self, circumstances: Circumstances) -> Bound {
        self.breadth.bound(question(circumstances, 0, 1.0))
    }

    /// Judges a flow of an ordinary time, and learns from it unless it is a fault of the platform.
    pub fn judge(&mut self, sample: &FlowSample, circumstances: Circumstances) -> Judgement {
        self.forget_old(sample.at, circumstances.interval_s);
        if sample.amount > 0 {
            self.recent.push_back(sample.clone());
            if let Some(platform) = self.platform(sample, circumstances) {
                self.clear_recent();
                return Judgement::Platform(platform);
            }
        }
        if let Some(breadth) = sample.breadth() {
            self.breadth.observe(breadth, sample.intervals);
        }
        let size = circumstances.weight.unwrap_or(sample.amount);
        let stands_out = self.acts.stands_out(sample.at, size, circumstances.interval_s);
        if stands_out && sample.amount > 0 { Judgement::Owner } else { Judgement::Ordinary }
    }

    /// Whether a flow is platform-wide, during an incident: nothing is learned from it.
    pub fn platform_wide(
        &mut self,
        sample: &FlowSample,
        circumstances: Circumstances,
    ) -> Option<Platform> {
        self.forget_old(sample.at, circumstances.interval_s);
        self.recent.push_back(sample.clone());
        self.platform(sample, circumstances)
    }

    /// Forgets recent samples: what they held belongs to an incident now.
    pub fn clear_recent(&mut self) {
        self.recent.clear();
    }

    fn forget_old(&mut self, at: Time, interval_s: f64) {
        let horizon_s = interval_s * WINDOW_SAMPLES_MAX as f64;
        while self.recent.front().is_some_and(|old| at - old.at >= seconds(horizon_s)) {
            self.recent.pop_front();
        }
    }

    /// Whether a flow of this size goes on with an act rather than being everybody's ordinary
    /// trickle.
    pub fn is_rare(&self, devices: u64, interval_s: f64) -> bool {
        self.acts.is_rare(devices, interval_s)
    }

    fn platform(&self, sample: &FlowSample, circumstances: Circumstances) -> Option<Platform> {
        if sample.breadth().is_none() {
            return self.total(sample, circumstances);
        }
        let mut length = 1;
        for step in 0.. {
            let window = self.window(length);
            let first = *window.first()?;
            let breadth = window_breadth(&window);
            let elapsed_s = (sample.at - first.since).as_seconds_f64();
            let intervals = (elapsed_s / circumstances.interval_s).max(1.0);
            let asked = question(circumstances, step, intervals);
            let mut bound = self.breadth.bound(asked);
            let beyond = breadth > bound.organizations;
            if beyond && circumstances.shared && window.len() > 1 {
                bound.demand_order(chance_of_order(&batches(&window)));
            }
            if beyond && bound.chance_of_order.is_none_or(|chance| chance <= asked.alpha) {
                let probability = bound.platform_probability(breadth, asked.alpha);
                return Some(Platform::of(&window, breadth, bound, probability));
            }
            // There is no longer window: the history's beginning, or a recording, has been reached.
            if window.len() < length || window.len() == self.recent.len() {
                return None;
            }
            length *= 2;
        }
        None
    }

    /// The last `length` samples in which something moved; one in a recording, where it is not
    /// known whether two samples speak of the same organisations.
    fn window(&self, length: usize) -> Vec<&FlowSample> {
        let named = self.recent.iter().all(|sample| !sample.by_application.is_empty());
        let length = if named { length.min(self.recent.len()) } else { 1 };
        let start = self.recent.len().saturating_sub(length);
        self.recent.range(start..).collect()
    }

    /// Without any breadth: every device that could move did, in a flow that stands out.
    fn total(&self, sample: &FlowSample, circumstances: Circumstances) -> Option<Platform> {
        // Not a record of the day: the batch that completes an act is no larger than the others.
        if !sample.is_total || !self.is_rare(sample.amount, circumstances.interval_s) {
            return None;
        }
        let bound = Bound {
            organizations: 0,
            ratio: 0.5,
            origin: "no breadth is known: every device that could change did".to_owned(),
            chance_of_order: None,
        };
        // Nothing tells a platform of one owner from one of many: an even chance.
        Some(Platform::of(&[sample], 0, bound, 0.5))
    }
}

impl Platform {
    fn of(window: &[&FlowSample], breadth: u64, bound: Bound, probability: f64) -> Platform {
        let (mut by_application, mut owners) = (BTreeMap::new(), BTreeMap::new());
        let flows = window.iter().flat_map(|sample| &sample.by_application);
        for (application, owner, amount) in flows {
            *by_application.entry(*application).or_insert(0) += amount;
            owners.insert(*application, *owner);
        }
        let mut targets_before = BTreeMap::new();
        for (application, target) in window.iter().flat_map(|sample| &sample.targets_before) {
            targets_before.entry(*application).or_insert(*target);
        }
        Platform {
            onset: window[0].at,
            quiet_at: window[0].since,
            breadth,
            bound,
            probability,
            by_application,
            owners,
            targets_before,
            amount: window.iter().map(|sample| sample.amount).sum(),
        }
    }
}

fn window_breadth(window: &[&FlowSample]) -> u64 {
    if let [only] = window {
        return only.breadth().unwrap_or(0);
    }
    let acted = window.iter().flat_map(|sample| &sample.by_application);
    acted.map(|(_, organization, _)| *organization).collect::<BTreeSet<_>>().len() as u64
}

/// What an act in batches would have done step by step: the samples in which several owners acted,
/// each of them with the application that came first.
fn batches(window: &[&FlowSample]) -> Vec<Vec<i64>> {
    let mut acted = BTreeSet::new();
    let batch = |sample: &&FlowSample| {
        let mut firsts: BTreeMap<i64, i64> = BTreeMap::new();
        for (application, owner, _) in &sample.by_application {
            if !acted.contains(owner) {
                let first = firsts.entry(*owner).or_insert(*application);
                *first = (*first).min(*application);
            }
        }
        acted.extend(firsts.keys().copied());
        firsts.into_values().collect::<Vec<i64>>()
    };
    window.iter().map(batch).filter(|batch| batch.len() > 1).collect()
}

/// The budget of one sample is shared between the windows that end in it: half for the shortest,
/// half of the rest for the next, and so on.
fn question(circumstances: Circumstances, step: i32, window_intervals: f64) -> Question {
    Question {
        alpha: circumstances.alpha / 2f64.powi(step + 1),
        organizations: circumstances.organizations,
        eligible: circumstances.eligible,
        window_intervals,
    }
}

#[cfg(test)]
mod tests;
