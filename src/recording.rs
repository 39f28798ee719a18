//! Recordings: wide CSV, one column `time` and one a signal, read and written. What the numbers
//! mean is the pipeline's business; here they are present, or missing.
//!
//! Reading is strict where a mistake would silently change numbers (a cell that is no number, a
//! column twice) and tolerant of what recordings are like: rows are sorted by time, a later row of
//! the same time completes and overrides the earlier one, cell by cell, infinite values are
//! missing; all of it is counted in `Irregularities`. Which sample a row of the file became part of
//! is remembered. Times are kept to the millisecond.

use std::{
    fs::File,
    io::{Read, Write},
    path::Path,
};

use anyhow::{Context as _, Result, anyhow, bail};
use chrono::{DateTime, NaiveDate, NaiveDateTime, SecondsFormat, TimeDelta};
use csv::{ByteRecord, ReaderBuilder, StringRecord};

use crate::{
    series::Time,
    values::{Name, Values},
};

/// The header of the column with the times.
pub const TIME_COLUMN: &str = "time";

/// A spacing counts as a gap from this many median spacings on.
const GAP_INTERVALS: f64 = 1.5;

/// Unix seconds from here on (the year 10000) are milliseconds by mistake, and no RFC 3339 anyway.
const UNIX_SECONDS_END: f64 = 253_402_300_800.0;

/// Digits of a whole number that a double always holds: below 2^53.
const WHOLE_DIGITS_MAX: usize = 15;

/// What is read of a file at once.
const READ_BYTES: usize = 1 << 16;

/// A recording in memory, 8 bytes a cell: months of data fit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recording {
    /// The signals, in the order of the file, without `time`.
    pub columns: Vec<String>,
    /// What was not regular, for standard error.
    pub irregularities: Irregularities,
    /// Strictly increasing.
    times: Vec<Time>,
    /// Row by row; NaN is a missing value, no other value is not finite.
    values: Vec<f64>,
    /// For each row of the file, its row here. `None`: they are the same, as in nearly every
    /// recording.
    places: Option<Vec<usize>>,
}

/// One instant of a recording.
#[derive(Clone, Copy, Debug)]
pub struct Row<'recording> {
    /// When.
    pub at: Time,
    values: &'recording [f64],
}

/// What was not regular about a recording, and was handled.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Irregularities {
    /// Rows that the file has.
    pub rows_read: u64,
    /// Rows earlier than the row before them; they were put in their place.
    pub out_of_order: u64,
    /// Rows of a time that another row has; they were merged, the later row's values win.
    pub duplicates: u64,
    /// Infinite values; they count as missing.
    pub not_finite: u64,
    /// Spacings of at least one and a half times the median.
    pub gaps: u64,
    /// The longest spacing, in seconds, if there are gaps.
    pub longest_gap_s: f64,
}

impl Irregularities {
    /// One line for each kind that occurred.
    pub fn describe(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut say = |count: u64, what: &str| {
            if count > 0 {
                lines.push(format!("{what}: {count}"));
            }
        };
        say(self.out_of_order, "rows out of order, sorted by time");
        say(self.duplicates, "rows of a time that stood there already, merged, later values win");
        say(self.not_finite, "infinite values, taken as missing");
        say(self.gaps, &format!("gaps, the longest of {} s", self.longest_gap_s));
        lines
    }
}

impl<'recording> Row<'recording> {
    /// The value in a column; `None` if it is missing.
    pub fn value(&self, column: usize) -> Option<f64> {
        self.values.get(column).copied().filter(|value| !value.is_nan())
    }

    /// Present values by the names of their columns.
    pub fn named(&self, columns: &[Name]) -> Values {
        let present = columns.iter().zip(self.values).filter(|(_, value)| !value.is_nan());
        present.map(|(name, value)| (name.clone(), *value)).collect()
    }

    /// Every column's value, in order.
    pub fn values(&self) -> impl Iterator<Item = Option<f64>> + use<'recording> {
        self.values.iter().map(|value| (!value.is_nan()).then_some(*value))
    }
}

impl Recording {
    /// Reads the file at `path`.
    pub fn read(path: &Path) -> Result<Recording> {
        let name = path.display().to_string();
        let file = File::open(path)
            .with_context(|| format!("cannot open the recording {name}: check the path"))?;
        Recording::parse(file, &name)
    }

