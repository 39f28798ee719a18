//! Life and acts against the fleet model: what a recording of them shows.

use std::collections::BTreeMap;

use chrono::TimeDelta;

use super::{
    Settings,
    acts::Act,
    faults::Fault,
    fleet::Fleet,
    life::Life,
    physics::{Physics, Seasons},
    run::{Run, Sample},
};
use crate::{
    fleet::{Application, Cohort, Flows, Snapshot},
    series::Time,
};

fn evening() -> Time {
    "2019-09-23T21:00:00Z".parse().expect("a time")
}

fn seconds(count: i64) -> TimeDelta {
    TimeDelta::seconds(count)
}

/// A snapshot counted device by device, without the cohorts that the fleet keeps.
fn counted(fleet: &Fleet, at: Time, appeared_above: Option<i64>) -> Snapshot {
    let mut applications: BTreeMap<i64, Application> = BTreeMap::new();
    for device in fleet.devices() {
        let row = fleet.application(device.application).expect("devices belong to applications");
        let summary = applications.entry(row.id).or_insert_with(|| Application {
            name: row.name.clone(),
            organization: row.organization,
            target: row.target,
            ..Application::default()
        });
        let key = crate::fleet::CohortKey { pinned: device.pinned, running: device.running };
        let heard = device.heartbeat.text() == "online";
        let status = device.update_status.map(|status| status.text());
        let in_progress = matches!(status, Some("downloading" | "downloaded" | "applying changes"))
            || device.download_progress.is_some();
        summary.cohorts.entry(key).or_default().absorb(&Cohort {
            devices: 1,
            online: u64::from(device.vpn_connected || heard),
            vpn_connected: u64::from(device.vpn_connected),
            heartbeat_online: u64::from(heard),
            mismatch: u64::from(device.vpn_connected != heard),
            updating: u64::from((device.vpn_connected || heard) && in_progress),
            appeared: u64::from(appeared_above.is_some_and(|above| device.id > above)),
        });
        let appeared = appeared_above.is_some_and(|above| device.id > above);
        for (release, targets, new) in [
            (device.host_os_target, &mut summary.host_os_targets, &mut summary.host_os_appeared),
            (
                device.supervisor_target,
                &mut summary.supervisor_targets,
                &mut summary.supervisor_appeared,
            ),
        ] {
            let Some(release) = release else { continue };
            *targets.entry(release).or_insert(0) += 1;
            if appeared {
                *new.entry(release).or_insert(0) += 1;
            }
        }
    }
    let device_id_max = fleet.devices().map(|device| device.id).max().unwrap_or(0);
    Snapshot { at, device_id_max, appeared_above, applications }
}

#[test]
fn the_same_seed_lives_the_same_life_and_another_does_not() {
    let run = |seed| {
        let life = Life::new(Settings::new(seed, 2_000, 40, 12), evening());
        let mut run = Run::new(life, seconds(15), evening() + seconds(3_600), Vec::new());
        let last = run.by_ref().last().expect("an hour has samples");
        (last.snapshot, last.metrics, run.life().fleet().clone())
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1).0, run(2).0);
}

#[test]
fn a_seeds_life_is_the_same_in_every_version() {
    let mut life = Life::new(Settings::new(1, 1_000, 20, 5), evening());
    let changes = life.live_until(evening() + seconds(86_400)).len();
    let counts = life.fleet().snapshot(life.now(), None).counts();
    let seen = (changes, counts["devices_pinned"], counts["devices_online"]);
    // A change here changes every recording that was made from a seed: say so in the commit.
    assert_eq!(seen, (13_730, 148.0, 860.0));
}

