//! What the declared graph explains: a changed signal whose ancestors changed before it is a
//! symptom, as far as their change predicts its size. Learns the proportions that are not declared.
//! Which edges there are is `declared`'s.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, VecDeque},
};

use chrono::TimeDelta;
use serde::{Deserialize, Deserializer, Serialize};

use crate::{
    diagnose::{
        declared::{Declared, Edge, Relation},
        flows::FlowKind,
    },
    series::{Time, seconds},
    values::Name,
};

/// Values beyond this are left out: their squares, summed, would not stay finite.
const VALUE_MAX: f64 = 1e140;
/// An edge that states no delay: devices poll for their target at least every 15 minutes by
/// default, and jobs wait behind one another for as long again.
const DELAY_MAX: TimeDelta = TimeDelta::minutes(30);

/// A signal that is away from its ordinary level.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moved {
    /// Since when.
    pub onset: Time,
    /// Its level before.
    pub before: f64,
    /// Its level since.
    pub after: f64,
}

/// Why a change is a symptom.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The ancestor that predicts most of it.
    pub by: String,
    /// The part of its size that is predicted, 0..1.
    pub share: f64,
    /// By what factor a child that grows in proportion is expected to have grown.
    pub growth: Option<f64>,
    /// In words.
    pub text: String,
}

/// The graph with the proportions that quiet history has shown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Graph {
    /// In the order in which their signals appeared.
    #[serde(deserialize_with = "slopes_of_any_version")]
    slopes: Vec<Learned>,
    #[serde(skip)]
    places: Places,
}

/// An edge whose proportion is learned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Learned {
    parent: Name,
    child: Name,
    slope: Slope,
}

/// Where the ends of learned edges stand among the signals, so that nothing is looked up by name at
/// every sample. It is no state: it is not stored, and graphs that differ in it are the same.
#[derive(Clone, Debug, Default)]
struct Places {
    /// The signals for which it holds.
    signals: Vec<Name>,
    /// Of each edge that is among them: parent, child and slope.
    edges: Vec<[usize; 3]>,
}

impl PartialEq for Places {
    fn eq(&self, _other: &Places) -> bool {
        true
    }
}

/// Running joint moments of two signals (Welford 1962, Technometrics 4, 419).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Slope {
    samples: f64,
    mean_parent: f64,
    mean_child: f64,
    parent_parent: f64,
    parent_child: f64,
}

impl Slope {
    fn observe(&mut self, parent: f64, child: f64) {
        self.samples += 1.0;
        let from_mean = parent - self.mean_parent;
        self.mean_parent += from_mean / self.samples;
        self.mean_child += (child - self.mean_child) / self.samples;
        self.parent_parent += from_mean * (parent - self.mean_parent);
        self.parent_child += from_mean * (child - self.mean_child);
    }

    fn value(&self) -> Option<f64> {
        (self.parent_parent > 0.0).then(|| self.parent_child / self.parent_parent)
    }
}

/// What is said with more right is greater: the share that is predicted, few steps, a late onset.
type Rank = (f64, Reverse<u32>, Time);

/// The way from an ancestor to a changed signal.
struct Path {
    ancestor: String,
    delay_max: TimeDelta,
    relation: Relation,
    first_step: String,
    steps: u32,
}

impl Graph {
    /// Learns proportions from a sample without an incident, given every signal with its level, in
    /// the order of the names.
    pub fn observe(&mut self, levels: &[(&Name, Option<f64>)], declared: &Declared) {
        let known = self.places.signals.iter();
        let same = known.len() == levels.len()
            && known.zip(levels).all(|(name, (signal, _))| name.is(signal));
        if !same {
            self.find_places(levels, declared);
        }
        for [parent, child, slope] in &self.places.edges {
            if let (Some(x), Some(y)) = (levels[*parent].1, levels[*child].1)
                && x.abs() < VALUE_MAX
                && y.abs() < VALUE_MAX
            {
                self.slopes[*slope].slope.observe(x, y);
            }
        }
    }

