//! The cold start, shortened by what the store remembers: a pipeline without its state, or a
//! detector that was lost, learns from stored samples before the first new one. What Prometheus
//! remembers comes after it, from where the store ends.

use std::{collections::BTreeSet, time::Duration};

use anyhow::Result;
use chrono::TimeDelta;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::{
    config::Config,
    observation::{Observation, Outcome, Reading},
    pipeline::{Pipeline, SignalStatus},
    series::Time,
    store::{Sample, Store},
};

/// Three weeks: after them baselines are good, and older habits are no longer those of today.
const LENGTH: TimeDelta = TimeDelta::days(21);
/// How long a start waits. What is not learned by then is learned from new samples.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Between two lines that say how far it has come.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// Feeds the store's samples to what has not learned from them. Costs nothing if all is known.
pub(super) async fn learn_stored(
    store: &Store,
    pipeline: &mut Pipeline,
    config: &Config,
    now: Time,
) -> Result<()> {
    let unlearned = pipeline.forgotten_signals();
    let new_sources = config.sources.iter().filter(|one| pipeline.latest(&one.name).is_none());
    let new_sources: BTreeSet<&str> = new_sources.map(|source| source.name.as_str()).collect();
    if unlearned.is_empty() && new_sources.is_empty() {
        return Ok(());
    }
    let given: BTreeSet<(&str, &str)> = config
        .sources
        .iter()
        .flat_map(|source| {
            source.signal_names().into_iter().map(|name| (source.name.as_str(), name))
        })
        .collect();
    let is_wanted = |source: &str, signal: &str| {
        let is_new = new_sources.contains(source) || unlearned.contains(signal);
        is_new && given.contains(&(source, signal))
    };
    let mut history = store.history(now - LENGTH, is_wanted).await?;
    let (started, mut said, mut learned) = (Instant::now(), Instant::now(), 0u64);
    while let Some(samples) = history.next_piece().await? {
        let Some(last) = samples.last().map(|sample| sample.at) else { continue };
        for sample in samples {
            learned += 1;
            if new_sources.contains(sample.source.as_str()) {
                learn(pipeline, sample);
            } else {
                for (signal, value) in &sample.values {
                    pipeline.relearn(signal, sample.at, *value);
                }
            }
        }
        if started.elapsed() > TIMEOUT {
            warn!(
                samples = learned,
                "learned from the store up to {last} only: a start does not wait longer"
            );
            return Ok(());
        }
        if said.elapsed() > PROGRESS_EVERY {
            said = Instant::now();
            info!(samples = learned, "learning from the store, up to {last} so far");
        }
        // A start that is to end must not wait for weeks of history.
        tokio::task::yield_now().await;
    }
    if learned > 0 {
        let (sources, signals) = (new_sources.len(), unlearned.len());
        info!(samples = learned, sources, signals, "learned from the store");
    }
    Ok(())
}

fn learn(pipeline: &mut Pipeline, sample: Sample) {
    let Sample { at, source, values } = sample;
    let reading = Reading { values, ..Reading::default() };
    pipeline.learn(&Observation { at, source, outcome: Outcome::Sampled(Box::new(reading)) });
}

