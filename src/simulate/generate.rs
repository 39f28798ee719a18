//! A fleet as it is found on an ordinary day, from its settings: sizes with heavy tails, pins that
//! customers set over the years, laggards, dark devices. How it goes on from there is in `life`.

use super::{
    Settings,
    chance::Chance,
    fleet::{
        Device, Fleet, Habit, Heartbeat, NewApplication, Organization, Release, RowChange,
        UpdateStatus,
    },
};

/// Share of applications whose newest release is not (yet) their target.
const UNRELEASED_SHARE: f64 = 0.08;

/// Share of applications without a target of their own: their devices run what their pins say.
const UNTARGETED_SHARE: f64 = 0.02;

/// Share of applications whose oldest release was deleted while a device still runs it.
const DELETED_RELEASE_SHARE: f64 = 0.1;

/// Share of the unpinned devices within reach that run an older release and do not update.
const STUCK_SHARE: f64 = 0.01;

/// Share of the dark devices that missed at least one release.
const DARK_BEHIND_SHARE: f64 = 0.9;

/// Share of devices that were registered and never ran anything.
const NEVER_RAN_SHARE: f64 = 0.002;

/// Share of the devices within reach whose two signs of life disagree.
const MISMATCH_SHARE: f64 = 0.01;

/// Share of pins on a release that the device does not run (it is dark, or has not got there).
const PIN_BEHIND_SHARE: f64 = 0.04;

/// Of the pins that customers set together, the share on the application's present target; the
/// others hold an older release.
const PIN_ON_TARGET_SHARE: f64 = 0.35;

/// No pins set together cover more than this share of the fleet, so that the share of pinned
/// devices comes out close to its setting.
const PIN_GROUP_SHARE_MAX: f64 = 0.01;

/// A bound on drawing groups of pins, for fleets so small that most draws hit pinned devices.
const PIN_GROUPS_MAX: u64 = 1_000_000;

impl Fleet {
    /// The fleet that belongs to `settings`.
    pub fn generate(settings: &Settings) -> Fleet {
        assert!(
            (1..=settings.applications).contains(&settings.organizations),
            "a fleet has at least one organisation and at most one for each application"
        );
        let mut chance = Chance::new(settings.seed);
        let mut fleet = Fleet::default();
        add_organizations(&mut fleet, settings);
        add_applications(&mut fleet, settings, &mut chance);
        add_releases(&mut fleet, &mut chance);
        add_devices(&mut fleet, settings, &mut chance);
        add_pins(&mut fleet, settings, &mut chance);
        delete_releases(&mut fleet, &mut chance);
        fleet
    }
}

fn add_organizations(fleet: &mut Fleet, settings: &Settings) {
    for id in 1..=settings.organizations as i64 {
        let organization = Organization {
            id,
            name: format!("Organization {id}"),
            handle: format!("organization-{id}"),
        };
        fleet.organizations.push(organization);
    }
}

/// Every organisation has an application; the others go to organisations with weights 1/2, 1/3,
/// 1/4, …, so that a few customers have many. The last two hold the releases of host OS and
/// supervisor.
fn add_applications(fleet: &mut Fleet, settings: &Settings, chance: &mut Chance) {
    let organizations = settings.organizations;
    let sizes = settings.physics.organization_sizes;
    let weights = Weights::new((0..organizations).map(|rank| sizes.weight(rank)));
    for position in 0..settings.applications {
        let owner = if position < organizations { position } else { weights.draw(chance) as u64 };
        let organization = owner as i64 + 1;
        let name = format!("application-{}", position + 1);
        let slug = format!("organization-{organization}/{name}");
        let is_host = false;
        fleet.add_application(NewApplication { organization, name, slug, is_host });
    }
    for name in ["host-os", "supervisor"] {
        let slug = format!("organization-1/{name}");
        let application =
            NewApplication { organization: 1, name: name.to_owned(), slug, is_host: true };
        fleet.add_application(application);
    }
}

fn add_releases(fleet: &mut Fleet, chance: &mut Chance) {
    let ids: Vec<i64> = fleet.applications().iter().map(|application| application.id).collect();
    for application in ids {
        for _ in 0..4 + chance.below(8) {
            let id = fleet.release_id_issued_max() + 1;
            fleet.apply(&RowChange::ReleaseInserted(Release { id, application }));
        }
        let releases = &fleet.applications[application as usize - 1].releases;
        let back = usize::from(chance.happens(UNRELEASED_SHARE));
        let target = releases.iter().rev().nth(back).copied();
        let release = if chance.happens(UNTARGETED_SHARE) { None } else { target };
        fleet.apply(&RowChange::Target { application, release });
    }
}

