//! Which entries of `pg_stat_statements` matter to row accounting, and what each had counted
//! before. Every entry's counters are remembered, few texts are: a text is read once, when its
//! entry runs for the first time in our presence. Pure; the SQL is in `evidence`.

use std::collections::{BTreeSet, HashMap};

use super::schema::DEVICE;
use crate::accounting::{
    Statement,
    writes::{Writes, writes},
};

/// Entries that one reading may carry. An API has some dozens of statements that write devices; the
/// rest of a longer list, least risen first, waits for the next reading without losing a row.
pub(super) const STATEMENTS_CARRIED_MAX: usize = 256;

/// Texts that are read at once; the others' turn comes at the next reading, without losing a row.
pub(super) const TEXTS_READ_MAX: usize = 500;

/// Longest text that is kept, in characters.
const TEXT_KEPT_CHARS_MAX: usize = 2_000;

/// What makes an entry: role, statement, and whether it ran inside a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Identity {
    /// The role's id.
    pub(super) user: i64,
    /// The statement's id.
    pub(super) query: i64,
    /// Not nested in a function.
    pub(super) top_level: bool,
}

/// What an entry has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counters {
    /// Rows so far.
    pub(super) rows: i64,
    /// Calls so far.
    pub(super) calls: i64,
}

#[derive(Clone, Debug)]
enum Class {
    /// Its text has not been read.
    Unread,
    /// It does not write devices.
    Irrelevant,
    /// It does, or may.
    Writer { role: String, text: String },
}

#[derive(Clone, Debug)]
struct Entry {
    class: Class,
    /// The counters up to which the entry's rows have been reported or found irrelevant.
    accounted: Counters,
    latest: Counters,
    /// The reading that last saw it.
    seen_in: u64,
}

impl Entry {
    fn has_run(&self) -> bool {
        self.latest != self.accounted
    }

    fn rows_risen(&self) -> i64 {
        self.latest.rows - self.accounted.rows
    }
}

/// The memory between two readings. Its size follows the view's, which PostgreSQL bounds
/// (`pg_stat_statements.max`) and `evidence` too.
#[derive(Clone, Debug, Default)]
pub(super) struct Tracker {
    entries: HashMap<Identity, Entry>,
    readings: u64,
    stats_reset: Option<String>,
}

impl Tracker {
    /// Takes all entries of a reading. What entries had counted before the first reading is
    /// nobody's; an entry that appears later began at zero.
    pub(super) fn observe(
        &mut self,
        counts: impl IntoIterator<Item = (Identity, Counters)>,
        stats_reset: Option<&str>,
    ) {
        let is_first = self.readings == 0;
        self.readings += 1;
        if !is_first && self.stats_reset.as_deref() != stats_reset {
            for entry in self.entries.values_mut() {
                entry.accounted = Counters::default();
                entry.latest = Counters::default();
            }
        }
        self.stats_reset = stats_reset.map(str::to_owned);
        for (identity, latest) in counts {
            let entry = self.entries.entry(identity).or_insert_with(|| Entry {
                class: Class::Unread,
                accounted: if is_first { latest } else { Counters::default() },
                latest,
                seen_in: 0,
            });
            if latest.rows < entry.latest.rows || latest.calls < entry.latest.calls {
                // It was evicted and came back, or was reset alone.
                entry.accounted = Counters::default();
            }
            entry.latest = latest;
            entry.seen_in = self.readings;
        }
        let current = self.readings;
        self.entries.retain(|_, entry| entry.seen_in == current);
    }

    /// Entries that have run and whose text should be read now, the most rows first.
    pub(super) fn unread(&self) -> Vec<Identity> {
        let mut unread: Vec<_> = self
            .entries
            .iter()
            .filter(|(_, entry)| matches!(entry.class, Class::Unread) && entry.has_run())
            .map(|(identity, entry)| (-entry.rows_risen(), -entry.latest.calls, *identity))
            .collect();
        unread.sort_unstable();
        unread.truncate(TEXTS_READ_MAX);
        unread.into_iter().map(|(_, _, identity)| identity).collect()
    }

    /// Learns an entry's text and role. `functions` may write.
    pub(super) fn classify(
        &mut self,
        identity: &Identity,
        role: &str,
        text: &str,
        functions: &BTreeSet<String>,
    ) {
        if let Some(entry) = self.entries.get_mut(identity) {
            entry.class = match writes(text, DEVICE, functions) {
                Writes::No => Class::Irrelevant,
                Writes::Certainly | Writes::Possibly => Class::Writer {
                    role: role.to_owned(),
                    text: text.chars().take(TEXT_KEPT_CHARS_MAX).collect(),
                },
            };
        }
    }

