//! Stories that no entry of the catalogue can tell: an event that is taken back, and one that no
//! source lives to tell.

use chrono::TimeDelta;
use headwater::incident::Cause;

use super::{
    catalogue::{Scene, kinds},
    stage::{DEMO, INTERVAL_S, LARGE, SMALL, Sampling, Setting, Warm, pages},
};

#[test]
fn a_rollback_to_where_it_was_is_a_recovery_without_a_sequel() {
    for (shape, seed, name, after_s) in [
        (SMALL, 11, "pin at once", 120),
        (DEMO, 12, "pin at once", 120),
        (DEMO, 13, "unpin at once", 60),
        (DEMO, 14, "pin in twentieths", 240),
        (DEMO, 15, "delete a third", 120),
        (DEMO, 17, "target a host OS", 120),
        (DEMO, 18, "clear supervisors", 120),
        (LARGE, 16, "delete in hundredths", 300),
    ] {
        let kind = kinds().find(|kind| kind.name == name).expect("the kind is in the catalogue");
        let setting = Setting::new(shape, seed, 20, 60);
        let warm = Warm::up(setting);
        let story = (kind.play)(&Scene { at: setting.act_at(), life: warm.life() });
        let (mut stage, run) = warm.branch(kind.watched, story.script, story.faults);
        let (_, untouched) = warm.branch(kind.watched, Vec::new(), Vec::new());
        let back_at = setting.act_at() + TimeDelta::seconds(after_s);
        // Restored: the fleet is where it would be without the event, the load is what it is.
        for (mut sample, twin) in run.zip(untouched) {
            if sample.at >= back_at {
                sample.snapshot = twin.snapshot;
            }
            stage.take(sample, Sampling::Samples);
        }
        let place = format!("{name} on {}", setting.name());
        let causes: Vec<_> = pages(&stage).into_iter().map(|(cause, _)| cause).collect();
        assert_eq!(causes, [kind.told[0].cause], "{place}: {}", stage.tale());
        assert_eq!(stage.told().len(), 1, "{place}: {}", stage.tale());
        let resolved_at = stage.told()[0].resolved_at;
        let resolved_at =
            resolved_at.unwrap_or_else(|| panic!("{place} does not resolve: {:#?}", stage.told()));
        let samples = (resolved_at - back_at).num_seconds() / INTERVAL_S;
        assert!((0..=4).contains(&samples), "{place}: resolved {samples} samples after");
    }
}

#[test]
fn a_daemon_that_sees_nothing_says_so_of_each_source_and_nothing_of_the_fleet() {
    for (shape, seed) in [(SMALL, 31), (DEMO, 32)] {
        let setting = Setting::new(shape, seed, 10, 200);
        let warm = Warm::up(setting);
        let (mut stage, run) = warm.branch(100, Vec::new(), Vec::new());
        for (index, sample) in run.enumerate() {
            stage.take(sample, if index < 40 { Sampling::Fails } else { Sampling::Samples });
        }
        let notifications = stage.told().into_iter().flat_map(|one| &one.notifications);
        let causes: Vec<Cause> = notifications.map(|one| one.cause).collect();
        // To the warning and to the page.
        assert_eq!(causes, [Cause::SamplingLost; 4], "{}: {}", setting.name(), stage.tale());
    }
}
