//! Stored samples as samplers delivered them, in the order of time and in pieces: what a pipeline
//! learns from that has lost what it knew.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::{Sample, Store, read::time_of};
use crate::series::Time;

/// Time that one piece covers: some 60,000 values of forty signals at a 15 s interval.
const PIECE_MS: i64 = 6 * 60 * 60 * 1000;

/// A reading of the past under way.
#[derive(Debug)]
pub struct History {
    store: Store,
    /// Id, name and source.
    signals: Vec<(i64, String, String)>,
    next_ms: i64,
}

impl Store {
    /// What was recorded at `since` or later of the signals that `is_wanted` by source and name.
    pub async fn history(
        &self,
        since: Time,
        is_wanted: impl Fn(&str, &str) -> bool,
    ) -> Result<History> {
        let mut signals =
            sqlx::query_as::<_, (i64, String, String)>("SELECT id, name, source FROM signal")
                .fetch_all(&self.reader)
                .await
                .with_context(|| self.cannot_read("signals"))?;
        signals.retain(|(_, name, source)| is_wanted(source, name));
        Ok(History { store: self.clone(), signals, next_ms: since.timestamp_millis() })
    }

    /// The first instant at `at_ms` or later of which anything was recorded.
    pub(super) async fn first_at_or_after(&self, at_ms: i64) -> Result<Option<i64>> {
        sqlx::query_scalar::<_, Option<i64>>(
            "SELECT min((SELECT min(at_ms) FROM sample WHERE signal_id = signal.id AND at_ms >= $1))
             FROM signal",
        )
        .bind(at_ms)
        .fetch_one(&self.reader)
        .await
        .with_context(|| self.cannot_read("samples"))
    }
}

impl History {
    /// The next samples, oldest first; `None` after the last.
    pub async fn next_piece(&mut self) -> Result<Option<Vec<Sample>>> {
        if self.signals.is_empty() {
            return Ok(None);
        }
        let Some(first_ms) = self.store.first_at_or_after(self.next_ms).await? else {
            return Ok(None);
        };
        let end_ms = first_ms.saturating_add(PIECE_MS);
        let mut samples: BTreeMap<(i64, &str), BTreeMap<String, f64>> = BTreeMap::new();
        for (id, name, source) in &self.signals {
            let values = sqlx::query_as::<_, (i64, f64)>(
                "SELECT at_ms, value FROM sample
                 WHERE signal_id = $1 AND at_ms >= $2 AND at_ms < $3",
            )
            .bind(id)
            .bind(first_ms)
            .bind(end_ms)
            .fetch_all(&self.store.reader)
            .await
            .with_context(|| self.store.cannot_read("samples"))?;
            for (at_ms, value) in values {
                samples.entry((at_ms, source)).or_default().insert(name.clone(), value);
            }
        }
        let samples = samples.into_iter().map(|((at_ms, source), values)| {
            Ok(Sample { at: time_of(at_ms)?, source: source.to_owned(), values: values.into() })
        });
        let samples = samples.collect::<Result<Vec<Sample>>>()?;
        self.next_ms = end_ms;
        Ok(Some(samples))
    }
}
