//! The statistical detector of one signal: values in, verdicts out. Pure and deterministic; its
//! state is a value that can be stored after any sample and restored to the bit.
//!
//! Owns what a signal ordinarily does (`baseline`, `spread`), the sequential test (`focus`, with
//! the likelihoods of `family`), the threshold from a false-alarm budget (`threshold`), and how an
//! alarm begins and ends (here). Does not know what else changed, why, or whether anybody should be
//! told: that is `diagnose`. Counters, gaps, duplicates and what is not a number are the caller's
//! (`pipeline`).
//!
//! A sample goes through five steps. The baseline predicts it; the innovation is turned into one
//! that is N(0,1) as long as nothing changes (downwards, of counts, one whose sum is in proportion
//! to theirs); FOCuS takes the largest likelihood ratio over all onsets and sizes; the ratio is
//! held against the threshold; then the baseline learns the sample, unless a change is open. An
//! open change freezes the baseline at its onset until the signal returns or [`Detector::rebase`]
//! accepts the new level; only the day or the week that is not believed yet goes on learning, as
//! the change may be one.
//!
//! A ramp is found as a shift, the best level fit to it; the samples after the alarm tell which it
//! is (`ramp`).

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::{
    incident::{Change, ChangeKind},
    series::{Direction, Time},
};

pub mod baseline;
mod dating;
pub mod family;
pub mod focus;
pub mod further;
pub mod level;
pub mod open;
pub mod profile;
pub mod ramp;
mod recent;
pub mod season;
pub mod shorts;
pub mod spread;
pub mod steady;
pub mod threshold;
pub mod upgrade;
pub mod verdict;

#[cfg(test)]
mod noise;
#[cfg(test)]
mod tests;

use baseline::{Baseline, Expectation, Observed, WARM_UP_SAMPLES};
use family::Law;
use focus::{Best, Focus, Onset};
use open::Open;
use ramp::Shape;
use recent::Recent;
use threshold::{History, Limit};
use verdict::duration;
pub use verdict::{Origin, Settings, Verdict};

/// Values beyond this are taken for it, so that squares and sums stay finite.
const VALUE_MAX: f64 = 1e140;

/// Latest samples that are kept, for the level since an onset, the onset's interval and a new
/// normal, which is the mean of those since the onset.
const RECENT_SAMPLES: usize = 16;

/// An alarm that returns within this many samples on a measured signal was a point.
const POINT_SAMPLES: u64 = 2;

/// Until a detector has learned this much it says what it cannot see yet.
const COLD_SAMPLES: u64 = 500;

/// No budget asks for more than one false alarm in as many samples as a detector needs to know its
/// signal, however far apart samples are: a recording of years would be all alarms.
pub const FALSE_ALARMS_PER_SAMPLE_MAX: f64 = 1.0 / COLD_SAMPLES as f64;

/// While the statistic is above this share of its threshold the level stays: it would follow a
/// small shift faster than the evidence grows. (The scatter is learned on.)
const SUSPICIOUS_SHARE: f64 = 0.5;

/// The detector of one signal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Detector {
    baseline: Baseline,
    /// Changes upwards.
    up: Focus,
    /// Changes downwards: fed with mirrored innovations.
    down: Focus,
    /// They are falls of a signal that mostly stands still, and not its moves.
    #[serde(default)]
    falls_beside_moves: bool,
    /// The latest samples, oldest first.
    recent: VecDeque<Recent>,
    history: History,
    limit: Option<Limit>,
    /// Boxed, as it is rare and large.
    open: Option<Box<Open>>,
}

/// A change that is to be raised.
struct Alarm {
    change: Change,
    /// The level before it, as it was expected at the onset.
    level: f64,
    /// How far from that the signal is now.
    away: f64,
    shape: Shape,
}

impl Detector {
    /// A detector that has seen nothing.
    pub fn new() -> Detector {
        Detector::default()
    }

