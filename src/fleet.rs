//! The fleet model: cohorts of devices at one instant, the flows between two instants, and the
//! signals that follow from both. Pure; the SQL that fills a snapshot is in `sample`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::series::Time;

/// Everything that one read-only snapshot of an open-balena database says of the fleet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The database's clock at the snapshot.
    pub at: Time,
    /// The highest device id. Ids only grow, so a device above it in the next snapshot is new.
    pub device_id_max: i64,
    /// The bound above which this snapshot counted a device as `appeared`; `None` in a first one.
    pub appeared_above: Option<i64>,
    /// Applications that have devices, by id. Devices without an application stand under id 0.
    pub applications: BTreeMap<i64, Application>,
}

/// One application and its devices.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Application {
    /// `"app name"` or slug; for people only.
    pub name: String,
    /// The organisation's id; 0 if it has none.
    pub organization: i64,
    /// The application's own target, `"should be running-release"`.
    pub target: Option<i64>,
    /// Devices by (pinned release, running release).
    #[serde(with = "as_pairs")]
    pub cohorts: BTreeMap<CohortKey, Cohort>,
    /// Devices by host OS target, `"should be operated by-release"`, unset ones left out.
    #[serde(with = "as_pairs")]
    pub host_os_targets: BTreeMap<i64, u64>,
    /// Devices by supervisor target, `"should be managed by-release"`, unset ones left out.
    #[serde(with = "as_pairs")]
    pub supervisor_targets: BTreeMap<i64, u64>,
    /// Those of `host_os_targets` that are new, as `Cohort::appeared` counts them.
    #[serde(default, with = "as_pairs")]
    pub host_os_appeared: BTreeMap<i64, u64>,
    /// The same of `supervisor_targets`.
    #[serde(default, with = "as_pairs")]
    pub supervisor_appeared: BTreeMap<i64, u64>,
}

/// What the devices of a cohort share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CohortKey {
    /// `"is pinned on-release"`.
    pub pinned: Option<i64>,
    /// `"is running-release"`.
    pub running: Option<i64>,
}

/// The devices of a cohort, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cohort {
    /// All of them.
    pub devices: u64,
    /// Connected to the VPN or with an online heartbeat.
    pub online: u64,
    /// `"is connected to vpn"`.
    pub vpn_connected: u64,
    /// `"api heartbeat state" = 'online'`.
    pub heartbeat_online: u64,
    /// Those two disagree.
    pub mismatch: u64,
    /// Online and downloading, downloaded or applying, or with a download progress.
    pub updating: u64,
    /// With an id above the snapshot's `appeared_above`.
    pub appeared: u64,
}

impl Cohort {
    /// Adds another cohort's devices to this one.
    pub fn absorb(&mut self, other: &Cohort) {
        self.devices += other.devices;
        self.online += other.online;
        self.vpn_connected += other.vpn_connected;
        self.heartbeat_online += other.heartbeat_online;
        self.mismatch += other.mismatch;
        self.updating += other.updating;
        self.appeared += other.appeared;
    }
}

impl Application {
    /// All devices.
    pub fn devices(&self) -> u64 {
        self.cohorts.values().map(|cohort| cohort.devices).sum()
    }

    /// Devices with a pin.
    pub fn pinned(&self) -> u64 {
        let pinned = self.cohorts.iter().filter(|(key, _)| key.pinned.is_some());
        pinned.map(|(_, cohort)| cohort.devices).sum()
    }

    /// Devices with a host OS target.
    pub fn host_os_targeted(&self) -> u64 {
        self.host_os_targets.values().sum()
    }

    /// Devices with a supervisor target.
    pub fn supervisor_targeted(&self) -> u64 {
        self.supervisor_targets.values().sum()
    }

    /// Devices whose pin is the release that they run.
    pub fn pinned_to_running(&self) -> u64 {
        let same = self
            .cohorts
            .iter()
            .filter(|(key, _)| key.pinned.is_some() && key.pinned == key.running);
        same.map(|(_, cohort)| cohort.devices).sum()
    }

