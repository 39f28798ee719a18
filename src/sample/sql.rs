//! Any SQL database: each signal is a query that gives one number. Read-only, with the same limits
//! as the fleet's; the queries themselves are the operator's.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::Result;
use futures_util::TryStreamExt;
use sqlx::{
    AssertSqlSafe, Column, Row, TypeInfo, ValueRef,
    postgres::{PgConnection, PgRow},
    sqlite::{SqliteConnection, SqliteRow},
};

use super::{
    combine,
    database::{self, Isolation, Limits, Postgres, Sqlite},
    failure,
    pace::Pace,
};
use crate::{
    config::Secret,
    observation::{Failure, FailureReason, Reading},
};

/// A database and what is asked of it.
#[derive(Debug)]
pub(super) struct Sql {
    name: String,
    server: Server,
    signals: BTreeMap<String, String>,
    pace: Pace,
}

#[derive(Debug)]
enum Server {
    Postgres(Postgres),
    Sqlite(Sqlite),
}

/// A query's answer that is no number: the driver's error, or what is wrong with it.
enum NoNumber {
    Error(sqlx::Error),
    Answer(String),
}

impl From<sqlx::Error> for NoNumber {
    fn from(error: sqlx::Error) -> NoNumber {
        NoNumber::Error(error)
    }
}

impl Sql {
    /// Reads the URL; connects to nothing.
    pub(super) fn new(
        name: &str,
        url: &Secret,
        signals: BTreeMap<String, String>,
        interval: Duration,
    ) -> Result<Sql> {
        let server = if database::is_sqlite(url) {
            Server::Sqlite(Sqlite::new(url)?)
        } else {
            Server::Postgres(Postgres::new(url)?)
        };
        Ok(Sql { name: name.to_owned(), server, signals, pace: Pace::new(interval) })
    }

    /// Asks every query, each in a transaction of its own, until the time for the sample is over.
    pub(super) async fn sample(&mut self) -> Result<Reading, Failure> {
        let started = Instant::now();
        let limits = self.pace.limits();
        let whole = limits.connect + limits.statement;
        let place = match &self.server {
            Server::Postgres(server) => server.place(),
            Server::Sqlite(file) => file.place(),
        };
        let mut answers = Vec::with_capacity(self.signals.len());
        let mut is_unreachable = false;
        for (signal, query) in &self.signals {
            let asked = format!("query of {signal} at {place}");
            let left = whole.saturating_sub(started.elapsed());
            let ask = ask(&mut self.server, query, &limits);
            let answer = match tokio::time::timeout(left, ask).await {
                Ok(answer) => answer,
                Err(_) => Err(NoNumber::Error(failure::timed_out("the queries", whole))),
            };
            let answer = answer.map_err(|error| failure_of(&self.name, &asked, error));
            is_unreachable =
                answer.as_ref().is_err_and(|error| error.reason == FailureReason::Connection);
            answers.push((signal.clone(), answer));
            if is_unreachable {
                // The other queries would only find the same closed door.
                break;
            }
        }
        if !is_unreachable {
            self.pace.learn(started.elapsed());
        }
        combine(answers)
    }

    /// Says goodbye to the server.
    pub(super) async fn close(&mut self) {
        match &mut self.server {
            Server::Postgres(server) => server.close().await,
            Server::Sqlite(file) => file.close().await,
        }
    }
}

fn failure_of(source: &str, asked: &str, error: NoNumber) -> Failure {
    match error {
        NoNumber::Error(error) => failure::of_database(source, asked, &error),
        NoNumber::Answer(problem) => {
            let message = format!(
                "source \"{source}\": {asked}: {problem}; write a query that gives one number"
            );
            Failure { reason: FailureReason::Answer, message }
        }
    }
}

async fn ask(server: &mut Server, query: &str, limits: &Limits) -> Result<Option<f64>, NoNumber> {
    match server {
        Server::Postgres(server) => {
            let mut connection = server.begin(Isolation::Snapshot, limits).await?;
            let answer = ask_postgres(&mut connection, query).await;
            match &answer {
                Ok(_) => server.commit(connection).await?,
                Err(_) => server.rollback(connection).await,
            }
            answer
        }
        Server::Sqlite(file) => {
            let mut connection = file.begin(limits).await?;
            let answer = ask_sqlite(&mut connection, query).await?;
            file.commit(connection).await?;
            Ok(answer)
        }
    }
}

/// By the simple protocol, whose answers are text: every numeric type then reads alike, `numeric`
/// of any precision included.
async fn ask_postgres(connection: &mut PgConnection, query: &str) -> Result<Option<f64>, NoNumber> {
    let mut rows = sqlx::raw_sql(AssertSqlSafe(query)).fetch(connection);
    let mut number = None;
    let mut count = 0;
    while let Some(row) = rows.try_next().await? {
        only_one(row.len(), &mut count)?;
        number = postgres_number(&row)?;
    }
    Ok(number)
}

async fn ask_sqlite(
    connection: &mut SqliteConnection,
    query: &str,
) -> Result<Option<f64>, NoNumber> {
    let mut rows = sqlx::query(AssertSqlSafe(query)).fetch(connection);
    let mut number = None;
    let mut count = 0;
    while let Some(row) = rows.try_next().await? {
        only_one(row.len(), &mut count)?;
        number = sqlite_number(&row)?;
    }
    Ok(number)
}

/// One row of one column; no row is a missing value.
fn only_one(columns: usize, rows: &mut u32) -> Result<(), NoNumber> {
    *rows += 1;
    if columns != 1 {
        return Err(NoNumber::Answer(format!("the answer has {columns} columns")));
    }
    if *rows > 1 {
        return Err(NoNumber::Answer("the answer has more than one row".to_owned()));
    }
    Ok(())
}

fn postgres_number(row: &PgRow) -> Result<Option<f64>, NoNumber> {
    let value = row.try_get_raw(0)?;
    if value.is_null() {
        return Ok(None);
    }
    let column = row.column(0);
    let type_name = column.type_info().name().to_owned();
    let text = value.as_str().map_err(sqlx::Error::Decode)?;
    match type_name.as_str() {
        "BOOL" => Ok(Some(if text == "t" { 1.0 } else { 0.0 })),
        "INT2" | "INT4" | "INT8" | "FLOAT4" | "FLOAT8" | "NUMERIC" | "OID" => text
            .parse()
            .map(Some)
            .map_err(|_| NoNumber::Answer(format!("the answer {text} is not a number"))),
        _ => Err(NoNumber::Answer(format!("the answer is of type {type_name}, not a number"))),
    }
}

fn sqlite_number(row: &SqliteRow) -> Result<Option<f64>, NoNumber> {
    let value = row.try_get_raw(0)?;
    if value.is_null() {
        return Ok(None);
    }
    let type_name = value.type_info().name().to_owned();
    match type_name.as_str() {
        "BOOLEAN" | "INTEGER" | "INT4" | "INT8" | "BIGINT" => {
            Ok(Some(row.try_get_unchecked::<i64, _>(0)? as f64))
        }
        "REAL" | "NUMERIC" => Ok(Some(row.try_get_unchecked::<f64, _>(0)?)),
        _ => Err(NoNumber::Answer(format!("the answer is of type {type_name}, not a number"))),
    }
}