#[test]
fn cohorts_kept_by_change_equal_cohorts_counted_device_by_device() {
    let settings = Settings {
        devices_added_per_day: 0.2,
        devices_deleted_per_day: 0.2,
        devices_moved_per_day: 0.2,
        ..Settings::new(3, 2_000, 40, 12)
    };
    let mut life = Life::new(settings, evening());
    let mut above = None;
    for hour in 1..=24 {
        life.live_until(evening() + seconds(hour * 3_600));
        if hour == 12 {
            life.act(&Act::UnpinEverything);
        }
        let kept = life.fleet().snapshot(life.now(), above);
        assert_eq!(kept, counted(life.fleet(), life.now(), above));
        assert_eq!(kept.counts()["devices"], life.fleet().device_count() as f64);
        assert_eq!(kept.counts()["devices_online"], life.fleet().online_count() as f64);
        above = Some(kept.device_id_max);
    }
}

/// The signals of each sample of a run but the first: flows, counts and metrics. Snapshots are
/// dropped on the way, because a day of them would fill the memory.
fn recorded(run: Run) -> Vec<BTreeMap<String, f64>> {
    let mut rows = Vec::new();
    let mut previous: Option<Snapshot> = None;
    for sample in run {
        if let Some(before) = previous {
            let mut row = Flows::between(&before, &sample.snapshot).signals();
            row.extend(sample.snapshot.counts());
            row.extend(sample.metrics);
            rows.push(row);
        }
        previous = Some(sample.snapshot);
    }
    rows
}

/// How often each value of a signal was seen over samples, as `value: times`.
fn distribution(flows: &[BTreeMap<String, f64>], signal: &str) -> BTreeMap<u64, usize> {
    let mut seen = BTreeMap::new();
    for flow in flows {
        *seen.entry(flow[signal] as u64).or_insert(0) += 1;
    }
    seen
}

#[test]
fn ordinary_life_is_narrow_though_single_acts_are_large() {
    let life = Life::new(Settings::demo(11), evening());
    let run = Run::new(life, seconds(15), evening() + seconds(86_400), Vec::new());
    let flows = recorded(run);
    for signal in [
        "organizations_pins_added",
        "organizations_pins_removed",
        "organizations_pins_moved",
        "organizations_targets_changed",
        "application_targets_changed",
        "pins_added",
        "pins_removed",
        "pins_moved",
        "devices_added",
        "devices_removed",
        "delta_queue",
        "delta_workers_busy",
    ] {
        println!("{signal} per sample over a day: {:?}", distribution(&flows, signal));
    }
    for signal in ["organizations_pins_added", "organizations_pins_removed"] {
        let widest = flows.iter().map(|flow| flow[signal]).fold(0.0, f64::max);
        assert!(widest <= 3.0, "{signal} {widest}");
        let active = flows.iter().filter(|flow| flow[signal] > 0.0).count();
        assert!(active >= 5, "{signal}: somebody acts on a day: {active}");
    }
    let sizes = ["pins_added", "pins_removed", "pins_moved"];
    let sizes = flows.iter().flat_map(|flow| sizes.map(|signal| flow[signal]));
    let largest = sizes.fold(0.0, f64::max);
    assert!(largest >= 10.0, "some act touches many devices: {largest}");
    let (first, last) = (&flows[0], &flows[flows.len() - 1]);
    println!("first {first:?}\nlast  {last:?}");
    for signal in ["devices", "devices_pinned", "devices_online", "pending_updates"] {
        let mut later: Vec<f64> =
            flows[flows.len() / 2..].iter().map(|flow| flow[signal]).collect();
        later.sort_by(f64::total_cmp);
        let change = later[later.len() / 2] / first[signal];
        assert!((0.6..1.6).contains(&change), "{signal} is stationary: {change}");
    }
    let queue = flows.iter().map(|flow| flow["delta_queue"]).fold(0.0, f64::max);
    assert!((1.0..60.0).contains(&queue), "an ordinary queue is there and short: {queue}");
    assert!(last["delta_successes_total"] > 50.0);
}

