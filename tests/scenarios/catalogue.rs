//! What a kind of event or look-alike is: what is played, what must be told of it and how soon, and
//! on which fleets it is what it says. The kinds themselves are the tables of `events`, `breaks`
//! and `look_alikes`.

use chrono::TimeDelta;
use headwater::{
    incident::{Cause, Severity},
    series::Time,
    simulate::{acts::Act, faults::Fault, fleet::Fleet, life::Life},
};

use super::{
    breaks::BREAKS,
    events::EVENTS,
    look_alikes::LOOK_ALIKES,
    stage::{INTERVAL_S, Sampling, Setting, Shape},
};

/// A kind of event or look-alike.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) play: fn(&Scene) -> Story,
    /// What must be told, in order; nothing of a look-alike.
    pub(super) told: &'static [Told],
    /// As what it must be recorded if nobody is told.
    pub(super) recorded: Option<Cause>,
    /// How many samples are watched from the first act on.
    pub(super) watched: i64,
    pub(super) needs: Needs,
}

/// A cause that must be told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    pub(super) cause: Cause,
    pub(super) severity: Severity,
    /// When it begins, in seconds after the first act.
    pub(super) begins_s: i64,
    /// Samples within which it must be told, its first affected one counted as one.
    pub(super) samples: i64,
}

/// What a fleet and its history must have for the kind to be what its name says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Needs {
    pub(super) devices_min: u64,
    pub(super) devices_max: u64,
    pub(super) applications_min: u64,
    pub(super) applications_max: u64,
    pub(super) organizations_min: u64,
    pub(super) organizations_max: u64,
    /// Samples of history.
    pub(super) history_min: i64,
}

/// Any fleet, after any history.
pub(super) const ANY: Needs = Needs {
    devices_min: 0,
    devices_max: u64::MAX,
    applications_min: 0,
    applications_max: u64::MAX,
    organizations_min: 0,
    organizations_max: u64::MAX,
    history_min: 0,
};

/// A tenth of what a small fleet has is what a few owners do at once on any day.
pub(super) const MANY_OWNERS: Needs = Needs { devices_min: 5_000, organizations_min: 30, ..ANY };

/// Batches of thousands of rows are no batches on a small fleet.
pub(super) const MANY_DEVICES: Needs = Needs { devices_min: 20_000, ..ANY };

/// An hour: who has only just been started knows no level to lose.
pub(super) const AN_HOUR: Needs = Needs { history_min: 240, ..ANY };

/// Half a day of a delta service that has a job to do every few minutes.
pub(super) const DELTA_JOBS: Needs = Needs { applications_min: 400, history_min: 2_880, ..ANY };

/// The same of one that has a job to do now and then.
pub(super) const FEW_DELTA_JOBS: Needs =
    Needs { applications_min: 100, applications_max: 399, ..DELTA_JOBS };

/// A day and a half: what is lost must have been there for a day, and be seen daily.
pub(super) const OVER_A_DAY: Needs = Needs { history_min: 8_640, ..ANY };

impl Needs {
    pub(super) fn are_met_by(&self, setting: &Setting) -> bool {
        let Shape(devices, applications, organizations) = setting.shape;
        (self.devices_min..=self.devices_max).contains(&devices)
            && (self.applications_min..=self.applications_max).contains(&applications)
            && (self.organizations_min..=self.organizations_max).contains(&organizations)
            && setting.warm_up >= self.history_min
    }
}

/// Where a kind is played: the life that it happens to, as it is just before.
pub(super) struct Scene<'a> {
    pub(super) at: Time,
    pub(super) life: &'a Life,
}

