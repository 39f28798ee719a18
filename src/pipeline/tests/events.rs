//! Change events before causes, and maintenance that was announced with its bounds.

use super::*;
use crate::{
    change_event::{Announcement, ApplicationName, Expected, HEADWATER_START, MAINTENANCE_END},
    incident::EVENT,
};

const PINNED: i64 = 4;

fn event(kind: &str, title: &str, at: Time) -> ChangeEvent {
    let (kind, title) = (kind.to_owned(), title.to_owned());
    ChangeEvent { at, kind, title, source: "ci".to_owned(), announcement: None }
}

/// From the beginning of the story to a sample.
fn maintenance(cause: Cause, devices_max: u64, until: i64) -> ChangeEvent {
    let expects = Some(Expected { cause, devices_max, applications: None });
    let announcement = Some(Announcement { until: at(until), expects });
    ChangeEvent { announcement, ..event("maintenance", "release 38", at(0)) }
}

fn only_in(applications: std::ops::RangeInclusive<i64>, mut event: ChangeEvent) -> ChangeEvent {
    let expected = event.announcement.as_mut().and_then(|one| one.expects.as_mut()).unwrap();
    expected.applications = Some(applications.map(ApplicationName::Id).collect());
    event
}

impl Story {
    fn repin(&mut self, applications: impl IntoIterator<Item = i64>) {
        for id in applications {
            let application = self.fleet.get_mut(&id).unwrap();
            application.cohorts.clear();
            put(application, Some(PINNED), Some(2), 20);
            put(application, None, Some(3), 80);
        }
    }

    fn post(&mut self, event: &ChangeEvent) -> Posted {
        let now = at(self.sample);
        self.pipeline.post(event, now)
    }

    /// A story in which something was announced.
    fn announced(event: &ChangeEvent) -> Story {
        let mut story = Story::new(40, 12);
        story.quiet(4);
        assert_eq!(story.post(event), Posted::Taken(Vec::new()));
        story
    }
}

fn events(record: &CauseRecord) -> Vec<&str> {
    let events = record.evidence.iter().filter(|fact| fact.kind == EVENT);
    events.map(|fact| fact.text.as_str()).collect()
}

fn is_silent(incident: &Incident) -> bool {
    incident.severity() == Severity::Info && incident.notifications.is_empty()
}

/// The incident was silent, and this step told of it.
fn told(step: &Step) -> CauseRecord {
    let incident = only(step);
    let [silent, told] = incident.causes.as_slice() else { panic!("{incident:#?}") };
    assert_eq!((silent.severity, silent.superseded_at), (Severity::Info, Some(told.detected_at)));
    assert_eq!((told.severity, told.cause), (told.cause.severity(), silent.cause));
    assert_eq!((told.onset, told.superseded_at), (silent.onset, None));
    assert!(silent.evidence.is_empty() && told.evidence.len() > 1, "each fact once");
    assert_eq!(incident.notifications.len(), 1);
    assert_eq!(incident.notifications[0].at, told.detected_at);
    assert!(incident.timeline.iter().any(|line| line.text == told.summary), "{incident:#?}");
    told.clone()
}

#[test]
fn a_deploy_just_before_a_cause_is_named_and_one_after_it_is_not() {
    let mut story = Story::new(40, 12);
    story.quiet(4);
    story.post(&event("deploy", "api v38", at(4) - TimeDelta::seconds(42)));
    story.pipeline.post(&event("deploy", "api v39", at(4) + TimeDelta::seconds(1)), at(5));
    story.post(&ChangeEvent {
        source: "headwater".to_owned(),
        ..event(HEADWATER_START, "x", at(3))
    });
    story.unpin(1..=40);
    let step = story.sample();
    let incident = only(&step);
    let record = incident.current();
    let fact = "deploy \"api v38\" by ci at 22:00:18 UTC, 42 s before the onset; such events came \
                twice in 43 s";
    assert_eq!(events(record), [fact]);
    let description = format!("\nChanged or announced before it:\n- {fact}\n\nNext:\n");
    assert!(record.description.contains(&description), "{}", record.description);
    let timeline: Vec<&str> = incident.timeline.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(timeline, ["Deploy \"api v38\" by ci.", record.summary.as_str()]);
    assert_eq!(incident.notifications.len(), 1);
    // What refreshes the evidence later keeps it.
    story.sample();
    story.sample();
    assert_eq!(events(story.pipeline.incidents()[0].current()), [fact]);
}

