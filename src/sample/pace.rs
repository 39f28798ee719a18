//! How long and how often a source is asked: the time limits of a sample and the instants of the
//! next ones. Pure arithmetic; the loop that follows it is in `mod.rs`.

use std::time::Duration;

use chrono::TimeDelta;

use super::database::Limits;
use crate::series::Time;

/// A sample may take this many times what it usually takes: a database that suffers is when the
/// numbers are needed most.
const GENEROUS: u32 = 10;

/// In intervals, what a statement may take at most, however slow the database usually is. With its
/// connection and the evidence a sample then stays below two intervals: it costs its own place and
/// one other, which is counted as an overrun.
const STATEMENT_INTERVALS_MAX: f64 = 1.5;

/// In intervals, what a statement may take in any case.
const STATEMENT_INTERVALS_MIN: f64 = 0.9;

/// Where the interval is a fraction of a second (a story played fast), limits that follow from it
/// would cut off healthy samples on a busy machine.
const STATEMENT_MIN: Duration = Duration::from_secs(2);
const CONNECT_MIN: Duration = Duration::from_secs(1);
const EVIDENCE_MIN: Duration = Duration::from_millis(400);

/// Nobody waits longer for a connection or for evidence, however long the interval.
const CONNECT_MAX: Duration = Duration::from_secs(5);
const EVIDENCE_MAX: Duration = Duration::from_secs(1);

/// Reading takes the weakest lock there is; only a schema change conflicts with it. Waiting in its
/// queue longer than this tells nothing more.
const LOCK_MAX: Duration = Duration::from_millis(500);

/// How much one sample moves the estimate of what a sample usually takes.
const USUAL_WEIGHT: f64 = 0.125;

/// The pace of one source.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    interval: Duration,
    usual_s: Option<f64>,
}

impl Pace {
    /// For samples every `interval` of real time.
    pub(super) fn new(interval: Duration) -> Pace {
        Pace { interval, usual_s: None }
    }

    /// The interval in real time.
    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    /// Learns from a sample that took `took`, or that was cut off after it: a database that has
    /// become slow for good is given more time, up to the bound.
    pub(super) fn learn(&mut self, took: Duration) {
        let took_s = took.as_secs_f64();
        let usual_s = self.usual_s.unwrap_or(took_s);
        self.usual_s = Some(usual_s + (took_s - usual_s) * USUAL_WEIGHT);
    }

    /// The limits of the transaction that reads the fleet.
    pub(super) fn limits(&self) -> Limits {
        let interval_s = self.interval.as_secs_f64();
        let generous_s = self.usual_s.unwrap_or(0.0) * f64::from(GENEROUS);
        let lowest_s = interval_s * STATEMENT_INTERVALS_MIN;
        let highest_s = interval_s * STATEMENT_INTERVALS_MAX;
        let statement = Duration::from_secs_f64(generous_s.clamp(lowest_s, highest_s));
        Limits {
            connect: (self.interval / 5).clamp(CONNECT_MIN, CONNECT_MAX),
            statement: statement.max(STATEMENT_MIN),
            lock: LOCK_MAX,
        }
    }

    /// The limits of the transaction that reads statistics views and migration tables. They are a
    /// courtesy of the sample, which must not wait for them.
    pub(super) fn evidence_limits(&self) -> Limits {
        let evidence = (self.interval / 5).clamp(EVIDENCE_MIN, EVIDENCE_MAX);
        Limits { connect: evidence, statement: evidence, lock: evidence / 4 }
    }
}

/// When a source is sampled: at multiples of the interval, moved by an offset of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    interval_us: i64,
    offset_us: i64,
}

/// The offsets of all sources lie within this part of the interval: enough that they do not start
/// at the same instant, little enough that their samples are of one time.
const OFFSET_SHARE: i64 = 10;

impl Schedule {
    /// The schedule of the source `name`. The offset follows from the name alone, so that restarts
    /// keep the rhythm.
    pub(super) fn new(name: &str, interval: Duration) -> Schedule {
        let interval_us = i64::try_from(interval.as_micros()).unwrap_or(i64::MAX).max(1);
        let span_us = (interval_us / OFFSET_SHARE).max(1);
        // The remainder is below `span_us`, hence fits.
        let offset_us = (hash(name) % span_us.unsigned_abs()) as i64;
        // Whole milliseconds, as the store and recordings keep them: a sample has one time
        // everywhere.
        Schedule { interval_us, offset_us: offset_us - offset_us % 1_000 }
    }