    /// Reads CSV; messages call it `name`.
    pub fn parse(input: impl Read, name: &str) -> Result<Recording> {
        let mut csv =
            ReaderBuilder::new().flexible(true).buffer_capacity(READ_BYTES).from_reader(input);
        let header = csv.headers().map_err(|error| csv_error(name, &error))?.clone();
        let layout = Layout::of(&header, name)?;
        let mut rows = Rows::default();
        let mut record = ByteRecord::new();
        while csv.read_byte_record(&mut record).map_err(|error| csv_error(name, &error))? {
            let line = record.position().map_or(0, csv::Position::line);
            layout.read_row(&record, &mut rows).with_context(|| format!("{name}:{line}"))?;
        }
        Ok(rows.into_recording(layout.columns))
    }

    /// Rows in order of time, each time once.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = Row<'_>> {
        (0..self.times.len()).map(|place| self.row(place))
    }

    /// The row at a place among [`Recording::rows`].
    pub fn row(&self, place: usize) -> Row<'_> {
        let width = self.columns.len();
        Row { at: self.times[place], values: &self.values[place * width..(place + 1) * width] }
    }

    /// For each row of the file, in its order, the place of its sample among [`Recording::rows`].
    pub fn input_rows(&self) -> impl Iterator<Item = usize> {
        let count = self.places.as_ref().map_or(self.times.len(), Vec::len);
        (0..count).map(|row| self.places.as_ref().map_or(row, |places| places[row]))
    }

    /// A recording of samples at `start` and every `step` from there: `values` holds them column by
    /// column, NaN where there is none. A time without any value has no row: nobody was watching.
    pub fn of_columns(
        start: Time,
        step: TimeDelta,
        columns: impl IntoIterator<Item = (String, Vec<f64>)>,
    ) -> Recording {
        let (columns, values): (Vec<String>, Vec<Vec<f64>>) = columns.into_iter().unzip();
        let mut rows = Rows::default();
        let mut at = start;
        for place in 0..values.iter().map(Vec::len).max().unwrap_or(0) {
            let row = values.iter().map(|column| column.get(place).copied().unwrap_or(f64::NAN));
            if row.clone().any(|value| !value.is_nan()) {
                rows.begin(at);
                row.for_each(|value| rows.push(value));
            }
            at += step;
        }
        rows.into_recording(columns)
    }

    /// The usual distance of two rows, in seconds: the median. `None` below two rows.
    pub fn interval_s(&self) -> Option<f64> {
        median_spacing_s(&self.times)
    }
}

/// Where a file has its times and its signals.
struct Layout {
    time: usize,
    columns: Vec<String>,
    width: usize,
}

impl Layout {
    fn of(header: &StringRecord, name: &str) -> Result<Layout> {
        if header.iter().all(str::is_empty) {
            bail!("{name}: empty: a recording begins with a header, `time` and one name a signal");
        }
        let names: Vec<&str> =
            header.iter().map(|column| column.trim_start_matches('\u{feff}')).collect();
        let Some(time) = names.iter().position(|column| column.trim() == TIME_COLUMN) else {
            bail!(
                "{name}:1: no column `time` among {}: rename the column that holds the times",
                quoted(&names)
            );
        };
        let mut columns: Vec<String> = Vec::with_capacity(names.len());
        for (index, column) in names.iter().enumerate() {
            if column.is_empty() {
                bail!("{name}:1: column {} has no name: name or remove it", index + 1);
            }
            if names[..index].contains(column) {
                bail!("{name}:1: the column {column:?} is there twice: rename or remove one");
            }
            if index != time {
                columns.push((*column).to_owned());
            }
        }
        if columns.is_empty() {
            bail!("{name}:1: no column beside `time`: add one column a signal");
        }
        Ok(Layout { time, columns, width: names.len() })
    }

    fn read_row(&self, record: &ByteRecord, rows: &mut Rows) -> Result<()> {
        if record.len() != self.width {
            bail!(
                "{} cells where the header has {}: complete the row, or quote a cell that holds a \
                 comma",
                record.len(),
                self.width
            );
        }
        let cell = |bytes| str::from_utf8(bytes).map(str::trim).ok();
        let text = cell(&record[self.time]);
        let at = text.and_then(parse_time).ok_or_else(|| bad_time(&record[self.time]))?;
        rows.begin(at);
        let cells = record.iter().enumerate().filter(|(index, _)| *index != self.time);
        for ((_, bytes), column) in cells.zip(&self.columns) {
            let value = whole_number(bytes).or_else(|| match cell(bytes)? {
                text if is_missing(text) => Some(f64::NAN),
                text => text.parse().ok(),
            });
            rows.push(value.ok_or_else(|| bad_value(bytes, column))?);
        }
        Ok(())
    }
}

