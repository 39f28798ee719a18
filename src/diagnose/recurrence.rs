//! Changes that come again at the same time of day, or of the week: whether those that were seen
//! are evidence of a habit, and what is ordinary for it. Only changes that were told, or would have
//! been, are counted; what becomes of one that is expected is the pipeline's business.
//!
//! Four explanations of the present change are held against each other by Bayes' rule, each as
//! probable as the others beforehand:
//!
//! - **a habit**: from its first time on it comes in each period with a chance of its own (uniform
//!   beforehand), about a time of its own;
//! - **a fault** that comes as a habit does. Somebody is told of it each time, and mends it by the
//!   next with an even chance: what has come so many times again is no fault by 2 to that power;
//! - **a habit that this is none of**: the earlier ones are, and this one came by chance;
//! - **chance** alone: at any time, as a Poisson process whose rate is exponential about one a
//!   period beforehand (the largest entropy).
//!
//! The sizes of a habit are alike, and those of what comes by chance have the tail that `driven`
//! declares, P(size > x) ~ 1/x; or all are alike, which tells nothing of their times.
//!
//! Times scatter normally about a time that is uniform beforehand, and the logarithms of sizes
//! likewise; the scale is one of a row of doubled ones, each as probable, from the sampling
//! interval to an hour for times (what scatters more comes at no time of day). Then every integral
//! is closed: `∫ ∏ N(x_i; μ, s²) dμ = (2πs²)^((1-n)/2) n^(-1/2) exp(-Σ(x_i - x̄)² / 2s²)`. Which of
//! the earlier changes are the habit's is not known either: the most probable choice stands for
//! all, so that the evidence for a habit is understated.

use std::collections::{BTreeMap, VecDeque};

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use statrs::{
    distribution::{ContinuousCDF, StudentsT},
    function::factorial::ln_factorial,
};

use crate::series::{Direction, Time};

/// A habit is believed at these odds in its favour (95 to 5), as a season is (`detect::profile`).
const BELIEF_LOG_ODDS: f64 = 3.0;
/// Changes of one signal that are remembered at most: those of eight weeks, if two come a day.
const OCCURRENCES_MAX: usize = 128;
/// What scatters by more than this comes at no time of day.
const TIME_SCATTER_MAX_S: f64 = 3_600.0;
/// A season smears what it learns over the shortest wave of the week that it knows.
const SEASON_WAVE_S: f64 = 4.0 * 3_600.0;
/// Sizes scatter at least by this part of themselves: no estimate is better.
const SIZE_SCATTER_MIN: f64 = 1.0 / 64.0;
/// … and at most by so many times themselves: chance does not scatter more.
const SIZE_SCATTER_MAX: f64 = 1.0;
/// The chance that a fault is not mended from one time to the next.
const UNMENDED: f64 = 0.5;

/// A change that was told, or would have been.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Occurrence {
    /// The first sample of the new regime.
    pub onset: Time,
    /// Up or down.
    pub direction: Direction,
    /// How far from the level before, above zero.
    pub size: f64,
    /// How long it took to come back, once it has.
    pub lasted_s: Option<f64>,
}

/// The changes of one signal, oldest first, as far back as a season is remembered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Occurrences {
    seen: VecDeque<Occurrence>,
}

/// What recurs in which periods.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Period {
    length_s: f64,
    remembered: f64,
    /// `days`, and how a time of it is written.
    nouns: &'static str,
    time: &'static str,
}

/// Remembered for as long as seasons are (`detect::season`).
const PERIODS: [Period; 2] = [
    Period { length_s: 86_400.0, remembered: 21.0, nouns: "days", time: "%H:%M" },
    Period { length_s: 604_800.0, remembered: 8.0, nouns: "weeks", time: "%A %H:%M" },
];

/// A change that was to be expected.
#[derive(Clone, Debug, PartialEq)]
pub struct Habit {
    /// `it came on 6 of the last 6 days between 01:56 and 02:04 UTC`.
    pub text: String,
    /// It is no longer the same when it is larger.
    pub size_max: f64,
    /// … or when it has lasted for longer, where enough of its ends were seen.
    pub lasts_max_s: Option<f64>,
}

/// The likeliest choice of a habit's earlier changes.
struct Members<'a> {
    /// With the signed distance from the present one's time, in periods.
    earlier: Vec<(f64, &'a Occurrence)>,
    /// Periods from the first of them to the present.
    periods: u64,
    /// The odds that the present one is the habit's.
    log_odds: f64,
}

