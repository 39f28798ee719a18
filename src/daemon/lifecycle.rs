//! How tasks live and end. Four groups end one after the other, each told by its own token when the
//! group before it has ended. A task that ends before it was told is a failure of the whole
//! process: a watchman with a dead part must not look alive.

use std::{collections::HashMap, future::Future, time::Duration};

use anyhow::{Context, Result, anyhow};
use tokio::{
    signal::unix::{SignalKind, signal},
    task::{AbortHandle, Id, JoinError, JoinSet},
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

/// What the set of tasks says of one that ended.
type Joined = Result<(Id, Result<()>), JoinError>;

/// Every task of the daemon.
pub(super) struct Tasks {
    shutdown: Shutdown,
    stops: [CancellationToken; 4],
    /// Whose task is whose: a task that panics can say nothing of itself any more.
    running: HashMap<Id, (Group, String)>,
    set: JoinSet<Result<()>>,
    drain_timeout: Duration,
}

impl Tasks {
    pub(super) fn new(shutdown: Shutdown) -> Tasks {
        let stops = GROUPS.map(|_| CancellationToken::new());
        let (running, set) = (HashMap::new(), JoinSet::new());
        Tasks { shutdown, stops, running, set, drain_timeout: DRAIN_TIMEOUT }
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
        let handle = self.set.spawn(task);
        self.running.insert(handle.id(), (group, name.to_owned()));
    }

    /// Waits until the daemon is asked to end or a task dies, then ends every group in order. An
    /// error if a task died, or if what was under way may not have been committed.
    pub(super) async fn finish(mut self) -> Result<()> {
        let soft = self.shutdown.soft.clone();
        let mut outcome = Ok(());
        tokio::select! {
            biased;
            () = soft.cancelled() => info!("draining: samplers stop, what they left is committed"),
            joined = self.set.join_next_with_id() => {
                let error = joined.map_or_else(|| anyhow!("there is no task"), |it| self.died(it));
                error!("{error:#}: the other tasks are drained, then the daemon ends");
                outcome = Err(error);
            }
        }
        let (hard, timeout) = (self.shutdown.hard.clone(), self.drain_timeout);
        let drained = tokio::select! {
            drained = tokio::time::timeout(timeout, self.drain()) => drained.ok(),
            () = hard.cancelled() => None,
        };
        match drained {
            Some(Ok(())) if outcome.is_ok() => info!("all is committed"),
            Some(drained) => outcome = outcome.and(drained),
            None => outcome = outcome.and(self.cut()),
        }
        self.set.shutdown().await;
        outcome
    }

    /// What it means that the drain did not come to its end.
    fn cut(&self) -> Result<()> {
        let why = if self.shutdown.hard.is_cancelled() {
            "by a second signal".to_owned()
        } else {
            format!("after {:?}", self.drain_timeout)
        };
        let left = self.running.values();
        if left.clone().all(|(group, _)| *group == Group::Http) {
            warn!("cut {why} while a request was being answered; all is committed");
            return Ok(());
        }
        let mut names: Vec<&str> = left.map(|(_, name)| name.as_str()).collect();
        names.sort_unstable();
        let names = names.join(", ");
        let kept = self.running.values().all(|(group, _)| *group > Group::Keeper);
        let lost = if kept { "all is committed" } else { "the last samples may not be stored" };
        Err(anyhow!("cut {why} before these had ended: {names}; {lost}"))
    }

    /// Ends the groups in order, each to its end, whatever became of one task. An error is the
    /// first one.
    async fn drain(&mut self) -> Result<()> {
        let mut outcome = Ok(());
        for group in GROUPS {
            self.stops[group as usize].cancel();
            while self.running.values().any(|(running, _)| *running == group) {
                let Some(joined) = self.set.join_next_with_id().await else { return outcome };
                let (ended, name, result) = self.ended(joined);
                if ended > group && result.is_ok() {
                    outcome = outcome.and(Err(anyhow!("the task {name} ended before its turn")));
                }
                outcome = outcome.and(result.with_context(|| format!("the task {name} failed")));
            }
        }
        outcome
    }

    fn died(&mut self, joined: Joined) -> anyhow::Error {
        match self.ended(joined) {
            (_, name, Ok(())) => anyhow!("the task {name} ended by itself"),
            (_, name, Err(error)) => error.context(format!("the task {name} failed")),
        }
    }

    fn ended(&mut self, joined: Joined) -> Ended {
        let (id, result) = match joined {
            Ok((id, result)) => (id, result),
            Err(error) => {
                let panicked = error.id();
                (panicked, Err(anyhow!("{}", panic_text(error))))
            }
        };
        let known = self.running.remove(&id);
        let (group, name) = known.expect("every task of the set is noted when it is started");
        (group, name, result)
    }
}

/// What a panic said, or that the task was aborted.
fn panic_text(error: JoinError) -> String {
    match error.try_into_panic() {
        Ok(payload) => {
            let said = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let said = said.or_else(|| payload.downcast_ref::<String>().cloned());
            format!("it panicked: {}", said.unwrap_or_else(|| "without a text".to_owned()))
        }
        Err(aborted) => aborted.to_string(),
    }
}

#[cfg(test)]
mod tests;