#[test]
fn an_event_that_is_told_late_joins_the_evidence_and_changes_no_text() {
    let mut story = Story::new(40, 12);
    story.quiet(4);
    story.unpin(1..=40);
    let before = only(&story.sample()).clone();
    let deploy = event("deploy", "api v38", at(4) - TimeDelta::seconds(42));
    let Posted::Taken(joined) = story.post(&deploy) else { panic!("it is new") };
    let [after] = joined.as_slice() else { panic!("{joined:#?}") };
    assert!(
        events(after.current())[0].starts_with("deploy \"api v38\" by ci at 22:00:18 UTC, 42 s")
    );
    assert_eq!(after.timeline[0].at, deploy.at);
    let texts = |incident: &Incident| {
        let record = incident.current();
        (record.summary.clone(), record.description.clone(), incident.notifications.clone())
    };
    assert_eq!(texts(after), texts(&before));
    assert_eq!(story.post(&deploy), Posted::Known, "told twice, it is one event");
    assert_eq!(story.post(&event("deploy", "api v39", at(5))), Posted::Taken(Vec::new()));
    assert_eq!(story.post(&event("deploy", "api v1", at(-6_000))), Posted::Taken(Vec::new()));
}

#[test]
fn unexplained_causes_have_their_events_too() {
    let mut pipeline = Pipeline::new(settings(), State::default());
    let mut incidents = Vec::new();
    for sample in 0..2_040 {
        let scatter = (sample as f64 * 0.754_877).fract() + (sample as f64 * 0.569_840).fract();
        let level = if sample < 2_000 { 100.0 } else { 900.0 };
        if sample == 2_001 {
            let known = pipeline.post(&event("deploy", "queue v2", at(1_998)), at(sample));
            assert_eq!(known, Posted::Taken(Vec::new()));
        }
        let given = super::boundary::Given {
            second: 15 * sample,
            values: vec![("queue", level + scatter)],
            behind_s: None,
        };
        incidents.extend(super::boundary::observe(&mut pipeline, &given).incidents);
    }
    let record = incidents.first().expect("it leaps").current();
    assert_eq!(record.cause, Cause::Unexplained);
    assert!(events(record)[0].contains("deploy \"queue v2\" by ci"), "{record:#?}");
    assert!(record.description.contains("queue v2"), "{}", record.description);
}

#[test]
fn a_migration_of_the_database_is_an_event_and_is_not_told_twice() {
    let mut story = Story::new(40, 12);
    story.sample_with(Some(migration(1, 0)), &[]);
    story.sample_with(Some(migration(1, 0)), &[]);
    let began = story.sample_with(Some(migration(2, 100)), &[]);
    assert_eq!((began.events.len(), began.events[0].title.as_str()), (1, "0042-pin-devices"));
    let goes_on = story.sample_with(Some(migration(3, 200)), &[]);
    assert_eq!(goes_on.events, [], "it began once");
    story.pin(1..=40);
    let step = story.sample_with(Some(migration(4, 3_400)), &[]);
    let record = only(&step).current();
    assert!(record.evidence.iter().any(|fact| fact.kind == "migration"), "{record:#?}");
    assert_eq!(events(record), [""; 0], "its rows are accounted for");
}