/// One line on what cannot be seen yet: how many signals, and the one with the longest way to go.
pub(super) fn still_learning(signals: &[SignalStatus], configured: usize) -> String {
    let cold: Vec<&SignalStatus> = signals.iter().filter(|one| one.cold.is_some()).collect();
    let unseen = configured.saturating_sub(signals.len());
    let newest = cold.iter().min_by_key(|status| status.samples);
    let newest = newest.and_then(|status| Some((&status.signal, status.cold.as_ref()?)));
    let total = configured.max(signals.len());
    match newest {
        _ if unseen == total => {
            format!("all {total} signals learn from their first sample on: nothing is known yet")
        }
        None if unseen == 0 => format!("all {total} signals have learned enough to be judged"),
        None => format!("{unseen} of {total} signals were never seen, the others are judged"),
        Some((signal, text)) => format!(
            "{} of {total} signals are still learning; the newest of them: {signal} {text}",
            cold.len() + unseen
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Secret, pipeline::State, store::Batch};

    fn config() -> Config {
        let text = "interval: 15s\n\
                    sources:\n\
                    - { type: push, name: a, signals: [queue, requests_total] }\n\
                    - { type: push, name: b, signals: [busy] }\n";
        Config::parse(text, "headwater.yml", &|_| None).unwrap()
    }

    fn at(place: i64) -> Time {
        "2019-09-20T00:00:00Z".parse::<Time>().unwrap() + TimeDelta::seconds(15 * place)
    }

    /// A store with two hours of two sources, and a signal that is no longer configured.
    async fn store(directory: &tempfile::TempDir) -> Store {
        let url = format!("sqlite://{}/headwater.db", directory.path().display());
        let store = Store::open(&Secret::new(url)).await.unwrap();
        let samples = (0..480).flat_map(|place| {
            let of = |source: &str, values: &[(&str, f64)]| Sample {
                at: at(place),
                source: source.to_owned(),
                values: values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
            };
            let level = 50.0 + (place * 7 % 11) as f64;
            [
                of("a", &[("queue", level), ("requests_total", 30.0 * place as f64), ("old", 1.0)]),
                of("b", &[("busy", level)]),
            ]
        });
        let batch = Batch { samples: samples.collect(), ..Batch::default() };
        store.commit(&batch, None).await.unwrap();
        store
    }

    fn samples(pipeline: &Pipeline) -> Vec<(String, u64)> {
        pipeline.signals().into_iter().map(|one| (one.signal, one.samples)).collect()
    }

    #[tokio::test]
    async fn a_store_without_a_state_teaches_a_new_pipeline() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory).await;
        let config = config();
        let mut pipeline = Pipeline::new(config.pipeline_settings(), State::default());
        let before = still_learning(&pipeline.signals(), 3);
        assert!(before.starts_with("all 3 signals learn from their first sample on"), "{before}");
        learn_stored(&store, &mut pipeline, &config, at(480)).await.unwrap();
        let owned = |name: &str, count| (name.to_owned(), count);
        let expected = [owned("busy", 480), owned("queue", 480), owned("requests_total", 479)];
        assert_eq!(samples(&pipeline), expected);
        assert_eq!(pipeline.latest("a"), Some(at(479)), "new samples go on from there");
        assert_eq!(pipeline.incidents().len(), 0);
        let after = still_learning(&pipeline.signals(), 3);
        assert!(after.contains("3 of 3 signals are still learning; the newest"), "{after}");
        // What is known is not learned twice.
        learn_stored(&store, &mut pipeline, &config, at(480)).await.unwrap();
        assert_eq!(samples(&pipeline), expected);
    }

    #[tokio::test]
    async fn one_lost_detector_learns_from_the_store_and_the_others_stay() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory).await;
        let config = config();
        let mut pipeline = Pipeline::new(config.pipeline_settings(), State::default());
        learn_stored(&store, &mut pipeline, &config, at(480)).await.unwrap();
        let mut stored = serde_json::to_value(pipeline.state()).unwrap();
        for signal in ["queue", "requests_total"] {
            stored["signals"][signal]["detector"] = "of another shape".into();
        }
        let restored = State::restore(crate::pipeline::STATE_VERSION, &stored.to_string()).unwrap();
        assert_eq!(restored.unlearned, ["queue", "requests_total"]);
        let mut resumed = Pipeline::new(config.pipeline_settings(), restored.state);
        learn_stored(&store, &mut resumed, &config, at(480)).await.unwrap();
        assert_eq!(samples(&resumed), samples(&pipeline));
        let expected = |pipeline: &Pipeline| {
            let next = Observation {
                at: at(480),
                source: "a".to_owned(),
                outcome: Outcome::Sampled(Box::new(Reading {
                    values: [("queue".to_owned(), 55.0), ("requests_total".to_owned(), 14_400.0)]
                        .into(),
                    ..Reading::default()
                })),
            };
            let mut pipeline = pipeline.clone();
            pipeline.step(&next);
            pipeline.signals().into_iter().map(|one| (one.value, one.expected)).collect::<Vec<_>>()
        };
        assert_eq!(expected(&resumed), expected(&pipeline), "as if nothing had been lost");
    }
}
