//! The simulated fleet as rows: organisations, applications, releases and devices, changed by row
//! changes only, so that memory and database can be driven by the same list. Keeps the cohorts of
//! each application up to date with every change: a snapshot costs as much as there are cohorts,
//! not devices. Who changes what, and why, is in `acts` and `life`.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    fleet::{Application as Summary, Cohort, CohortKey, Snapshot},
    series::Time,
};

/// A customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Organization {
    /// Its id; ids count from 1 without gaps.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Its name in URLs.
    pub handle: String,
}

/// An application, with what follows from its devices.
#[derive(Clone, Debug, PartialEq)]
pub struct Application {
    /// Its id; ids count from 1 without gaps.
    pub id: i64,
    /// Its owner.
    pub organization: i64,
    /// `"app name"`.
    pub name: String,
    /// `handle/name`.
    pub slug: String,
    /// `"should be running-release"`.
    pub target: Option<i64>,
    /// A host OS or supervisor application: it has releases and no devices.
    pub is_host: bool,
    /// Its releases, oldest first.
    pub releases: Vec<i64>,
    /// Its devices.
    pub devices: BTreeSet<i64>,
    cohorts: BTreeMap<CohortKey, Cohort>,
    host_os_targets: BTreeMap<i64, u64>,
    supervisor_targets: BTreeMap<i64, u64>,
}

/// A release that still exists. Devices can run one that was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release {
    /// Its id.
    pub id: i64,
    /// The application that it was built for.
    pub application: i64,
}

/// `"api heartbeat state"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heartbeat {
    /// It reports.
    Online,
    /// It stopped.
    Offline,
    /// A report is overdue.
    Timeout,
    /// It never reported.
    Unknown,
}

impl Heartbeat {
    /// As the database spells it.
    pub fn text(self) -> &'static str {
        match self {
            Heartbeat::Online => "online",
            Heartbeat::Offline => "offline",
            Heartbeat::Timeout => "timeout",
            Heartbeat::Unknown => "unknown",
        }
    }
}

/// `"update status"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateStatus {
    /// The release is on its way.
    Downloading,
    /// It is there and is being started.
    ApplyingChanges,
    /// It was given up for another.
    Aborted,
    /// It runs.
    Done,
}

impl UpdateStatus {
    /// As the database spells it.
    pub fn text(self) -> &'static str {
        match self {
            UpdateStatus::Downloading => "downloading",
            UpdateStatus::ApplyingChanges => "applying changes",
            UpdateStatus::Aborted => "aborted",
            UpdateStatus::Done => "done",
        }
    }
}

/// What a device does of itself. No column tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// Comes, goes and updates.
    Ordinary,
    /// Out of reach for months.
    Dark,
    /// Connected, but never takes an update: no space, a lock, a broken download.
    Stuck,
}

/// A device's row, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its id; ids count from 1 and are never used again.
    pub id: i64,
    /// `"belongs to-application"`.
    pub application: i64,
    /// `"is pinned on-release"`.
    pub pinned: Option<i64>,
    /// `"is running-release"`.
    pub running: Option<i64>,
    /// `"should be operated by-release"`.
    pub host_os_target: Option<i64>,
    /// `"should be managed by-release"`.
    pub supervisor_target: Option<i64>,
    /// `"is connected to vpn"`.
    pub vpn_connected: bool,
    /// `"api heartbeat state"`.
    pub heartbeat: Heartbeat,
    /// `"update status"`.
    pub update_status: Option<UpdateStatus>,
    /// `"download progress"`, in percent.
    pub download_progress: Option<u8>,
    /// What it does of itself.
    pub habit: Habit,
}

impl Device {
    /// A device that was just provisioned: connected, and running nothing yet.
    pub(super) fn provisioned(id: i64, application: i64) -> Device {
        Device {
            id,
            application,
            pinned: None,
            running: None,
            host_os_target: None,
            supervisor_target: None,
            vpn_connected: true,
            heartbeat: Heartbeat::Online,
            update_status: None,
            download_progress: None,
            habit: Habit::Ordinary,
        }
    }

