//! The task that owns the pipeline: takes every ready observation, commits what came of it in one
//! transaction, and only then tells the notifiers and whoever asked.

use std::{collections::BTreeSet, sync::Arc};

use anyhow::{Result, bail};
use chrono::SubsecRound as _;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::{
    change_event::{ChangeEvent, HEADWATER_START},
    clock::Clock,
    incident::{Incident, Severity},
    metrics::Metrics,
    observation::{Observation, Outcome},
    pipeline::{IrregularityKind, Pipeline, Posted, Standing, Step},
    series::Time,
    serve::Command,
    store::{Batch, Sample, Store},
};

/// Observations taken in one turn, and so in one transaction.
const TURN_MAX: usize = 64;
/// Distinct notes that are remembered as said. A source has a handful.
const NOTES_MAX: usize = 1_000;

/// See the module.
pub(super) struct Keeper {
    pub(super) pipeline: Pipeline,
    pub(super) store: Store,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: Clock,
    pub(super) standing: watch::Sender<Standing>,
    pub(super) wake: watch::Sender<u64>,
    /// While the store fails: every open incident, and what it did not take yet. A store that fails
    /// must neither silence a page nor let one end.
    pub(super) unsaved: watch::Sender<Vec<Incident>>,
}

/// Somebody who waits for the commit of what was asked.
enum Answer {
    Decision { reply: oneshot::Sender<Option<Incident>>, incident: Option<Incident> },
    Event { reply: oneshot::Sender<Posted>, posted: Posted },
}

impl Answer {
    fn send(self) {
        // Whoever asked may have gone.
        match self {
            Answer::Decision { reply, incident } => drop(reply.send(incident)),
            Answer::Event { reply, posted } => drop(reply.send(posted)),
        }
    }
}

/// What is carried from turn to turn.
#[derive(Default)]
struct Turn {
    /// Not committed yet; grows, within its bounds, while the store fails.
    batch: Batch,
    answers: Vec<Answer>,
    said: BTreeSet<String>,
    failing: BTreeSet<String>,
    store_fails: bool,
}

impl Keeper {
    /// Runs until the samplers have gone and `stop` is cancelled. Everything that was received is
    /// committed before it returns.
    pub(super) async fn run(
        mut self,
        mut observed: mpsc::Receiver<Observation>,
        mut commanded: mpsc::Receiver<Command>,
        stop: CancellationToken,
    ) -> Result<()> {
        let mut turn = Turn::default();
        self.post(start(self.clock.now()), &mut turn);
        let mut observations = Vec::with_capacity(TURN_MAX);
        let mut samplers_live = true;
        loop {
            tokio::select! {
                biased;
                count = observed.recv_many(&mut observations, TURN_MAX), if samplers_live => {
                    samplers_live = count > 0;
                }
                Some(command) = commanded.recv() => self.command(command, &mut turn),
                () = stop.cancelled() => break,
            }
            for observation in observations.drain(..) {
                self.observe(&observation, &mut turn);
            }
            self.commit(&mut turn).await;
        }
        while let Ok(observation) = observed.try_recv() {
            self.observe(&observation, &mut turn);
        }
        // Pushed samples were answered with "accepted", and that must be true.
        commanded.close();
        while let Some(command) = commanded.recv().await {
            self.command(command, &mut turn);
        }
        self.commit(&mut turn).await;
        if turn.store_fails {
            bail!("the last samples could not be stored: the log says why");
        }
        Ok(())
    }

    fn observe(&mut self, observation: &Observation, turn: &mut Turn) {
        let source = &observation.source;
        match &observation.outcome {
            Outcome::Sampled(reading) => {
                self.metrics.sampled(source, reading.took, observation.at);
                if turn.failing.remove(source) {
                    info!(source, "samples again");
                }
                for note in &reading.notes {
                    if turn.said.len() < NOTES_MAX && turn.said.insert(note.clone()) {
                        warn!(source, "{note}");
                    }
                }
            }
            Outcome::Failed(failure) => {
                self.metrics.sample_failed(source, failure.reason);
                if turn.failing.insert(source.clone()) {
                    warn!(
                        source,
                        reason = failure.reason.label(),
                        "no sample: {}",
                        failure.message
                    );
                }
            }
        }
        let step = self.pipeline.step(observation);
        let lag = (self.clock.now() - observation.at).to_std().unwrap_or_default();
        self.metrics.pipeline_lag(lag);
        self.take(step, observation, turn);
    }

