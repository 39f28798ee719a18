//! Telling people: which alerts an incident gives at an instant (`alerts`, pure), and the client
//! that keeps every Alertmanager in that state (`alertmanager`). Whether something is an incident,
//! and how loud it is, was decided before.

pub mod alerts;

pub mod alertmanager;

mod backoff;

#[cfg(test)]
mod tests;
