//! Change events: what people and their tools say that they changed or are about to change, and
//! what Headwater saw of that itself. Pure data; what an event explains is `diagnose::coincidence`,
//! what an announcement covers `diagnose::announced`.

use serde::{Deserialize, Serialize};

use crate::{incident::Cause, series::Time};

/// The kind of a planned change, which may be announced with its bounds.
pub const MAINTENANCE: &str = "maintenance";

/// The kind that ends such a change before its time.
pub const MAINTENANCE_END: &str = "maintenance_end";

/// The kind of a change of the database's schema or data.
pub const MIGRATION: &str = "migration";

/// The kind of the daemon's own starts.
pub const HEADWATER_START: &str = "headwater_start";

/// The source of what was seen in the platform's database.
pub const DATABASE: &str = "database";

/// Something that was changed, or is about to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeEvent {
    /// When it began.
    pub at: Time,
    /// What kind of change: `deploy`, `config`, `maintenance`, or any other word.
    pub kind: String,
    /// What was changed (untrusted text).
    pub title: String,
    /// Who or what says so (untrusted text).
    pub source: String,
    /// Of a maintenance: how long it lasts, and what it brings about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub announcement: Option<Announcement>,
}

/// What is announced of a maintenance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// Its end, after its beginning.
    pub until: Time,
    /// What it is expected to bring about; without it nothing is silenced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expects: Option<Expected>,
}

/// The bounds of what is expected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// The cause that it would be.
    pub cause: Cause,
    /// Devices that it changes at most.
    pub devices_max: u64,
    /// The applications to which these devices belong; any, if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applications: Option<Vec<ApplicationName>>,
}

/// An application, as people name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ApplicationName {
    /// By its id.
    Id(i64),
    /// By its name, as the platform spells it.
    Name(String),
}

impl ChangeEvent {
    /// Whether two are the same event, told twice.
    pub fn is_same(&self, other: &ChangeEvent) -> bool {
        (self.at, &self.kind, &self.title, &self.source)
            == (other.at, &other.kind, &other.title, &other.source)
    }

    /// What it announces with bounds, and until when.
    pub fn expects(&self) -> Option<(&Expected, Time)> {
        let announcement = self.announcement.as_ref()?;
        Some((announcement.expects.as_ref()?, announcement.until))
    }
}

impl Expected {
    /// Whether the cause can be announced: its devices, or its duration, can be held against the
    /// bounds. What nothing explains, or what blinds the daemon, is nothing to expect; and what
    /// wakes nobody needs no announcement.
    pub fn can_be_announced(cause: Cause) -> bool {
        Expected::knows_applications(cause)
            || matches!(
                cause,
                Cause::DeltaCapacityLoss
                    | Cause::DeltaFailure
                    | Cause::ConnectivityLoss
                    | Cause::StatusDrift
            )
    }

    /// Whether it is known of the cause in which applications it happens.
    pub fn knows_applications(cause: Cause) -> bool {
        matches!(
            cause,
            Cause::MassUnpin
                | Cause::MassPin
                | Cause::MassRepin
                | Cause::MassRetarget
                | Cause::MassDeletion
        )
    }
}

impl ApplicationName {
    /// Whether this names the application with that id and name.
    pub fn is(&self, id: i64, name: &str) -> bool {
        match self {
            ApplicationName::Id(own) => *own == id,
            ApplicationName::Name(own) => own == name,
        }
    }
}
