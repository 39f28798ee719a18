//! What the measurements share: the command line, noise from seeded generators, a detector with its
//! clock, means with their standard errors, and tables. No measurement of its own.

#![allow(dead_code, reason = "each measurement is a program that needs a part of this")]

pub(crate) mod calibration;
pub(crate) mod change;
pub(crate) mod command_line;
pub(crate) mod noise;
pub(crate) mod oracle;
pub(crate) mod sets;
pub(crate) mod statistics;
pub(crate) mod table;
pub(crate) mod watch;
