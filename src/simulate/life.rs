//! Ordinary life, tick by tick: devices come and go, take updates over minutes and report;
//! customers act; the delta service works. Every change of a row is given to the caller, so that a
//! database can be driven along. Scripted acts come on top. Decides nothing about what is ordinary
//! to an observer.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{Datelike, TimeDelta, Timelike};

use super::{
    Settings,
    acts::Act,
    chance::Chance,
    customers::{act_on_pins, activity, choose_application, choose_device},
    delta::DeltaService,
    fleet::{Device, Fleet, Habit, Heartbeat, RowChange, UpdateStatus},
};
use crate::series::Time;

/// A delta's size: at least this, with a heavy tail up to `DELTA_MEGABYTES_MAX`.
const DELTA_MEGABYTES_MIN: f64 = 4.0;

/// The largest delta.
const DELTA_MEGABYTES_MAX: u64 = 100;

/// The bytes that a connected device is sent in a second.
const DEVICE_BYTES_PER_SECOND: f64 = 150.0;

/// How many days a dark device stays dark.
const DARK_DAYS: f64 = 90.0;

/// Longer times are lived in steps of this many seconds: within one, the hour's rates hold and what
/// changed is noticed at its end.
const STEP_SECONDS_MAX: i64 = 60;

/// A mood lasts between these, in hours.
const MOOD_HOURS: (f64, f64) = (0.2, 3.0);

const SECONDS_PER_DAY: f64 = 86_400.0;

/// A fleet that lives.
#[derive(Clone, Debug)]
pub struct Life {
    settings: Settings,
    fleet: Fleet,
    pub(super) delta: DeltaService,
    pub(super) chance: Chance,
    /// Share of comings and goings that one of the two signs of life does not show.
    pub(super) unnoticed_share: f64,
    /// Share of the connected devices that lose the flag of their VPN in an hour, and nothing else.
    pub(super) flags_lost_per_hour: f64,
    /// How many times as many requests as usual the API gets.
    pub(super) request_factor: f64,
    /// Devices that a fault has cut off.
    pub(super) cut_off: Vec<i64>,
    mood: Mood,
    now: Time,
    updates: BTreeMap<i64, Stage>,
    /// (when in milliseconds, device): what the device does next about its update.
    due: BTreeSet<(i64, i64)>,
    egress_bytes: f64,
    api_requests: f64,
}

/// What all customers have in common at present.
#[derive(Clone, Copy, Debug)]
struct Mood {
    /// How much busier than usual they are, and until when.
    factor: f64,
    until: Time,
    /// Until when they ship more releases than usual.
    season_until: Time,
}

/// How far a device is with its update.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    /// It has a target that it does not run, and asks for the way there.
    Asking,
    /// It downloads.
    Downloading { target: i64, left_ms: i64 },
    /// It starts what it downloaded.
    Applying { target: i64 },
}

impl Life {
    /// A life that begins at `start`.
    pub fn new(settings: Settings, start: Time) -> Life {
        let fleet = Fleet::generate(&settings);
        let mut delta = DeltaService::new(&settings);
        for application in fleet.applications() {
            // What was last rolled out has been generated.
            if let [.., previous, newest] = application.releases[..] {
                delta.remember((application.id, Some(previous), newest));
            }
        }
        let chance = Chance::new(settings.seed ^ 0x6c_69_66_65);
        let (updates, due) = (BTreeMap::new(), BTreeSet::new());
        let unnoticed_share = settings.physics.unnoticed_share;
        Life {
            settings,
            fleet,
            delta,
            chance,
            unnoticed_share,
            flags_lost_per_hour: 0.0,
            request_factor: 1.0,
            cut_off: Vec::new(),
            mood: Mood { factor: 1.0, until: start, season_until: start },
            now: start,
            updates,
            due,
            egress_bytes: 0.0,
            api_requests: 0.0,
        }
    }

