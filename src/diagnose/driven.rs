//! Signals that others drive in a proportion that only history shows: when a move of one that its
//! parents do not explain is news. What drives them in the end are acts of owners (rollouts, bulk
//! updates), whose sizes have heavy tails: noise tests do not hold for them, and no proportion
//! learned from less than a day has seen both day and night. Signals that nothing drives are not
//! judged here.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use crate::series::Time;

/// Less history than this has not seen a whole day: nothing can be promised yet.
pub const LEARNING: TimeDelta = TimeDelta::days(1);

/// What ordinary life did to one such signal beyond what its parents explained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OrdinaryMoves {
    /// Its first sample.
    since: Option<Time>,
    /// The largest unexplained part of a move that stayed.
    largest: f64,
}

impl OrdinaryMoves {
    /// Takes note of a sample.
    pub fn seen(&mut self, at: Time) {
        self.since.get_or_insert(at);
    }

    /// What is left of the time in which nothing can be promised.
    pub fn learning_left(&self, at: Time) -> Option<TimeDelta> {
        let left = self.since.map_or(LEARNING, |since| since + LEARNING - at);
        (left > TimeDelta::zero()).then_some(left)
    }

    /// Whether a move with an unexplained part of this size is news, and remembers it, whatever it
    /// meant: history that left its own alarms out would promise ever more of them.
    ///
    /// One false warning in `warning_every` is allowed. With sizes of the heaviest tail that has
    /// been seen in owners' acts, P(size > x) ~ 1/x, the size that is exceeded once in
    /// `warning_every` is the largest in a shorter history, enlarged by the ratio of the two times
    /// (the quantile that Weissman 1978, JASA 73, 812, extrapolates from the largest observation,
    /// with tail index one).
    pub fn is_news(&mut self, at: Time, size: f64, warning_every: TimeDelta) -> bool {
        let learned = self.learning_left(at).is_none();
        let age = self.since.map_or(0.0, |since| (at - since).as_seconds_f64());
        let short = (warning_every.as_seconds_f64() / age.max(1.0)).max(1.0);
        let news = learned && size > self.largest * short;
        self.largest = self.largest.max(size);
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: i64) -> Time {
        Time::from_timestamp(1_569_188_000, 0).expect("a time") + TimeDelta::hours(hours)
    }

    #[test]
    fn the_first_day_promises_nothing_and_says_how_long() {
        let mut moves = OrdinaryMoves::default();
        moves.seen(at(0));
        moves.seen(at(5));
        assert_eq!(moves.learning_left(at(6)), Some(TimeDelta::hours(18)));
        assert!(!moves.is_news(at(6), 1e9, TimeDelta::days(30)));
        assert_eq!(moves.learning_left(at(24)), None);
    }

    #[test]
    fn a_larger_move_is_news_by_as_much_as_history_is_short() {
        let mut moves = OrdinaryMoves::default();
        moves.seen(at(0));
        assert!(!moves.is_news(at(3), 100.0, TimeDelta::days(30)));
        assert!(!moves.clone().is_news(at(48), 1_400.0, TimeDelta::days(30)));
        assert!(moves.clone().is_news(at(48), 1_600.0, TimeDelta::days(30)));
        assert!(moves.is_news(at(24 * 40), 101.0, TimeDelta::days(30)));
        assert!(!moves.is_news(at(24 * 40 + 1), 101.0, TimeDelta::days(30)), "seen before");
    }

    #[test]
    fn a_signal_that_never_moved_is_news_when_it_does() {
        let mut moves = OrdinaryMoves::default();
        moves.seen(at(0));
        assert!(moves.is_news(at(30), 1.0, TimeDelta::days(30)));
    }
}
