//! Row accounting: what PostgreSQL's statistics views and the platform's migration tables (on
//! either database) said at a sample, and what a statement's text says of the rows that it writes
//! (`writes`). The arithmetic between two readings is in `diagnose`; the SQL is in `sample`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub mod writes;

/// The table whose rows are accounted for: devices, as open-balena-api names it.
pub const DEVICE: &str = "device";

/// One reading of everything that counts written rows. A part that could not be read is `None`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// `pg_stat_statements`: every statement that writes rows, by identity.
    pub statements: Option<Statements>,
    /// Why `statements` is `None`, as a clause for people, where more can be said than that it
    /// failed.
    #[serde(default)]
    pub statements_lack: Option<String>,
    /// `pg_stat_user_tables` of `device`.
    pub device: Option<TableCounters>,
    /// `"migration status"`: asynchronous migrations, by key.
    pub migrations: Option<BTreeMap<String, Migration>>,
    /// `"migration"."executed migrations"`: synchronous ones, `model/key`.
    pub executed_migrations: Option<BTreeSet<String>>,
    /// `pg_current_wal_lsn()`, or the replayed position on a replica.
    pub wal_lsn: Option<String>,
    /// Open transactions of other sessions that hold a row lock on `device` or write to it now.
    pub writers: Vec<OpenWriter>,
}

/// Cumulative counts of `pg_stat_statements`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Statements {
    /// Rows so far and calls so far of the statements that write to `device`, or may (functions,
    /// `DO`), and that ran since the daemon's start.
    pub counts: Vec<Statement>,
    /// `pg_stat_statements_info.stats_reset` as text: a change means that counts began again.
    pub stats_reset: Option<String>,
    /// `pg_stat_statements_info.dealloc`: a rise means that entries were evicted.
    pub evictions: Option<i64>,
}

/// One entry of `pg_stat_statements`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Statement {
    /// `queryid`, with role and nesting the identity of the entry.
    pub query_id: i64,
    /// The role that ran it.
    pub role: String,
    /// Not nested in a function.
    pub top_level: bool,
    /// Rows so far.
    pub rows: i64,
    /// Calls so far.
    pub calls: i64,
    /// `rows` at the previous reading, 0 if the entry is newer: what a flow since then may account
    /// to this entry is the difference, also when earlier readings did not carry it.
    pub rows_before: i64,
    /// `calls` at the previous reading.
    pub calls_before: i64,
    /// The normalised text, when it writes to `device` (or may, as a function or `DO` may).
    pub text: Option<String>,
}

/// Rows of one table written so far, by everybody, rolled-back ones included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableCounters {
    /// `n_tup_ins`.
    pub inserted: i64,
    /// `n_tup_upd`.
    pub updated: i64,
    /// `n_tup_del`.
    pub deleted: i64,
}

impl TableCounters {
    /// All rows written.
    pub fn written(&self) -> i64 {
        self.inserted + self.updated + self.deleted
    }
}

/// A row of `"migration status"`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Migration {
    /// Batches run.
    pub run_count: i64,
    /// Rows migrated, by its own count.
    pub migrated_rows: i64,
    /// Batches that failed.
    pub error_count: i64,
    /// It found nothing to do, or failed too often, and runs at a slower pace.
    pub is_backing_off: bool,
    /// When it was first scheduled, as the database prints it.
    pub start_time: Option<String>,
    /// When it last ran, as the database prints it.
    pub last_run_time: Option<String>,
}

/// Another session with an open transaction that writes to `device`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OpenWriter {
    /// Its process id, as `pg_cancel_backend` takes it.
    pub pid: i32,
    /// Its role.
    pub role: String,
    /// What it calls itself.
    pub application_name: String,
    /// Its address, if it came by TCP.
    pub client: Option<String>,
    /// The statement that runs, or ran last.
    pub statement: String,
    /// Age of its transaction at the sample, in seconds.
    pub transaction_age_s: f64,
}