    /// The present of this life.
    pub fn now(&self) -> Time {
        self.now
    }

    /// The fleet as it is now.
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// What it was made from.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The metrics around the fleet, by their names in Headwater: those of the delta service,
    /// `egress_bytes_total` and `api_requests_total`.
    pub fn metrics(&self) -> BTreeMap<String, f64> {
        let mut metrics = self.delta.metrics();
        metrics.insert("egress_bytes_total".to_owned(), self.egress_bytes.round());
        metrics.insert("api_requests_total".to_owned(), self.api_requests.round());
        metrics
    }

    /// Does `act` now and gives what it changed. What follows from it comes with the next ticks.
    pub fn act(&mut self, act: &Act) -> Vec<RowChange> {
        let changes = self.fleet.act(act);
        self.notice(&changes);
        changes
    }

    /// Takes on what changed by itself.
    pub(super) fn take_on(&mut self, changes: &[RowChange]) {
        for change in changes {
            self.fleet.apply(change);
        }
        self.notice(changes);
    }

    /// Lives on until `until` and gives what changed, in order. Does nothing if that is not later.
    pub fn live_until(&mut self, until: Time) -> Vec<RowChange> {
        let mut changes = Vec::new();
        while self.now < until {
            let step = (self.now + TimeDelta::seconds(STEP_SECONDS_MAX)).min(until);
            self.live_step(step, &mut changes);
        }
        changes
    }

    fn live_step(&mut self, until: Time, all_changes: &mut Vec<RowChange>) {
        let duration_s = (until - self.now).num_milliseconds() as f64 / 1e3;
        let days = duration_s / SECONDS_PER_DAY;
        self.change_mood(days, until);
        let physics = &self.settings.physics;
        let at_work =
            if until.weekday().num_days_from_monday() < 5 { 1.0 } else { physics.weekend };
        let hour = until.hour() + physics.hours_ahead;
        let busy_days = days * activity(hour) * at_work * self.mood.factor;
        let mut changes = Vec::new();
        self.come_and_go(days, until, &mut changes);
        self.lose_flags(duration_s, &mut changes);
        self.provision_delete_and_move(busy_days, &mut changes);
        changes.extend(act_on_pins(&mut self.fleet, &self.settings, busy_days, &mut self.chance));
        self.roll_out(busy_days, &mut changes);
        self.report(duration_s, &mut changes);
        self.now = until;
        self.notice(&changes);
        self.update_devices(until.timestamp_millis(), &mut changes);
        self.delta.advance(until.timestamp_millis());
        self.count_traffic(duration_s);
        all_changes.append(&mut changes);
    }

    /// Every so often customers are together in another mood, and now and then a season begins.
    fn change_mood(&mut self, days: f64, until: Time) {
        let most = self.settings.physics.mood_max;
        if most > 1 && self.mood.until <= until {
            let factor = self.chance.heavy_tail(most) as f64 / heavy_tail_mean(most);
            let seconds = 3_600.0 * self.chance.between(MOOD_HOURS.0, MOOD_HOURS.1);
            self.mood.factor = factor;
            self.mood.until = until + TimeDelta::seconds(seconds as i64);
        }
        if let Some(seasons) = self.settings.physics.seasons
            && self.chance.poisson(seasons.a_day * days) > 0
        {
            let seconds = (seasons.hours * 3_600.0) as i64;
            self.mood.season_until = until + TimeDelta::seconds(seconds);
        }
    }

    /// A fault: connected devices lose the flag of their VPN until they next come or go.
    fn lose_flags(&mut self, duration_s: f64, changes: &mut Vec<RowChange>) {
        let devices = self.fleet.device_count() as f64;
        let lost = devices * self.flags_lost_per_hour * duration_s / 3_600.0;
        for _ in 0..self.chance.poisson(lost) {
            let Some(device) = choose_device(&self.fleet, &mut self.chance) else { continue };
            if device.vpn_connected {
                let heartbeat = device.heartbeat;
                let change =
                    RowChange::Connection { device: device.id, vpn_connected: false, heartbeat };
                self.apply(change, changes);
            }
        }
    }

