//! Flows of pins, targets and devices in a fleet sample: what each is held to be, and the incidents
//! that follow.

use crate::{
    diagnose::{
        causes::OwnerFacts,
        displacement,
        flows::{Circumstances, FlowKind, FlowSample, Judgement, Platform, Samples, Way},
    },
    fleet::Snapshot,
    incident::{BlastRadius, Scope},
    pipeline::{
        Pipeline, Subject,
        intake::Intake,
        mass::Recognised,
        state::{FleetSample, OwnerWatch},
    },
};

/// An owner's act is over after so many samples without more of it.
const QUIET_SAMPLES: u32 = 2;

impl Pipeline {
    /// Judges the flows of one fleet sample.
    pub(super) fn watch_fleet(&mut self, intake: &Intake) {
        let Some(before) = &intake.fleet_before else { return };
        self.follow_owners(intake, before);
        let mut platform_wide = Vec::new();
        for kind in FlowKind::ALL {
            let Some(sample) = self.flow_sample(kind, intake, before) else { continue };
            let circumstances = self.circumstances(kind, &sample, intake, before);
            self.show_bound(kind, &sample, circumstances);
            if let Some(index) = self.mass_watch_index(kind) {
                if !self.is_another(index, kind, &sample, intake) {
                    continue;
                }
                self.give_way(index, intake);
            }
            let history = self.state.flows.entry(kind).or_default();
            match history.judge(&sample, circumstances) {
                Judgement::Ordinary => {}
                Judgement::Owner => self.record_owner(kind, &sample, circumstances, intake),
                Judgement::Platform(platform) => platform_wide.push((kind, sample, platform)),
            }
        }
        self.open_mass(platform_wide, intake, before);
        self.inherited = None;
        self.follow_mass(intake, before);
    }

    /// The flow of one kind in this sample.
    pub(super) fn flow_sample(
        &self,
        kind: FlowKind,
        intake: &Intake,
        before: &FleetSample,
    ) -> Option<FlowSample> {
        let samples = Samples {
            at: intake.at,
            since: before.at,
            interval_s: self.settings.interval_s,
            before: &before.values,
            now: &intake.recordable,
            flows: intake.cohorts.as_ref().map(|cohorts| &cohorts.flows),
            cohorts_before: intake.cohorts.as_ref().map(|cohorts| &cohorts.before),
        };
        FlowSample::read(kind, samples)
    }

    /// What a judgement needs beside the flow.
    pub(super) fn circumstances(
        &self,
        kind: FlowKind,
        sample: &FlowSample,
        intake: &Intake,
        before: &FleetSample,
    ) -> Circumstances {
        let cohorts = intake.cohorts.as_ref();
        let apart = cohorts.is_none_or(|cohorts| cohorts.before.tells_owners_apart());
        let owners = if apart { "organizations" } else { "applications" };
        Circumstances {
            alpha: self.page_alpha(),
            interval_s: self.settings.interval_s,
            organizations: intake.recordable.get(owners).map(|count| *count as u64),
            eligible: cohorts.map(|cohorts| eligible_owners(kind, &cohorts.before)),
            weight: self.weight(kind, sample, intake, before),
            shared: kind.is_shared(),
        }
    }

    /// What the largest owner's act is measured by, in devices.
    fn weight(
        &self,
        kind: FlowKind,
        sample: &FlowSample,
        intake: &Intake,
        before: &FleetSample,
    ) -> Option<u64> {
        let largest = sample.largest_owner();
        if kind != FlowKind::Retargeted {
            return largest.map(|(_, amount)| amount);
        }
        if sample.amount == 0 {
            return Some(0);
        }
        let Some(snapshot) = intake.cohorts.as_ref().and(self.state.snapshot.as_ref()) else {
            // A recording says by how much pending updates rose while targets changed.
            let now = intake.recordable.get("pending_updates")?;
            let was = before.values.get("pending_updates")?;
            return Some((now - was).max(0.0) as u64);
        };
        let (owner, _) = largest?;
        let own = sample.by_application.iter().filter(|(_, of, _)| *of == owner);
        let applications = own.filter_map(|(id, _, _)| snapshot.applications.get(id));
        Some(applications.flat_map(|application| application.pending_pairs().into_values()).sum())
    }

    fn show_bound(&mut self, kind: FlowKind, sample: &FlowSample, circumstances: Circumstances) {
        let Some(breadth) = sample.breadth() else { return };
        let bound = self.state.flows.entry(kind).or_default().bound(circumstances);
        let [_, applications, organizations] = kind.signals();
        let signal = if sample.organizations.is_some() { organizations } else { applications };
        if let Some(watched) = self.state.signals.get_mut(signal) {
            let alarm = bound.organizations as f64 + 1.0;
            let status = &mut watched.status;
            status.expected_low = Some(0.0);
            status.expected = Some(0.0);
            status.expected_high = Some(bound.organizations as f64);
            status.score = Some(breadth as f64 / alarm);
            status.threshold = Some(alarm);
            status.threshold_origin = bound.origin;
            status.samples += 1;
        }
    }

