//! Writing: everything that one turn of the pipeline brought about, in one transaction, so that
//! detector state, samples and incidents are never of different instants after a crash.

use anyhow::{Context, Result};
use sqlx::{Connection, Sqlite, Transaction};

use super::{Store, events::insert_events, remedy};
use crate::{
    change_event::ChangeEvent,
    incident::{Change, Incident},
    pipeline::State,
    report,
    series::Time,
    values::Values,
};

/// Samples that a batch keeps while the store cannot be written: about ten minutes of six sources
/// at 15 s, and in any case bounded memory.
const SAMPLES_MAX: usize = 240;

/// Changes that a batch keeps while the store cannot be written.
const CHANGES_MAX: usize = 10_000;

/// Change events that a batch keeps meanwhile.
const EVENTS_MAX: usize = 1_000;

/// What to write. Kept by its owner until `commit` has succeeded, and absorbed into the next one if
/// it has not.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Recorded values, oldest first.
    pub samples: Vec<Sample>,
    /// Detected changes.
    pub changes: Vec<Change>,
    /// Incidents as they now are.
    pub incidents: Vec<Incident>,
    /// Change events that are new.
    pub events: Vec<ChangeEvent>,
}

/// The present values of one source at one instant.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The instant of the sample.
    pub at: Time,
    /// The source's name.
    pub source: String,
    /// By signal. What is not finite is not stored: it is missing.
    pub values: Values,
}

impl Batch {
    /// Nothing to write.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
            && self.changes.is_empty()
            && self.incidents.is_empty()
            && self.events.is_empty()
    }

    /// Takes in what came later. Of an incident in both, the later stands. Returns how many of the
    /// oldest samples, changes and events had to be dropped to stay within bounds; incidents are
    /// never dropped.
    pub fn absorb(&mut self, later: Batch) -> usize {
        self.samples.extend(later.samples);
        self.changes.extend(later.changes);
        for incident in later.incidents {
            match self.incidents.iter_mut().find(|earlier| earlier.id == incident.id) {
                Some(earlier) => *earlier = incident,
                None => self.incidents.push(incident),
            }
        }
        self.events.extend(later.events);
        drop_oldest(&mut self.samples, SAMPLES_MAX)
            + drop_oldest(&mut self.changes, CHANGES_MAX)
            + drop_oldest(&mut self.events, EVENTS_MAX)
    }
}

fn drop_oldest<T>(list: &mut Vec<T>, length_max: usize) -> usize {
    let surplus = list.len().saturating_sub(length_max);
    list.drain(..surplus);
    surplus
}

impl Store {
    /// Writes the batch, and the detector state that goes with it, in one transaction. After an
    /// error nothing of it is stored, and the same batch can be committed again.
    pub async fn commit(&self, batch: &Batch, state: Option<&State>) -> Result<()> {
        // Serialised before the transaction begins: the write lock is held for the writes only.
        let incidents = batch.incidents.iter().map(serde_json::to_string);
        let incidents: Vec<String> =
            incidents.collect::<Result<_, _>>().context("cannot serialise an incident")?;
        let changes = batch.changes.iter().map(serde_json::to_string);
        let changes: Vec<String> =
            changes.collect::<Result<_, _>>().context("cannot serialise a change")?;
        let events = batch.events.iter().map(serde_json::to_string);
        let events: Vec<String> =
            events.collect::<Result<_, _>>().context("cannot serialise a change event")?;
        let state_body = state.map(serde_json::to_string).transpose();
        let state_body = state_body.context("cannot serialise the detector state")?;
        debug_assert!(
            state_body.as_ref().is_none_or(|body| serde_json::from_str::<State>(body).is_ok()),
            "the pipeline's state must come back from JSON: is a number in it not finite?"
        );

        let bodies = Bodies { incidents, changes, events, state: state_body };
        self.write(batch, state.map_or(0, |state| state.version), &bodies).await.map_err(|error| {
            let path = self.path.display();
            let message = format!("cannot write to the store {path}: {}", remedy(&error));
            anyhow::Error::new(error).context(message)
        })
    }

