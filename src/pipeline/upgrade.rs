//! A stored state becomes the present one. Detectors change more often than everything else, and
//! one that cannot be understood must cost its own learning and nothing more: not the other
//! signals', not the open incidents, not the start. How one is read that the version before wrote
//! is `detect::upgrade`'s.

use serde::{Deserialize, de::Error as _};
use serde_json::{Error, Value};

use crate::{
    detect::{self, Detector},
    pipeline::{STATE_VERSION, State, Subject, state::WatchedSignal},
};

/// The oldest version that can be taken on.
pub const STATE_VERSION_OLDEST: u32 = 2;

/// The version with which the tally begins.
const TALLY_VERSION: u32 = 3;

/// A state that was read, and what of it could not be.
#[derive(Clone, Debug)]
pub struct Restored {
    /// The state, in the present shape.
    pub state: State,
    /// Signals whose detectors begin anew.
    pub unlearned: Vec<String>,
}

impl State {
    /// Reads what `serde_json` wrote of a state of `version`, from [`STATE_VERSION_OLDEST`] on. An
    /// error means that nothing can be made of it.
    pub fn restore(version: u32, text: &str) -> Result<Restored, Error> {
        if version == STATE_VERSION
            && let Ok(state) = serde_json::from_str(text)
        {
            return Ok(Restored { state, unlearned: Vec::new() });
        }
        let mut stored: Value = serde_json::from_str(text)?;
        let signals = stored.get_mut("signals").map(Value::take);
        let Some(Value::Object(signals)) = signals else {
            return Err(Error::custom("it has no signals"));
        };
        stored["signals"] = Value::Object(serde_json::Map::new());
        stored["version"] = STATE_VERSION.into();
        let mut state: State = serde_json::from_value(stored)?;
        let mut unlearned = Vec::new();
        for (signal, stored) in signals {
            let watched =
                as_it_is(&stored).or_else(|| with_older_detector(&stored)).or_else(|| {
                    unlearned.push(signal.clone());
                    without_detector(stored)
                });
            // Of a signal that has not even a name and a source nothing is left to keep.
            if let Some(watched) = watched {
                state.signals.insert(signal.into(), watched);
            }
        }
        if version < TALLY_VERSION {
            for watch in &mut state.watches {
                watch.tallied = watch.incident.notifications.len();
            }
        }
        keep_away(&mut state, &unlearned);
        Ok(Restored { state, unlearned })
    }
}

fn as_it_is(stored: &Value) -> Option<WatchedSignal> {
    WatchedSignal::deserialize(stored).ok()
}

/// A signal with a detector of the version before.
fn with_older_detector(stored: &Value) -> Option<WatchedSignal> {
    let mut stored = stored.clone();
    let detector = stored.get_mut("detector")?;
    *detector = detect::upgrade::from_third_version(detector.take())?;
    as_it_is(&stored)
}

/// A signal with a detector that has seen nothing.
fn without_detector(mut stored: Value) -> Option<WatchedSignal> {
    stored["detector"] = serde_json::to_value(Detector::new()).ok()?;
    let mut watched: WatchedSignal = serde_json::from_value(stored).ok()?;
    let status = &mut watched.status;
    (status.samples, status.cold) = (0, Some("learns anew since an upgrade".to_owned()));
    (status.score, status.threshold) = (None, None);
    (watched.judged.latest_at, watched.suspect) = (None, None);
    Some(watched)
}

/// Where a detector was lost that knew of an open change, the incident ends when the signal is back
/// in the band that it showed, and not with the forgetting.
fn keep_away(state: &mut State, unlearned: &[String]) {
    let open = state.watches.iter().filter_map(|watch| match &watch.subject {
        Subject::Signal(signal) if unlearned.contains(signal) => Some(signal),
        _ => None,
    });
    for signal in open {
        if let Some(watched) = state.signals.get_mut(signal.as_str()) {
            let status = &watched.status;
            watched.away_from = status.expected_low.zip(status.expected_high);
        }
    }
}
