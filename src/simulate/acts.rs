//! Scripted acts on a fleet: what a migration, an operator or an owner does in one stroke. Each act
//! gives the row changes that it made, so that the same act drives memory and database.

use super::fleet::{Device, Fleet, Release, RowChange};

/// What somebody does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Every device is pinned to the release that it runs, in one statement.
    PinEverythingToRunning,
    /// The same for the next so many devices, in the order of their ids.
    PinToRunningBatch {
        /// How many.
        devices: u64,
    },
    /// An asynchronous migration is scheduled: its status row appears, no device changes.
    MigrationStarts {
        /// Its key.
        key: String,
    },
    /// A run of that migration: `PinToRunningBatch`, and its status row is updated.
    MigrationBatch {
        /// Its key.
        key: String,
        /// How many devices at most.
        devices: u64,
    },
    /// Every pin is cleared, in one statement over all rows.
    UnpinEverything,
    /// The next so many pins are cleared, in the order of the devices' ids.
    UnpinBatch {
        /// How many.
        devices: u64,
    },
    /// The devices of a part of the fleet are pinned to the releases that they run, all over the
    /// platform: those whose id leaves this rest when divided.
    PinPartToRunning {
        /// The rest, below `of`.
        part: u64,
        /// The divisor.
        of: u64,
    },
    /// The pins of such a part are cleared.
    UnpinPart {
        /// The rest, below `of`.
        part: u64,
        /// The divisor.
        of: u64,
    },
    /// The pins of such a part move to the newest other release of the device's application.
    RepinPart {
        /// The rest, below `of`.
        part: u64,
        /// The divisor.
        of: u64,
    },
    /// An application's devices are pinned to the releases that they run.
    PinApplication {
        /// Which.
        application: i64,
    },
    /// An application's pins are cleared.
    UnpinApplication {
        /// Which.
        application: i64,
    },
    /// The same as `PinApplication` in every application of an organisation.
    PinOrganization {
        /// Which.
        organization: i64,
    },
    /// The same as `UnpinApplication` in every application of an organisation.
    UnpinOrganization {
        /// Which.
        organization: i64,
    },
    /// The next so many devices of an organisation are pinned to the releases that they run.
    PinOrganizationBatch {
        /// Which.
        organization: i64,
        /// How many.
        devices: u64,
    },
    /// The next so many pins of an organisation are cleared.
    UnpinOrganizationBatch {
        /// Which.
        organization: i64,
        /// How many.
        devices: u64,
    },
    /// An owner provisions devices in an application; they run nothing yet.
    Provision {
        /// Which.
        application: i64,
        /// How many.
        devices: u64,
    },
    /// An application gets a new release as its target.
    RetargetApplication {
        /// Which.
        application: i64,
    },
    /// Every application with devices gets a new release as its target.
    RetargetEverything,
    /// Every pin moves to the newest other release of its device's application.
    RepinEverything,
    /// Every device whose host OS target is another one gets the newest, in one statement.
    TargetNewestHostOs,
    /// The same for the next so many of them, in the order of their ids.
    TargetNewestHostOsBatch {
        /// How many.
        devices: u64,
    },
    /// The same in every application of an organisation.
    TargetNewestHostOsOfOrganization {
        /// Which.
        organization: i64,
    },
    /// Every supervisor target is cleared.
    ClearSupervisorTargets,
    /// The next so many supervisor targets are cleared, in the order of the devices' ids.
    ClearSupervisorTargetsBatch {
        /// How many.
        devices: u64,
    },
    /// Devices are deleted all over the platform, in one statement: each whose id is a multiple of
    /// this.
    DeleteEveryNth {
        /// Of which number; 1 deletes every device.
        nth: u64,
    },
    /// The next so many devices are deleted, in the order of their ids.
    DeleteBatch {
        /// How many.
        devices: u64,
    },
    /// An application is given up: its devices are deleted.
    DeleteApplication {
        /// Which.
        application: i64,
    },
    /// The same in every application of an organisation.
    DeleteOrganization {
        /// Which.
        organization: i64,
    },
    /// All devices of an application move to another one, and lose their pins on the way.
    MoveApplication {
        /// From which.
        application: i64,
        /// To which.
        to: i64,
    },
}

