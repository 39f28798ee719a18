//! How a platform's devices, services and customers behave in time: how often devices poll, how
//! fast they update, how large what happens at once is, how much customers act together. The
//! defaults are those of the demo; `drawn` gives a platform of another nature from a seed, within
//! ranges that are wider than what the diagnosis is built on. Sizes of the fleet are `Settings`.

use super::{Settings, chance::Chance};

/// How sizes fall with their rank: of applications by devices, of organisations by applications.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tail {
    /// As the square root of the rank: many middling ones.
    Even,
    /// As the rank.
    Zipf,
    /// As the rank times its square root: a few hold nearly everything.
    Steep,
}

impl Tail {
    /// The weight of a rank, from 0.
    pub(super) fn weight(self, rank: u64) -> f64 {
        let rank = (rank + 2) as f64;
        match self {
            Tail::Even => 1.0 / rank.sqrt(),
            Tail::Zipf => 1.0 / rank,
            Tail::Steep => 1.0 / (rank * rank.sqrt()),
        }
    }
}

/// A time in which customers ship more releases than usual, all over the platform: a flaw in a
/// library that everybody builds on, the week before a trade fair.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seasons {
    /// How many begin in a day, on average.
    pub a_day: f64,
    /// How long one lasts, in hours.
    pub hours: f64,
    /// How many times as many releases are shipped meanwhile.
    pub factor: f64,
}

/// The nature of a platform.
#[derive(Clone, Debug, PartialEq)]
pub struct Physics {
    /// A device learns of a new target when it next asks for its state: within so many seconds.
    pub poll_s: f64,
    /// How long a device waits, at most, before it asks again for a delta that is not there yet.
    pub retry_s: f64,
    /// Downloads last between these, in seconds.
    pub download_s: (f64, f64),
    /// Starting the new release lasts between these, in seconds.
    pub apply_s: (f64, f64),
    /// The shortest delta job, in seconds; the average is twice as long, for they have a heavy
    /// tail.
    pub delta_job_s_min: f64,
    /// The longest delta job, in seconds.
    pub delta_job_s_max: f64,
    /// Share of comings and goings that one of the two signs of life does not show until the next.
    pub unnoticed_share: f64,
    /// Requests of a connected device to the API in a second.
    pub requests_per_device_s: f64,
    /// By how much requests sway from sample to sample, as a share.
    pub sway: f64,
    /// The most devices that one customer provisions in one go; most provision few.
    pub provisioned_at_once_max: u64,
    /// The most applications that one owner ships a release to in one go; most ship to one.
    pub rolled_out_at_once_max: u64,
    /// The most acts on pins that one owner does in one go; most do one.
    pub acts_at_once_max: u64,
    /// How much busier than usual all customers together are at the most: a factor that they
    /// share, with a heavy tail, drawn anew every so often. 1: each acts on his own.
    pub mood_max: u64,
    /// Times in which all ship releases.
    pub seasons: Option<Seasons>,
    /// How busy people are on Saturdays and Sundays, as a share of other days.
    pub weekend: f64,
    /// By how many hours the customers' day is ahead of UTC.
    pub hours_ahead: u32,
    /// The sizes of applications.
    pub application_sizes: Tail,
    /// How many applications organisations have.
    pub organization_sizes: Tail,
}

impl Default for Physics {
    fn default() -> Physics {
        Physics {
            poll_s: 300.0,
            retry_s: 120.0,
            download_s: (60.0, 600.0),
            apply_s: (10.0, 60.0),
            delta_job_s_min: 45.0,
            delta_job_s_max: 1_200.0,
            unnoticed_share: 0.01,
            requests_per_device_s: 1.0 / 60.0,
            sway: 0.03,
            provisioned_at_once_max: 40,
            rolled_out_at_once_max: 20,
            acts_at_once_max: 1,
            mood_max: 1,
            seasons: None,
            weekend: 1.0,
            hours_ahead: 0,
            application_sizes: Tail::Zipf,
            organization_sizes: Tail::Zipf,
        }
    }
}