#[test]
fn an_act_changes_what_it_says_and_nothing_else() {
    let fleet = Fleet::generate(&Settings::new(4, 5_000, 100, 20));
    let before = fleet.snapshot(evening(), None);
    let after = |act: &Act| {
        let mut fleet = fleet.clone();
        let changes = fleet.act(act);
        assert_eq!(fleet.snapshot(evening(), None), counted(&fleet, evening(), None), "{act:?}");
        (fleet.snapshot(evening() + seconds(15), Some(before.device_id_max)), changes.len())
    };
    let dangling = |device: &&super::fleet::Device| {
        device.running.is_none_or(|release| !fleet.releases().contains_key(&release))
    };
    let unpinnable = fleet.devices().filter(dangling).count() as f64;

    let (pinned, rows) = after(&Act::PinEverythingToRunning);
    let counts = pinned.counts();
    assert!(counts["devices_pinned"] >= counts["devices"] - unpinnable);
    assert_eq!(counts["devices_pinned_to_running"], counts["devices"] - unpinnable);
    assert_eq!(rows as f64, counts["devices"] - unpinnable);
    assert!(counts["pending_updates"] < before.counts()["pending_updates"]);

    let (unpinned, rows) = after(&Act::UnpinEverything);
    let flows = Flows::between(&before, &unpinned).signals();
    assert_eq!(unpinned.counts()["devices_pinned"], 0.0);
    assert_eq!(flows["pins_removed"], before.counts()["devices_pinned"]);
    assert!(flows["organizations_pins_removed"] >= 15.0, "{flows:?}");
    assert_eq!(rows, 5_000);
    let pending = before.pending_if_unpinned();
    assert_eq!(unpinned.counts()["pending_updates"], pending.devices as f64);
    assert_eq!(unpinned.counts()["pending_pairs"], pending.pairs as f64);

    let (owned, _) = after(&Act::UnpinOrganization { organization: 1 });
    let flows = Flows::between(&before, &owned).signals();
    assert_eq!(flows["organizations_pins_removed"], 1.0);
    let (moved, rows) = after(&Act::RepinEverything);
    let flows = Flows::between(&before, &moved).signals();
    assert_eq!(moved.counts()["devices_pinned"], before.counts()["devices_pinned"]);
    assert_eq!(rows as f64, before.counts()["devices_pinned"]);
    assert!(flows["pins_moved"] > 0.5 * rows as f64, "{flows:?}");
    let (deleted, rows) = after(&Act::DeleteEveryNth { nth: 4 });
    let flows = Flows::between(&before, &deleted).signals();
    assert_eq!((rows, flows["devices_removed"]), (1_250, 1_250.0));
    assert_eq!((flows["pins_removed"], flows["devices_added"]), (0.0, 0.0));
    assert!(flows["organizations_devices_removed"] >= 15.0, "{flows:?}");
    let (deleted, rows) = after(&Act::DeleteOrganization { organization: 1 });
    let flows = Flows::between(&before, &deleted).signals();
    assert_eq!(flows["organizations_devices_removed"], 1.0);
    assert_eq!(flows["devices_removed"], rows as f64);
    let (moved, _) = after(&Act::MoveApplication { application: 1, to: 2 });
    let flows = Flows::between(&before, &moved).signals();
    assert_eq!((flows["devices_removed"], flows["pins_removed"]), (0.0, 0.0));
    assert_eq!(flows["organizations_devices_removed"], 0.0);
    let (retargeted, _) = after(&Act::RetargetEverything);
    let flows = Flows::between(&before, &retargeted).signals();
    assert_eq!(flows["application_targets_changed"], before.counts()["applications"]);
}