    fn find_places(&mut self, levels: &[(&Name, Option<f64>)], declared: &Declared) {
        let place = |name: &str| levels.binary_search_by(|(other, _)| (***other).cmp(name)).ok();
        self.places.signals = levels.iter().map(|(signal, _)| (*signal).clone()).collect();
        self.places.edges.clear();
        for edge in declared.edges().filter(|edge| edge.relation == Relation::Learned) {
            let (parent, child) = (edge.parent.as_str(), edge.child.as_str());
            let (Some(from), Some(to)) = (place(parent), place(child)) else { continue };
            let slope = self.slope_index(parent, child).unwrap_or(self.slopes.len());
            if slope == self.slopes.len() {
                let (parent, child) = (levels[from].0.clone(), levels[to].0.clone());
                self.slopes.push(Learned { parent, child, slope: Slope::default() });
            }
            self.places.edges.push([from, to, slope]);
        }
    }

    fn slope_index(&self, parent: &str, child: &str) -> Option<usize> {
        self.slopes.iter().position(|one| *one.parent == *parent && *one.child == *child)
    }

    /// Explains a change by the moved ancestors of its signal: those that moved no later than it
    /// did and no longer ago than their path allows. The one that predicts most of it counts.
    /// `growth` is a parent's mean of late over its ordinary level, for what grows in proportion.
    pub fn explain(
        &self,
        signal: &str,
        change: Moved,
        (moved, growth): (impl Fn(&str) -> Option<Moved>, impl Fn(&str, TimeDelta) -> Option<f64>),
        interval_s: f64,
        declared: &Declared,
    ) -> Option<Explanation> {
        let mut best: Option<(Rank, Explanation)> = None;
        let mut waiting = VecDeque::from(steps_from(signal, declared));
        let mut seen = std::collections::BTreeSet::from([signal.to_owned()]);
        while let Some(path) = waiting.pop_front() {
            if !seen.insert(path.ancestor.clone()) {
                continue;
            }
            if path.relation == Relation::InProportion
                && path.steps == 1
                && let Some(growth) = growth(&path.ancestor, path.delay_max)
            {
                let explanation = in_proportion_to(&path.ancestor, growth, change);
                // One that predicts nothing gives way to what moved before it.
                let since = if explanation.share > 0.0 { change.onset } else { Time::MIN_UTC };
                let rank = (explanation.share, Reverse(path.steps), since);
                if best.as_ref().is_none_or(|(other, _)| rank > *other) {
                    best = Some((rank, explanation));
                }
            } else if let Some(ancestor) = moved(&path.ancestor)
                && follows(change.onset, ancestor.onset, path.delay_max, interval_s)
            {
                let explanation = self.predict(signal, change, &path, ancestor);
                // Of those that predict as much, the nearest, and of these the one that moved last:
                // pins that were added minutes ago are not why updates are pending now.
                let rank = (explanation.share, Reverse(path.steps), ancestor.onset);
                if best.as_ref().is_none_or(|(other, _)| rank > *other) {
                    best = Some((rank, explanation));
                }
            }
            for edge in declared.edges_to(&path.ancestor) {
                let known = path.relation == edge.relation;
                waiting.push_back(Path {
                    ancestor: edge.parent.clone(),
                    delay_max: longer(path.delay_max, edge),
                    relation: if known { edge.relation } else { Relation::Learned },
                    first_step: path.first_step.clone(),
                    steps: path.steps + 1,
                });
            }
        }
        best.map(|(_, explanation)| explanation)
    }