    fn apply(&mut self, change: RowChange, changes: &mut Vec<RowChange>) {
        self.fleet.apply(&change);
        changes.push(change);
    }

    /// Devices connect and disconnect at constant rates, connecting more by day. Candidates are
    /// drawn at the higher of both rates from all devices and kept with the share of their own
    /// rate.
    fn come_and_go(&mut self, days: f64, until: Time, changes: &mut Vec<RowChange>) {
        let going = 24.0 / self.settings.online_hours;
        let daylight = 0.75 + 0.25 * activity(until.hour() + self.settings.physics.hours_ahead);
        let coming = 24.0 / self.settings.offline_hours * daylight;
        let highest = going.max(coming);
        let devices = self.fleet.device_count() as f64;
        for _ in 0..self.chance.poisson(devices * highest * days) {
            let Some(device) = choose_device(&self.fleet, &mut self.chance) else { continue };
            let rate = match (device.is_online(), device.habit) {
                (true, _) => going,
                (false, Habit::Dark) => 1.0 / DARK_DAYS,
                (false, Habit::Ordinary | Habit::Stuck) => coming,
            };
            if self.chance.happens(rate / highest) {
                let connection = self.connection(&device);
                self.apply(connection, changes);
            }
        }
    }

    fn connection(&mut self, device: &Device) -> RowChange {
        let comes = !device.is_online();
        if comes && device.habit == Habit::Dark {
            self.fleet.set_habit(device.id, Habit::Ordinary);
        }
        let unnoticed = self.chance.happens(self.unnoticed_share);
        let vpn_connected = comes && !(unnoticed && self.chance.happens(0.5));
        let heartbeat = match comes {
            true if unnoticed && vpn_connected => Heartbeat::Timeout,
            true => Heartbeat::Online,
            false => Heartbeat::Offline,
        };
        RowChange::Connection { device: device.id, vpn_connected, heartbeat }
    }

    fn provision_delete_and_move(&mut self, days: f64, changes: &mut Vec<RowChange>) {
        let devices = self.fleet.device_count() as f64;
        let added = self.settings.devices_added_per_day * devices * days;
        let batches = added / heavy_tail_mean(self.settings.physics.provisioned_at_once_max);
        for _ in 0..self.chance.poisson(batches) {
            let chosen = choose_application(&self.fleet, &mut self.chance);
            let Some(application) = chosen else { continue };
            let at_once = self.settings.physics.provisioned_at_once_max;
            for _ in 0..self.chance.heavy_tail(at_once) {
                let id = self.fleet.device_id_issued_max() + 1;
                self.apply(
                    RowChange::DeviceInserted(Device::provisioned(id, application)),
                    changes,
                );
            }
        }
        let deleted = self.settings.devices_deleted_per_day * devices * days;
        for _ in 0..self.chance.poisson(deleted) {
            let Some(device) = choose_device(&self.fleet, &mut self.chance) else { continue };
            self.apply(RowChange::DeviceDeleted { device: device.id }, changes);
        }
        let moved = self.settings.devices_moved_per_day * devices * days;
        for _ in 0..self.chance.poisson(moved) {
            let Some(device) = choose_device(&self.fleet, &mut self.chance) else { continue };
            let siblings = self.siblings(device.application);
            let Some(application) = self.chance.pick(&siblings).copied() else { continue };
            self.apply(RowChange::Moved { device: device.id, application }, changes);
        }
    }

    /// The other applications of the same owner.
    fn siblings(&self, application: i64) -> Vec<i64> {
        let owner = self.fleet.application(application).map(|it| it.organization);
        let others = self
            .fleet
            .applications()
            .iter()
            .filter(|it| Some(it.organization) == owner && it.id != application && !it.is_host);
        others.map(|it| it.id).collect()
    }

