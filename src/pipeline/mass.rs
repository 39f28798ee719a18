//! Incidents of platform-wide flows: how one begins, goes on in batches, is joined by a sequel,
//! finds its way back and ends.

use std::collections::BTreeMap;

use crate::{
    diagnose::{
        causes::{MassFacts, Precursor, flow_fact, went_along},
        displacement::Displacement,
        flows::{Circumstances, Family, FlowKind, FlowSample, Platform, WINDOW_SAMPLES_MAX, Way},
        ledger::{Account, Claim, WRITER, counters_delay_max},
    },
    incident::{Cause, CauseRecord, EVENT, Evidence},
    pipeline::{
        Inherited, Pipeline, Subject,
        blast_radius::counts_before,
        intake::Intake,
        state::{FleetSample, MassWatch},
    },
    series::seconds,
};

/// Intervals without more of it after which a cause that comes again is another event: the longest
/// window in which batches are added up.
pub(super) const QUIET_SPELL_INTERVALS: f64 = WINDOW_SAMPLES_MAX as f64;
/// A flow goes along with an incident that moved something at this sample or the one before, with
/// an interval's margin for unsteady samples.
const ALONG_INTERVALS: f64 = 2.0;
/// Without any breadth, the share that ordinarily acts at once is that of the declared prior.
const DECLARED_SHARE: f64 = 0.02;

/// A platform-wide flow as it was recognised.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recognised<'a> {
    pub(super) kind: FlowKind,
    pub(super) sample: &'a FlowSample,
    pub(super) platform: &'a Platform,
    pub(super) intake: &'a Intake,
    pub(super) before: &'a FleetSample,
}

impl Pipeline {
    /// The open incident to which a platform-wide flow of this kind would belong.
    pub(super) fn mass_watch_index(&self, kind: FlowKind) -> Option<usize> {
        self.state.watches.iter().position(|watch| {
            matches!(&watch.subject, Subject::Mass(mass) if mass.kind.family() == kind.family())
        })
    }

    /// Whether a platform-wide flow during an incident is another event and not a part of it: more
    /// of its current cause after a quiet spell or a way back, or a cause that it has had before
    /// (whose alert is out and would not be told again).
    pub(super) fn is_another(
        &self,
        index: usize,
        kind: FlowKind,
        sample: &FlowSample,
        intake: &Intake,
    ) -> bool {
        let watch = &self.state.watches[index];
        let (Subject::Mass(mass), Some(breadth)) = (&watch.subject, sample.breadth()) else {
            return false;
        };
        if breadth <= mass.bound || mass.companion == Some(kind) {
            return false;
        }
        if kind == mass.kind {
            let spell_s = self.settings.interval_s * QUIET_SPELL_INTERVALS;
            let quiet = (intake.at - mass.moved_at).as_seconds_f64() > spell_s;
            return quiet || mass.recovering;
        }
        let had = |record: &CauseRecord| record.cause == kind.mass_cause();
        watch.incident.causes.iter().any(had) && self.goes_beyond(mass, kind, mass.bound, intake)
    }

    /// Ends an incident that another of its kind follows. Where everybody stood before it is where
    /// they stood before the next one too.
    pub(super) fn give_way(&mut self, index: usize, intake: &Intake) {
        let incident = &mut self.state.watches[index].incident;
        incident.note(intake.at, "It happens again: the next incident goes on from here.");
        if let Subject::Mass(mass) = &self.state.watches[index].subject {
            self.inherited = Some(Inherited {
                displacement: mass.displacement.clone(),
                pinned_before: mass.pinned_before.clone(),
                counted_before: mass.counted_before.clone(),
            });
        }
        self.resolve(index, intake.at, "another one of its kind follows");
    }