    fn predict(&self, signal: &str, change: Moved, path: &Path, ancestor: Moved) -> Explanation {
        let size = (change.after - change.before).abs();
        let driving = (ancestor.after - ancestor.before).abs();
        let by = path.ancestor.clone();
        // Counts rise and fall with what they are made of; flows are always up.
        let same_way = (change.after > change.before) == (ancestor.after > ancestor.before);
        let is_flow = FlowKind::ALL.iter().any(|kind| kind.signals().contains(&by.as_str()));
        let against = !is_flow && !same_way;
        let slope = self.slope_index(&by, signal).and_then(|at| self.slopes[at].slope.value());
        let (share, how) = match (path.relation, slope) {
            (Relation::AtMostOneEach, _) if against => (0.0, "it moved the other way"),
            (Relation::AtMostOneEach, _) => {
                (driving / size.max(f64::MIN_POSITIVE), "one for each at most")
            }
            (Relation::Learned, Some(slope)) if path.first_step == by => {
                ((slope * driving / size.max(f64::MIN_POSITIVE)).abs(), "as quiet history shows")
            }
            (Relation::Learned | Relation::InProportion, _) => {
                (0.0, "by its order alone: no proportion is known")
            }
        };
        let share = share.clamp(0.0, 1.0);
        let text = format!(
            "{by} moved from {} to {} before it, which predicts {:.0} % of it ({how})",
            super::texts::level(ancestor.before),
            super::texts::level(ancestor.after),
            share * 100.0,
        );
        Explanation { by, share, growth: None, text }
    }
}

/// What a parent that grew by this factor predicts of a child that grows as it does.
fn in_proportion_to(parent: &str, growth: f64, change: Moved) -> Explanation {
    let predicted = change.before * (growth - 1.0);
    let share = predicted / (change.after - change.before);
    let share = if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) };
    let text = format!(
        "{parent} is at {} times its ordinary level, which predicts {:.0} % of it (in proportion)",
        super::texts::level(growth),
        share * 100.0,
    );
    Explanation { by: parent.to_owned(), share, growth: Some(growth), text }
}

/// Up to version 2 of the state, moments stood in a map by `parent>child`.
fn slopes_of_any_version<'de, D: Deserializer<'de>>(source: D) -> Result<Vec<Learned>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Stored {
        List(Vec<Learned>),
        Map(BTreeMap<String, Slope>),
    }
    Ok(match Stored::deserialize(source)? {
        Stored::List(slopes) => slopes,
        Stored::Map(slopes) => {
            let edges = slopes.iter().filter_map(|(edge, slope)| {
                let (parent, child) = edge.split_once('>')?;
                Some(Learned { parent: parent.into(), child: child.into(), slope: *slope })
            });
            edges.collect()
        }
    })
}

/// Signals that drive this one in a proportion that only its history can show.
pub fn learned_parents<'a>(
    signal: &str,
    declared: &'a Declared,
) -> impl Iterator<Item = &'a str> + use<'a> {
    let edges = declared.edges_to(signal).iter();
    edges.filter(|edge| edge.relation == Relation::Learned).map(|edge| edge.parent.as_str())
}

/// An effect never precedes its cause, but two sources are not sampled at one instant: an interval
/// of grace.
fn follows(effect: Time, cause: Time, delay_max: TimeDelta, interval_s: f64) -> bool {
    let interval = seconds(interval_s);
    effect + interval >= cause && effect - cause <= delay_max + interval
}

fn steps_from(signal: &str, declared: &Declared) -> Vec<Path> {
    let path = |edge: &Edge| Path {
        first_step: edge.parent.clone(),
        ancestor: edge.parent.clone(),
        delay_max: longer(TimeDelta::zero(), edge),
        relation: edge.relation,
        steps: 1,
    };
    declared.edges_to(signal).iter().map(path).collect()
}