impl Occurrences {
    /// Takes note of a change; the same one only once.
    pub fn observe(&mut self, occurrence: Occurrence) {
        let known = |earlier: &Occurrence| {
            earlier.onset >= occurrence.onset && earlier.direction == occurrence.direction
        };
        if self.seen.iter().any(known) {
            return;
        }
        self.seen.push_back(occurrence);
        let memory = PERIODS.iter().map(|period| period.length_s * period.remembered);
        let memory = TimeDelta::seconds(memory.fold(0.0, f64::max) as i64);
        let is_old = |old: &Occurrence| occurrence.onset - old.onset > memory;
        while self.seen.len() > OCCURRENCES_MAX || self.seen.front().is_some_and(is_old) {
            self.seen.pop_front();
        }
    }

    /// The signal is back, or a change in this direction has come.
    pub fn ended(&mut self, at: Time, into: Option<Direction>) {
        let latest = self.seen.back_mut().filter(|latest| Some(latest.direction) != into);
        if let Some(latest) = latest {
            latest.lasted_s.get_or_insert((at - latest.onset).as_seconds_f64());
        }
    }

    /// Somebody says that what comes in this direction is not to be expected.
    pub fn forget(&mut self, direction: Direction) {
        self.seen.retain(|earlier| earlier.direction != direction);
    }

    /// Whether a change was to be expected. `false_alarms_a_day` is what its signal's budget of
    /// warnings allows: as often a habit's size or length may be called too large by mistake.
    pub fn habit(
        &self,
        present: Occurrence,
        interval_s: f64,
        false_alarms_a_day: f64,
    ) -> Option<Habit> {
        let found = PERIODS
            .into_iter()
            .filter_map(|period| Some((period, self.believed(period, present, interval_s)?)));
        let by_odds = |(_, one): &(Period, Members<'_>), (_, other): &(Period, Members<'_>)| {
            one.log_odds.total_cmp(&other.log_odds)
        };
        let Some((period, members)) = found.max_by(by_odds) else {
            return self.beside(present, interval_s, false_alarms_a_day);
        };
        let Ordinary { size, lasts_s } = members.ordinary(period, interval_s, false_alarms_a_day);
        Some(Habit {
            text: format!("it {}", members.text(period, present.onset)),
            size_max: size.map_or(present.size, |size| size.max(present.size)),
            lasts_max_s: lasts_s,
        })
    }

    /// A season that has learned a habit expects part of it, within an hour of it: where that is
    /// missing, the signal seems to move the other way, by no more than the habit's size and for no
    /// longer than it is expected.
    fn beside(
        &self,
        present: Occurrence,
        interval_s: f64,
        false_alarms_a_day: f64,
    ) -> Option<Habit> {
        PERIODS.into_iter().find_map(|period| {
            let opposite = self.seen.iter().rev().filter(|one| {
                let ago = (present.onset - one.onset).as_seconds_f64() / period.length_s;
                one.direction != present.direction && 0.0 <= ago && ago <= period.remembered
            });
            let (latest, members) = opposite
                .filter_map(|one| Some((one, self.believed(period, *one, interval_s)?)))
                .next()?;
            let Ordinary { size, lasts_s } =
                members.ordinary(period, interval_s, false_alarms_a_day);
            let size_max = size.map_or(latest.size, |size| size.max(latest.size));
            let ago = (present.onset - latest.onset).as_seconds_f64() / period.length_s;
            let late_s = (ago - ago.round()) * period.length_s;
            let over_s = lasts_s.unwrap_or_default();
            let within = -TIME_SCATTER_MAX_S <= late_s && late_s < over_s + TIME_SCATTER_MAX_S;
            (within && present.size <= size_max).then(|| Habit {
                text: format!("the opposite {}", members.text(period, latest.onset)),
                size_max,
                lasts_max_s: Some(over_s - late_s + SEASON_WAVE_S),
            })
        })
    }