/// Devices belong to applications with weights 1/2, 1/3, 1/4, … in an order that has nothing to do
/// with who owns them, and to each at least one. Their ids are mixed: a fleet grows everywhere at
/// once.
fn add_devices(fleet: &mut Fleet, settings: &Settings, chance: &mut Chance) {
    let count = settings.applications;
    let by_rank = chance.sample((1..=count as i64).collect(), count as usize);
    let sizes = settings.physics.application_sizes;
    let weights = Weights::new((0..count).map(|rank| sizes.weight(rank)));
    let reach = settings.online_hours / (settings.online_hours + settings.offline_hours);
    for position in 0..settings.devices {
        let rank = if position < count { position as usize } else { weights.draw(chance) };
        let device = Device {
            id: position as i64 + 1,
            application: by_rank[rank],
            pinned: None,
            running: None,
            host_os_target: None,
            supervisor_target: None,
            vpn_connected: false,
            heartbeat: Heartbeat::Offline,
            update_status: None,
            download_progress: None,
            habit: Habit::Ordinary,
        };
        let device = furnish(fleet, device, settings, reach, chance);
        fleet.apply(&RowChange::DeviceInserted(device));
    }
}

/// What a device runs and whether it can be reached.
fn furnish(
    fleet: &Fleet,
    mut device: Device,
    settings: &Settings,
    reach: f64,
    chance: &mut Chance,
) -> Device {
    let application = &fleet.applications()[device.application as usize - 1];
    let newest = application.target.or(application.releases.last().copied());
    let older: Vec<i64> =
        application.releases.iter().copied().filter(|id| Some(*id) < newest).collect();
    device.running = newest;
    if chance.happens(settings.dark_share) {
        device.habit = Habit::Dark;
        if chance.happens(DARK_BEHIND_SHARE) {
            device.running = chance.pick(&older).copied().or(newest);
        }
    } else if chance.happens(STUCK_SHARE) {
        device.habit = Habit::Stuck;
        device.running = chance.pick(&older).copied().or(newest);
    }
    if chance.happens(NEVER_RAN_SHARE) {
        device.habit = Habit::Dark;
        device.heartbeat = Heartbeat::Unknown;
        device.running = None;
    } else if device.habit != Habit::Dark && chance.happens(reach) {
        device.vpn_connected = !chance.happens(MISMATCH_SHARE / 2.0);
        let heard = !device.vpn_connected || !chance.happens(MISMATCH_SHARE / 2.0);
        device.heartbeat = if heard { Heartbeat::Online } else { Heartbeat::Timeout };
        device.update_status = Some(UpdateStatus::Done);
    }
    let [.., host_os, supervisor] = fleet.applications() else { return device };
    if chance.happens(0.3) {
        device.host_os_target = chance.pick(&host_os.releases).copied();
    }
    if chance.happens(0.2) {
        device.supervisor_target = chance.pick(&supervisor.releases).copied();
    }
    device
}

/// Customers' own pins: most were set on one device, some on a group, some on a whole application,
/// in applications chosen half by their size and half evenly.
fn add_pins(fleet: &mut Fleet, settings: &Settings, chance: &mut Chance) {
    let wanted = (settings.pinned_share * settings.devices as f64) as u64;
    let group_max = ((settings.devices as f64 * PIN_GROUP_SHARE_MAX) as u64).max(1);
    let mut pinned = 0;
    for _ in 0..PIN_GROUPS_MAX {
        if pinned >= wanted {
            break;
        }
        let by_size = chance.below(settings.devices) as i64 + 1;
        let evenly = chance.below(settings.applications) as i64 + 1;
        let application = match fleet.device(by_size) {
            Some(device) if chance.happens(0.5) => device.application,
            _ => evenly,
        };
        let application = &fleet.applications()[application as usize - 1];
        let (Some(newest), Some(oldest)) = (application.target, application.releases.first())
        else {
            continue;
        };
        let older: Vec<i64> =
            (*oldest..newest).filter(|id| application.releases.contains(id)).collect();
        let on_target = older.is_empty() || chance.happens(PIN_ON_TARGET_SHARE);
        let release =
            if on_target { newest } else { chance.pick(&older).copied().unwrap_or(newest) };
        let free: Vec<i64> = application.devices.iter().copied().collect();
        let size = chance.heavy_tail(group_max) as usize;
        for id in chance.sample(free, size) {
            pinned += u64::from(pin(fleet, id, release, chance));
        }
    }
}