    /// Connected to the VPN or with an online heartbeat.
    pub fn is_online(&self) -> bool {
        self.vpn_connected || self.heartbeat == Heartbeat::Online
    }

    /// It downloads or starts a release, or did when it was last heard of.
    pub fn update_is_in_progress(&self) -> bool {
        let status = self.update_status;
        matches!(status, Some(UpdateStatus::Downloading | UpdateStatus::ApplyingChanges))
            || self.download_progress.is_some()
    }

    fn key(&self) -> CohortKey {
        CohortKey { pinned: self.pinned, running: self.running }
    }

    /// This device as a cohort of one.
    fn cohort(&self) -> Cohort {
        let heartbeat_online = self.heartbeat == Heartbeat::Online;
        Cohort {
            devices: 1,
            online: u64::from(self.is_online()),
            vpn_connected: u64::from(self.vpn_connected),
            heartbeat_online: u64::from(heartbeat_online),
            mismatch: u64::from(self.vpn_connected != heartbeat_online),
            updating: u64::from(self.is_online() && self.update_is_in_progress()),
            appeared: 0,
        }
    }
}

/// A change of one row. Every change states the new values, so that it can be applied twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowChange {
    /// A release was built.
    ReleaseInserted(Release),
    /// An application's own target changed.
    Target {
        /// Which application.
        application: i64,
        /// To which release.
        release: Option<i64>,
    },
    /// A device was provisioned.
    DeviceInserted(Device),
    /// A device was deleted.
    DeviceDeleted {
        /// Which.
        device: i64,
    },
    /// A pin was set, moved or (`None`) cleared.
    Pin {
        /// Of which device.
        device: i64,
        /// The pin.
        release: Option<i64>,
    },
    /// A host OS target was set or (`None`) cleared.
    HostOsTarget {
        /// Of which device.
        device: i64,
        /// The target.
        release: Option<i64>,
    },
    /// A supervisor target was set or (`None`) cleared.
    SupervisorTarget {
        /// Of which device.
        device: i64,
        /// The target.
        release: Option<i64>,
    },
    /// A device changed application and lost its pin.
    Moved {
        /// Which device.
        device: i64,
        /// The application that it belongs to now.
        application: i64,
    },
    /// A device came, went, or one of the two signs of it changed.
    Connection {
        /// Which device.
        device: i64,
        /// `"is connected to vpn"`.
        vpn_connected: bool,
        /// `"api heartbeat state"`.
        heartbeat: Heartbeat,
    },
    /// An update went on.
    Update {
        /// Of which device.
        device: i64,
        /// The release that it runs now.
        running: Option<i64>,
        /// `"update status"`.
        status: Option<UpdateStatus>,
        /// `"download progress"`, in percent.
        progress: Option<u8>,
    },
    /// A device reported its own metrics: a written row that says nothing of its state.
    Reported {
        /// Which device.
        device: i64,
        /// `"cpu usage"`, in percent.
        cpu_usage: u8,
    },
}

/// The fleet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fleet {
    pub(super) organizations: Vec<Organization>,
    pub(super) applications: Vec<Application>,
    releases: BTreeMap<i64, Release>,
    /// By id - 1; deleted ones stay as gaps, because ids are never used again.
    devices: Vec<Option<Device>>,
    device_count: u64,
    online_count: u64,
    release_id_max: i64,
    rows_written: u64,
}

impl Fleet {
    /// Organisations by id.
    pub fn organizations(&self) -> &[Organization] {
        &self.organizations
    }

    /// Applications by id, those of the host OS and the supervisor included.
    pub fn applications(&self) -> &[Application] {
        &self.applications
    }

    /// One application.
    pub fn application(&self, id: i64) -> Option<&Application> {
        self.applications.get(usize::try_from(id).ok()?.checked_sub(1)?)
    }

    /// Releases that exist, by id.
    pub fn releases(&self) -> &BTreeMap<i64, Release> {
        &self.releases
    }

    /// Devices by id.
    pub fn devices(&self) -> impl Iterator<Item = &Device> {
        self.devices.iter().flatten()
    }

