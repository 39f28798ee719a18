//! A Prometheus HTTP API (or one of its kin): one instant query a signal and sample, and range
//! queries once at the start. How many series become one number is in `counters`.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use chrono::TimeDelta;
use serde::Deserialize;
use url::Url;

use super::{
    combine,
    counters::{self, ByTime, CounterTotal, Point, SeriesId},
    pace::Pace,
};
use crate::{
    http,
    observation::{Failure, FailureReason, Reading},
    recording::Recording,
    series::{Kind, Time},
};

/// Longest answer that is read: some 80,000 series.
const BODY_BYTES_MAX: usize = 8 << 20;

/// Longest error text of a server that is passed on, in characters.
const ERROR_CHARS_MAX: usize = 500;

/// Prometheus refuses a range query of more points a series than this.
const POINTS_A_PAGE_MAX: usize = 11_000;

/// A page of history whose answer is too long is asked for again in halves, down to this.
const POINTS_A_PAGE_MIN: usize = 10;

/// Values of a history in all: 2 GiB of memory.
const HISTORY_VALUES_MAX: usize = 1 << 28;

/// A range query reads much more than an instant one, and nobody waits for it.
const HISTORY_TIMEOUT: Duration = Duration::from_secs(30);

/// One query may take this part of the time of a sample, so that one that hangs leaves some to
/// others.
const QUERIES_IN_TIME: u32 = 3;

/// The times at which a source is asked for what it remembers: `start`, and every `step` from there
/// until `end`.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    /// The first time.
    pub start: Time,
    /// No time is later.
    pub end: Time,
    /// Between two times.
    pub step: Duration,
}

impl Range {
    /// How many times there are; fails where values of so many signals would not fit into memory.
    fn points(self, step: TimeDelta, signals: usize) -> Result<usize> {
        let Range { start, end, .. } = self;
        if end < start {
            return Ok(0);
        }
        let steps = (end - start).num_milliseconds() / step.num_milliseconds();
        let points = usize::try_from(steps)?.saturating_add(1);
        if points.saturating_mul(signals) > HISTORY_VALUES_MAX {
            bail!(
                "{points} samples of {signals} signals from {start} to {end} are more than \
                 {HISTORY_VALUES_MAX} values: ask for a shorter time, or raise the interval"
            );
        }
        Ok(points)
    }
}

/// The time of a place in a range.
fn at(range: Range, step: TimeDelta, place: usize) -> Time {
    // A range with so many places that they do not fit has been refused.
    range.start + step * i32::try_from(place).unwrap_or(i32::MAX)
}

/// A server and what is asked of it.
#[derive(Debug)]
pub(super) struct Prometheus {
    name: String,
    client: reqwest::Client,
    /// Without a trailing slash; may hold credentials.
    base: Url,
    signals: BTreeMap<String, String>,
    totals: BTreeMap<String, CounterTotal>,
    interval: TimeDelta,
    pace: Pace,
}

impl Prometheus {
    /// Prepares a client; connects to nothing.
    pub(super) fn new(
        name: &str,
        url: &Url,
        signals: BTreeMap<String, String>,
        interval: Duration,
    ) -> Result<Prometheus> {
        if !matches!(url.scheme(), "http" | "https") {
            bail!("the url's scheme {} is not understood: write http:// or https://", url.scheme());
        }
        let pace = Pace::new(interval);
        Ok(Prometheus {
            name: name.to_owned(),
            client: http::client(pace.limits().statement)?,
            base: url.clone(),
            signals,
            totals: BTreeMap::new(),
            interval: TimeDelta::from_std(interval)?,
            pace,
        })
    }

