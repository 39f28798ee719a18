//! The catalogue in words: what each cause's record says to the person it wakes. Every number is
//! read from the sample or the ledger; what is not known is said to be unknown.

use crate::{
    diagnose::{
        flows::FlowKind,
        ledger::Account,
        targets::Target,
        texts::{count, counted, hms, level, quoted},
    },
    incident::{BlastRadius, Cause, CauseRecord, Change, Evidence, Scope},
    series::{Direction, Time},
};

/// What is known of a platform-wide flow when its record is written.
#[derive(Clone, Debug)]
pub struct MassFacts {
    /// Which flow.
    pub kind: FlowKind,
    /// First sample of the new regime.
    pub onset: Time,
    /// The last sample before it.
    pub quiet_at: Time,
    /// The present sample.
    pub now: Time,
    /// The probability of this cause.
    pub probability: f64,
    /// What breadth would have been ordinary, and why.
    pub bound: String,
    /// Who is affected.
    pub blast_radius: BlastRadius,
    /// The part of the new pins that equal the running release, 0..1, where known.
    pub to_running: Option<f64>,
    /// What else happened at once.
    pub along: Vec<Evidence>,
    /// Release pairs that are pending now.
    pub pending_pairs: Option<u64>,
    /// Devices that download or apply an update now.
    pub updates_in_progress: Option<u64>,
    /// The log position at the last quiet sample.
    pub wal_lsn: Option<String>,
    /// What the incident began with, if this is its sequel.
    pub precursor: Option<Precursor>,
    /// What the ledger says.
    pub account: Account,
}

/// The first cause of an incident, as its sequel must know it: what was there just before the
/// sequel is that cause's work and nothing to go back to.
#[derive(Clone, Debug)]
pub struct Precursor {
    /// Which.
    pub cause: Cause,
    /// The last sample before it.
    pub quiet_at: Time,
    /// The log position at that sample.
    pub wal_lsn: Option<String>,
}

impl MassFacts {
    /// The cause's record, with its texts.
    pub fn record(&self) -> CauseRecord {
        let cause = self.kind.mass_cause();
        let mut evidence = vec![self.breadth_evidence()];
        evidence.extend(self.along.iter().cloned());
        evidence.extend(self.account.evidence.iter().cloned());
        let next_steps = self.next_steps();
        let description = self.description(&evidence, &next_steps);
        CauseRecord {
            cause,
            severity: cause.severity(),
            scope: Scope::Platform,
            onset: self.onset,
            detected_at: self.now,
            superseded_at: None,
            title: format!("{}: {}", headline(self.kind), self.extent()),
            summary: self.summary(),
            description,
            probability: self.probability,
            evidence,
            blast_radius: self.blast_radius.clone(),
            next_steps,
        }
    }

    /// `147,773 devices in 1,480 applications of 312 organisations`.
    fn extent(&self) -> String {
        let radius = &self.blast_radius;
        let mut text = match self.kind {
            FlowKind::Retargeted => counted(radius.devices, "application", "applications"),
            _ => counted(radius.devices, "device", "devices"),
        };
        if let (Some(applications), true) = (radius.applications, self.kind != FlowKind::Retargeted)
        {
            text += &format!(" in {}", counted(applications, "application", "applications"));
        }
        if let Some(organizations) = radius.organizations {
            text += &format!(" of {}", counted(organizations, "organisation", "organisations"));
        }
        text
    }

    fn summary(&self) -> String {
        let what = match (self.kind, self.to_running) {
            (FlowKind::Added, Some(share)) => {
                format!("were pinned, {:.0} % of them to the release they run,", share * 100.0)
            }
            (kind, _) => happened(kind),
        };
        let (from, to) = (hms(self.quiet_at), hms(self.now));
        let mut text = format!("{} {what} between {from} and {to} UTC", self.extent());
        if let Some(by_whom) = &self.account.by_whom {
            text += &format!("; {by_whom}");
        }
        if let Some(migrations) = &self.account.migrations {
            text += &format!("; {migrations}");
        }
        text + "."
    }

