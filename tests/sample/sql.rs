//! Queries of the operator's own: one number each, of whatever type, and nothing is missing
//! quietly.

use headwater::{
    config::{Secret, SourceKind},
    observation::FailureReason,
    sample::Source,
    values::Values,
};

use super::{SHORT_INTERVAL, assert_contains, at, failure, reading, source, sqlite};
use crate::servers::postgres::Postgres;

fn sql(url: &str, signals: &[(&str, &str)]) -> Source {
    let signals = signals.iter().map(|(name, query)| ((*name).to_owned(), (*query).to_owned()));
    let kind = SourceKind::Sql { url: Secret::new(url), signals: signals.collect() };
    source(kind, SHORT_INTERVAL)
}

fn values(expected: &[(&str, f64)]) -> Values {
    expected.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
}

#[tokio::test]
async fn postgresql_gives_numbers_of_every_type() {
    let Some(server) = Postgres::start(&[]) else { return };
    let url = server.url("postgres", "postgres");
    let mut source = sql(
        &url,
        &[
            ("boolean", "SELECT true"),
            ("count", "SELECT count(*) FROM generate_series(1, 7)"),
            ("float", "SELECT 0.5::float4"),
            ("negative", "WITH one AS (SELECT -3::smallint AS n) SELECT n FROM one;"),
            ("none", "SELECT 1 WHERE false"),
            ("not_a_number", "SELECT 'NaN'::numeric"),
            ("null", "SELECT NULL::integer"),
            ("numeric", "SELECT 12345678901234567890.25"),
        ],
    );
    let mut read = reading(source.sample(at(0)).await);
    assert!(read.notes.is_empty(), "{:?}", read.notes);
    let none = read.values.remove("not_a_number").expect("for the pipeline to count");
    assert!(none.is_nan());
    let expected = values(&[
        ("boolean", 1.0),
        ("count", 7.0),
        ("float", 0.5),
        ("negative", -3.0),
        ("numeric", 12_345_678_901_234_567_890.25),
    ]);
    assert_eq!(read.values, expected);

    let mut source = sql(
        &url,
        &[
            ("columns", "SELECT 1, 2"),
            ("forbidden", "CREATE TABLE mine (id integer)"),
            ("good", "SELECT 1"),
            ("rows", "SELECT 1 UNION ALL SELECT 2"),
            ("slow", "SELECT count(pg_sleep(60))"),
            ("text", "SELECT 'twelve'"),
            ("unknown", "SELECT nothing FROM nowhere"),
        ],
    );
    let read = reading(source.sample(at(0)).await);
    assert_eq!(read.values, values(&[("good", 1.0)]));
    let notes = read.notes.join("\n");
    for part in [
        "query of columns at 127.0.0.1",
        "has 2 columns",
        "read-only transaction",
        "more than one row",
        "statement timeout",
        "of type TEXT",
        "\"nowhere\" does not exist",
    ] {
        assert_contains(&notes, part);
    }
    assert_eq!(read.notes.len(), 6);
}

#[tokio::test]
async fn sqlite_gives_numbers_and_is_not_kept_busy_for_ever() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("billing.db");
    sqlite(
        &path,
        "CREATE TABLE invoice (paid boolean, sum real); INSERT INTO invoice VALUES (1, 2.5)",
    )
    .await;
    let url = format!("sqlite://{}", path.display());
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) \
                   SELECT count(*) FROM n";
    let mut source = sql(
        &url,
        &[
            ("boolean", "SELECT paid FROM invoice"),
            ("count", "SELECT count(*) FROM invoice"),
            ("null", "SELECT NULL"),
            ("sum", "SELECT sum(sum) FROM invoice"),
            ("text", "SELECT 'twelve'"),
            ("written", "DELETE FROM invoice"),
        ],
    );
    let read = reading(source.sample(at(0)).await);
    assert_eq!(read.values, values(&[("boolean", 1.0), ("count", 1.0), ("sum", 2.5)]));
    assert_eq!(read.notes.len(), 2, "{:?}", read.notes);
    assert_contains(&read.notes[1], "readonly");

    let endless = failure(sql(&url, &[("endless", endless)]).sample(at(0)).await);
    assert_eq!(endless.reason, FailureReason::Timeout);
}
