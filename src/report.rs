//! The JSON of the contract: what `backtest --format json` prints and the HTTP API answers. The
//! only place that knows those field names; the types of the core are free to change behind it.
//! Every type reads back what it wrote, because the command-line client is its other end.

pub mod events;
mod scalars;

use chrono::SecondsFormat;
pub use scalars::{Instant, Number};
use serde::{Deserialize, Serialize};

use crate::{
    budget::{MONTH_DAYS, Rate, poisson_rate},
    diagnose::rank::Ranked,
    fleet,
    incident::{
        Affected, BlastRadius, Cause, CauseRecord, Change, ChangeKind, Counted, Incident, Quantity,
        Scope, Severity, Symptom,
    },
    pipeline::{SignalStatus, Standing},
    series::{Direction, Time},
};

const DAY_S: f64 = 86_400.0;

/// One object as one line of text, without the line's end.
pub fn line(object: &impl Serialize) -> String {
    serde_json::to_string(object).expect("the types below have string keys and finite numbers only")
}

/// An instant as people's scripts read it: RFC 3339 in `Z`, fractions only where there are any.
pub fn time_text(at: Time) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// A detected change.
pub fn change_json(change: &Change) -> ChangeJson {
    ChangeJson {
        r#type: "change".to_owned(),
        kind: change.kind,
        signal: change.signal.clone(),
        detected_at: Instant(change.detected_at),
        onset: Instant(change.onset),
        onset_low: Instant(change.onset_low),
        onset_high: Instant(change.onset_high),
        direction: change.direction,
        before: Number(change.before),
        after: Number(change.after),
        score: Number(change.score),
        threshold: Number(change.threshold),
    }
}

/// An incident with exactly the fields of the contract.
pub fn incident_json(incident: &Incident) -> IncidentJson {
    let (first, current) = (incident.first(), current_cause(incident));
    IncidentJson {
        r#type: "incident".to_owned(),
        id: incident.id.clone(),
        cause: current.cause,
        causes: incident.causes.iter().map(cause_json).collect(),
        probability: Number(current.probability),
        severity: current.severity,
        scope: current.scope,
        onset: Instant(first.onset),
        detected_at: Instant(first.detected_at),
        resolved_at: incident.resolved_at.map(Instant),
        proposes_acceptance_since: incident.proposes_acceptance_since.map(Instant),
        title: current.title.clone(),
        summary: current.summary.clone(),
        candidates: incident.candidates.iter().copied().map(candidate_json).collect(),
        symptoms: incident.symptoms.iter().map(symptom_json).collect(),
        notifications: incident
            .notifications
            .iter()
            .map(|notification| NotificationJson {
                at: Instant(notification.at),
                severity: notification.severity,
                cause: notification.cause,
                title: notification.title.clone(),
            })
            .collect(),
    }
}

/// An incident with everything that is known of it.
pub fn incident_detail_json(incident: &Incident) -> IncidentDetailJson {
    let evidence = incident.causes.iter().flat_map(|record| {
        record.evidence.iter().map(|fact| EvidenceJson {
            cause: record.cause,
            kind: fact.kind.clone(),
            text: fact.text.clone(),
        })
    });
    IncidentDetailJson {
        incident: incident_json(incident),
        evidence: evidence.collect(),
        blast_radius: blast_radius_json(incident),
        timeline: incident
            .timeline
            .iter()
            .map(|entry| TimelineEntryJson { at: Instant(entry.at), text: entry.text.clone() })
            .collect(),
        next_steps: current_cause(incident).next_steps.clone(),
        accepted_at: incident.accepted_at.map(Instant),
        rejected_at: incident.rejected_at.map(Instant),
        familiar: incident.familiar.as_ref().map(ToString::to_string),
    }
}

/// What a backtest has seen, as its last line.
pub fn summary_json(summary: Summary) -> SummaryJson {
    SummaryJson {
        r#type: "summary".to_owned(),
        samples: summary.samples,
        signals: summary.signals,
        days: Number(summary.days),
        incidents: summary.incidents,
        pages: summary.pages,
        warnings: summary.warnings,
        pages_per_month: rate_json(summary.pages_per_month),
        warnings_per_month: rate_json(summary.warnings_per_month),
    }
}

