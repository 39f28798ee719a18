//! Headwater pages the people on call for a device-fleet platform with the likely cause of an
//! incident instead of its downstream symptom. This page is the map of the code.
//!
//! # Bird's-eye view
//!
//! ```text
//! sample ──observations──▶ pipeline ──incidents, changes, values──▶ store ◀── serve (pages, API)
//!                          detect · diagnose                          ▲
//!                                                                     notify (Alertmanager)
//! ```
//!
//! A functional core (`series`, `values`, `accounting`, `fleet`, `incident`, `change_event`,
//! `observation`, `budget`, `detect`, `diagnose`, `pipeline`) holds every decision and is given the
//! time with each observation; a thin shell (`sample`, `store`, `notify`, `serve`, `daemon`) owns
//! sockets, SQL, timers and the clock. `backtest`, the tests and the demo run the same core, and
//! the demo the same shell, on another clock.
//!
//! # Code map, in the order in which data flows
//!
//! - [`series`], [`values`], [`accounting`], [`fleet`], [`incident`], [`change_event`],
//!   [`observation`]: the nouns. A [`fleet::Snapshot`] is cohorts of devices at one instant, and
//!   [`fleet::Flows`] what moved between two; an [`accounting::Reading`] is what PostgreSQL says of
//!   written rows; an [`incident::Incident`] is causes in order with their evidence, and a
//!   [`change_event::ChangeEvent`] what somebody says that they changed, or will.
//! - [`config`]: what was written becomes what it means, before any side effect; the declared
//!   graph's preset.
//! - [`sample`]: one sampler a source; every failure is an outcome with a reason.
//! - [`budget`]: what was achieved of the promised rates, with its interval.
//! - [`detect`]: one signal's baseline, test and threshold.
//! - [`diagnose`]: flows by breadth, sequels and recoveries, row accounting, the causal graph,
//!   change events, what is familiar, the words.
//! - [`pipeline`]: an observation in, changed incidents out; the only owner of state.
//! - [`store`]: SQLite; one transaction a turn of the pipeline.
//! - [`notify`]: what should be firing, and keeping each Alertmanager in that state.
//! - [`serve`], [`metrics`], [`report`]: pages and API, /metrics, and the contract's JSON.
//! - [`clock`], [`http`], [`daemon`]: the shell's clock and client, and the tasks.
//! - [`recording`], [`progress`], [`backtest`]: recordings, how far a command has come, and the
//!   pipeline over a recording or over what Prometheus remembers.
//! - [`diagnosis`]: the columns of any recording, ranked as root cause.
//! - [`simulate`], [`demo`]: a fleet that lives, in memory and in real databases, and the night of
//!   2019 on it.
//! - [`check`], [`cli`]: a configuration tried out, and the command line.
//!
//! # Invariants, mostly absences
//!
//! - The core knows no clock, socket, SQL or configuration file: the same observations give the
//!   same output to the byte, and a pipeline restored from its state goes on as if it had never
//!   stopped.
//! - One task owns the pipeline. Only [`daemon`] starts tasks; a task that dies ends the process.
//! - A missing value is missing: never zero, never the last one. Repeats, rows out of order, set
//!   clocks and stale rows are handled in `pipeline::arrival`, counter resets (by `series::rate`)
//!   and values that cannot be in `pipeline::intake`, and nowhere else.
//! - Nothing is told before it is committed, unless the store fails; then it is told all the same.
//! - Labels and texts of a cause's alert never change once it was told.
//! - No threshold is a constant that somebody chose: it follows from the budget, from history or
//!   from the declared prior. Core types carry serde only because state is stored as a value; the
//!   JSON of the contract is in [`report`].

pub mod series;

pub mod values;

pub mod accounting;
pub mod change_event;
pub mod fleet;
pub mod incident;
pub mod observation;

pub mod config;

pub mod http;

pub mod sample;

pub mod budget;

pub mod detect;

pub mod diagnose;

pub mod pipeline;

pub mod store;

pub mod notify;

pub mod serve;

pub mod metrics;

pub mod clock;

pub mod daemon;

pub mod recording;

pub mod report;

pub mod progress;

pub mod backtest;

pub mod diagnosis;

pub mod simulate;

pub mod demo;

pub mod check;

pub mod cli;
