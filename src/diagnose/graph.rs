//! The declared causal graph: which signal drives which, within what delay and in what proportion.
//! Declared and not learned, because graphs learned from data are close to random in published
//! comparisons (RCAEval). A changed signal whose ancestors changed before it is a symptom, as far
//! as their change predicts its size.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, VecDeque},
};

use chrono::TimeDelta;
use serde::{Deserialize, Deserializer, Serialize};

use crate::{
    diagnose::{declared, flows::FlowKind},
    series::{SignalSettings, Time, seconds},
    values::Name,
};

/// How much of the child a change of the parent brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// At most one of the child for each of the parent: a pending pair is one delta job.
    AtMostOneEach,
    /// The child grows as its parent does: of the jobs that end, the same share fails.
    InProportion,
    /// Whatever quiet history shows.
    Learned,
}

/// An edge of the graph.
#[derive(Clone, Copy, Debug)]
struct Edge {
    parent: &'static str,
    child: &'static str,
    delay_max_s: i64,
    relation: Relation,
}

const fn each(parent: &'static str, child: &'static str, delay_max_s: i64) -> Edge {
    Edge { parent, child, delay_max_s, relation: Relation::AtMostOneEach }
}

const fn in_proportion(parent: &'static str, child: &'static str, delay_max_s: i64) -> Edge {
    Edge { parent, child, delay_max_s, relation: Relation::InProportion }
}

const fn learned(parent: &'static str, child: &'static str, delay_max_s: i64) -> Edge {
    Edge { parent, child, delay_max_s, relation: Relation::Learned }
}

/// Devices poll for their target at least every 15 minutes by default, so that what they ask for
/// follows within this, and jobs wait behind one another for as long again.
const POLL_S: i64 = 900;
/// Values beyond this are left out: their squares, summed, would not stay finite.
const VALUE_MAX: f64 = 1e140;
const SAME_SNAPSHOT_S: i64 = 60;
/// A configured edge states no delay: the longest of the declared ones.
const USER_DELAY_S: i64 = 2 * POLL_S;

/// What drives what on an open-balena platform.
const EDGES: &[Edge] = &[
    each("pins_added", "devices_pinned", SAME_SNAPSHOT_S),
    each("pins_removed", "devices_pinned", SAME_SNAPSHOT_S),
    each("pins_added", "devices_pinned_to_running", SAME_SNAPSHOT_S),
    each("pins_removed", "devices_pinned_to_running", SAME_SNAPSHOT_S),
    each("pins_moved", "devices_pinned_to_running", SAME_SNAPSHOT_S),
    each("pins_added", "pending_updates", SAME_SNAPSHOT_S),
    each("pins_removed", "pending_updates", SAME_SNAPSHOT_S),
    each("pins_moved", "pending_updates", SAME_SNAPSHOT_S),
    each("pins_added", "device_rows_written_total", SAME_SNAPSHOT_S),
    each("pins_removed", "device_rows_written_total", SAME_SNAPSHOT_S),
    each("pins_moved", "device_rows_written_total", SAME_SNAPSHOT_S),
    learned("application_targets_changed", "pending_updates", SAME_SNAPSHOT_S),
    each("devices_removed", "devices", SAME_SNAPSHOT_S),
    each("devices_removed", "devices_online", SAME_SNAPSHOT_S),
    each("devices_removed", "devices_vpn_connected", SAME_SNAPSHOT_S),
    each("devices_removed", "devices_heartbeat_online", SAME_SNAPSHOT_S),
    each("devices_removed", "devices_vpn_heartbeat_mismatch", SAME_SNAPSHOT_S),
    each("devices_removed", "devices_pinned", SAME_SNAPSHOT_S),
    each("devices_removed", "devices_pinned_to_running", SAME_SNAPSHOT_S),
    each("devices_removed", "pending_updates", SAME_SNAPSHOT_S),
    each("devices_removed", "applications", SAME_SNAPSHOT_S),
    each("devices_removed", "device_rows_written_total", SAME_SNAPSHOT_S),
    each("applications", "organizations", SAME_SNAPSHOT_S),
    each("os_targets_added", "devices_os_targeted", SAME_SNAPSHOT_S),
    each("os_targets_removed", "devices_os_targeted", SAME_SNAPSHOT_S),
    each("os_targets_added", "device_rows_written_total", SAME_SNAPSHOT_S),
    each("os_targets_removed", "device_rows_written_total", SAME_SNAPSHOT_S),
    each("os_targets_moved", "device_rows_written_total", SAME_SNAPSHOT_S),
    each("supervisor_targets_added", "devices_supervisor_targeted", SAME_SNAPSHOT_S),
    each("supervisor_targets_removed", "devices_supervisor_targeted", SAME_SNAPSHOT_S),
    each("supervisor_targets_added", "device_rows_written_total", SAME_SNAPSHOT_S),
    each("supervisor_targets_removed", "device_rows_written_total", SAME_SNAPSHOT_S),
    each("supervisor_targets_moved", "device_rows_written_total", SAME_SNAPSHOT_S),
    each("devices_removed", "devices_os_targeted", SAME_SNAPSHOT_S),
    each("devices_removed", "devices_supervisor_targeted", SAME_SNAPSHOT_S),
    each("pending_updates", "pending_pairs", SAME_SNAPSHOT_S),
    each("pending_pairs", "applications_pending", SAME_SNAPSHOT_S),
    each("pending_updates", "updates_in_progress", POLL_S),
    each("pending_pairs", "delta_requests_total", POLL_S),
    each("pending_pairs", "delta_queue", POLL_S),
    each("pending_pairs", "delta_workers_busy", POLL_S),
    each("delta_requests_total", "delta_queue", POLL_S),
    in_proportion("delta_requests_total", "delta_successes_total", POLL_S),
    in_proportion("delta_successes_total", "delta_failures_total", SAME_SNAPSHOT_S),
    learned("delta_queue", "delta_seconds_p95", POLL_S),
    learned("updates_in_progress", "egress_bytes_total", POLL_S),
    learned("updates_in_progress", "api_requests_total", POLL_S),
    learned("updates_in_progress", "device_rows_written_total", POLL_S),
    learned("devices_online", "updates_in_progress", POLL_S),
    learned("devices_online", "api_requests_total", POLL_S),
];

