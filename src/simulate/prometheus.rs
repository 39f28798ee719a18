//! A stand-in for the Prometheus that scrapes the services around the fleet: the two query
//! endpoints of its HTTP API, as far as a query is a metric's name or the sum of one. Keeps a
//! bounded history. It is told the values; where they come from is in `life`.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Json, Router,
    extract::{RawForm, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::series::Time;

/// Samples that are kept: a day at an interval of 15 s.
const HISTORY_MAX: usize = 5_760;

/// As in Prometheus: an instant query finds a sample at most this old.
const LOOKBACK_S: f64 = 300.0;

/// As in Prometheus: a range query has at most this many points.
const POINTS_MAX: f64 = 11_000.0;

/// What was scraped, shared by the one who records and the router.
#[derive(Clone, Debug, Default)]
pub struct Scraped(Arc<Mutex<VecDeque<Scrape>>>);

#[derive(Debug)]
struct Scrape {
    /// In Unix seconds.
    at_s: f64,
    values: BTreeMap<String, f64>,
}

impl Scraped {
    /// Adds the values of an instant, which is not before the latest one. The oldest make room.
    pub fn record(&self, at: Time, values: BTreeMap<String, f64>) {
        let mut history = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        history.push_back(Scrape { at_s: seconds(at), values });
        while history.len() > HISTORY_MAX {
            history.pop_front();
        }
    }

    /// `/api/v1/query` and `/api/v1/query_range`, by GET and POST. An instant query without a time
    /// is answered as of the latest sample: this Prometheus has no clock of its own.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/api/v1/query", get(query).post(query))
            .route("/api/v1/query_range", get(query_range).post(query_range))
            .with_state(self.clone())
    }

    /// The latest value of `name` at `at_s` or at most the lookback before it. The latest sample
    /// alone decides, as a series that went away is stale at once.
    fn value_at(&self, name: &str, at_s: f64) -> Option<f64> {
        let history = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let after = history.partition_point(|scrape| scrape.at_s <= at_s);
        let scrape = history.get(after.checked_sub(1)?)?;
        let is_fresh = at_s - scrape.at_s < LOOKBACK_S;
        if is_fresh { scrape.values.get(name).copied() } else { None }
    }

    fn latest_s(&self) -> Option<f64> {
        let history = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        history.back().map(|scrape| scrape.at_s)
    }
}

fn seconds(at: DateTime<Utc>) -> f64 {
    at.timestamp_millis() as f64 / 1e3
}

/// Why a query is not answered, as Prometheus words it.
struct BadData(String);

impl IntoResponse for BadData {
    fn into_response(self) -> Response {
        let body = json!({ "status": "error", "errorType": "bad_data", "error": self.0 });
        (StatusCode::BAD_REQUEST, Json(body)).into_response()
    }
}

/// The parameters of a request, from its query string or its form.
struct Parameters(BTreeMap<String, String>);

impl Parameters {
    fn parse(form: &[u8]) -> Parameters {
        Parameters(url::form_urlencoded::parse(form).into_owned().collect())
    }

    fn selector(&self) -> Result<Selector, BadData> {
        Selector::parse(self.0.get("query").map(String::as_str).unwrap_or_default())
    }

    /// A time in Unix seconds, written as such or in RFC 3339.
    fn time(&self, name: &str) -> Result<Option<f64>, BadData> {
        let Some(text) = self.0.get(name) else { return Ok(None) };
        let number = text.parse().ok().filter(|number: &f64| number.is_finite());
        let date = || DateTime::parse_from_rfc3339(text).ok().map(|at| seconds(at.to_utc()));
        let message = || BadData(format!("invalid parameter \"{name}\": cannot parse {text:?}"));
        number.or_else(date).map(Some).ok_or_else(message)
    }

    fn required(&self, name: &str) -> Result<f64, BadData> {
        let missing = || BadData(format!("invalid parameter \"{name}\": it is missing"));
        self.time(name)?.ok_or_else(missing)
    }
}

/// `name` or `sum(name)`.
struct Selector {
    name: String,
    is_sum: bool,
}

impl Selector {
    fn parse(query: &str) -> Result<Selector, BadData> {
        let query = query.trim();
        let inner = query.strip_prefix("sum").map(str::trim_start);
        let inner = inner.and_then(|rest| rest.strip_prefix('(')?.strip_suffix(')'));
        let name = inner.unwrap_or(query).trim();
        let is_name = !name.is_empty()
            && !name.starts_with(|first: char| first.is_ascii_digit())
            && name.chars().all(|letter| letter.is_ascii_alphanumeric() || "_:".contains(letter));
        if !is_name {
            let message = "invalid parameter \"query\": the simulated Prometheus answers to the name of \
                       a metric and to sum(name)";
            return Err(BadData(format!("{message}, not to {query:?}")));
        }
        Ok(Selector { name: name.to_owned(), is_sum: inner.is_some() })
    }

    fn labels(&self) -> Value {
        if self.is_sum {
            json!({})
        } else {
            json!({ "__name__": self.name, "instance": "delta:9090", "job": "delta" })
        }
    }
}

/// Axum gives the query string of a GET and the body of a POST in the same way.
async fn query(
    State(scraped): State<Scraped>,
    RawForm(form): RawForm,
) -> Result<Response, BadData> {
    let parameters = Parameters::parse(&form);
    let selector = parameters.selector()?;
    let at_s = parameters.time("time")?.or_else(|| scraped.latest_s()).unwrap_or(0.0);
    let value = scraped.value_at(&selector.name, at_s);
    let result: Vec<Value> = value
        .into_iter()
        .map(|value| json!({ "metric": selector.labels(), "value": [at_s, value.to_string()] }))
        .collect();
    Ok(success("vector", &result))
}

