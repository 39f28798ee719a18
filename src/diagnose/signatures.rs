//! Causes that show in levels: what each of them moves, and which one a set of moves speaks for.
//! Which signals have moved, and by how much more than their parents explain, is for the `pipeline`
//! to say; the words are `services`'.
//!
//! Bayes' rule with marks that are independent of each other given the cause (Hand and Yu, "Idiot's
//! Bayes: not so stupid after all?", International Statistical Review 69, 2001). How often a mark
//! accompanies a cause by the time at which it is told is a **declared prior**, below; causes are
//! held to be as frequent as each other. A signal that nobody delivers, or that cannot be judged
//! yet, says nothing.

use crate::{
    incident::{Cause, Severity},
    series::{
        DELTA_FAILURE_RATIO, DELTA_THROUGHPUT,
        Direction::{self, Down, Up},
    },
};

/// A signal that moves in a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The signal.
    pub signal: &'static str,
    /// Where it goes.
    pub direction: Direction,
}

/// Signals that the same causes move.
#[derive(Debug)]
pub struct Family {
    /// What can be seen, upstream first.
    pub marks: &'static [Mark],
    /// For each cause, the chance of each mark, and that a move was sudden: told within two samples
    /// of its onset.
    signatures: &'static [(Cause, &'static [f64], f64)],
}

const fn mark(signal: &'static str, direction: Direction) -> Mark {
    Mark { signal, direction }
}

/// Delta generation. Jobs that wait while no more are asked for tell of lost capacity; jobs that
/// fail, or that do not succeed although none wait, of failure; and demand that nothing known
/// explains stays unexplained.
pub const DELTAS: Family = Family {
    marks: &[
        mark("delta_requests_total", Up),
        mark("delta_queue", Up),
        mark(DELTA_THROUGHPUT, Down),
        mark("delta_workers_busy", Down),
        mark(DELTA_FAILURE_RATIO, Up),
        mark("delta_failures_total", Up),
        mark("delta_successes_total", Down),
        mark("delta_seconds_p95", Up),
    ],
    signatures: &[
        (Cause::DeltaCapacityLoss, &[0.05, 0.95, 0.9, 0.3, 0.05, 0.05, 0.6, 0.6], 0.5),
        (Cause::DeltaFailure, &[0.4, 0.3, 0.3, 0.2, 0.8, 0.8, 0.7, 0.3], 0.5),
        (Cause::Unexplained, &[0.7, 0.5, 0.02, 0.02, 0.02, 0.2, 0.05, 0.5], 0.5),
    ],
};

/// Connections of devices. Flags that part from heartbeats while nobody has gone are a drift.
pub const CONNECTIONS: Family = Family {
    marks: &[
        mark("devices_vpn_connected", Down),
        mark("devices_heartbeat_online", Down),
        mark("devices_online", Down),
        mark("devices_vpn_heartbeat_mismatch", Up),
    ],
    signatures: &[
        (Cause::ConnectivityLoss, &[0.9, 0.6, 0.9, 0.4], 0.9),
        (Cause::StatusDrift, &[0.4, 0.4, 0.1, 0.95], 0.05),
        // What comes and goes by itself, such as an evening that was not learned yet.
        (Cause::Unexplained, &[0.3, 0.3, 0.3, 0.1], 0.2),
    ],
};

/// Every family.
pub const FAMILIES: [&Family; 2] = [&DELTAS, &CONNECTIONS];

/// The family of a signal.
pub fn family_of(signal: &str) -> Option<&'static Family> {
    FAMILIES.into_iter().find(|family| family.marks.iter().any(|mark| mark.signal == signal))
}

/// Whether a move of this signal alone would page.
pub fn can_page(signal: &str) -> bool {
    family_of(signal).is_some_and(|family| {
        let alone = family.candidates(None, |mark| (mark.signal == signal).then_some(true));
        alone.first().is_some_and(|(cause, _)| cause.severity() == Severity::Critical)
    })
}

/// How many signals could page by themselves: tests among which the budget of pages is divided,
/// whether they are delivered or not, lest thresholds come and go with them.
pub fn paging_signals() -> usize {
    let marks = FAMILIES.iter().flat_map(|family| family.marks);
    marks.filter(|mark| can_page(mark.signal)).count()
}

/// Whether a signal counts connected devices, of which a loss is told once it has lasted.
pub fn is_connection(signal: &str) -> bool {
    CONNECTIONS.marks.iter().any(|mark| mark.signal == signal)
}