#[test]
fn a_migration_that_was_over_before_the_rows_changed_is_named() {
    let executed = |keys: &[&str]| accounting::Reading {
        executed_migrations: Some(keys.iter().map(|key| (*key).to_owned()).collect()),
        ..migration(1, 0)
    };
    let mut story = Story::new(40, 12);
    story.sample_with(Some(executed(&["device/0040"])), &[]);
    let seen = story.sample_with(Some(executed(&["device/0040", "device/0041"])), &[]);
    assert_eq!(seen.events[0].title, "device/0041");
    for _ in 0..4 {
        story.sample_with(Some(executed(&["device/0040", "device/0041"])), &[]);
    }
    story.pin(1..=40);
    let step = story.sample_with(Some(executed(&["device/0040", "device/0041"])), &[]);
    let named = events(only(&step).current());
    let fact = "migration \"device/0041\" in the database at 22:00:15 UTC, 75 s before the onset; it \
                is the first such event";
    assert_eq!(named, [fact]);
}

#[test]
fn within_its_bounds_an_announced_cause_notifies_nobody_and_becomes_normal() {
    let mut story = Story::announced(&maintenance(Cause::MassRepin, 5_000, 20));
    story.repin(1..=40);
    let step = story.sample();
    let incident = only(&step);
    let record = incident.current();
    assert!(is_silent(incident), "{incident:#?}");
    assert_eq!((record.cause, record.scope), (Cause::MassRepin, Scope::Platform));
    let fact = "maintenance \"release 38\" by ci, from 2019-09-23 22:00:00 UTC to 2019-09-23 \
                22:05:00 UTC, expects mass_repin of at most 5,000 devices: this is within it, and \
                nobody is notified";
    assert_eq!(events(record), [fact]);
    assert!(record.description.contains(fact) && !record.summary.contains("announced"));
    let ended = (0..400).find_map(|_| {
        let step = story.sample();
        assert!(step.incidents.iter().all(is_silent), "{:#?}", step.incidents);
        step.incidents.into_iter().find(|incident| !incident.is_open())
    });
    let ended = ended.expect("it is over a while after the maintenance");
    let said = &ended.timeline[ended.timeline.len() - 2].text;
    assert!(said.contains("stayed within its bounds"), "{ended:#?}");
    assert_eq!(story.pipeline.standing().tally.pages, 0);
    story.quiet(10);
}

#[test]
fn with_more_devices_than_announced_it_is_told() {
    let mut story = Story::announced(&maintenance(Cause::MassRepin, 500, 20));
    story.repin(1..=20);
    assert!(is_silent(only(&story.sample())), "400 devices");
    story.repin(21..=40);
    let record = told(&story.sample());
    let clause = "; beyond the announced maintenance \"release 38\": 800 devices, 300 more than \
                  announced.";
    assert!(record.summary.ends_with(clause), "{}", record.summary);
    assert!(record.summary.starts_with("800 devices in 40 applications"), "{}", record.summary);
    assert!(
        events(&record)[0]
            .ends_with("of at most 500 devices; 800 devices, 300 more than announced")
    );
    assert_eq!(story.pipeline.standing().tally.pages, 1);
    for _ in 0..5 {
        let step = story.sample();
        assert!(step.incidents.iter().all(|incident| incident.notifications.len() == 1));
    }
}

#[test]
fn in_another_application_it_is_told() {
    let announced = maintenance(Cause::MassRepin, 5_000, 20);
    let mut story = Story::announced(&only_in(1..=20, announced));
    story.repin(1..=20);
    assert!(is_silent(only(&story.sample())));
    story.repin([25]);
    let record = told(&story.sample());
    let clause = "20 devices outside the announced applications, in application app-25 (id 25).";
    assert!(record.summary.ends_with(clause), "{}", record.summary);
}