/// The delay along a way and one edge more. Delays of a configuration are bounded, and so is this.
fn longer(so_far: TimeDelta, edge: &Edge) -> TimeDelta {
    let step = edge.delay_max.unwrap_or(DELAY_MAX);
    so_far.checked_add(&step).unwrap_or(so_far)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::graph::open_balena;

    const POLL_S: i64 = 900;

    fn at(seconds: i64) -> Time {
        Time::from_timestamp(1_569_276_960 + seconds, 0).unwrap()
    }

    fn moved(onset_s: i64, before: f64, after: f64) -> Moved {
        Moved { onset: at(onset_s), before, after }
    }

    fn explain(signal: &str, change: Moved, causes: &[(&str, Moved)]) -> Option<Explanation> {
        let moved = |signal: &str| {
            let found = causes.iter().find(|(name, _)| *name == signal);
            found.map(|(_, moved)| *moved)
        };
        let growth = |_: &str, _: TimeDelta| None;
        Graph::default().explain(signal, change, (moved, growth), 15.0, &open_balena())
    }

    #[test]
    fn failures_are_explained_by_as_many_more_jobs_and_not_by_being_asked_for_again() {
        let failures = moved(0, 0.01, 0.05);
        for (signal, growth, share) in [
            ("delta_successes_total", 5.0, 1.0),
            ("delta_successes_total", 2.0, 0.25),
            ("delta_successes_total", 0.5, 0.0),
            ("delta_requests_total", 5.0, 0.0),
        ] {
            let grew = |other: &str, _: TimeDelta| (other == signal).then_some(growth);
            let explanation = Graph::default().explain(
                "delta_failures_total",
                failures,
                (|_: &str| None, grew),
                15.0,
                &open_balena(),
            );
            let found = explanation.map_or(0.0, |explanation| explanation.share);
            assert!((found - share).abs() < 1e-9, "{signal} {growth}: {found}");
        }
    }

    #[test]
    fn a_queue_is_explained_by_the_pairs_that_want_a_delta() {
        let pairs = moved(0, 40.0, 1_240.0);
        let queue = moved(120, 2.0, 602.0);
        let explanation = explain("delta_queue", queue, &[("pending_pairs", pairs)]).unwrap();
        assert_eq!((explanation.by.as_str(), explanation.share), ("pending_pairs", 1.0));
        let larger = moved(120, 2.0, 4_802.0);
        let explanation = explain("delta_queue", larger, &[("pending_pairs", pairs)]).unwrap();
        assert_eq!(explanation.share, 0.25, "{}", explanation.text);
    }

    #[test]
    fn a_fall_of_pairs_is_no_reason_for_a_rise_of_the_queue() {
        let queue = moved(120, 124.0, 522.0);
        let causes = [("pending_pairs", moved(60, 1_738.0, 150.0))];
        assert_eq!(explain("delta_queue", queue, &causes).unwrap().share, 0.0);
        let updates = [("pending_updates", moved(60, 4_179.0, 234.0))];
        assert_eq!(explain("delta_queue", queue, &updates).unwrap().share, 0.0, "two steps away");
        let causes = [causes[0], ("pins_removed", moved(120, 0.0, 99_766.0))];
        let explanation = explain("delta_queue", queue, &causes).unwrap();
        assert_eq!((explanation.by.as_str(), explanation.share), ("pins_removed", 1.0));
    }

    #[test]
    fn an_effect_does_not_precede_its_cause_nor_follow_too_late() {
        let queue = moved(0, 2.0, 600.0);
        assert_eq!(
            explain("delta_queue", queue, &[("pending_pairs", moved(60, 0.0, 900.0))]),
            None
        );
        let late = moved(3 * POLL_S, 2.0, 600.0);
        assert_eq!(explain("delta_queue", late, &[("pending_pairs", moved(0, 0.0, 900.0))]), None);
    }

    #[test]
    fn of_two_that_predict_as_much_the_later_one_explains() {
        let pending = moved(135, 49.0, 2_570.0);
        let causes =
            [("pins_added", moved(60, 0.0, 16_959.0)), ("pins_removed", moved(135, 0.0, 19_948.0))];
        let explanation = explain("pending_updates", pending, &causes).unwrap();
        assert_eq!((explanation.by.as_str(), explanation.share), ("pins_removed", 1.0));
    }

    #[test]
    fn pins_explain_a_queue_over_several_steps() {
        let explanation =
            explain("delta_queue", moved(300, 0.0, 500.0), &[("pins_removed", moved(0, 0.0, 9e4))]);
        assert_eq!(explanation.unwrap().share, 1.0);
    }
}
