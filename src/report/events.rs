//! The JSON of change events, as they are posted and listed.

use serde::{Deserialize, Serialize};

use super::Instant;
use crate::change_event::{Announcement, ChangeEvent, Expected};

/// A change event: the body of `POST /api/v1/events`, its answer, and an element of what `GET`
/// lists. Strict: a bound that is misspelt must not be ignored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "`change_event` describes its fields")]
pub struct EventJson {
    /// Left out, it is the present.
    #[serde(default)]
    pub at: Option<Instant>,
    pub kind: String,
    pub title: String,
    pub source: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Instant>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expects: Option<Expected>,
}

/// The answer of `GET /api/v1/events`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventsJson {
    /// Newest first.
    pub events: Vec<EventJson>,
}

/// The contract's form of an event.
pub fn event_json(event: &ChangeEvent) -> EventJson {
    let announced = event.announcement.as_ref();
    EventJson {
        at: Some(Instant(event.at)),
        kind: event.kind.clone(),
        title: event.title.clone(),
        source: event.source.clone(),
        until: announced.map(|announced| Instant(announced.until)),
        expects: announced.and_then(|announced| announced.expects.clone()),
    }
}

/// What is announced by an event with an end.
pub fn announcement(event: &EventJson) -> Option<Announcement> {
    let until = event.until?.0;
    Some(Announcement { until, expects: event.expects.clone() })
}