    /// The first place after `now`.
    pub(super) fn next(&self, now: Time) -> Time {
        let past_us = (now.timestamp_micros() - self.offset_us).rem_euclid(self.interval_us);
        let past_ns = i64::from(now.timestamp_subsec_nanos() % 1_000);
        now + TimeDelta::microseconds(self.interval_us - past_us) - TimeDelta::nanoseconds(past_ns)
    }

    /// The places after `taken` that have passed at `now`, oldest first: at most `most`, because
    /// beyond that (the machine slept) it is a gap and not an overrun.
    pub(super) fn missed(&self, taken: Time, now: Time, most: usize) -> Vec<Time> {
        let mut missed = Vec::new();
        let mut place = taken + TimeDelta::microseconds(self.interval_us);
        while place <= now && missed.len() < most {
            missed.push(place);
            place += TimeDelta::microseconds(self.interval_us);
        }
        missed
    }

    /// Whether `now` is so far from `place` that the clock was set or the machine slept.
    pub(super) fn is_astray(&self, place: Time, now: Time) -> bool {
        (now - place).num_microseconds().is_none_or(|off_us| off_us.abs() >= self.interval_us)
    }
}

/// FNV-1a: the same on every machine and in every release, which the standard hasher does not
/// promise.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Time {
        Time::from_timestamp_micros((seconds * 1e6) as i64).unwrap()
    }

    #[test]
    fn places_are_aligned_to_the_interval_and_moved_by_less_than_a_tenth() {
        let schedule = Schedule::new("fleet", Duration::from_secs(15));
        let first = schedule.next(at(1_000_000_000.3));
        let offset_s = (first.timestamp_micros() as f64 / 1e6).rem_euclid(15.0);
        assert!((0.0..1.5).contains(&offset_s), "{offset_s}");
        assert_eq!(schedule.next(first), first + TimeDelta::seconds(15));
        assert_eq!(schedule.next(first - TimeDelta::microseconds(1)), first);
        assert_eq!(schedule.next(first - TimeDelta::nanoseconds(1)), first);
        assert_eq!(first.timestamp_subsec_nanos() % 1_000_000, 0, "whole milliseconds");
    }

    #[test]
    fn two_sources_do_not_start_at_one_instant() {
        let interval = Duration::from_secs(15);
        let now = at(1_000_000_000.0);
        let places = ["fleet", "prometheus", "sql"].map(|n| Schedule::new(n, interval).next(now));
        assert!(places[0] != places[1] && places[1] != places[2] && places[0] != places[2]);
    }

    #[test]
    fn places_that_pass_during_a_sample_are_missed_once_each_and_not_without_end() {
        let schedule = Schedule::new("fleet", Duration::from_secs(2));
        let taken = schedule.next(at(1_000_000_000.0));
        let after = |s| taken + TimeDelta::milliseconds(s);
        assert!(schedule.missed(taken, after(1_999), 3).is_empty());
        assert_eq!(schedule.missed(taken, after(2_000), 3), [after(2_000)]);
        assert_eq!(schedule.missed(taken, after(5_500), 3), [after(2_000), after(4_000)]);
        assert_eq!(schedule.missed(taken, after(3_600_000), 3).len(), 3);
        assert!(schedule.missed(taken, after(-60_000), 3).is_empty(), "the clock was set back");
    }

    #[test]
    fn a_clock_that_was_set_is_noticed_both_ways() {
        let schedule = Schedule::new("fleet", Duration::from_secs(2));
        let place = at(1_000_000_000.0);
        assert!(!schedule.is_astray(place, place + TimeDelta::milliseconds(1_999)));
        assert!(schedule.is_astray(place, place + TimeDelta::seconds(2)));
        assert!(schedule.is_astray(place, place - TimeDelta::hours(1)));
    }

    #[test]
    fn limits_are_ten_times_the_usual_between_their_bounds() {
        let mut pace = Pace::new(Duration::from_secs(15));
        assert_eq!(pace.limits().statement, Duration::from_secs_f64(13.5));
        pace.learn(Duration::from_millis(1_800));
        assert_eq!(pace.limits().statement, Duration::from_secs(18));
        pace.learn(Duration::from_secs(60));
        assert_eq!(pace.limits().statement, Duration::from_secs_f64(22.5));
        let whole = pace.limits().connect + pace.limits().statement;
        let evidence = pace.evidence_limits();
        assert!(whole + evidence.connect + evidence.statement < Duration::from_secs(30));
        assert!(evidence.statement <= Duration::from_secs(1));
    }

    #[test]
    fn a_short_interval_does_not_cut_off_healthy_samples() {
        let pace = Pace::new(Duration::from_millis(25));
        assert_eq!(pace.limits().statement, STATEMENT_MIN);
        assert!(pace.limits().lock > Duration::ZERO);
    }
}