    /// Takes one sample. `value` is finite and `at` is after the previous sample.
    pub fn step(&mut self, settings: &Settings, signal: &str, at: Time, value: f64) -> Verdict {
        debug_assert!(value.is_finite(), "a value is finite: {signal} = {value}");
        debug_assert!(self.recent.back().is_none_or(|last| last.at < at), "time goes on: {signal}");
        let value = value.clamp(-VALUE_MAX, VALUE_MAX);
        if !self.baseline.is_warm() {
            self.remember(at, value, 0.0);
            self.baseline.warm_up(at, value);
            return self.cold_verdict(settings);
        }
        let limit = self.limit(settings.false_alarms_per_sample);
        let mut expected = self.baseline.expect(at, settings.interval_s);
        if value < 0.0 {
            // Counts have no likelihood below zero.
            expected.fall = None;
        }
        let observed = self.baseline.observe(&expected, value, settings.exact);
        let innovation = observed.innovation;
        self.remember(at, value, innovation);
        self.up.push(innovation, at, expected.level);
        let (fall, level) = match &expected.fall {
            Some(fall) => (self.baseline.standardise_fall(&expected, fall, value), fall.level),
            None => (-innovation, expected.level),
        };
        let beside_moves = expected.fall_beside_moves().is_some();
        if beside_moves != self.falls_beside_moves {
            // Moves and falls do not add up.
            self.down.clear();
            self.falls_beside_moves = beside_moves;
        }
        self.down.push(fall, at, level);
        let mut verdict = self.verdict(&expected, limit);
        if self.open.is_none() {
            self.step_quiet(settings, signal, &expected, at, &observed, &mut verdict);
        } else if let Some(open) = self.open.take() {
            let standard = match open.change.direction {
                Direction::Up => innovation,
                Direction::Down => fall,
            };
            self.step_open(settings, &expected, open, at, (value, standard), &mut verdict);
        }
        verdict.cold = self.blindness(settings, limit.threshold);
        verdict.samples = self.baseline.samples();
        verdict
    }

    /// Accepts the present level as the new normal, at once.
    pub fn rebase(&mut self) {
        if !self.baseline.is_warm() {
            return;
        }
        let open = self.open.take();
        // A new level that is older than what is kept is known better than from that alone.
        let settled = open.as_ref().and_then(|open| open.settled());
        let settled = settled.filter(|(_, samples)| *samples > RECENT_SAMPLES as f64);
        if let Some((distance, samples)) = settled
            && let Some(level) = self.baseline.moving_level()
        {
            self.baseline.rebase(level + distance, samples);
        } else {
            let values = self.deseasoned_since(open.map(|open| open.change.onset));
            if let Some(level) = mean(&values) {
                self.baseline.rebase(level, values.len() as f64);
            }
        }
        self.restart_test();
    }

    /// An alarm that has not returned yet.
    pub fn in_change(&self) -> Option<&Change> {
        self.open.as_ref().map(|open| &open.change)
    }

    /// It has been told whether the change that is open is a ramp; there may be none.
    pub fn is_told(&self) -> bool {
        self.open.as_ref().is_none_or(|open| open.is_told())
    }

    /// A sample while no change is open: alarm, or learn.
    fn step_quiet(
        &mut self,
        settings: &Settings,
        signal: &str,
        expected: &Expectation,
        at: Time,
        observed: &Observed,
        verdict: &mut Verdict,
    ) {
        let scores = self.scores(settings.direction, expected);
        let (direction, score) = self.strongest(scores, settings.direction);
        let threshold = self.threshold(direction);
        verdict.score = score;
        verdict.threshold = Some(threshold);
        verdict.anomaly = anomaly(score, threshold);
        let significant = threshold < score;
        let alarm = significant.then(|| self.alarm(settings, signal, expected, at, direction));
        let Some(Alarm { change, level, away, shape }) = alarm.flatten() else {
            let suspicious = threshold * SUSPICIOUS_SHARE < score;
            let follow = significant || !suspicious || !self.is_settled();
            let relearned = self.baseline.learn(expected, observed, settings.interval_s, follow);
            if relearned || self.baseline.samples() == COLD_SAMPLES {
                self.forget_history();
            }
            if relearned || significant {
                // What is significant here is real, and smaller than matters: the test begins anew,
                // lest it tell the same for ever. The baseline follows slowly, so that many small
                // steps still add up to a change.
                self.restart_test();
            } else if self.is_settled() {
                // The extremes of a signal that mostly stands still are those of its moves.
                let extreme = if self.falls_beside_moves { scores.0 } else { score };
                if self.history.observe(extreme) {
                    // Another block of history: the threshold is due again.
                    self.limit = None;
                }
            }
            return;
        };
        // What was learned since the onset is unlearned.
        self.baseline.unlearn(change.onset, level);
        self.baseline.pass(at, observed.value);
        self.raise(change, away, shape, verdict);
    }