#[test]
fn parts_of_a_fleet_are_everywhere_and_batches_of_an_owner_are_his_alone() {
    let fleet = Fleet::generate(&Settings::new(4, 5_000, 100, 20));
    let before = fleet.snapshot(evening(), None);
    let flows = |acts: &[Act]| {
        let mut fleet = fleet.clone();
        let rows: usize = acts.iter().map(|act| fleet.act(act).len()).sum();
        assert_eq!(fleet.snapshot(evening(), None), counted(&fleet, evening(), None), "{acts:?}");
        let after = fleet.snapshot(evening() + seconds(15), Some(before.device_id_max));
        (Flows::between(&before, &after).signals(), rows as f64)
    };
    let pinned = before.counts()["devices_pinned"];
    let (part, rows) = flows(&[Act::UnpinPart { part: 3, of: 10 }]);
    assert!(part["pins_removed"] == rows && (0.05..0.15).contains(&(rows / pinned)), "{rows}");
    assert!(part["organizations_pins_removed"] >= 12.0, "{part:?}");
    let all: Vec<Act> = (0..10).map(|part| Act::UnpinPart { part, of: 10 }).collect();
    assert_eq!(flows(&all), (flows(&[Act::UnpinEverything]).0, pinned));
    let all: Vec<Act> = (0..7).map(|part| Act::RepinPart { part, of: 7 }).collect();
    assert_eq!(flows(&all), flows(&[Act::RepinEverything]));
    let all: Vec<Act> = (0..3).map(|part| Act::PinPartToRunning { part, of: 3 }).collect();
    assert_eq!(flows(&all).0, flows(&[Act::PinEverythingToRunning]).0);

    let organization = 1;
    let batch = Act::PinOrganizationBatch { organization, devices: 100 };
    let (owned, rows) = flows(&[batch.clone(), batch]);
    assert_eq!((rows, owned["organizations_pins_added"]), (200.0, 1.0));
    let batch = Act::UnpinOrganizationBatch { organization, devices: 1_000_000 };
    assert_eq!(flows(&[batch]).0, flows(&[Act::UnpinOrganization { organization }]).0);
    let (new, rows) = flows(&[Act::Provision { application: 3, devices: 500 }]);
    assert_eq!((rows, new["devices_added"], new["pins_added"]), (500.0, 500.0, 0.0));
    let batch = Act::ClearSupervisorTargetsBatch { devices: 50 };
    let (cleared, rows) = flows(&[batch.clone(), batch]);
    assert_eq!((rows, cleared["supervisor_targets_removed"]), (100.0, 100.0));
}

#[test]
fn acts_on_host_os_and_supervisor_targets_leave_all_else_as_it_is() {
    let fleet = Fleet::generate(&Settings::new(4, 5_000, 100, 20));
    let before = fleet.snapshot(evening(), None);
    let after = |act: &Act| {
        let mut fleet = fleet.clone();
        let changes = fleet.act(act);
        assert_eq!(fleet.snapshot(evening(), None), counted(&fleet, evening(), None), "{act:?}");
        (fleet.snapshot(evening() + seconds(15), Some(before.device_id_max)), changes.len())
    };
    let (targeted, rows) = after(&Act::TargetNewestHostOs);
    let flows = Flows::between(&before, &targeted).signals();
    let written = flows["os_targets_added"] + flows["os_targets_moved"];
    assert_eq!((written, flows["supervisor_targets_added"]), (rows as f64, 0.0));
    assert!(flows["organizations_os_targets_added"] >= 15.0, "{flows:?}");
    assert_eq!(targeted.counts()["devices_os_targeted"], 5_000.0);
    let (cleared, rows) = after(&Act::ClearSupervisorTargets);
    let flows = Flows::between(&before, &cleared).signals();
    assert_eq!(
        (flows["supervisor_targets_removed"], flows["os_targets_removed"]),
        (rows as f64, 0.0)
    );
    assert_eq!(cleared.counts()["devices_supervisor_targeted"], 0.0);
    let (owned, _) = after(&Act::TargetNewestHostOsOfOrganization { organization: 1 });
    let flows = Flows::between(&before, &owned).signals();
    assert_eq!(flows["organizations_os_targets_added"], 1.0);
    for snapshot in [&targeted, &cleared, &owned] {
        let cohorts = |of: &Snapshot| -> Vec<_> {
            of.applications.values().map(|application| application.cohorts.clone()).collect()
        };
        assert_eq!(cohorts(snapshot), cohorts(&before));
    }
}

