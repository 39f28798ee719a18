//! The sources: each is asked once an interval and answers with an observation, whatever happens.
//! Owns connections, queries and the reasons for missing samples. Does no arithmetic on fleets or
//! signals beyond folding rows: flows, counts and rates are the pipeline's.

mod counters;
mod database;
mod evidence;
mod failure;
mod migrations;
mod open_balena;
mod pace;
mod prometheus;
mod schema;
mod sql;
mod staleness;
mod statement_queries;
mod statements;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use self::{database::APPLICATION_NAME, evidence::GRANTS, prometheus::Range};
use self::{open_balena::OpenBalena, pace::Schedule, prometheus::Prometheus, sql::Sql};
use crate::{
    clock::Clock,
    config::{SourceConfig, SourceKind},
    observation::{Failure, FailureReason, Observation, Outcome, Reading},
    recording::Recording,
    series::Time,
};

/// Samples that one slow sample can be said to have displaced. Limits keep a sample below two
/// intervals, so more means that the machine slept or the pipeline stood still: a gap.
const OVERRUNS_MAX: usize = 3;

/// How long a goodbye to a server may take at shutdown.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A source that is asked.
#[derive(Debug)]
pub struct Source {
    name: String,
    kind: Kind,
}

/// The kinds differ much in size, but there are only as many as there are sources.
#[derive(Debug)]
enum Kind {
    OpenBalena(Box<OpenBalena>),
    Sql(Box<Sql>),
    Prometheus(Box<Prometheus>),
}

impl Source {
    /// Prepares a source for samples every `interval` of *real* time (a scaled clock's is shorter
    /// than the configured one), without connecting to it. Fails only on what cannot become right
    /// by itself: a URL that cannot be understood, or a source that is pushed to.
    pub fn connect_lazy(config: &SourceConfig, interval: Duration) -> Result<Source> {
        let name = config.name.clone();
        let built = match &config.kind {
            SourceKind::OpenBalena { url, evidence_url } => {
                OpenBalena::new(&name, url, evidence_url.as_ref(), interval)
                    .map(|source| Kind::OpenBalena(Box::new(source)))
            }
            SourceKind::Sql { url, signals } => Sql::new(&name, url, signals.clone(), interval)
                .map(|source| Kind::Sql(Box::new(source))),
            SourceKind::Prometheus { url, signals } => {
                Prometheus::new(&name, url, signals.clone(), interval)
                    .map(|source| Kind::Prometheus(Box::new(source)))
            }
            SourceKind::Push { .. } => bail!("source \"{name}\" is pushed to and cannot be asked"),
        };
        let kind = built.with_context(|| format!("source \"{name}\""))?;
        Ok(Source { name, kind })
    }

    /// The source's name in the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Asks once. `at` is the sample's time on the shell's clock. Every failure becomes an outcome.
    pub async fn sample(&mut self, at: Time) -> Observation {
        let started = Instant::now();
        let answer = match &mut self.kind {
            Kind::OpenBalena(source) => source.sample(at).await,
            Kind::Sql(source) => source.sample().await,
            Kind::Prometheus(source) => source.sample(at).await,
        };
        let outcome = match answer {
            Ok(mut reading) => {
                reading.took = started.elapsed();
                Outcome::Sampled(Box::new(reading))
            }
            Err(failure) => Outcome::Failed(failure),
        };
        Observation { at, source: self.name.clone(), outcome }
    }

    /// What the source remembers, as a recording of its signals. `tell` hears which part of the
    /// range has come, in 0..1. Only Prometheus remembers; from the others it is empty.
    pub async fn history(
        &mut self,
        range: Range,
        tell: &mut (dyn FnMut(f64) + Send),
    ) -> Result<Recording> {
        match &mut self.kind {
            Kind::Prometheus(source) => source.history(range, tell).await,
            Kind::OpenBalena(_) | Kind::Sql(_) => Ok(Recording::default()),
        }
    }

    /// Says goodbye to servers.
    pub async fn close(&mut self) {
        let close = async {
            match &mut self.kind {
                Kind::OpenBalena(source) => source.close().await,
                Kind::Sql(source) => source.close().await,
                Kind::Prometheus(_) => {}
            }
        };
        // Whoever does not hear it finds a closed socket.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, close).await;
    }
}

