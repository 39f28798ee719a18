//! Row accounting: what was written between two readings of PostgreSQL's statistics views and of
//! the migration tables, and whether that accounts for the devices that changed.
//!
//! The views count a statement when it *ends*, before its commit can be seen in rows, and the table
//! counters of an idle connection come up to 10 s late. So a flow is accounted for from the reading
//! at the last quiet sample on (which covers the interval before that sample), and "nobody" is not
//! said before the counters had time to arrive.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use crate::{
    accounting::{DEVICE, Migration, OpenWriter, Reading, TableCounters, writes},
    diagnose::texts::{count, counted, hms, quoted},
    incident::Evidence,
    series::{Time, seconds},
};

/// Readings kept: an hour at the default interval. An older write cannot be told from ordinary
/// ones.
const READINGS_MAX: usize = 240;
/// Counters of an idle pooled connection arrive up to 10 s late (PostgreSQL's PGSTAT_MIN_INTERVAL
/// and the idle timeout above it), with a margin of half as much again.
const LATE_COUNTERS_S: i64 = 15;
/// Statement texts are quoted as evidence up to this length, in characters …
const STATEMENT_QUOTE_MAX: usize = 400;
/// … and up to this one in a summary, which a phone shows: the table and the column are in it.
const STATEMENT_IN_SUMMARY_MAX: usize = 120;
/// A statement that wrote fewer rows than devices changed still accounts for the flow if it can
/// have changed more than this share of them: owners go on with their own acts meanwhile, in other
/// statements.
const MAIN_WRITER_SHARE: f64 = 0.5;

/// The kind of evidence that an open transaction is.
pub const WRITER: &str = "writer";

/// What was written, reading by reading, as far back as it can matter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    entries: VecDeque<Entry>,
    /// Texts of the statements in `entries`.
    texts: BTreeMap<i64, String>,
    previous: Option<Previous>,
    /// Writers that were open at the latest reading.
    writers: Vec<OpenWriter>,
    /// Why the latest reading had no statements, where its reader knew.
    #[serde(default)]
    statements_lack: Option<String>,
}

/// The parts of a reading that the next one is compared with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Previous {
    device: Option<TableCounters>,
    migrations: Option<BTreeMap<String, Migration>>,
    executed: Option<BTreeSet<String>>,
    stats_reset: Option<String>,
}

/// What was written between two readings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Entry {
    /// The later reading.
    at: Time,
    /// `None`: the statements could not be read, or began to count again in between.
    statements: Option<Vec<Write>>,
    /// Rows of `device` written, from the table's counters.
    device_rows: Option<i64>,
    /// Those of them that were deleted.
    #[serde(default)]
    device_rows_deleted: Option<i64>,
    /// Migrations that ran; `None` where there is no such table.
    migrations: Option<Vec<Run>>,
    /// Where the write-ahead log was.
    wal_lsn: Option<String>,
}

impl Entry {
    fn running(&self) -> impl Iterator<Item = &str> {
        self.migrations.iter().flatten().map(|run| run.key.as_str())
    }
}

/// One statement's rows between two readings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Write {
    query_id: i64,
    role: String,
    rows: i64,
    calls: i64,
}

/// One migration's progress between two readings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Run {
    key: String,
    rows: i64,
    batches: i64,
    errors: i64,
    /// Found in `"executed migrations"`: it ran in the transaction of its rows.
    executed: bool,
}

/// What a statement writes that brings a flow about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written<'a> {
    /// A column of `device`, as the statement would name it.
    Column(&'a str),
    /// It takes rows of `device` out.
    Deletion,
    /// Rows of another table, which the ledger does not count.
    Elsewhere,
}

impl Written<'_> {
    /// Whether a statement's text says that it writes this.
    fn is_named_in(self, statement: &str) -> bool {
        match self {
            Written::Column(column) => statement.contains(column),
            Written::Deletion => writes::deletes(statement, DEVICE),
            Written::Elsewhere => false,
        }
    }

    /// What happened to a device, and what a statement did to its row.
    fn verbs(self) -> (&'static str, &'static str) {
        match self {
            Written::Deletion => ("were deleted", "deleted"),
            Written::Column(_) | Written::Elsewhere => ("changed", "wrote"),
        }
    }
}