/// An achieved rate.
pub fn rate_json(achieved: Rate) -> RateJson {
    let Rate { rate, low, high } = achieved;
    RateJson { rate: Number(rate), low: Number(low), high: Number(high) }
}

/// One signal as it stands.
pub fn signal_json(status: &SignalStatus) -> SignalJson {
    SignalJson {
        signal: status.signal.clone(),
        source: status.source.clone(),
        value: status.value.map(Number),
        at: status.at.map(Instant),
        expected: status.expected.map(Number),
        expected_low: status.expected_low.map(Number),
        expected_high: status.expected_high.map(Number),
        score: status.score.map(Number),
        threshold: status.threshold.map(Number),
        threshold_origin: status.threshold_origin.clone(),
        samples: status.samples,
        cold: status.cold.clone(),
        unexplained: status.unexplained.map(Number),
        alarms: status.alarms,
        judged_days: Number(status.judged_s / DAY_S),
        alarms_per_month: monthly_json(status.alarms, status.judged_s),
        budget_per_month: status.budget_per_month.map(Number),
    }
}

/// Every signal, and what was told beside the budgets.
pub fn signals_json(standing: &Standing) -> SignalsJson {
    let tally = &standing.tally;
    let told = |count: u64, rejected: u64, budget: f64| ToldJson {
        count,
        rejected,
        per_month: monthly_json(count, tally.watched_s),
        budget_per_month: Number(budget),
    };
    let mut signals: Vec<SignalJson> = standing.signals.iter().map(signal_json).collect();
    signals.sort_by(|a, b| a.signal.cmp(&b.signal));
    SignalsJson {
        signals,
        notifications: NotificationsJson {
            watched_days: Number(tally.watched_s / DAY_S),
            pages: told(tally.pages, tally.pages_rejected, standing.pages_per_month),
            warnings: told(tally.warnings, tally.warnings_rejected, standing.warnings_per_month),
        },
    }
}

/// Events in so many seconds as a rate a month; `None` where there was no time for any.
fn monthly_json(events: u64, exposure_s: f64) -> Option<RateJson> {
    let achieved = poisson_rate(events, exposure_s / DAY_S / MONTH_DAYS);
    let known = [achieved.rate, achieved.low, achieved.high].iter().all(|end| end.is_finite());
    known.then_some(rate_json(achieved))
}

/// The cause that an incident goes by: the last that notified; of an `info` incident, the last.
pub fn current_cause(incident: &Incident) -> &CauseRecord {
    let notified = |record: &&CauseRecord| record.severity > Severity::Info;
    incident.causes.iter().rfind(notified).unwrap_or_else(|| incident.current())
}

/// Pinned devices before the incident's first onset, by whichever of its causes knows it first.
pub fn pinned_before_first_onset(incident: &Incident) -> Option<u64> {
    incident.causes.iter().find_map(|record| record.blast_radius.pinned_before)
}

fn cause_json(record: &CauseRecord) -> CauseJson {
    CauseJson {
        cause: record.cause,
        onset: Instant(record.onset),
        detected_at: Instant(record.detected_at),
    }
}

fn candidate_json((cause, probability): (Cause, f64)) -> CandidateJson {
    CandidateJson { cause, probability: Number(probability) }
}

fn symptom_json(symptom: &Symptom) -> SymptomJson {
    SymptomJson {
        signal: symptom.signal.clone(),
        onset: Instant(symptom.onset),
        explained: Number(symptom.explained),
    }
}

fn blast_radius_json(incident: &Incident) -> BlastRadiusJson {
    let radius: &BlastRadius = &current_cause(incident).blast_radius;
    BlastRadiusJson {
        devices: radius.devices,
        applications: radius.applications,
        organizations: radius.organizations,
        pinned_before: pinned_before_first_onset(incident),
        pinned_after: radius.pinned_after,
        pending_before: radius.pending_before,
        pending_after: radius.pending_after,
        pending_if_unpinned: radius.pending_if_unpinned.map(|pending: fleet::Pending| {
            PendingJson { devices: pending.devices, pairs: pending.pairs }
        }),
        counted: radius.counted.map(counted_json),
        most_affected: radius.most_affected.iter().map(affected_json).collect(),
    }
}

