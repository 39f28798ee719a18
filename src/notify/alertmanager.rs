//! Keeps one Alertmanager in the state that the incidents ask for: what is active is sent again and
//! again until it ends, and its end for a while too. Level-triggered: a lost POST, a restart on
//! either side or an Alertmanager that was away for an hour heals with the next pass, and there is
//! no outbox.
//!
//! Each Alertmanager has its own `Client` and its own `run`, so a dead one delays no other. This
//! module starts no tasks, decides nothing about incidents and owns no metric.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context;
use reqwest::{StatusCode, header};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};
use url::Url;

use crate::{
    clock::Clock,
    http,
    incident::Incident,
    notify::{
        alerts::{self, Alert, AlertSettings},
        backoff::Backoff,
    },
    series::Time,
};

/// Between two passes when nothing happens. Below the usual `group_wait` of 30 s: after a restart
/// of Alertmanager, which forgets its alerts, the causes are back before the symptoms that they
/// mute are let out.
const RESEND_EVERY: Duration = Duration::from_secs(10);

/// One POST with its answer. Well below `RESEND_EVERY`, so that a slow Alertmanager costs no pass.
const POST_TIMEOUT: Duration = Duration::from_secs(5);

/// Reading the incidents. A store that hangs must not keep what is known from being sent again.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// The last pass, at shutdown, with everything in it.
const FINAL_PASS_TIMEOUT: Duration = Duration::from_secs(5);

/// Alerts in one POST. With the bound on annotations a body stays below 2 MiB.
const ALERTS_PER_POST_MAX: usize = 50;

/// How much of a refusal's body is read, for the log.
const REFUSAL_BYTES_MAX: usize = 1024;

/// Under which name metrics count this way of notifying: bounded, whatever is configured.
pub const NOTIFIER: &str = "alertmanager";

/// How one POST ended. The labels of `headwater_notifications_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Accepted.
    Sent,
    /// Not delivered; it will be tried again soon.
    Failed,
    /// Refused as it is. Not retried by itself, but the next pass sends the state of then.
    Rejected,
}

impl Outcome {
    /// Every outcome, so that each series exists at 0.
    pub const ALL: [Outcome; 3] = [Outcome::Sent, Outcome::Failed, Outcome::Rejected];

    /// The label value.
    pub fn label(self) -> &'static str {
        match self {
            Outcome::Sent => "sent",
            Outcome::Failed => "failed",
            Outcome::Rejected => "rejected",
        }
    }
}

/// Why a POST was not accepted.
#[derive(Debug, PartialEq, Eq)]
pub enum PostError {
    /// Trying the same again may help: the network, a timeout, an overloaded or broken server.
    Retry(String),
    /// Trying the same again cannot help.
    GiveUp(String),
}

/// What is told to the metrics, by callbacks so that this module owns none. One for all
/// Alertmanagers: each sender has a clone.
#[derive(Clone)]
pub struct Hooks {
    posted: Arc<dyn Fn(Outcome) + Send + Sync>,
    pending: Arc<dyn Fn(usize) + Send + Sync>,
    /// Alerts that are due and not delivered, over all senders. The lock is held while the sum is
    /// told, so that the last one told is the true one.
    pending_sum: Arc<Mutex<usize>>,
}

impl Hooks {
    /// `posted` hears how each POST ended, `pending` how many alerts are due and not delivered
    /// whenever that changes, summed over all Alertmanagers.
    pub fn new(
        posted: impl Fn(Outcome) + Send + Sync + 'static,
        pending: impl Fn(usize) + Send + Sync + 'static,
    ) -> Hooks {
        let pending_sum = Arc::new(Mutex::new(0));
        Hooks { posted: Arc::new(posted), pending: Arc::new(pending), pending_sum }
    }

    /// One sender's part of the pending alerts changed.
    fn pending_changed(&self, before: usize, now: usize) {
        let mut sum = self.pending_sum.lock().unwrap_or_else(PoisonError::into_inner);
        *sum = *sum - before + now;
        (self.pending)(*sum);
    }
}

/// One Alertmanager.
#[derive(Clone, Debug)]
pub struct Client {
    name: String,
    endpoint: Url,
    http: reqwest::Client,
}

impl Client {
    /// A client of the Alertmanager at `base`, as the configuration gives it: a path in it is kept.
    pub fn new(base: &Url) -> anyhow::Result<Client> {
        let mut endpoint = base.clone();
        endpoint.set_query(None);
        endpoint.set_fragment(None);
        endpoint
            .path_segments_mut()
            .ok()
            .with_context(|| {
                format!("the Alertmanager address of scheme {:?} takes no path", base.scheme())
            })?
            .pop_if_empty()
            .extend(["api", "v2", "alerts"]);
        let port = base.port().map(|port| format!(":{port}")).unwrap_or_default();
        let path = base.path().trim_end_matches('/');
        let name = format!("{}{port}{path}", base.host_str().unwrap_or_default());
        Ok(Client { name, endpoint, http: http::client_without_redirects(POST_TIMEOUT)? })
    }

