//! What survives a restart: samples, changes, incidents, change events and detector state, in one
//! SQLite file in WAL mode. Owns the schema and every query on it. Knows nothing of detection: it
//! keeps what it is given and gives it back to the bit.

mod batch;
mod events;
mod export;
mod history;
mod read;

use std::{
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use sqlx::{
    SqlitePool,
    migrate::{MigrateError, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

pub use batch::{Batch, Sample};
pub use export::Export;
pub use history::History;
pub use read::Stored;

use crate::{config::Secret, series::Time};

static MIGRATOR: Migrator = sqlx::migrate!("src/store/migrations");

/// Another process may hold the write lock for a moment (a backup, `sqlite3` by hand).
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Pages and API requests read at once; more wait for a connection.
const READERS_MAX: u32 = 4;

/// How long a request waits for a connection before it fails visibly.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// A reader that nobody needs gives its page cache back.
const READER_IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// The open store. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Store {
    path: PathBuf,
    /// One connection: SQLite has one writer, and a queue here is fairer than its busy timeout.
    writer: SqlitePool,
    reader: SqlitePool,
}

impl Store {
    /// Opens the store that `url` (`sqlite://PATH`) names, creates what is missing of its path, and
    /// brings its schema up to date.
    pub async fn open(url: &Secret) -> Result<Store> {
        let path = path_of(url)?;
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            tokio::fs::create_dir_all(parent).await.with_context(|| {
                format!(
                    "cannot create the store's directory {}: create it, or give another place \
                     under `store:`",
                    parent.display()
                )
            })?;
        }
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_with(
                options(&path).create_if_missing(true).journal_mode(SqliteJournalMode::Wal),
            )
            .await
            .map_err(|error| explain_open(&path, error))?;
        if let Err(error) = MIGRATOR.run(&writer).await {
            writer.close().await;
            return Err(explain_migration(&path, error));
        }
        let reader = readers(&path);
        Ok(Store { path, writer, reader })
    }

    /// Opens a store that another process may be writing, to read it: nothing is created or
    /// migrated.
    pub async fn open_to_read(url: &Secret) -> Result<Store> {
        let path = path_of(url)?;
        if !tokio::fs::try_exists(&path).await.unwrap_or(false) {
            bail!(
                "there is no store at {}: check `store:` in the configuration and the directory \
                 in which this command runs",
                path.display()
            );
        }
        let reader = readers(&path);
        let applied = sqlx::query_scalar::<_, i64>("SELECT max(version) FROM _sqlx_migrations")
            .fetch_one(&reader)
            .await
            .map_err(|error| explain_open(&path, error))?;
        let known = MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or(0);
        if applied != known {
            bail!(
                "the store {} has schema {applied} and this headwater reads {known}: use the \
                 version of headwater that runs on it",
                path.display()
            );
        }
        // Whatever is written to these connections fails: SQLite opened them read-only.
        Ok(Store { path, writer: reader.clone(), reader })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Deletes samples, changes, events and resolved incidents from before `before`. Works in small
    /// transactions, so that commits of the pipeline get their turn in between.
    pub async fn prune(&self, before: Time) -> Result<()> {
        let failed = || format!("cannot delete old rows of the store {}", self.path.display());
        self.prune_samples(before.timestamp_millis()).await.with_context(failed)?;
        for statement in [
            "DELETE FROM change WHERE detected_at_ms < $1",
            "DELETE FROM incident WHERE resolved_at_ms < $1",
            "DELETE FROM event WHERE at_ms < $1",
        ] {
            sqlx::query(statement)
                .bind(before.timestamp_millis())
                .execute(&self.writer)
                .await
                .with_context(failed)?;
        }
        Ok(())
    }

    async fn prune_samples(&self, before_ms: i64) -> sqlx::Result<()> {
        const STEP_MS: i64 = 24 * 60 * 60 * 1000;
        let signals = sqlx::query_scalar::<_, i64>("SELECT id FROM signal ORDER BY id")
            .fetch_all(&self.reader)
            .await?;
        for signal in signals {
            loop {
                let oldest = sqlx::query_scalar::<_, Option<i64>>(
                    "SELECT min(at_ms) FROM sample WHERE signal_id = $1",
                )
                .bind(signal)
                .fetch_one(&self.reader)
                .await?;
                let Some(oldest) = oldest.filter(|oldest| *oldest < before_ms) else { break };
                sqlx::query("DELETE FROM sample WHERE signal_id = $1 AND at_ms < $2")
                    .bind(signal)
                    .bind(before_ms.min(oldest.saturating_add(STEP_MS)))
                    .execute(&self.writer)
                    .await?;
            }
        }
        Ok(())
    }

    /// Closes every connection; the last one folds the WAL into the file.
    pub async fn close(&self) {
        self.reader.close().await;
        self.writer.close().await;
    }
}

fn path_of(url: &Secret) -> Result<PathBuf> {
    let text = url.expose();
    let Some(rest) = text.strip_prefix("sqlite:") else {
        bail!(
            "store: the URL is not one of SQLite: write sqlite://PATH, as in sqlite://headwater.db"
        );
    };
    let name = rest.trim_start_matches("//").split('?').next().unwrap_or_default();
    if name.is_empty() || name == ":memory:" || rest.contains("mode=memory") {
        bail!("store: the URL names no file: write sqlite://PATH, as in sqlite://headwater.db");
    }
    let parsed = SqliteConnectOptions::from_str(text)
        .map_err(|error| anyhow!("store: the URL cannot be read: {error}: write sqlite://PATH"))?;
    Ok(parsed.get_filename().to_owned())
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true)
        .synchronous(SqliteSynchronous::Normal)
}

fn readers(path: &Path) -> SqlitePool {
    SqlitePoolOptions::new()
        .max_connections(READERS_MAX)
        .idle_timeout(READER_IDLE_TIMEOUT)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_lazy_with(options(path).read_only(true))
}

/// SQLite's primary result codes that call for different remedies.
fn remedy(error: &sqlx::Error) -> &'static str {
    let code = error
        .as_database_error()
        .and_then(|database| database.code())
        .and_then(|code| code.parse::<u32>().ok())
        .map(|extended| extended & 0xff);
    match code {
        Some(5 | 6) => "another process holds it: stop the other headwater, or whatever locks it",
        Some(8) => "it is read-only: give this user the right to write the file and its directory",
        Some(11 | 26) => {
            "the file is damaged or no SQLite database: move it away and headwater begins anew, or \
             restore it from a backup"
        }
        Some(13) => "the disk is full: make room",
        Some(14) => "check that the directory exists and that this user may write in it",
        _ => "check the file and its directory",
    }
}

fn explain_open(path: &Path, error: sqlx::Error) -> anyhow::Error {
    let message = format!("cannot open the store {}: {}", path.display(), remedy(&error));
    anyhow::Error::new(error).context(message)
}

fn explain_migration(path: &Path, error: MigrateError) -> anyhow::Error {
    let path = path.display();
    let message = match &error {
        MigrateError::VersionMissing(version) | MigrateError::VersionTooNew(version, _) => format!(
            "the store {path} was written by a newer headwater (schema {version}): run that \
             version, or move the file away to begin anew"
        ),
        MigrateError::Execute(inner) | MigrateError::ExecuteMigration(inner, _) => {
            format!("cannot bring the store {path} up to date: {}", remedy(inner))
        }
        _ => format!(
            "cannot bring the store {path} up to date: restore the file from a backup, or move it \
             away to begin anew"
        ),
    };
    anyhow::Error::new(error).context(message)
}

#[cfg(test)]
mod tests;
