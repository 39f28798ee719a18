//! What is known of a signal beside its state: what its name and the configuration say of it. Kept
//! with the signal, because looking it up at every sample takes longer than watching it.

use crate::{
    detect::Origin,
    diagnose::{declared::Declared, flows::FlowKind, graph, signatures},
    series::{DELTA_FAILURE_RATIO, DELTA_THROUGHPUT, built_in},
};

/// See the module. It is no state: it is not stored, and states that differ in it are the same.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Known {
    /// Read from rows in one snapshot.
    pub(super) is_exact: bool,
    /// A flow or its breadth, or another signal with a test of its own.
    pub(super) is_flow: bool,
    /// It drives other signals.
    pub(super) drives: bool,
    /// Others drive it, in a proportion that only history shows.
    pub(super) has_learned_parents: bool,
    /// What the text in its status says; unknown after a restart.
    pub(super) origin_told: Option<Origin>,
}

impl Known {
    pub(super) fn of(signal: &str, declared: &Declared) -> Known {
        Known {
            is_exact: is_exact(signal),
            is_flow: is_flow(signal),
            drives: declared.is_parent(signal),
            has_learned_parents: graph::learned_parents(signal, declared).next().is_some(),
            origin_told: None,
        }
    }
}

impl PartialEq for Known {
    fn eq(&self, _other: &Known) -> bool {
        true
    }
}

/// Flows are judged by their breadth, and delta jobs one by one; a detector of their level would
/// only repeat it.
pub(super) fn is_flow(signal: &str) -> bool {
    let flows = FlowKind::ALL.iter().flat_map(|kind| kind.signals());
    flows.into_iter().any(|name| name == signal)
        || matches!(
            signal,
            "devices_added"
                | "devices_removed"
                | "applications_devices_removed"
                | "organizations_devices_removed"
                | DELTA_THROUGHPUT
                | DELTA_FAILURE_RATIO
        )
}

/// Whether a signal is read from rows, so that a lone leap of it is real.
pub(super) fn is_exact(signal: &str) -> bool {
    built_in(signal).is_some_and(|known| known.exact)
}

/// Whether a change of a signal can become an incident of its own, which is what the budget of
/// warnings is for. What is read from rows is named by its causes; alone it is a symptom at most,
/// but for connections, which nothing upstream moves.
pub(super) fn can_warn(signal: &str) -> bool {
    !is_flow(signal) && (!is_exact(signal) || signatures::is_connection(signal))
}