    fn take(&mut self, step: Step, observation: &Observation, turn: &mut Turn) {
        for irregularity in &step.irregularities {
            self.metrics.irregular(&observation.source, irregularity.kind);
            if irregularity.kind == IrregularityKind::ClockStep {
                warn!("{}", irregularity.message);
            } else {
                debug!(kind = irregularity.kind.label(), "{}", irregularity.message);
            }
        }
        for incident in &step.incidents {
            tell(incident, observation);
        }
        self.show_incidents(&step.incidents);
        let mut samples = Vec::new();
        if !step.values.is_empty() {
            let source = observation.source.clone();
            samples.push(Sample { at: observation.at, source, values: step.values });
        }
        let Step { changes, incidents, events, .. } = step;
        let later = Batch { samples, changes, incidents, events };
        let dropped = turn.batch.absorb(later);
        if dropped > 0 {
            warn!(dropped, "the store fails and more is waiting than fits: the oldest is dropped");
        }
    }

    /// Every open incident, with those that have just ended.
    fn show_incidents(&self, touched: &[Incident]) {
        let ended = touched.iter().filter(|incident| !incident.is_open());
        self.metrics.incidents(self.pipeline.incidents().into_iter().chain(ended));
    }

    fn command(&mut self, command: Command, turn: &mut Turn) {
        let (reply, incident) = match command {
            Command::Accept { id, reply } => (reply, self.pipeline.accept(&id, self.clock.now())),
            Command::Reject { id, reply } => (reply, self.pipeline.reject(&id, self.clock.now())),
            Command::Samples { observation } => {
                self.observe(&observation, turn);
                return;
            }
            Command::Event { event, reply } => {
                let posted = self.post(event, turn);
                turn.answers.push(Answer::Event { reply, posted });
                return;
            }
        };
        if let Some(incident) = &incident {
            info!(incident = incident.id, "closed by an operator");
            self.show_incidents(std::slice::from_ref(incident));
            let incidents = vec![incident.clone()];
            turn.batch.absorb(Batch { incidents, ..Batch::default() });
        }
        turn.answers.push(Answer::Decision { reply, incident });
    }

    /// Somebody tells of a change: it is kept, and may be evidence of what is open.
    fn post(&mut self, event: ChangeEvent, turn: &mut Turn) -> Posted {
        let posted = self.pipeline.post(&event, self.clock.now());
        if let Posted::Taken(incidents) = &posted {
            let ChangeEvent { at, kind, title, source, .. } = &event;
            info!(kind, title, source, "a change event of {at}");
            let incidents = incidents.clone();
            turn.batch.absorb(Batch { incidents, events: vec![event], ..Batch::default() });
        }
        posted
    }

    /// Commits, then publishes. While the store fails, notifiers go on with what they know and the
    /// batch waits for the next turn.
    async fn commit(&mut self, turn: &mut Turn) {
        let news = !turn.batch.incidents.is_empty();
        match self.store.commit(&turn.batch, Some(self.pipeline.state())).await {
            Ok(()) => {
                turn.batch = Batch::default();
                self.unsaved.send_if_modified(|unsaved| !std::mem::take(unsaved).is_empty());
                if std::mem::take(&mut turn.store_fails) {
                    info!("the store takes writes again");
                }
            }
            Err(failure) => {
                self.metrics.store_failed();
                let untaken = &turn.batch.incidents;
                let taken = self
                    .pipeline
                    .incidents()
                    .into_iter()
                    .filter(|incident| untaken.iter().all(|newer| newer.id != incident.id));
                self.unsaved.send_replace(taken.chain(untaken).cloned().collect());
                if !std::mem::replace(&mut turn.store_fails, true) {
                    error!("{failure:#}; watching goes on, it is tried again with the next sample");
                }
            }
        }
        if news {
            self.wake.send_modify(|turns| *turns += 1);
        }
        let standing = self.pipeline.standing();
        self.metrics.observe_step(&standing.signals);
        self.standing.send_replace(standing);
        turn.answers.drain(..).for_each(Answer::send);
    }
}

/// The daemon's own start, as an event.
fn start(at: Time) -> ChangeEvent {
    ChangeEvent {
        at: at.trunc_subsecs(3),
        kind: HEADWATER_START.to_owned(),
        title: concat!("Headwater ", env!("CARGO_PKG_VERSION"), " started").to_owned(),
        source: "headwater".to_owned(),
        announcement: None,
    }
}

/// One line for each thing that happens to an incident.
fn tell(incident: &Incident, observation: &Observation) {
    let record = incident.current();
    let (id, cause) = (&incident.id, record.cause.id());
    if let Some(at) = incident.resolved_at {
        info!(incident = id, cause, "resolved at {at}");
    } else if record.detected_at == observation.at && record.severity > Severity::Info {
        warn!(incident = id, cause, severity = record.severity.label(), "{}", record.summary);
    } else if record.detected_at == observation.at {
        info!(incident = id, cause, severity = record.severity.label(), "{}", record.summary);
    }
}