    /// A sample while a change is open: has it returned, or turned into its opposite?
    fn step_open(
        &mut self,
        settings: &Settings,
        expected: &Expectation,
        mut open: Box<Open>,
        at: Time,
        (value, innovation): (f64, f64),
        verdict: &mut Verdict,
    ) {
        let ordinary = self.baseline.ordinary(expected.fall_in(open.change.direction));
        let normal = if ordinary.scatter.is_some() {
            self.baseline.level_at(at)
        } else {
            open.change.before
        };
        verdict.score = open.change.score;
        verdict.expected = Some(normal);
        verdict.expected_low = Some(normal - ordinary.band);
        verdict.expected_high = Some(normal + ordinary.band);
        let distance = value - normal;
        self.baseline.pass(at, value);
        // A lone leap is no time of day.
        let lasts = open.samples >= POINT_SAMPLES;
        if lasts && self.baseline.learn_season(at, settings.interval_s, value, &open.change) {
            self.forget_history();
        }
        if open.has_returned(&ordinary, distance) {
            self.restart_test();
            if !settings.exact && open.samples <= POINT_SAMPLES {
                open.change.kind = ChangeKind::Point;
                self.learn_point(open.change.detected_at);
            }
            verdict.returned = Some(Box::new(open.change));
            return;
        }
        let opposite = opposite(open.change.direction);
        if open.is_now_a_ramp(innovation, settings.interval_s) {
            verdict.ramp = Some(Box::new(open.change.clone()));
        }
        let threshold = self.threshold(open.change.direction);
        let beyond = distance * sign(open.change.direction);
        open.settle(&ordinary, at, beyond, threshold);
        if let Some(onward) = open.goes_on(&ordinary, (at, beyond), threshold) {
            verdict.score = onward.score;
            verdict.anomaly = anomaly(onward.score, threshold);
            let open = open.gone_on(onward, at, threshold);
            verdict.change = Some(Box::new(open.change.clone()));
            self.open = Some(Box::new(open));
            return;
        }
        let distance = distance * sign(opposite);
        let wanted = settings.direction.is_none_or(|direction| direction == opposite);
        if wanted
            && distance > ordinary.band
            && let Some(Alarm { change, away, shape, .. }) =
                self.alarm(settings, &open.change.signal, expected, at, opposite)
        {
            verdict.score = change.score;
            verdict.anomaly = anomaly(change.score, change.threshold);
            self.raise(Change { before: open.change.before, ..change }, away, shape, verdict);
            return;
        }
        self.open = Some(open);
    }

    /// A point came and went by itself: it is how the signal scatters, and so is the leap back. A
    /// tail of which only what raised no alarm is learned is none: points would alarm until the
    /// threshold is so high that it hides lasting changes, too.
    fn learn_point(&mut self, from: Time) {
        let innovations: Vec<f32> =
            self.since(Some(from)).map(|sample| sample.innovation).collect();
        for innovation in innovations {
            self.baseline.learn_size(f64::from(innovation));
        }
    }

    /// The change in this direction, if there is one that is significant and matters.
    fn alarm(
        &self,
        settings: &Settings,
        signal: &str,
        expected: &Expectation,
        at: Time,
        direction: Direction,
    ) -> Option<Alarm> {
        let threshold = self.threshold(direction);
        let best = self.best(direction, expected);
        let onset = best.onset.filter(|_| best.score > threshold)?;
        let shift = self.baseline.shift(best.samples, best.size, expected.fall_in(direction));
        let (before, after) = self.before_and_after(onset, shift, best.samples, direction)?;
        let size = (after - before).abs();
        if settings.least_change(before).is_some_and(|least| size < least) {
            return None;
        }
        let (onset_low, onset_high) =
            self.onset_interval(direction, expected, best, onset.at, settings.interval_s);
        let change = Change {
            signal: signal.to_owned(),
            kind: ChangeKind::Shift,
            detected_at: at,
            onset: onset.at,
            onset_low,
            onset_high: onset_high.min(at),
            direction,
            before,
            after,
            score: best.score,
            threshold,
        };
        // A flow that mostly stands still at zero leaps from its last value, and has learned a
        // level all the same.
        let learned = expected.fall_beside_moves().map(|fall| fall.level);
        let move_chance = match expected.fall_in(direction) {
            Some(_) => None,
            None => self.baseline.move_chance(),
        };
        let shape = Shape::new(best.samples, best.size, move_chance);
        let away = change.after - onset.level;
        Some(Alarm { level: learned.unwrap_or(onset.level), away, change, shape })
    }