    /// The release that a device with this pin should run, as open-balena-api computes it.
    pub fn target_of(&self, pinned: Option<i64>) -> Option<i64> {
        pinned.or(self.target)
    }

    /// Pending devices by (running, target): each entry is one delta to generate.
    pub fn pending_pairs(&self) -> BTreeMap<(Option<i64>, i64), u64> {
        let mut pairs = BTreeMap::new();
        for (key, cohort) in &self.cohorts {
            if let Some(target) = self.target_of(key.pinned)
                && key.running != Some(target)
                && cohort.devices > 0
            {
                *pairs.entry((key.running, target)).or_insert(0) += cohort.devices;
            }
        }
        pairs
    }

    /// Devices that would start an update if every pin were cleared, and over how many release
    /// pairs.
    pub fn pending_if_unpinned(&self) -> Pending {
        let Some(target) = self.target else { return Pending::default() };
        let mut running = BTreeSet::new();
        let mut devices = 0;
        for (key, cohort) in &self.cohorts {
            if key.running != Some(target) && cohort.devices > 0 {
                devices += cohort.devices;
                running.insert(key.running);
            }
        }
        Pending { devices, pairs: running.len() as u64 }
    }
}

/// Devices with an update ahead of them, and the deltas that they need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// Devices.
    pub devices: u64,
    /// Distinct (application, running, target).
    pub pairs: u64,
}

impl Snapshot {
    /// Organisations that have devices.
    pub fn organizations(&self) -> BTreeSet<i64> {
        let with_devices =
            self.applications.values().filter(|application| application.devices() > 0);
        with_devices.map(|application| application.organization).collect()
    }

    /// Whether organisations tell owners apart. Where there is only one (or none is recorded), as
    /// on many an own installation, applications stand in for them.
    pub fn tells_owners_apart(&self) -> bool {
        self.organizations().len() > 1
    }

    /// Devices that would start an update if every pin were cleared now.
    pub fn pending_if_unpinned(&self) -> Pending {
        let mut total = Pending::default();
        for application in self.applications.values() {
            let pending = application.pending_if_unpinned();
            total.devices += pending.devices;
            total.pairs += pending.pairs;
        }
        total
    }

    /// The signals that one snapshot gives by itself: counts, no flows.
    pub fn counts(&self) -> BTreeMap<String, f64> {
        let mut all = Cohort::default();
        let (mut pinned, mut pinned_to_running, mut pending, mut pairs) = (0, 0, 0, 0);
        let (mut applications, mut applications_pending) = (0u64, 0u64);
        let (mut host_os_targeted, mut supervisor_targeted) = (0, 0);
        for application in self.applications.values() {
            let before = all.devices;
            for cohort in application.cohorts.values() {
                all.absorb(cohort);
            }
            applications += u64::from(all.devices > before);
            pinned += application.pinned();
            host_os_targeted += application.host_os_targeted();
            supervisor_targeted += application.supervisor_targeted();
            pinned_to_running += application.pinned_to_running();
            let pending_here = application.pending_pairs();
            pairs += pending_here.len() as u64;
            pending += pending_here.values().sum::<u64>();
            applications_pending += u64::from(!pending_here.is_empty());
        }
        let named = [
            ("devices", all.devices),
            ("applications", applications),
            ("organizations", self.organizations().len() as u64),
            ("devices_online", all.online),
            ("devices_vpn_connected", all.vpn_connected),
            ("devices_heartbeat_online", all.heartbeat_online),
            ("devices_vpn_heartbeat_mismatch", all.mismatch),
            ("devices_pinned", pinned),
            ("devices_pinned_to_running", pinned_to_running),
            ("pending_updates", pending),
            ("pending_pairs", pairs),
            ("applications_pending", applications_pending),
            ("updates_in_progress", all.updating),
            ("devices_os_targeted", host_os_targeted),
            ("devices_supervisor_targeted", supervisor_targeted),
        ];
        named.into_iter().map(|(name, count)| (name.to_owned(), count as f64)).collect()
    }
}