    fn roll_out(&mut self, days: f64, changes: &mut Vec<RowChange>) {
        let a_day =
            self.settings.rollouts_per_application_per_day * self.settings.applications as f64;
        let at_once = self.settings.physics.rolled_out_at_once_max;
        let in_season = self.now < self.mood.season_until;
        let season = self.settings.physics.seasons.filter(|_| in_season);
        let factor = season.map_or(1.0, |season| season.factor);
        let rollouts = a_day * factor * days / heavy_tail_mean(at_once);
        for _ in 0..self.chance.poisson(rollouts) {
            let first = self.chance.below(self.settings.applications) as i64 + 1;
            changes.extend(self.fleet.retarget_application(first));
            let further = self.chance.heavy_tail(at_once) as usize - 1;
            let siblings = self.siblings(first);
            for application in self.chance.sample(siblings, further) {
                changes.extend(self.fleet.retarget_application(application));
            }
        }
    }

    fn report(&mut self, duration_s: f64, changes: &mut Vec<RowChange>) {
        let rate = self.settings.reports_per_device_per_hour / 3600.0;
        let devices = self.fleet.device_count() as f64;
        for _ in 0..self.chance.poisson(devices * rate * duration_s) {
            let Some(device) = choose_device(&self.fleet, &mut self.chance) else { continue };
            if device.is_online() {
                let cpu_usage = self.chance.below(100) as u8;
                self.apply(RowChange::Reported { device: device.id, cpu_usage }, changes);
            }
        }
    }

    /// Lets devices learn of what may be a new target, or of their connection.
    fn notice(&mut self, changes: &[RowChange]) {
        for change in changes {
            match *change {
                RowChange::Target { application, .. } => {
                    let devices = self.fleet.application(application).map(|it| &it.devices);
                    for device in devices.cloned().unwrap_or_default() {
                        self.plan(device);
                    }
                }
                RowChange::DeviceInserted(Device { id: device, .. })
                | RowChange::Pin { device, .. }
                | RowChange::Moved { device, .. }
                | RowChange::Connection { device, .. } => self.plan(device),
                RowChange::ReleaseInserted(_)
                | RowChange::DeviceDeleted { .. }
                | RowChange::HostOsTarget { .. }
                | RowChange::SupervisorTarget { .. }
                | RowChange::Update { .. }
                | RowChange::Reported { .. } => (),
            }
        }
    }

    /// A connected device that is pending and does nothing about it will ask at its next poll, and
    /// so will one that was cut off in an update that it no longer needs.
    fn plan(&mut self, id: i64) {
        let Some(device) = self.fleet.device(id) else { return };
        let will_ask = device.habit == Habit::Ordinary
            && device.is_online()
            && (self.fleet.is_pending(device) || device.update_is_in_progress())
            && !self.updates.contains_key(&id);
        if will_ask {
            let wait_ms = (self.chance.between(0.0, self.settings.physics.poll_s) * 1e3) as i64;
            self.set_stage(id, Stage::Asking, self.now.timestamp_millis() + wait_ms);
        }
    }

    fn set_stage(&mut self, device: i64, stage: Stage, due_ms: i64) {
        self.updates.insert(device, stage);
        self.due.insert((due_ms, device));
    }

    fn update_devices(&mut self, until_ms: i64, changes: &mut Vec<RowChange>) {
        while let Some(&(due_ms, id)) = self.due.first() {
            if due_ms > until_ms {
                break;
            }
            self.due.pop_first();
            self.delta.advance(due_ms);
            let Some(stage) = self.updates.remove(&id) else { continue };
            let Some(device) = self.fleet.device(id).copied() else { continue };
            // A device out of reach goes on when it is back.
            if device.is_online() {
                self.update_device(&device, stage, due_ms, changes);
            }
        }
    }