    fn believed(
        &self,
        period: Period,
        present: Occurrence,
        interval_s: f64,
    ) -> Option<Members<'_>> {
        let members = self.members(period, present, interval_s);
        members.filter(|members| members.log_odds > BELIEF_LOG_ODDS)
    }

    fn members(&self, period: Period, present: Occurrence, interval_s: f64) -> Option<Members<'_>> {
        let scales = doubled(interval_s, TIME_SCATTER_MAX_S)?;
        let scales: Vec<f64> = scales.iter().map(|scale| scale / period.length_s).collect();
        let periods_ago =
            |one: &Occurrence| (present.onset - one.onset).as_seconds_f64() / period.length_s;
        let earlier = self.seen.iter().filter(|one| {
            let ago = periods_ago(one);
            one.direction == present.direction && 0.0 < ago && ago <= period.remembered
        });
        let earlier: Vec<&Occurrence> = earlier.collect();
        let first = earlier.first()?;
        // Chance: of all changes, in all periods.
        let watched = periods_ago(first).ceil() + 1.0;
        let chance = |count: u64| ln_factorial(count) - (count + 1) as f64 * watched.ln();
        let total = earlier.len() as u64 + 1;
        let sizes = Sizes::of(&earlier, present);
        // The one nearest to the present one's time, of each period.
        let mut nearest: BTreeMap<u64, (f64, &Occurrence)> = BTreeMap::new();
        for one in &earlier {
            let ago = periods_ago(one);
            let apart = ago.round() - ago;
            if ago.round() >= 1.0 {
                let known = nearest.entry(ago.round() as u64).or_insert((apart, one));
                if apart.abs() < known.0.abs() {
                    *known = (apart, one);
                }
            }
        }
        let mut nearest: Vec<(u64, (f64, &Occurrence))> = nearest.into_iter().collect();
        nearest.sort_by(|(_, one), (_, other)| one.0.abs().total_cmp(&other.0.abs()));
        let mut best: Option<(f64, Members<'_>)> = None;
        for count in 1..=nearest.len() {
            let chosen = &nearest[..count];
            let periods = chosen.iter().map(|(ago, _)| *ago).max().unwrap_or(1) + 1;
            let members: Vec<(f64, &Occurrence)> = chosen.iter().map(|(_, one)| *one).collect();
            let others = total - 1 - count as u64;
            let evidence = Evidence { members: &members, sizes: &sizes, scales: &scales, periods };
            let start = -(total as f64).ln();
            let habit = start + evidence.of(Some(present)) + chance(others);
            let fault = habit + count as f64 * UNMENDED.ln();
            let another = start + evidence.of(None) + chance(others + 1);
            let by_chance = sizes.apart() + chance(total);
            let against = log_sum(&[by_chance, another, fault]);
            if best.as_ref().is_none_or(|(most, _)| habit > *most) {
                let log_odds = habit - against;
                best = Some((habit, Members { earlier: members, periods, log_odds }));
            }
        }
        best.map(|(_, members)| members)
    }
}

/// What is ordinary for a habit: exceeded as seldom as the budget allows.
struct Ordinary {
    size: Option<f64>,
    lasts_s: Option<f64>,
}

impl Members<'_> {
    fn ordinary(&self, period: Period, interval_s: f64, false_alarms_a_day: f64) -> Ordinary {
        let doubt = 1.0 / (1.0 + BELIEF_LOG_ODDS.exp());
        // Half of it for sizes, and half for lengths.
        let alpha = (false_alarms_a_day * period.length_s / 86_400.0 / 2.0).clamp(1e-9, doubt);
        let sizes: Vec<f64> = self.earlier.iter().map(|(_, one)| one.size.ln()).collect();
        let lengths = self.earlier.iter().filter_map(|(_, one)| one.lasted_s);
        let lengths: Vec<f64> = lengths.map(|lasted_s| lasted_s.max(interval_s).ln()).collect();
        Ordinary { size: upper(&sizes, alpha), lasts_s: upper(&lengths, alpha) }
    }

    /// `came between 01:56 and 02:04 UTC in 6 of the last 6 days`.
    fn text(&self, period: Period, present: Time) -> String {
        let at = |apart: f64| {
            let apart = TimeDelta::milliseconds((apart * period.length_s * 1_000.0) as i64);
            (present + apart).format(period.time).to_string()
        };
        let apart = self.earlier.iter().map(|(apart, _)| *apart);
        let (low, high) = apart
            .fold((f64::MAX, f64::MIN), |(low, high), apart| (low.min(apart), high.max(apart)));
        let (first, last) = (at(low), at(high));
        let when = if first == last {
            format!("at {first}")
        } else {
            format!("between {first} and {last}")
        };
        let (came, of) = (self.earlier.len(), self.periods - 1);
        format!("came {when} UTC in {came} of the last {of} {}", period.nouns)
    }
}

/// The sizes of all changes, of which those of a habit are alike, or all are.
struct Sizes {
    /// The smallest, to whose logarithm the others are relative.
    smallest: f64,
    scales: Vec<f64>,
    /// The log-likelihood that all are alike, over that of their coming by chance.
    alike: f64,
}

