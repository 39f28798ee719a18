//! All state of detection and diagnosis, as one value that can be stored and restored to the bit.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use crate::{
    detect::Detector,
    diagnose::{
        coincidence::EventHistory,
        displacement::Displacement,
        driven::OrdinaryMoves,
        flows::{FlowHistory, FlowKind},
        graph::Graph,
        jobs::DeltaJobs,
        ledger::Ledger,
        recurrence::Occurrences,
        rejections::Rejections,
    },
    fleet::Snapshot,
    incident::{Change, Incident},
    pipeline::{
        SignalStatus,
        arrival::Repeats,
        blindness::Standing,
        budgets::{Judged, Shares, Tally},
        known::Known,
        presence::Presence,
    },
    series::Time,
    values::{Name, Values},
};

/// The present shape of `State`. How an older one is taken on is `upgrade`'s.
pub const STATE_VERSION: u32 = 4;

/// See the module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// `STATE_VERSION` when it was written.
    pub version: u32,
    /// The latest fleet sample's signals, and when it was.
    pub(super) fleet: Option<FleetSample>,
    /// The latest cohorts, live.
    pub(super) snapshot: Option<Snapshot>,
    pub(super) flows: BTreeMap<FlowKind, FlowHistory>,
    pub(super) graph: Graph,
    pub(super) ledger: Ledger,
    pub(super) signals: BTreeMap<Name, WatchedSignal>,
    pub(super) sources: BTreeMap<String, SourceState>,
    pub(super) watches: Vec<Watch>,
    pub(super) incidents_opened: u64,
    #[serde(default)]
    pub(super) tally: Tally,
    #[serde(default)]
    pub(super) shares: Option<Shares>,
    #[serde(default)]
    pub(super) jobs: DeltaJobs,
    #[serde(default)]
    pub(super) events: EventHistory,
    #[serde(default)]
    pub(super) rejections: Rejections,
}

impl Default for State {
    fn default() -> State {
        State {
            version: STATE_VERSION,
            fleet: None,
            snapshot: None,
            flows: BTreeMap::new(),
            graph: Graph::default(),
            ledger: Ledger::default(),
            signals: BTreeMap::new(),
            sources: BTreeMap::new(),
            watches: Vec::new(),
            incidents_opened: 0,
            tally: Tally::default(),
            shares: None,
            jobs: DeltaJobs::default(),
            events: EventHistory::default(),
            rejections: Rejections::default(),
        }
    }
}

/// The signals of one fleet sample.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct FleetSample {
    pub(super) at: Time,
    pub(super) values: Values,
}

/// One signal under watch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct WatchedSignal {
    pub(super) source: String,
    pub(super) detector: Detector,
    /// The latest raw value; of a counter, what the next one is compared with.
    pub(super) raw: Option<(Time, f64)>,
    /// Recent levels, oldest first: what a child's rise is compared with.
    pub(super) recent: VecDeque<(Time, f64)>,
    pub(super) status: SignalStatus,
    /// A change that nothing explains so far, until it is confirmed.
    pub(super) suspect: Option<Suspect>,
    /// What it ordinarily does beyond what its parents explain.
    pub(super) moves: OrdinaryMoves,
    #[serde(default)]
    pub(super) judged: Judged,
    #[serde(default)]
    pub(super) presence: Presence,
    /// Its changes that were told, or would have been.
    #[serde(default)]
    pub(super) occurrences: Occurrences,
    /// The band to which it must return before its incident is over, if the detector that knew of
    /// its change could not be taken on.
    #[serde(default)]
    pub(super) away_from: Option<(f64, f64)>,
    #[serde(skip)]
    pub(super) known: Known,
}

/// Walks along signals and values at once: both are in the order of their names. Every value's
/// signal must be watched.
pub(super) fn paired<'a>(
    signals: &'a mut BTreeMap<Name, WatchedSignal>,
    values: &'a Values,
) -> impl Iterator<Item = (&'a Name, &'a mut WatchedSignal, f64)> {
    let mut values = values.into_iter().peekable();
    signals.iter_mut().filter_map(move |(signal, watched)| {
        let (_, value) = values.next_if(|(name, _)| name == signal)?;
        Some((signal, watched, *value))
    })
}

impl WatchedSignal {
    /// Whether it is still away from where it was before a change.
    pub(super) fn is_away(&self) -> bool {
        self.detector.in_change().is_some() || self.away_from.is_some()
    }

    /// Whether a value is outside the band to which a change that no detector knows of any more
    /// must return. Meanwhile nothing is learned: it would be taken for the ordinary level.
    pub(super) fn is_still_away(&mut self, value: f64) -> bool {
        self.away_from = self.away_from.filter(|(low, high)| value < *low || *high < value);
        self.away_from.is_some()
    }

    /// The present level is the new normal.
    pub(super) fn rebase(&mut self) {
        self.detector.rebase();
        self.away_from = None;
    }
}

/// A change that may become an incident of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Suspect {
    pub(super) change: Change,
    pub(super) samples_since: u32,
    /// It has come back, and waits for those that fell with it.
    #[serde(default)]
    pub(super) returned: bool,
}