#[test]
fn after_its_end_it_is_told_even_if_it_was_ended_early() {
    let early = ChangeEvent { at: at(6), ..event(MAINTENANCE_END, "release 38", at(6)) };
    for (until, end) in [(5, None), (50, Some(early))] {
        let mut story = Story::announced(&maintenance(Cause::MassRepin, 5_000, until));
        story.repin(1..=20);
        assert!(is_silent(only(&story.sample())));
        for _ in 0..4 {
            assert!(story.sample().incidents.iter().all(is_silent), "nothing has moved");
        }
        if let Some(end) = end {
            assert_eq!(story.post(&end), Posted::Taken(Vec::new()));
        }
        story.repin(21..=40);
        let record = told(&story.sample());
        let clause =
            "beyond the announced maintenance \"release 38\": it goes on after the announced end";
        assert!(record.summary.contains(clause), "{}", record.summary);
    }
    let mut story = Story::announced(&maintenance(Cause::MassRepin, 5_000, 20));
    let unknown = event(MAINTENANCE_END, "release 37", at(6));
    assert!(matches!(story.post(&unknown), Posted::Refused(_)), "there is none of that title");
    let wider = maintenance(Cause::MassRepin, 500_000, 20);
    assert!(matches!(story.post(&wider), Posted::Refused(_)), "bounds do not change");
}

#[test]
fn the_rollback_of_2019_pages_though_a_part_of_it_was_announced() {
    let announced = maintenance(Cause::MassUnpin, 3_200, 40);
    let mut story = Story::announced(&announced);
    story.pin(1..=40);
    let step = story.sample();
    let record = only(&step).current();
    let clause = "; the announced maintenance \"release 38\" expects mass_unpin.";
    assert!(record.summary.ends_with(clause), "{}", record.summary);
    assert_eq!(record.severity, Severity::Critical);
    // 3,200 devices were pinned by mistake, and those of owners go with them.
    story.unpin(1..=40);
    let step = story.sample();
    let record = only(&step).current();
    assert_eq!((record.cause, record.severity), (Cause::MassUnpin, Severity::Critical));
    assert!(
        record.summary.contains("4,000 devices, 800 more than announced"),
        "{}",
        record.summary
    );
    assert_eq!(only(&step).notifications.len(), 2);
}

#[test]
fn another_target_that_changes_along_with_it_is_told() {
    let mut story = Story::new(40, 12);
    for application in story.fleet.values_mut() {
        application.host_os_targets.insert(900, 30);
    }
    story.quiet(4);
    story.post(&maintenance(Cause::MassRepin, 50_000, 20));
    story.repin(1..=40);
    for application in story.fleet.values_mut() {
        application.host_os_targets = BTreeMap::from([(901, 30)]);
    }
    let step = story.sample();
    let record = only(&step).current();
    assert_eq!(record.severity, Severity::Critical);
    assert!(record.summary.contains("too, which was not announced"), "{}", record.summary);
}

#[test]
fn connections_are_told_when_more_are_lost_or_when_they_stay_away() {
    let play = |devices_max: u64, until: i64| {
        let mut pipeline = Pipeline::new(settings(), State::default());
        let planned = maintenance(Cause::ConnectivityLoss, devices_max, until);
        pipeline.post(&ChangeEvent { at: at(1_990), ..planned }, at(0));
        let mut left = Vec::new();
        for sample in 0..2_200 {
            let lost = match sample {
                0..2_000 => 0.0,
                2_000..2_100 => 3_000.0,
                _ => 8_000.0,
            };
            let scatter = (sample as f64 * 0.754_877).fract() * 20.0;
            let online = 20_000.0 - lost - scatter.round();
            let values = vec![("devices_online", online), ("devices_vpn_connected", online - 7.0)];
            let given = super::boundary::Given { second: 15 * sample, values, behind_s: None };
            left.extend(super::boundary::observe(&mut pipeline, &given).incidents);
        }
        left
    };
    let loss = |left: &[Incident]| {
        let own = left.iter().filter(|one| one.current().cause == Cause::ConnectivityLoss);
        own.cloned().collect::<Vec<Incident>>()
    };
    let within = loss(&play(9_000, 2_300));
    assert!(!within.is_empty() && within.iter().all(is_silent), "{within:#?}");
    assert!(within.last().unwrap().current().blast_radius.devices > 7_000, "{within:#?}");
    let beyond = loss(&play(5_000, 2_300)).pop().unwrap();
    assert_eq!((beyond.causes.len(), beyond.notifications.len()), (2, 1), "{beyond:#?}");
    assert_eq!(beyond.causes[1].detected_at, at(2_100));
    assert!(beyond.current().summary.contains("more than announced"), "{beyond:#?}");
    let late = loss(&play(9_000, 2_050)).pop().unwrap();
    assert_eq!(late.causes[1].detected_at, at(2_051));
    assert!(late.current().summary.contains("it goes on after the announced end"), "{late:#?}");
}

