//! What a sampler delivers: a reading of its source, or the reason why there is none. How it is
//! taken in is `pipeline`, how it is come by `sample`.

use std::{collections::BTreeSet, fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{accounting, fleet, series::Time, values::Values};

/// What one sampler saw, or why it saw nothing.
#[derive(Clone, Debug)]
pub struct Observation {
    /// The instant of the sample (the database's snapshot, the scrape), not of its arrival.
    pub at: Time,
    /// The source's name in the configuration.
    pub source: String,
    /// What came of it.
    pub outcome: Outcome,
}

/// The two ends of a sample.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The source answered.
    Sampled(Box<Reading>),
    /// It did not: every signal of the source is missing, never zero.
    Failed(Failure),
}

/// A source's answer.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// Present signals by name. A signal that is not here is missing; what is no number here is
    /// missing too, and counted.
    pub values: Values,
    /// Signals that `fleet` cannot tell, because a column that they need is missing or not granted:
    /// where a count of the snapshot says 0, these are missing.
    pub absent: BTreeSet<String>,
    /// The fleet's cohorts, from an `open_balena` source.
    pub fleet: Option<fleet::Snapshot>,
    /// Migration tables, and on PostgreSQL statistics views, from an `open_balena` source.
    pub accounting: Option<accounting::Reading>,
    /// How far behind the source says that it is, in seconds: a replica that has not replayed yet
    /// what its primary did. `None` where that cannot be, or is not known.
    pub behind_s: Option<f64>,
    /// How long the sample took.
    pub took: Duration,
    /// What could not be read and what would help (a missing grant, a missing column). The sampler
    /// repeats it in every sample; whoever says it aloud says it once.
    pub notes: Vec<String>,
}

/// Why a sample is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The label of `headwater_sample_failures_total`.
    pub reason: FailureReason,
    /// For people: what was asked, what came back, what to do. No secrets.
    pub message: String,
}

/// The bounded set of reasons for a missing sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureReason {
    /// Nobody listens, or the connection broke.
    Connection,
    /// Wrong or missing credentials or grants.
    Permission,
    /// The statement, request or connect timeout passed.
    Timeout,
    /// A lock was held for longer than the lock timeout.
    Locked,
    /// A replica cancelled the query (recovery conflict).
    RecoveryConflict,
    /// A table or column that the sample cannot do without is missing.
    Schema,
    /// The source answered with an error of its own.
    Query,
    /// The answer could not be understood (not a number, many series for a gauge, too large).
    Answer,
    /// The previous sample was still under way: this one was skipped.
    Overrun,
}

impl FailureReason {
    /// Every reason, so that each has its metric from the start.
    pub const ALL: [FailureReason; 9] = [
        FailureReason::Connection,
        FailureReason::Permission,
        FailureReason::Timeout,
        FailureReason::Locked,
        FailureReason::RecoveryConflict,
        FailureReason::Schema,
        FailureReason::Query,
        FailureReason::Answer,
        FailureReason::Overrun,
    ];

    /// The label value.
    pub fn label(self) -> &'static str {
        match self {
            FailureReason::Connection => "connection",
            FailureReason::Permission => "permission",
            FailureReason::Timeout => "timeout",
            FailureReason::Locked => "locked",
            FailureReason::RecoveryConflict => "recovery_conflict",
            FailureReason::Schema => "schema",
            FailureReason::Query => "query",
            FailureReason::Answer => "answer",
            FailureReason::Overrun => "overrun",
        }
    }
}

impl fmt::Display for FailureReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}
