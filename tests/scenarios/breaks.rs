//! What breaks around the fleet: delta generation, connections, the flags that show them, the API,
//! and Headwater's own sight. Data only.

use headwater::{
    incident::{
        Cause::{
            self, ConnectivityLoss, DeltaCapacityLoss, DeltaFailure, MassUnpin, SamplingLost,
            SignalLost, StatusDrift, Unexplained,
        },
        Severity::{self, Critical, Warning},
    },
    simulate::{acts::Act, faults::Fault},
};

use super::{
    catalogue::{
        AN_HOUR, ANY, DELTA_JOBS, FAST, FEW_DELTA_JOBS, IN_FIVE_MINUTES, Kind, Needs, OVER_A_DAY,
        Scene, Story, Told, told,
    },
    stage::Sampling,
};

const fn broken(
    name: &'static str,
    play: fn(&Scene) -> Story,
    told: &'static [Told],
    watched: i64,
    needs: Needs,
) -> Kind {
    Kind { name, play, told, recorded: None, watched, needs }
}

/// A loss of connections is told when it can no longer be a restart: after five minutes.
const LOSS: &[Told] = &[told(ConnectivityLoss, Warning, 24)];

/// A service that has a job to do every three minutes is found out within as many jobs as prove it.
const fn within(cause: Cause, severity: Severity, samples: i64) -> Told {
    told(cause, severity, samples)
}

fn few_workers_are_left(scene: &Scene) -> Story {
    let left = scene.life.settings().delta_workers as usize / 4;
    scene.once(Act::UnpinEverything).then_fault(scene.later(3_600), Fault::DeltaWorkers { left })
}

fn connections_come_back(scene: &Scene, after_s: i64, share: f64) -> Story {
    let lost = scene.fault(Fault::ConnectionsLost { share });
    lost.then_fault(scene.later(after_s), Fault::ConnectionsBack)
}

pub(super) const BREAKS: &[Kind] = &[
    broken(
        "all workers lost",
        |scene| scene.fault(Fault::DeltaWorkers { left: 0 }),
        &[within(DeltaCapacityLoss, Critical, 120)],
        180,
        DELTA_JOBS,
    ),
    broken(
        "all workers of a small service lost",
        |scene| scene.fault(Fault::DeltaWorkers { left: 0 }),
        &[within(DeltaCapacityLoss, Critical, 720)],
        720,
        FEW_DELTA_JOBS,
    ),
    broken(
        "workers lost in a mass unpin",
        few_workers_are_left,
        &[
            told(MassUnpin, Critical, FAST),
            Told { cause: DeltaCapacityLoss, severity: Critical, begins_s: 3_600, samples: 240 },
        ],
        480,
        Needs { devices_min: 20_000, ..DELTA_JOBS },
    ),
    broken(
        "all deltas fail",
        |scene| scene.fault(Fault::DeltaFailures { share: 1.0 }),
        &[within(DeltaFailure, Critical, 120)],
        240,
        DELTA_JOBS,
    ),
    broken(
        "all deltas of a small service fail",
        |scene| scene.fault(Fault::DeltaFailures { share: 1.0 }),
        &[within(DeltaFailure, Critical, 720)],
        720,
        FEW_DELTA_JOBS,
    ),
    broken(
        "half of deltas fail",
        |scene| scene.fault(Fault::DeltaFailures { share: 0.5 }),
        &[within(DeltaFailure, Critical, 600)],
        600,
        DELTA_JOBS,
    ),
    broken(
        "half of connections lost",
        |scene| scene.fault(Fault::ConnectionsLost { share: 0.5 }),
        LOSS,
        80,
        AN_HOUR,
    ),
    broken(
        "a twentieth of connections lost",
        |scene| scene.fault(Fault::ConnectionsLost { share: 0.05 }),
        LOSS,
        80,
        AN_HOUR,
    ),
    broken(
        "connections lost for 20 minutes",
        |scene| connections_come_back(scene, 1_200, 0.3),
        LOSS,
        160,
        AN_HOUR,
    ),
    broken(
        "flags part at once",
        |scene| scene.fault(Fault::FlagsMissed { share: 0.25 }),
        &[within(StatusDrift, Warning, 120)],
        120,
        Needs { devices_min: 20_000, history_min: 2_880, ..ANY },
    ),
    // A hundredth of the online devices after four hours.
    broken(
        "flags part by 1 % over hours",
        |scene| scene.fault(Fault::FlagsLost { per_hour: 0.003 }),
        &[within(StatusDrift, Warning, 960)],
        960,
        Needs { devices_min: 5_000, history_min: 2_880, ..ANY },
    ),
    broken(
        "three times the requests",
        |scene| scene.fault(Fault::Requests { factor: 3.0 }),
        &[within(Unexplained, Warning, IN_FIVE_MINUTES)],
        80,
        OVER_A_DAY,
    ),
    broken(
        "the database does not answer",
        |scene| scene.sampled(Sampling::MetricsAlone, 80),
        &[told(SamplingLost, Warning, 4), told(SamplingLost, Critical, 42)],
        100,
        ANY,
    ),
    broken(
        "a signal gone",
        |scene| scene.sampled(Sampling::NoQueue, 80),
        &[within(SignalLost, Warning, 12)],
        80,
        OVER_A_DAY,
    ),
];