    /// The entries to carry, with what each had counted when it was last accounted; ordered by
    /// identity. Whoever gets them has them: from here on they are accounted.
    pub(super) fn report(&mut self) -> Vec<Statement> {
        let mut writers = Vec::new();
        for (identity, entry) in &mut self.entries {
            match &entry.class {
                Class::Unread => {}
                Class::Irrelevant => entry.accounted = entry.latest,
                Class::Writer { .. } => writers.push((-entry.rows_risen(), *identity)),
            }
        }
        writers.sort_unstable();
        writers.truncate(STATEMENTS_CARRIED_MAX);
        writers.sort_unstable_by_key(|(_, identity)| *identity);
        let mut statements = Vec::with_capacity(writers.len());
        for (_, identity) in writers {
            if let Some(entry) = self.entries.get_mut(&identity)
                && let Class::Writer { role, text } = &entry.class
            {
                statements.push(Statement {
                    query_id: identity.query,
                    role: role.clone(),
                    top_level: identity.top_level,
                    rows: entry.latest.rows,
                    calls: entry.latest.calls,
                    rows_before: entry.accounted.rows,
                    calls_before: entry.accounted.calls,
                    text: Some(text.clone()),
                });
                entry.accounted = entry.latest;
            }
        }
        statements
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(query: i64) -> Identity {
        Identity { user: 10, query, top_level: true }
    }

    fn counted(query: i64, rows: i64, calls: i64) -> (Identity, Counters) {
        (identity(query), Counters { rows, calls })
    }

    fn classify(tracker: &mut Tracker, query: i64, text: &str) {
        tracker.classify(&identity(query), "ops", text, &BTreeSet::new());
    }

    fn rises(statements: &[Statement]) -> Vec<(i64, i64, i64)> {
        statements.iter().map(|s| (s.query_id, s.rows_before, s.rows)).collect()
    }

    const UPDATE: &str = "UPDATE device SET x = $1";

    #[test]
    fn texts_are_wanted_only_of_entries_that_ran_in_our_presence() {
        let mut tracker = Tracker::default();
        tracker.observe([counted(1, 500, 5), counted(2, 900, 9)], None);
        assert!(tracker.unread().is_empty());
        tracker.observe([counted(1, 700, 6), counted(2, 900, 9), counted(3, 0, 1)], None);
        assert_eq!(tracker.unread(), [identity(1), identity(3)]);
    }

    #[test]
    fn an_entry_carries_what_it_had_counted_before_it_was_carried() {
        let mut tracker = Tracker::default();
        tracker.observe([counted(1, 500, 5)], None);
        tracker.observe([counted(1, 700, 6), counted(2, 50, 1)], None);
        classify(&mut tracker, 1, UPDATE);
        classify(&mut tracker, 2, UPDATE);
        assert_eq!(rises(&tracker.report()), [(1, 500, 700), (2, 0, 50)]);
        tracker.observe([counted(1, 700, 6), counted(2, 80, 2)], None);
        assert_eq!(rises(&tracker.report()), [(1, 700, 700), (2, 50, 80)]);
    }

    #[test]
    fn a_text_that_could_not_be_read_in_time_costs_no_rows() {
        let mut tracker = Tracker::default();
        tracker.observe([counted(1, 100, 1)], None);
        tracker.observe([counted(1, 300, 2)], None);
        assert!(tracker.report().is_empty());
        tracker.observe([counted(1, 350, 3)], None);
        classify(&mut tracker, 1, UPDATE);
        assert_eq!(rises(&tracker.report()), [(1, 100, 350)]);
    }

    #[test]
    fn reads_are_forgotten_and_never_asked_for_again() {
        let mut tracker = Tracker::default();
        tracker.observe([counted(1, 100, 1)], None);
        tracker.observe([counted(1, 300, 2)], None);
        classify(&mut tracker, 1, "SELECT x FROM device");
        assert!(tracker.report().is_empty());
        tracker.observe([counted(1, 900, 3)], None);
        assert!(tracker.unread().is_empty());
    }

    #[test]
    fn an_entry_that_was_evicted_and_came_back_counts_from_zero() {
        let mut tracker = Tracker::default();
        tracker.observe([counted(1, 100, 1)], None);
        tracker.observe([counted(1, 200, 2)], None);
        classify(&mut tracker, 1, UPDATE);
        tracker.report();
        tracker.observe([counted(1, 30, 1)], None);
        assert_eq!(rises(&tracker.report()), [(1, 0, 30)]);
        tracker.observe([], None);
        tracker.observe([counted(1, 70, 1)], None);
        assert_eq!(tracker.unread(), [identity(1)], "its text must be read again");
    }

    #[test]
    fn after_a_reset_everything_counts_from_zero() {
        let mut tracker = Tracker::default();
        tracker.observe([counted(1, 100, 1)], Some("monday"));
        tracker.observe([counted(1, 120, 2)], Some("monday"));
        classify(&mut tracker, 1, UPDATE);
        tracker.report();
        // More than before the reset, all of it since.
        tracker.observe([counted(1, 5_000, 9)], Some("tuesday"));
        assert_eq!(rises(&tracker.report()), [(1, 0, 5_000)]);
    }

    #[test]
    fn what_does_not_fit_is_reported_later_in_full() {
        let mut tracker = Tracker::default();
        let many = STATEMENTS_CARRIED_MAX as i64 + 1;
        tracker.observe([], None);
        tracker.observe((1..=many).map(|query| counted(query, query, 1)), None);
        for query in 1..=many {
            classify(&mut tracker, query, UPDATE);
        }
        let first = tracker.report();
        assert_eq!(first.len(), STATEMENTS_CARRIED_MAX);
        assert!(!first.iter().any(|statement| statement.query_id == 1), "the least risen waits");
        tracker.observe((1..=many).map(|query| counted(query, query, 1)), None);
        let second = tracker.report();
        assert!(rises(&second).contains(&(1, 0, 1)), "{:?}", rises(&second));
    }
}