    /// What was expected of the samples since an onset, and what they are, both in the mean and at
    /// the onset's time of day and week. Expected is what is left of the deviation before, which is
    /// no part of the change: of a signal that is far above its level a step down may stay above.
    fn before_and_after(
        &self,
        onset: &Onset,
        shift: Option<f64>,
        samples: f64,
        direction: Direction,
    ) -> Option<(f64, f64)> {
        let first = self.recent.iter().position(|sample| onset.at <= sample.at)?;
        let season_at = |sample: &Recent| self.baseline.season_at(sample.at);
        let season = season_at(&self.recent[first]);
        let at_onset = |sample: &Recent| sample.value - season_at(sample) + season;
        let since: Vec<f64> = self.recent.range(first..).map(at_onset).collect();
        let earlier =
            first.checked_sub(1).map_or(0.0, |last| at_onset(&self.recent[last]) - onset.level);
        let before = onset.level + self.baseline.carried(earlier, since.len() as f64);
        let after = mean(&since)?;
        let agrees = (after - before) * sign(direction) > 0.0;
        match shift {
            // The latest alone would overstate a small change that took long to be seen.
            Some(shift) if samples > RECENT_SAMPLES as f64 || !agrees => {
                Some((onset.level, onset.level + shift * sign(direction)))
            }
            _ => Some((before, after)),
        }
    }

    /// The season or the scatter is known only now: what was extreme without it says nothing any
    /// more.
    fn forget_history(&mut self) {
        self.history = History::default();
        self.limit = None;
    }

    /// Right after a new normal the statistic shows how badly that is known, not what is extreme in
    /// ordinary life.
    fn is_settled(&self) -> bool {
        self.baseline.is_settled()
    }

    fn raise(&mut self, change: Change, away: f64, shape: Shape, verdict: &mut Verdict) {
        if self.is_settled() {
            self.history.alarm(change.threshold);
            self.limit = None;
        }
        self.restart_test();
        verdict.change = Some(Box::new(change.clone()));
        self.open = Some(Box::new(Open::new(change, away, shape)));
    }

    /// The statistics of the directions that matter, upwards and downwards. Where both follow one
    /// law the smaller one decides nothing, and is left out.
    fn scores(&self, only: Option<Direction>, expected: &Expectation) -> (f64, f64) {
        let ratio = |direction| match only {
            Some(wanted) if wanted != direction => 0.0,
            _ => self.test(direction).score_from(&self.law(direction, expected)),
        };
        let (up, down) = (ratio(Direction::Up), ratio(Direction::Down));
        let score = |direction, ratio| self.discount(direction, expected, ratio);
        match &expected.fall {
            Some(_) => (score(Direction::Up, up), score(Direction::Down, down)),
            None if up < down => (0.0, score(Direction::Down, down)),
            None => (score(Direction::Up, up), 0.0),
        }
    }

    /// The direction whose statistic is larger beside its threshold.
    fn strongest(&self, (up, down): (f64, f64), only: Option<Direction>) -> (Direction, f64) {
        let limit = |direction| self.threshold(direction);
        if up * limit(Direction::Down) < down * limit(Direction::Up) {
            return (Direction::Down, down);
        }
        (only.unwrap_or(Direction::Up), up)
    }

    /// What a statistic of this direction must exceed. The extremes of a signal that mostly stands
    /// still are those of its moves: where they ask for less than theory does, this holds for the
    /// next move, and not for the falls of many samples.
    fn threshold(&self, direction: Direction) -> f64 {
        let Some(limit) = self.limit else { return f64::MAX };
        match direction {
            Direction::Down if self.falls_beside_moves => limit.threshold.max(limit.theory),
            _ => limit.threshold,
        }
    }