    fn breadth_evidence(&self) -> Evidence {
        let verb = if self.kind == FlowKind::Deleted { "were deleted" } else { "changed" };
        let text = format!(
            "{} {verb} between {} and {} UTC; {}",
            self.extent(),
            hms(self.quiet_at),
            hms(self.now),
            self.bound,
        );
        flow_fact(&text)
    }

    fn meaning(&self) -> String {
        if let Some(target) = Target::of(self.kind) {
            return target.meaning();
        }
        let radius = &self.blast_radius;
        let pending = match (radius.pending_before, radius.pending_after) {
            (Some(before), Some(after)) => {
                let pairs = self.pending_pairs.map_or(String::new(), |pairs| {
                    format!(" over {}", counted(pairs, "release pair", "release pairs"))
                });
                let before = count(before as i64);
                let devices = counted(after, "device has", "devices have");
                format!(" {devices} an update pending{pairs} ({before} before).")
            }
            _ => String::new(),
        };
        match self.kind {
            FlowKind::Added => format!(
                "A pin holds a device on its release: no service is disrupted now, updates stop \
                 without a word.{pending}"
            ),
            FlowKind::Removed => format!(
                "A device without its pin takes its application's release and runs code that its \
                 owner did not choose.{pending}"
            ),
            FlowKind::Moved => {
                format!("Devices go to a release that their owners did not choose.{pending}")
            }
            FlowKind::Retargeted => format!(
                "Every unpinned device of these applications goes to another release.{pending}"
            ),
            FlowKind::Deleted => {
                let counts = radius.counted.and_then(|all| all.before.zip(all.after));
                let left = counts.map_or(String::new(), |(before, after)| {
                    let devices = counted(after, "device is", "devices are");
                    format!(" {devices} left ({} before).", count(before as i64))
                });
                format!(
                    "A deleted device goes on running what it runs, but the platform does not know \
                     it any more: it cannot be seen, reached or updated.{left}"
                )
            }
            _ => String::new(),
        }
    }

    fn description(&self, evidence: &[Evidence], next_steps: &[String]) -> String {
        let mut text = self.meaning();
        text += "\n\nEvidence:\n";
        for fact in evidence {
            text += &format!("- {}\n", fact.text);
        }
        text += match self.kind {
            FlowKind::Removed | FlowKind::Moved | FlowKind::Retargeted => {
                "\nDelta requests, delta queue, updates in progress, egress and API load follow from \
                 this: they are symptoms and need no debugging of their own.\n"
            }
            FlowKind::Deleted => {
                "\nFewer devices online, fewer pending updates and other API load follow from this: \
                 they are symptoms and need no debugging of their own.\n"
            }
            _ => "",
        };
        text += "\nNext:\n";
        for step in next_steps {
            text += &format!("- {step}\n");
        }
        text
    }

    fn next_steps(&self) -> Vec<String> {
        let mut steps = Vec::new();
        let stop = match (&self.account.cancel, &self.account.migrations) {
            // A migrator goes on with its next batch: to cancel the present one is not enough.
            (cancel, Some(migrations)) if self.account.migration_runs => {
                let batch = cancel.as_ref().map_or(String::new(), |cancel| {
                    format!(" Then its transaction that still runs: {cancel}.")
                });
                format!("Stop the migration first: {migrations}.{batch}")
            }
            (Some(cancel), _) => format!("Stop the writer: it still runs ({cancel})."),
            _ => "Make sure that the writer has stopped before anything is repaired.".to_owned(),
        };
        steps.push(stop);
        steps.extend(self.do_not());
        steps.push(self.restore());
        steps
    }

