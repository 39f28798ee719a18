//! The alerts of an incident at an instant, as Alertmanager's v2 API takes them. Pure: who sends
//! them, when and how often is `alertmanager`.
//!
//! Alertmanager knows an alert by its labels alone, so whatever could change during an incident
//! stands in an annotation, and the labels follow from what never changes: the incident's id, the
//! cause, its severity and scope, and the configuration. Whoever changes `fleet` or `labels` while
//! an incident is open gives its alerts new identities: the new ones fire, the old ones end with
//! their `endsAt`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use chrono::{SecondsFormat, TimeDelta};
use serde::{Serialize, Serializer};

use crate::{
    config::Config,
    incident::{CauseRecord, Incident, Severity},
    series::Time,
};

/// How far ahead a firing alert ends unless it is sent again. As long as Prometheus itself grants:
/// a restart of this daemon makes no alert flap, and a dead daemon's alerts do not stay for ever.
pub const FIRING_FOR: TimeDelta = TimeDelta::minutes(4);

/// How long an ended alert is still sent, so that an Alertmanager that was away hears of the end.
/// As long as Prometheus does.
pub const RESEND_ENDED_FOR: TimeDelta = TimeDelta::minutes(15);

/// The longest annotation, in bytes; what is longer is cut and says so. Alertmanager takes more,
/// pagers do not: with the evidence of one cause well below it, this only bounds the size of a
/// POST.
pub const ANNOTATION_BYTES_MAX: usize = 16 * 1024;

/// What ends an annotation that was cut.
const CUT_MARK: &str = " … (cut; see the incident's page)";

/// What alerts take from the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertSettings {
    /// The `fleet` label.
    pub fleet: String,
    /// What links begin with, without a trailing slash.
    pub external_url: String,
    /// Where runbooks are; `#` and the cause's id are appended.
    pub runbook_url: String,
    /// Added to every alert; a name that Headwater itself uses stays Headwater's.
    pub labels: BTreeMap<String, String>,
}

impl From<&Config> for AlertSettings {
    fn from(config: &Config) -> AlertSettings {
        AlertSettings {
            fleet: config.fleet.clone(),
            external_url: config.external_url.clone(),
            runbook_url: config.runbook_url.clone(),
            labels: config.labels.clone(),
        }
    }
}

/// One alert, with the field names of the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Alert {
    /// Its identity.
    pub labels: BTreeMap<String, String>,
    /// What people read.
    pub annotations: BTreeMap<&'static str, String>,
    /// When the cause was detected; the same for the alert's whole life.
    #[serde(serialize_with = "as_rfc3339")]
    pub starts_at: Time,
    /// When it ends, or ended. Never before `starts_at`.
    #[serde(serialize_with = "as_rfc3339")]
    pub ends_at: Time,
    /// The incident's page.
    #[serde(rename = "generatorURL")]
    pub generator_url: String,
    /// How loud; what the order of sending follows.
    #[serde(skip)]
    pub severity: Severity,
    /// Why it is sent as it is.
    #[serde(skip)]
    pub decision: Decision,
}

/// What to tell Alertmanager of one cause, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Firing: its incident is open.
    Fire,
    /// Ended at this instant: its incident is resolved.
    EndResolved(Time),
    /// Ended at this instant: the same cause goes on under another severity.
    EndSuperseded(Time),
    /// Nothing: `info` is recorded and shown only.
    SilentInfo,
    /// Nothing: it ended so long ago that every Alertmanager has heard of it or forgotten it.
    SilentLongEnded,
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Decision::Fire => f.write_str("firing, for its incident is open"),
            Decision::EndResolved(at) => {
                write!(f, "ended, for its incident was resolved at {}", rfc3339(*at))
            }
            Decision::EndSuperseded(at) => {
                write!(f, "ended, for its severity changed at {}", rfc3339(*at))
            }
            Decision::SilentInfo => f.write_str("not sent, for info is shown only"),
            Decision::SilentLongEnded => write!(
                f,
                "not sent, for it ended more than {} minutes ago",
                RESEND_ENDED_FOR.num_minutes()
            ),
        }
    }
}