#[test]
fn batches_in_order_of_ids_end_where_one_statement_ends() {
    let fleet = Fleet::generate(&Settings::new(4, 5_000, 100, 20));
    let (mut at_once, mut batched) = (fleet.clone(), fleet.clone());
    at_once.pin_everything_to_running();
    let mut sizes = Vec::new();
    loop {
        let changes = batched.pin_to_running_batch(1_000);
        sizes.push(changes.len());
        if changes.is_empty() {
            break;
        }
    }
    println!("batches of 1000: {sizes:?}");
    assert_eq!(batched.snapshot(evening(), None), at_once.snapshot(evening(), None));
    assert!(sizes.len() > 4 && sizes[0] == 1_000);
    at_once.unpin_everything();
    while !batched.unpin_batch(700).is_empty() {}
    assert_eq!(batched.snapshot(evening(), None), at_once.snapshot(evening(), None));
}

#[test]
fn the_delta_queue_follows_from_the_pairs_that_a_mass_unpin_leaves() {
    let start = evening();
    let script = vec![(start + seconds(1_800), Act::UnpinEverything)];
    let life = Life::new(Settings::demo(11), start);
    let samples: Vec<Sample> =
        Run::new(life, seconds(15), start + seconds(5_400), script).collect();
    let before = &samples[119];
    let leap = &samples[120];
    let pairs = leap.snapshot.counts()["pending_pairs"];
    let requests = |sample: &Sample| sample.metrics["delta_requests_total"];
    let demand = requests(&samples[120 + 24]) - requests(before);
    let queue = samples.iter().map(|sample| sample.metrics["delta_queue"]).fold(0.0, f64::max);
    println!("pairs {pairs}, requested within 6 minutes {demand}, longest queue {queue}");
    println!("before {:?}\nafter  {:?}", before.metrics, samples[samples.len() - 1].metrics);
    assert!(before.snapshot.counts()["pending_pairs"] < pairs);
    assert!(demand <= pairs, "only pending pairs are asked for: {demand} of {pairs}");
    assert!(demand > 0.25 * pairs, "what is within reach asks within minutes: {demand} of {pairs}");
    assert!(queue > 0.5 * demand, "the workers saturate: {queue}");
    let running = |sample: &Sample| sample.snapshot.counts()["updates_in_progress"];
    assert!(running(&samples[samples.len() - 1]) > running(before));
}

#[test]
fn an_act_at_a_sample_is_seen_by_it_and_runs_are_repeatable() {
    let start = evening();
    let script = vec![(start + seconds(30), Act::UnpinEverything)];
    let life = Life::new(Settings::new(1, 1_000, 20, 5), start);
    let run = || Run::new(life.clone(), seconds(15), start + seconds(45), script.clone());
    let pinned = |sample: &Sample| sample.snapshot.counts()["devices_pinned"];
    let seen: Vec<f64> = run().map(|sample| pinned(&sample)).collect();
    assert_eq!(seen.len(), 4);
    assert!(seen[1] > 100.0);
    assert_eq!(seen[2], 0.0);
    assert_eq!(seen, run().map(|sample| pinned(&sample)).collect::<Vec<_>>());
}

#[test]
fn the_largest_fleet_lives_and_stays_within_the_prior_of_ordinary_breadth() {
    let started = std::time::Instant::now();
    let life = Life::new(Settings::new(8, 300_000, 5_000, 1_000), evening() - seconds(6 * 3_600));
    println!("300,000 devices generated: {:?}", started.elapsed());
    let end = life.now() + seconds(900);
    let script = vec![(end - seconds(15), Act::UnpinEverything)];
    let started = std::time::Instant::now();
    let flows = recorded(Run::new(life, seconds(15), end, script));
    println!("{} samples: {:?}", flows.len(), started.elapsed());
    let unpinning = flows.len() - 2;
    for signal in
        ["organizations_pins_added", "organizations_pins_removed", "organizations_pins_moved"]
    {
        println!("{signal} per sample: {:?}", distribution(&flows[..unpinning], signal));
        let widest = flows[..unpinning].iter().map(|flow| flow[signal]).fold(0.0, f64::max);
        // The declared prior: max(5, 2 % of the organisations) a sample.
        assert!(widest < 20.0, "{signal} {widest}");
    }
    assert!(flows[unpinning]["organizations_pins_removed"] > 500.0);
}

