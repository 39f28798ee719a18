//! How tasks live and end. Four groups end one after the other, each told by its own token when the
//! group before it has ended. A task that ends before it was told is a failure of the whole process: a
//! watchman with a dead part must not look alive.

use std::{future::Future, time::Duration};

use anyhow::{Context, Result, anyhow};
use tokio::{
    signal::unix::{SignalKind, signal},
    task::{AbortHandle, JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::Task;

/// How long all groups together may take to end before they are cut.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);

/// Asks the daemon to end.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    /// Drain, commit and end.
    pub soft: CancellationToken,
    /// End now.
    pub hard: CancellationToken,
}

/// Turns the first SIGTERM or SIGINT into a drain and the second into a cut.
pub fn on_signals(shutdown: Shutdown) -> Result<AbortHandle> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let listening = async move {
        for token in [&shutdown.soft, &shutdown.hard] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            token.cancel();
        }
    };
    #[expect(clippy::disallowed_methods, reason = "the daemon is where tasks are started")]
    Ok(tokio::spawn(listening).abort_handle())
}

/// The order in which groups end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    Samplers,
    Keeper,
    Notifiers,
    Http,
}

const GROUPS: [Group; 4] = [Group::Samplers, Group::Keeper, Group::Notifiers, Group::Http];

/// A task that ended: its group, its name and how it went.
type Ended = (Group, String, Result<()>);

/// Every task of the daemon.
pub(super) struct Tasks {
    shutdown: Shutdown,
    stops: [CancellationToken; 4],
    running: [usize; 4],
    set: JoinSet<Ended>,
}

impl Tasks {
    pub(super) fn new(shutdown: Shutdown) -> Tasks {
        let stops = GROUPS.map(|_| CancellationToken::new());
        Tasks { shutdown, stops, running: [0; 4], set: JoinSet::new() }
    }

    pub(super) fn samplers_stop(&self) -> CancellationToken {
        self.stops[Group::Samplers as usize].clone()
    }

    pub(super) fn keeper_stops(&self) -> CancellationToken {
        self.stops[Group::Keeper as usize].clone()
    }

    pub(super) fn notify_stops(&self) -> CancellationToken {
        self.stops[Group::Notifiers as usize].clone()
    }

    pub(super) fn http_stops(&self) -> CancellationToken {
        self.stops[Group::Http as usize].clone()
    }

    pub(super) fn sampler(
        &mut self,
        name: &str,
        task: impl Future<Output = Result<()>> + Send + 'static,
    ) {
        self.start(Group::Samplers, name, Box::pin(task));
    }

    pub(super) fn keeper(
        &mut self,
        name: &str,
        task: impl Future<Output = Result<()>> + Send + 'static,
    ) {
        self.start(Group::Keeper, name, Box::pin(task));
    }

    pub(super) fn notifier(
        &mut self,
        name: &str,
        task: impl Future<Output = Result<()>> + Send + 'static,
    ) {
        self.start(Group::Notifiers, name, Box::pin(task));
    }

    pub(super) fn http(
        &mut self,
        name: &str,
        task: impl Future<Output = Result<()>> + Send + 'static,
    ) {
        self.start(Group::Http, name, Box::pin(task));
    }

    fn start(&mut self, group: Group, name: &str, task: Task) {
        let name = name.to_owned();
        self.running[group as usize] += 1;
        self.set.spawn(async move { (group, name, task.await) });
    }

    /// Waits until the daemon is asked to end or a task dies, then ends every group in order. An error
    /// if a task died.
    pub(super) async fn finish(mut self) -> Result<()> {
        let soft = self.shutdown.soft.clone();
        let mut outcome = Ok(());
        tokio::select! {
            () = soft.cancelled() => info!("draining: samplers stop, what they left is committed"),
            ended = self.set.join_next() => outcome = Err(self.died(ended)),
        }
        let hard = self.shutdown.hard.clone();
        let drained = tokio::select! {
            drained = tokio::time::timeout(DRAIN_TIMEOUT, self.drain()) => drained.ok(),
            () = hard.cancelled() => None,
        };
        match drained {
            Some(Ok(())) => info!("all is committed"),
            Some(Err(error)) => outcome = outcome.and(Err(error)),
            None if hard.is_cancelled() => warn!("cut: the last samples may not be stored"),
            None => {
                error!("not drained after {} s: cut", DRAIN_TIMEOUT.as_secs());
                outcome = outcome.and(Err(anyhow!("the daemon could not drain in time")));
            }
        }
        self.set.shutdown().await;
        outcome
    }

    async fn drain(&mut self) -> Result<()> {
        let mut outcome = Ok(());
        for group in GROUPS {
            self.stops[group as usize].cancel();
            while self.running[group as usize] > 0 {
                match self.set.join_next().await {
                    Some(Ok((ended, name, result))) => {
                        self.running[ended as usize] -= 1;
                        if ended > group {
                            outcome = Err(anyhow!("the task {name} ended before its turn"));
                        }
                        outcome =
                            outcome.and(result.with_context(|| format!("the task {name} failed")));
                    }
                    Some(Err(panicked)) => return Err(anyhow!("a task panicked: {panicked}")),
                    None => return outcome,
                }
            }
        }
        outcome
    }

    fn died(&mut self, ended: Option<Result<Ended, JoinError>>) -> anyhow::Error {
        match ended {
            Some(Ok((group, name, result))) => {
                self.running[group as usize] -= 1;
                match result {
                    Ok(()) => anyhow!("the task {name} ended by itself"),
                    Err(error) => error.context(format!("the task {name} failed")),
                }
            }
            Some(Err(panicked)) => {
                // Whose it was is not known: nothing can be waited for in order any more.
                self.running = [0; 4];
                anyhow!("a task panicked: {panicked}")
            }
            None => anyhow!("there is no task"),
        }
    }
}
