//! The life of tasks that do nothing but end.

use std::{
    future::pending,
    sync::{Arc, Mutex},
};

use super::*;

/// What happened, in order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<&'static str>>>);

impl Log {
    fn note(&self, what: &'static str) {
        self.0.lock().unwrap().push(what);
    }

    fn said(&self) -> Vec<&'static str> {
        self.0.lock().unwrap().clone()
    }
}

/// A task that ends when it is told to, after `takes`.
async fn obedient(
    name: &'static str,
    takes: Duration,
    stop: CancellationToken,
    log: Log,
) -> Result<()> {
    stop.cancelled().await;
    log.note(name);
    tokio::time::sleep(takes).await;
    log.note(name);
    Ok(())
}

/// One obedient task in each group, started in the reverse of the order in which they end.
fn four(shutdown: &Shutdown, log: &Log) -> Tasks {
    let mut tasks = Tasks::new(shutdown.clone());
    let takes = Duration::from_millis(20);
    tasks.http("http", obedient("http", takes, tasks.http_stops(), log.clone()));
    tasks.notifier("notifier", obedient("notifier", takes, tasks.notify_stops(), log.clone()));
    tasks.keeper("pipeline", obedient("pipeline", takes, tasks.keeper_stops(), log.clone()));
    tasks.sampler("sampler", obedient("sampler", takes, tasks.samplers_stop(), log.clone()));
    tasks
}

const IN_ORDER: [&str; 8] =
    ["sampler", "sampler", "pipeline", "pipeline", "notifier", "notifier", "http", "http"];

#[tokio::test]
async fn groups_end_one_after_the_other() {
    let (shutdown, log) = (Shutdown::default(), Log::default());
    let tasks = four(&shutdown, &log);
    shutdown.soft.cancel();
    tasks.finish().await.unwrap();
    assert_eq!(log.said(), IN_ORDER);
}

#[tokio::test]
async fn a_task_that_ends_by_itself_ends_all_in_order_and_is_named() {
    type Dead = std::pin::Pin<Box<dyn Future<Output = Result<()>> + Send>>;
    let deaths: [(Dead, &str); 3] = [
        (Box::pin(async { Ok(()) }), "the task watchman ended by itself"),
        (Box::pin(async { Err(anyhow!("no ink")) }), "the task watchman failed: no ink"),
        (
            Box::pin(async { panic!("out of {}", "paper") }),
            "the task watchman failed: it panicked: out of paper",
        ),
    ];
    for (death, expected) in deaths {
        let (shutdown, log) = (Shutdown::default(), Log::default());
        let mut tasks = four(&shutdown, &log);
        tasks.sampler("watchman", death);
        let error = tasks.finish().await.unwrap_err();
        assert_eq!(format!("{error:#}"), expected);
        assert_eq!(log.said(), IN_ORDER, "after {expected}");
    }
}

#[tokio::test]
async fn a_task_that_dies_during_the_drain_does_not_keep_the_others_from_theirs() {
    let (shutdown, log) = (Shutdown::default(), Log::default());
    let mut tasks = four(&shutdown, &log);
    let stop = tasks.samplers_stop();
    tasks.sampler("panicking", async move {
        stop.cancelled().await;
        panic!("at the end");
    });
    let stop = tasks.samplers_stop();
    tasks.notifier("hasty", async move {
        stop.cancelled().await;
        Ok(())
    });
    shutdown.soft.cancel();
    let error = tasks.finish().await.unwrap_err();
    assert_eq!(format!("{error:#}"), "the task panicking failed: it panicked: at the end");
    assert_eq!(log.said(), IN_ORDER);
}

#[tokio::test]
async fn a_second_signal_cuts_and_says_what_was_cut() {
    let (shutdown, log) = (Shutdown::default(), Log::default());
    let mut tasks = four(&shutdown, &log);
    tasks.keeper("stuck", pending());
    shutdown.soft.cancel();
    let hard = shutdown.hard.clone();
    let after = log.clone();
    let later = async move {
        while after.said().len() < 4 {
            tokio::task::yield_now().await;
        }
        hard.cancel();
    };
    let (finished, ()) = tokio::join!(tasks.finish(), later);
    let error = finished.unwrap_err().to_string();
    assert!(error.starts_with("cut by a second signal before these had ended: http,"), "{error}");
    assert!(error.ends_with("stuck; the last samples may not be stored"), "{error}");
    assert_eq!(log.said(), IN_ORDER[..4], "the groups after the stuck one were never told");
}

#[tokio::test]
async fn a_drain_that_takes_too_long_is_cut() {
    let (shutdown, log) = (Shutdown::default(), Log::default());
    let mut tasks = four(&shutdown, &log);
    tasks.notifier("hanging", pending());
    tasks.drain_timeout = Duration::from_secs(1);
    shutdown.soft.cancel();
    let error = tasks.finish().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "cut after 1s before these had ended: hanging, http; all is committed"
    );
    assert_eq!(log.said(), IN_ORDER[..6]);
}

#[tokio::test]
async fn a_reader_that_never_finishes_is_no_failure() {
    let (shutdown, log) = (Shutdown::default(), Log::default());
    let mut tasks = four(&shutdown, &log);
    tasks.http("slow reader", pending());
    tasks.drain_timeout = Duration::from_secs(1);
    shutdown.soft.cancel();
    tasks.finish().await.unwrap();
    assert_eq!(log.said(), IN_ORDER);
}
