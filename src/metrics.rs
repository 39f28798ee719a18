//! Every metric that Headwater exports, in one registry of its own. Methods are named after what
//! happened; only this file knows names and labels. What is exported is bounded: by the catalogue
//! of causes, the configured sources and the signals that are alive now.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use prometheus::{
    Encoder, Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder, core::Collector, process_collector::ProcessCollector,
};

use crate::{
    incident::{Cause, CauseRecord, Incident},
    observation::FailureReason,
    pipeline::{IrregularityKind, SignalStatus},
    series::Time,
};

/// The Content-Type of [`Metrics::render`]. Prometheus 3 fails a scrape without a valid one.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Upper bounds of the sample durations, in seconds: from an idle SQLite to a database in distress.
const SAMPLE_BUCKETS_S: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0];

/// The metrics of one daemon.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Held while gauges of a family are exchanged and while all are read, so that a scrape never
    /// sees a family half filled. Holds the causes that `headwater_incidents_total` has counted.
    counted: Mutex<BTreeSet<(String, Cause)>>,
    signals: SignalMetrics,
    incidents: IncidentMetrics,
    sources: SourceMetrics,
    daemon: DaemonMetrics,
}

/// By signal.
#[derive(Debug)]
struct SignalMetrics {
    value: GaugeVec,
    expected: GaugeVec,
    expected_low: GaugeVec,
    expected_high: GaugeVec,
    score: GaugeVec,
    unexplained: GaugeVec,
}

/// By cause.
#[derive(Debug)]
struct IncidentMetrics {
    open: IntGaugeVec,
    onset_timestamp_seconds: GaugeVec,
    total: IntCounterVec,
}

/// By source.
#[derive(Debug)]
struct SourceMetrics {
    sample_duration_seconds: HistogramVec,
    sample_failures_total: IntCounterVec,
    sample_irregularities_total: IntCounterVec,
    sample_last_success_timestamp_seconds: GaugeVec,
    sample_interval_seconds: GaugeVec,
    up: IntGaugeVec,
    failing: IntGaugeVec,
}

/// Of the daemon itself.
#[derive(Debug)]
struct DaemonMetrics {
    notifications_total: IntCounterVec,
    notifications_pending: IntGauge,
    store_failures_total: IntCounter,
    pipeline_lag_seconds: Gauge,
    config_last_reload_successful: IntGauge,
    leader: IntGauge,
}

