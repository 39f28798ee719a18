//! Causes that were announced: held against their bounds when they open and with every sample after
//! that, told with their own severity once they go beyond them, and taken for normal when they are
//! over. What the bounds say is `diagnose::announced`'s.

use std::collections::BTreeMap;

use crate::{
    diagnose::{
        announced::{Extent, Touched, Verdict, over_at, verdict},
        flows::{FlowKind, Platform},
        services::ServiceFacts,
        signatures,
    },
    incident::{Cause, CauseRecord},
    pipeline::{
        Pipeline, Subject,
        intake::Intake,
        mass::QUIET_SPELL_INTERVALS,
        state::{Announced, FleetSample, MassWatch, Watch},
    },
    series::{Time, seconds},
};

impl Pipeline {
    /// What announcements say of a cause, as far as it reaches by now.
    pub(super) fn held_against_announced(
        &self,
        watch: &Watch,
        record: &CauseRecord,
        held: Announced,
        now: Time,
    ) -> Verdict {
        let flow = match &watch.subject {
            Subject::Mass(mass) if mass.kind.mass_cause() == record.cause => Some(mass),
            _ => None,
        };
        let interval_s = self.settings.interval_s;
        let history = flow.and_then(|mass| self.state.flows.get(&mass.kind));
        let is_trickle =
            |devices: u64| history.is_some_and(|history| !history.is_rare(devices, interval_s));
        let applications = flow.and_then(|mass| self.touched_applications(mass));
        let devices = match (flow, &applications) {
            (None, _) => Some(record.blast_radius.devices),
            // Of targets applications are counted: what they change is all of their devices.
            (Some(mass), touched) if mass.kind == FlowKind::Retargeted => {
                touched.as_ref().map(|all| all.iter().map(|one| one.devices).sum())
            }
            (Some(mass), _) => Some(mass.amount),
        };
        let extent = Extent {
            cause: record.cause,
            onset: record.onset,
            latest: flow.map_or(now, |mass| mass.moved_at),
            devices: devices.map(|devices| devices + held.besides),
            applications,
            besides: flow.and_then(|mass| mass.along.values().next()).map(String::as_str),
            owners_max: flow.map_or(0, |mass| mass.bound),
            is_trickle: &is_trickle,
        };
        verdict(&self.state.events, &extent)
    }

    /// Live: in which applications a flow has changed how many devices.
    fn touched_applications<'a>(&'a self, mass: &'a MassWatch) -> Option<Vec<Touched<'a>>> {
        let snapshot = self.state.snapshot.as_ref()?;
        let apart = snapshot.tells_owners_apart();
        let touched = mass.by_application.iter().map(|(id, amount)| {
            let application = snapshot.applications.get(id);
            let left = mass.places.get(id);
            let organization = application
                .map(|one| one.organization)
                .or_else(|| left.map(|place| place.organization));
            let name = application.map(|one| &one.name).or_else(|| left.map(|place| &place.name));
            let devices = match (mass.kind, application) {
                (FlowKind::Retargeted, Some(one)) => one.devices().saturating_sub(one.pinned()),
                _ => *amount,
            };
            Touched {
                id: *id,
                name: name.map_or("", String::as_str),
                owner: organization.filter(|_| apart).unwrap_or(*id),
                devices,
            }
        });
        (!mass.by_application.is_empty()).then(|| touched.collect())
    }

    /// Devices that other flows of a cause's family moved in this sample: they belong to the same
    /// act, whose texts count its own flow only.
    pub(super) fn besides(&self, watch: &Watch, intake: Option<&Intake>) -> u64 {
        let Subject::Mass(mass) = &watch.subject else { return 0 };
        let Some((intake, before)) = intake.and_then(|one| Some((one, one.fleet_before.as_ref()?)))
        else {
            return 0;
        };
        let others = mass.kind.family().kinds().filter(|kind| *kind != mass.kind);
        let amounts = others.filter_map(|kind| {
            let amount = self.flow_sample(kind, intake, before)?.amount;
            let history = self.state.flows.get(&kind)?;
            history.is_rare(amount, self.settings.interval_s).then_some(amount)
        });
        amounts.sum()
    }

    /// Follows announced causes through a sample.
    pub(super) fn follow_announced(&mut self, intake: &Intake) {
        for index in (0..self.state.watches.len()).rev() {
            let watch = &self.state.watches[index];
            let Some(held) = watch.announced else { continue };
            match (&watch.subject, &intake.fleet_before) {
                (Subject::Mass(_), Some(before)) => {
                    self.follow_announced_flow(index, held, intake, before);
                }
                (Subject::Signal(signal) | Subject::Jobs(signal), _) => {
                    let watched = self.state.signals.get(signal.as_str());
                    if watched.is_some_and(|watched| watched.source == intake.source) {
                        self.follow_announced_level(index, held, intake.at);
                    }
                }
                _ => {}
            }
        }
    }

