//! The night of 23 September 2019 as a script: what happened when, as an engineer on call would
//! tell it. Data only; whoever plays it does the acts and prints the lines.

use chrono::TimeDelta;

use super::{acts::Act, fleet::Fleet};
use crate::series::Time;

/// The key of the migration that pinned every device.
pub const MIGRATION_KEY: &str = "00094-sync-device-pins";

/// How many runs the migration takes for the whole fleet.
const MIGRATION_BATCHES: u64 = 20;

/// The first run of the migration after its start, and the pace of the runs: the last comes just
/// before 22:14.
const MIGRATION_FIRST_S: i64 = 20;
const MIGRATION_PACE_S: i64 = 5;

/// The ordinary life that is shown before the migration starts.
const EVENING_MINUTES: i64 = 52;

/// How long the demo watches after the alerts of 22:20, unless told otherwise.
pub const TAIL: TimeDelta = TimeDelta::minutes(5);

/// A moment of the night.
#[derive(Clone, Debug, PartialEq)]
pub struct Moment {
    /// When.
    pub at: Time,
    /// What somebody does then, if anything.
    pub act: Option<Act>,
    /// A line for the terminal; empty if it goes without saying.
    pub narration: String,
    /// The cause that begins here, by its id in the catalogue: what a page's delay is measured
    /// from.
    pub begins: Option<&'static str>,
}

/// The night.
#[derive(Clone, Debug, PartialEq)]
pub struct Night {
    /// Its moments, in order.
    pub moments: Vec<Moment>,
    /// When it ends.
    pub end: Time,
}

/// When the migration started.
pub fn migration_start() -> Time {
    // 2019-09-23T22:12:00Z.
    Time::UNIX_EPOCH + TimeDelta::seconds(1_569_276_720)
}

/// How long it took in 2019 from the cause to knowing it: 22:16 to 00:42.
pub const RECOGNISED_AFTER: TimeDelta = TimeDelta::minutes(146);

impl Night {
    /// When the telling begins, whatever the fleet.
    pub fn start() -> Time {
        migration_start() - TimeDelta::minutes(EVENING_MINUTES)
    }

    /// The night on `fleet`, with `tail` of watching after the alerts of 22:20.
    pub fn new(fleet: &Fleet, tail: TimeDelta) -> Night {
        let zero = migration_start();
        let mut moments = evening(fleet);
        moments.extend(incident(fleet.device_count()));
        let told =
            moments.into_iter().map(|(offset, moment)| Moment { at: zero + offset, ..moment });
        let mut moments: Vec<Moment> = told.collect();
        moments.sort_by_key(|moment| moment.at);
        Night { moments, end: zero + TimeDelta::minutes(8) + tail }
    }

    /// The acts with their times, for a `run::Run`.
    pub fn script(&self) -> Vec<(Time, Act)> {
        let acts = self.moments.iter();
        acts.filter_map(|moment| Some((moment.at, moment.act.clone()?))).collect()
    }
}

/// A moment whose time is still an offset.
fn moment(offset: TimeDelta, act: Option<Act>, narration: &str) -> (TimeDelta, Moment) {
    let narration = narration.to_owned();
    (offset, Moment { at: Time::UNIX_EPOCH, act, narration, begins: None })
}

/// Lawful look-alikes: an owner who unpins an application, a release that ships.
fn evening(fleet: &Fleet) -> Vec<(TimeDelta, Moment)> {
    let minutes = TimeDelta::minutes;
    let mut moments = vec![moment(
        minutes(-EVENING_MINUTES),
        None,
        "An ordinary evening. Devices come and go, customers pin and unpin, releases ship.",
    )];
    let pins = |id: &i64| fleet.device(*id).is_some_and(|device| device.pinned.is_some());
    let applications = fleet.applications().iter();
    let most_pins = applications.max_by_key(|it| it.devices.iter().filter(|id| pins(id)).count());
    if let Some(application) = most_pins {
        moments.push(moment(
            minutes(-22),
            Some(Act::UnpinApplication { application: application.id }),
            &format!(
                "The owner of {} unpins all of it by script. Lawful: nobody should be paged.",
                application.slug
            ),
        ));
    }
    let mut by_size: Vec<_> = fleet.applications().iter().collect();
    by_size.sort_by_key(|application| std::cmp::Reverse(application.devices.len()));
    if let Some(application) = by_size.get(by_size.len() / 20) {
        moments.push(moment(
            minutes(-11),
            Some(Act::RetargetApplication { application: application.id }),
            &format!(
                "{} ships a release to its {} devices. Lawful too.",
                application.slug,
                application.devices.len()
            ),
        ));
    }
    moments
}

