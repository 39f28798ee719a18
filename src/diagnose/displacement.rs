//! How far the fleet is from where it was before an incident: what tells a sequel from a recovery,
//! and when an incident is over. Owner by owner where cohorts are known, in total in a recording.
//! No threshold of its own: an owner is displaced while it is nearer to the incident's extreme than
//! to where it was before, and as many displaced owners as ordinarily act at once may remain.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    diagnose::flows::{FlowKind, Way},
    fleet::{Application, Snapshot},
    incident::Quantity,
};

/// A level before the incident and at its extreme.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Levels {
    before: f64,
    extreme: f64,
}

impl Levels {
    /// Takes a level that may be farther from the one before.
    fn reach(&mut self, count: f64) {
        if (count - self.before).abs() >= (self.extreme - self.before).abs() {
            self.extreme = count;
        }
    }
}

/// Where everybody was, and how far they have been taken.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Displacement {
    /// What is counted.
    #[serde(default)]
    quantity: Quantity,
    /// Live: whether organisations told owners apart before. When most devices are gone they may
    /// not any more, and owners must stay who they were.
    #[serde(default)]
    by_organization: Option<bool>,
    /// Live: counted devices by owner.
    owners: BTreeMap<i64, Levels>,
    /// Counted devices in all.
    total: Option<Levels>,
    /// Pinned devices by application and release before the incident, live: what a move of pins
    /// changes although no count does. Of host OS and supervisor targets the same.
    pins: BTreeMap<i64, BTreeMap<i64, u64>>,
    /// How far each owner's pins have strayed from those at the extreme.
    strayed: BTreeMap<i64, u64>,
    /// Applications' own targets before the incident, live.
    targets: BTreeMap<i64, Option<i64>>,
    /// Samples in a row at which everything had returned.
    returned_samples: u32,
}

/// A quantity in one application.
pub fn counted(quantity: Quantity, application: &Application) -> u64 {
    match quantity {
        Quantity::DevicesPinned => application.pinned(),
        Quantity::Devices => application.devices(),
        Quantity::DevicesOsTargeted => application.host_os_targeted(),
        Quantity::DevicesSupervisorTargeted => application.supervisor_targeted(),
    }
}

/// Of each application, where its devices' targets of one kind point to.
fn targets_by_release(
    quantity: Quantity,
    snapshot: &Snapshot,
) -> BTreeMap<i64, BTreeMap<i64, u64>> {
    let by_release = |application: &Application| {
        match quantity {
            Quantity::DevicesOsTargeted => return application.host_os_targets.clone(),
            Quantity::DevicesSupervisorTargeted => return application.supervisor_targets.clone(),
            Quantity::DevicesPinned | Quantity::Devices => {}
        }
        let mut releases = BTreeMap::new();
        for (key, cohort) in &application.cohorts {
            if let Some(release) = key.pinned {
                *releases.entry(release).or_insert(0) += cohort.devices;
            }
        }
        releases
    };
    snapshot.applications.iter().map(|(id, application)| (*id, by_release(application))).collect()
}

impl Displacement {
    /// Remembers the last quiet sample, and the total of what is counted.
    pub fn since(quantity: Quantity, quiet: Option<&Snapshot>, total: Option<f64>) -> Displacement {
        let level = |count: f64| Levels { before: count, extreme: count };
        let mut displacement =
            Displacement { quantity, total: total.map(level), ..Displacement::default() };
        if let Some(snapshot) = quiet {
            displacement.by_organization = Some(snapshot.tells_owners_apart());
            let counts = displacement.by_owner(snapshot).into_iter();
            displacement.owners = counts.map(|(id, count)| (id, level(count as f64))).collect();
            if quantity == Quantity::Devices {
                return displacement;
            }
            displacement.pins = targets_by_release(quantity, snapshot);
            let targets = snapshot.applications.iter();
            displacement.targets =
                targets.map(|(id, application)| (*id, application.target)).collect();
        }
        displacement
    }

    /// Takes off what earlier batches had already moved when the incident was recognised.
    pub fn correct(&mut self, moved_by_owner: &BTreeMap<i64, i64>) {
        for (owner, moved) in moved_by_owner {
            if self.quantity == Quantity::Devices {
                // Whoever had lost all by then was in no snapshot any more.
                self.owners.entry(*owner).or_default();
            }
            if let Some(levels) = self.owners.get_mut(owner) {
                levels.before -= *moved as f64;
            }
        }
    }

    /// Takes where applications' own targets pointed before earlier batches changed them.
    pub fn correct_targets(&mut self, before: &BTreeMap<i64, Option<i64>>) {
        self.targets.extend(before);
    }

    /// Counted devices before the incident.
    pub fn total_before(&self) -> Option<f64> {
        self.total.map(|levels| levels.before)
    }

    /// A cause begins to move the fleet: where it is now is the extreme.
    pub fn moved_to(&mut self, now: Option<&Snapshot>, total: Option<f64>) {
        for levels in self.owners.values_mut().chain(&mut self.total) {
            levels.extreme = levels.before;
        }
        self.strayed.clear();
        self.moved_on(now, total);
    }

    /// The current cause moves the fleet on. An owner's act on the way back looks like a further
    /// batch: it takes nothing from how far the fleet has been.
    pub fn moved_on(&mut self, now: Option<&Snapshot>, total: Option<f64>) {
        self.returned_samples = 0;
        if let (Some(levels), Some(count)) = (&mut self.total, total) {
            levels.reach(count);
        }
        let Some(snapshot) = now else { return };
        let counts = self.by_owner(snapshot);
        if self.quantity == Quantity::Devices {
            // Whoever has no device any more is in no snapshot.
            for (owner, levels) in &mut self.owners {
                levels.reach(counts.get(owner).copied().unwrap_or(0) as f64);
            }
            return;
        }
        for (owner, count) in counts {
            self.owners.entry(owner).or_default().reach(count as f64);
        }
        for (owner, distance) in self.strayed_pins(snapshot) {
            let farthest = self.strayed.entry(owner).or_insert(0);
            *farthest = distance.max(*farthest);
        }
    }

