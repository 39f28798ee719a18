//! What an operator has rejected: what is like it is recorded, and what is more is told.

use super::{
    boundary::{Given, observe},
    *,
};
use crate::{diagnose::rejections::Pattern, incident::Familiar};

/// One signal about 100, whose scatter never repeats itself for long.
struct Level {
    pipeline: Pipeline,
    sample: i64,
    incidents: BTreeMap<u64, Incident>,
}

impl Level {
    fn quiet() -> Level {
        let pipeline = Pipeline::new(settings(), State::default());
        let mut level = Level { pipeline, sample: 0, incidents: BTreeMap::new() };
        level.stay(0.0, 2_000);
        assert!(level.incidents.is_empty());
        level
    }

    /// So far above, for so many samples.
    fn stay(&mut self, above: f64, samples: i64) {
        for _ in 0..samples {
            let step = self.sample as f64;
            let scatter = (step * 0.754_877).fract() + (step * 0.569_840).fract();
            let values = vec![("queue", 100.0 + above + scatter)];
            let given = Given { second: 15 * self.sample, values, behind_s: None };
            for incident in observe(&mut self.pipeline, &given).incidents {
                self.incidents.insert(incident.id.parse().unwrap(), incident);
            }
            self.sample += 1;
        }
    }

    fn open(&self) -> &Incident {
        let open: Vec<_> = self.incidents.values().filter(|one| one.is_open()).collect();
        let [incident] = open.as_slice() else { panic!("{:#?}", self.incidents) };
        incident
    }

    fn reject(&mut self) -> Incident {
        let id = self.open().id.clone();
        let rejected = self.pipeline.reject(&id, at(self.sample)).expect("it is open");
        self.incidents.insert(id.parse().unwrap(), rejected.clone());
        rejected
    }

    fn told(&self) -> usize {
        self.incidents.values().map(|one| one.notifications.len()).sum()
    }

    fn restarted(&mut self) {
        let text = serde_json::to_string(self.pipeline.state()).unwrap();
        let restored = State::restore(STATE_VERSION, &text).unwrap().state;
        assert_eq!(restored, *self.pipeline.state());
        self.pipeline = Pipeline::new(settings(), restored);
    }
}

/// A level that rose by 20, was rejected, and has come back.
fn rejected() -> Level {
    let mut level = Level::quiet();
    level.stay(20.0, 60);
    let incident = level.reject();
    assert!(!incident.is_open() && incident.rejected_at.is_some());
    assert!(incident.timeline.iter().any(|line| line.text.contains("What is like it")));
    level.stay(20.0, 200);
    level.stay(0.0, 400);
    assert_eq!(level.told(), 1, "its way back is no news: {:#?}", level.incidents);
    level
}

#[test]
fn what_is_like_a_rejected_change_is_recorded_and_says_so() {
    let mut level = rejected();
    level.restarted();
    for above in [20.0, 12.0, 30.0] {
        level.stay(above, 60);
        let incident = level.open();
        assert!(incident.notifications.is_empty(), "{above}: {incident:#?}");
        assert_eq!(incident.current().severity, Severity::Info);
        assert!(
            incident.timeline.iter().any(
                |line| line.text == "Nobody is notified: like incident 1, rejected 2019-09-24."
            ),
            "{incident:#?}"
        );
        let like = Familiar::Rejected { incident: "1".to_owned(), at: at(2_060) };
        assert_eq!(incident.familiar, Some(like));
        level.stay(0.0, 400);
        assert!(level.incidents.values().all(|one| !one.is_open()), "it is back");
    }
    assert_eq!(level.told(), 1);
}

#[test]
fn a_larger_change_and_the_opposite_one_are_told() {
    for above in [60.0, -20.0] {
        let mut level = rejected();
        level.stay(above, 60);
        assert_eq!(level.told(), 2, "{above}");
        assert_eq!(level.open().familiar, None);
    }
}