/// A count, as most cells are: so few digits that a double holds every one of them.
fn whole_number(cell: &[u8]) -> Option<f64> {
    if cell.is_empty() || cell.len() > WHOLE_DIGITS_MAX || !cell.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(cell.iter().fold(0u64, |number, digit| number * 10 + u64::from(digit - b'0')) as f64)
}

fn is_missing(cell: &str) -> bool {
    cell.is_empty() || cell.eq_ignore_ascii_case("nan") || cell.eq_ignore_ascii_case("null")
}

fn bad_value(bytes: &[u8], column: &str) -> anyhow::Error {
    anyhow!(
        "column {column:?}: {:?} is no number: write it with a decimal point and without thousands \
         separators, or leave the cell empty if the sample is missing",
        String::from_utf8_lossy(bytes)
    )
}

fn bad_time(bytes: &[u8]) -> anyhow::Error {
    let text = String::from_utf8_lossy(bytes);
    let remedy = match text.trim().parse::<f64>() {
        Ok(number) if number >= UNIX_SECONDS_END => {
            "is beyond the year 9999 in Unix seconds: divide milliseconds by 1000"
        }
        _ => {
            "is no time: write RFC 3339 (2019-09-23T22:12:00Z), 2019-09-23 22:12:00 in UTC, or \
             Unix seconds"
        }
    };
    anyhow!("column \"time\": {text:?} {remedy}")
}

fn csv_error(name: &str, error: &csv::Error) -> anyhow::Error {
    match error.position() {
        Some(position) => anyhow!("{name}:{}: not readable as CSV: {error}", position.line()),
        None => anyhow!("{name}: not readable as CSV: {error}"),
    }
}

fn quoted(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
    names.join(", ")
}

/// An instant as recordings and the command line spell it: RFC 3339, `YYYY-MM-DD[ T]hh:mm:ss[.fff]`
/// or `YYYY-MM-DD` in UTC, or Unix seconds with a fraction. Rounded to the millisecond.
pub fn parse_time(text: &str) -> Option<Time> {
    let whole = |time: Time| {
        let half_up = time.checked_add_signed(TimeDelta::microseconds(500))?;
        let time = DateTime::from_timestamp_millis(half_up.timestamp_millis())?;
        let seconds = time.timestamp() as f64;
        // What RFC 3339 can spell, and is thus written again as it was read.
        let first = -62_167_219_200.0;
        (seconds >= first && seconds < UNIX_SECONDS_END).then_some(time)
    };
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        // Plain Unix seconds, which no other spelling looks like; the others below are slow to say
        // so.
        let seconds: i64 = text.parse().ok()?;
        return whole(DateTime::from_timestamp(seconds, 0)?);
    }
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return whole(time.to_utc());
    }
    for format in ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f"] {
        if let Ok(time) = NaiveDateTime::parse_from_str(text, format) {
            return whole(time.and_utc());
        }
    }
    if let Ok(date) = NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        return whole(date.and_hms_opt(0, 0, 0)?.and_utc());
    }
    let seconds: f64 = text.parse().ok()?;
    if !seconds.is_finite() || seconds.abs() >= UNIX_SECONDS_END {
        return None;
    }
    whole(DateTime::from_timestamp_millis((seconds * 1e3).round() as i64)?)
}

/// An instant as recordings spell it: RFC 3339 in `Z`, milliseconds only where there are some.
pub fn format_time(at: Time) -> String {
    let format =
        if at.timestamp_subsec_millis() == 0 { SecondsFormat::Secs } else { SecondsFormat::Millis };
    at.to_rfc3339_opts(format, true)
}

/// Rows as they come.
#[derive(Default)]
struct Rows {
    times: Vec<Time>,
    values: Vec<f64>,
    irregularities: Irregularities,
}

impl Rows {
    fn begin(&mut self, at: Time) {
        self.irregularities.rows_read += 1;
        if self.times.last().is_some_and(|last| at < *last) {
            self.irregularities.out_of_order += 1;
        }
        self.times.push(at);
    }

