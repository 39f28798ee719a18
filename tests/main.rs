//! The one integration-test binary.

mod check;
mod cli;
mod config;
mod servers;