/// Devices whose target of one kind came, went or changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetFlow {
    /// Devices that gained a target.
    pub added: u64,
    /// Devices that lost theirs.
    pub removed: u64,
    /// Devices whose target moved to another release.
    pub moved: u64,
}

/// What moved in one application between two snapshots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplicationFlow {
    /// The application's organisation.
    pub organization: i64,
    /// Devices that gained a pin.
    pub pins_added: u64,
    /// Devices that lost theirs.
    pub pins_removed: u64,
    /// Devices whose pin moved to another release.
    pub pins_moved: u64,
    /// Host OS targets.
    pub host_os: TargetFlow,
    /// Supervisor targets.
    pub supervisor: TargetFlow,
    /// Rise of the devices whose pin is the release that they run.
    pub pinned_to_running_gained: u64,
    /// The application's own target changed.
    pub target_changed: bool,
    /// Devices that are new on the platform.
    pub devices_added: u64,
    /// Devices that came from another application.
    pub devices_moved_in: u64,
    /// Devices that are gone, to another application or from the platform.
    pub devices_removed: u64,
    /// Those of them that no arrival in another application accounts for.
    pub devices_deleted: u64,
}

/// What moved in the fleet between two snapshots, by application. Applications in which nothing
/// moved are left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Flows {
    /// The later snapshot.
    pub at: Time,
    /// The earlier one: the previous *present* sample.
    pub since: Time,
    /// By application id.
    pub applications: BTreeMap<i64, ApplicationFlow>,
}

/// A quantity that flows, with its breadth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Total {
    /// Devices (or applications, where applications themselves change).
    pub count: u64,
    /// In how many applications.
    pub applications: u64,
    /// In how many organisations.
    pub organizations: u64,
}

impl Flows {
    /// The flows from `before` to `now`: net within an application, after taking
    /// off devices that appeared or left. A device that changes application loses its pin on the
    /// way, so in the application it left, a fall of the pinned count up to the fall of the device
    /// count is departure, not unpinning.
    pub fn between(before: &Snapshot, now: &Snapshot) -> Flows {
        let exact = now.appeared_above == Some(before.device_id_max);
        let mut applications = BTreeMap::new();
        let ids: BTreeSet<_> = before.applications.keys().chain(now.applications.keys()).collect();
        let nothing = Application::default();
        for &id in ids {
            let was = before.applications.get(&id).unwrap_or(&nothing);
            let is = now.applications.get(&id).unwrap_or(&nothing);
            let mut flow = application_flow(was, is, exact);
            // An application that appears or vanishes with its devices has not changed its target.
            let known = before.applications.contains_key(&id) && now.applications.contains_key(&id);
            flow.target_changed &= known;
            if flow != (ApplicationFlow { organization: flow.organization, ..Default::default() }) {
                applications.insert(id, flow);
            }
        }
        tell_moves_from_deletions(&mut applications, exact);
        Flows { at: now.at, since: before.at, applications }
    }

    /// The sum of one quantity over applications, and its breadth.
    pub fn total(&self, quantity: impl Fn(&ApplicationFlow) -> u64) -> Total {
        let mut total = Total::default();
        let mut organizations = BTreeSet::new();
        for flow in self.applications.values() {
            let count = quantity(flow);
            if count > 0 {
                total.count += count;
                total.applications += 1;
                organizations.insert(flow.organization);
            }
        }
        total.organizations = organizations.len() as u64;
        total
    }

