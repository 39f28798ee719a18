//! The sampling loop: aligned, never piled up, ended by its token.

use std::time::Duration;

use headwater::{
    clock::Clock,
    config::{Secret, SourceConfig, SourceKind},
    observation::{FailureReason, Observation, Outcome},
    sample::{Source, run},
    series::Time,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{ROWS, assert_counts, prometheus::Server, sqlite, tables};

#[tokio::test]
async fn samples_are_aligned_and_end_with_the_token() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fleet.db");
    sqlite(&path, &(tables("boolean") + ROWS)).await;
    let url = Secret::new(format!("sqlite://{}", path.display()));
    let kind = SourceKind::OpenBalena { url, evidence_url: None };
    // 15 s of the clock in 250 ms.
    let clock = Clock::scaled(super::at(0), 60.0);
    let interval = Duration::from_secs(15);
    let config = SourceConfig { name: "fleet".to_owned(), kind };
    let source = Source::connect_lazy(&config, clock.real(interval)).unwrap();
    let (sender, mut receiver) = mpsc::channel::<Observation>(1);
    let cancel = CancellationToken::new();
    let receive = async {
        let mut times = Vec::new();
        while times.len() < 3 {
            let observation = receiver.recv().await.expect("the loop runs until it is told");
            assert_eq!(observation.source, "fleet");
            times.push(observation.at);
            if let Outcome::Sampled(reading) = observation.outcome {
                assert_counts(&reading);
            }
        }
        cancel.cancel();
        times
    };
    let (_, times) = tokio::join!(run(source, clock, interval, sender, cancel.clone()), receive);
    let offset = |time: &Time| time.timestamp_micros().rem_euclid(15_000_000);
    assert!(offset(&times[0]) < 1_500_000, "{times:?}");
    assert!(times.iter().all(|time| offset(time) == offset(&times[0])), "{times:?}");
    assert!(times.is_sorted() && times[0] < times[1] && times[1] < times[2], "{times:?}");
}

#[tokio::test]
async fn a_sample_longer_than_the_interval_costs_the_places_it_covers() {
    let server = Server::start().await;
    let interval = Duration::from_millis(200);
    server.tell_value("slow", "1", Duration::from_millis(300));
    let config = SourceConfig { name: "slow".to_owned(), kind: server.kind(&[("x", "slow")]) };
    let source = Source::connect_lazy(&config, interval).unwrap();
    let (sender, mut receiver) = mpsc::channel::<Observation>(1);
    let cancel = CancellationToken::new();
    let receive = async {
        let sampled = receiver.recv().await.unwrap();
        let skipped = receiver.recv().await.unwrap();
        cancel.cancel();
        (sampled, skipped)
    };
    let loop_ends = run(source, Clock::System, interval, sender, cancel.clone());
    let (_, (sampled, skipped)) = tokio::join!(loop_ends, receive);
    let Outcome::Sampled(reading) = sampled.outcome else { panic!("{sampled:?}") };
    assert!(reading.took >= Duration::from_millis(300), "{:?}", reading.took);
    let Outcome::Failed(failure) = &skipped.outcome else { panic!("{skipped:?}") };
    assert_eq!(failure.reason, FailureReason::Overrun);
    assert_eq!(skipped.at - sampled.at, chrono::TimeDelta::from_std(interval).unwrap());
}

#[tokio::test]
async fn a_source_that_is_pushed_to_cannot_be_asked() {
    let kind = SourceKind::Push { signals: vec!["depth".to_owned()] };
    let config = SourceConfig { name: "push".to_owned(), kind };
    let error = Source::connect_lazy(&config, Duration::from_secs(15)).unwrap_err();
    assert!(error.to_string().contains("\"push\""), "{error}");
}