impl Fleet {
    /// Does `act` and gives what changed.
    pub fn act(&mut self, act: &Act) -> Vec<RowChange> {
        match *act {
            Act::PinEverythingToRunning => self.pin_everything_to_running(),
            Act::PinToRunningBatch { devices } | Act::MigrationBatch { devices, .. } => {
                self.pin_to_running_batch(devices)
            }
            Act::MigrationStarts { .. } => Vec::new(),
            Act::UnpinEverything => self.unpin_everything(),
            Act::UnpinBatch { devices } => self.unpin_batch(devices),
            Act::PinPartToRunning { part, of } => {
                let pinnable = self.ids(|fleet, device| {
                    in_part(device, part, of) && fleet.lacks_pin_to_running(device)
                });
                self.pin_to_running(&pinnable)
            }
            Act::UnpinPart { part, of } => {
                let pinned = self.ids(|_, it| in_part(it, part, of) && it.pinned.is_some());
                self.set_pins(pinned, None)
            }
            Act::RepinPart { part, of } => self.repin(|device| in_part(device, part, of)),
            Act::PinOrganizationBatch { organization, devices } => {
                let mut ids = self.ids_owned(organization, Fleet::lacks_pin_to_running);
                ids.truncate(devices as usize);
                self.pin_to_running(&ids)
            }
            Act::UnpinOrganizationBatch { organization, devices } => {
                let mut ids = self.ids_owned(organization, |_, device| device.pinned.is_some());
                ids.truncate(devices as usize);
                self.set_pins(ids, None)
            }
            Act::Provision { application, devices } => self.provision(application, devices),
            Act::PinApplication { application } => self.pin_application(application),
            Act::UnpinApplication { application } => self.unpin_application(application),
            Act::PinOrganization { organization } => self.pin_organization(organization),
            Act::UnpinOrganization { organization } => self.unpin_organization(organization),
            Act::RetargetApplication { application } => self.retarget_application(application),
            Act::RetargetEverything => self.retarget_everything(),
            Act::RepinEverything => self.repin(|_| true),
            Act::TargetNewestHostOs => self.target_newest_host_os(|_| true, usize::MAX),
            Act::TargetNewestHostOsBatch { devices } => {
                self.target_newest_host_os(|_| true, devices as usize)
            }
            Act::TargetNewestHostOsOfOrganization { organization } => {
                let owned = self.applications_of(organization);
                let is_owned = |device: &Device| owned.contains(&device.application);
                self.target_newest_host_os(is_owned, usize::MAX)
            }
            Act::ClearSupervisorTargets => self.clear_supervisor_targets(usize::MAX),
            Act::ClearSupervisorTargetsBatch { devices } => {
                self.clear_supervisor_targets(devices as usize)
            }
            Act::DeleteEveryNth { nth } => self.delete_every_nth(nth),
            Act::DeleteBatch { devices } => self.delete_batch(devices),
            Act::DeleteApplication { application } => self.delete_application(application),
            Act::DeleteOrganization { organization } => self.delete_organization(organization),
            Act::MoveApplication { application, to } => self.move_application(application, to),
        }
    }

    /// Pins every device to the release that it runs. Devices that run nothing, or a release that
    /// was deleted, stay as they are: the pin's foreign key would not have it. All others are
    /// written, those too that were pinned so before.
    pub fn pin_everything_to_running(&mut self) -> Vec<RowChange> {
        let ids = self.ids(|fleet, device| fleet.runs_an_existing_release(device));
        self.pin_to_running(&ids)
    }

    /// The same for the next `devices` of them, in the order of ids, whose pin is another or none.
    pub fn pin_to_running_batch(&mut self, devices: u64) -> Vec<RowChange> {
        let mut ids = self.ids(|fleet, device| fleet.lacks_pin_to_running(device));
        ids.truncate(devices as usize);
        self.pin_to_running(&ids)
    }