    /// Asks every query for its value at `at`, until the time for the sample is over.
    pub(super) async fn sample(&mut self, at: Time) -> Result<Reading, Failure> {
        let started = Instant::now();
        let whole = self.pace.limits().statement;
        let time = unix_seconds(at);
        let mut answers = Vec::with_capacity(self.signals.len());
        for (signal, query) in &self.signals {
            let left = whole.saturating_sub(started.elapsed());
            let limit = left.min(whole / QUERIES_IN_TIME);
            let form = [("query", query.as_str()), ("time", time.as_str())];
            let (answer, is_no_number) = match self.ask("query", &form, limit).await {
                Ok(data) => {
                    let is_no_number = data.is_no_number();
                    (data.instant(), is_no_number)
                }
                Err(problem) => (Err(problem), false),
            };
            let answer = match answer {
                // Missing all the same, and for the pipeline to count.
                Ok(points) if points.is_empty() && is_no_number => Ok(Some(f64::NAN)),
                Ok(points) if Kind::of(signal) == Kind::Counter => {
                    let total = self.totals.entry(signal.clone()).or_default();
                    Ok(total.add(at, self.interval, &points))
                }
                Ok(points) => Ok(counters::gauge(&points)),
                Err(problem) => Err(self.failure(signal, query, problem)),
            };
            let is_unreachable =
                answer.as_ref().is_err_and(|failure| failure.reason == FailureReason::Connection);
            answers.push((signal.clone(), answer));
            if is_unreachable {
                // The other queries would only find the same closed door.
                break;
            }
        }
        combine(answers)
    }

    /// The same queries over a range, in pages. A time at which no signal has a value has no row.
    /// Totals of counters go on from here in the samples that follow. `tell` hears which part of
    /// the range has come.
    pub(super) async fn history(
        &mut self,
        range: Range,
        tell: &mut (dyn FnMut(f64) + Send),
    ) -> Result<Recording> {
        let step = TimeDelta::from_std(range.step)?.max(TimeDelta::milliseconds(1));
        let points = range.points(step, self.signals.len())?;
        let mut columns = Vec::with_capacity(self.signals.len());
        let whole = (points * self.signals.len()).max(1) as f64;
        for (signal, query) in &self.signals {
            let mut total = CounterTotal::default();
            let mut column = vec![f64::NAN; points];
            let mut place = 0;
            let mut points_a_page = POINTS_A_PAGE_MAX;
            while place < points {
                let count = points_a_page.min(points - place);
                // Both ends of a range are part of it.
                let (first, last) = (at(range, step, place), at(range, step, place + count - 1));
                let page = match self.page(query, first, last, step).await {
                    Err(problem)
                        if problem.is_too_long && points_a_page / 2 >= POINTS_A_PAGE_MIN =>
                    {
                        points_a_page /= 2;
                        continue;
                    }
                    Err(problem) => bail!("{}", self.failure(signal, query, problem).message),
                    Ok(page) => page,
                };
                for (at, points) in page.0 {
                    let value = match Kind::of(signal) {
                        Kind::Counter => total.add(at, step, &points),
                        Kind::Gauge => counters::gauge(&points),
                    };
                    let steps = (at - range.start).as_seconds_f64() / step.as_seconds_f64();
                    if let (Some(value), Some(cell)) =
                        (value, column.get_mut(steps.round() as usize))
                    {
                        *cell = value;
                    }
                }
                place += count;
                tell((columns.len() * points + place) as f64 / whole);
            }
            self.totals.insert(signal.clone(), total);
            columns.push((signal.clone(), column));
        }
        Ok(Recording::of_columns(range.start, step, columns))
    }

    async fn page(
        &self,
        query: &str,
        start: Time,
        end: Time,
        step: TimeDelta,
    ) -> Result<ByTime, Problem> {
        let (start, end) = (unix_seconds(start), unix_seconds(end));
        let step = format!("{:.3}", step.num_milliseconds() as f64 / 1e3);
        let form = [("query", query), ("start", &start), ("end", &end), ("step", &step)];
        self.ask("query_range", &form, HISTORY_TIMEOUT).await?.range()
    }

