//! The columns of any recording, ranked as root cause of what happened around a time. Needs no
//! history of alarms, no model of the platform and no exact time: each column is judged by itself,
//! at its own onset, against what it did before.
//!
//! A column moves by the distance of the medians beside a point of time. What it moves by before
//! the window says how surprising a move inside it is; a signal that stood still has the rule of
//! succession. Much noise hides large moves and little noise makes small ones significant, so that
//! neither surprise nor size alone names a cause: the rank is by their product, as genes are ranked
//! by significance and fold change (the π-value of Xiao et al. 2014, Bioinformatics 30, 801).
//! Medians and the signal's own moves are what made BARO robust (Pham et al. 2024, FSE 1, 2214).
//!
//! A declared graph, if there is one, explains moves by those of their parents. Which columns there
//! are, what was counted and where a graph stands in a file is for others to say.

use std::collections::BTreeMap;

use chrono::TimeDelta;

use super::declared::{Ancestor, Declared};
use crate::series::{Time, seconds};

/// A level is the median of so many samples before a point of time.
pub const LEVEL_SAMPLES: usize = 16;

/// So many samples after a point of time, doubled from one, are held against the level before it: a
/// single leap, and what only shows in the middle of many samples.
const AFTER_SAMPLES_MAX: usize = 2 * LEVEL_SAMPLES;

/// The window around the time that is asked for. People and detectors are late rather than early.
const BEFORE_S: f64 = 180.0;
const AFTER_S: f64 = 120.0;
/// It holds at least so many samples, where they are far apart.
const BEFORE_SAMPLES: f64 = 3.0;
const AFTER_SAMPLES: f64 = 1.0;

/// Moves before the window that are looked at, the latest.
const HISTORY_SAMPLES: usize = 10_000;
/// With fewer moves before the window a column is not judged.
const HISTORY_SAMPLES_MIN: usize = 8;

/// What a column moves by in one of twenty samples is its scale.
const SCALE_QUANTILE: f64 = 0.95;

/// Values beyond this are taken for it.
const VALUE_MAX: f64 = 1e140;

/// Below this share of the largest value, a difference is rounding.
pub(super) const ROUNDING: f64 = 1e-9;

/// A column with its present samples in the order of time, counters as rates.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// When, and how much; finite.
    pub samples: Vec<(Time, f64)>,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Question<'a> {
    /// Around when something happened.
    pub at: Time,
    /// The usual seconds between two samples.
    pub interval_s: f64,
    /// The column whose change is to be explained, if it is one in particular.
    pub target: Option<&'a str>,
}

/// The window in which onsets are sought.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// Its first instant.
    pub from: Time,
    /// Its last instant.
    pub to: Time,
}

impl Question<'_> {
    /// Where onsets are sought.
    pub fn window(&self) -> Window {
        let before_s = BEFORE_S.max(BEFORE_SAMPLES * self.interval_s);
        let after_s = AFTER_S.max(AFTER_SAMPLES * self.interval_s);
        let from = self.at.checked_sub_signed(seconds(before_s)).unwrap_or(Time::MIN_UTC);
        let to = self.at.checked_add_signed(seconds(after_s)).unwrap_or(Time::MAX_UTC);
        Window { from, to }
    }

    /// Numbers of samples after an onset that are held against the level before it. None lasts
    /// longer than the window reaches back: what comes after it is another event.
    fn after_samples(&self) -> impl Iterator<Item = usize> {
        let reach = BEFORE_S.max(BEFORE_SAMPLES * self.interval_s);
        let fitting = reach / self.interval_s.max(f64::MIN_POSITIVE);
        let doubled = std::iter::successors(Some(1), |samples| Some(2 * samples));
        doubled.take_while(move |samples| {
            *samples <= AFTER_SAMPLES_MAX && (*samples == 1 || *samples as f64 <= fitting)
        })
    }
}

/// How a column moved within the window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Move {
    /// The first sample of its new level.
    pub onset: Time,
    /// The level before that.
    pub before: f64,
    /// The level after it.
    pub after: f64,
    /// Minus the logarithm of the chance of its most surprising move.
    pub surprise: f64,
    /// The logarithm of one plus that move's size as a share of the smaller level.
    pub size: f64,
}

impl Move {
    /// How much speaks for it: surprise times size, the size by its square root, as levels have no
    /// natural zero as surely as chances have.
    pub fn weight(&self) -> f64 {
        self.surprise * self.size.sqrt()
    }
}

/// A column in its place among the causes.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranked {
    /// Its name.
    pub signal: String,
    /// What speaks for it as the cause: the unexplained part of its move's weight.
    pub score: f64,
    /// The part that its declared parents explain, 0..1.
    pub explained: f64,
    /// Its move. `None`: it did not move, or too little is known of it.
    pub moved: Option<Move>,
}