    /// The flow signals of the catalogue, by name.
    pub fn signals(&self) -> BTreeMap<String, f64> {
        let added = self.total(|flow| flow.pins_added);
        let removed = self.total(|flow| flow.pins_removed);
        let moved = self.total(|flow| flow.pins_moved);
        let deleted = self.total(|flow| flow.devices_deleted);
        let appeared = self.total(|flow| flow.devices_added);
        let retargeted = self.total(|flow| u64::from(flow.target_changed));
        let mut signals = BTreeMap::new();
        for (targets, flow) in [
            ("os_targets", (|flow| flow.host_os) as fn(&ApplicationFlow) -> TargetFlow),
            ("supervisor_targets", |flow| flow.supervisor),
        ] {
            for (way, total) in [
                ("added", self.total(|one| flow(one).added)),
                ("removed", self.total(|one| flow(one).removed)),
                ("moved", self.total(|one| flow(one).moved)),
            ] {
                let Total { count, applications, organizations } = total;
                signals.insert(format!("{targets}_{way}"), count as f64);
                signals.insert(format!("applications_{targets}_{way}"), applications as f64);
                signals.insert(format!("organizations_{targets}_{way}"), organizations as f64);
            }
        }
        let named = [
            ("devices_added", appeared.count),
            ("devices_removed", deleted.count),
            ("applications_devices_removed", deleted.applications),
            ("organizations_devices_removed", deleted.organizations),
            ("pins_added", added.count),
            ("pins_removed", removed.count),
            ("pins_moved", moved.count),
            ("applications_pins_added", added.applications),
            ("applications_pins_removed", removed.applications),
            ("applications_pins_moved", moved.applications),
            ("organizations_pins_added", added.organizations),
            ("organizations_pins_removed", removed.organizations),
            ("organizations_pins_moved", moved.organizations),
            ("application_targets_changed", retargeted.count),
            ("organizations_targets_changed", retargeted.organizations),
        ];
        signals.extend(named.into_iter().map(|(name, count)| (name.to_owned(), count as f64)));
        signals
    }
}

fn application_flow(
    was: &Application,
    is: &Application,
    appeared_is_known: bool,
) -> ApplicationFlow {
    let mut by_release: BTreeMap<i64, i64> = BTreeMap::new();
    let (mut appeared, mut appeared_to_running) = (0u64, 0u64);
    for (key, cohort) in &is.cohorts {
        let new = if appeared_is_known { cohort.appeared } else { 0 };
        appeared += new;
        if let Some(release) = key.pinned {
            *by_release.entry(release).or_insert(0) += (cohort.devices - new) as i64;
            if key.running == key.pinned {
                appeared_to_running += new;
            }
        }
    }
    for (key, cohort) in &was.cohorts {
        if let Some(release) = key.pinned {
            *by_release.entry(release).or_insert(0) -= cohort.devices as i64;
        }
    }
    let left = was.devices() as i64 - (is.devices() - appeared) as i64;
    let arrived = (-left).max(0) as u64;
    // Devices that are not new came back or from elsewhere, and brought the targets that they had.
    let came = if appeared_is_known { arrived as i64 } else { 0 };
    let pins = target_flow(&by_release, left.max(0), came);
    let none = BTreeMap::new();
    let of_new = |new| if appeared_is_known { new } else { &none };
    let host_os = risen(&was.host_os_targets, &is.host_os_targets, of_new(&is.host_os_appeared));
    let supervisor =
        risen(&was.supervisor_targets, &is.supervisor_targets, of_new(&is.supervisor_appeared));
    let to_running =
        is.pinned_to_running() as i64 - appeared_to_running as i64 - was.pinned_to_running() as i64;
    ApplicationFlow {
        organization: if is.cohorts.is_empty() { was.organization } else { is.organization },
        pins_added: pins.added,
        pins_removed: pins.removed,
        pins_moved: pins.moved,
        host_os: target_flow(&host_os, left.max(0), came),
        supervisor: target_flow(&supervisor, left.max(0), came),
        pinned_to_running_gained: to_running.max(0) as u64,
        target_changed: was.target != is.target,
        devices_added: appeared + if appeared_is_known { 0 } else { arrived },
        devices_moved_in: if appeared_is_known { arrived } else { 0 },
        devices_removed: left.max(0) as u64,
        devices_deleted: left.max(0) as u64,
    }
}