/// Whose rows have to be accounted for.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// Devices that changed.
    pub devices: u64,
    /// What was written to change them.
    pub written: Written<'a>,
    /// The last sample at which nothing had changed yet.
    pub quiet_at: Time,
    /// The first sample of the new regime.
    pub onset: Time,
    /// The present.
    pub now: Time,
    /// Seconds between two samples.
    pub interval_s: f64,
}

/// The answer to a claim.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Account {
    /// Each fact in a sentence.
    pub evidence: Vec<Evidence>,
    /// Who wrote, as a clause for the summary: "role ops ran UPDATE … (150,002 rows)".
    pub by_whom: Option<String>,
    /// Whether a migration was running, as a clause; `None` where that cannot be known.
    pub migrations: Option<String>,
    /// One runs still, or was found running last.
    pub migration_runs: bool,
    /// The statement that would stop a writer that still runs, for a person to run.
    pub cancel: Option<String>,
}

impl Ledger {
    /// Takes a reading into the ledger.
    pub fn read(&mut self, at: Time, reading: &Reading) {
        let previous = self.previous.take().unwrap_or_default();
        let mut entry = Entry { at, wal_lsn: reading.wal_lsn.clone(), ..Entry::default() };
        if let Some(statements) = &reading.statements {
            let restarted =
                statements.stats_reset != previous.stats_reset && previous.stats_reset.is_some();
            entry.statements = (!restarted).then(Vec::new);
            for statement in &statements.counts {
                let rows = statement.rows - statement.rows_before;
                let calls = statement.calls - statement.calls_before;
                if rows <= 0 && calls <= 0 {
                    continue;
                }
                if let Some(text) = &statement.text {
                    self.texts.insert(statement.query_id, text.clone());
                }
                if let Some(writes) = &mut entry.statements {
                    let (query_id, role) = (statement.query_id, statement.role.clone());
                    writes.push(Write { query_id, role, rows, calls });
                }
            }
        }
        if let (Some(was), Some(is)) = (previous.device, reading.device) {
            // Counters that fall were reset: the interval is missing, not negative.
            let risen = |was: i64, is: i64| Some(is - was).filter(|rows| *rows >= 0);
            entry.device_rows = risen(was.written(), is.written());
            entry.device_rows_deleted = risen(was.deleted, is.deleted);
        }
        entry.migrations = runs(&previous, reading);
        self.entries.push_back(entry);
        while self.entries.len() > READINGS_MAX {
            self.entries.pop_front();
        }
        self.forget_texts();
        self.writers = reading.writers.clone();
        self.statements_lack = reading.statements_lack.clone();
        self.previous = Some(Previous {
            device: reading.device,
            migrations: reading.migrations.clone(),
            executed: reading.executed_migrations.clone(),
            stats_reset: reading.statements.as_ref().and_then(|all| all.stats_reset.clone()),
        });
    }

    /// The write-ahead-log position that was read with the sample at `at`.
    pub fn wal_lsn(&self, at: Time) -> Option<&str> {
        let entry = self.entries.iter().rev().find(|entry| entry.at == at)?;
        entry.wal_lsn.as_deref()
    }

    /// The migrations that were found to run in the reading at `at`, and in none before it that is
    /// kept: one that pauses between its batches does not begin with each.
    pub fn begun(&self, at: Time) -> Vec<&str> {
        let mut entries = self.entries.iter().rev();
        let Some(latest) = entries.next().filter(|latest| latest.at == at) else {
            return Vec::new();
        };
        let earlier: BTreeSet<&str> = entries.flat_map(Entry::running).collect();
        latest.running().filter(|key| !earlier.contains(key)).collect()
    }

    /// Accounts for devices that changed.
    pub fn account(&self, claim: Claim<'_>) -> Account {
        let mut account = Account::default();
        if self.entries.is_empty() {
            return account;
        }
        let window: Vec<&Entry> =
            self.entries.iter().filter(|entry| entry.at >= claim.quiet_at).collect();
        if claim.written == Written::Elsewhere {
            let unread = "the writer is not named: statements on application are not read";
            push(&mut account, "missing", unread.to_owned());
        } else {
            self.account_statements(claim, &window, &mut account);
            account_table(claim, &window, &mut account);
        }
        self.account_migrations(claim, &window, &mut account);
        self.account_writers(claim, &mut account);
        account
    }