/// Samples `source` every `interval` of `clock` until `cancel` or until nobody receives. The places
/// of samples are multiples of the interval, moved by a small offset that follows from the source's
/// name. A place that passes while a sample is under way (or waits to be received) is skipped and
/// delivered as an `Overrun` failure: samples never pile up.
pub async fn run(
    mut source: Source,
    clock: Clock,
    interval: Duration,
    sender: mpsc::Sender<Observation>,
    cancel: CancellationToken,
) {
    let sampling = sample_until_closed(&mut source, &clock, interval, &sender);
    // A sample that is cut off leaves its server with a closed connection, nothing else.
    let _ = cancel.run_until_cancelled(sampling).await;
    source.close().await;
}

async fn sample_until_closed(
    source: &mut Source,
    clock: &Clock,
    interval: Duration,
    sender: &mpsc::Sender<Observation>,
) {
    let schedule = Schedule::new(source.name(), interval);
    let mut taken: Option<Time> = None;
    loop {
        let place = match taken {
            // The clock may be a little behind the place that it was just woken for.
            Some(taken) if !schedule.is_astray(taken, clock.now()) => schedule.next(taken),
            _ => schedule.next(clock.now()),
        };
        clock.sleep_until(place).await;
        if schedule.is_astray(place, clock.now()) {
            // The machine slept or the clock was set: the time of this place is not now.
            taken = None;
            continue;
        }
        let observation = source.sample(place).await;
        if sender.send(observation).await.is_err() {
            return;
        }
        let missed = schedule.missed(place, clock.now(), OVERRUNS_MAX);
        taken = Some(missed.last().copied().unwrap_or(place));
        for at in missed {
            if sender.send(overrun(source.name(), at, interval)).await.is_err() {
                return;
            }
        }
    }
}

fn overrun(source: &str, at: Time, interval: Duration) -> Observation {
    let message = format!(
        "source \"{source}\": the previous sample took longer than the interval of \
         {interval:?}, so this one was skipped; look at the source's load, or raise the interval"
    );
    let failure = Failure { reason: FailureReason::Overrun, message };
    Observation { at, source: source.to_owned(), outcome: Outcome::Failed(failure) }
}

/// Puts together what several independent questions gave: the values of those that answered, with a
/// note on each other; a failure, the first one's, only if none answered.
fn combine(answers: Vec<(String, Result<Option<f64>, Failure>)>) -> Result<Reading, Failure> {
    let mut reading = Reading::default();
    let mut first_failure = None;
    let mut answered = answers.is_empty();
    for (signal, answer) in answers {
        match answer {
            Ok(value) => {
                answered = true;
                // A number that is none goes on as it is: the pipeline counts it, and takes it for
                // missing.
                if let Some(value) = value {
                    reading.values.insert(signal, value);
                }
            }
            Err(failure) => {
                reading.notes.push(failure.message.clone());
                first_failure.get_or_insert(failure);
            }
        }
    }
    match first_failure {
        Some(failure) if !answered => Err(failure),
        _ => Ok(reading),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::Values;

    fn failed(message: &str) -> Result<Option<f64>, Failure> {
        let reason = FailureReason::Query;
        Err(Failure { reason, message: message.to_owned() })
    }

    #[test]
    fn a_source_fails_only_if_every_question_fails() {
        let some = vec![("a".to_owned(), failed("first")), ("b".to_owned(), Ok(Some(2.0)))];
        let reading = combine(some).unwrap();
        assert_eq!(reading.values, Values::from([("b", 2.0)]));
        assert_eq!(reading.notes, ["first"]);
        let none = vec![("a".to_owned(), failed("first")), ("b".to_owned(), failed("second"))];
        assert_eq!(combine(none).unwrap_err().message, "first");
    }

    #[test]
    fn nothing_is_missing_and_what_is_no_number_stays_for_the_pipeline_to_count() {
        let answers = vec![
            ("a".to_owned(), Ok(None)),
            ("b".to_owned(), Ok(Some(f64::NAN))),
            ("c".to_owned(), Ok(Some(f64::INFINITY))),
        ];
        let values = combine(answers).unwrap().values;
        assert!(!values.contains_key("a") && values["b"].is_nan() && values["c"].is_infinite());
    }
}