/// Ranks the columns, most likely first. Columns that did not move are last, in their order.
pub fn rank(columns: &[Column], question: &Question<'_>, graph: &Declared) -> Vec<Ranked> {
    let moves: Vec<Option<Move>> =
        columns.iter().map(|column| strongest_move(&column.samples, question)).collect();
    let moved: BTreeMap<&str, Move> = columns
        .iter()
        .zip(&moves)
        .filter_map(|(column, own)| Some((column.name.as_str(), (*own)?)))
        .collect();
    let target = question.target.and_then(|name| Some((name, *moved.get(name)?)));
    let judged = columns.iter().zip(&moves).map(|(column, own)| {
        let signal = column.name.as_str();
        let explained = own.map_or(0.0, |own| explained(signal, &own, &moved, question, graph));
        let relevant = match (target, own) {
            (Some((name, change)), Some(own)) if name != signal => {
                let in_time = can_drive(own, &change, None, question.interval_s);
                graph.drives(signal, name).unwrap_or(true) && in_time
            }
            _ => true,
        };
        let unexplained = own.map_or(0.0, |own| own.weight() * (1.0 - explained));
        let score = if relevant { unexplained } else { 0.0 };
        Ranked { signal: signal.to_owned(), score, explained, moved: *own }
    });
    let mut ranked: Vec<Ranked> = judged.collect();
    let weight = |one: &Ranked| one.moved.map_or(0.0, |own| own.weight());
    ranked
        .sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| weight(b).total_cmp(&weight(a))));
    ranked
}

/// The part of a move that those of the signal's declared ancestors carry, of which the one that
/// carries most counts. A target that the graph does not know is asked about as an effect: anything
/// that moved in time may be its cause.
fn explained(
    signal: &str,
    own: &Move,
    moved: &BTreeMap<&str, Move>,
    question: &Question<'_>,
    graph: &Declared,
) -> f64 {
    let mut ancestors = graph.ancestors(signal);
    if ancestors.is_empty() && question.target == Some(signal) {
        let others = moved.keys().filter(|other| **other != signal);
        ancestors = others.map(|name| Ancestor { name, delay_max: None }).collect();
    }
    let parents = ancestors.iter().filter_map(|ancestor| {
        let parent = moved.get(ancestor.name)?;
        can_drive(parent, own, ancestor.delay_max, question.interval_s).then_some(parent)
    });
    parents.map(|parent| carried(parent, own)).fold(0.0, f64::max)
}

/// An effect does not precede its cause by more than a sample's uncertainty, nor follow it later
/// than is declared.
fn can_drive(parent: &Move, child: &Move, delay_max: Option<TimeDelta>, interval_s: f64) -> bool {
    let slack = seconds(interval_s);
    let delay = child.onset - parent.onset;
    -slack <= delay && delay_max.is_none_or(|most| delay <= most + slack)
}

/// The part of a child's move that its parent's can carry. Of `child = slope * parent + noise` the
/// child has the parent's noise and its own: in units of its noise it never moves further than the
/// parent does in units of the parent's.
fn carried(parent: &Move, child: &Move) -> f64 {
    let odds = |one: &Move| one.surprise.exp_m1();
    (odds(parent) / odds(child).max(f64::MIN_POSITIVE)).clamp(0.0, 1.0)
}

/// The most surprising move within the question's window. `None` if there was none, or too little
/// before it.
pub fn strongest_move(samples: &[(Time, f64)], question: &Question<'_>) -> Option<Move> {
    let Window { from, to } = question.window();
    let begins = samples.partition_point(|(at, _)| *at < from);
    let ends = samples.partition_point(|(at, _)| *at <= to);
    let first = begins.saturating_sub(HISTORY_SAMPLES);
    let last = samples.len().min(ends + AFTER_SAMPLES_MAX);
    let samples = &samples[first..last];
    let (begins, ends) = (begins - first, ends - first);
    if begins < HISTORY_SAMPLES_MIN || begins == ends {
        return None;
    }
    let values = bounded(samples);
    // Half of what there is before the window is left for moves to compare with.
    let level_samples = LEVEL_SAMPLES.min(begins / 2);
    let levels = rolling_medians(&values, level_samples);
    let largest = values.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
    let rounding = ROUNDING * largest;
    let mut best: Option<Move> = None;
    for after_samples in question.after_samples() {
        if level_samples + after_samples > values.len() {
            break;
        }
        let afters = rolling_medians(&values, after_samples);
        let levels_at = |place: usize| (levels[place - level_samples], afters[place]);
        let move_at = |place: usize| (levels_at(place).1 - levels_at(place).0).abs();
        let places = level_samples..=values.len() - after_samples;
        let past = places.clone().take_while(|place| place + after_samples <= begins);
        let past: Vec<f64> = past.map(move_at).collect();
        let inside = places.filter(|place| (begins..ends).contains(place));
        let strongest = inside.clone().max_by(|a, b| move_at(*a).total_cmp(&move_at(*b)));
        let Some(strongest) = strongest.filter(|place| move_at(*place) > rounding) else {
            continue;
        };
        let most = move_at(strongest);
        let Some(surprise) = surprise(past, most, rounding) else { continue };
        if best.is_some_and(|other| other.surprise >= surprise) {
            continue;
        }
        let (before, after) = levels_at(strongest);
        let size = size(before, after, surprise);
        // What leaps to and fro began with its first leap, and not with the largest.
        let first = inside.clone().find(|place| move_at(*place) >= most / 2.0).unwrap_or(strongest);
        let (before, after) = levels_at(first);
        let earliest = first - level_samples / 2;
        let onset = onset(&values[earliest..first + after_samples], before, after);
        let place = (earliest + onset).clamp(level_samples, values.len() - after_samples);
        let (before, after) = levels_at(place);
        let onset = samples[earliest + onset].0;
        best = Some(Move { onset, before, after, surprise, size });
    }
    best
}