    /// Opens the incident of a platform-wide flow.
    pub(super) fn begin_mass(&mut self, recognised: Recognised<'_>, flows: &[(FlowKind, u64)]) {
        let Recognised { kind, sample, platform, intake, before } = recognised;
        let earlier = earlier_flows(kind, sample, platform);
        let cohorts = intake.cohorts.as_ref();
        let total = before.values.get(kind.quantity().signal()).copied();
        let earlier_total: f64 = earlier.values().sum::<i64>() as f64;
        let quiet = cohorts.map(|cohorts| &cohorts.before);
        let mut displacement =
            Displacement::since(kind.quantity(), quiet, total.map(|count| count - earlier_total));
        displacement.correct(&owner_flows(platform, &earlier));
        displacement.correct_targets(&platform.targets_before);
        let (pinned_before, counted_before) =
            quiet.map(|quiet| counts_before(kind, quiet, &earlier)).unwrap_or_default();
        let stood = self.inherited.take().unwrap_or(Inherited {
            displacement,
            pinned_before,
            counted_before,
        });
        let bound = platform.bound.organizations;
        let affected = platform.breadth.max(1);
        let mut mass = MassWatch {
            kind,
            companion: companion(kind, flows),
            along: along(kind, flows),
            quiet_at: platform.quiet_at,
            first_quiet_at: platform.quiet_at,
            moved_at: intake.at,
            amount: 0,
            by_application: BTreeMap::new(),
            applications: None,
            organizations: None,
            to_running: None,
            displacement: stood.displacement,
            pinned_before: stood.pinned_before,
            counted_before: stood.counted_before,
            places: BTreeMap::new(),
            pending_before: before.values.get("pending_updates").map(|count| *count as u64),
            bound,
            share: share(bound, affected),
            recovering: false,
        };
        mass.take(platform, sample, intake);
        mass.moved(self, intake, before, true);
        let record = self.facts(&mass, None, platform, intake).record();
        let candidates = candidates(kind, platform.probability);
        let mistaken = self.state.watches.iter().position(|watch| {
            matches!(&watch.subject, Subject::Owner(act) if act.kind == kind)
                && watch.incident.first().onset >= platform.onset
        });
        let Some(index) = mistaken else {
            self.open(record, candidates, Subject::Mass(Box::new(mass)));
            return;
        };
        // The first batch looked like one owner's act: the same incident, its cause revised.
        let watch = &mut self.state.watches[index];
        watch.subject = Subject::Mass(Box::new(mass));
        watch.incident.candidates = candidates;
        watch.incident.join(record);
        self.touch(index);
    }

    /// Whether a platform-wide flow is of another kind of target than an open incident and goes
    /// along with it: the same happens to both at once, which is one act and no incident of its
    /// own.
    pub(super) fn goes_along(&mut self, kind: FlowKind, amount: u64, intake: &Intake) -> bool {
        // Of this sample, the incident's own flow may not have been followed yet.
        let recent = intake.at - seconds(self.settings.interval_s * ALONG_INTERVALS);
        let found = self.state.watches.iter().position(|watch| match &watch.subject {
            Subject::Mass(mass) => {
                mass.kind.mass_cause() == kind.mass_cause() && mass.moved_at >= recent
            }
            _ => false,
        });
        let Some(index) = found else { return false };
        let watch = &mut self.state.watches[index];
        if let Subject::Mass(mass) = &mut watch.subject
            && !mass.along.contains_key(&kind)
        {
            let text = went_along(kind, amount);
            watch.incident.note(intake.at, format!("{text}."));
            mass.along.insert(kind, text);
            self.touch(index);
        }
        true
    }

    /// Follows open platform-wide incidents through a sample.
    pub(super) fn follow_mass(&mut self, intake: &Intake, before: &FleetSample) {
        let mut index = 0;
        while index < self.state.watches.len() {
            let watch = &self.state.watches[index];
            let (Subject::Mass(mass), true) =
                (&watch.subject, watch.incident.current().detected_at < intake.at)
            else {
                index += 1;
                continue;
            };
            let mut mass = mass.clone();
            let mut flowed = false;
            for kind in mass.kind.family().kinds() {
                let Some(sample) = self.flow_sample(kind, intake, before) else { continue };
                if sample.amount > 0 {
                    flowed |= self.follow_flow(index, &mut mass, kind, &sample, intake, before);
                }
            }
            let over = !flowed && self.has_returned(&mut mass, intake);
            if !over && intake.at <= mass.moved_at + counters_delay_max(self.settings.interval_s) {
                // Counters of what was written before are still on their way.
                self.refresh(index, &mass, intake);
            }
            self.state.watches[index].subject = Subject::Mass(mass);
            if flowed {
                self.state.watches[index].still_since = Some(intake.at);
            }
            if over {
                self.resolve(index, intake.at, "owners are back where they stood before it");
            } else {
                index += 1;
            }
        }
    }

