//! The words for mass changes of host OS and supervisor targets, which a device has beside its pin.
//! The sentences around them are `causes`'.

use crate::diagnose::flows::{Family, FlowKind, Way};

/// A kind of target, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// `host OS`.
    pub what: &'static str,
    way: Way,
}

impl Target {
    /// The target that a flow is of; `None` of pins, applications' own targets and devices.
    pub fn of(kind: FlowKind) -> Option<Target> {
        let what = match kind.family() {
            Family::HostOs => "host OS",
            Family::Supervisor => "supervisor",
            Family::Pins | Family::Targets | Family::Devices => return None,
        };
        Some(Target { what, way: kind.way()? })
    }

    /// `lost their host OS target`.
    pub fn happened(self) -> String {
        let what = self.what;
        match self.way {
            Way::Added => format!("got a {what} target"),
            Way::Removed => format!("lost their {what} target"),
            Way::Moved => format!("got another {what} target"),
        }
    }

    /// `Mass unpin of the host OS`.
    pub fn headline(self) -> String {
        let what = self.what;
        match self.way {
            Way::Added => format!("Mass pin of the {what}"),
            Way::Removed => format!("Mass unpin of the {what}"),
            Way::Moved => format!("Mass repin of the {what}"),
        }
    }

    /// What it does to devices.
    pub fn meaning(self) -> String {
        let what = self.what;
        match self.way {
            Way::Added | Way::Moved => format!(
                "A device that runs another {what} than its target is to replace it, which its \
                 owner did not ask for. Application releases and their pins are not touched."
            ),
            Way::Removed => format!(
                "A device without a {what} target stays with the {what} that it runs: no service is \
                 disrupted now, and what its owner was rolling out stops without a word. \
                 Application releases and their pins are not touched."
            ),
        }
    }

    /// What makes it worse.
    pub fn do_not(self) -> String {
        let what = self.what;
        match self.way {
            Way::Added | Way::Moved => format!(
                "Do NOT count on setting lower versions through the API to take it back: a {what} \
                 target below the version that a device runs can be refused. Restore the column."
            ),
            Way::Removed => format!(
                "Do NOT set one {what} target for all devices: each had the one that its owner chose."
            ),
        }
    }
}