    /// Which one, for people: host, port and path, never credentials.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sends alerts in one POST.
    pub async fn post(&self, alerts: &[Alert]) -> Result<(), PostError> {
        // Credentials within the address become a header; `without_url` keeps them out of messages.
        let request = self.http.post(self.endpoint.clone()).json(alerts);
        let response = request.send().await.map_err(|error| {
            PostError::Retry(format!("{:#}", anyhow::Error::new(error.without_url())))
        })?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let message = if status.is_redirection() {
            let location = response.headers().get(header::LOCATION);
            let elsewhere = location.is_some();
            let hint = if elsewhere { "; give the address that it redirects to" } else { "" };
            format!("it answered {status}{hint}")
        } else {
            format!("it answered {status}: {}", refusal(response).await)
        };
        let transient = status.is_server_error()
            || status == StatusCode::TOO_MANY_REQUESTS
            || status == StatusCode::REQUEST_TIMEOUT;
        Err(if transient { PostError::Retry(message) } else { PostError::GiveUp(message) })
    }
}

/// The beginning of a refusal's body, on one line.
async fn refusal(mut response: reqwest::Response) -> String {
    let mut body = Vec::new();
    while body.len() < REFUSAL_BYTES_MAX
        && let Ok(Some(chunk)) = response.chunk().await
    {
        body.extend_from_slice(&chunk);
    }
    body.truncate(REFUSAL_BYTES_MAX);
    String::from_utf8_lossy(&body).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What one sender is given, besides its incidents.
pub struct Sender {
    /// Whom it keeps informed.
    pub client: Client,
    /// What alerts take from the configuration.
    pub settings: AlertSettings,
    /// The time that alerts carry, and by which passes are spaced.
    pub clock: Clock,
    /// Who counts.
    pub hooks: Hooks,
    /// From what the spread of retries follows; another one for each Alertmanager.
    pub seed: u64,
}

/// How a pass went.
#[derive(Clone, Debug)]
enum Pass {
    /// All that was due was accepted, if only the empty list.
    Accepted,
    /// Something was refused as it is, for this reason.
    Refused(String),
    /// Something could not be delivered, for this reason.
    Undelivered(String),
}

/// What a sender remembers between two passes. Nothing of it needs to outlive the process.
struct Memory {
    /// The incidents of the last successful reading: sent again while the store cannot be read.
    incidents: Vec<Incident>,
    /// How the last pass went, so that a lasting trouble is logged once.
    last: Pass,
    /// The store could not be read in the last pass; logged once.
    blind: bool,
    /// Alerts counted as pending.
    pending: usize,
    backoff: Backoff,
}

/// Keeps one Alertmanager informed until `stop`, then sends once more. To be stopped after the last
/// incident was stored.
///
/// `incidents` gives the open incidents and those resolved since an instant. A pass happens at
/// once, whenever `wake` changes, and every 10 s of the clock.
pub async fn run<Read, Reading>(
    sender: Sender,
    incidents: Read,
    mut wake: watch::Receiver<u64>,
    stop: CancellationToken,
) where
    Read: Fn(Time) -> Reading,
    Reading: Future<Output = anyhow::Result<Vec<Incident>>>,
{
    let mut memory = Memory {
        incidents: Vec::new(),
        last: Pass::Accepted,
        blind: false,
        pending: 0,
        backoff: Backoff::new(sender.seed),
    };
    loop {
        // Whatever is stored from here on wakes the next pass.
        wake.borrow_and_update();
        let pass = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            pass = sender.pass(&incidents, &mut memory) => pass,
        };
        let wait = match pass {
            Pass::Undelivered(_) => memory.backoff.next(),
            Pass::Accepted | Pass::Refused(_) => {
                memory.backoff.reset();
                sender.clock.real(RESEND_EVERY)
            }
        };
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(wait) => {}
            () = woken(&mut wake) => {}
        }
    }
    let last = tokio::time::timeout(FINAL_PASS_TIMEOUT, sender.pass(&incidents, &mut memory));
    if last.await.is_err() {
        warn!(
            alertmanager = sender.client.name(),
            "the last pass before the end took too long: the next start will send what is open"
        );
    }
    sender.count_pending(&mut memory, 0);
}