impl Metrics {
    /// All metrics at their first values, with the sources that the configuration names: each is
    /// down until it has answered.
    pub fn new<'a>(
        sources: impl IntoIterator<Item = &'a str>,
        interval: Duration,
        version: &str,
    ) -> Metrics {
        let registry = Registry::new();
        let process = registry.register(Box::new(ProcessCollector::for_self()));
        process.expect("the registry is new and the collector's names are its own");
        let help = "Always 1; the labels say what runs.";
        let build_info = int_gauges(&registry, "headwater_build_info", help, &["version"]);
        build_info.with_label_values(&[version]).set(1);
        let metrics = Metrics {
            counted: Mutex::new(BTreeSet::new()),
            signals: SignalMetrics::registered(&registry),
            incidents: IncidentMetrics::registered(&registry),
            sources: SourceMetrics::registered(&registry),
            daemon: DaemonMetrics::registered(&registry),
            registry,
        };
        for source in sources {
            metrics.sources.initialise(source);
            metrics.sample_interval(source, interval);
        }
        metrics.config_reloaded(true);
        metrics.leads(true);
        metrics
    }

    /// The pipeline took a step: every signal as it now stands. Signals that are not among them
    /// vanish from the exposition, as do missing values: a stale number would look like a healthy
    /// one.
    pub fn observe_step(&self, signals: &[SignalStatus]) {
        let _whole = self.lock();
        type Field = fn(&SignalStatus) -> Option<f64>;
        let families: [(&GaugeVec, Field); 6] = [
            (&self.signals.value, |status| status.value),
            (&self.signals.expected, |status| status.expected),
            (&self.signals.expected_low, |status| status.expected_low),
            (&self.signals.expected_high, |status| status.expected_high),
            (&self.signals.score, |status| status.score),
            (&self.signals.unexplained, |status| status.unexplained),
        ];
        for (family, field) in families {
            family.reset();
            for status in signals {
                if let Some(number) = field(status) {
                    family.with_label_values(&[&status.signal]).set(number);
                }
            }
        }
    }

    /// The incidents that were restored on start: shown as open, but not counted as new.
    pub fn incidents_restored<'a>(&self, incidents: impl IntoIterator<Item = &'a Incident>) {
        let incidents: Vec<_> = incidents.into_iter().collect();
        *self.lock() = causes_of(&incidents);
        self.incidents(incidents);
    }

    /// All incidents that the pipeline knows, open ones and those that it still remembers.
    pub fn incidents<'a>(&self, incidents: impl IntoIterator<Item = &'a Incident>) {
        let incidents: Vec<_> = incidents.into_iter().collect();
        let mut counted = self.lock();
        let known = causes_of(&incidents);
        for (_, cause) in known.difference(&counted) {
            self.incidents.total.with_label_values(&[cause.id()]).inc();
        }
        *counted = known;

        self.incidents.close_all();
        for record in incidents.iter().flat_map(|incident| open_records(incident)) {
            self.incidents.open(record);
        }
    }

    /// A source answered: its sample is of the instant `at` and took `took`.
    pub fn sampled(&self, source: &str, took: Duration, at: Time) {
        let _whole = self.lock();
        self.sources
            .sample_duration_seconds
            .with_label_values(&[source])
            .observe(took.as_secs_f64());
        self.sources
            .sample_last_success_timestamp_seconds
            .with_label_values(&[source])
            .set(unix_s(at));
        self.sources.up.with_label_values(&[source]).set(1);
        for reason in FailureReason::ALL {
            self.sources.failing.with_label_values(&[source, reason.label()]).set(0);
        }
    }

    /// A sample is missing.
    pub fn sample_failed(&self, source: &str, reason: FailureReason) {
        let _whole = self.lock();
        self.sources.sample_failures_total.with_label_values(&[source, reason.label()]).inc();
        self.sources.up.with_label_values(&[source]).set(0);
        for other in FailureReason::ALL {
            let failing = i64::from(other == reason);
            self.sources.failing.with_label_values(&[source, other.label()]).set(failing);
        }
    }

    /// Something was wrong with a sample, and was handled.
    pub fn irregular(&self, source: &str, kind: IrregularityKind) {
        self.sources.sample_irregularities_total.with_label_values(&[source, kind.label()]).inc();
    }

    /// The time between two samples of a source is now `interval`.
    pub fn sample_interval(&self, source: &str, interval: Duration) {
        self.sources
            .sample_interval_seconds
            .with_label_values(&[source])
            .set(interval.as_secs_f64());
    }

    /// There is such a way of notifying, and these are the ways in which an attempt can end.
    pub fn notifier(&self, notifier: &str, outcomes: impl IntoIterator<Item = &'static str>) {
        for outcome in outcomes {
            self.daemon.notifications_total.with_label_values(&[notifier, outcome]);
        }
    }

    /// An attempt to notify ended. Both labels come from bounded sets.
    pub fn notified(&self, notifier: &str, outcome: &'static str) {
        self.daemon.notifications_total.with_label_values(&[notifier, outcome]).inc();
    }

    /// So many notifications are due and not accepted by anybody.
    pub fn notifications_pending(&self, count: usize) {
        self.daemon.notifications_pending.set(count as i64);
    }

    /// A commit failed.
    pub fn store_failed(&self) {
        self.daemon.store_failures_total.inc();
    }

    /// A sample has been processed, so long after its instant.
    pub fn pipeline_lag(&self, lag: Duration) {
        self.daemon.pipeline_lag_seconds.set(lag.as_secs_f64());
    }

    /// The configuration was loaded anew, or was refused.
    pub fn config_reloaded(&self, successful: bool) {
        self.daemon.config_last_reload_successful.set(i64::from(successful));
    }

    /// This replica leads, or follows.
    pub fn leads(&self, leader: bool) {
        self.daemon.leader.set(i64::from(leader));
    }

    /// The exposition, of type [`CONTENT_TYPE`].
    pub fn render(&self) -> Result<String, prometheus::Error> {
        let families = {
            let _whole = self.lock();
            self.registry.gather()
        };
        let mut text = Vec::new();
        TextEncoder::new().encode(&families, &mut text)?;
        String::from_utf8(text).map_err(|error| prometheus::Error::Msg(error.to_string()))
    }

    /// A panic elsewhere leaves at worst a family half filled, until the next step fills it.
    fn lock(&self) -> MutexGuard<'_, BTreeSet<(String, Cause)>> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn causes_of(incidents: &[&Incident]) -> BTreeSet<(String, Cause)> {
    let causes = incidents.iter().flat_map(|incident| {
        incident.causes.iter().map(|record| (incident.id.clone(), record.cause))
    });
    causes.collect()
}