    /// The best explanation of the present by a change in this direction, with the uncertainty of
    /// level and scatter priced in.
    fn best(&self, direction: Direction, expected: &Expectation) -> Best<'_> {
        let best = self.test(direction).best_from(&self.law(direction, expected));
        Best { score: self.discount(direction, expected, best.score), ..best }
    }

    /// What innovations of a direction follow.
    fn law(&self, direction: Direction, expected: &Expectation) -> Law {
        match expected.fall_in(direction) {
            Some(fall) => Law::of_falls(self.baseline.fall_error(), fall.counts),
            None => Law::normal(self.baseline.level_error()),
        }
    }

    fn discount(&self, direction: Direction, expected: &Expectation, ratio: f64) -> f64 {
        match expected.fall_in(direction) {
            Some(_) => self.baseline.discount_fall(ratio),
            None => self.baseline.discount(ratio),
        }
    }

    fn test(&self, direction: Direction) -> &Focus {
        match direction {
            Direction::Up => &self.up,
            Direction::Down => &self.down,
        }
    }

    fn restart_test(&mut self) {
        self.up.clear();
        self.down.clear();
    }

    /// The latest samples, newest first, none before `since`.
    fn since(&self, since: Option<Time>) -> impl Iterator<Item = &Recent> {
        let latest = self.recent.iter().rev();
        latest.take_while(move |sample| since.is_none_or(|since| since <= sample.at))
    }

    /// Their values without the season: a new normal. A flow has a new level where most of so many
    /// samples as are kept lie beyond its old one; else its bursts count as they did.
    fn deseasoned_since(&self, since: Option<Time>) -> Vec<f64> {
        let values =
            self.since(since).map(|sample| sample.value - self.baseline.season_at(sample.at));
        let values: Vec<f64> = values.collect();
        let counted = values.iter().map(|value| self.baseline.countable_for_level(*value));
        let counted: Vec<f64> = counted.collect();
        let beyond = values.iter().zip(&counted).filter(|(value, counted)| value != counted);
        if 2 * beyond.count() > RECENT_SAMPLES { values } else { counted }
    }

    fn remember(&mut self, at: Time, value: f64, innovation: f64) {
        if self.recent.len() == RECENT_SAMPLES {
            self.recent.pop_front();
        }
        self.recent.push_back(Recent { at, value, innovation: innovation as f32 });
    }

    /// The threshold for a budget, kept until that or the history alters.
    fn limit(&mut self, false_alarms_per_sample: f64) -> Limit {
        // What is not a number must not get into the state, nor ever compare unequal to itself.
        let budget = threshold::bounded(false_alarms_per_sample).min(FALSE_ALARMS_PER_SAMPLE_MAX);
        let kept = self.limit.filter(|limit| limit.false_alarms_per_sample == budget);
        let limit = kept.unwrap_or_else(|| self.history.limit(budget));
        self.limit = Some(limit);
        limit
    }

    fn verdict(&self, expected: &Expectation, limit: Limit) -> Verdict {
        let origin = if limit.from_history {
            Origin::History { blocks: self.history.blocks() }
        } else {
            Origin::Theory
        };
        Verdict {
            expected: Some(expected.value),
            expected_low: Some(expected.value - expected.band),
            expected_high: Some(expected.value + expected.band),
            threshold: Some(limit.threshold),
            threshold_origin: origin,
            ..Verdict::default()
        }
    }

    fn cold_verdict(&mut self, settings: &Settings) -> Verdict {
        let samples = self.baseline.samples();
        let left = (WARM_UP_SAMPLES as u64).saturating_sub(samples);
        let cold = if left > 0 {
            let wait = duration(left, settings.interval_s);
            Some(format!(
                "sees nothing yet: {left} of {WARM_UP_SAMPLES} first samples to go, {wait}"
            ))
        } else {
            let threshold = self.limit(settings.false_alarms_per_sample).threshold;
            self.blindness(settings, threshold)
        };
        Verdict { samples, cold, ..Verdict::default() }
    }

    /// What a short history hides.
    fn blindness(&self, settings: &Settings, threshold: f64) -> Option<String> {
        let left = COLD_SAMPLES.checked_sub(self.baseline.samples()).filter(|left| *left > 0)?;
        let leap = self.baseline.leap(threshold, settings.exact);
        let wait = duration(left, settings.interval_s);
        Some(format!("sees only leaps beyond {leap:.3} at their first sample; better in {wait}"))
    }
}

/// A score as a share of itself and its threshold: 0.5 where they are equal.
fn anomaly(score: f64, threshold: f64) -> f64 {
    score / (score + threshold)
}

fn opposite(direction: Direction) -> Direction {
    match direction {
        Direction::Up => Direction::Down,
        Direction::Down => Direction::Up,
    }
}

fn sign(direction: Direction) -> f64 {
    match direction {
        Direction::Up => 1.0,
        Direction::Down => -1.0,
    }
}

fn mean(values: &[f64]) -> Option<f64> {
    let (first, rest) = values.split_first()?;
    // Centred on the first value, so that large levels keep their precision.
    let excess: f64 = rest.iter().map(|value| value - first).sum();
    Some(first + excess / values.len() as f64)
}