/// The values, so that their distances stay finite.
pub(super) fn bounded(samples: &[(Time, f64)]) -> Vec<f64> {
    samples.iter().map(|(_, value)| value.clamp(-VALUE_MAX, VALUE_MAX)).collect()
}

/// What a signal ordinarily moves by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ordinary {
    /// The size of its moves at their upper quantile; zero if it mostly stands still.
    scale: f64,
    /// Moves that are known.
    known: usize,
}

impl Ordinary {
    /// From the quantile of so many moves. Less than `rounding` is no move.
    pub(super) fn new(quantile: f64, known: usize, rounding: f64) -> Option<Ordinary> {
        let scale = if quantile > rounding { quantile } else { 0.0 };
        (known >= HISTORY_SAMPLES_MIN).then_some(Ordinary { scale, known })
    }

    /// Minus the logarithm of the chance of a move of at least this size, as large as which so many
    /// are known. The tail is that of moves through their quantile, P(size > x) = 1 / (1 + x /
    /// scale), as heavy as any that is met. Of a signal that mostly stands still it is the rule of
    /// succession (Laplace): one more than were as large, of two more than there were.
    pub(super) fn surprise(&self, size: f64, as_large: impl FnOnce() -> usize) -> f64 {
        if self.scale > 0.0 {
            return (size / self.scale).ln_1p();
        }
        ((self.known as f64 + 2.0) / (as_large() as f64 + 1.0)).ln()
    }
}

/// The place of the quantile that is a signal's scale among so many sorted moves.
pub(super) fn scale_place(known: usize) -> usize {
    (known.saturating_sub(1) as f64 * SCALE_QUANTILE).round() as usize
}

/// The surprise of a move after these; `None` if they are too few.
fn surprise(mut past: Vec<f64>, size: f64, rounding: f64) -> Option<f64> {
    if past.is_empty() {
        return None;
    }
    let place = scale_place(past.len());
    let quantile = *past.select_nth_unstable_by(place, f64::total_cmp).1;
    let ordinary = Ordinary::new(quantile, past.len(), rounding)?;
    Some(ordinary.surprise(size, || past.iter().filter(|other| **other >= size).count()))
}

/// The logarithm of the ratio of the levels, of which each is at least as large as the noise.
fn size(before: f64, after: f64, surprise: f64) -> f64 {
    let distance = (after - before).abs();
    let noise = distance / surprise.exp_m1().max(f64::MIN_POSITIVE);
    (distance / (before.abs().min(after.abs()) + noise)).ln_1p()
}

/// The sample from which on the values are nearer to the level after than to the one before, in
/// sum: the likeliest change between two levels with Laplace noise. Most of the samples from which
/// the level before is known are before it, so that half of them suffice.
fn onset(values: &[f64], before: f64, after: f64) -> usize {
    let (mut cost, mut least, mut best) = (0.0, 0.0, 0);
    for (place, value) in values.iter().enumerate() {
        cost += (value - before).abs() - (value - after).abs();
        if cost < least && place + 1 < values.len() {
            (least, best) = (cost, place + 1);
        }
    }
    best
}

/// The median of each `width` neighbouring values, by the place of the first; `width` is not zero.
pub(super) fn rolling_medians(values: &[f64], width: usize) -> Vec<f64> {
    let mut sorted: Vec<f64> = Vec::with_capacity(width + 1);
    let mut medians = Vec::with_capacity((values.len() + 1).saturating_sub(width));
    for (place, value) in values.iter().enumerate() {
        if place >= width {
            let leaving = values[place - width];
            let at = sorted.partition_point(|other| other.total_cmp(&leaving).is_lt());
            sorted.remove(at);
        }
        let at = sorted.partition_point(|other| other.total_cmp(value).is_lt());
        sorted.insert(at, *value);
        if sorted.len() == width {
            // Halves are added, as a sum of large values is not finite.
            let (low, high) = (sorted[(width - 1) / 2], sorted[width / 2]);
            medians.push(low / 2.0 + high / 2.0);
        }
    }
    medians
}

#[cfg(test)]
mod tests;
