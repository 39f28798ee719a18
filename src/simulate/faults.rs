//! What breaks around the fleet, in no statement of anybody's: workers, deltas, connections and the
//! flags that show them. What follows from it comes with the next ticks of life.

use super::{
    fleet::{Heartbeat, RowChange},
    life::Life,
};

/// Something breaks, or is mended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// So many workers of the delta service are left. Jobs that they have begun end.
    DeltaWorkers {
        /// How many.
        left: usize,
    },
    /// A share of delta jobs fails.
    DeltaFailures {
        /// The share, 0..1.
        share: f64,
    },
    /// A share of the connected devices loses the VPN, and with it the API.
    ConnectionsLost {
        /// The share, 0..1.
        share: f64,
    },
    /// Those that lost it are back, all at once.
    ConnectionsBack,
    /// A share of comings and goings is seen by one of the two signs of life only.
    FlagsMissed {
        /// The share, 0..1.
        share: f64,
    },
    /// Connected devices lose the flag of their VPN, a few at a time, and go on reporting.
    FlagsLost {
        /// Their share in an hour.
        per_hour: f64,
    },
    /// Somebody asks the API so many times as much as usual.
    Requests {
        /// How many times.
        factor: f64,
    },
    /// The delta service is deployed anew: its counters begin at zero.
    DeltaCountersReset,
}

impl Life {
    /// Lets it happen now, and gives what changed in rows.
    pub fn suffer(&mut self, fault: Fault) -> Vec<RowChange> {
        match fault {
            Fault::DeltaWorkers { left } => self.delta.set_workers(left),
            Fault::DeltaFailures { share } => self.delta.set_failure_share(share),
            Fault::FlagsMissed { share } => self.unnoticed_share = share,
            Fault::FlagsLost { per_hour } => self.flags_lost_per_hour = per_hour,
            Fault::Requests { factor } => self.request_factor = factor,
            Fault::DeltaCountersReset => self.delta.restart_counters(),
            Fault::ConnectionsLost { share } => {
                let online: Vec<i64> = self.online().collect();
                let lost = online.into_iter().filter(|_| self.chance.happens(share));
                self.cut_off = lost.collect();
                return self.connect(false);
            }
            Fault::ConnectionsBack => return self.connect(true),
        }
        Vec::new()
    }

    fn online(&self) -> impl Iterator<Item = i64> {
        self.fleet().devices().filter(|device| device.vpn_connected).map(|device| device.id)
    }

    /// Those that were cut off lose their connection, or have it back.
    fn connect(&mut self, comes: bool) -> Vec<RowChange> {
        let heartbeat = if comes { Heartbeat::Online } else { Heartbeat::Timeout };
        let there = self.cut_off.iter().filter(|id| self.fleet().device(**id).is_some());
        let changes: Vec<RowChange> = there
            .map(|device| RowChange::Connection {
                device: *device,
                vpn_connected: comes,
                heartbeat,
            })
            .collect();
        self.take_on(&changes);
        changes
    }
}