fn counted_json(counted: Counted) -> CountedJson {
    let Counted { quantity, before, after } = counted;
    CountedJson { quantity, before, after }
}

fn affected_json(affected: &Affected) -> AffectedJson {
    AffectedJson {
        application: affected.application,
        name: affected.name.clone(),
        devices: affected.devices,
        pinned_before: affected.pinned_before,
        pinned_after: affected.pinned_after,
        counted: affected.counted.map(counted_json),
    }
}

/// What a backtest counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// Rows of the recording that were fed.
    pub samples: u64,
    /// Columns.
    pub signals: u64,
    /// Time in which something was watched: what lies beyond a gap counts no more here than on
    /// `/signals`.
    pub days: f64,
    /// Incidents of every severity.
    pub incidents: u64,
    /// First notifications with severity `critical`.
    pub pages: u64,
    /// First notifications with severity `warning`.
    pub warnings: u64,
    /// Pages in 30 days, with the interval in which the true rate lies.
    pub pages_per_month: Rate,
    /// The same for warnings.
    pub warnings_per_month: Rate,
}

/// What `diagnose` prints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RankingJson {
    /// The columns, most likely first.
    pub ranking: Vec<RankedJson>,
}

/// A column among the causes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the contract describes its fields")]
pub struct RankedJson {
    pub signal: String,
    pub score: Number,
    /// `null`: it did not move, or too little is known of it.
    pub onset: Option<Instant>,
    pub explained: Number,
}

impl RankingJson {
    /// The contract's form of a ranking.
    pub fn of(ranking: &[Ranked]) -> RankingJson {
        let column = |one: &Ranked| RankedJson {
            signal: one.signal.clone(),
            score: Number(one.score),
            onset: one.moved.map(|moved| Instant(moved.onset)),
            explained: Number(one.explained),
        };
        RankingJson { ranking: ranking.iter().map(column).collect() }
    }
}

/// Line `change`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the contract describes its fields")]
pub struct ChangeJson {
    pub r#type: String,
    pub kind: ChangeKind,
    pub signal: String,
    pub detected_at: Instant,
    pub onset: Instant,
    pub onset_low: Instant,
    pub onset_high: Instant,
    pub direction: Direction,
    pub before: Number,
    pub after: Number,
    pub score: Number,
    pub threshold: Number,
}

/// Line `incident`, and an element of `/api/v1/incidents`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the contract describes its fields")]
pub struct IncidentJson {
    pub r#type: String,
    pub id: String,
    pub cause: Cause,
    pub causes: Vec<CauseJson>,
    pub probability: Number,
    pub severity: Severity,
    pub scope: Scope,
    pub onset: Instant,
    pub detected_at: Instant,
    pub resolved_at: Option<Instant>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proposes_acceptance_since: Option<Instant>,
    pub title: String,
    pub summary: String,
    pub candidates: Vec<CandidateJson>,
    pub symptoms: Vec<SymptomJson>,
    pub notifications: Vec<NotificationJson>,
}

/// An element of `causes`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the contract describes its fields")]
pub struct CauseJson {
    pub cause: Cause,
    pub onset: Instant,
    pub detected_at: Instant,
}

/// An element of `candidates`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the contract describes its fields")]
pub struct CandidateJson {
    pub cause: Cause,
    pub probability: Number,
}

/// An element of `symptoms`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the contract describes its fields")]
pub struct SymptomJson {
    pub signal: String,
    pub onset: Instant,
    pub explained: Number,
}

/// An element of `notifications`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the contract describes its fields")]
pub struct NotificationJson {
    pub at: Instant,
    pub severity: Severity,
    pub cause: Cause,
    pub title: String,
}

/// The answer of `/api/v1/incidents/{id}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IncidentDetailJson {
    /// The fields of the list.
    #[serde(flatten)]
    pub incident: IncidentJson,
    /// Facts, in the order of the causes that they prove.
    pub evidence: Vec<EvidenceJson>,
    /// Of the current cause.
    pub blast_radius: BlastRadiusJson,
    /// Oldest first.
    pub timeline: Vec<TimelineEntryJson>,
    /// Of the current cause.
    pub next_steps: Vec<String>,
    /// When an operator called it the new normal.
    pub accepted_at: Option<Instant>,
    /// When an operator called the diagnosis wrong.
    pub rejected_at: Option<Instant>,
    /// Why nobody is notified of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub familiar: Option<String>,
}