    async fn ask(
        &self,
        method: &str,
        form: &[(&str, &str)],
        limit: Duration,
    ) -> Result<Data, Problem> {
        let mut url = self.base.clone();
        let path = format!("{}/api/v1/{method}", url.path().trim_end_matches('/'));
        url.set_path(&path);
        let request = self.client.post(url).form(form).timeout(limit);
        let mut response = request.send().await.map_err(Problem::of_transport)?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(Problem::of_transport)? {
            if body.len() + chunk.len() > BODY_BYTES_MAX {
                return Err(Problem::too_long());
            }
            body.extend_from_slice(&chunk);
        }
        parse(status.as_u16(), &body)
    }

    fn failure(&self, signal: &str, query: &str, problem: Problem) -> Failure {
        let Problem { reason, text, remedy, .. } = problem;
        let host = self.base.host_str().unwrap_or_default();
        let port = self.base.port_or_known_default().unwrap_or_default();
        let message = format!(
            "source \"{}\": query of {signal} ({query}) at {host}:{port}: {text}; {remedy}",
            self.name
        );
        Failure { reason, message }
    }
}

/// Prometheus' own spelling of a time.
fn unix_seconds(at: Time) -> String {
    format!("{}.{:03}", at.timestamp(), at.timestamp_subsec_millis())
}

/// Why a query has no usable answer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Problem {
    reason: FailureReason,
    text: String,
    remedy: &'static str,
    is_too_long: bool,
}

impl Problem {
    fn new(reason: FailureReason, text: impl AsRef<str>, remedy: &'static str) -> Problem {
        let text = text.as_ref().chars().take(ERROR_CHARS_MAX).collect();
        Problem { reason, text, remedy, is_too_long: false }
    }

    fn answer(text: impl AsRef<str>) -> Problem {
        let remedy = "check that the url is the base of a Prometheus HTTP API and that the query \
                      gives an instant vector";
        Problem::new(FailureReason::Answer, text, remedy)
    }

    fn too_long() -> Problem {
        let text = format!("the answer is longer than {BODY_BYTES_MAX} bytes");
        let remedy = "sum it by fewer labels";
        Problem { is_too_long: true, ..Problem::new(FailureReason::Answer, text, remedy) }
    }

    fn of_transport(error: reqwest::Error) -> Problem {
        // The URL may hold credentials.
        let error = error.without_url();
        if error.is_timeout() {
            let remedy = "look at the server's load, or raise the interval";
            return Problem::new(FailureReason::Timeout, "no answer in time", remedy);
        }
        // The outer errors only say that sending failed; the innermost says why.
        let mut innermost: &dyn std::error::Error = &error;
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        let remedy = "check that the server runs and is what the source's url names";
        Problem::new(FailureReason::Connection, format!("{innermost}"), remedy)
    }
}

#[derive(Debug, Deserialize)]
struct Body {
    status: String,
    data: Option<Data>,
    #[serde(rename = "errorType")]
    error_type: Option<String>,
    error: Option<String>,
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "snake_case")]
enum Data {
    Vector(Vec<InstantSeries>),
    Matrix(Vec<RangeSeries>),
    Scalar((f64, String)),
    String(serde::de::IgnoredAny),
}

#[derive(Debug, Deserialize)]
struct InstantSeries {
    metric: BTreeMap<String, String>,
    /// Absent of a native histogram.
    value: Option<(f64, String)>,
}

#[derive(Debug, Deserialize)]
struct RangeSeries {
    metric: BTreeMap<String, String>,
    #[serde(default)]
    values: Vec<(f64, String)>,
}