/// By how many devices each release's count rose, new devices left out.
fn risen(
    was: &BTreeMap<i64, u64>,
    is: &BTreeMap<i64, u64>,
    new: &BTreeMap<i64, u64>,
) -> BTreeMap<i64, i64> {
    let mut risen: BTreeMap<i64, i64> =
        is.iter().map(|(release, count)| (*release, *count as i64)).collect();
    for (release, count) in was.iter().chain(new) {
        *risen.entry(*release).or_insert(0) -= *count as i64;
    }
    risen
}

/// The net flow within an application, after taking off devices that left it or came to it.
fn target_flow(risen: &BTreeMap<i64, i64>, left: i64, came: i64) -> TargetFlow {
    let gain: i64 = risen.values().map(|rise| (*rise).max(0)).sum();
    let loss: i64 = risen.values().map(|rise| (-*rise).max(0)).sum();
    let moved = gain.min(loss);
    TargetFlow {
        added: (gain - moved - came).max(0) as u64,
        removed: (loss - moved - left).max(0) as u64,
        moved: moved as u64,
    }
}

/// Takes off what was deleted the devices that arrived elsewhere: a device that changes application
/// leaves one and arrives in another, and is not gone. Who moved is not known, only how many, so
/// that deletions come out in as few organisations as the numbers allow: arrivals account for
/// departures of their own organisation first, and then for those of the organisations that lost
/// fewest. Where it is not known which arrivals are new devices, as many as departed were moves.
fn tell_moves_from_deletions(
    applications: &mut BTreeMap<i64, ApplicationFlow>,
    appeared_is_known: bool,
) {
    let mut arrived: BTreeMap<i64, u64> = BTreeMap::new();
    for flow in applications.values() {
        let came = if appeared_is_known { flow.devices_moved_in } else { flow.devices_added };
        *arrived.entry(flow.organization).or_insert(0) += came;
    }
    if arrived.values().all(|came| *came == 0) {
        return;
    }
    let mut losses: BTreeMap<i64, Vec<&mut ApplicationFlow>> = BTreeMap::new();
    let mut arrivals = Vec::new();
    for flow in applications.values_mut() {
        if flow.devices_deleted > 0 {
            losses.entry(flow.organization).or_default().push(flow);
        } else {
            arrivals.push(flow);
        }
    }
    let (mut from_elsewhere, mut moved) = (0, 0);
    for (organization, came) in arrived {
        let own = losses.get_mut(&organization).map_or(&mut [][..], |own| own);
        let accounted = account_for(own, came);
        from_elsewhere += came - accounted;
        moved += accounted;
    }
    let mut losses: Vec<Vec<&mut ApplicationFlow>> = losses.into_values().collect();
    losses.sort_by_key(|own| own.iter().map(|flow| flow.devices_deleted).sum::<u64>());
    for own in &mut losses {
        let accounted = account_for(own, from_elsewhere);
        from_elsewhere -= accounted;
        moved += accounted;
    }
    if !appeared_is_known {
        for flow in arrivals {
            let part = flow.devices_added.min(moved);
            flow.devices_added -= part;
            flow.devices_moved_in += part;
            moved -= part;
        }
    }
}

/// Lets `arrived` devices account for losses, the smallest first. Gives how many it could.
fn account_for(losses: &mut [&mut ApplicationFlow], arrived: u64) -> u64 {
    losses.sort_by_key(|flow| flow.devices_deleted);
    let mut left = arrived;
    for flow in losses {
        let part = flow.devices_deleted.min(left);
        flow.devices_deleted -= part;
        left -= part;
    }
    arrived - left
}

/// Maps with structured keys, as lists of pairs: JSON has string keys only.
mod as_pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<K: Serialize, V: Serialize, S: Serializer>(
        map: &BTreeMap<K, V>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(map)
    }

    pub(super) fn deserialize<'de, K, V, D>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Ok(Vec::<(K, V)>::deserialize(deserializer)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests;