    /// Where to go back to: before the first cause of the incident.
    fn restore(&self) -> String {
        let (quiet_at, wal_lsn, what) = match &self.precursor {
            None => (self.quiet_at, &self.wal_lsn, "the last sample before the onset".to_owned()),
            Some(first) => {
                let what = format!("the last sample before {}, which came first", first.cause);
                (first.quiet_at, &first.wal_lsn, what)
            }
        };
        let position =
            wal_lsn.as_ref().map_or(String::new(), |lsn| format!(", WAL position {lsn}"));
        let radius = &self.blast_radius;
        let counted_before = radius.counted.and_then(|all| all.before);
        let then = match (self.kind, radius.pinned_before, counted_before) {
            (FlowKind::Removed, Some(pinned), _) => {
                format!(", when {}", counted(pinned, "device was pinned", "devices were pinned"))
            }
            (FlowKind::Deleted, _, Some(devices)) => {
                format!(", when there were {}", counted(devices, "device", "devices"))
            }
            (kind, _, Some(devices)) => Target::of(kind).map_or(String::new(), |target| {
                let devices = counted(devices, "device", "devices");
                format!(", when {devices} had a {} target", target.what)
            }),
            _ => String::new(),
        };
        let how = match self.kind {
            FlowKind::Deleted => {
                "only the rows that are gone: the devices with their ids and uuids, and whatever was \
                 deleted with them (variables, tags, installed services, API keys)"
            }
            _ => "row by row: keep what owners changed since",
        };
        let mut text = format!(
            "Restore from the state at {} UTC ({what}{position}){then}, {how}.",
            hms(quiet_at),
        );
        if let Some(first) = &self.precursor {
            let spoilt_at = hms(self.quiet_at);
            text += &format!(" Not from {spoilt_at} UTC: that state is {}'s work.", first.cause);
        }
        text
    }

    fn do_not(&self) -> Vec<String> {
        if let Some(target) = Target::of(self.kind) {
            return vec![target.do_not()];
        }
        let radius = &self.blast_radius;
        match self.kind {
            FlowKind::Added => {
                let before = radius.pinned_before.map_or_else(
                    || "Some devices were".to_owned(),
                    |pinned| {
                        format!(
                            "{} before",
                            counted(pinned, "device was pinned", "devices were pinned")
                        )
                    },
                );
                let mut text = format!("Do NOT clear all pins. {before}");
                if let Some(pending) = radius.pending_if_unpinned {
                    text += &format!(
                        "; clearing all now would start an update of {} over {}",
                        counted(pending.devices, "device", "devices"),
                        counted(pending.pairs, "release pair", "release pairs"),
                    );
                }
                vec![text + "."]
            }
            FlowKind::Removed => {
                let mut steps = vec![
                    "Hold updates back until pins are restored: each device that updates now runs \
                     code it should not."
                        .to_owned(),
                ];
                if let Some(updating) = self.updates_in_progress {
                    let devices = counted(updating, "device is", "devices are");
                    steps.push(format!(
                        "{devices} downloading or applying an update at this moment."
                    ));
                }
                steps.push("Do NOT scale delta generation up: its load is a symptom.".to_owned());
                steps
            }
            FlowKind::Moved | FlowKind::Retargeted => {
                vec!["Do NOT scale delta generation up: its load is a symptom.".to_owned()]
            }
            FlowKind::Deleted => vec![
                "Do NOT let the devices be registered anew, and do not insert them under new ids: \
                 everything that refers to a device by its id would be lost."
                    .to_owned(),
            ],
            _ => Vec::new(),
        }
    }
}

/// A fact about what moved.
pub fn flow_fact(text: impl Into<String>) -> Evidence {
    Evidence { kind: "flow".to_owned(), text: text.into() }
}

/// `30,000 devices lost their host OS target too`.
pub fn went_along(kind: FlowKind, devices: u64) -> String {
    format!("{} {} too", counted(devices, "device", "devices"), happened(kind))
}

/// What happened to devices, or to applications where these are what changed.
fn happened(kind: FlowKind) -> String {
    let text = match (kind, Target::of(kind)) {
        (_, Some(target)) => return target.happened(),
        (FlowKind::Added, None) => "were pinned",
        (FlowKind::Removed, None) => "lost their pin",
        (FlowKind::Moved, None) => "were pinned to another release",
        (FlowKind::Deleted, None) => "were deleted",
        (_, None) => "got another target release",
    };
    text.to_owned()
}

