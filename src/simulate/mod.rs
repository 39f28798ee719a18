//! A simulated fleet that the demo and the tests share: an ordinary life from a seed, scripted acts
//! on top of it, a delta service whose load follows from the release pairs, and the database and
//! the Prometheus API through which all of it is seen. Nothing here knows of detection or
//! diagnosis.
//!
//! Everything but `database`, `prometheus` and `play` is pure: time comes as an argument, chance
//! from the seed, and only additions, multiplications, divisions and square roots are used on
//! floats, so that the same seed gives the same life on every machine.

pub mod chance;

pub mod physics;

pub mod fleet;

pub mod generate;

pub mod acts;

pub mod faults;

pub mod delta;

pub mod customers;

pub mod life;

pub mod run;

pub mod night;

pub mod database;

pub mod prometheus;

pub mod play;

#[cfg(test)]
mod tests;

/// What a fleet is like. The defaults describe a platform on an ordinary day; rates are averages
/// over a day and follow the hour.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The same seed gives the same life.
    pub seed: u64,
    /// Devices at the start.
    pub devices: u64,
    /// Applications that hold them; at least one.
    pub applications: u64,
    /// Organisations that own the applications; at least one, at most as many as applications.
    pub organizations: u64,
    /// Share of devices that carry a pin, 0..1.
    pub pinned_share: f64,
    /// Share of devices that have been out of reach for months, 0..1.
    pub dark_share: f64,
    /// Acts on pins (pin, unpin, move a pin) for each organisation a day. Most touch one device.
    pub pin_acts_per_organization_per_day: f64,
    /// Further acts on pins for each thousand devices a day.
    pub pin_acts_per_thousand_devices_per_day: f64,
    /// Share of acts on pins that cover every application of their organisation.
    pub organization_wide_act_share: f64,
    /// New releases that become an application's target, for each application a day. An owner with
    /// many applications sometimes ships to several at once.
    pub rollouts_per_application_per_day: f64,
    /// New devices a day as a share of the fleet. They come in batches.
    pub devices_added_per_day: f64,
    /// Deleted devices a day as a share of the fleet.
    pub devices_deleted_per_day: f64,
    /// Devices that change application a day as a share of the fleet. They lose their pin.
    pub devices_moved_per_day: f64,
    /// How long a device stays connected on average, in hours.
    pub online_hours: f64,
    /// How long it then stays away on average, in hours.
    pub offline_hours: f64,
    /// Reports of a device's own metrics (a written row each) for each connected device an hour.
    pub reports_per_device_per_hour: f64,
    /// Delta jobs that run at once.
    pub delta_workers: u64,
    /// Share of delta jobs that fail.
    pub delta_failure_share: f64,
    /// How devices, services and customers behave in time.
    pub physics: physics::Physics,
}

impl Settings {
    /// A fleet of a size, with ordinary rates and one delta worker for 100 applications.
    pub fn new(seed: u64, devices: u64, applications: u64, organizations: u64) -> Settings {
        Settings {
            seed,
            devices,
            applications,
            organizations,
            pinned_share: 0.16,
            dark_share: 0.025,
            pin_acts_per_organization_per_day: 1.0,
            pin_acts_per_thousand_devices_per_day: 3.0,
            organization_wide_act_share: 0.005,
            rollouts_per_application_per_day: 0.6,
            devices_added_per_day: 0.001,
            devices_deleted_per_day: 0.0005,
            devices_moved_per_day: 0.0002,
            online_hours: 12.0,
            offline_hours: 2.0,
            reports_per_device_per_hour: 0.5,
            delta_workers: (applications / 100).max(2),
            delta_failure_share: 0.005,
            physics: physics::Physics::default(),
        }
    }

    /// The fleet of `headwater demo`.
    pub fn demo(seed: u64) -> Settings {
        Settings::new(seed, 20_000, 400, 60)
    }
}
