//! What looks like an event and is somebody's own business, or the weather: nobody may be told of
//! it. Data only.

use std::collections::{BTreeMap, BTreeSet};

use headwater::{
    incident::Cause::{self, BulkPinByOwner, BulkUnpinByOwner, ReleaseRollout, VpnRestart},
    simulate::{acts::Act, faults::Fault},
};

use super::{
    catalogue::{AN_HOUR, ANY, Kind, Needs, Scene, Story},
    stage::{INTERVAL_S, Sampling, largest_application, largest_organization},
};

const fn lawful(name: &'static str, play: fn(&Scene) -> Story) -> Kind {
    Kind { name, play, told: &[], recorded: None, watched: 80, needs: ANY }
}

const fn recorded_as(cause: Cause, kind: Kind) -> Kind {
    Kind { recorded: Some(cause), ..kind }
}

const fn with(needs: Needs, watched: i64, kind: Kind) -> Kind {
    Kind { needs, watched, ..kind }
}

/// Of few organisations one is very large: 20,000 devices in hundreds of applications.
const ONE_GIANT: Needs = Needs { devices_min: 100_000, organizations_max: 20, ..ANY };

/// Eight owners are no forty: most of them shipping within minutes is extraordinary there.
const FORTY_OWNERS: Needs = Needs { organizations_min: 60, ..ANY };

const MANY_OWNERS: Needs = Needs { organizations_min: 200, ..ANY };

/// So many owners, spread evenly over the list, each with his first application.
fn one_application_each(scene: &Scene, owners: usize) -> Vec<i64> {
    let mut seen = BTreeSet::new();
    let used = scene.fleet().applications().iter().filter(|it| !it.devices.is_empty());
    let firsts: Vec<i64> = used.filter(|it| seen.insert(it.organization)).map(|it| it.id).collect();
    let step = (firsts.len() / owners).max(1);
    firsts.into_iter().step_by(step).take(owners).collect()
}

fn rollouts(scene: &Scene, owners: usize, pace_s: i64) -> Story {
    let chosen = one_application_each(scene, owners).into_iter().enumerate();
    let script = chosen.map(|(index, application)| {
        (scene.later(pace_s * index as i64), Act::RetargetApplication { application })
    });
    Story { script: script.collect(), ..Story::default() }
}