    fn push(&mut self, value: f64) {
        self.irregularities.not_finite += u64::from(value.is_infinite());
        self.values.push(if value.is_infinite() { f64::NAN } else { value });
    }

    fn into_recording(mut self, columns: Vec<String>) -> Recording {
        let width = columns.len();
        // Strictly increasing times, which nearly every recording has, need no second copy.
        let unruly = self.times.windows(2).any(|pair| pair[0] >= pair[1]);
        let places = unruly.then(|| self.sort_and_merge(width));
        if let Some(interval_s) = median_spacing_s(&self.times) {
            for spacing_s in spacings_s(&self.times) {
                if spacing_s >= interval_s * GAP_INTERVALS {
                    self.irregularities.gaps += 1;
                    self.irregularities.longest_gap_s =
                        self.irregularities.longest_gap_s.max(spacing_s);
                }
            }
        }
        let Rows { times, values, irregularities } = self;
        Recording { columns, irregularities, times, values, places }
    }

    /// Returns where each row went.
    fn sort_and_merge(&mut self, width: usize) -> Vec<usize> {
        let mut places = vec![0; self.times.len()];
        let mut order: Vec<usize> = (0..self.times.len()).collect();
        // Stable: of one time, the row that stands later in the file stays the later one.
        order.sort_by_key(|row| self.times[*row]);
        let mut times: Vec<Time> = Vec::with_capacity(order.len());
        let mut values: Vec<f64> = Vec::with_capacity(self.values.len());
        for row in order {
            let cells = &self.values[row * width..(row + 1) * width];
            if times.last() != Some(&self.times[row]) {
                places[row] = times.len();
                times.push(self.times[row]);
                values.extend_from_slice(cells);
                continue;
            }
            places[row] = times.len() - 1;
            self.irregularities.duplicates += 1;
            let merged = values.len() - width;
            for (kept, later) in values[merged..].iter_mut().zip(cells) {
                if !later.is_nan() {
                    *kept = *later;
                }
            }
        }
        self.times = times;
        self.values = values;
        places
    }
}

fn spacings_s(times: &[Time]) -> impl Iterator<Item = f64> {
    times.windows(2).map(|pair| (pair[1] - pair[0]).num_milliseconds() as f64 / 1e3)
}

fn median_spacing_s(times: &[Time]) -> Option<f64> {
    let mut spacings: Vec<f64> = spacings_s(times).collect();
    if spacings.is_empty() {
        return None;
    }
    let middle = spacings.len() / 2;
    let (_, median, _) = spacings.select_nth_unstable_by(middle, f64::total_cmp);
    Some(*median)
}

/// Writes a recording row by row, so that an export of months needs no memory.
pub struct Writer<Output: Write> {
    csv: csv::Writer<Output>,
    width: usize,
}

impl<Output: Write> Writer<Output> {
    /// Writes the header.
    pub fn new(columns: &[String], output: Output) -> Result<Writer<Output>> {
        let mut csv = csv::Writer::from_writer(output);
        csv.write_field(TIME_COLUMN)?;
        for column in columns {
            csv.write_field(column)?;
        }
        csv.write_record(None::<&[u8]>)?;
        Ok(Writer { csv, width: columns.len() })
    }

    /// Writes one row with a value for each column; missing and not finite values leave their cells
    /// empty.
    pub fn row(&mut self, at: Time, values: impl IntoIterator<Item = Option<f64>>) -> Result<()> {
        self.csv.write_field(format_time(at))?;
        let mut written = 0;
        for value in values {
            let cell = value.filter(|value| value.is_finite()).map(format_value);
            self.csv.write_field(cell.unwrap_or_default())?;
            written += 1;
        }
        assert_eq!(written, self.width, "a row of a recording has a cell for each column");
        self.csv.write_record(None::<&[u8]>)?;
        Ok(())
    }

    /// Ends the recording: everything has reached the output, or an error says so.
    pub fn finish(mut self) -> Result<()> {
        self.csv.flush()?;
        Ok(())
    }
}

/// The shortest text that reads back to the same bits.
fn format_value(value: f64) -> String {
    // Beyond these bounds plain digits grow to hundreds of characters.
    let plain = value == 0.0 || (1e-7..1e17).contains(&value.abs());
    if plain { format!("{value}") } else { format!("{value:e}") }
}

#[cfg(test)]
mod tests;