    /// One device, if it exists.
    pub fn device(&self, id: i64) -> Option<&Device> {
        self.devices.get(usize::try_from(id).ok()?.checked_sub(1)?)?.as_ref()
    }

    /// How many devices there are.
    pub fn device_count(&self) -> u64 {
        self.device_count
    }

    /// How many are online.
    pub fn online_count(&self) -> u64 {
        self.online_count
    }

    /// The highest id that a device ever had. Ids up to it may be gaps.
    pub fn device_id_issued_max(&self) -> i64 {
        self.devices.len() as i64
    }

    /// The highest id that a release ever had.
    pub fn release_id_issued_max(&self) -> i64 {
        self.release_id_max
    }

    /// Rows of `device` inserted, updated or deleted since the fleet was made: what the database
    /// counts as `device_rows_written_total`, when it is driven by the same changes.
    pub fn device_rows_written(&self) -> u64 {
        self.rows_written
    }

    /// The release that a device should run: its pin, or else its application's target.
    pub fn target_of(&self, device: &Device) -> Option<i64> {
        device.pinned.or(self.application(device.application)?.target)
    }

    /// A target is set and differs from the running release.
    pub fn is_pending(&self, device: &Device) -> bool {
        let target = self.target_of(device);
        target.is_some() && target != device.running
    }

    /// What a read-only snapshot of the database would say at `at`. Devices above `appeared_above`
    /// are counted as new.
    pub fn snapshot(&self, at: Time, appeared_above: Option<i64>) -> Snapshot {
        let mut applications = BTreeMap::new();
        for application in &self.applications {
            if application.devices.is_empty() {
                continue;
            }
            let summary = Summary {
                name: application.name.clone(),
                organization: application.organization,
                target: application.target,
                cohorts: application.cohorts.clone(),
                host_os_targets: application.host_os_targets.clone(),
                supervisor_targets: application.supervisor_targets.clone(),
                ..Summary::default()
            };
            applications.insert(application.id, summary);
        }
        let known = appeared_above.and_then(|id| usize::try_from(id).ok());
        let new = known.and_then(|known| self.devices.get(known..)).unwrap_or_default();
        for device in new.iter().flatten() {
            let application: Option<&mut Summary> = applications.get_mut(&device.application);
            let Some(application) = application else { continue };
            if let Some(cohort) = application.cohorts.get_mut(&device.key()) {
                cohort.appeared += 1;
            }
            for (release, appeared) in [
                (device.host_os_target, &mut application.host_os_appeared),
                (device.supervisor_target, &mut application.supervisor_appeared),
            ] {
                if let Some(release) = release {
                    *appeared.entry(release).or_insert(0) += 1;
                }
            }
        }
        let device_id_max = self.devices.iter().rev().flatten().next().map_or(0, |last| last.id);
        Snapshot { at, device_id_max, appeared_above, applications }
    }

    /// Applies a change. Changes of devices that do not exist are ignored, as an UPDATE would.
    pub fn apply(&mut self, change: &RowChange) {
        match *change {
            RowChange::ReleaseInserted(release) => self.insert_release(release),
            RowChange::Target { application, release } => {
                self.application_mut(application).target = release;
            }
            RowChange::DeviceInserted(device) => self.insert_device(device),
            RowChange::DeviceDeleted { device } => {
                if let Some(gone) = self.slot(device).and_then(Option::take) {
                    self.rows_written += 1;
                    self.uncount(&gone);
                }
            }
            RowChange::Pin { device, release } => self.alter(device, |row| row.pinned = release),
            RowChange::HostOsTarget { device, release } => {
                self.alter(device, |row| row.host_os_target = release);
            }
            RowChange::SupervisorTarget { device, release } => {
                self.alter(device, |row| row.supervisor_target = release);
            }
            RowChange::Moved { device, application } => self.alter(device, |row| {
                row.application = application;
                row.pinned = None;
            }),
            RowChange::Connection { device, vpn_connected, heartbeat } => {
                self.alter(device, |row| {
                    row.vpn_connected = vpn_connected;
                    row.heartbeat = heartbeat;
                });
            }
            RowChange::Update { device, running, status, progress } => self.alter(device, |row| {
                row.running = running;
                row.update_status = status;
                row.download_progress = progress;
            }),
            RowChange::Reported { device, .. } => self.alter(device, |_| ()),
        }
    }

