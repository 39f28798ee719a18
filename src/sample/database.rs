//! The connections to databases that are watched: opened late, kept while healthy, always inside a
//! read-only transaction with limits. Knows no table and no query.
//!
//! A connection is taken out while a sample uses it and put back only when its transaction has
//! ended well, so that a sample that fails or is cut off in the middle never leaves a connection in
//! doubt.

use std::{
    str::FromStr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection,
    postgres::{PgConnectOptions, PgConnection},
    sqlite::{SqliteConnectOptions, SqliteConnection},
};

use super::failure;
use crate::{config::Secret, observation::FailureReason};

/// What the watched database shows as our name in `pg_stat_activity`.
pub const APPLICATION_NAME: &str = "headwater";

/// A transaction of ours that nobody continues (the daemon froze) ends after this.
const IDLE_IN_TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);

/// SQLite asks whether to go on after so many steps of its virtual machine: some 100 µs.
const SQLITE_STEPS_BETWEEN_CHECKS: i32 = 10_000;

/// The limits of one transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// For a connection to be opened.
    pub(super) connect: Duration,
    /// For one statement; on SQLite for the transaction.
    pub(super) statement: Duration,
    /// For a lock.
    pub(super) lock: Duration,
}

/// What a transaction sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Isolation {
    /// One instant, for numbers that must agree with each other.
    Snapshot,
    /// Each statement its own present, for statistics views, which are not transactional anyway.
    Present,
}

/// A PostgreSQL server and at most one connection to it.
#[derive(Debug)]
pub(super) struct Postgres {
    options: PgConnectOptions,
    idle: Option<PgConnection>,
}

impl Postgres {
    /// Reads `url`; connects to nothing.
    pub(super) fn new(url: &Secret) -> Result<Postgres> {
        // The parser's error is left out of the message where it could quote the URL.
        let Ok(options) = PgConnectOptions::from_str(url.expose()) else {
            bail!("the url is not understood: write postgres://ROLE:PASSWORD@HOST:PORT/DATABASE");
        };
        let options = options.application_name(APPLICATION_NAME).disable_statement_logging();
        Ok(Postgres { options, idle: None })
    }

    /// Host, port and database, for messages.
    pub(super) fn place(&self) -> String {
        let database = self.options.get_database().unwrap_or(self.options.get_username());
        match self.options.get_socket() {
            Some(socket) => format!("{}/{database}", socket.display()),
            None => {
                format!("{}:{}/{database}", self.options.get_host(), self.options.get_port())
            }
        }
    }

    /// A connection inside a fresh read-only transaction. A kept connection that turns out to be
    /// dead (the server was restarted since the last sample) is replaced by a new one, once.
    pub(super) async fn begin(
        &mut self,
        isolation: Isolation,
        limits: &Limits,
    ) -> Result<PgConnection, sqlx::Error> {
        let begin = begin_sql(isolation, limits);
        if let Some(mut connection) = self.idle.take() {
            match sqlx::raw_sql(AssertSqlSafe(begin.as_str())).execute(&mut connection).await {
                Ok(_) => return Ok(connection),
                Err(error) if failure::reason_of(&error) == FailureReason::Connection => {}
                Err(error) => return Err(error),
            }
        }
        let connect = PgConnection::connect_with(&self.options);
        let mut connection = failure::within("connect", limits.connect, connect).await?;
        sqlx::raw_sql(AssertSqlSafe(begin)).execute(&mut connection).await?;
        Ok(connection)
    }

    /// Ends the transaction and keeps the connection.
    pub(super) async fn commit(&mut self, mut connection: PgConnection) -> Result<(), sqlx::Error> {
        sqlx::raw_sql("COMMIT").execute(&mut connection).await?;
        self.idle = Some(connection);
        Ok(())
    }

    /// Gives up the transaction after an error; keeps the connection if it is still good.
    pub(super) async fn rollback(&mut self, mut connection: PgConnection) {
        if sqlx::raw_sql("ROLLBACK").execute(&mut connection).await.is_ok() {
            self.idle = Some(connection);
        }
    }

    /// Says goodbye to the server.
    pub(super) async fn close(&mut self) {
        if let Some(connection) = self.idle.take() {
            // Nothing depends on the server's having heard it.
            let _ = connection.close().await;
        }
    }
}