impl Family {
    /// Whether a move of `signal` in this direction is a mark of any of the family's causes.
    pub fn is_marked_by(&self, signal: &str, direction: Direction) -> bool {
        self.marks.iter().any(|mark| mark.signal == signal && mark.direction == direction)
    }

    /// The causes with their probabilities, the most probable first, given which marks are `seen`:
    /// `None` where that cannot be said. They sum to 1.
    pub fn candidates(
        &self,
        sudden: Option<bool>,
        seen: impl Fn(&Mark) -> Option<bool>,
    ) -> Vec<(Cause, f64)> {
        let seen: Vec<Option<bool>> = self.marks.iter().map(seen).collect();
        let likelihood = |chances: &[f64], suddenly: &f64| -> f64 {
            let marks = seen.iter().zip(chances).chain([(&sudden, suddenly)]);
            let known = marks.filter_map(|(seen, chance)| seen.map(|seen| (seen, chance)));
            known.map(|(seen, chance)| if seen { *chance } else { 1.0 - chance }).product()
        };
        let likelihoods = self
            .signatures
            .iter()
            .map(|(cause, chances, suddenly)| (*cause, likelihood(chances, suddenly)));
        let mut candidates: Vec<(Cause, f64)> = likelihoods.collect();
        let total: f64 = candidates.iter().map(|(_, likelihood)| likelihood).sum();
        for (_, likelihood) in &mut candidates {
            *likelihood /= total;
        }
        candidates.sort_by(|one, other| other.1.total_cmp(&one.1));
        candidates
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The most probable cause when exactly these of the family's signals moved.
    fn cause(family: &Family, sudden: bool, moved: &[&str]) -> Cause {
        let candidates = family.candidates(Some(sudden), |mark| Some(moved.contains(&mark.signal)));
        assert!((candidates.iter().map(|(_, share)| share).sum::<f64>() - 1.0).abs() < 1e-12);
        candidates[0].0
    }

    #[test]
    fn signatures_say_something_of_every_mark_and_are_sure_of_none() {
        for family in FAMILIES {
            for (cause, chances, _) in family.signatures {
                assert_eq!(chances.len(), family.marks.len(), "{cause}");
                assert!(chances.iter().all(|chance| (0.0..1.0).contains(chance)), "{cause}");
            }
        }
    }

    #[test]
    fn moves_speak_for_their_cause() {
        for (moved, expected) in [
            (vec!["delta_queue", DELTA_THROUGHPUT], Cause::DeltaCapacityLoss),
            (vec![DELTA_THROUGHPUT], Cause::DeltaCapacityLoss),
            (vec!["delta_queue", "delta_seconds_p95", DELTA_THROUGHPUT], Cause::DeltaCapacityLoss),
            (vec!["delta_queue", "delta_successes_total"], Cause::DeltaCapacityLoss),
            (vec!["delta_queue", "delta_workers_busy"], Cause::DeltaCapacityLoss),
            (vec!["delta_failures_total", DELTA_FAILURE_RATIO], Cause::DeltaFailure),
            (vec!["delta_successes_total"], Cause::DeltaFailure),
            (vec![DELTA_FAILURE_RATIO, "delta_requests_total"], Cause::DeltaFailure),
            (vec![DELTA_FAILURE_RATIO, "delta_queue"], Cause::DeltaFailure),
            (vec!["delta_requests_total"], Cause::Unexplained),
            (vec!["delta_requests_total", "delta_queue"], Cause::Unexplained),
        ] {
            assert_eq!(cause(&DELTAS, false, &moved), expected, "{moved:?}");
        }
        let (vpn, heartbeat) = ("devices_vpn_connected", "devices_heartbeat_online");
        let flags = "devices_vpn_heartbeat_mismatch";
        for (sudden, moved, expected) in [
            (true, vec!["devices_online", vpn], Cause::ConnectivityLoss),
            (false, vec!["devices_online", vpn, heartbeat], Cause::ConnectivityLoss),
            (true, vec![vpn, flags], Cause::ConnectivityLoss),
            (false, vec![vpn, flags], Cause::StatusDrift),
            (false, vec![flags], Cause::StatusDrift),
            (false, vec![vpn], Cause::Unexplained),
        ] {
            assert_eq!(cause(&CONNECTIONS, sudden, &moved), expected, "{moved:?}");
        }
    }

    #[test]
    fn demand_alone_pages_nobody() {
        assert!(can_page("delta_queue") && can_page("delta_failures_total"));
        assert!(!can_page("delta_requests_total") && !can_page("devices_online"));
        assert!(!can_page("api_requests_total"));
        assert_eq!(paging_signals(), 7);
    }
}
