//! Events of the fleet's state: what somebody, or a migration, does to many customers at once. Data
//! only.

use headwater::{
    incident::{
        Cause::{self, MassDeletion, MassPin, MassRepin, MassRetarget, MassUnpin},
        Severity,
    },
    simulate::acts::Act,
};

use super::{
    catalogue::{
        ANY, FAST, IN_FIVE_MINUTES, Kind, MANY_DEVICES, MANY_OWNERS, Needs, Scene, Story, Told,
        told,
    },
    stage::{INTERVAL_S, Sampling},
};

/// How long most stories are watched: twenty minutes.
const WATCHED: i64 = 80;

/// Batches are watched for an hour. A hundredth of some hundred applications has fewer owners in a
/// sample than the declared prior takes for ordinary: it takes an hour of history to know better.
const AN_HOUR: i64 = 240;

/// Eight owners, a few more in each batch, after two samples of history: the declared prior cannot
/// tell that from eight owners at work.
const SOME_HISTORY: Needs = Needs { history_min: 8, ..ANY };

const fn event(name: &'static str, play: fn(&Scene) -> Story, told: &'static [Told]) -> Kind {
    Kind { name, play, told, recorded: None, watched: WATCHED, needs: ANY }
}

/// The same in batches of many rows, watched for an hour.
const fn batched(name: &'static str, play: fn(&Scene) -> Story, told: &'static [Told]) -> Kind {
    Kind { name, play, told, recorded: None, watched: AN_HOUR, needs: MANY_DEVICES }
}

/// A tenth of everything.
const fn partial(name: &'static str, play: fn(&Scene) -> Story, told: &'static [Told]) -> Kind {
    Kind { name, play, told, recorded: None, watched: WATCHED, needs: MANY_OWNERS }
}

const fn page(cause: Cause, samples: i64) -> Told {
    told(cause, Severity::Critical, samples)
}

const fn page_later(cause: Cause, begins_s: i64) -> Told {
    Told { cause, severity: Severity::Critical, begins_s, samples: FAST }
}

const PIN: &[Told] = &[page(MassPin, FAST)];
const PIN_SLOWLY: &[Told] = &[page(MassPin, IN_FIVE_MINUTES)];
const UNPIN: &[Told] = &[page(MassUnpin, FAST)];
const UNPIN_SLOWLY: &[Told] = &[page(MassUnpin, IN_FIVE_MINUTES)];
const REPIN: &[Told] = &[page(MassRepin, FAST)];
const REPIN_SLOWLY: &[Told] = &[page(MassRepin, IN_FIVE_MINUTES)];
const RETARGET: &[Told] = &[page(MassRetarget, FAST)];
const RETARGET_SLOWLY: &[Told] = &[page(MassRetarget, IN_FIVE_MINUTES)];
const DELETION: &[Told] = &[page(MassDeletion, FAST)];
const DELETION_SLOWLY: &[Told] = &[page(MassDeletion, IN_FIVE_MINUTES)];

fn pin(devices: u64) -> Act {
    Act::PinToRunningBatch { devices }
}

fn unpin(devices: u64) -> Act {
    Act::UnpinBatch { devices }
}

fn host_os(devices: u64) -> Act {
    Act::TargetNewestHostOsBatch { devices }
}

fn supervisors(devices: u64) -> Act {
    Act::ClearSupervisorTargetsBatch { devices }
}

fn delete(devices: u64) -> Act {
    Act::DeleteBatch { devices }
}

/// So many rows with each sample, for an hour.
fn each_sample(scene: &Scene, act: fn(u64) -> Act, rows: u64) -> Story {
    scene.paced(AN_HOUR, INTERVAL_S, |_| act(rows))
}

/// A thousand rows, and then a pause of a minute, for an hour: as today's migrator does it.
fn with_pauses(scene: &Scene, act: fn(u64) -> Act) -> Story {
    scene.paced(60, 60, |_| act(1_000))
}

/// Every tenth application gets a new target.
fn retarget_a_tenth(scene: &Scene) -> Story {
    let chosen = scene.used_applications().into_iter().step_by(10);
    let script = chosen.map(|application| (scene.at, Act::RetargetApplication { application }));
    Story { script: script.collect(), ..Story::default() }
}