    /// Changes what no column tells of a device.
    pub(super) fn set_habit(&mut self, device: i64, habit: Habit) {
        if let Some(Some(row)) = self.slot(device) {
            row.habit = habit;
        }
    }

    pub(super) fn add_application(&mut self, application: NewApplication) {
        let id = self.applications.len() as i64 + 1;
        self.applications.push(Application {
            id,
            organization: application.organization,
            slug: application.slug,
            name: application.name,
            target: None,
            is_host: application.is_host,
            releases: Vec::new(),
            devices: BTreeSet::new(),
            cohorts: BTreeMap::new(),
            host_os_targets: BTreeMap::new(),
            supervisor_targets: BTreeMap::new(),
        });
    }

    /// Takes a release away; whoever runs it goes on running it.
    pub(super) fn delete_release(&mut self, id: i64) {
        if let Some(release) = self.releases.remove(&id) {
            self.application_mut(release.application).releases.retain(|other| *other != id);
        }
    }

    fn insert_release(&mut self, release: Release) {
        self.application_mut(release.application).releases.push(release.id);
        self.release_id_max = self.release_id_max.max(release.id);
        self.releases.insert(release.id, release);
    }

    fn insert_device(&mut self, device: Device) {
        assert!(device.id > self.devices.len() as i64, "device ids only grow: {}", device.id);
        self.devices.resize(device.id as usize - 1, None);
        self.devices.push(Some(device));
        self.rows_written += 1;
        self.count(&device);
    }

    fn alter(&mut self, id: i64, change: impl FnOnce(&mut Device)) {
        let Some(Some(row)) = self.slot(id) else { return };
        let before = *row;
        change(row);
        let after = *row;
        self.rows_written += 1;
        if before != after {
            self.uncount(&before);
            self.count(&after);
        }
    }

    fn slot(&mut self, id: i64) -> Option<&mut Option<Device>> {
        self.devices.get_mut(usize::try_from(id).ok()?.checked_sub(1)?)
    }

    fn application_mut(&mut self, id: i64) -> &mut Application {
        &mut self.applications[id as usize - 1]
    }

    fn count(&mut self, device: &Device) {
        self.device_count += 1;
        self.online_count += u64::from(device.is_online());
        let application = self.application_mut(device.application);
        application.devices.insert(device.id);
        application.cohorts.entry(device.key()).or_default().absorb(&device.cohort());
        if let Some(release) = device.host_os_target {
            *application.host_os_targets.entry(release).or_insert(0) += 1;
        }
        if let Some(release) = device.supervisor_target {
            *application.supervisor_targets.entry(release).or_insert(0) += 1;
        }
    }

    fn uncount(&mut self, device: &Device) {
        self.device_count -= 1;
        self.online_count -= u64::from(device.is_online());
        let application = self.application_mut(device.application);
        application.devices.remove(&device.id);
        subtract(&mut application.cohorts, device.key(), &device.cohort());
        let targets = [
            (&mut application.host_os_targets, device.host_os_target),
            (&mut application.supervisor_targets, device.supervisor_target),
        ];
        for (counts, release) in targets {
            let Some(release) = release else { continue };
            if let Some(count) = counts.get_mut(&release) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(&release);
                }
            }
        }
    }
}

/// What an application is made from.
pub(super) struct NewApplication {
    pub(super) organization: i64,
    pub(super) name: String,
    pub(super) slug: String,
    pub(super) is_host: bool,
}

fn subtract(cohorts: &mut BTreeMap<CohortKey, Cohort>, key: CohortKey, one: &Cohort) {
    let Some(cohort) = cohorts.get_mut(&key) else { return };
    cohort.devices -= one.devices;
    cohort.online -= one.online;
    cohort.vpn_connected -= one.vpn_connected;
    cohort.heartbeat_online -= one.heartbeat_online;
    cohort.mismatch -= one.mismatch;
    cohort.updating -= one.updating;
    if cohort.devices == 0 {
        cohorts.remove(&key);
    }
}