async fn query_range(
    State(scraped): State<Scraped>,
    RawForm(form): RawForm,
) -> Result<Response, BadData> {
    let parameters = Parameters::parse(&form);
    let selector = parameters.selector()?;
    let start_s = parameters.required("start")?;
    let end_s = parameters.required("end")?;
    let step_s = parameters.required("step")?;
    if end_s < start_s {
        return Err(BadData("invalid parameter \"end\": it is before the start".to_owned()));
    }
    if step_s <= 0.0 {
        return Err(BadData("invalid parameter \"step\": it is not above zero".to_owned()));
    }
    if (end_s - start_s) / step_s > POINTS_MAX {
        let message = "exceeded maximum resolution of 11,000 points per timeseries";
        return Err(BadData(message.to_owned()));
    }
    let points = ((end_s - start_s) / step_s) as u64;
    let mut values = Vec::new();
    for point in 0..=points {
        let at_s = start_s + point as f64 * step_s;
        if let Some(value) = scraped.value_at(&selector.name, at_s) {
            values.push(json!([at_s, value.to_string()]));
        }
    }
    let result = match values.is_empty() {
        true => Vec::new(),
        false => vec![json!({ "metric": selector.labels(), "values": values })],
    };
    Ok(success("matrix", &result))
}

fn success(kind: &str, result: &[Value]) -> Response {
    let data = json!({ "resultType": kind, "result": result });
    Json(json!({ "status": "success", "data": data })).into_response()
}

#[cfg(test)]
mod tests {
    use axum::{
        body::{Body, to_bytes},
        http::Request,
    };
    use chrono::TimeDelta;
    use tower::ServiceExt;

    use super::*;

    fn scraped() -> Scraped {
        let scraped = Scraped::default();
        for minute in 0..10_u8 {
            let at = Time::UNIX_EPOCH + TimeDelta::minutes(i64::from(minute));
            let mut values = BTreeMap::from([("delta_queue".to_owned(), f64::from(minute) + 0.5)]);
            if minute > 7 {
                values.insert("late".to_owned(), 1.0);
            }
            scraped.record(at, values);
        }
        scraped
    }

    async fn answer(request: Request<Body>) -> (StatusCode, Value) {
        let response = scraped().router().oneshot(request).await.expect("a router answers");
        let status = response.status();
        let body = to_bytes(response.into_body(), 1 << 20).await.expect("a body");
        (status, serde_json::from_slice(&body).expect("JSON"))
    }

    async fn get(path: &str) -> (StatusCode, Value) {
        answer(Request::get(path).body(Body::empty()).expect("a request")).await
    }

    #[tokio::test]
    async fn instant_queries_look_back_and_name_their_series() {
        let (status, body) = get("/api/v1/query?query=delta_queue&time=130.5").await;
        assert_eq!(status, StatusCode::OK);
        let labels = json!({ "__name__": "delta_queue", "instance": "delta:9090", "job": "delta" });
        let result = json!([{ "metric": labels, "value": [130.5, "2.5"] }]);
        assert_eq!(body["data"], json!({ "resultType": "vector", "result": result }));
        let (_, body) = get("/api/v1/query?query=sum(delta_queue)").await;
        assert_eq!(body["data"]["result"], json!([{ "metric": {}, "value": [540.0, "9.5"] }]));
        for nothing in ["query=delta_queue&time=5000", "query=late&time=60", "query=unknown"] {
            let (status, body) = get(&format!("/api/v1/query?{nothing}")).await;
            assert_eq!(
                (status, &body["data"]["result"]),
                (StatusCode::OK, &json!([])),
                "{nothing}"
            );
        }
    }

    #[tokio::test]
    async fn range_queries_give_a_point_a_step_by_get_and_by_post() {
        let form = "query=delta_queue&start=1970-01-01T00:01:00Z&end=180&step=60";
        let (_, by_get) = get(&format!("/api/v1/query_range?{form}")).await;
        let values = json!([[60.0, "1.5"], [120.0, "2.5"], [180.0, "3.5"]]);
        assert_eq!(by_get["data"]["result"][0]["values"], values);
        let post = Request::post("/api/v1/query_range")
            .header("content-type", "application/x-www-form-urlencoded");
        let (_, by_post) = answer(post.body(Body::from(form)).expect("a request")).await;
        assert_eq!(by_get, by_post);
    }

    #[tokio::test]
    async fn what_cannot_be_answered_is_refused_as_prometheus_does() {
        for bad in [
            "query?query=rate(delta_queue[5m])",
            "query?query=",
            "query?query=delta_queue&time=yesterday",
            "query_range?query=delta_queue&start=0&end=60",
            "query_range?query=delta_queue&start=60&end=0&step=15",
            "query_range?query=delta_queue&start=0&end=60&step=0",
            "query_range?query=delta_queue&start=0&end=600000&step=1",
        ] {
            let (status, body) = get(&format!("/api/v1/{bad}")).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{bad}");
            assert_eq!(body["errorType"], "bad_data", "{bad}");
        }
    }

    #[test]
    fn the_history_is_bounded() {
        let scraped = Scraped::default();
        for second in 0..HISTORY_MAX as i64 + 10 {
            scraped.record(Time::UNIX_EPOCH + TimeDelta::seconds(second), BTreeMap::new());
        }
        assert_eq!(scraped.0.lock().expect("no poison").len(), HISTORY_MAX);
    }
}
