//! Stored samples as a recording: wide CSV in pieces, so that months of samples need no memory and
//! no reader holds a transaction open while a slow client reads.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::{Store, read::time_of};
use crate::{report, series::Time};

/// Time that one piece covers; at a 15 s interval, forty rows.
const PIECE_MS: i64 = 10 * 60 * 1000;

/// An export under way.
#[derive(Debug)]
pub struct Export {
    store: Store,
    /// Position of each signal among the columns.
    columns: BTreeMap<String, usize>,
    next_ms: i64,
    header_is_due: bool,
}

impl Store {
    /// Everything that was recorded at `since` or later. A column for each signal that has a sample
    /// there; a row for each instant at which any source was sampled. Sources are sampled at their
    /// own instants: a row holds the signals of one source, the others are empty.
    pub async fn export(&self, since: Time) -> Result<Export> {
        let since_ms = since.timestamp_millis();
        let names = sqlx::query_scalar::<_, String>(
            "SELECT name FROM signal
             WHERE EXISTS (SELECT 1 FROM sample WHERE signal_id = signal.id AND at_ms >= $1)
             ORDER BY name",
        )
        .bind(since_ms)
        .fetch_all(&self.reader)
        .await
        .with_context(|| self.cannot_read("signals"))?;
        let columns = names.into_iter().enumerate().map(|(column, name)| (name, column)).collect();
        Ok(Export { store: self.clone(), columns, next_ms: since_ms, header_is_due: true })
    }
}

impl Export {
    /// The next piece of the CSV, the header first; `None` after the last.
    pub async fn next_piece(&mut self) -> Result<Option<Vec<u8>>> {
        if self.header_is_due {
            self.header_is_due = false;
            let names = self.columns.keys().map(String::as_str);
            return csv_of([std::iter::once("time").chain(names)]).map(Some);
        }
        // Skips gaps: an archive with a hole of a year costs no empty pieces.
        let first_ms = self.store.first_at_or_after(self.next_ms).await?;
        let Some(first_ms) = first_ms else { return Ok(None) };
        let end_ms = first_ms.saturating_add(PIECE_MS);
        let rows = self.rows(first_ms, end_ms).await?;
        self.next_ms = end_ms;
        csv_of(rows).map(Some)
    }

    async fn rows(&self, from_ms: i64, end_ms: i64) -> Result<Vec<Vec<String>>> {
        let values = sqlx::query_as::<_, (i64, String, f64)>(
            "SELECT at_ms, name, value FROM signal CROSS JOIN sample
             ON signal_id = signal.id AND at_ms >= $1 AND at_ms < $2",
        )
        .bind(from_ms)
        .bind(end_ms)
        .fetch_all(&self.store.reader)
        .await
        .with_context(|| self.store.cannot_read("samples"))?;
        let mut by_time: BTreeMap<i64, Vec<String>> = BTreeMap::new();
        for (at_ms, name, value) in values {
            // A signal that was first seen after the header went out has no column.
            let Some(column) = self.columns.get(&name) else { continue };
            let row =
                by_time.entry(at_ms).or_insert_with(|| vec![String::new(); self.columns.len()]);
            row[*column] = value.to_string();
        }
        let mut rows = Vec::with_capacity(by_time.len());
        for (at_ms, mut row) in by_time {
            row.insert(0, report::time_text(time_of(at_ms)?));
            rows.push(row);
        }
        Ok(rows)
    }
}

fn csv_of<R, F>(rows: impl IntoIterator<Item = R>) -> Result<Vec<u8>>
where
    R: IntoIterator<Item = F>,
    F: AsRef<[u8]>,
{
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer.write_record(row).context("cannot write a row of the recording")?;
    }
    writer.into_inner().context("cannot write the recording")
}