/// The causes whose alerts fire: an earlier cause stays until its incident resolves, unless a
/// record of the same cause with another severity has taken its place.
fn open_records(incident: &Incident) -> impl Iterator<Item = &CauseRecord> {
    let records = incident.is_open().then_some(&incident.causes);
    records.into_iter().flatten().filter(|record| record.superseded_at.is_none())
}

fn unix_s(at: Time) -> f64 {
    at.timestamp_millis() as f64 / 1000.0
}

impl SignalMetrics {
    fn registered(registry: &Registry) -> SignalMetrics {
        let gauge = |name, help| gauges(registry, name, help, &["signal"]);
        SignalMetrics {
            value: gauge(
                "headwater_signal_value",
                "Latest value of a signal; of a counter, its increase per second.",
            ),
            expected: gauge("headwater_signal_expected", "What was expected of a signal."),
            expected_low: gauge(
                "headwater_signal_expected_low",
                "Lower end of the band in which a signal ordinarily lies.",
            ),
            expected_high: gauge(
                "headwater_signal_expected_high",
                "Upper end of the band in which a signal ordinarily lies.",
            ),
            score: gauge(
                "headwater_signal_score",
                "Test statistic of a signal over its threshold; 1 alarms.",
            ),
            unexplained: gauge(
                "headwater_signal_unexplained",
                "Part of a signal's change that nothing explains, in the signal's unit.",
            ),
        }
    }
}

impl IncidentMetrics {
    fn registered(registry: &Registry) -> IncidentMetrics {
        let labels = &["cause", "severity", "scope"];
        let metrics = IncidentMetrics {
            open: int_gauges(
                registry,
                "headwater_incident_open",
                "Open incidents with this cause.",
                labels,
            ),
            onset_timestamp_seconds: gauges(
                registry,
                "headwater_incident_onset_timestamp_seconds",
                "Onset of the earliest open incident with this cause, Unix time.",
                labels,
            ),
            total: counters(
                registry,
                "headwater_incidents_total",
                "Incidents since the start, by each of their causes.",
                &["cause"],
            ),
        };
        for cause in Cause::ALL {
            metrics.total.with_label_values(&[cause.id()]);
        }
        metrics.close_all();
        metrics
    }

    fn close_all(&self) {
        self.onset_timestamp_seconds.reset();
        self.open.reset();
        for cause in Cause::ALL {
            for (severity, scope) in cause.label_sets() {
                let labels = [cause.id(), severity.label(), scope.label()];
                self.open.with_label_values(&labels).set(0);
            }
        }
    }

