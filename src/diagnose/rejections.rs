//! What operators have called wrong: patterns that are benign, by their word, and what is like
//! them. Who is told of what is like them is the pipeline's business.
//!
//! What was rejected bounds what is like it. Of a level: the same cause, signal and direction, and
//! less than twice the size, as an open change is told again when it has doubled
//! (`detect::further`): however a pattern grows, it has to be rejected a logarithmic number of
//! times. Of a flow: the same cause and kind of target, in no more organisations (or applications,
//! where those are not known), and no more devices than two counts of one process may differ by, at
//! the significance at which flows page: the difference of two Poisson counts over the root of
//! their sum is nearly normal (Przyborowski and Wilenski, "Homogeneity of results in testing
//! samples from Poisson series", Biometrika 31, 1940). Of signals that are gone: no others.
//!
//! A rejection is forgotten when an incident that was recorded as like it is rejected in its turn,
//! and when more than so many others were made or of use since.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal};

use crate::{
    diagnose::flows::Family,
    incident::{BlastRadius, Cause},
    series::{Direction, Time},
};

/// Rejections that are remembered at most.
const REJECTIONS_MAX: usize = 100;
/// Signals of one rejection at most.
pub const MOVES_MAX: usize = 50;
/// A size so many times the rejected one is another.
const SIZES_MIN: f64 = 2.0;

/// A level that moved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Move {
    /// The signal.
    pub signal: String,
    /// Up or down.
    pub direction: Direction,
    /// The level before.
    pub before: f64,
    /// How far from it, above zero.
    pub size: f64,
}

/// What was rejected.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Pattern {
    /// Levels that moved; with each, whether it is still away and has its way back before it.
    Levels(Vec<(Move, bool)>),
    /// A platform-wide flow.
    Flow {
        /// Of which targets.
        family: Family,
        /// Of these causes.
        cause: Cause,
        /// Devices, or applications of a retarget.
        amount: u64,
        /// In how many organisations, or applications where those are not known.
        breadth: Option<u64>,
    },
    /// Signals that their source no longer gave.
    Lost {
        /// The source.
        source: String,
        /// Which.
        signals: BTreeSet<String>,
    },
}

/// An operator's word that a diagnosis was wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rejection {
    /// The incident.
    pub incident: String,
    /// When it was rejected.
    pub at: Time,
    /// When it was last of use.
    pub used_at: Time,
    /// What it was called.
    pub cause: Cause,
    /// What was seen.
    pub pattern: Pattern,
}

/// A rejection that something is like.
#[derive(Clone, Debug, PartialEq)]
pub struct Like {
    /// The rejected incident.
    pub incident: String,
    /// When that was rejected.
    pub at: Time,
    /// From this size on it is not like it any more.
    pub size_max: f64,
    /// It is the way back of what was rejected.
    pub is_way_back: bool,
}

/// What is remembered, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rejections {
    all: Vec<Rejection>,
}

impl Rejections {
    /// Takes an operator's word. What was used longest ago makes room.
    pub fn remember(&mut self, rejection: Rejection) {
        self.all.push(rejection);
        while self.all.len() > REJECTIONS_MAX {
            let oldest = self.all.iter().enumerate().min_by_key(|(_, one)| one.used_at);
            let oldest = oldest.map_or(0, |(index, _)| index);
            self.all.remove(oldest);
        }
    }

    /// What is like this incident is told again. Says whether anything was remembered of it.
    pub fn forget(&mut self, incident: &str) -> bool {
        let before = self.all.len();
        self.all.retain(|rejection| rejection.incident != incident);
        self.all.len() < before
    }

    /// The latest rejection that a level's move is like, when it is told as this cause: a move as
    /// it was rejected, or its way back.
    pub fn like_level(&mut self, cause: Cause, now: &Move, at: Time) -> Option<Like> {
        for rejection in self.all.iter_mut().rev() {
            let Pattern::Levels(moves) = &mut rejection.pattern else { continue };
            if cause != rejection.cause && cause != Cause::Unexplained {
                continue;
            }
            for (then, away) in moves {
                let same = then.signal == now.signal && now.size < SIZES_MIN * then.size;
                let again = now.direction == then.direction;
                if same && (again || is_way_back(now, then, *away)) {
                    *away &= again;
                    rejection.used_at = at;
                    return Some(Like {
                        incident: rejection.incident.clone(),
                        at: rejection.at,
                        size_max: SIZES_MIN * then.size,
                        is_way_back: !again,
                    });
                }
            }
        }
        None
    }

    /// The latest rejection that a platform-wide flow is like. `alpha` is the chance of a false
    /// page that one sample may cost.
    pub fn like_flow(
        &mut self,
        (cause, family): (Cause, Family),
        now: &BlastRadius,
        alpha: f64,
        at: Time,
    ) -> Option<Like> {
        let most = Normal::standard().inverse_cdf(1.0 - alpha);
        let rejection = self.all.iter_mut().rev().find(|rejection| match &rejection.pattern {
            Pattern::Flow { family: of, cause: called, amount, breadth } => {
                let same = *of == family && *called == cause;
                let (then, devices) = (*amount as f64, now.devices as f64);
                let more = (devices - then) / (devices + then).max(1.0).sqrt();
                let broader = match (breadth_of(now), breadth) {
                    (Some(now), Some(then)) => now > *then,
                    (now, then) => now.is_some() != then.is_some(),
                };
                same && !broader && more <= most
            }
            _ => false,
        })?;
        Some(used(rejection, at))
    }

    /// The latest rejection that signals which are gone are like.
    pub fn like_lost(
        &mut self,
        source: &str,
        signals: &BTreeSet<String>,
        at: Time,
    ) -> Option<Like> {
        let rejection = self.all.iter_mut().rev().find(|rejection| match &rejection.pattern {
            Pattern::Lost { source: of, signals: gone } => {
                of == source && gone.is_superset(signals)
            }
            _ => false,
        })?;
        Some(used(rejection, at))
    }
}

/// Organisations, or applications where those are not known.
pub fn breadth_of(radius: &BlastRadius) -> Option<u64> {
    radius.organizations.or(radius.applications)
}

/// Whether a level that was rejected, and taken for the new normal with that, comes back to where
/// it was: from nearer to its new level than to its old one.
fn is_way_back(now: &Move, then: &Move, away: bool) -> bool {
    let from = (now.before - then.before).abs();
    away && now.direction != then.direction && from > then.size / SIZES_MIN
}

fn used(rejection: &mut Rejection, at: Time) -> Like {
    rejection.used_at = at;
    let (incident, rejected_at) = (rejection.incident.clone(), rejection.at);
    Like { incident, at: rejected_at, size_max: f64::INFINITY, is_way_back: false }
}