/// So many owners in ten minutes, in no order.
fn a_crowd(scene: &Scene, owners: usize) -> Story {
    let mut chosen = one_application_each(scene, owners);
    // A multiplicative hash: an order that has nothing to do with ids.
    chosen.sort_by_key(|id| id.unsigned_abs().wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let count = chosen.len() as i64;
    let script = chosen.into_iter().enumerate().map(|(index, application)| {
        (scene.later(600 * index as i64 / count), Act::RetargetApplication { application })
    });
    Story { script: script.collect(), ..Story::default() }
}

/// Twenty owners, or all that can, each put the devices of one application into another.
fn applications_merge(scene: &Scene) -> Story {
    let mut first = BTreeMap::new();
    let mut merges = BTreeMap::new();
    for it in scene.fleet().applications().iter().filter(|it| !it.devices.is_empty()) {
        let to = *first.entry(it.organization).or_insert(it.id);
        if to != it.id {
            merges.entry(it.organization).or_insert((it.id, to));
        }
    }
    let merges = merges.into_values().take(20);
    let script =
        merges.map(|(application, to)| (scene.at, Act::MoveApplication { application, to }));
    Story { script: script.collect(), ..Story::default() }
}

fn organization(scene: &Scene) -> i64 {
    largest_organization(scene.fleet()).0
}

fn application(scene: &Scene) -> i64 {
    largest_application(scene.fleet())
}

fn script_of_one_owner(scene: &Scene, act: fn(i64, u64) -> Act) -> Story {
    let (organization, devices, _) = largest_organization(scene.fleet());
    let each = (devices as u64).div_ceil(120);
    scene.paced(120, INTERVAL_S, |_| act(organization, each))
}

pub(super) const LOOK_ALIKES: &[Kind] = &[
    recorded_as(
        BulkUnpinByOwner,
        lawful("an application unpins", |scene| {
            scene.once(Act::UnpinApplication { application: application(scene) })
        }),
    ),
    recorded_as(
        BulkPinByOwner,
        lawful("an application pins", |scene| {
            scene.once(Act::PinApplication { application: application(scene) })
        }),
    ),
    recorded_as(
        BulkUnpinByOwner,
        lawful("an organisation unpins", |scene| {
            scene.once(Act::UnpinOrganization { organization: organization(scene) })
        }),
    ),
    recorded_as(
        BulkPinByOwner,
        lawful("an organisation pins", |scene| {
            scene.once(Act::PinOrganization { organization: organization(scene) })
        }),
    ),
    lawful("an organisation pins, then unpins", |scene| {
        let organization = organization(scene);
        let pinned = scene.once(Act::PinOrganization { organization });
        pinned.then(scene.later(300), Act::UnpinOrganization { organization })
    }),
    recorded_as(
        BulkPinByOwner,
        with(
            ONE_GIANT,
            80,
            lawful("a giant pins 20,000 devices", |scene| {
                scene.once(Act::PinOrganization { organization: organization(scene) })
            }),
        ),
    ),
    recorded_as(
        BulkUnpinByOwner,
        with(
            ONE_GIANT,
            80,
            lawful("a giant unpins 300 applications", |scene| {
                scene.once(Act::UnpinOrganization { organization: organization(scene) })
            }),
        ),
    ),
    with(
        ANY,
        160,
        lawful("an owner's script pins for half an hour", |scene| {
            script_of_one_owner(scene, |organization, devices| Act::PinOrganizationBatch {
                organization,
                devices,
            })
        }),
    ),
    with(
        ANY,
        160,
        lawful("an owner's script unpins for half an hour", |scene| {
            script_of_one_owner(scene, |organization, devices| Act::UnpinOrganizationBatch {
                organization,
                devices: devices.div_ceil(5),
            })
        }),
    ),
    recorded_as(
        ReleaseRollout,
        with(
            ANY,
            240,
            lawful("the largest application ships", |scene| {
                scene.once(Act::RetargetApplication { application: application(scene) })
            }),
        ),
    ),
    with(FORTY_OWNERS, 160, lawful("forty ship in ten minutes", |scene| rollouts(scene, 40, 15))),
    with(MANY_OWNERS, 240, lawful("sixty ship in half an hour", |scene| rollouts(scene, 60, 30))),
    with(
        MANY_OWNERS,
        160,
        lawful("a hundred and twenty ship together", |scene| a_crowd(scene, 120)),
    ),
    lawful("five ship at once", |scene| rollouts(scene, 5, 0)),
    lawful("an owner's host OS", |scene| {
        let organization = organization(scene);
        scene.once(Act::TargetNewestHostOsOfOrganization { organization })
    }),
    lawful("an application is given up", |scene| {
        scene.once(Act::DeleteApplication { application: application(scene) })
    }),
    lawful("an organisation leaves", |scene| {
        scene.once(Act::DeleteOrganization { organization: organization(scene) })
    }),
    lawful("applications merge", applications_merge),
    lawful("an owner provisions a tenth of the fleet", |scene| {
        scene.once(Act::Provision { application: application(scene), devices: scene.devices(10) })
    }),
    recorded_as(
        VpnRestart,
        with(
            AN_HOUR,
            80,
            lawful("the VPN restarts", |scene| {
                let lost = scene.fault(Fault::ConnectionsLost { share: 0.4 });
                lost.then_fault(scene.later(150), Fault::ConnectionsBack)
            }),
        ),
    ),
    lawful("the delta service restarts", |scene| scene.fault(Fault::DeltaCountersReset)),
    lawful("Headwater restarts", |scene| scene.sampled(Sampling::Restarts, 1)),
    lawful("a stale replica", |scene| scene.sampled(Sampling::Repeats, 40)),
    lawful("a gap", |scene| scene.sampled(Sampling::Nothing, 40)),
    with(
        ANY,
        240,
        lawful("every third sample fails", |scene| scene.sampled(Sampling::EveryThirdFails, 240)),
    ),
];