    /// One flow during an incident: more of the current cause, a sequel, or a way back. Says
    /// whether it was platform-wide: the fleet is not at rest then.
    fn follow_flow(
        &mut self,
        index: usize,
        mass: &mut MassWatch,
        kind: FlowKind,
        sample: &FlowSample,
        intake: &Intake,
        before: &FleetSample,
    ) -> bool {
        let circumstances = self.circumstances(kind, sample, intake, before);
        let accompanies = self.accompanies(mass, kind, sample, intake, before);
        let history = self.state.flows.entry(kind).or_default();
        let platform = history.platform_wide(sample, circumstances);
        if accompanies {
            // Whatever it held belongs to the cause that goes on.
            history.clear_recent();
            return platform.is_some();
        }
        if kind == mass.kind || Some(kind) == mass.companion {
            let goes_on = platform.is_some() || self.is_batch(mass, sample, circumstances);
            if goes_on {
                // Or else an owner's own act of later would be taken for more of it.
                self.state.flows.entry(kind).or_default().clear_recent();
            }
            if goes_on && kind == mass.kind {
                mass.add(sample, platform.as_ref(), intake);
                mass.moved(self, intake, before, false);
            }
            return goes_on;
        }
        let Some(platform) = platform else { return false };
        if !self.goes_beyond(mass, kind, platform.bound.organizations, intake) {
            // Accounted for: an owner's act after the recovery must not find it in its window.
            self.state.flows.entry(kind).or_default().clear_recent();
            if !mass.recovering {
                mass.recovering = true;
                let text = match mass.kind.family() {
                    Family::HostOs => "Host OS targets are on their way back",
                    Family::Supervisor => "Supervisor targets are on their way back",
                    _ => "Pins are on their way back",
                };
                let text = format!("{text} to where they were before.");
                self.state.watches[index].incident.note(intake.at, text);
                self.touch(index);
            }
            return true;
        }
        for kind in kind.family().kinds() {
            self.state.flows.entry(kind).or_default().clear_recent();
        }
        let recognised = Recognised { kind, sample, platform: &platform, intake, before };
        self.join_sequel(index, mass, recognised);
        true
    }

    fn join_sequel(&mut self, index: usize, mass: &mut MassWatch, recognised: Recognised<'_>) {
        let Recognised { kind, sample, platform, intake, before } = recognised;
        let first = self.state.watches[index].incident.first().cause;
        mass.kind = kind;
        mass.companion = None;
        mass.along.clear();
        mass.quiet_at = platform.quiet_at;
        mass.moved_at = intake.at;
        mass.amount = 0;
        mass.by_application.clear();
        (mass.applications, mass.organizations, mass.to_running) = (None, None, None);
        mass.pending_before = before.values.get("pending_updates").map(|count| *count as u64);
        mass.recovering = false;
        mass.bound = mass.bound.max(platform.bound.organizations);
        mass.take(platform, sample, intake);
        mass.moved(self, intake, before, true);
        let record = self.facts(mass, Some(first), platform, intake).record();
        let incident = &mut self.state.watches[index].incident;
        incident.candidates = candidates(kind, platform.probability);
        incident.join(record);
        self.touch(index);
    }

    /// A statement that pins devices, or takes pins back, also moves the pins of some devices that
    /// had another: in one sample the smaller flow is a by-product of the larger one. Additions are
    /// one only of moves that are the current cause.
    fn accompanies(
        &self,
        mass: &MassWatch,
        kind: FlowKind,
        sample: &FlowSample,
        intake: &Intake,
        before: &FleetSample,
    ) -> bool {
        let exceeded = |by: Way| {
            let other = kind.family().going(by);
            let other = other.and_then(|other| self.flow_sample(other, intake, before));
            other.is_some_and(|other| other.amount > sample.amount)
        };
        match kind.way() {
            _ if kind == mass.kind => false,
            Some(Way::Moved) => exceeded(Way::Added) || exceeded(Way::Removed),
            Some(Way::Added) => mass.kind.way() == Some(Way::Moved) && exceeded(Way::Moved),
            Some(Way::Removed) | None => false,
        }
    }

    /// A further batch of the current cause need not be platform-wide by itself: it touches as many
    /// devices as no owner ordinarily does, or several owners' at once. Where an owner's act is
    /// measured by other devices than those of the flow, it is by these and of several owners.
    fn is_batch(
        &self,
        mass: &MassWatch,
        sample: &FlowSample,
        circumstances: Circumstances,
    ) -> bool {
        let devices = match (mass.kind, circumstances.weight) {
            (FlowKind::Retargeted, Some(_)) if sample.breadth() <= Some(1) => return false,
            (FlowKind::Retargeted, Some(largest)) => largest,
            _ => sample.amount,
        };
        let history = self.state.flows.get(&mass.kind);
        history.is_some_and(|history| history.is_rare(devices, self.settings.interval_s))
    }