/// How a source is doing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct SourceState {
    pub(super) latest_at: Option<Time>,
    pub(super) last_good: Option<Time>,
    pub(super) first_missed: Option<Time>,
    pub(super) missed: u32,
    /// Samples in a row that were older than the latest one.
    #[serde(default)]
    pub(super) behind: u32,
    /// A time far ahead that no other sample has followed yet.
    #[serde(default)]
    pub(super) leapt_to: Option<Time>,
    /// The longest time between two samples in which its clock was right.
    #[serde(default)]
    pub(super) spacing_max_s: f64,
    /// How often its rows repeat one another.
    #[serde(default)]
    pub(super) repeats: Repeats,
    /// Samples in a row that repeated the one before, of a source that said it was behind.
    #[serde(default)]
    pub(super) stale: u32,
    /// How it stands still when it does not say so.
    #[serde(default)]
    pub(super) standing: Standing,
    /// It has delivered fleet signals.
    pub(super) is_fleet: bool,
}

/// An open incident and what is watched for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Watch {
    pub(super) incident: Incident,
    pub(super) subject: Subject,
    /// Notifications that the tally has.
    #[serde(default)]
    pub(super) tallied: usize,
    /// Causes that were held against change events and announcements.
    #[serde(default)]
    pub(super) considered: usize,
    /// The current cause was announced, and nobody was notified of it.
    #[serde(default)]
    pub(super) announced: Option<Announced>,
    /// Causes and symptoms that were held against what is familiar.
    #[serde(default)]
    pub(super) recognised: usize,
    #[serde(default)]
    pub(super) symptoms_recognised: usize,
    /// Of a familiar cause: from where on it is so no more.
    #[serde(default)]
    pub(super) bounds: Option<Bounds>,
    /// Since when what it is about has stood still, as far as that is told by what comes; absent in
    /// what older versions stored, where it begins with the next sample.
    #[serde(default)]
    pub(super) still_since: Option<Time>,
    /// Since when the last proposal to accept it counts.
    #[serde(default)]
    pub(super) proposed_at: Option<Time>,
}

/// An announced cause under watch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Announced {
    /// Devices that flows of its family moved beside its own.
    pub(super) besides: u64,
}

impl Watch {
    /// Of an incident that is opened.
    pub(super) fn new(incident: Incident, subject: Subject, at: Time) -> Watch {
        Watch {
            incident,
            subject,
            tallied: 0,
            considered: 0,
            announced: None,
            recognised: 0,
            symptoms_recognised: 0,
            bounds: None,
            still_since: Some(at),
            proposed_at: None,
        }
    }
}

/// From where on a familiar move of a level is familiar no more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Bounds {
    /// Of a level: of the change that was familiar.
    pub(super) onset: Option<Time>,
    /// At this size.
    pub(super) size_max: Option<f64>,
    /// After this time.
    pub(super) until: Option<Time>,
    /// It is the way back of what was rejected, and over with it.
    pub(super) is_way_back: bool,
}

/// What an open incident is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Subject {
    /// A platform-wide flow.
    Mass(Box<MassWatch>),
    /// An owner's own act.
    Owner(OwnerWatch),
    /// A signal that nothing explains.
    Signal(String),
    /// Delta jobs that fail, or that wait: the signal that is tested.
    Jobs(String),
    /// Signals that a source no longer gives.
    Lost(LostSignals),
    /// A source without samples.
    Source(String),
}

/// Signals that a source no longer gives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct LostSignals {
    pub(super) source: String,
    pub(super) signals: BTreeSet<String>,
}

/// A platform-wide flow under watch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct MassWatch {
    /// The current cause's flow.
    pub(super) kind: FlowKind,
    /// A kind whose flow came in the same samples as the current cause's and belongs to it.
    pub(super) companion: Option<FlowKind>,
    /// Other kinds of target that the current cause changed along with its own, with what is said
    /// of each.
    #[serde(default)]
    pub(super) along: BTreeMap<FlowKind, String>,
    /// Last sample before the current cause.
    pub(super) quiet_at: Time,
    /// Last sample before the incident's first cause.
    pub(super) first_quiet_at: Time,
    /// The latest sample in which the current cause moved something.
    pub(super) moved_at: Time,
    /// What the current cause has moved so far.
    pub(super) amount: u64,
    /// The same by application, live.
    pub(super) by_application: BTreeMap<i64, u64>,
    /// Most applications and organisations seen in one sample, in a recording.
    pub(super) applications: Option<u64>,
    pub(super) organizations: Option<u64>,
    /// New pins that equal the running release.
    pub(super) to_running: Option<f64>,
    pub(super) displacement: Displacement,
    /// Pinned devices by application before the first onset, live.
    pub(super) pinned_before: BTreeMap<i64, u64>,
    /// What else the cause counts, by application before the first onset, live.
    #[serde(default)]
    pub(super) counted_before: BTreeMap<i64, u64>,
    /// Of deletions: the affected applications. Without devices they are in no snapshot any more.
    #[serde(default)]
    pub(super) places: BTreeMap<i64, Place>,
    pub(super) pending_before: Option<u64>,
    /// How many owners ordinarily act at once, and as a share of those that could.
    pub(super) bound: u64,
    pub(super) share: f64,
    /// The way back was noted.
    pub(super) recovering: bool,
}

/// An application as it was before its devices were gone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Place {
    /// Empty if it was gone before anybody looked.
    pub(super) name: String,
    pub(super) organization: i64,
}

/// An owner's act under watch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct OwnerWatch {
    pub(super) kind: FlowKind,
    /// Live: whose act it is.
    pub(super) owner: Option<i64>,
    /// Samples in a row without more of it.
    pub(super) quiet_samples: u32,
}