/// What to tell Alertmanager of one cause of an incident at `now`. A cause fires until the whole
/// incident resolves: a sequel never resolves its precursor.
pub fn decide(incident: &Incident, record: &CauseRecord, now: Time) -> Decision {
    if record.severity == Severity::Info {
        return Decision::SilentInfo;
    }
    let decision = match (record.superseded_at, incident.resolved_at) {
        (Some(superseded_at), _) => Decision::EndSuperseded(superseded_at),
        (None, Some(resolved_at)) => Decision::EndResolved(resolved_at),
        (None, None) => return Decision::Fire,
    };
    match decision {
        Decision::EndResolved(at) | Decision::EndSuperseded(at) if now - at > RESEND_ENDED_FOR => {
            Decision::SilentLongEnded
        }
        recent => recent,
    }
}

/// The alerts of an incident at `now`, the loudest first, each label set once.
///
/// A cause may come twice in one incident. It is then one alert: with the start and the words of
/// its first record, for those were frozen when they were sent, and firing as long as either does.
pub fn alerts(incident: &Incident, now: Time, settings: &AlertSettings) -> Vec<Alert> {
    let mut alerts = Vec::new();
    let mut seen = BTreeSet::new();
    for record in &incident.causes {
        let identity = (record.cause, record.severity, record.scope);
        if !seen.insert(identity) {
            continue;
        }
        let same = incident
            .causes
            .iter()
            .filter(|other| (other.cause, other.severity, other.scope) == identity);
        let decisions: Vec<_> = same.map(|other| decide(incident, other, now)).collect();
        let decision = latest(&decisions);
        let ends_at = match decision {
            Decision::Fire => now + FIRING_FOR,
            Decision::EndResolved(at) | Decision::EndSuperseded(at) => at,
            Decision::SilentInfo | Decision::SilentLongEnded => continue,
        };
        alerts.push(alert(incident, record, decision, ends_at, settings));
    }
    // A stable sort: among equals the order of onset stays.
    alerts.sort_by_key(|alert| std::cmp::Reverse(alert.severity));
    alerts
}

/// Of several records of one label set, what keeps it firing longest.
fn latest(decisions: &[Decision]) -> Decision {
    let lasting = |decision: &Decision| match decision {
        Decision::SilentInfo => (0, None),
        Decision::SilentLongEnded => (1, None),
        Decision::EndSuperseded(at) | Decision::EndResolved(at) => (2, Some(*at)),
        Decision::Fire => (3, None),
    };
    let longest = decisions.iter().copied().max_by_key(lasting);
    longest.unwrap_or(Decision::SilentLongEnded)
}

fn alert(
    incident: &Incident,
    record: &CauseRecord,
    decision: Decision,
    ends_at: Time,
    settings: &AlertSettings,
) -> Alert {
    let cause = record.cause;
    let incident_url = format!("{}/incidents/{}", settings.external_url, incident.id);
    // The configured labels first, so that Headwater's own names stay what the contract says.
    let mut labels = settings.labels.clone();
    let own = [
        ("alertname", cause.alert_name()),
        ("incident", incident.id.clone()),
        ("cause", cause.id().to_owned()),
        ("severity", record.severity.label().to_owned()),
        ("scope", record.scope.label().to_owned()),
        ("fleet", settings.fleet.clone()),
        ("source", "headwater".to_owned()),
    ];
    labels.extend(own.map(|(name, value)| (name.to_owned(), value)));
    let annotations = BTreeMap::from([
        ("summary", cut(&record.summary)),
        ("description", cut(&record.description)),
        ("onset", rfc3339(record.onset)),
        ("probability", format!("{:.2}", record.probability)),
        ("incident_url", incident_url.clone()),
        ("runbook_url", format!("{}#{}", settings.runbook_url, cause.id())),
    ]);
    let starts_at = record.detected_at;
    Alert {
        labels,
        annotations,
        starts_at,
        // A clock that was set back must not make an alert that Alertmanager refuses.
        ends_at: ends_at.max(starts_at),
        generator_url: incident_url,
        severity: record.severity,
        decision,
    }
}

/// At most `ANNOTATION_BYTES_MAX` of a text, cut between characters.
fn cut(text: &str) -> String {
    if text.len() <= ANNOTATION_BYTES_MAX {
        return text.to_owned();
    }
    let kept = text.floor_char_boundary(ANNOTATION_BYTES_MAX - CUT_MARK.len());
    format!("{}{CUT_MARK}", &text[..kept])
}

fn rfc3339(at: Time) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

fn as_rfc3339<S: Serializer>(at: &Time, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*at))
}
