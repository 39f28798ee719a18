//! What breaks around the fleet: delta generation, connections, the flags that show them. Named as
//! what they are, and what returns within minutes wakes nobody.

use chrono::TimeDelta;
use headwater::{
    incident::{Cause, Incident},
    series::Time,
    simulate::{acts::Act, faults::Fault},
};

use super::stage::{DEMO, INTERVAL_S, Setting, Shape, Stage};

/// What breaks.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Break {
    AllWorkers,
    AllDeltas,
    HalfOfDeltas,
    Connections(f64),
    VpnRestart,
    FlagsDrift,
    /// A mass unpin, and three of four workers are lost while its deltas are generated.
    UnpinAndMostWorkers,
}

const BREAKS: &[Break] = &[
    Break::AllWorkers,
    Break::AllDeltas,
    Break::HalfOfDeltas,
    Break::Connections(0.5),
    Break::Connections(0.05),
    Break::VpnRestart,
    Break::FlagsDrift,
    Break::UnpinAndMostWorkers,
];

impl Break {
    /// Samples within which it must be named. A service that has a job to do every three minutes
    /// is found out within as many jobs as prove it; a lost connection is told after five minutes.
    fn samples_allowed(self) -> i64 {
        match self {
            Break::Connections(_) | Break::VpnRestart => 24,
            Break::FlagsDrift => 60,
            Break::AllWorkers | Break::AllDeltas => 120,
            Break::UnpinAndMostWorkers => 240,
            Break::HalfOfDeltas => 600,
        }
    }

    fn samples_after(self) -> i64 {
        match self {
            // The workers are lost an hour after the unpin.
            Break::UnpinAndMostWorkers => 480,
            other => other.samples_allowed(),
        }
    }

    fn cause(self) -> Cause {
        match self {
            Break::AllWorkers | Break::UnpinAndMostWorkers => Cause::DeltaCapacityLoss,
            Break::AllDeltas | Break::HalfOfDeltas => Cause::DeltaFailure,
            Break::Connections(_) => Cause::ConnectivityLoss,
            Break::VpnRestart => Cause::VpnRestart,
            Break::FlagsDrift => Cause::StatusDrift,
        }
    }

    fn faults(self, at: Time, setting: &Setting) -> Vec<(Time, Fault)> {
        let later = |seconds| at + TimeDelta::seconds(seconds);
        let workers = setting.life().settings().delta_workers as usize;
        match self {
            Break::AllWorkers => vec![(at, Fault::DeltaWorkers { left: 0 })],
            Break::UnpinAndMostWorkers => {
                vec![(later(3_600), Fault::DeltaWorkers { left: workers / 4 })]
            }
            Break::AllDeltas => vec![(at, Fault::DeltaFailures { share: 1.0 })],
            Break::HalfOfDeltas => vec![(at, Fault::DeltaFailures { share: 0.5 })],
            Break::Connections(share) => vec![(at, Fault::ConnectionsLost { share })],
            Break::VpnRestart => {
                vec![
                    (at, Fault::ConnectionsLost { share: 0.4 }),
                    (later(150), Fault::ConnectionsBack),
                ]
            }
            Break::FlagsDrift => vec![(at, Fault::FlagsMissed { share: 0.25 })],
        }
    }

    fn script(self, at: Time) -> Vec<(Time, Act)> {
        match self {
            Break::UnpinAndMostWorkers => vec![(at, Act::UnpinEverything)],
            _ => Vec::new(),
        }
    }
}

/// Plays it and gives the samples that passed until it was named, with what was wrong.
fn play(setting: Setting, broken: Break) -> (Option<i64>, Vec<String>) {
    let faults = broken.faults(setting.act_at(), &setting);
    let at = faults[0].0;
    let run = setting.run(broken.samples_after(), broken.script(setting.act_at()));
    let mut stage = Stage::new();
    stage.play(run.with_faults(faults));
    let mut mistakes = Vec::new();
    let before = stage.told().iter().any(|told| told.first().detected_at < setting.act_at());
    let named =
        |incident: &&Incident| incident.causes.iter().any(|record| record.cause == broken.cause());
    let found: Vec<&Incident> = stage.incidents.values().filter(named).collect();
    if found.len() != 1 {
        mistakes.push(format!("{} incidents of it", found.len()));
    }
    let mut expected = vec![broken.cause()];
    expected.extend((!broken.script(at).is_empty()).then_some(Cause::MassUnpin));
    let told = stage.told();
    let causes = told.iter().flat_map(|told| &told.notifications).map(|one| one.cause);
    let others: Vec<Cause> = causes.filter(|cause| !expected.contains(cause)).collect();
    if !others.is_empty() && !before {
        mistakes.push(format!("told of {others:?}"));
    }
    let records = found.iter().flat_map(|incident| &incident.causes);
    let mut records = records.filter(|record| record.cause == broken.cause());
    let delay = records.next().map(|record| {
        if record.severity != broken.cause().severity() || record.onset < at {
            mistakes.push(format!("{} since {}", record.severity, record.onset));
        }
        (record.detected_at - at).num_seconds() / INTERVAL_S + 1
    });
    if delay.is_none_or(|samples| samples > broken.samples_allowed()) {
        mistakes.push(format!("named after {delay:?} samples"));
    }
    println!("{broken:?} on {}: {delay:?} samples", setting.name());
    if !mistakes.is_empty() {
        mistakes.push(stage.tale());
    }
    (delay, mistakes)
}

fn play_all(settings: &[Setting], broken: &[Break]) {
    let mut wrong = Vec::new();
    for broken in broken {
        for setting in settings {
            let (_, mistakes) = play(*setting, *broken);
            if !mistakes.is_empty() {
                let name = setting.name();
                wrong.push(format!("{broken:?} on {name}: {}", mistakes.join("; ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_middling_fleet_s_services_break_and_are_named() {
    play_all(&[Setting::new(DEMO, 1, 6, 2_880)], BREAKS);
    play_all(&[Setting::new(DEMO, 2, 12, 5_760)], &[Break::AllDeltas, Break::FlagsDrift]);
}

#[test]
fn a_busy_delta_service_breaks_and_is_named() {
    // Many applications with few devices: as many jobs as a fleet of hundreds of thousands has.
    let settings = [Setting::new(Shape(20_000, 1_500, 200), 4, 9, 2_880)];
    play_all(&settings, &[Break::AllWorkers, Break::AllDeltas, Break::Connections(0.02)]);
}
