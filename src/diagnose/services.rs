//! In words: the causes that show in levels, of delta generation and of connections. Which of them
//! it is, `signatures` says.

use crate::{
    diagnose::texts::{count, counted, hms, level},
    incident::{BlastRadius, Cause, CauseRecord, Evidence, Scope},
    series::{Direction, Kind, Time},
};

/// How one signal of a cause's family stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The signal.
    pub signal: &'static str,
    /// Since when it is away from its ordinary level by more than its parents explain, and which
    /// way. `None` if it is not.
    pub moved: Option<(Time, Direction)>,
    /// Its ordinary level.
    pub before: f64,
    /// Its present level: per second, for a counter.
    pub now: f64,
}

/// What is known of such a cause.
#[derive(Clone, Debug)]
pub struct ServiceFacts<'a> {
    /// Which.
    pub cause: Cause,
    /// The first sample of the new regime.
    pub onset: Time,
    /// The present.
    pub now: Time,
    /// Its probability among the family's causes.
    pub probability: f64,
    /// How every delivered signal of the family stands, upstream first.
    pub findings: &'a [Finding],
    /// What the test says that told of it.
    pub statistic: String,
    /// Where jobs are counted, which proves the cause by itself: how many are asked for in an hour,
    /// if that is known, and how many ordinarily end in one.
    pub counted: Option<Demand>,
}

/// What is asked of delta generation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Demand {
    /// Jobs asked for in an hour, since the onset or of late.
    pub an_hour: Option<f64>,
    /// Jobs that ordinarily end in one.
    pub ordinarily: f64,
}

impl Finding {
    /// `delta_queue rose from 0 to 45 since 22:10:15 UTC`.
    fn text(&self) -> String {
        let per = if Kind::of(self.signal) == Kind::Counter { " a second" } else { "" };
        let (signal, before, now) = (self.signal, level(self.before), level(self.now));
        match self.moved {
            None => format!("{signal} is at {now}{per} (ordinarily {before})"),
            Some((onset, direction)) => {
                let verb = if direction == Direction::Up { "rose" } else { "fell" };
                format!("{signal} {verb} from {before} to {now}{per} since {} UTC", hms(onset))
            }
        }
    }

    fn fallen(&self) -> u64 {
        (self.before - self.now).max(0.0).round() as u64
    }
}