impl Sizes {
    fn of(earlier: &[&Occurrence], present: Occurrence) -> Sizes {
        let smallest = earlier.iter().map(|one| one.size).fold(present.size, f64::min);
        let scales = doubled(SIZE_SCATTER_MIN, SIZE_SCATTER_MAX).unwrap_or_default();
        let mut sizes = Sizes { smallest, scales, alike: 0.0 };
        let all: Vec<f64> = earlier.iter().map(|one| sizes.log(one.size)).collect();
        let all = with_present(all, Some(sizes.log(present.size)));
        sizes.alike = sizes.together(&all);
        sizes
    }

    fn log(&self, size: f64) -> f64 {
        (size / self.smallest).ln()
    }

    /// Large sizes are rare by chance, and only once so if they are alike.
    fn together(&self, logs: &[f64]) -> f64 {
        let sum = logs.iter().sum::<f64>();
        together(logs, &self.scales) + sum - sum / logs.len() as f64
    }

    /// Those of a habit are alike, or all are.
    fn habitual(&self, logs: &[f64]) -> f64 {
        log_sum(&[self.together(logs), self.alike])
    }

    /// They come by chance, or all are alike.
    fn apart(&self) -> f64 {
        log_sum(&[0.0, self.alike])
    }
}

/// What is smaller than usual is no news for being so.
fn with_present(mut logs: Vec<f64>, present: Option<f64>) -> Vec<f64> {
    let usual = logs.iter().sum::<f64>() / logs.len().max(1) as f64;
    logs.extend(present.map(|log| log.max(usual)));
    logs
}

/// What the evidence for a habit is computed from.
struct Evidence<'a> {
    members: &'a [(f64, &'a Occurrence)],
    sizes: &'a Sizes,
    scales: &'a [f64],
    periods: u64,
}

impl Evidence<'_> {
    /// The log-likelihood of these changes as a habit's, over that of times and sizes as they come
    /// by chance; with the present one, or without it.
    fn of(&self, present: Option<Occurrence>) -> f64 {
        let mut times: Vec<f64> = self.members.iter().map(|(apart, _)| *apart).collect();
        times.extend(present.map(|_| 0.0));
        let sizes = self.members.iter().map(|(_, one)| self.sizes.log(one.size)).collect();
        let sizes = with_present(sizes, present.map(|present| self.sizes.log(present.size)));
        let came = times.len() as u64;
        let stayed_away = self.periods - came.min(self.periods);
        let chances =
            ln_factorial(came) + ln_factorial(stayed_away) - ln_factorial(self.periods + 1);
        chances + together(&times, self.scales) + self.sizes.habitual(&sizes)
    }
}

/// The log-likelihood of values about a common centre, over their being spread evenly.
fn together(values: &[f64], scales: &[f64]) -> f64 {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
    let of_scale = |scale: &f64| {
        let variance = scale * scale;
        (1.0 - count) / 2.0 * (std::f64::consts::TAU * variance).ln()
            - count.ln() / 2.0
            - squares / (2.0 * variance)
    };
    let all: Vec<f64> = scales.iter().map(of_scale).collect();
    log_sum(&all) - (scales.len() as f64).ln()
}

fn log_sum(logs: &[f64]) -> f64 {
    let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    most + logs.iter().map(|log| (log - most).exp()).sum::<f64>().ln()
}

/// From one scale to another in doublings; `None` if there is none between them.
fn doubled(from: f64, to: f64) -> Option<Vec<f64>> {
    let scales = std::iter::successors(Some(from), |scale| Some(2.0 * scale));
    let scales: Vec<f64> = scales.take_while(|scale| *scale <= to).collect();
    (from > 0.0 && !scales.is_empty()).then_some(scales)
}

/// What the next of such values exceeds with this chance, given their logarithms: the predictive
/// distribution of a normal sample is Student's.
fn upper(logs: &[f64], alpha: f64) -> Option<f64> {
    let count = logs.len() as f64;
    if count < 2.0 {
        return None;
    }
    let mean = logs.iter().sum::<f64>() / count;
    let squares: f64 = logs.iter().map(|log| (log - mean) * (log - mean)).sum();
    let deviation = (squares / (count - 1.0)).sqrt().max(SIZE_SCATTER_MIN);
    let student = StudentsT::new(0.0, 1.0, count - 1.0).ok()?;
    let beyond = student.inverse_cdf(1.0 - alpha) * deviation * (1.0 + 1.0 / count).sqrt();
    Some((mean + beyond).exp())
}