    async fn write(&self, batch: &Batch, version: u32, bodies: &Bodies) -> sqlx::Result<()> {
        let mut connection = self.writer.acquire().await?;
        let written = async {
            let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
            insert_samples(&mut transaction, &batch.samples).await?;
            insert_changes(&mut transaction, &batch.changes, &bodies.changes).await?;
            upsert_incidents(&mut transaction, &batch.incidents, &bodies.incidents).await?;
            insert_events(&mut transaction, &batch.events, &bodies.events).await?;
            if let Some(body) = &bodies.state {
                upsert_state(&mut transaction, version, body).await?;
            }
            transaction.commit().await
        };
        let written = written.await;
        if written.is_err() {
            // On some errors (a full disk) SQLite ends the transaction itself, and the connection
            // then refuses every further one. A new connection costs less than to tell these apart.
            connection.close_on_drop();
        }
        written
    }
}

/// What is written, as text.
struct Bodies {
    incidents: Vec<String>,
    changes: Vec<String>,
    events: Vec<String>,
    state: Option<String>,
}

async fn insert_samples(
    transaction: &mut Transaction<'_, Sqlite>,
    samples: &[Sample],
) -> sqlx::Result<()> {
    for sample in samples {
        for (signal, value) in sample.values.iter().filter(|(_, value)| value.is_finite()) {
            let inserted = insert_value(transaction, sample.at, signal, *value).await?;
            if !inserted {
                sqlx::query("INSERT INTO signal (name, source) VALUES ($1, $2)")
                    .bind(&**signal)
                    .bind(&sample.source)
                    .execute(&mut **transaction)
                    .await?;
                let inserted = insert_value(transaction, sample.at, signal, *value).await?;
                assert!(inserted, "the signal {signal} has just got its row");
            }
        }
    }
    Ok(())
}

/// A value that is there already is replaced: a repeated commit must not fail. False if the signal
/// has no row yet.
async fn insert_value(
    transaction: &mut Transaction<'_, Sqlite>,
    at: Time,
    signal: &str,
    value: f64,
) -> sqlx::Result<bool> {
    let result = sqlx::query(
        "INSERT INTO sample (signal_id, at_ms, value)
         SELECT id, $2, $3 FROM signal WHERE name = $1
         ON CONFLICT (signal_id, at_ms) DO UPDATE SET value = excluded.value",
    )
    .bind(signal)
    .bind(at.timestamp_millis())
    .bind(value)
    .execute(&mut **transaction)
    .await?;
    Ok(result.rows_affected() > 0)
}

async fn insert_changes(
    transaction: &mut Transaction<'_, Sqlite>,
    changes: &[Change],
    bodies: &[String],
) -> sqlx::Result<()> {
    for (change, body) in changes.iter().zip(bodies) {
        sqlx::query("INSERT INTO change (detected_at_ms, signal, body) VALUES ($1, $2, $3)")
            .bind(change.detected_at.timestamp_millis())
            .bind(&change.signal)
            .bind(body)
            .execute(&mut **transaction)
            .await?;
    }
    Ok(())
}

async fn upsert_incidents(
    transaction: &mut Transaction<'_, Sqlite>,
    incidents: &[Incident],
    bodies: &[String],
) -> sqlx::Result<()> {
    for (incident, body) in incidents.iter().zip(bodies) {
        let current = report::current_cause(incident);
        sqlx::query(
            "INSERT INTO incident (id, opened_at_ms, resolved_at_ms, severity, cause, body)
             VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (id) DO UPDATE SET
                opened_at_ms = excluded.opened_at_ms, resolved_at_ms = excluded.resolved_at_ms,
                severity = excluded.severity, cause = excluded.cause, body = excluded.body",
        )
        .bind(&incident.id)
        .bind(incident.first().detected_at.timestamp_millis())
        .bind(incident.resolved_at.map(|at| at.timestamp_millis()))
        .bind(current.severity.label())
        .bind(current.cause.id())
        .bind(body)
        .execute(&mut **transaction)
        .await?;
    }
    Ok(())
}

async fn upsert_state(
    transaction: &mut Transaction<'_, Sqlite>,
    version: u32,
    body: &str,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO state (id, version, body) VALUES (1, $1, $2)
         ON CONFLICT (id) DO UPDATE SET version = excluded.version, body = excluded.body",
    )
    .bind(version)
    .bind(body)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}
