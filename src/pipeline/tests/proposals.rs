//! Changes that stay: proposed as the new normal once a day, and quietly.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    boundary::{Given, observe},
    *,
};

const INTERVAL_S: i64 = 300;
const HOUR: i64 = 3_600 / INTERVAL_S;

fn slow() -> Settings {
    Settings { interval_s: INTERVAL_S as f64, ..settings() }
}

/// Plays one signal with noise of 1 about a level, and gives back its latest incident.
struct Plays {
    pipeline: Pipeline,
    random: ChaCha8Rng,
    sample: i64,
    latest: Option<Incident>,
}

impl Plays {
    fn new() -> Plays {
        let random = ChaCha8Rng::seed_from_u64(11);
        let pipeline = Pipeline::new(slow(), State::default());
        let mut plays = Plays { pipeline, random, sample: 0, latest: None };
        plays.play(96 * HOUR, |_| 100.0);
        assert_eq!(plays.latest, None);
        plays
    }

    fn play(&mut self, samples: i64, level: impl Fn(i64) -> f64) {
        for step in 0..samples {
            let noise = (0..12).map(|_| self.random.random::<f64>()).sum::<f64>() - 6.0;
            let values = vec![("queue", level(step) + noise)];
            let given = Given { second: INTERVAL_S * self.sample, values, behind_s: None };
            let incidents = observe(&mut self.pipeline, &given).incidents;
            self.latest = incidents.into_iter().next_back().or(self.latest.take());
            self.sample += 1;
        }
    }

    fn incident(&self) -> &Incident {
        self.latest.as_ref().expect("there is one")
    }

    fn proposals(&self) -> usize {
        let lines = self.incident().timeline.iter();
        lines.filter(|line| line.text.contains("accept it")).count()
    }
}

#[test]
fn a_level_that_stays_is_proposed_once_a_day_and_nobody_is_notified() {
    let mut plays = Plays::new();
    plays.play(23 * HOUR, |_| 115.0);
    assert_eq!(plays.incident().proposes_acceptance_since, None);
    plays.play(2 * HOUR, |_| 115.0);
    let since = plays.incident().proposes_acceptance_since.expect("a day has gone by");
    assert_eq!(plays.proposals(), 1);
    assert!(plays.incident().timeline.last().unwrap().text.starts_with("queue has stayed at"));
    let text = serde_json::to_string(plays.pipeline.state()).unwrap();
    let restored = State::restore(STATE_VERSION, &text).unwrap().state;
    assert_eq!(restored, *plays.pipeline.state());
    plays.pipeline = Pipeline::new(slow(), restored);
    plays.play(22 * HOUR, |_| 115.0);
    assert_eq!(plays.proposals(), 1);
    plays.play(26 * HOUR, |_| 115.0);
    assert_eq!(plays.proposals(), 3);
    assert_eq!(plays.incident().proposes_acceptance_since, Some(since));
    assert_eq!(plays.incident().notifications.len(), 1, "nobody hears of it");
    let id = plays.incident().id.clone();
    let accepted = plays.pipeline.accept(&id, at(0) + TimeDelta::days(9)).unwrap();
    assert_eq!(accepted.proposes_acceptance_since, None);
    assert!(accepted.timeline.last().unwrap().text.contains("an operator accepted it"));
}

#[test]
fn a_level_that_goes_on_moving_is_not_proposed() {
    let mut plays = Plays::new();
    let slope = |step: i64| 115.0 + 0.02 * step as f64;
    plays.play(60 * HOUR, slope);
    assert_eq!(plays.incident().proposes_acceptance_since, None, "{:#?}", plays.incident());
    assert_eq!(plays.proposals(), 0);
    // It comes to rest, and moves again.
    plays.play(30 * HOUR, |_| 130.0);
    assert!(plays.incident().proposes_acceptance_since.is_some());
    plays.play(6 * HOUR, |_| 122.0);
    assert_eq!(plays.incident().proposes_acceptance_since, None);
    assert!(plays.incident().timeline.last().unwrap().text.starts_with("It moves again"));
}

#[test]
fn a_retarget_that_nobody_takes_back_is_proposed() {
    let mut story = Story::new(40, 12);
    story.pipeline = Pipeline::new(slow(), State::default());
    let mut latest = None;
    let mut second = 0;
    let mut hours = |story: &mut Story, hours: i64| {
        for _ in 0..hours * HOUR {
            second += INTERVAL_S;
            let outcome = Outcome::Sampled(Box::new(story.reading()));
            let at = at(0) + TimeDelta::seconds(second);
            let source = "fleet".to_owned();
            let step = story.pipeline.step(&Observation { at, source, outcome });
            latest = step.incidents.into_iter().next_back().or(latest.take());
        }
        latest.clone()
    };
    assert_eq!(hours(&mut story, 1), None);
    for application in story.fleet.values_mut() {
        application.target = Some(9);
    }
    let opened = hours(&mut story, 23).expect("it is told");
    assert_eq!(opened.current().cause, Cause::MassRetarget);
    assert_eq!(opened.proposes_acceptance_since, None);
    let proposed = hours(&mut story, 3).expect("it is open");
    assert!(proposed.proposes_acceptance_since.is_some(), "{proposed:#?}");
    assert_eq!(proposed.notifications.len(), 1);
}
