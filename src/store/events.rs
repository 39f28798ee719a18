//! Change events: written with the batch of their turn, read for the API and for a pipeline that
//! has lost its state. An event that was told twice is one row.

use anyhow::{Context, Result};
use sqlx::{Sqlite, Transaction};

use super::Store;
use crate::change_event::ChangeEvent;

impl Store {
    /// At most `limit` events, the newest first; those to come before those that were.
    pub async fn events(&self, limit: u32) -> Result<Vec<ChangeEvent>> {
        let bodies = sqlx::query_scalar::<_, String>(
            "SELECT body FROM event ORDER BY at_ms DESC, seq DESC LIMIT $1",
        )
        .bind(limit)
        .fetch_all(&self.reader)
        .await;
        self.parse_events(bodies)
    }

    /// The event that this one tells again, as it was told first.
    pub async fn same_event(&self, event: &ChangeEvent) -> Result<Option<ChangeEvent>> {
        let bodies = sqlx::query_scalar::<_, String>(
            "SELECT body FROM event WHERE at_ms = $1 AND kind = $2 AND title = $3 AND source = $4",
        )
        .bind(event.at.timestamp_millis())
        .bind(&event.kind)
        .bind(&event.title)
        .bind(&event.source)
        .fetch_all(&self.reader)
        .await;
        Ok(self.parse_events(bodies)?.pop())
    }

    fn parse_events(&self, bodies: sqlx::Result<Vec<String>>) -> Result<Vec<ChangeEvent>> {
        let bodies = bodies.with_context(|| self.cannot_read("change events"))?;
        let parsed = bodies.iter().map(|body| serde_json::from_str(body));
        parsed.collect::<Result<_, _>>().with_context(|| {
            format!(
                "a change event in {} cannot be understood: was it written by a newer headwater?",
                self.path.display()
            )
        })
    }
}

pub(super) async fn insert_events(
    transaction: &mut Transaction<'_, Sqlite>,
    events: &[ChangeEvent],
    bodies: &[String],
) -> sqlx::Result<()> {
    for (event, body) in events.iter().zip(bodies) {
        sqlx::query(
            "INSERT INTO event (at_ms, kind, title, source, body) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (at_ms, kind, title, source) DO NOTHING",
        )
        .bind(event.at.timestamp_millis())
        .bind(&event.kind)
        .bind(&event.title)
        .bind(&event.source)
        .bind(body)
        .execute(&mut **transaction)
        .await?;
    }
    Ok(())
}