fn headline(kind: FlowKind) -> String {
    let text = match (kind, Target::of(kind)) {
        (_, Some(target)) => return target.headline(),
        (FlowKind::Added, None) => "Mass pin",
        (FlowKind::Removed, None) => "Mass unpin",
        (FlowKind::Moved, None) => "Mass repin",
        (FlowKind::Deleted, None) => "Mass deletion",
        (_, None) => "Mass retarget",
    };
    text.to_owned()
}

/// What is known of an owner's own act.
#[derive(Clone, Debug)]
pub struct OwnerFacts {
    /// Which flow.
    pub kind: FlowKind,
    /// The sample.
    pub at: Time,
    /// The one before it.
    pub since: Time,
    /// One application or one organisation.
    pub scope: Scope,
    /// The name of the application that is affected most, live.
    pub application: Option<String>,
    /// Who is affected.
    pub blast_radius: BlastRadius,
    /// The probability that it is an owner's own act.
    pub probability: f64,
}

impl OwnerFacts {
    /// The record of an act that wakes nobody; `None` of acts that the catalogue does not speak of.
    pub fn record(&self) -> Option<CauseRecord> {
        let cause = self.kind.owner_cause()?;
        let devices = counted(self.blast_radius.devices, "device", "devices");
        let place = match (&self.application, self.blast_radius.applications) {
            (Some(name), Some(1)) => format!(" of application {}", quoted(name, 60)),
            (None, Some(1)) => " of one application".to_owned(),
            (_, Some(many)) => format!(" of {}", counted(many, "application", "applications")),
            (_, None) => String::new(),
        };
        let what = match self.kind {
            FlowKind::Added => format!("{devices}{place} were pinned by their owner"),
            FlowKind::Moved => format!("{devices}{place} were pinned elsewhere by their owner"),
            FlowKind::Removed => format!("{devices}{place} were unpinned by their owner"),
            FlowKind::Retargeted => {
                format!("a new target release{place}; {devices} became pending")
            }
            kind => format!("{devices}{place} {} by their owner's act", happened(kind)),
        };
        let summary = format!("{what} between {} and {} UTC.", hms(self.since), hms(self.at));
        Some(CauseRecord {
            cause,
            severity: cause.severity(),
            scope: self.scope,
            onset: self.at,
            detected_at: self.at,
            superseded_at: None,
            title: what,
            description: format!("{summary} Nobody is notified: an owner's own act is lawful."),
            evidence: vec![Evidence { kind: "flow".to_owned(), text: summary.clone() }],
            summary,
            probability: self.probability,
            blast_radius: self.blast_radius.clone(),
            next_steps: vec!["None: recorded so that its effects are not mistaken.".to_owned()],
        })
    }
}

/// The record of a change that nothing known explains.
pub fn unexplained(change: &Change, now: Time) -> CauseRecord {
    let verb = if change.direction == Direction::Up { "rose" } else { "fell" };
    let signal = quoted(&change.signal, 80);
    let title = format!("{signal} {verb} and nothing known explains it");
    let summary = format!(
        "{signal} {verb} from {} to {} since {} UTC and nothing that Headwater watches explains it.",
        level(change.before),
        level(change.after),
        hms(change.onset),
    );
    let statistic = format!(
        "the change scores {:.1} against a threshold of {:.1}; the onset lies between {} and {} UTC",
        change.score,
        change.threshold,
        hms(change.onset_low),
        hms(change.onset_high),
    );
    let next_step = format!("Look at what feeds {signal}.");
    CauseRecord {
        cause: Cause::Unexplained,
        severity: Cause::Unexplained.severity(),
        scope: Scope::Platform,
        onset: change.onset,
        detected_at: now,
        superseded_at: None,
        title,
        description: format!("Evidence:\n- {statistic}\n\nNext:\n- {next_step}\n"),
        summary,
        probability: 1.0,
        evidence: vec![Evidence { kind: "change".to_owned(), text: statistic }],
        blast_radius: BlastRadius::default(),
        next_steps: vec![next_step],
    }
}
