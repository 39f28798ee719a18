//! What looks like an event and is somebody's own business: nobody may be told of it.

use chrono::TimeDelta;
use headwater::{
    incident::Cause,
    series::Time,
    simulate::{acts::Act, fleet::Fleet},
};

use super::stage::{
    DEMO, LARGE, SMALL, Sampling, Setting, Shape, Stage, largest_application, largest_organization,
};

const AFTER_SAMPLES: i64 = 60;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LookAlike {
    ApplicationUnpins,
    ApplicationPins,
    OrganizationUnpins,
    OrganizationPins,
    OrganizationPinsAndUnpins,
    LargestRollout,
    HostOsRollout,
    ApplicationGivenUp,
    OrganizationLeaves,
    /// Twenty owners, or all that can, each put the devices of one application into another.
    ApplicationsMerge,
    FortyRollouts,
}

const LOOK_ALIKES: &[LookAlike] = &[
    LookAlike::ApplicationUnpins,
    LookAlike::ApplicationPins,
    LookAlike::OrganizationUnpins,
    LookAlike::OrganizationPins,
    LookAlike::OrganizationPinsAndUnpins,
    LookAlike::LargestRollout,
    LookAlike::HostOsRollout,
    LookAlike::ApplicationGivenUp,
    LookAlike::OrganizationLeaves,
    LookAlike::ApplicationsMerge,
    LookAlike::FortyRollouts,
];

impl LookAlike {
    fn script(self, at: Time, fleet: &Fleet) -> Vec<(Time, Act)> {
        let later = |seconds| at + TimeDelta::seconds(seconds);
        let (organization, ..) = largest_organization(fleet);
        let application = largest_application(fleet);
        match self {
            LookAlike::ApplicationUnpins => vec![(at, Act::UnpinApplication { application })],
            LookAlike::ApplicationPins => vec![(at, Act::PinApplication { application })],
            LookAlike::OrganizationUnpins => vec![(at, Act::UnpinOrganization { organization })],
            LookAlike::OrganizationPins => vec![(at, Act::PinOrganization { organization })],
            LookAlike::OrganizationPinsAndUnpins => vec![
                (at, Act::PinOrganization { organization }),
                (later(300), Act::UnpinOrganization { organization }),
            ],
            LookAlike::LargestRollout => vec![(at, Act::RetargetApplication { application })],
            LookAlike::HostOsRollout => {
                vec![(at, Act::TargetNewestHostOsOfOrganization { organization })]
            }
            LookAlike::ApplicationGivenUp => vec![(at, Act::DeleteApplication { application })],
            LookAlike::OrganizationLeaves => vec![(at, Act::DeleteOrganization { organization })],
            LookAlike::ApplicationsMerge => {
                let mut first = std::collections::BTreeMap::new();
                let mut merges = std::collections::BTreeMap::new();
                for it in fleet.applications().iter().filter(|it| !it.devices.is_empty()) {
                    let to = *first.entry(it.organization).or_insert(it.id);
                    if to != it.id {
                        merges.entry(it.organization).or_insert((it.id, to));
                    }
                }
                assert!(merges.len() > 1, "several owners have more than one application");
                let merges = merges.into_values().take(20);
                let merges =
                    merges.map(|(application, to)| (at, Act::MoveApplication { application, to }));
                merges.collect()
            }
            LookAlike::FortyRollouts => {
                let mut owners = std::collections::BTreeSet::new();
                let used = fleet.applications().iter().filter(|it| !it.devices.is_empty());
                // One application an owner, evenly over the list, forty at most.
                let each = used.filter(|it| owners.insert(it.organization));
                let chosen: Vec<i64> = each.take(40).map(|it| it.id).collect();
                let rollouts = chosen.into_iter().enumerate().map(|(index, application)| {
                    (later(15 * index as i64), Act::RetargetApplication { application })
                });
                rollouts.collect()
            }
        }
    }
}