impl Settings {
    /// The same fleet on a platform of another nature, drawn from its seed: physics, and the rates
    /// of ordinary life from a third to three times what they are by default.
    pub fn with_drawn_physics(mut self) -> Settings {
        let mut chance = Chance::new(self.seed ^ 0x70_68_79_73);
        for rate in [
            &mut self.pin_acts_per_organization_per_day,
            &mut self.pin_acts_per_thousand_devices_per_day,
            &mut self.rollouts_per_application_per_day,
            &mut self.devices_added_per_day,
            &mut self.devices_deleted_per_day,
            &mut self.devices_moved_per_day,
            &mut self.reports_per_device_per_hour,
            &mut self.online_hours,
            &mut self.delta_failure_share,
        ] {
            *rate *= times(&mut chance, 3.0);
        }
        self.pinned_share = chance.between(0.05, 0.5);
        self.dark_share = chance.between(0.0, 0.1);
        self.offline_hours = self.online_hours * chance.between(0.02, 0.4);
        self.organization_wide_act_share *= times(&mut chance, 4.0);
        self.delta_workers = ((self.delta_workers as f64 * times(&mut chance, 2.0)) as u64).max(2);
        self.physics = Physics::drawn(&mut chance);
        self
    }
}

impl Physics {
    fn drawn(chance: &mut Chance) -> Physics {
        let usual = Physics::default();
        let download_s = 60.0 * times(chance, 4.0);
        let apply_s = 10.0 * times(chance, 3.0);
        let delta_job_s_min = usual.delta_job_s_min * times(chance, 3.0);
        let tails = [Tail::Even, Tail::Zipf, Tail::Steep];
        let tail = |chance: &mut Chance| tails[chance.below(3) as usize];
        let season = |chance: &mut Chance| Seasons {
            a_day: chance.between(0.2, 1.0),
            hours: chance.between(1.0, 8.0),
            factor: chance.between(2.0, 5.0),
        };
        Physics {
            poll_s: usual.poll_s * times(chance, 3.0),
            retry_s: usual.retry_s * times(chance, 3.0),
            download_s: (download_s, download_s * chance.between(2.0, 15.0)),
            apply_s: (apply_s, apply_s * chance.between(2.0, 10.0)),
            delta_job_s_min,
            delta_job_s_max: delta_job_s_min * chance.between(5.0, 40.0),
            unnoticed_share: usual.unnoticed_share * times(chance, 4.0),
            requests_per_device_s: usual.requests_per_device_s * times(chance, 4.0),
            sway: chance.between(0.01, 0.1),
            provisioned_at_once_max: 1 + chance.below(400),
            rolled_out_at_once_max: 1 + chance.below(60),
            acts_at_once_max: 1 + chance.below(20),
            mood_max: 1 + chance.below(8),
            seasons: if chance.happens(0.5) { Some(season(chance)) } else { None },
            weekend: chance.between(0.2, 1.0),
            hours_ahead: chance.below(24) as u32,
            application_sizes: tail(chance),
            organization_sizes: tail(chance),
        }
    }
}

/// A factor between 1/`most` and `most`: above and below 1 alike.
fn times(chance: &mut Chance, most: f64) -> f64 {
    let factor = chance.between(1.0, most);
    if chance.happens(0.5) { factor } else { 1.0 / factor }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_of_other_seeds_are_of_another_nature() {
        let drawn = |seed| Settings::new(seed, 2_000, 40, 12).with_drawn_physics();
        assert_eq!(drawn(3), drawn(3));
        for seed in 1..100 {
            let settings = drawn(seed);
            assert_ne!(settings.physics, drawn(seed + 1).physics);
            let Physics { poll_s, download_s, mood_max, .. } = settings.physics;
            assert!((100.0..=900.0).contains(&poll_s), "{poll_s}");
            assert!(download_s.0 >= 15.0 && download_s.1 > download_s.0, "{download_s:?}");
            assert!((1..=8).contains(&mood_max));
            assert!(settings.delta_workers >= 2);
        }
        let seasons = (1..=100).filter(|seed| drawn(*seed).physics.seasons.is_some()).count();
        assert!((30..=70).contains(&seasons), "half of them know seasons: {seasons}");
    }
}