    /// Clears every pin. All rows are written, those too that had none.
    pub fn unpin_everything(&mut self) -> Vec<RowChange> {
        let ids = self.ids(|_, _| true);
        self.set_pins(ids, None)
    }

    /// Clears the next `devices` pins, in the order of ids.
    pub fn unpin_batch(&mut self, devices: u64) -> Vec<RowChange> {
        let mut ids = self.ids(|_, device| device.pinned.is_some());
        ids.truncate(devices as usize);
        self.set_pins(ids, None)
    }

    /// Pins an application's devices to what they run.
    pub fn pin_application(&mut self, application: i64) -> Vec<RowChange> {
        let ids = self.ids_in(application, |fleet, device| fleet.lacks_pin_to_running(device));
        self.pin_to_running(&ids)
    }

    /// Clears an application's pins.
    pub fn unpin_application(&mut self, application: i64) -> Vec<RowChange> {
        let ids = self.ids_in(application, |_, device| device.pinned.is_some());
        self.set_pins(ids, None)
    }

    /// Pins an organisation's devices to what they run.
    pub fn pin_organization(&mut self, organization: i64) -> Vec<RowChange> {
        let owned = self.applications_of(organization);
        owned.into_iter().flat_map(|application| self.pin_application(application)).collect()
    }

    /// Clears an organisation's pins.
    pub fn unpin_organization(&mut self, organization: i64) -> Vec<RowChange> {
        let owned = self.applications_of(organization);
        owned.into_iter().flat_map(|application| self.unpin_application(application)).collect()
    }

    /// Builds a release for an application and makes it the target.
    pub fn retarget_application(&mut self, application: i64) -> Vec<RowChange> {
        let release = Release { id: self.release_id_issued_max() + 1, application };
        let changes = vec![
            RowChange::ReleaseInserted(release),
            RowChange::Target { application, release: Some(release.id) },
        ];
        self.apply_all(changes)
    }

    /// The same for every application with devices.
    pub fn retarget_everything(&mut self) -> Vec<RowChange> {
        let applications = self.applications().iter();
        let used: Vec<i64> =
            applications.filter(|it| !it.devices.is_empty()).map(|it| it.id).collect();
        used.into_iter().flat_map(|application| self.retarget_application(application)).collect()
    }

    /// Moves the pins of the devices that `wanted` names to the newest other release of the
    /// device's application, where there is one.
    pub fn repin(&mut self, wanted: impl Fn(&Device) -> bool) -> Vec<RowChange> {
        let mut changes = Vec::new();
        for device in self.devices().filter(|device| device.pinned.is_some() && wanted(device)) {
            let releases = self.application(device.application).map(|it| it.releases.as_slice());
            let mut newest_first = releases.unwrap_or_default().iter().rev().copied();
            if let Some(other) = newest_first.find(|release| Some(*release) != device.pinned) {
                changes.push(RowChange::Pin { device: device.id, release: Some(other) });
            }
        }
        self.apply_all(changes)
    }

    /// Gives up to `most` of the devices that `wanted` names, in the order of ids, the newest host
    /// OS release as their target, where it is not that already.
    pub fn target_newest_host_os(
        &mut self,
        wanted: impl Fn(&Device) -> bool,
        most: usize,
    ) -> Vec<RowChange> {
        let host_os = self.applications().iter().find(|it| it.is_host);
        let newest = host_os.and_then(|it| it.releases.last().copied());
        let others = self.devices().filter(|it| it.host_os_target != newest && wanted(it));
        let changes = others
            .take(most)
            .map(|device| RowChange::HostOsTarget { device: device.id, release: newest });
        let changes = changes.collect();
        self.apply_all(changes)
    }

    /// Provisions devices in an application.
    pub fn provision(&mut self, application: i64, devices: u64) -> Vec<RowChange> {
        let first = self.device_id_issued_max() + 1;
        let new = (first..first + devices as i64)
            .map(|id| RowChange::DeviceInserted(Device::provisioned(id, application)));
        self.apply_all(new.collect())
    }