fn play_all(settings: &[Setting], look_alikes: &[LookAlike]) {
    let mut wrong = Vec::new();
    println!("{:28} {:>5} {:>5}", "look-alike", "cases", "quiet");
    for look_alike in look_alikes {
        let mut quiet = 0;
        for setting in settings {
            let life = setting.life();
            let script = look_alike.script(setting.act_at(), life.fleet());
            let mut stage = Stage::new();
            stage.play(setting.run(AFTER_SAMPLES, script));
            if stage.told().is_empty() {
                quiet += 1;
            } else {
                wrong.push(format!("{look_alike:?} on {}: {}", setting.name(), stage.tale()));
            }
        }
        println!("{:28} {:>5} {quiet:>5}", format!("{look_alike:?}"), settings.len());
    }
    assert!(wrong.is_empty(), "somebody was told:\n{}", wrong.join("\n"));
}

#[test]
fn owners_of_a_small_fleet_do_as_they_please() {
    let settings: Vec<Setting> = [(1, 3, 2), (2, 9, 40), (3, 14, 240), (4, 22, 960)]
        .map(|(seed, hour, warm_up)| Setting::new(SMALL, seed, hour, warm_up))
        .to_vec();
    // Eight owners are no forty: most of them shipping within minutes is extraordinary here.
    let owners_acts = &LOOK_ALIKES[..LOOK_ALIKES.len() - 1];
    assert!(!owners_acts.contains(&LookAlike::FortyRollouts));
    play_all(&settings, owners_acts);
}

#[test]
fn owners_of_a_middling_fleet_do_as_they_please() {
    let settings: Vec<Setting> = [(1, 22, 2), (2, 10, 60), (3, 4, 480)]
        .map(|(seed, hour, warm_up)| Setting::new(DEMO, seed, hour, warm_up))
        .to_vec();
    play_all(&settings, LOOK_ALIKES);
}

#[test]
fn an_owner_of_twenty_thousand_devices_and_hundreds_of_applications_does_too() {
    // Few organisations, so that one of them is very large.
    let giant = Setting::new(Shape(100_000, 1_500, 12), 6, 11, 30);
    let life = giant.life();
    let (_, devices, applications) = largest_organization(life.fleet());
    println!("the largest organisation: {devices} devices in {applications} applications");
    assert!(devices >= 20_000 && applications >= 200);
    play_all(
        &[giant],
        &[
            LookAlike::OrganizationUnpins,
            LookAlike::OrganizationPins,
            LookAlike::OrganizationLeaves,
        ],
    );
    play_all(&[Setting::new(LARGE, 7, 15, 30)], &[LookAlike::LargestRollout]);
}

#[test]
fn gaps_repeats_and_lost_samples_tell_nothing_of_the_fleet() {
    let mut wrong = Vec::new();
    for (name, expected, sampling) in [
        ("ten minutes without samples", 0, Sampling::Nothing),
        ("ten minutes of the same snapshot", 0, Sampling::Repeats),
        // The daemon says that it is blind, to the warning and to the page, and nothing else.
        ("ten minutes of failing samples", 4, Sampling::Fails),
        ("ten minutes of a failing database", 2, Sampling::MetricsAlone),
    ] {
        for (shape, seed) in [(SMALL, 31), (DEMO, 32)] {
            let setting = Setting::new(shape, seed, 10, 200);
            let mut stage = Stage::new();
            for (index, sample) in setting.run(100, Vec::new()).enumerate() {
                let lost = (200..240).contains(&index);
                stage.take(sample, if lost { sampling } else { Sampling::Samples });
            }
            let notifications = stage.told();
            let notifications = notifications.iter().flat_map(|one| &one.notifications);
            let causes: Vec<Cause> = notifications.map(|one| one.cause).collect();
            let right = causes.len() == expected
                && causes.iter().all(|cause| *cause == Cause::SamplingLost);
            println!("{name}, {}: {} notifications", setting.name(), causes.len());
            if !right {
                wrong.push(format!("{name} on {}: {}", setting.name(), stage.tale()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_third_sample_lost_changes_nothing() {
    let setting = Setting::new(DEMO, 33, 16, 240);
    let mut stage = Stage::new();
    for (index, sample) in setting.run(240, Vec::new()).enumerate() {
        let lost = index % 3 == 1;
        stage.take(sample, if lost { Sampling::MetricsAlone } else { Sampling::Samples });
    }
    assert!(stage.told().is_empty(), "{}", stage.tale());
}