#[test]
fn a_change_that_outgrows_what_was_rejected_is_told_within_its_incident() {
    let mut level = rejected();
    level.stay(15.0, 60);
    assert_eq!(level.told(), 1);
    level.stay(200.0, 60);
    assert_eq!(level.told(), 2, "{:#?}", level.open());
    let incident = level.open();
    let [quiet, loud] = incident.causes.as_slice() else { panic!("{incident:#?}") };
    assert_eq!((quiet.severity, loud.severity), (Severity::Info, Severity::Warning));
    assert_eq!(quiet.superseded_at, Some(loud.detected_at));
    assert!(loud.summary.contains("to 301"), "{}", loud.summary);
    assert!(incident.timeline.iter().any(|line| line.text.contains("not familiar")));
    assert_eq!(incident.notifications.len(), 1);
}

#[test]
fn who_rejects_what_was_recorded_as_familiar_hears_of_the_next_one() {
    let mut level = rejected();
    level.stay(20.0, 60);
    let rejected = level.reject();
    let last = &rejected.timeline[rejected.timeline.len() - 2].text;
    assert!(last.contains("the next one is told"), "{rejected:#?}");
    level.stay(20.0, 300);
    level.stay(0.0, 60);
    assert_eq!(level.told(), 2, "and of its way back");
    let id = level.open().id.clone();
    level.pipeline.accept(&id, at(level.sample)).expect("it is open");
    level.incidents.remove(&id.parse().unwrap());
    level.stay(0.0, 600);
    level.stay(20.0, 60);
    assert_eq!((level.open().familiar.clone(), level.told()), (None, 2));
}

#[test]
fn rejections_are_bounded_and_the_least_used_ones_go() {
    let mut pipeline = Pipeline::new(settings(), State::default());
    let pattern = |signal: i64| Pattern::Lost {
        source: "fleet".to_owned(),
        signals: [signal.to_string()].into(),
    };
    for number in 0..1_000 {
        pipeline.state.rejections.remember(crate::diagnose::rejections::Rejection {
            incident: number.to_string(),
            at: at(number),
            used_at: at(number),
            cause: Cause::SignalLost,
            pattern: pattern(number),
        });
        let first = ["0".to_owned()].into();
        let like = pipeline.state.rejections.like_lost("fleet", &first, at(number));
        assert_eq!(like.expect("it is of use").incident, "0");
    }
    assert!(serde_json::to_string(pipeline.state()).unwrap().len() < 50_000);
    let known = |number: i64| {
        let signals = [number.to_string()].into();
        pipeline.state.rejections.clone().like_lost("fleet", &signals, at(2_000)).is_some()
    };
    assert!(known(0) && known(999) && !known(1) && !known(500));
}

#[test]
fn a_rejected_flow_is_recorded_until_it_is_broader_or_larger() {
    let rejected = || {
        let mut story = Story::new(40, 12);
        story.quiet(2);
        story.pin(1..=20);
        let id = only(&story.sample()).id.clone();
        let rejected = story.pipeline.reject(&id, at(story.sample)).unwrap();
        assert_eq!(rejected.notifications.len(), 1);
        story.restore(1..=20);
        // Taking it back is another cause, and was not rejected.
        let back = story.sample();
        let back = only(&back);
        assert_eq!(back.current().cause, Cause::MassUnpin);
        let id = back.id.clone();
        story.pipeline.reject(&id, at(story.sample)).unwrap();
        story.quiet(300);
        story
    };
    let mut story = rejected();
    story.pin(1..=20);
    let step = story.sample();
    let incident = only(&step);
    assert!(incident.notifications.is_empty());
    assert_eq!(incident.current().severity, Severity::Info);
    assert!(incident.timeline[1].text.contains("like incident 1, rejected"), "{incident:#?}");
    let id = incident.id.clone();
    // It goes on, beyond what was rejected.
    story.pin(21..=40);
    let step = story.sample();
    let grown = only(&step);
    assert_eq!((grown.id.as_str(), grown.notifications.len()), (id.as_str(), 1));
    assert_eq!(grown.current().severity, Severity::Critical);
    assert!(grown.current().summary.contains("By now it is 3,200 devices"), "{grown:#?}");

    let mut story = rejected();
    story.pin(1..=40);
    let step = story.sample();
    assert_eq!(only(&step).notifications.len(), 1, "more devices");
    let mut story = rejected();
    for application in story.fleet.values_mut() {
        application.cohorts.clear();
        put(application, Some(9), Some(2), 20);
        put(application, None, Some(3), 80);
    }
    assert_eq!(only(&story.sample()).current().severity, Severity::Critical, "another cause");
}