    fn update_device(
        &mut self,
        device: &Device,
        stage: Stage,
        at_ms: i64,
        changes: &mut Vec<RowChange>,
    ) {
        let target =
            self.fleet.target_of(device).filter(|release| Some(*release) != device.running);
        let running = device.running;
        let step = |status, progress| RowChange::Update {
            device: device.id,
            running,
            status: Some(status),
            progress,
        };
        match (stage, target) {
            (Stage::Asking, Some(target)) => self.ask_for_delta(device, target, at_ms, changes),
            (Stage::Asking, None) if device.update_is_in_progress() => {
                self.apply(step(UpdateStatus::Aborted, None), changes);
            }
            (Stage::Asking, None) => (),
            (Stage::Downloading { target: aim, left_ms }, Some(target)) if aim == target => {
                if left_ms > 0 {
                    self.apply(step(UpdateStatus::Downloading, Some(50)), changes);
                    let stage = Stage::Downloading { target, left_ms: 0 };
                    self.set_stage(device.id, stage, at_ms + left_ms);
                } else {
                    self.apply(step(UpdateStatus::ApplyingChanges, None), changes);
                    let (shortest, longest) = self.settings.physics.apply_s;
                    let seconds = self.chance.between(shortest, longest);
                    let due_ms = at_ms + (seconds * 1e3) as i64;
                    self.set_stage(device.id, Stage::Applying { target }, due_ms);
                }
            }
            (Stage::Applying { target: aim }, Some(target)) if aim == target => {
                let done = RowChange::Update {
                    device: device.id,
                    running: Some(target),
                    status: Some(UpdateStatus::Done),
                    progress: None,
                };
                self.apply(done, changes);
            }
            // The target changed on the way: give up, and start for the new one if there is one.
            (Stage::Downloading { .. } | Stage::Applying { .. }, _) => {
                self.apply(step(UpdateStatus::Aborted, None), changes);
                self.plan(device.id);
            }
        }
    }

    fn ask_for_delta(
        &mut self,
        device: &Device,
        target: i64,
        at_ms: i64,
        changes: &mut Vec<RowChange>,
    ) {
        self.api_requests += 1.0;
        if !self.delta.ask((device.application, device.running, target), at_ms) {
            let retry_s = self.settings.physics.retry_s;
            let wait_s = self.chance.between(retry_s / 2.0, retry_s);
            self.set_stage(device.id, Stage::Asking, at_ms + (wait_s * 1e3) as i64);
            return;
        }
        let begun = RowChange::Update {
            device: device.id,
            running: device.running,
            status: Some(UpdateStatus::Downloading),
            progress: Some(0),
        };
        self.apply(begun, changes);
        let (shortest, longest) = self.settings.physics.download_s;
        let seconds = self.chance.between(shortest, longest);
        let half_ms = (seconds * 500.0) as i64;
        let stage = Stage::Downloading { target, left_ms: half_ms };
        self.set_stage(device.id, stage, at_ms + half_ms);
        let tail =
            self.chance.heavy_tail((DELTA_MEGABYTES_MAX as f64 / DELTA_MEGABYTES_MIN) as u64);
        self.egress_bytes += DELTA_MEGABYTES_MIN * tail as f64 * 1e6;
    }

    fn count_traffic(&mut self, duration_s: f64) {
        let device_seconds = self.fleet.online_count() as f64 * duration_s;
        let sway = self.settings.physics.sway;
        let wobble = self.chance.between(1.0 - sway, 1.0 + sway);
        let requests = device_seconds * self.settings.physics.requests_per_device_s * wobble;
        self.api_requests += requests * self.request_factor;
        let wobble = self.chance.between(0.95, 1.05);
        self.egress_bytes += device_seconds * DEVICE_BYTES_PER_SECOND * wobble;
    }
}

/// The mean of `Chance::heavy_tail(max)`.
pub(super) fn heavy_tail_mean(max: u64) -> f64 {
    (1..=max).map(|size| 1.0 / size as f64).sum()
}