    /// Clears supervisor targets that are set, at most so many.
    pub fn clear_supervisor_targets(&mut self, most: usize) -> Vec<RowChange> {
        let set = self.devices().filter(|device| device.supervisor_target.is_some()).take(most);
        let cleared =
            set.map(|device| RowChange::SupervisorTarget { device: device.id, release: None });
        let changes = cleared.collect();
        self.apply_all(changes)
    }

    /// Deletes the devices whose id is a multiple of `nth`.
    pub fn delete_every_nth(&mut self, nth: u64) -> Vec<RowChange> {
        let ids = self.ids(|_, device| device.id.unsigned_abs().is_multiple_of(nth));
        self.delete(ids)
    }

    /// Deletes the next `devices` devices, in the order of ids.
    pub fn delete_batch(&mut self, devices: u64) -> Vec<RowChange> {
        let mut ids = self.ids(|_, _| true);
        ids.truncate(devices as usize);
        self.delete(ids)
    }

    /// Deletes an application's devices.
    pub fn delete_application(&mut self, application: i64) -> Vec<RowChange> {
        let ids = self.ids_in(application, |_, _| true);
        self.delete(ids)
    }

    /// Deletes an organisation's devices.
    pub fn delete_organization(&mut self, organization: i64) -> Vec<RowChange> {
        let owned = self.applications_of(organization);
        owned.into_iter().flat_map(|application| self.delete_application(application)).collect()
    }

    /// Moves an application's devices to another one.
    pub fn move_application(&mut self, application: i64, to: i64) -> Vec<RowChange> {
        let ids = self.ids_in(application, |_, _| true);
        let moves = ids.into_iter().map(|device| RowChange::Moved { device, application: to });
        self.apply_all(moves.collect())
    }

    /// Its running release can be pinned to.
    pub(super) fn runs_an_existing_release(&self, device: &Device) -> bool {
        device.running.is_some_and(|release| self.releases().contains_key(&release))
    }

    fn lacks_pin_to_running(&self, device: &Device) -> bool {
        device.pinned != device.running && self.runs_an_existing_release(device)
    }

    fn ids(&self, wanted: impl Fn(&Fleet, &Device) -> bool) -> Vec<i64> {
        self.devices().filter(|device| wanted(self, device)).map(|device| device.id).collect()
    }

    fn ids_in(&self, application: i64, wanted: impl Fn(&Fleet, &Device) -> bool) -> Vec<i64> {
        let Some(application) = self.application(application) else { return Vec::new() };
        let devices = application.devices.iter().filter_map(|id| self.device(*id));
        devices.filter(|device| wanted(self, device)).map(|device| device.id).collect()
    }

    fn ids_owned(&self, organization: i64, wanted: impl Fn(&Fleet, &Device) -> bool) -> Vec<i64> {
        let owned = self.applications_of(organization).into_iter();
        owned.flat_map(|application| self.ids_in(application, &wanted)).collect()
    }

    fn applications_of(&self, organization: i64) -> Vec<i64> {
        let owned = self.applications().iter().filter(|it| it.organization == organization);
        owned.map(|application| application.id).collect()
    }

    fn pin_to_running(&mut self, ids: &[i64]) -> Vec<RowChange> {
        let running = |id: &i64| self.device(*id).and_then(|device| device.running);
        let pins: Vec<RowChange> =
            ids.iter().map(|id| RowChange::Pin { device: *id, release: running(id) }).collect();
        self.apply_all(pins)
    }

    fn set_pins(&mut self, ids: Vec<i64>, release: Option<i64>) -> Vec<RowChange> {
        let pins = ids.into_iter().map(|device| RowChange::Pin { device, release });
        self.apply_all(pins.collect())
    }

    fn delete(&mut self, ids: Vec<i64>) -> Vec<RowChange> {
        let gone = ids.into_iter().map(|device| RowChange::DeviceDeleted { device });
        self.apply_all(gone.collect())
    }

    fn apply_all(&mut self, changes: Vec<RowChange>) -> Vec<RowChange> {
        for change in &changes {
            self.apply(change);
        }
        changes
    }
}

/// The device's id leaves this rest.
fn in_part(device: &Device, part: u64, of: u64) -> bool {
    device.id.unsigned_abs() % of == part
}