    fn account_statements(&self, claim: Claim<'_>, window: &[&Entry], account: &mut Account) {
        if window.iter().all(|entry| entry.statements.is_none()) {
            let unknown = "pg_stat_statements could not be read (the source's notes say why)";
            let why = self.statements_lack.as_deref().unwrap_or(unknown);
            push(account, "missing", format!("the statements that wrote cannot be named: {why}"));
            return;
        }
        let mut by_statement: BTreeMap<(i64, &str), (i64, i64)> = BTreeMap::new();
        for write in window.iter().filter_map(|entry| entry.statements.as_ref()).flatten() {
            let sum = by_statement.entry((write.query_id, &write.role)).or_default();
            sum.0 += write.rows;
            sum.1 += write.calls;
        }
        let mut best: Option<((bool, i64), Found<'_>)> = None;
        for ((query_id, role), (rows, calls)) in by_statement {
            let text = self.texts.get(&query_id).map_or("", String::as_str);
            let is_named = claim.written.is_named_in(text);
            // A function's or a DO block's rows are not counted: its call is what there is.
            let opaque = rows == 0 && is_named;
            let accounts = rows >= claim.devices as i64;
            let mainly = is_named && rows as f64 > MAIN_WRITER_SHARE * claim.devices as f64;
            if !accounts && !mainly && !opaque {
                continue;
            }
            let rank = (is_named, rows);
            if best.as_ref().is_none_or(|(other, _)| rank > *other) {
                best = Some((rank, Found { role, text, rows, calls, is_named }));
            }
        }
        match best {
            Some((_, found)) => found.report(claim, account),
            None => push(account, "statement", nobody(claim)),
        }
    }

    fn account_migrations(&self, claim: Claim<'_>, window: &[&Entry], account: &mut Account) {
        if window.iter().all(|entry| entry.migrations.is_none()) {
            return;
        }
        let runs = sums(window.iter().copied());
        if runs.is_empty() {
            let text = match self.about_to_count(claim) {
                Some((key, at)) => {
                    let last = at.map_or_else(
                        || "is scheduled".to_owned(),
                        |at| format!("ran last at {} UTC", hms(at)),
                    );
                    account.migration_runs = true;
                    let text = format!("migration {key} {last} and has not stopped");
                    push(account, "migration", format!("{text}; it may lag with its count"));
                    text
                }
                None => {
                    let since = hms(claim.quiet_at);
                    let text = "no migration was running";
                    push(account, "migration", format!("{text} since {since} UTC"));
                    text.to_owned()
                }
            };
            account.migrations = Some(text);
            return;
        }
        let clauses = runs.values().map(|run| {
            if run.executed {
                return format!("migration {} was executed", run.key);
            }
            let rows = counted(run.rows.max(0) as u64, "row", "rows");
            let batches = counted(run.batches.max(0) as u64, "batch", "batches");
            format!("migration {} is running ({rows} in {batches} so far)", run.key)
        });
        account.migrations = Some(clauses.collect::<Vec<String>>().join(", "));
        account.migration_runs = !runs.values().all(|run| run.executed);
        for run in runs.values() {
            push(account, "migration", run.sentence(claim));
        }
    }

    /// A migration that ran before the window, has not gone to sleep, and may have written what it
    /// has not counted yet: it counts a batch after the batch has committed.
    fn about_to_count(&self, claim: Claim<'_>) -> Option<(&str, Option<Time>)> {
        if claim.now >= claim.onset + counters_delay_max(claim.interval_s) {
            return None;
        }
        let present = self.previous.as_ref()?.migrations.as_ref()?;
        let awake = |key: &str| present.get(key).is_some_and(|now| !now.is_backing_off);
        let ran = self.entries.iter().rev().find_map(|entry| {
            let mut runs = entry.migrations.iter().flatten();
            let run = runs.find(|run| !run.executed && awake(&run.key))?;
            Some((run.key.as_str(), Some(entry.at)))
        });
        // One that was scheduled before the first reading and has not gone to sleep may write its
        // first batch now.
        ran.or_else(|| present.keys().find(|key| awake(key)).map(|key| (key.as_str(), None)))
    }

    fn account_writers(&self, claim: Claim<'_>, account: &mut Account) {
        let writers = self.writers.iter();
        for writer in writers.filter(|one| claim.written.is_named_in(&one.statement)) {
            let mut who = vec![format!("pid {}", writer.pid)];
            if !writer.application_name.trim().is_empty() {
                who.insert(0, quoted(&writer.application_name, 60));
            }
            who.extend(writer.client.as_ref().map(|client| format!("from {client}")));
            let text = format!(
                "a transaction of role {} ({}) that writes to device is open for {:.0} s: {}",
                writer.role,
                who.join(", "),
                writer.transaction_age_s,
                quoted(&writer.statement, STATEMENT_QUOTE_MAX),
            );
            push(account, WRITER, text);
            account.cancel.get_or_insert(format!("SELECT pg_cancel_backend({})", writer.pid));
        }
    }

    fn forget_texts(&mut self) {
        let named = self.entries.iter().filter_map(|entry| entry.statements.as_ref()).flatten();
        let named: BTreeSet<i64> = named.map(|write| write.query_id).collect();
        self.texts.retain(|query_id, _| named.contains(query_id));
    }
}

/// The statement that accounts for a flow.
struct Found<'a> {
    role: &'a str,
    text: &'a str,
    rows: i64,
    calls: i64,
    /// Its text says that it writes what changed.
    is_named: bool,
}