/// The platform's own edges, as they are declared to `rank`.
pub fn edges() -> impl Iterator<Item = declared::Edge> {
    EDGES.iter().map(|edge| declared::Edge {
        parent: edge.parent.to_owned(),
        child: edge.child.to_owned(),
        delay_max: Some(TimeDelta::seconds(edge.delay_max_s)),
    })
}

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
    delay_max_s: i64,
    relation: Relation,
    first_step: String,
    steps: u32,
}

impl Graph {
    /// Learns proportions from a sample without an incident, given every signal with its level, in
    /// the order of the names.
    pub fn observe(
        &mut self,
        levels: &[(&Name, Option<f64>)],
        user: &BTreeMap<String, SignalSettings>,
    ) {
        let known = self.places.signals.iter();
        let same = known.len() == levels.len()
            && known.zip(levels).all(|(name, (signal, _))| name.is(signal));
        if !same {
            self.find_places(levels, user);
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

    fn find_places(
        &mut self,
        levels: &[(&Name, Option<f64>)],
        user: &BTreeMap<String, SignalSettings>,
    ) {
        let declared = EDGES.iter().filter(|edge| edge.relation == Relation::Learned);
        let declared = declared.map(|edge| (edge.parent, edge.child));
        let configured = user.iter().flat_map(|(parent, settings)| {
            settings.drives.iter().map(move |child| (parent.as_str(), child.as_str()))
        });
        let place = |name: &str| levels.binary_search_by(|(other, _)| (***other).cmp(name)).ok();
        self.places.signals = levels.iter().map(|(signal, _)| (*signal).clone()).collect();
        self.places.edges.clear();
        for (parent, child) in declared.chain(configured) {
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
        user: &BTreeMap<String, SignalSettings>,
    ) -> Option<Explanation> {
        let mut best: Option<(Rank, Explanation)> = None;
        let mut waiting = VecDeque::from(steps_from(signal, user));
        let mut seen = std::collections::BTreeSet::from([signal.to_owned()]);
        while let Some(path) = waiting.pop_front() {
            if !seen.insert(path.ancestor.clone()) {
                continue;
            }
            if path.relation == Relation::InProportion
                && path.steps == 1
                && let Some(growth) = growth(&path.ancestor, TimeDelta::seconds(path.delay_max_s))
            {
                let explanation = in_proportion_to(&path.ancestor, growth, change);
                let rank = (explanation.share, Reverse(path.steps), change.onset);
                if best.as_ref().is_none_or(|(other, _)| rank > *other) {
                    best = Some((rank, explanation));
                }
            } else if let Some(ancestor) = moved(&path.ancestor)
                && follows(change.onset, ancestor.onset, path.delay_max_s, interval_s)
            {
                let explanation = self.predict(signal, change, &path, ancestor);
                // Of those that predict as much, the nearest, and of these the one that moved last:
                // pins that were added minutes ago are not why updates are pending now.
                let rank = (explanation.share, Reverse(path.steps), ancestor.onset);
                if best.as_ref().is_none_or(|(other, _)| rank > *other) {
                    best = Some((rank, explanation));
                }
            }
            for step in parents(&path.ancestor, user) {
                waiting.push_back(Path {
                    ancestor: step.0,
                    delay_max_s: path.delay_max_s + step.1,
                    relation: if path.relation == step.2 { step.2 } else { Relation::Learned },
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

/// Whether this signal is known to drive any other.
pub fn is_parent(signal: &str, user: &BTreeMap<String, SignalSettings>) -> bool {
    EDGES.iter().any(|edge| edge.parent == signal)
        || user.get(signal).is_some_and(|settings| !settings.drives.is_empty())
}

/// Signals that drive this one in a proportion that only its history can show.
pub fn learned_parents<'a>(
    signal: &'a str,
    user: &'a BTreeMap<String, SignalSettings>,
) -> impl Iterator<Item = &'a str> {
    let declared = EDGES.iter().filter(move |edge| edge.child == signal);
    let declared = declared.filter(|edge| edge.relation == Relation::Learned);
    let configured =
        user.iter().filter(move |(_, settings)| settings.drives.iter().any(|d| d == signal));
    declared.map(|edge| edge.parent).chain(configured.map(|(name, _)| name.as_str()))
}

/// An effect never precedes its cause, but two sources are not sampled at one instant: an interval
/// of grace.
fn follows(effect: Time, cause: Time, delay_max_s: i64, interval_s: f64) -> bool {
    let interval = seconds(interval_s);
    effect + interval >= cause && effect - cause <= TimeDelta::seconds(delay_max_s) + interval
}

fn parents(signal: &str, user: &BTreeMap<String, SignalSettings>) -> Vec<(String, i64, Relation)> {
    let declared = EDGES.iter().filter(|edge| edge.child == signal);
    let declared = declared.map(|edge| (edge.parent.to_owned(), edge.delay_max_s, edge.relation));
    let configured =
        user.iter().filter(|(_, settings)| settings.drives.iter().any(|d| d == signal));
    let configured = configured.map(|(name, _)| (name.clone(), USER_DELAY_S, Relation::Learned));
    declared.chain(configured).collect()
}

fn steps_from(signal: &str, user: &BTreeMap<String, SignalSettings>) -> Vec<Path> {
    let steps = parents(signal, user).into_iter();
    let path = |(parent, delay_max_s, relation): (String, i64, Relation)| Path {
        first_step: parent.clone(),
        ancestor: parent,
        delay_max_s,
        relation,
        steps: 1,
    };
    steps.map(path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
        Graph::default().explain(signal, change, (moved, growth), 15.0, &BTreeMap::new())
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
                &BTreeMap::new(),
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

    #[test]
    fn the_declared_graph_has_no_cycle_and_knows_its_signals() {
        for edge in EDGES {
            assert!(crate::series::built_in(edge.parent).is_some(), "{}", edge.parent);
            assert!(crate::series::built_in(edge.child).is_some(), "{}", edge.child);
            let mut waiting = vec![edge.child];
            let mut steps = 0;
            while let Some(signal) = waiting.pop() {
                assert_ne!(signal, edge.parent, "a cycle through {}", edge.parent);
                steps += 1;
                assert!(steps < 10_000, "a cycle below {}", edge.child);
                waiting.extend(EDGES.iter().filter(|e| e.parent == signal).map(|e| e.child));
            }
        }
    }
}