fn incident(devices: u64) -> Vec<(TimeDelta, Moment)> {
    let minutes = TimeDelta::minutes;
    let key = MIGRATION_KEY.to_owned();
    let mut moments = vec![moment(
        minutes(0),
        Some(Act::MigrationStarts { key: key.clone() }),
        "A schema change is deployed. It will migrate the device table in small batches.",
    )];
    let batch = Act::MigrationBatch { key, devices: devices.div_ceil(MIGRATION_BATCHES) };
    // One more run than the fleet needs: it finds nothing left, and the migration backs off.
    for run in 0..=MIGRATION_BATCHES as i64 {
        let offset = TimeDelta::seconds(MIGRATION_FIRST_S + run * MIGRATION_PACE_S);
        let (offset, mut run_moment) = moment(offset, Some(batch.clone()), "");
        if run == 0 {
            run_moment.begins = Some("mass_pin");
            run_moment.narration =
                "The first batch commits. Its data is wrong: it pins each device \
                                    to the release that it runs. Nothing stops working."
                    .to_owned();
        }
        moments.push((offset, run_moment));
    }
    moments.push(moment(
        minutes(2),
        None,
        "Every device is pinned. No service is disrupted; a sanity check would pass.",
    ));
    let (offset, mut rollback) = moment(
        minutes(4),
        Some(Act::UnpinEverything),
        "An operator rolls back by hand, unreviewed, and clears too much: every pin is gone, the \
         customers' own too.",
    );
    rollback.begins = Some("mass_unpin");
    moments.push((offset, rollback));
    moments.push(moment(
        minutes(8),
        None,
        "In 2019 the first alerts came now, and they pointed at delta generation: high load. The \
         cause was known at 00:42.",
    ));
    moments
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::{
        Settings,
        life::Life,
        run::{Run, Sample},
    };

    #[test]
    fn the_night_goes_as_it_went() {
        let settings = Settings::demo(23);
        let fleet = Fleet::generate(&settings);
        let night = Night::new(&fleet, TimeDelta::minutes(10));
        assert_eq!(migration_start().to_rfc3339(), "2019-09-23T22:12:00+00:00");
        let shown = night.end - Night::start();
        assert!(shown < TimeDelta::minutes(80), "60 times as fast it is told in 80 s: {shown}");
        assert!(night.moments.is_sorted_by_key(|moment| moment.at));

        let life = Life::new(settings, Night::start());
        let run = Run::new(life, TimeDelta::seconds(15), night.end, night.script());
        let samples: Vec<Sample> = run.collect();
        let after = |minutes: i64| {
            let at = migration_start() + TimeDelta::minutes(minutes);
            let sample = samples.iter().find(|sample| sample.at == at);
            let sample = sample.expect("whole minutes are sampled");
            let mut values = sample.snapshot.counts();
            values.extend(sample.metrics.clone());
            values
        };
        for minute in [-52, -21, -10, 0, 1, 2, 4, 5, 8, 13, 18] {
            let values = after(minute);
            let shown = ["devices_pinned", "pending_updates", "pending_pairs", "delta_queue"];
            println!("{minute:>4} min: {:?}", shown.map(|name| values[name]));
        }
        assert!((0.1..0.25).contains(&(after(0)["devices_pinned"] / after(0)["devices"])));
        assert!(after(2)["devices_pinned"] > 0.98 * after(2)["devices"]);
        assert!(after(2)["pending_updates"] < after(0)["pending_updates"]);
        // A device provisioned meanwhile may have been pinned by its owner: a handful at most.
        assert!(after(4)["devices_pinned"] < 0.001 * after(4)["devices"]);
        assert!(after(4)["pending_updates"] > 1.5 * after(0)["pending_updates"]);
        assert!(after(8)["delta_queue"] > 20.0 * after(0)["delta_queue"].max(1.0));
    }
}