impl Found<'_> {
    fn report(&self, claim: Claim<'_>, account: &mut Account) {
        let statement = quoted(self.text, STATEMENT_QUOTE_MAX);
        let calls =
            if self.calls == 1 { "1 call" } else { &format!("{} calls", count(self.calls)) };
        let surplus = self.rows - claim.devices as i64;
        let (happened, did) = claim.written.verbs();
        let comparison = match surplus {
            0 => "exactly as many".to_owned(),
            more if more > 0 => format!("{} more than {happened}", count(more)),
            _ if self.rows == 0 => "rows written inside a function are not counted".to_owned(),
            less => format!("it does not account for the other {}", count(-less)),
        };
        let constants =
            if self.text.contains("$1") { "; constants are shown as $1, $2, …" } else { "" };
        let certainty = match claim.written {
            _ if self.is_named => "",
            Written::Deletion => "; its text does not say that it deletes them",
            Written::Column(_) | Written::Elsewhere => "; its text does not name the column",
        };
        let did = if self.is_named { did } else { "wrote" };
        let text = format!(
            "{} devices {happened}; one statement of role {} {did} {} rows in {calls} since {} UTC \
             ({comparison}{certainty}{constants}): {statement}",
            count(claim.devices as i64),
            self.role,
            count(self.rows),
            hms(claim.quiet_at),
        );
        push(account, "statement", text);
        let statement = quoted(self.text, STATEMENT_IN_SUMMARY_MAX);
        // Without the column in its text it is a guess, and a guess accuses nobody.
        account.by_whom = self
            .is_named
            .then(|| format!("role {} ran {statement} ({} rows)", self.role, count(self.rows)));
    }
}

/// How long after a write its counters, and a migration's own count, may still be on their way.
pub fn counters_delay_max(interval_s: f64) -> TimeDelta {
    let patience_s = (LATE_COUNTERS_S as f64).max(2.0 * interval_s);
    seconds(patience_s)
}

