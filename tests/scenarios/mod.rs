//! Whole stories on simulated life through the real pipeline, without databases. What is played is
//! data: events (`events`), breaks (`breaks`) and what looks like them (`look_alikes`), as entries
//! of one `catalogue`. `sample` plays some of it with every run of the tests, `full` all of it and
//! prints the table of what was promised, with usual z-score rules (`rules`) beside; `ordinary`
//! lives days without an event, `calibration` holds the stated probabilities against the truth, and
//! `recordings` plays the same through `headwater backtest`.

mod breaks;
mod calibration;
mod catalogue;
mod events;
mod figures;
mod full;
mod look_alikes;
mod ordinary;
mod play;
mod recordings;
mod rules;
mod sample;
mod special;
mod stage;