/// Reads an answer. A warning means that a part of the data is missing (a store that did not
/// answer), and half a sum is worse than none.
fn parse(status: u16, body: &[u8]) -> Result<Data, Problem> {
    let refused = matches!(status, 401 | 403);
    if refused {
        let remedy = "give the source's url a user and a password that may query";
        let text = format!("the server answered with status {status}");
        return Err(Problem::new(FailureReason::Permission, text, remedy));
    }
    let Ok(body) = serde_json::from_slice::<Body>(body) else {
        let text = format!("status {status} with a body that is not Prometheus' JSON");
        if status >= 500 {
            let remedy = "check the server, or the proxy before it";
            return Err(Problem::new(FailureReason::Query, text, remedy));
        }
        return Err(Problem::answer(text));
    };
    let remedy = "check the query in the source's configuration";
    if body.status != "success" {
        let kind = body.error_type.unwrap_or_default();
        let reason = match kind.as_str() {
            "timeout" | "canceled" => FailureReason::Timeout,
            _ => FailureReason::Query,
        };
        let text = format!("{kind}: {}", body.error.unwrap_or_default());
        return Err(Problem::new(reason, text, remedy));
    }
    if let Some(warning) = body.warnings.first() {
        let text = format!("the server warns: {warning}");
        return Err(Problem::new(FailureReason::Query, text, remedy));
    }
    body.data.ok_or_else(|| Problem::answer("the answer holds no data"))
}

impl Data {
    /// Whether an instant query gave values and none that is a number.
    fn is_no_number(&self) -> bool {
        let is_none = |text: &str| text.parse().is_ok_and(|value: f64| !value.is_finite());
        match self {
            Data::Vector(series) => {
                let mut values = series.iter().map(|one| one.value.as_ref());
                !series.is_empty()
                    && values.all(|value| value.is_some_and(|(_, text)| is_none(text)))
            }
            Data::Scalar((_, text)) => is_none(text),
            Data::Matrix(_) | Data::String(_) => false,
        }
    }

    /// Points of an instant query; values that are not finite are left out.
    fn instant(self) -> Result<Vec<Point>, Problem> {
        let mut points = Vec::new();
        match self {
            Data::Vector(series) => {
                for one in series {
                    let Some((_, text)) = one.value else {
                        return Err(Problem::answer("the answer is a native histogram"));
                    };
                    let value = number(&text)?;
                    points.extend(value.map(|value| (identify(&one.metric), value)));
                }
            }
            Data::Scalar((_, text)) => {
                let value = number(&text)?;
                points.extend(value.map(|value| (identify(&BTreeMap::new()), value)));
            }
            Data::Matrix(_) => return Err(Problem::answer("the answer is a range of values")),
            Data::String(_) => return Err(Problem::answer("the answer is a string")),
        }
        let distinct: BTreeSet<SeriesId> = points.iter().map(|(id, _)| *id).collect();
        // Prometheus never answers with one series twice; something that does is not summed.
        if distinct.len() < points.len() {
            return Err(Problem::answer("the answer has one series more than once"));
        }
        Ok(points)
    }

    /// Points of a range query, by time.
    fn range(self) -> Result<ByTime, Problem> {
        let Data::Matrix(series) = self else {
            return Err(Problem::answer("the answer to a range query is not a matrix"));
        };
        let mut by_time = ByTime::default();
        for one in series {
            let id = identify(&one.metric);
            for (seconds, text) in one.values {
                let at = Time::from_timestamp_millis((seconds * 1e3).round() as i64);
                let at = at.ok_or_else(|| Problem::answer(format!("time {seconds} is absurd")))?;
                if let Some(value) = number(&text)? {
                    by_time.push(at, (id, value));
                }
            }
        }
        Ok(by_time)
    }
}

/// `NaN` and the infinities are no measurements: missing.
fn number(text: &str) -> Result<Option<f64>, Problem> {
    let parsed: f64 =
        text.parse().map_err(|_| Problem::answer(format!("the value {text} is not a number")))?;
    Ok(parsed.is_finite().then_some(parsed))
}