fn nobody(claim: Claim<'_>) -> String {
    let arrived = claim.onset + counters_delay_max(claim.interval_s);
    let (happened, did) = claim.written.verbs();
    let devices = count(claim.devices as i64);
    if claim.now < arrived {
        return format!(
            "no statement accounts for the {devices} devices that {happened} yet; counters can \
             arrive late, this is known at {} UTC",
            hms(arrived),
        );
    }
    let causes = match claim.written {
        Written::Deletion => {
            "many small ones, one that pg_stat_statements has evicted, a TRUNCATE (which counts no \
             rows), or a deletion of applications that takes their devices along"
        }
        Written::Column(_) | Written::Elsewhere => {
            "many small ones, or one that pg_stat_statements has evicted"
        }
    };
    let since = hms(claim.quiet_at);
    format!("no single statement {did} {devices} rows of device since {since} UTC: {causes}")
}

fn account_table(claim: Claim<'_>, window: &[&Entry], account: &mut Account) {
    let deletes = claim.written == Written::Deletion;
    let rows = |entry: &&Entry| if deletes { entry.device_rows_deleted } else { entry.device_rows };
    let known: Vec<i64> = window.iter().filter_map(rows).collect();
    if known.is_empty() {
        return;
    }
    let (rows, since) = (known.iter().sum::<i64>(), hms(claim.quiet_at));
    let done = if deletes { "deleted" } else { "written" };
    let noun = if deletes { "deleted rows" } else { "rows" };
    let text = if rows < claim.devices as i64 {
        // Fewer rows than devices that changed: the writer's own are not among them yet.
        format!(
            "pg_stat_user_tables counts {} {noun} of device since {since} UTC so far: those of \
             the writer's connection arrive up to {LATE_COUNTERS_S} s late",
            count(rows),
        )
    } else {
        format!(
            "{} rows of device were {done} in all since {since} UTC (pg_stat_user_tables)",
            count(rows),
        )
    };
    push(account, "table", text);
}

fn sums<'a>(window: impl Iterator<Item = &'a Entry>) -> BTreeMap<&'a str, Run> {
    let mut runs: BTreeMap<&str, Run> = BTreeMap::new();
    for run in window.filter_map(|entry| entry.migrations.as_ref()).flatten() {
        let sum = runs.entry(&run.key).or_insert_with(|| Run {
            rows: 0,
            batches: 0,
            errors: 0,
            ..run.clone()
        });
        sum.rows += run.rows;
        sum.batches += run.batches;
        sum.errors += run.errors;
        sum.executed |= run.executed;
    }
    runs
}

impl Run {
    fn sentence(&self, claim: Claim<'_>) -> String {
        let since = hms(claim.quiet_at);
        if self.executed {
            return format!("migration {} was executed since {since} UTC", self.key);
        }
        format!(
            "migration {} is running: {} in {} since {since} UTC by its own count, {}",
            self.key,
            counted(self.rows.max(0) as u64, "row", "rows"),
            counted(self.batches.max(0) as u64, "batch", "batches"),
            counted(self.errors.max(0) as u64, "error", "errors"),
        )
    }
}

/// *Running* means that the counts rose or that the row is new; rows of old migrations stay for
/// ever.
fn runs(previous: &Previous, reading: &Reading) -> Option<Vec<Run>> {
    let mut runs = Vec::new();
    let was = previous.migrations.as_ref();
    if let (Some(was), Some(is)) = (was, &reading.migrations) {
        for (key, now) in is {
            let before = was.get(key).cloned().unwrap_or_default();
            let run = Run {
                key: key.clone(),
                rows: now.migrated_rows - before.migrated_rows,
                batches: now.run_count - before.run_count,
                errors: now.error_count - before.error_count,
                executed: false,
            };
            // A migration that backs off wakes up, finds nothing and goes back to sleep.
            let idle = now.is_backing_off && run.rows == 0 && run.errors == 0;
            if !was.contains_key(key) || (run.batches > 0 && !idle) || run.rows > 0 {
                runs.push(run);
            }
        }
    }
    if let (Some(was), Some(is)) = (&previous.executed, &reading.executed_migrations) {
        for key in is.difference(was) {
            runs.push(Run { key: key.clone(), rows: 0, batches: 0, errors: 0, executed: true });
        }
    }
    (reading.migrations.is_some() || reading.executed_migrations.is_some()).then_some(runs)
}

fn push(account: &mut Account, kind: &str, text: String) {
    account.evidence.push(Evidence { kind: kind.to_owned(), text });
}

#[cfg(test)]
mod tests;