#[test]
fn delta_jobs_that_wait_longer_than_announced_are_told() {
    let play = |announced: Option<ChangeEvent>| {
        let mut pipeline = Pipeline::new(settings(), State::default());
        if let Some(event) = announced {
            pipeline.post(&event, at(0));
        }
        let mut left = BTreeMap::new();
        for sample in 0..2_200 {
            // Thirty jobs are asked for in an interval, and from some time on none is done.
            let done = 30.0 * sample.min(2_000) as f64;
            let asked = 30.0 * sample as f64 + (sample % 7) as f64;
            let values = vec![
                ("delta_failures_total", 0.0),
                ("delta_queue", 40.0 + asked - done),
                ("delta_requests_total", asked),
                ("delta_successes_total", done),
            ];
            let given = super::boundary::Given { second: 15 * sample, values, behind_s: None };
            for incident in super::boundary::observe(&mut pipeline, &given).incidents {
                left.insert(incident.id.clone(), incident);
            }
        }
        let own = |one: &Incident| one.current().cause == Cause::DeltaCapacityLoss;
        left.into_values().find(own).expect("no job ends any more")
    };
    let unannounced = play(None);
    assert_eq!((unannounced.causes.len(), unannounced.notifications.len()), (1, 1));
    let announced = |until| {
        let planned = maintenance(Cause::DeltaCapacityLoss, 0, until);
        play(Some(ChangeEvent { at: at(1_999), ..planned }))
    };
    assert!(is_silent(&announced(2_300)));
    let late = announced(2_100);
    assert_eq!(late.causes[0].detected_at, unannounced.causes[0].detected_at);
    assert_eq!((late.causes[1].detected_at, late.notifications.len()), (at(2_101), 1));
    assert!(late.current().summary.contains("it goes on after the announced end"), "{late:#?}");
}

#[test]
fn a_restored_pipeline_goes_on_with_what_was_announced() {
    let play = |restores: bool| {
        let mut story = Story::announced(&maintenance(Cause::MassRepin, 500, 20));
        story.post(&event("deploy", "api v38", at(3)));
        let mut told = Vec::new();
        for batch in 0..4 {
            story.repin(batch * 10 + 1..=batch * 10 + 10);
            told.push(story.sample().incidents);
            if restores {
                let state = serde_json::to_string(story.pipeline.state()).unwrap();
                let restored = State::restore(STATE_VERSION, &state).unwrap();
                assert_eq!(restored.state, *story.pipeline.state());
                story.pipeline = Pipeline::new(settings(), restored.state);
            }
        }
        let state = serde_json::to_string(story.pipeline.state()).unwrap();
        (told, state)
    };
    let (told, state) = play(false);
    assert!(is_silent(&told[1][0]) && told[3][0].notifications.len() == 1, "{told:#?}");
    assert_eq!((told, state), play(true));
}

#[test]
fn a_state_without_events_is_taken_on() {
    let mut story = Story::new(40, 12);
    story.quiet(2);
    story.pin(1..=40);
    story.sample();
    let mut stored = serde_json::to_value(story.pipeline.state()).unwrap();
    stored.as_object_mut().unwrap().remove("events");
    for field in ["considered", "announced"] {
        stored["watches"][0].as_object_mut().unwrap().remove(field);
    }
    let restored = State::restore(STATE_VERSION, &stored.to_string()).unwrap();
    story.pipeline = Pipeline::new(settings(), restored.state);
    story.post(&event("deploy", "api v38", at(1)));
    let step = story.sample();
    assert!(step.incidents.iter().all(|incident| incident.notifications.len() == 1));
}