    fn record_owner(
        &mut self,
        kind: FlowKind,
        sample: &FlowSample,
        circumstances: Circumstances,
        intake: &Intake,
    ) {
        let owner = sample.largest_owner().map(|(owner, _)| owner);
        let own: Vec<i64> = sample
            .by_application
            .iter()
            .filter(|(_, of, _)| Some(*of) == owner)
            .map(|(id, _, _)| *id)
            .collect();
        let applications =
            if owner.is_some() { Some(own.len() as u64) } else { sample.applications };
        let scope = if applications == Some(1) { Scope::Application } else { Scope::Organization };
        let names = own.first().and_then(|id| {
            self.state.snapshot.as_ref()?.applications.get(id).map(|found| found.name.clone())
        });
        let breadth = sample.breadth().unwrap_or(1);
        let bound = self.state.flows.entry(kind).or_default().bound(circumstances);
        let probability = 1.0 - bound.platform_probability(breadth, circumstances.alpha / 2.0);
        let record = OwnerFacts {
            kind,
            at: sample.at,
            since: sample.since,
            scope,
            application: names,
            blast_radius: BlastRadius {
                devices: circumstances.weight.unwrap_or(sample.amount),
                applications,
                organizations: sample.organizations.map(|_| 1),
                pinned_after: intake.recordable.get("devices_pinned").map(|count| *count as u64),
                ..BlastRadius::default()
            },
            probability,
        }
        .record();
        let Some(record) = record else { return };
        let candidates = vec![(record.cause, probability), (kind.mass_cause(), 1.0 - probability)];
        let watch = OwnerWatch { kind, owner, quiet_samples: 0 };
        self.open(record, candidates, Subject::Owner(watch));
    }

    /// Owners' acts go on or end.
    fn follow_owners(&mut self, intake: &Intake, before: &FleetSample) {
        let mut ended = Vec::new();
        for index in 0..self.state.watches.len() {
            let Subject::Owner(OwnerWatch { kind, owner, .. }) = self.state.watches[index].subject
            else {
                continue;
            };
            let sample = self.flow_sample(kind, intake, before);
            let more = sample.map_or(0, |sample| self.more_of(kind, owner, &sample));
            let watch = &mut self.state.watches[index];
            if let Subject::Owner(act) = &mut watch.subject {
                act.quiet_samples = if more > 0 { 0 } else { act.quiet_samples + 1 };
                if act.quiet_samples >= QUIET_SAMPLES {
                    ended.push(index);
                }
            }
            if more > 0 {
                if let Some(record) = watch.incident.causes.last_mut()
                    && kind != FlowKind::Retargeted
                {
                    record.blast_radius.devices += more;
                }
                self.touch(index);
            }
        }
        for index in ended.into_iter().rev() {
            self.resolve(index, intake.at, "no more of it came");
        }
    }

    /// How much more of an owner's act a sample holds.
    fn more_of(&self, kind: FlowKind, owner: Option<i64>, sample: &FlowSample) -> u64 {
        match owner {
            Some(owner) => {
                let own = sample.by_application.iter().filter(|(_, of, _)| *of == owner);
                own.map(|(_, _, amount)| amount).sum()
            }
            // A recording does not say whose it is: what is too much for the ordinary trickle.
            None => {
                let history = self.state.flows.get(&kind);
                let rare = history.is_some_and(|history| {
                    history.is_rare(sample.amount, self.settings.interval_s)
                });
                if rare { sample.amount } else { 0 }
            }
        }
    }

    /// Opens the incident of a platform-wide flow. Several kinds in one sample are one act: the
    /// kind that moved most names it.
    fn open_mass(
        &mut self,
        mut platform_wide: Vec<(FlowKind, FlowSample, Platform)>,
        intake: &Intake,
        before: &FleetSample,
    ) {
        platform_wide
            .sort_by_key(|(kind, _, platform)| (std::cmp::Reverse(platform.amount), *kind));
        let flows: Vec<(FlowKind, u64)> =
            platform_wide.iter().map(|(kind, _, platform)| (*kind, platform.amount)).collect();
        for (kind, sample, platform) in platform_wide {
            let belongs = self.mass_watch_index(kind).is_some()
                || self.goes_along(kind, platform.amount, intake);
            if !belongs {
                let (sample, platform) = (&sample, &platform);
                let recognised = Recognised { kind, sample, platform, intake, before };
                self.begin_mass(recognised, &flows);
            }
        }
    }
}

fn eligible_owners(kind: FlowKind, before: &Snapshot) -> u64 {
    let apart = before.tells_owners_apart();
    let counted = |application| displacement::counted(kind.quantity(), application);
    let could = before.applications.iter().filter(|(_, application)| match kind.way() {
        Some(Way::Removed | Way::Moved) => counted(application) > 0,
        Some(Way::Added) => counted(application) < application.devices(),
        None => true,
    });
    let owners = could.map(|(id, application)| if apart { application.organization } else { *id });
    owners.collect::<std::collections::BTreeSet<_>>().len() as u64
}
