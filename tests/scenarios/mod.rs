//! Whole stories on simulated life through the real pipeline, without databases: what must be found
//! and how soon (`events`), what looks like it and must wake nobody (`look_alikes`), days without
//! an event (`ordinary`), and the same as recordings through `headwater backtest` (`recordings`).

mod events;
mod look_alikes;
mod ordinary;
mod recordings;
mod services;
mod stage;