fn identify(metric: &BTreeMap<String, String>) -> SeriesId {
    // Fixed keys: the hash lives as long as the process, and nobody gains by a collision.
    let mut hasher = DefaultHasher::new();
    metric.hash(&mut hasher);
    SeriesId {
        labels_hash: hasher.finish(),
        has_name: metric.contains_key("__name__"),
        has_labels: !metric.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instant(body: &str) -> Result<Vec<f64>, Problem> {
        let points = parse(200, body.as_bytes())?.instant()?;
        Ok(points.into_iter().map(|(_, value)| value).collect())
    }

    fn vector(series: &str) -> String {
        format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{series}]}}}}"#)
    }

    #[test]
    fn vectors_and_scalars_are_numbers() {
        let two = r#"{"metric":{"a":"1"},"value":[1,"2.5"]},{"metric":{"a":"2"},"value":[1,"3"]}"#;
        assert_eq!(instant(&vector(two)).unwrap(), [2.5, 3.0]);
        let scalar = r#"{"status":"success","data":{"resultType":"scalar","result":[1.5,"7"]}}"#;
        assert_eq!(instant(scalar).unwrap(), [7.0]);
    }

    #[test]
    fn nothing_and_values_that_are_no_measurements_are_missing() {
        assert!(instant(&vector("")).unwrap().is_empty());
        for value in ["NaN", "+Inf", "-Inf"] {
            let series = format!(r#"{{"metric":{{}},"value":[1,"{value}"]}}"#);
            assert!(instant(&vector(&series)).unwrap().is_empty(), "{value}");
            assert!(parse(200, vector(&series).as_bytes()).unwrap().is_no_number(), "{value}");
        }
        let one_is =
            r#"{"metric":{"a":"1"},"value":[1,"NaN"]},{"metric":{"a":"2"},"value":[1,"3"]}"#;
        for body in ["", one_is] {
            assert!(!parse(200, vector(body).as_bytes()).unwrap().is_no_number(), "{body}");
        }
    }

    #[test]
    fn unusable_answers_are_told_apart() {
        let reason = |status, body: &str| {
            let data = parse(status, body.as_bytes()).and_then(Data::instant);
            data.expect_err(body).reason
        };
        let error = r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#;
        assert_eq!(reason(400, error), FailureReason::Query);
        let slow = r#"{"status":"error","errorType":"timeout","error":"query timed out"}"#;
        assert_eq!(reason(503, slow), FailureReason::Timeout);
        assert_eq!(reason(502, "<html>"), FailureReason::Query);
        assert_eq!(reason(200, "<html>"), FailureReason::Answer);
        assert_eq!(reason(401, ""), FailureReason::Permission);
        let histogram = vector(r#"{"metric":{},"histogram":[1,{}]}"#);
        assert_eq!(reason(200, &histogram), FailureReason::Answer);
        let matrix = r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#;
        assert_eq!(reason(200, matrix), FailureReason::Answer);
        let warning = r#"{"status":"success","warnings":["a store is down"],
            "data":{"resultType":"vector","result":[]}}"#;
        assert_eq!(reason(200, warning), FailureReason::Query);
        let twice = r#"{"metric":{"a":"1"},"value":[1,"2"]},{"metric":{"a":"1"},"value":[1,"3"]}"#;
        assert_eq!(reason(200, &vector(twice)), FailureReason::Answer);
    }

    #[test]
    fn an_error_text_of_the_server_is_passed_on() {
        let error = r#"{"status":"error","errorType":"bad_data","error":"unexpected end"}"#;
        assert_eq!(parse(400, error.as_bytes()).unwrap_err().text, "bad_data: unexpected end");
    }

    #[test]
    fn a_raw_series_is_told_from_a_summed_one() {
        let named = identify(&BTreeMap::from([("__name__".to_owned(), "x_total".to_owned())]));
        assert!(named.has_name && named.has_labels);
        let grouped = identify(&BTreeMap::from([("job".to_owned(), "a".to_owned())]));
        assert!(!grouped.has_name && grouped.has_labels);
        assert!(!identify(&BTreeMap::new()).has_labels);
    }
}
