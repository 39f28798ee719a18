//! What a database's error means for a sample: its reason and its message, without secrets. Whether
//! to try again is decided by whoever asked.

use std::io;

use crate::observation::{Failure, FailureReason};

/// Longest message of a database that is passed on, in characters.
const SERVER_MESSAGE_CHARS_MAX: usize = 500;

/// The failure of `source` that `error` caused while `asked` was read.
pub(super) fn of_database(source: &str, asked: &str, error: &sqlx::Error) -> Failure {
    let reason = reason_of(error);
    let answer = describe(error);
    let remedy = remedy_of(reason);
    Failure { reason, message: format!("source \"{source}\": {asked}: {answer}; {remedy}") }
}

/// An attempt that took longer than `limit`, as an error of the driver.
pub(super) fn timed_out(asked: &str, limit: std::time::Duration) -> sqlx::Error {
    let message = format!("no answer to {asked} within {} ms", limit.as_millis());
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, message))
}

/// What an attempt comes to, if that takes no longer than `limit`; else `timed_out`.
pub(super) async fn within<Answer>(
    asked: &str,
    limit: std::time::Duration,
    attempt: impl Future<Output = Result<Answer, sqlx::Error>>,
) -> Result<Answer, sqlx::Error> {
    tokio::time::timeout(limit, attempt).await.unwrap_or_else(|_| Err(timed_out(asked, limit)))
}

/// The reason that `error` stands for.
pub(super) fn reason_of(error: &sqlx::Error) -> FailureReason {
    match error {
        sqlx::Error::Database(database) => match database.code() {
            Some(code) if is_sqlite(&**database) => reason_of_sqlite(&code, database.message()),
            Some(code) => reason_of_sqlstate(&code, database.message()),
            None => FailureReason::Query,
        },
        sqlx::Error::Io(error) if error.kind() == io::ErrorKind::TimedOut => FailureReason::Timeout,
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolClosed
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::WorkerCrashed => FailureReason::Connection,
        sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Decode(_)
        | sqlx::Error::ColumnIndexOutOfBounds { .. }
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::RowNotFound => FailureReason::Answer,
        _ => FailureReason::Query,
    }
}

/// What came back, in the server's own words.
pub(super) fn describe(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(database) => {
            let message: String =
                database.message().chars().take(SERVER_MESSAGE_CHARS_MAX).collect();
            let code = database.code().unwrap_or_default();
            format!("{message} ({code})")
        }
        other => other.to_string().chars().take(SERVER_MESSAGE_CHARS_MAX).collect(),
    }
}

fn is_sqlite(error: &dyn sqlx::error::DatabaseError) -> bool {
    error.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some()
}

/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>
fn reason_of_sqlstate(code: &str, message: &str) -> FailureReason {
    match code {
        "57014" => FailureReason::Timeout,
        "55P03" => FailureReason::Locked,
        // Also of a cancelled backend on a standby: "terminating connection due to conflict".
        "40001" | "40P01" => FailureReason::RecoveryConflict,
        _ if message.contains("conflict with recovery") => FailureReason::RecoveryConflict,
        "42501" | "28000" | "28P01" => FailureReason::Permission,
        "42P01" | "42703" | "3F000" => FailureReason::Schema,
        // Shutdown, crash, starting up, too many connections, idle-in-transaction timeout, no such
        // database, and everything of class 08.
        "57P01" | "57P02" | "57P03" | "57P05" | "53300" | "25P03" | "3D000" => {
            FailureReason::Connection
        }
        _ if code.starts_with("08") => FailureReason::Connection,
        _ => FailureReason::Query,
    }
}

/// <https://www.sqlite.org/rescode.html>; the low byte is the primary code.
fn reason_of_sqlite(code: &str, message: &str) -> FailureReason {
    match code.parse::<u32>().unwrap_or(1) & 0xff {
        5 | 6 => FailureReason::Locked,
        9 => FailureReason::Timeout,
        3 | 8 | 23 => FailureReason::Permission,
        10 | 14 => FailureReason::Connection,
        1 if message.starts_with("no such table") || message.starts_with("no such column") => {
            FailureReason::Schema
        }
        _ => FailureReason::Query,
    }
}

fn remedy_of(reason: FailureReason) -> &'static str {
    match reason {
        FailureReason::Connection => {
            "check that the server runs, accepts connections and is what the source's url names"
        }
        FailureReason::Permission => {
            "check the url's role and password, and give the role the grants in the README"
        }
        FailureReason::Timeout => {
            "the database is slower than usual: look at its load, or raise the interval"
        }
        FailureReason::Locked => {
            "another session holds a lock on the table: look for a schema change or a long \
             transaction in pg_stat_activity"
        }
        FailureReason::RecoveryConflict => {
            "the replica gave way to its replay: raise max_standby_streaming_delay or set \
             hot_standby_feedback"
        }
        FailureReason::Schema => {
            "check that the url names the right database and that the tables are on the role's \
             search_path"
        }
        FailureReason::Query | FailureReason::Answer | FailureReason::Overrun => {
            "check what the source's configuration asks for"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlstates_have_the_reason_that_an_operator_would_give() {
        let reason = |code| reason_of_sqlstate(code, "canceling statement");
        assert_eq!(reason("57014"), FailureReason::Timeout);
        assert_eq!(reason("55P03"), FailureReason::Locked);
        assert_eq!(reason("40001"), FailureReason::RecoveryConflict);
        assert_eq!(reason("42501"), FailureReason::Permission);
        assert_eq!(reason("28P01"), FailureReason::Permission);
        assert_eq!(reason("42703"), FailureReason::Schema);
        assert_eq!(reason("08006"), FailureReason::Connection);
        assert_eq!(reason("57P01"), FailureReason::Connection);
        assert_eq!(reason("22012"), FailureReason::Query);
        let conflict = "canceling statement due to conflict with recovery";
        assert_eq!(reason_of_sqlstate("57P01", conflict), FailureReason::RecoveryConflict);
    }

    #[test]
    fn sqlite_codes_are_read_by_their_low_byte() {
        assert_eq!(reason_of_sqlite("261", "database is locked"), FailureReason::Locked);
        assert_eq!(reason_of_sqlite("9", "interrupted"), FailureReason::Timeout);
        assert_eq!(reason_of_sqlite("1", "no such column: x"), FailureReason::Schema);
        assert_eq!(reason_of_sqlite("1", "near \"x\": syntax error"), FailureReason::Query);
        assert_eq!(reason_of_sqlite("14", "unable to open"), FailureReason::Connection);
    }

    #[test]
    fn a_time_limit_is_not_a_broken_connection() {
        let error = timed_out("connect", std::time::Duration::from_secs(2));
        assert_eq!(reason_of(&error), FailureReason::Timeout);
        let refused = sqlx::Error::Io(io::Error::from(io::ErrorKind::ConnectionRefused));
        assert_eq!(reason_of(&refused), FailureReason::Connection);
    }

    #[test]
    fn a_message_names_the_source_the_question_the_answer_and_a_remedy() {
        let error = sqlx::Error::Io(io::Error::from(io::ErrorKind::ConnectionRefused));
        let failure = of_database("fleet", "connect to db:5432", &error);
        for part in ["\"fleet\"", "db:5432", "connection refused", "check that the server runs"] {
            assert!(failure.message.contains(part), "{part} in {}", failure.message);
        }
    }
}