    fn follow_announced_flow(
        &mut self,
        index: usize,
        mut held: Announced,
        intake: &Intake,
        before: &FleetSample,
    ) {
        let watch = &self.state.watches[index];
        let Subject::Mass(mass) = &watch.subject else { return };
        if !mass.recovering {
            held.besides += self.besides(watch, Some(intake));
        }
        let moved_at = mass.moved_at;
        let record = watch.incident.current();
        let (cause, onset) = (record.cause, record.onset);
        let verdict = self.held_against_announced(watch, record, held, intake.at);
        self.state.watches[index].announced = Some(held);
        if !verdict.is_within {
            if let Some(record) = self.flow_record(index, intake, before) {
                self.tell_after_all(index, record, intake.at);
            }
            return;
        }
        let spell = seconds(self.settings.interval_s * QUIET_SPELL_INTERVALS);
        let over = over_at(&self.state.events, cause, onset).is_none_or(|end| end < intake.at);
        if over && intake.at - moved_at > spell {
            let text = "What was announced is over, and stayed within its bounds: this is the new \
                        normal.";
            self.state.watches[index].incident.note(intake.at, text);
            if let Some(incident) =
                self.close(index, intake.at, "it was announced, and stayed within its bounds")
            {
                self.touched.insert(incident.id.clone(), incident);
            }
        }
    }

    fn follow_announced_level(&mut self, index: usize, held: Announced, now: Time) {
        let Some(record) = self.level_record(index, now) else { return };
        let watch = &self.state.watches[index];
        let verdict = self.held_against_announced(watch, &record, held, now);
        if !verdict.is_within {
            self.tell_after_all(index, record, now);
            return;
        }
        let Some(told) = self.state.watches[index].incident.causes.last_mut() else { return };
        if told.blast_radius.devices < record.blast_radius.devices {
            told.blast_radius = record.blast_radius;
            self.touch(index);
        }
    }

    /// An announced cause is told as any other: another record of it takes its place, with its
    /// facts as they are now.
    fn tell_after_all(&mut self, index: usize, record: CauseRecord, at: Time) {
        let incident = &mut self.state.watches[index].incident;
        if let Some(silent) = incident.causes.last_mut() {
            silent.evidence.clear();
        }
        incident.supersede(at, record);
        self.touch(index);
    }

    /// The record of a flow as it stands now.
    fn flow_record(
        &mut self,
        index: usize,
        intake: &Intake,
        before: &FleetSample,
    ) -> Option<CauseRecord> {
        let Subject::Mass(mass) = &self.state.watches[index].subject else { return None };
        let mass = mass.clone();
        let sample = self.flow_sample(mass.kind, intake, before)?;
        let circumstances = self.circumstances(mass.kind, &sample, intake, before);
        let incident = &self.state.watches[index].incident;
        let (onset, probability) = (incident.current().onset, incident.current().probability);
        let precursor: Option<Cause> =
            (mass.first_quiet_at < mass.quiet_at).then_some(incident.first().cause);
        let platform = Platform {
            onset,
            quiet_at: mass.quiet_at,
            breadth: mass.organizations.unwrap_or_default(),
            bound: self.state.flows.entry(mass.kind).or_default().bound(circumstances),
            probability,
            targets_before: BTreeMap::new(),
            by_application: BTreeMap::new(),
            owners: BTreeMap::new(),
            amount: mass.amount,
        };
        Some(self.facts(&mass, precursor, &platform, intake).record())
    }

    /// The record of a cause that shows in levels, as they stand now.
    fn level_record(&self, index: usize, now: Time) -> Option<CauseRecord> {
        let watch = &self.state.watches[index];
        let told = watch.incident.current();
        let (signal, counted) = match &watch.subject {
            Subject::Signal(signal) => (signal, None),
            Subject::Jobs(signal) => (signal, Some(self.demand(told.onset))),
            _ => return None,
        };
        let family = signatures::family_of(signal)?;
        let findings = self.findings(family, (signal, told.onset), now);
        let statistic = told.evidence.iter().rfind(|fact| fact.kind == "change")?.text.clone();
        let facts = ServiceFacts {
            cause: told.cause,
            onset: told.onset,
            now,
            probability: told.probability,
            findings: &findings,
            statistic,
            counted,
        };
        Some(facts.record())
    }

    /// What an announced flow has changed, now that its incident is over, is no longer free.
    pub(super) fn spend_announced(&mut self, index: usize) {
        let watch = &self.state.watches[index];
        let (Some(held), Subject::Mass(mass)) = (watch.announced, &watch.subject) else { return };
        let (record, devices) = (watch.incident.current(), mass.amount + held.besides);
        self.state.events.spend(record.cause, record.onset, devices);
    }
}