impl ServiceFacts<'_> {
    /// The cause's record, with its texts.
    pub fn record(&self) -> CauseRecord {
        let evidence = self.evidence();
        let next_steps: Vec<String> = self.next_steps().iter().map(|step| (*step).into()).collect();
        let facts: Vec<&str> = evidence.iter().map(|fact| fact.text.as_str()).collect();
        let description = format!(
            "{}\n\nEvidence:\n- {}\n\nNext:\n- {}\n",
            self.meaning(),
            facts.join("\n- "),
            next_steps.join("\n- "),
        );
        CauseRecord {
            cause: self.cause,
            severity: self.cause.severity(),
            scope: Scope::Platform,
            onset: self.onset,
            detected_at: self.now,
            superseded_at: None,
            title: self.title(),
            summary: self.summary(),
            description,
            probability: self.probability,
            evidence,
            blast_radius: BlastRadius { devices: self.devices(), ..BlastRadius::default() },
            next_steps,
        }
    }

    fn finding(&self, signal: &str) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.signal == signal)
    }

    /// What moved, in the order of the family.
    fn moved(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.moved.is_some())
    }

    /// The connections that fell most.
    fn lost(&self) -> Option<&Finding> {
        let fell = self.moved().filter(|finding| finding.fallen() > 0);
        fell.max_by_key(|finding| finding.fallen())
    }

    fn devices(&self) -> u64 {
        match self.cause {
            Cause::ConnectivityLoss | Cause::VpnRestart => self.lost().map_or(0, Finding::fallen),
            Cause::StatusDrift => {
                let flags = self.finding("devices_vpn_heartbeat_mismatch");
                flags.map_or(0, |flags| (flags.now - flags.before).max(0.0).round() as u64)
            }
            _ => 0,
        }
    }

    fn title(&self) -> String {
        let devices = counted(self.devices(), "device", "devices");
        match self.cause {
            Cause::DeltaCapacityLoss => "Delta generation has lost capacity".to_owned(),
            Cause::DeltaFailure => "Delta generation fails".to_owned(),
            Cause::ConnectivityLoss => format!("Connectivity loss: {devices} went offline"),
            Cause::VpnRestart => format!("VPN restart: {devices} were offline for minutes"),
            Cause::StatusDrift => format!("Status drift: {devices} more with flags that disagree"),
            other => other.id().to_owned(),
        }
    }

    /// What, how many, where, since when.
    fn summary(&self) -> String {
        let since = hms(self.onset);
        let moves: Vec<String> = self.moved().map(Finding::text).collect();
        let moves = if self.counted.is_some() { self.statistic.clone() } else { moves.join("; ") };
        match self.cause {
            Cause::DeltaCapacityLoss => format!(
                "Delta jobs wait since {since} UTC and demand does not explain it: {moves}; \
                 {}.",
                self.demand()
            ),
            Cause::DeltaFailure => format!(
                "Deltas fail or do not end since {since} UTC while the fleet's state is as it was: \
                 {moves}; {}.",
                self.demand()
            ),
            Cause::VpnRestart => {
                let gone_s = (self.now - self.onset).num_seconds();
                let devices = counted(self.devices(), "device", "devices");
                format!(
                    "{devices} lost their connection at {since} UTC and were back within {} s.",
                    count(gone_s)
                )
            }
            Cause::ConnectivityLoss => {
                let before = self.lost().map_or(0.0, |lost| lost.before);
                let devices = counted(self.devices(), "device", "devices");
                format!(
                    "{devices} of {} lost their connection since {since} UTC and are not back: \
                     {moves}.",
                    level(before)
                )
            }
            _ => format!("VPN flags and heartbeats of devices part since {since} UTC: {moves}."),
        }
    }

    /// What the fleet asks for, for what is held against it.
    fn demand(&self) -> String {
        if let Some(Demand { an_hour: Some(asked), ordinarily }) = self.counted {
            let (asked, ordinarily) = (level(asked), level(ordinarily));
            return format!("{asked} jobs an hour are asked for (ordinarily {ordinarily})");
        }
        match self.finding("delta_requests_total") {
            None => "how many are asked for is not known (delta_requests_total)".to_owned(),
            Some(requests) if requests.moved.is_some() => {
                "what is asked for grows by what is asked for again".to_owned()
            }
            Some(requests) => {
                let (now, before) = (level(requests.now), level(requests.before));
                format!("{now} jobs are asked for in a second (ordinarily {before})")
            }
        }
    }

    fn evidence(&self) -> Vec<Evidence> {
        let findings = self
            .findings
            .iter()
            .map(|finding| Evidence { kind: "change".to_owned(), text: finding.text() });
        let statistic = Evidence { kind: "change".to_owned(), text: self.statistic.clone() };
        findings.chain([statistic]).collect()
    }

    fn meaning(&self) -> &'static str {
        match self.cause {
            Cause::DeltaCapacityLoss => {
                "Updates wait for their deltas: workers are lost or slow. No device runs anything \
                 that it should not. Queue, latency and slow updates follow from this and need no \
                 debugging of their own."
            }
            Cause::DeltaFailure => {
                "Devices ask for deltas and get none: they stay on the release that they run, or \
                 download whole images. Retries, and updates that do not move on, follow from this."
            }
            Cause::ConnectivityLoss => {
                "Devices work on without the cloud, but cannot be reached. When they come back, they \
                 come together: API and VPN load rises then."
            }
            Cause::VpnRestart => {
                "Recorded so that its effects are not mistaken. Nobody is notified of it."
            }
            _ => {
                "What the API says of a device is not so: it is shown online and is not, or the \
                 other way round. Nothing breaks at once, and whatever trusts the flag errs."
            }
        }
    }

    fn next_steps(&self) -> &'static [&'static str] {
        match self.cause {
            Cause::DeltaCapacityLoss => &[
                "Look at the delta workers: how many run, when they were last deployed, what they \
                 wait for (disk, registry, memory).",
                "Do NOT look for the cause among releases or pins: what is asked for is ordinary.",
            ],
            Cause::DeltaFailure => &[
                "Read the log of one failed delta job, and look at what the workers need: registry, \
                 disk, credentials that expired.",
                "Do NOT add workers: they would fail faster.",
            ],
            Cause::ConnectivityLoss => &[
                "Look at the VPN servers and at the load balancer before them: restarts, \
                 certificates, network.",
                "Do NOT restart what still holds connections: every device comes back at once.",
            ],
            Cause::VpnRestart => &["None."],
            _ => &[
                "Compare a device's flag with the VPN servers' list of clients, and look at what \
                 writes the flag: service instances that went away without clearing it.",
                "Do NOT set all flags by hand: devices that are right would be wrong then.",
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Time {
        Time::from_timestamp(1_569_276_960 + seconds, 0).expect("a time")
    }

    fn facts(cause: Cause, findings: &[Finding]) -> ServiceFacts<'_> {
        let statistic = "the change scores 30 against a threshold of 18".to_owned();
        ServiceFacts {
            cause,
            onset: at(0),
            now: at(60),
            probability: 0.9,
            findings,
            statistic,
            counted: None,
        }
    }

    #[test]
    fn a_loss_of_capacity_says_that_demand_does_not_explain_it() {
        let findings = [
            Finding { signal: "delta_requests_total", moved: None, before: 0.2, now: 0.21 },
            Finding {
                signal: "delta_queue",
                moved: Some((at(0), Direction::Up)),
                before: 0.0,
                now: 45.0,
            },
        ];
        let record = facts(Cause::DeltaCapacityLoss, &findings).record();
        assert_eq!(
            record.summary,
            "Delta jobs wait since 22:16:00 UTC and demand does not explain it: delta_queue \
             rose from 0 to 45 since 22:16:00 UTC; 0.21 jobs are asked for in a second (ordinarily \
             0.2)."
        );
        assert!(record.description.contains("delta_requests_total is at 0.21 a second"));
        assert!(record.description.contains("Do NOT"), "{}", record.description);
    }

    #[test]
    fn a_loss_of_connections_counts_devices() {
        let fell = |signal, before, now| Finding {
            signal,
            moved: Some((at(0), Direction::Down)),
            before,
            now,
        };
        let findings = [
            fell("devices_vpn_connected", 9_000.0, 4_000.0),
            fell("devices_online", 9_100.0, 4_400.0),
        ];
        let record = facts(Cause::ConnectivityLoss, &findings).record();
        assert_eq!(record.title, "Connectivity loss: 5,000 devices went offline");
        assert_eq!(record.blast_radius.devices, 5_000);
        assert!(record.summary.starts_with("5,000 devices of 9,000 lost their connection since"));
    }
}