/// A hundredth of all applications get a new target with each sample.
fn retarget_in_batches(scene: &Scene) -> Story {
    let all = scene.used_applications();
    let each = all.len().div_ceil(100);
    let due = |index: usize| scene.later(INTERVAL_S * (index / each) as i64);
    let script = all.iter().enumerate();
    let script = script.map(|(index, application)| {
        (due(index), Act::RetargetApplication { application: *application })
    });
    Story { script: script.collect(), ..Story::default() }
}

fn night_in_batches(scene: &Scene) -> Story {
    let pinned = scene.paced(21, 5, |_| pin(scene.devices(20)));
    pinned.then(scene.later(240), Act::UnpinEverything)
}

pub(super) const EVENTS: &[Kind] = &[
    event("pin at once", |scene| scene.once(Act::PinEverythingToRunning), PIN),
    event("pin in twentieths", |scene| scene.paced(20, 5, |_| pin(scene.devices(20))), PIN),
    partial("pin a tenth", |scene| scene.once(Act::PinPartToRunning { part: 3, of: 10 }), PIN),
    batched("pin 5,000 a minute", |scene| each_sample(scene, pin, 1_250), PIN_SLOWLY),
    batched("pin 1,000 and pause", |scene| with_pauses(scene, pin), PIN_SLOWLY),
    event("unpin at once", |scene| scene.once(Act::UnpinEverything), UNPIN),
    Kind {
        needs: SOME_HISTORY,
        ..event(
            "unpin in twentieths",
            |scene| scene.paced(20, 5, |_| unpin(scene.devices(100))),
            UNPIN,
        )
    },
    partial("unpin a tenth", |scene| scene.once(Act::UnpinPart { part: 3, of: 10 }), UNPIN),
    batched("unpin 840 a minute", |scene| each_sample(scene, unpin, 210), UNPIN_SLOWLY),
    batched("unpin 400 a minute", |scene| each_sample(scene, unpin, 100), UNPIN_SLOWLY),
    batched("unpin 1,000 and pause", |scene| with_pauses(scene, unpin), UNPIN_SLOWLY),
    Kind {
        needs: MANY_OWNERS,
        ..event(
            "unpin in a gap",
            |scene| scene.once(Act::UnpinEverything).but_sampled(Sampling::Nothing, 40),
            &[page_later(MassUnpin, 600)],
        )
    },
    event(
        "pin, then unpin",
        |scene| {
            scene.once(Act::PinEverythingToRunning).then(scene.later(120), Act::UnpinEverything)
        },
        &[page(MassPin, FAST), page_later(MassUnpin, 120)],
    ),
    event(
        "pin in batches, then unpin",
        night_in_batches,
        &[page(MassPin, FAST), page_later(MassUnpin, 240)],
    ),
    event("retarget at once", |scene| scene.once(Act::RetargetEverything), RETARGET),
    partial("retarget a tenth", retarget_a_tenth, RETARGET),
    Kind {
        needs: Needs { history_min: 240, ..MANY_OWNERS },
        watched: AN_HOUR,
        ..event("retarget in hundredths", retarget_in_batches, RETARGET_SLOWLY)
    },
    event("repin at once", |scene| scene.once(Act::RepinEverything), REPIN),
    partial("repin a tenth", |scene| scene.once(Act::RepinPart { part: 3, of: 10 }), REPIN),
    partial(
        "repin in hundredths",
        |scene| scene.paced(100, INTERVAL_S, |part| Act::RepinPart { part, of: 100 }),
        REPIN_SLOWLY,
    ),
    event("target a host OS", |scene| scene.once(Act::TargetNewestHostOs), PIN),
    event(
        "target a host OS in twentieths",
        |scene| scene.paced(20, 5, |_| host_os(scene.devices(20))),
        PIN,
    ),
    batched("target a host OS, 400 a minute", |scene| each_sample(scene, host_os, 100), PIN_SLOWLY),
    event("clear supervisors", |scene| scene.once(Act::ClearSupervisorTargets), UNPIN),
    batched(
        "clear supervisors, 400 a minute",
        |scene| each_sample(scene, supervisors, 100),
        UNPIN_SLOWLY,
    ),
    event("delete a third", |scene| scene.once(Act::DeleteEveryNth { nth: 3 }), DELETION),
    event(
        "delete in hundredths",
        |scene| scene.paced(100, 5, |_| delete(scene.devices(100))),
        DELETION,
    ),
    batched("delete 400 a minute", |scene| each_sample(scene, delete, 100), DELETION_SLOWLY),
];