/// The transaction's limits travel with its start: one round trip, and nothing is left behind in a
/// session that a connection pooler may lend to others. No parallel workers and no JIT: a sampler
/// takes one core at most, and compiling costs more than its query.
fn begin_sql(isolation: Isolation, limits: &Limits) -> String {
    let level = match isolation {
        Isolation::Snapshot => "REPEATABLE READ",
        Isolation::Present => "READ COMMITTED",
    };
    // 0 would mean no limit at all.
    let statement_ms = limits.statement.as_millis().max(1);
    let lock_ms = limits.lock.as_millis().max(1);
    let idle_ms = IDLE_IN_TRANSACTION_TIMEOUT.as_millis();
    format!(
        "BEGIN ISOLATION LEVEL {level} READ ONLY; \
         SET LOCAL statement_timeout = {statement_ms}; \
         SET LOCAL lock_timeout = {lock_ms}; \
         SET LOCAL idle_in_transaction_session_timeout = {idle_ms}; \
         SET LOCAL max_parallel_workers_per_gather = 0; \
         SET LOCAL jit = off"
    )
}

/// An SQLite file and at most one connection to it.
#[derive(Debug)]
pub(super) struct Sqlite {
    options: SqliteConnectOptions,
    idle: Option<SqliteConnection>,
}

impl Sqlite {
    /// Reads `url`; opens nothing.
    pub(super) fn new(url: &Secret) -> Result<Sqlite> {
        let options = SqliteConnectOptions::from_str(url.expose())
            .context("the url is not understood: write sqlite://PATH")?;
        let options = options.read_only(true).create_if_missing(false).disable_statement_logging();
        Ok(Sqlite { options, idle: None })
    }

    /// The file, for messages.
    pub(super) fn place(&self) -> String {
        self.options.get_filename().display().to_string()
    }

    /// A connection inside a read transaction, which sees one instant from its first statement on.
    pub(super) async fn begin(&mut self, limits: &Limits) -> Result<SqliteConnection, sqlx::Error> {
        let mut connection = match self.idle.take() {
            Some(connection) => connection,
            None => {
                let options = self.options.clone().busy_timeout(limits.lock);
                let connect = SqliteConnection::connect_with(&options);
                failure::within("open", limits.connect, connect).await?
            }
        };
        let deadline = Instant::now() + limits.statement;
        let mut handle = connection.lock_handle().await?;
        handle.set_progress_handler(SQLITE_STEPS_BETWEEN_CHECKS, move || Instant::now() < deadline);
        drop(handle);
        sqlx::raw_sql("BEGIN").execute(&mut connection).await?;
        Ok(connection)
    }

    /// Ends the transaction and keeps the connection.
    pub(super) async fn commit(
        &mut self,
        mut connection: SqliteConnection,
    ) -> Result<(), sqlx::Error> {
        // The limit was for the reading; ending always ends.
        connection.lock_handle().await?.remove_progress_handler();
        sqlx::raw_sql("COMMIT").execute(&mut connection).await?;
        self.idle = Some(connection);
        Ok(())
    }

    /// Closes the file.
    pub(super) async fn close(&mut self) {
        if let Some(connection) = self.idle.take() {
            // It was opened for reading: nothing can be lost.
            let _ = connection.close().await;
        }
    }
}

/// Whether `url` names an SQLite file.
pub(super) fn is_sqlite(url: &Secret) -> bool {
    url.expose().starts_with("sqlite:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_carries_its_limits() {
        let limits = Limits {
            connect: Duration::from_secs(1),
            statement: Duration::from_millis(1500),
            lock: Duration::ZERO,
        };
        let sql = begin_sql(Isolation::Snapshot, &limits);
        assert!(sql.starts_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;"));
        assert!(sql.contains("statement_timeout = 1500"));
        assert!(sql.contains("lock_timeout = 1;"), "0 would be unlimited: {sql}");
    }

    #[test]
    fn a_bad_url_is_refused_without_being_repeated() {
        let url = Secret::new("postgres://headwater:hunter2@host:notaport/db");
        let error = format!("{:#}", Postgres::new(&url).unwrap_err());
        assert!(error.contains("postgres://ROLE"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn a_place_names_host_and_database_but_no_password() {
        let url = Secret::new("postgres://headwater:hunter2@db.example:5433/fleet");
        assert_eq!(Postgres::new(&url).unwrap().place(), "db.example:5433/fleet");
    }
}