    fn goes_beyond(&self, mass: &MassWatch, kind: FlowKind, bound: u64, intake: &Intake) -> bool {
        if matches!(kind.way(), Some(Way::Moved) | None) {
            return true;
        }
        if let (Some(_), Some(now)) = (&intake.cohorts, &self.state.snapshot) {
            let beyond = mass.displacement.beyond(kind, now);
            return beyond.owners > bound
                || (beyond.owners > 0 && beyond.owners == beyond.possible);
        }
        let total = intake.recordable.get(kind.quantity().signal()).copied();
        total.is_none_or(|count| mass.displacement.total_beyond(kind, count, mass.share))
    }

    fn has_returned(&self, mass: &mut MassWatch, intake: &Intake) -> bool {
        let now = intake.cohorts.as_ref().and(self.state.snapshot.as_ref());
        let (kind, bound, share) = (mass.kind, mass.bound, mass.share);
        let total = intake.recordable.get(kind.quantity().signal()).copied();
        mass.displacement.has_returned(kind, now, total, bound, share)
    }

    /// Brings evidence and blast radius of the current cause up to date; its texts stay as
    /// notified.
    fn refresh(&mut self, index: usize, mass: &MassWatch, intake: &Intake) {
        let onset = self.state.watches[index].incident.current().onset;
        let mut account = self.account(mass, onset, intake);
        if intake.at > mass.moved_at {
            // Whoever writes while nothing of this moves is at something else: perhaps its sequel.
            account.evidence.retain(|fact| fact.kind != WRITER);
        }
        let blast_radius = self.blast_radius(mass, intake);
        let Some(record) = self.state.watches[index].incident.causes.last_mut() else { return };
        let flow = record.evidence.iter().find(|fact| fact.kind == "flow").cloned();
        let along = mass.along.values().map(flow_fact);
        let events = record.evidence.iter().filter(|fact| fact.kind == EVENT).cloned();
        let facts = flow.into_iter().chain(along).chain(account.evidence);
        let evidence: Vec<Evidence> = facts.chain(events).collect();
        if evidence != record.evidence || blast_radius != record.blast_radius {
            record.evidence = evidence;
            record.blast_radius = blast_radius;
            self.touch(index);
        }
    }

    fn account(&self, mass: &MassWatch, onset: crate::series::Time, intake: &Intake) -> Account {
        self.state.ledger.account(Claim {
            devices: mass.amount,
            written: mass.kind.written(),
            quiet_at: mass.quiet_at,
            onset,
            now: intake.at,
            interval_s: self.settings.interval_s,
        })
    }

    pub(super) fn facts(
        &self,
        mass: &MassWatch,
        first: Option<Cause>,
        platform: &Platform,
        intake: &Intake,
    ) -> MassFacts {
        let wal_lsn = |at| self.state.ledger.wal_lsn(at).map(str::to_owned);
        let count = |name: &str| intake.recordable.get(name).map(|count| *count as u64);
        let bound = match platform.bound.organizations {
            0 => platform.bound.origin.clone(),
            most => {
                let origin = &platform.bound.origin;
                format!("ordinarily at most {most} owners act at a time ({origin})")
            }
        };
        MassFacts {
            kind: mass.kind,
            onset: platform.onset,
            quiet_at: mass.quiet_at,
            now: intake.at,
            probability: platform.probability,
            bound,
            blast_radius: self.blast_radius(mass, intake),
            to_running: mass.to_running,
            along: mass.along.values().map(flow_fact).collect(),
            pending_pairs: count("pending_pairs"),
            updates_in_progress: count("updates_in_progress"),
            wal_lsn: wal_lsn(mass.quiet_at),
            precursor: first.map(|cause| Precursor {
                cause,
                quiet_at: mass.first_quiet_at,
                wal_lsn: wal_lsn(mass.first_quiet_at),
            }),
            account: self.account(mass, platform.onset, intake),
        }
    }
}

impl MassWatch {
    /// Takes the window in which a cause was recognised.
    fn take(&mut self, platform: &Platform, sample: &FlowSample, intake: &Intake) {
        self.amount = platform.amount;
        self.by_application.clone_from(&platform.by_application);
        self.applications = sample.applications;
        self.organizations = sample.organizations;
        self.remember_places(&platform.owners, intake);
    }

