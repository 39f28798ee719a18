//! Who is affected by a platform-wide flow: at its onset, and at the latest sample. Judges nothing.

use std::collections::BTreeMap;

use crate::{
    diagnose::{displacement::counted, flows::FlowKind},
    fleet::{Application, Snapshot},
    incident::{Affected, BlastRadius, Counted, Quantity},
    pipeline::{
        Pipeline,
        intake::Intake,
        state::{MassWatch, Place},
    },
};

/// The most affected applications that a page lists.
const AFFECTED_MAX: usize = 10;

impl Pipeline {
    /// As the latest sample shows it.
    pub(super) fn blast_radius(&self, mass: &MassWatch, intake: &Intake) -> BlastRadius {
        let count = |name: &str| intake.recordable.get(name).map(|count| *count as u64);
        let snapshot = intake.cohorts.as_ref().and(self.state.snapshot.as_ref());
        let live = !mass.by_application.is_empty();
        let mut most_affected = Vec::new();
        let mut organizations = std::collections::BTreeSet::new();
        for (id, devices) in &mass.by_application {
            let Some(now) = snapshot else { break };
            let application = now.applications.get(id);
            let known = application.map(|one| (&one.name, one.organization));
            let left = || mass.places.get(id).map(|place| (&place.name, place.organization));
            let Some((name, organization)) = known.or_else(left) else { continue };
            organizations.insert(organization);
            most_affected.push(Affected {
                application: *id,
                name: name.clone(),
                devices: *devices,
                pinned_before: mass.pinned_before.get(id).copied().unwrap_or(0),
                pinned_after: application.map_or(0, Application::pinned),
                counted: mass
                    .counted(Some(mass.counted_before.get(id).copied().unwrap_or(0)), |quantity| {
                        Some(application.map_or(0, |one| counted(quantity, one)))
                    }),
            });
        }
        most_affected.sort_by_key(|one| (std::cmp::Reverse(one.devices), one.application));
        most_affected.truncate(AFFECTED_MAX);
        let organizations =
            if live { Some(organizations.len() as u64) } else { mass.organizations };
        let applications =
            if live { Some(mass.by_application.len() as u64) } else { mass.applications };
        let total_before = mass.displacement.total_before().map(|count| count as u64);
        let counts_pins = mass.kind.quantity() == Quantity::DevicesPinned;
        BlastRadius {
            devices: mass.amount,
            applications,
            organizations,
            pinned_before: total_before.filter(|_| counts_pins),
            pinned_after: count("devices_pinned").filter(|_| counts_pins),
            pending_before: mass.pending_before,
            pending_after: count("pending_updates"),
            pending_if_unpinned: snapshot
                .filter(|_| counts_pins)
                .map(crate::fleet::Snapshot::pending_if_unpinned),
            counted: mass.counted(total_before, |quantity| count(quantity.signal())),
            most_affected,
        }
    }
}

impl MassWatch {
    /// A count where it is not that of pins, which stand on their own.
    fn counted(
        &self,
        before: Option<u64>,
        after: impl Fn(Quantity) -> Option<u64>,
    ) -> Option<Counted> {
        let quantity = self.kind.quantity();
        let is_other = quantity != Quantity::DevicesPinned;
        is_other.then(|| Counted { quantity, before, after: after(quantity) })
    }

    /// Of deletions: keeps what snapshots without these applications will not say any more. Of an
    /// application that an earlier batch of the window emptied only the owner is known.
    pub(super) fn remember_places(&mut self, owners: &BTreeMap<i64, i64>, intake: &Intake) {
        let Some(cohorts) = intake.cohorts.as_ref().filter(|_| self.kind == FlowKind::Deleted)
        else {
            return;
        };
        for (id, owner) in owners {
            let application = cohorts.before.applications.get(id);
            let (name, organization) = application
                .map_or((String::new(), *owner), |one| (one.name.clone(), one.organization));
            self.places.entry(*id).or_insert(Place { name, organization });
        }
    }
}

/// Pinned devices, and what else the kind counts, by application before earlier samples of the
/// window had moved them.
pub(super) fn counts_before(
    kind: FlowKind,
    quiet: &Snapshot,
    earlier: &BTreeMap<i64, i64>,
) -> (BTreeMap<i64, u64>, BTreeMap<i64, u64>) {
    let before = |quantity: Quantity| {
        let mut counts: BTreeMap<i64, i64> = quiet
            .applications
            .iter()
            .map(|(id, application)| (*id, counted(quantity, application) as i64))
            .collect();
        if quantity == kind.quantity() {
            for (id, moved) in earlier {
                *counts.entry(*id).or_insert(0) -= moved;
            }
        }
        counts.into_iter().map(|(id, count)| (id, count.max(0) as u64)).collect()
    };
    match kind.quantity() {
        Quantity::DevicesPinned => (before(Quantity::DevicesPinned), BTreeMap::new()),
        other => (before(Quantity::DevicesPinned), before(other)),
    }
}
