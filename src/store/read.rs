//! Reading: detector state and incidents for the daemon, incidents and series for pages and API.

use anyhow::{Context, Result};
use chrono::DateTime;

use super::Store;
use crate::{
    incident::Incident,
    pipeline::{Restored, STATE_VERSION, STATE_VERSION_OLDEST, State},
    series::Time,
};

/// What a store has of a detector.
#[derive(Debug)]
pub enum Stored {
    /// Its state, as committed or taken on from an older version.
    State(Box<Restored>),
    /// Nothing: the store is new.
    Nothing,
    /// A state of another shape, written by another version of headwater.
    OtherVersion {
        /// The version in the store.
        stored: u32,
        /// The version that is understood.
        known: u32,
    },
    /// Something that is no state; why.
    Damaged(anyhow::Error),
}

impl Store {
    /// The detector state of the last commit. What is there and cannot be used is no error: a
    /// watchman who has forgotten everything is better than none.
    pub async fn load_state(&self) -> Result<Stored> {
        let row =
            sqlx::query_as::<_, (u32, String)>("SELECT version, body FROM state WHERE id = 1")
                .fetch_optional(&self.reader)
                .await
                .with_context(|| self.cannot_read("the detector state"))?;
        let Some((stored, body)) = row else { return Ok(Stored::Nothing) };
        if !(STATE_VERSION_OLDEST..=STATE_VERSION).contains(&stored) {
            return Ok(Stored::OtherVersion { stored, known: STATE_VERSION });
        }
        let restored = State::restore(stored, &body).with_context(|| {
            format!("the detector state in {} cannot be understood", self.path.display())
        });
        Ok(restored.map_or_else(Stored::Damaged, |restored| Stored::State(Box::new(restored))))
    }

    /// At most `limit` incidents, open and resolved, newest first.
    pub async fn incidents(&self, limit: u32) -> Result<Vec<Incident>> {
        let bodies = sqlx::query_scalar::<_, String>(
            "SELECT body FROM incident ORDER BY opened_at_ms DESC, seq DESC LIMIT $1",
        )
        .bind(limit)
        .fetch_all(&self.reader)
        .await;
        self.parse_incidents(bodies)
    }

    /// What the notifier has to send: incidents that are open, or were resolved at `resolved_since`
    /// or later. Oldest first.
    pub async fn active_incidents(&self, resolved_since: Time) -> Result<Vec<Incident>> {
        // The plus keeps SQLite from walking all incidents in order of time: it is asked every few
        // seconds, and what matches is few.
        let bodies = sqlx::query_scalar::<_, String>(
            "SELECT body FROM incident WHERE resolved_at_ms IS NULL OR resolved_at_ms >= $1
             ORDER BY +opened_at_ms, seq",
        )
        .bind(resolved_since.timestamp_millis())
        .fetch_all(&self.reader)
        .await;
        self.parse_incidents(bodies)
    }

    /// The incident with this id.
    pub async fn incident(&self, id: &str) -> Result<Option<Incident>> {
        let body = sqlx::query_scalar::<_, String>("SELECT body FROM incident WHERE id = $1")
            .bind(id)
            .fetch_all(&self.reader)
            .await;
        Ok(self.parse_incidents(body)?.pop())
    }

    /// One signal's present values from `from` up to and including `to`, oldest first.
    pub async fn series(&self, signal: &str, from: Time, to: Time) -> Result<Vec<(Time, f64)>> {
        let rows = sqlx::query_as::<_, (i64, f64)>(
            "SELECT at_ms, value FROM sample
             WHERE signal_id = (SELECT id FROM signal WHERE name = $1) AND at_ms BETWEEN $2 AND $3
             ORDER BY at_ms",
        )
        .bind(signal)
        .bind(from.timestamp_millis())
        .bind(to.timestamp_millis())
        .fetch_all(&self.reader)
        .await
        .with_context(|| self.cannot_read("samples"))?;
        rows.into_iter().map(|(at_ms, value)| Ok((time_of(at_ms)?, value))).collect()
    }

    fn parse_incidents(&self, bodies: sqlx::Result<Vec<String>>) -> Result<Vec<Incident>> {
        let bodies = bodies.with_context(|| self.cannot_read("incidents"))?;
        let parsed = bodies.iter().map(|body| serde_json::from_str(body));
        parsed.collect::<Result<_, _>>().with_context(|| {
            format!(
                "an incident in {} cannot be understood: was it written by a newer headwater?",
                self.path.display()
            )
        })
    }

    pub(super) fn cannot_read(&self, what: &str) -> String {
        format!("cannot read {what} from the store {}", self.path.display())
    }
}

pub(super) fn time_of(at_ms: i64) -> Result<Time> {
    DateTime::from_timestamp_millis(at_ms)
        .with_context(|| format!("a stored time is out of range: {at_ms} ms"))
}