/// Ends when `wake` changes. Never ends if nobody is left who could change it.
async fn woken(wake: &mut watch::Receiver<u64>) {
    if wake.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

impl Sender {
    /// Reads what is active and sends all of it.
    async fn pass<Read, Reading>(&self, incidents: &Read, memory: &mut Memory) -> Pass
    where
        Read: Fn(Time) -> Reading,
        Reading: Future<Output = anyhow::Result<Vec<Incident>>>,
    {
        self.read(incidents, memory).await;
        let now = self.clock.now();
        let mut due: Vec<Alert> = memory
            .incidents
            .iter()
            .flat_map(|incident| alerts::alerts(incident, now, &self.settings))
            .collect();
        // The loudest first over all incidents. The sort is stable, so an incident's own order
        // stays.
        due.sort_by_key(|alert| std::cmp::Reverse(alert.severity));
        self.count_pending(memory, due.len());
        let pass = self.send(&due, memory).await;
        self.log_turn(&memory.last, &pass);
        memory.last = pass.clone();
        pass
    }

    /// Takes the incidents of now; keeps those of before if they cannot be read, so that a failing
    /// store does not resolve anything.
    async fn read<Read, Reading>(&self, incidents: &Read, memory: &mut Memory)
    where
        Read: Fn(Time) -> Reading,
        Reading: Future<Output = anyhow::Result<Vec<Incident>>>,
    {
        let resolved_since = self.clock.now() - alerts::RESEND_ENDED_FOR;
        let reading = tokio::time::timeout(READ_TIMEOUT, incidents(resolved_since)).await;
        let read = reading.unwrap_or_else(|_| {
            Err(anyhow::anyhow!("no answer within {} s", READ_TIMEOUT.as_secs()))
        });
        match read {
            Ok(read) => {
                memory.incidents = read;
                memory.blind = false;
            }
            Err(error) if !memory.blind => {
                memory.blind = true;
                error!(
                    alertmanager = self.client.name(),
                    error = format!("{error:#}"),
                    known = memory.incidents.len(),
                    "could not read the incidents: those last read are sent again until it works"
                );
            }
            Err(_) => {}
        }
    }

    /// Sends alerts, some at a time. A refusal of some does not keep the others back; an
    /// Alertmanager that cannot be reached is not asked again in this pass.
    async fn send(&self, due: &[Alert], memory: &mut Memory) -> Pass {
        if due.is_empty() {
            return self.probe().await;
        }
        let mut pass = Pass::Accepted;
        let mut left = due.len();
        for some in due.chunks(ALERTS_PER_POST_MAX) {
            match self.client.post(some).await {
                Ok(()) => (self.hooks.posted)(Outcome::Sent),
                Err(PostError::GiveUp(reason)) => {
                    (self.hooks.posted)(Outcome::Rejected);
                    pass = Pass::Refused(reason);
                }
                Err(PostError::Retry(reason)) => {
                    (self.hooks.posted)(Outcome::Failed);
                    return Pass::Undelivered(reason);
                }
            }
            left -= some.len();
            self.count_pending(memory, left);
            for alert in some {
                debug!(labels = ?alert.labels, why = %alert.decision, "alert sent");
            }
        }
        pass
    }

    /// Nothing is due: sends an empty list, so that a pager that cannot be reached is known,
    /// counted and logged before it is needed. Only its failures count, for nobody was notified.
    async fn probe(&self) -> Pass {
        match self.client.post(&[]).await {
            Ok(()) => Pass::Accepted,
            Err(PostError::GiveUp(reason)) => {
                (self.hooks.posted)(Outcome::Rejected);
                Pass::Refused(reason)
            }
            Err(PostError::Retry(reason)) => {
                (self.hooks.posted)(Outcome::Failed);
                Pass::Undelivered(reason)
            }
        }
    }

    /// Logs a pass that went otherwise than the one before, once for as long as that lasts.
    fn log_turn(&self, before: &Pass, now: &Pass) {
        let alertmanager = self.client.name();
        if std::mem::discriminant(before) == std::mem::discriminant(now) {
            debug!(alertmanager, pass = ?now, "as before");
            return;
        }
        match now {
            Pass::Accepted => info!(alertmanager, "Alertmanager accepts alerts again"),
            Pass::Refused(reason) => error!(
                alertmanager,
                reason, "Alertmanager refuses alerts: correct the configuration or the address"
            ),
            Pass::Undelivered(reason) => error!(
                alertmanager,
                reason, "could not reach Alertmanager: alerts are sent again until it answers"
            ),
        }
    }

    fn count_pending(&self, memory: &mut Memory, alerts: usize) {
        if alerts != memory.pending {
            self.hooks.pending_changed(memory.pending, alerts);
            memory.pending = alerts;
        }
    }
}
