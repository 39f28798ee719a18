//! The one integration-test binary.

mod backtest;
mod check;
mod cli;
mod config;
mod daemon;
mod dashboards;
mod diagnose;
mod notify;
mod platform;
mod sample;
mod scenarios;
mod servers;
mod simulate;
mod tidy;