    fn open(&self, record: &CauseRecord) {
        let labels = [record.cause.id(), record.severity.label(), record.scope.label()];
        let open = self.open.with_label_values(&labels);
        let onset = self.onset_timestamp_seconds.with_label_values(&labels);
        let onset_s = unix_s(record.onset);
        onset.set(if open.get() == 0 { onset_s } else { onset.get().min(onset_s) });
        open.inc();
    }
}

impl SourceMetrics {
    fn registered(registry: &Registry) -> SourceMetrics {
        SourceMetrics {
            sample_duration_seconds: durations(
                registry,
                "headwater_sample_duration_seconds",
                "How long the samples of a source took.",
                &["source"],
            ),
            sample_failures_total: counters(
                registry,
                "headwater_sample_failures_total",
                "Samples that are missing, by what prevented them.",
                &["source", "reason"],
            ),
            sample_irregularities_total: counters(
                registry,
                "headwater_sample_irregularities_total",
                "What was wrong with samples and was handled, by its kind.",
                &["source", "kind"],
            ),
            sample_last_success_timestamp_seconds: gauges(
                registry,
                "headwater_sample_last_success_timestamp_seconds",
                "Instant of a source's latest sample, Unix time.",
                &["source"],
            ),
            sample_interval_seconds: gauges(
                registry,
                "headwater_sample_interval_seconds",
                "Time between two samples of a source, as it is now.",
                &["source"],
            ),
            up: int_gauges(
                registry,
                "headwater_source_up",
                "1 if the source answered its latest sample.",
                &["source"],
            ),
            failing: int_gauges(
                registry,
                "headwater_source_failing",
                "1 for the reason for which the source's latest sample is missing.",
                &["source", "reason"],
            ),
        }
    }

    fn initialise(&self, source: &str) {
        self.sample_duration_seconds.with_label_values(&[source]);
        self.up.with_label_values(&[source]).set(0);
        for reason in FailureReason::ALL {
            self.sample_failures_total.with_label_values(&[source, reason.label()]);
            self.failing.with_label_values(&[source, reason.label()]).set(0);
        }
        for kind in IrregularityKind::ALL {
            self.sample_irregularities_total.with_label_values(&[source, kind.label()]);
        }
    }
}

impl DaemonMetrics {
    fn registered(registry: &Registry) -> DaemonMetrics {
        let gauge = |name, help| register(registry, IntGauge::new(name, help));
        DaemonMetrics {
            notifications_total: counters(
                registry,
                "headwater_notifications_total",
                "Attempts to notify, by what came of them.",
                &["notifier", "outcome"],
            ),
            notifications_pending: gauge(
                "headwater_notifications_pending",
                "Notifications that are due and that nobody has accepted yet.",
            ),
            store_failures_total: register(
                registry,
                IntCounter::new(
                    "headwater_store_failures_total",
                    "Commits to the store that failed.",
                ),
            ),
            pipeline_lag_seconds: register(
                registry,
                Gauge::new(
                    "headwater_pipeline_lag_seconds",
                    "From the instant of the latest sample to the end of its processing.",
                ),
            ),
            config_last_reload_successful: gauge(
                "headwater_config_last_reload_successful",
                "1 if the latest load of the configuration succeeded.",
            ),
            leader: gauge("headwater_leader", "1 if this replica is the one that notifies."),
        }
    }
}

fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
    register(registry, GaugeVec::new(Opts::new(name, help), labels))
}

fn int_gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    register(registry, IntGaugeVec::new(Opts::new(name, help), labels))
}

fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    register(registry, IntCounterVec::new(Opts::new(name, help), labels))
}

fn durations(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> HistogramVec {
    let options = HistogramOpts::new(name, help).buckets(SAMPLE_BUCKETS_S.to_vec());
    register(registry, HistogramVec::new(options, labels))
}

fn register<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: prometheus::Result<C>,
) -> C {
    let collector = collector.expect("names and labels in this file are literals that are valid");
    let registered = registry.register(Box::new(collector.clone()));
    registered.expect("each name in this file is used once, in a registry of its own");
    collector
}

#[cfg(test)]
mod tests;