    /// Takes a further batch. Of a recording it is not known which applications are new in it: the
    /// breadth of the broadest batch is what is sure.
    fn add(&mut self, sample: &FlowSample, platform: Option<&Platform>, intake: &Intake) {
        self.moved_at = sample.at;
        match platform {
            // Together with the smaller ones before it that only now prove to be more of the same.
            Some(platform) => {
                self.amount += platform.amount;
                for (application, amount) in &platform.by_application {
                    *self.by_application.entry(*application).or_insert(0) += amount;
                }
                self.remember_places(&platform.owners, intake);
            }
            None => {
                self.amount += sample.amount;
                let mut owners = BTreeMap::new();
                for (application, owner, amount) in &sample.by_application {
                    *self.by_application.entry(*application).or_insert(0) += amount;
                    owners.insert(*application, *owner);
                }
                self.remember_places(&owners, intake);
            }
        }
        self.applications = self.applications.max(sample.applications);
        self.organizations = self.organizations.max(sample.organizations);
        if let Some(breadth) = sample.breadth() {
            self.share = self.share.min(share(self.bound, breadth.max(1)));
        }
    }

    /// The current cause moved the fleet to where it is now, if it begins with this sample;
    /// otherwise on from where it had moved it.
    fn moved(&mut self, pipeline: &Pipeline, intake: &Intake, before: &FleetSample, begins: bool) {
        let total = intake.recordable.get(self.kind.quantity().signal()).copied();
        let snapshot = intake.cohorts.as_ref().and(pipeline.state.snapshot.as_ref());
        if begins {
            self.displacement.moved_to(snapshot, total);
        } else {
            self.displacement.moved_on(snapshot, total);
        }
        if self.kind != FlowKind::Added {
            return;
        }
        let gained = match &intake.cohorts {
            Some(cohorts) => {
                Some(cohorts.flows.total(|flow| flow.pinned_to_running_gained).count as f64)
            }
            None => {
                let now = intake.recordable.get("devices_pinned_to_running");
                let was = before.values.get("devices_pinned_to_running");
                now.zip(was).map(|(now, was)| (now - was).max(0.0))
            }
        };
        let flowed = intake.recordable.get("pins_added").copied().unwrap_or(0.0);
        if let (Some(gained), true) = (gained, flowed > 0.0) {
            self.to_running = Some((gained / flowed).min(1.0));
        }
    }
}

fn companion(kind: FlowKind, flows: &[(FlowKind, u64)]) -> Option<FlowKind> {
    let other = match kind.way()? {
        Way::Added => Way::Moved,
        Way::Moved => Way::Added,
        Way::Removed => return None,
    };
    let other = kind.family().going(other)?;
    flows.iter().any(|(flow, _)| *flow == other).then_some(other)
}

/// The flows of other kinds of target to which the same happened at once.
fn along(kind: FlowKind, flows: &[(FlowKind, u64)]) -> BTreeMap<FlowKind, String> {
    let others = flows.iter().filter(|(other, _)| {
        other.family() != kind.family() && other.mass_cause() == kind.mass_cause()
    });
    others.map(|(other, amount)| (*other, went_along(*other, *amount))).collect()
}

fn share(bound: u64, affected: u64) -> f64 {
    if bound == 0 { DECLARED_SHARE } else { (bound as f64 / affected as f64).min(0.5) }
}

fn candidates(kind: FlowKind, probability: f64) -> Vec<(Cause, f64)> {
    let otherwise = kind.owner_cause().unwrap_or(Cause::Unexplained);
    vec![(kind.mass_cause(), probability), (otherwise, 1.0 - probability)]
}

/// What earlier samples of the window had already moved, as a change of what is counted.
fn earlier_flows(kind: FlowKind, sample: &FlowSample, platform: &Platform) -> BTreeMap<i64, i64> {
    let sign = match kind.way() {
        Some(Way::Added) => 1,
        Some(Way::Removed) => -1,
        Some(Way::Moved) | None => return BTreeMap::new(),
    };
    let mut earlier: BTreeMap<i64, i64> =
        platform.by_application.iter().map(|(id, amount)| (*id, sign * *amount as i64)).collect();
    for (id, _, amount) in &sample.by_application {
        *earlier.entry(*id).or_insert(0) -= sign * *amount as i64;
    }
    earlier.retain(|_, amount| *amount != 0);
    earlier
}

fn owner_flows(platform: &Platform, earlier: &BTreeMap<i64, i64>) -> BTreeMap<i64, i64> {
    let mut owners = BTreeMap::new();
    for (id, amount) in earlier {
        if let Some(owner) = platform.owners.get(id) {
            *owners.entry(*owner).or_insert(0) += amount;
        }
    }
    owners
}
