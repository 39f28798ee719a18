//! Headwater pages the people on call for a device-fleet platform with the likely cause of an incident
//! instead of its downstream symptom.

pub mod series;

pub mod accounting;
pub mod fleet;
pub mod incident;

pub mod config;

pub mod http;

pub mod sample;

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

pub mod backtest;

pub mod simulate;

pub mod demo;

pub mod check;

pub mod cli;
