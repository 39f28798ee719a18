//! Which kinds of change ordinarily bring which causes: the declared prior by which change events
//! are weighed beside how near they were. Data; the weighing is `coincidence`'s.

use crate::{
    change_event::{HEADWATER_START, MAINTENANCE, MIGRATION},
    incident::Cause,
};

/// The odds of a kind for causes that it ordinarily brings, against a kind of which nothing is
/// declared …
const LIKELY: f64 = 4.0;
/// … and for causes that it hardly ever brings.
const UNLIKELY: f64 = 0.25;

/// What is declared of a kind; of causes in neither list, nothing is.
struct Declared {
    kind: &'static str,
    likely: &'static [Cause],
    unlikely: &'static [Cause],
}

/// Kinds that are not in it are neutral: nobody's word is worth less for being new.
const KINDS: &[Declared] = &[
    Declared {
        kind: "deploy",
        likely: &[
            Cause::DeltaFailure,
            Cause::DeltaCapacityLoss,
            Cause::StatusDrift,
            Cause::Unexplained,
            Cause::SignalLost,
        ],
        unlikely: &[],
    },
    Declared {
        kind: MIGRATION,
        likely: &[
            Cause::MassUnpin,
            Cause::MassPin,
            Cause::MassRepin,
            Cause::MassRetarget,
            Cause::MassDeletion,
        ],
        unlikely: &[Cause::ConnectivityLoss, Cause::VpnRestart, Cause::DeltaCapacityLoss],
    },
    Declared {
        kind: "config",
        likely: &[
            Cause::ConnectivityLoss,
            Cause::VpnRestart,
            Cause::DeltaCapacityLoss,
            Cause::SignalLost,
            Cause::SamplingLost,
        ],
        unlikely: &[Cause::MassDeletion],
    },
    Declared {
        kind: MAINTENANCE,
        likely: &[
            Cause::ConnectivityLoss,
            Cause::VpnRestart,
            Cause::DeltaCapacityLoss,
            Cause::SamplingLost,
        ],
        unlikely: &[],
    },
];

/// The weight of a kind of change as the reason of a cause; 0 if it cannot be one.
pub fn weight(kind: &str, cause: Cause) -> f64 {
    let blind = matches!(cause, Cause::SamplingLost | Cause::SignalLost);
    if kind == HEADWATER_START {
        // Watching anew changes what is seen, and nothing of the fleet.
        return if blind { 1.0 } else { 0.0 };
    }
    let Some(declared) = KINDS.iter().find(|declared| declared.kind == kind) else { return 1.0 };
    if declared.likely.contains(&cause) {
        LIKELY
    } else if declared.unlikely.contains(&cause) {
        UNLIKELY
    } else {
        1.0
    }
}

/// Whether it is asked at all what was changed before a cause: an owner's own act is one.
pub fn is_asked(cause: Cause) -> bool {
    !matches!(cause, Cause::BulkPinByOwner | Cause::BulkUnpinByOwner | Cause::ReleaseRollout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_weighed_by_what_they_bring_and_unknown_ones_are_neutral() {
        assert!(weight("deploy", Cause::DeltaFailure) > weight("deploy", Cause::MassUnpin));
        assert!(weight(MIGRATION, Cause::MassUnpin) > weight(MIGRATION, Cause::ConnectivityLoss));
        assert!(Cause::ALL.into_iter().all(|cause| weight("moon phase", cause) == 1.0));
        let of_restart = |cause| weight(HEADWATER_START, cause);
        assert!(of_restart(Cause::MassPin) == 0.0 && of_restart(Cause::SamplingLost) > 0.0);
        assert!(KINDS.iter().all(|one| one.likely.iter().all(|it| !one.unlikely.contains(it))));
    }
}