impl Scene<'_> {
    pub(super) fn fleet(&self) -> &Fleet {
        self.life.fleet()
    }

    /// A share of the devices, rounded up.
    pub(super) fn devices(&self, divisor: u64) -> u64 {
        self.fleet().device_count().div_ceil(divisor)
    }

    pub(super) fn later(&self, seconds: i64) -> Time {
        self.at + TimeDelta::seconds(seconds)
    }

    pub(super) fn once(&self, act: Act) -> Story {
        Story { script: vec![(self.at, act)], ..Story::default() }
    }

    /// So many acts, one after another at a pace in seconds.
    pub(super) fn paced(&self, count: i64, pace_s: i64, act: impl Fn(u64) -> Act) -> Story {
        let acts = (0..count).map(|index| (self.later(pace_s * index), act(index as u64)));
        Story { script: acts.collect(), ..Story::default() }
    }

    pub(super) fn fault(&self, fault: Fault) -> Story {
        Story { faults: vec![(self.at, fault)], ..Story::default() }
    }

    pub(super) fn sampled(&self, sampling: Sampling, samples: i64) -> Story {
        Story { sampling: Some((sampling, samples)), ..Story::default() }
    }

    /// Every application with devices, in the order of ids.
    pub(super) fn used_applications(&self) -> Vec<i64> {
        let used = self.fleet().applications().iter().filter(|it| !it.devices.is_empty());
        used.map(|it| it.id).collect()
    }
}

/// What is done, what breaks, and how it is sampled.
#[derive(Default)]
pub(super) struct Story {
    pub(super) script: Vec<(Time, Act)>,
    pub(super) faults: Vec<(Time, Fault)>,
    /// So many samples from the first act on are sampled in another way.
    pub(super) sampling: Option<(Sampling, i64)>,
}

impl Story {
    pub(super) fn then(mut self, at: Time, act: Act) -> Story {
        self.script.push((at, act));
        self
    }

    pub(super) fn then_fault(mut self, at: Time, fault: Fault) -> Story {
        self.faults.push((at, fault));
        self
    }

    pub(super) fn but_sampled(mut self, sampling: Sampling, samples: i64) -> Story {
        self.sampling = Some((sampling, samples));
        self
    }

    /// How the sample so many after the first act is taken.
    pub(super) fn sampling(&self, index: i64) -> Sampling {
        match self.sampling {
            Some((Sampling::EveryThirdFails, samples)) if index < samples => match index % 3 {
                1 => Sampling::MetricsAlone,
                _ => Sampling::Samples,
            },
            Some((Sampling::Restarts, _)) if index > 0 => Sampling::Samples,
            Some((sampling, samples)) if index < samples => sampling,
            _ => Sampling::Samples,
        }
    }
}

impl Kind {
    /// Nothing may be told of it.
    pub(super) fn is_look_alike(&self) -> bool {
        self.told.is_empty()
    }

    /// It must be told within three samples.
    pub(super) fn is_fast(&self) -> bool {
        !self.told.is_empty() && self.told.iter().all(|told| told.samples <= FAST)
    }

    /// It changes the fleet batch by batch, and must page within five minutes.
    pub(super) fn is_batched(&self) -> bool {
        let pages = |told: &Told| told.severity == Severity::Critical;
        self.told.iter().any(|told| told.samples == IN_FIVE_MINUTES && pages(told))
    }
}

/// Told at once: the floor of a fast event.
pub(super) const FAST: i64 = 3;

/// Told within five minutes: the floor of what comes in batches.
pub(super) const IN_FIVE_MINUTES: i64 = 300 / INTERVAL_S;

/// A cause of its usual severity that begins with the first act.
pub(super) const fn told(cause: Cause, severity: Severity, samples: i64) -> Told {
    Told { cause, severity, begins_s: 0, samples }
}

/// Every kind.
pub(super) fn kinds() -> impl Iterator<Item = &'static Kind> {
    EVENTS.iter().chain(BREAKS).chain(LOOK_ALIKES)
}

#[test]
fn the_catalogue_is_as_large_as_promised_and_no_kind_is_there_twice() {
    let mut names: Vec<&str> = kinds().map(|kind| kind.name).collect();
    assert!(names.len() >= 25, "{} kinds", names.len());
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), kinds().count());
    let told: std::collections::BTreeSet<Cause> =
        kinds().flat_map(|kind| kind.told).map(|told| told.cause).collect();
    // What of the catalogue of causes can wake or warn is played.
    for cause in Cause::ALL {
        if cause.severity() > Severity::Info {
            assert!(told.contains(&cause), "no kind must be told as {cause}");
        }
    }
    for kind in kinds() {
        assert!(kind.told.iter().all(|told| told.samples <= kind.watched), "{}", kind.name);
    }
}