/// An element of `evidence`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the contract describes its fields")]
pub struct EvidenceJson {
    pub cause: Cause,
    pub kind: String,
    pub text: String,
}

/// `blast_radius`. `pinned_before` is before the incident's first onset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the core's type of the same name describes its fields")]
pub struct BlastRadiusJson {
    pub devices: u64,
    pub applications: Option<u64>,
    pub organizations: Option<u64>,
    pub pinned_before: Option<u64>,
    pub pinned_after: Option<u64>,
    pub pending_before: Option<u64>,
    pub pending_after: Option<u64>,
    pub pending_if_unpinned: Option<PendingJson>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted: Option<CountedJson>,
    pub most_affected: Vec<AffectedJson>,
}

/// `counted`: what the cause moved, if not pins, with `quantity` named as its signal.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the core's type of the same name describes its fields")]
pub struct CountedJson {
    pub quantity: Quantity,
    pub before: Option<u64>,
    pub after: Option<u64>,
}

/// `pending_if_unpinned`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the core's type of the same name describes its fields")]
pub struct PendingJson {
    pub devices: u64,
    pub pairs: u64,
}

/// An element of `most_affected`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the core's type of the same name describes its fields")]
pub struct AffectedJson {
    pub application: i64,
    pub name: String,
    pub devices: u64,
    pub pinned_before: u64,
    pub pinned_after: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted: Option<CountedJson>,
}

/// An element of `timeline`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the core's type of the same name describes its fields")]
pub struct TimelineEntryJson {
    pub at: Instant,
    pub text: String,
}

/// Line `summary`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the contract describes its fields")]
pub struct SummaryJson {
    pub r#type: String,
    pub samples: u64,
    pub signals: u64,
    pub days: Number,
    pub incidents: u64,
    pub pages: u64,
    pub warnings: u64,
    pub pages_per_month: RateJson,
    pub warnings_per_month: RateJson,
}

/// An element of `/api/v1/signals`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the core's `SignalStatus` describes its fields")]
pub struct SignalJson {
    pub signal: String,
    pub source: String,
    pub value: Option<Number>,
    pub at: Option<Instant>,
    pub expected: Option<Number>,
    pub expected_low: Option<Number>,
    pub expected_high: Option<Number>,
    pub score: Option<Number>,
    pub threshold: Option<Number>,
    pub threshold_origin: String,
    pub samples: u64,
    pub cold: Option<String>,
    pub unexplained: Option<Number>,
    pub alarms: u64,
    pub judged_days: Number,
    pub alarms_per_month: Option<RateJson>,
    pub budget_per_month: Option<Number>,
}

/// How often something happens in 30 days, with the ends of its exact 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "`budget::Rate` describes its fields")]
pub struct RateJson {
    pub rate: Number,
    pub low: Number,
    pub high: Number,
}

/// `notifications` of `/api/v1/signals`: what was told since the store is new.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct NotificationsJson {
    /// Days in which something was watched, gaps left out.
    pub watched_days: Number,
    /// What woke somebody.
    pub pages: ToldJson,
    /// What did not.
    pub warnings: ToldJson,
}

/// Notifications of one severity.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToldJson {
    /// First notifications, whether they were right or not.
    pub count: u64,
    /// Those of incidents that an operator rejected.
    pub rejected: u64,
    /// How often that is; `null` before anything was watched.
    pub per_month: Option<RateJson>,
    /// How many may be false.
    pub budget_per_month: Number,
}

/// The answer of `/api/v1/incidents`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IncidentsJson {
    /// Newest first.
    pub incidents: Vec<IncidentJson>,
}

/// The answer of `/api/v1/signals`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SignalsJson {
    /// By name.
    pub signals: Vec<SignalJson>,
    /// What was told beside the budgets.
    pub notifications: NotificationsJson,
}

/// Every error of the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorJson {
    /// What is wrong and what to do, for people.
    pub error: String,
}

#[cfg(test)]
pub(crate) mod story;
#[cfg(test)]
mod tests;