/// Pins a device that has no pin and makes it run that release, as a rule. A pin that runs is no
/// reason to be stuck.
fn pin(fleet: &mut Fleet, id: i64, release: i64, chance: &mut Chance) -> bool {
    let Some(device) = fleet.device(id).copied() else { return false };
    if device.pinned.is_some() || device.running.is_none() {
        return false;
    }
    fleet.apply(&RowChange::Pin { device: id, release: Some(release) });
    if chance.happens(PIN_BEHIND_SHARE) {
        let habit = if device.is_online() { Habit::Stuck } else { Habit::Dark };
        fleet.set_habit(id, habit);
        return true;
    }
    fleet.apply(&RowChange::Update {
        device: id,
        running: Some(release),
        status: device.update_status,
        progress: None,
    });
    if device.habit == Habit::Stuck {
        fleet.set_habit(id, Habit::Ordinary);
    }
    true
}

/// Deletes the oldest release of some applications, where no pin holds it.
fn delete_releases(fleet: &mut Fleet, chance: &mut Chance) {
    let ids: Vec<i64> = fleet.applications().iter().map(|application| application.id).collect();
    for id in ids {
        let application = &fleet.applications[id as usize - 1];
        let Some(oldest) = application.releases.first().copied() else { continue };
        let held =
            |device: &i64| fleet.device(*device).is_some_and(|row| row.pinned == Some(oldest));
        let is_free = application.target != Some(oldest)
            && !application.is_host
            && !application.devices.iter().any(held);
        if is_free && chance.happens(DELETED_RELEASE_SHARE) {
            fleet.delete_release(oldest);
        }
    }
}

/// Draws positions with given weights.
struct Weights {
    cumulative: Vec<f64>,
}

impl Weights {
    fn new(weights: impl Iterator<Item = f64>) -> Weights {
        let mut total = 0.0;
        let cumulative = weights.map(|weight| {
            total += weight;
            total
        });
        Weights { cumulative: cumulative.collect() }
    }

    fn draw(&self, chance: &mut Chance) -> usize {
        let total = self.cumulative.last().copied().unwrap_or(0.0);
        let point = chance.between(0.0, total);
        let position = self.cumulative.partition_point(|sum| *sum <= point);
        position.min(self.cumulative.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::Time;

    fn at() -> Time {
        Time::UNIX_EPOCH
    }

    #[test]
    fn the_same_seed_gives_the_same_fleet() {
        let settings = Settings::new(5, 2_000, 40, 12);
        assert_eq!(Fleet::generate(&settings), Fleet::generate(&settings));
        let other = Settings { seed: 6, ..settings.clone() };
        assert_ne!(Fleet::generate(&settings), Fleet::generate(&other));
    }

    #[test]
    fn a_fleet_of_any_size_looks_like_a_platform() {
        for (seed, devices, applications, organizations) in
            [(1, 1_000, 20, 5), (2, 20_000, 400, 60), (3, 100_000, 1_500, 200)]
        {
            let settings = Settings::new(seed, devices, applications, organizations);
            let fleet = Fleet::generate(&settings);
            let snapshot = fleet.snapshot(at(), None);
            let counts = snapshot.counts();
            println!("{devices} devices of seed {seed}: {counts:?}");
            println!("  if unpinned: {:?}", snapshot.pending_if_unpinned());
            let share = |name: &str| counts[name] / counts["devices"];
            assert_eq!(counts["devices"], devices as f64);
            assert_eq!(counts["applications"], applications as f64);
            assert_eq!(counts["organizations"], organizations as f64);
            assert!((0.10..0.25).contains(&share("devices_pinned")), "{}", share("devices_pinned"));
            let to_running = counts["devices_pinned_to_running"] / counts["devices_pinned"];
            assert!((0.9..1.0).contains(&to_running), "{to_running}");
            assert!((0.6..0.9).contains(&share("devices_online")), "{}", share("devices_online"));
            assert!((0.01..0.12).contains(&share("pending_updates")));
            assert!(share("devices_vpn_heartbeat_mismatch") < 0.02);
            let pending = snapshot.pending_if_unpinned().devices as f64;
            assert!(pending > 1.5 * counts["pending_updates"], "{pending}");
            let largest = snapshot.applications.values().map(|it| it.devices()).max();
            assert!(largest.is_some_and(|largest| largest > devices / 40), "{largest:?}");
        }
    }

    #[test]
    fn releases_that_are_gone_are_still_run_but_never_wanted() {
        let fleet = Fleet::generate(&Settings::new(1, 20_000, 400, 60));
        let exists = |id: Option<i64>| id.is_none_or(|id| fleet.releases().contains_key(&id));
        assert!(fleet.devices().any(|device| !exists(device.running)));
        assert!(fleet.devices().all(|device| exists(device.pinned)));
        assert!(fleet.applications().iter().all(|application| exists(application.target)));
    }
}