#[test]
fn a_branch_lives_on_as_the_run_itself_does_and_leaves_it_alone() {
    let start = evening();
    let end = start + seconds(3_600);
    let life = || Life::new(Settings::new(5, 2_000, 40, 12).with_drawn_physics(), start);
    let script = vec![(start + seconds(1_800), Act::UnpinEverything)];
    let whole: Vec<Sample> = Run::new(life(), seconds(15), end, script.clone()).collect();
    let mut begun = Run::new(life(), seconds(15), start + seconds(1_785), Vec::new());
    let before = begun.by_ref().count();
    assert_eq!(before, 120);
    let seen = |sample: &Sample| (sample.at, sample.snapshot.clone(), sample.metrics.clone());
    for _ in 0..2 {
        let branch: Vec<Sample> = begun.branch(end, script.clone(), Vec::new()).collect();
        assert_eq!(branch.len() + before, whole.len());
        for (branched, sample) in branch.iter().zip(&whole[before..]) {
            assert_eq!(seen(branched), seen(sample));
        }
    }
}

#[test]
fn faults_break_what_they_say() {
    let start = evening();
    let settings = Settings::new(6, 5_000, 100, 20);
    let until = |fault: Option<Fault>| {
        let run = Run::new(
            Life::new(settings.clone(), start),
            seconds(15),
            start + seconds(14_400),
            vec![],
        );
        let faults = fault.map(|fault| (start + seconds(30), fault));
        let samples: Vec<Sample> = run.with_faults(faults.into_iter().collect()).collect();
        let last = &samples[samples.len() - 1];
        let mut values = last.snapshot.counts();
        values.extend(last.metrics.clone());
        (values, samples[5].metrics.clone())
    };
    let (usual, early) = until(None);
    let (parted, _) = until(Some(Fault::FlagsLost { per_hour: 0.003 }));
    let more = parted["devices_vpn_heartbeat_mismatch"] - usual["devices_vpn_heartbeat_mismatch"];
    let share = more / usual["devices_online"];
    assert!((0.005..0.015).contains(&share), "a hundredth after four hours: {share}");
    assert!(
        (parted["devices_heartbeat_online"] / usual["devices_heartbeat_online"] - 1.0).abs() < 0.05
    );
    let (asked, _) = until(Some(Fault::Requests { factor: 3.0 }));
    let times = asked["api_requests_total"] / usual["api_requests_total"];
    assert!((2.5..3.1).contains(&times), "{times}");
    let (anew, shortly) = until(Some(Fault::DeltaCountersReset));
    assert!(shortly["delta_requests_total"] <= early["delta_requests_total"]);
    assert!(anew["delta_successes_total"] <= usual["delta_successes_total"]);
}

#[test]
fn moods_and_seasons_make_days_more_uneven() {
    let unevenness = |physics: Physics| {
        let start = evening();
        let settings = Settings { physics, ..Settings::new(8, 5_000, 200, 60) };
        let run =
            Run::new(Life::new(settings, start), seconds(900), start + seconds(3 * 86_400), vec![]);
        let targets: Vec<u64> = run
            .map(|sample| sample.snapshot.applications.values().filter_map(|it| it.target).max())
            .map(|newest| newest.unwrap_or(0) as u64)
            .collect();
        let shipped: Vec<f64> = targets.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
        let mean = shipped.iter().sum::<f64>() / shipped.len() as f64;
        let squares = shipped.iter().map(|it| (it - mean) * (it - mean)).sum::<f64>();
        println!("{mean} releases in a quarter of an hour");
        squares / shipped.len() as f64 / mean
    };
    let alone = Physics { rolled_out_at_once_max: 1, ..Physics::default() };
    let seasons = Some(Seasons { a_day: 1.0, hours: 3.0, factor: 5.0 });
    let together = Physics { mood_max: 8, seasons, ..alone.clone() };
    let (alone, together) = (unevenness(alone), unevenness(together));
    assert!(together > 1.5 * alone, "variance to mean: {alone} alone, {together} together");
}