    /// Owners that a flow took beyond where they were before the incident, of all that it could
    /// have taken there: a way back to where it was is a recovery, not another cause.
    pub fn beyond(&self, kind: FlowKind, now: &Snapshot) -> Beyond {
        let mut beyond = Beyond::default();
        for (owner, count) in self.by_owner(now) {
            let Levels { before, .. } = self.owners.get(&owner).copied().unwrap_or_default();
            let count = count as f64;
            match kind.way() {
                Some(Way::Removed) => {
                    beyond.possible += u64::from(before > 0.0);
                    beyond.owners += u64::from(count < before);
                }
                Some(Way::Added | Way::Moved) | None => {
                    beyond.possible += 1;
                    beyond.owners += u64::from(count > before);
                }
            }
        }
        beyond
    }

    /// The same from the total alone: `share` is the part of the fleet that ordinarily acts at
    /// once.
    pub fn total_beyond(&self, kind: FlowKind, total: f64, share: f64) -> bool {
        let Some(Levels { before, .. }) = self.total else { return true };
        match kind.way() {
            Some(Way::Removed) => before - total > share * before,
            _ => total - before > share * before.max(1.0),
        }
    }

    /// Whether everything has returned, but for as many owners as ordinarily act at once (`bound`),
    /// at this and the previous sample.
    pub fn has_returned(
        &mut self,
        kind: FlowKind,
        now: Option<&Snapshot>,
        total: Option<f64>,
        bound: u64,
        share: f64,
    ) -> bool {
        let returned = match (kind.way(), now, total) {
            (None, Some(snapshot), _) => self.retargeted(snapshot) <= bound,
            // A count says nothing of where pins point to.
            (None | Some(Way::Moved), None, _) => false,
            (Some(Way::Moved), Some(snapshot), _) => self.astray(snapshot) <= bound,
            (_, now, Some(count)) => {
                let near = self.total.is_some_and(|Levels { before, extreme }| {
                    (count - before).abs() <= share * (extreme - before).abs()
                });
                near && now.is_none_or(|snapshot| self.displaced(snapshot) <= bound)
            }
            (_, _, None) => false,
        };
        self.returned_samples = if returned { self.returned_samples + 1 } else { 0 };
        self.returned_samples >= 2
    }

    /// Owners with at least half as many strayed pins as at the extreme.
    fn astray(&self, now: &Snapshot) -> u64 {
        let strayed = self.strayed_pins(now);
        let astray = self.strayed.iter().filter(|(owner, extreme)| {
            **extreme > 0 && 2 * strayed.get(owner).copied().unwrap_or(0) >= **extreme
        });
        astray.count() as u64
    }

    /// By owner, how many pins stand where they did not, and how many are gone from where they
    /// stood.
    fn strayed_pins(&self, now: &Snapshot) -> BTreeMap<i64, u64> {
        let by_organization = self.tells_owners_apart(now);
        let none = BTreeMap::new();
        let mut strayed = BTreeMap::new();
        for (id, releases) in targets_by_release(self.quantity, now) {
            let before = self.pins.get(&id).unwrap_or(&none);
            let gained = releases
                .iter()
                .map(|(release, count)| count.abs_diff(before.get(release).copied().unwrap_or(0)));
            let lost = before.iter().filter(|(release, _)| !releases.contains_key(release));
            let distance = gained.sum::<u64>() + lost.map(|(_, count)| count).sum::<u64>();
            let owner = if by_organization { now.applications[&id].organization } else { id };
            *strayed.entry(owner).or_insert(0) += distance;
        }
        strayed
    }

    fn displaced(&self, now: &Snapshot) -> u64 {
        let counts = self.by_owner(now);
        let displaced = self.owners.iter().filter(|(owner, levels)| {
            let count = counts.get(owner).copied().unwrap_or(0) as f64;
            let moved = (levels.extreme - levels.before).abs();
            moved > 0.0 && (count - levels.before).abs() >= (count - levels.extreme).abs()
        });
        displaced.count() as u64
    }

    /// Counted devices by owner: by organisation, or by application where organisations say
    /// nothing.
    fn by_owner(&self, snapshot: &Snapshot) -> BTreeMap<i64, u64> {
        let by_organization = self.tells_owners_apart(snapshot);
        let mut counts = BTreeMap::new();
        for (id, application) in &snapshot.applications {
            let owner = if by_organization { application.organization } else { *id };
            *counts.entry(owner).or_insert(0) += counted(self.quantity, application);
        }
        counts
    }

    fn tells_owners_apart(&self, snapshot: &Snapshot) -> bool {
        self.by_organization.unwrap_or_else(|| snapshot.tells_owners_apart())
    }

    fn retargeted(&self, now: &Snapshot) -> u64 {
        let by_organization = self.tells_owners_apart(now);
        let changed = now.applications.iter().filter(|(id, application)| {
            self.targets.get(id).is_some_and(|target| *target != application.target)
        });
        let owners = changed.map(
            |(id, application)| {
                if by_organization { application.organization } else { *id }
            },
        );
        owners.collect::<std::collections::BTreeSet<_>>().len() as u64
    }
}

/// How many owners stand beyond where they were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beyond {
    /// They do.
    pub owners: u64,
    /// They could.
    pub possible: u64,
}
