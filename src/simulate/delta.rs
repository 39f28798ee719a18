//! The delta service: generates the binary difference of two releases, once for each distinct pair,
//! by a queue and a fixed number of workers. Its load follows from the pairs that devices ask for
//! and from nothing else.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{Settings, chance::Chance};

/// What one delta job makes: for an application, the way from a release (none: from nothing) to
/// another.
pub type Pair = (i64, Option<i64>, i64);

/// `delta_seconds_p95` looks at the jobs that ended in this long.
const RECENT_MS: i64 = 15 * 60 * 1_000;

/// Generated deltas that are kept; the oldest go first.
const CACHED_MAX: usize = 200_000;

/// The service.
#[derive(Clone, Debug)]
pub struct DeltaService {
    workers: usize,
    failure_share: f64,
    /// The shortest and the longest job.
    job_s: (f64, f64),
    chance: Chance,
    queue: VecDeque<Job>,
    /// By the time at which each ends, in milliseconds of the simulated clock, and its number.
    running: BTreeMap<(i64, u64), Job>,
    /// Pairs that wait or run.
    underway: BTreeSet<Pair>,
    cached: BTreeSet<Pair>,
    /// In the order in which they were generated.
    cached_order: VecDeque<Pair>,
    /// (end in milliseconds, seconds from request to end), oldest first.
    recent: VecDeque<(i64, f64)>,
    started: u64,
    requests: u64,
    successes: u64,
    failures: u64,
}

#[derive(Clone, Copy, Debug)]
struct Job {
    pair: Pair,
    requested_ms: i64,
}

impl DeltaService {
    /// A service that has done nothing yet.
    pub fn new(settings: &Settings) -> DeltaService {
        DeltaService {
            workers: settings.delta_workers as usize,
            failure_share: settings.delta_failure_share,
            job_s: (settings.physics.delta_job_s_min, settings.physics.delta_job_s_max),
            // A stream of its own: the fleet's life does not depend on how busy the service is.
            chance: Chance::new(settings.seed ^ 0x64_65_6c_74_61),
            queue: VecDeque::new(),
            running: BTreeMap::new(),
            underway: BTreeSet::new(),
            cached: BTreeSet::new(),
            cached_order: VecDeque::new(),
            recent: VecDeque::new(),
            started: 0,
            requests: 0,
            successes: 0,
            failures: 0,
        }
    }

    /// From now on so many jobs run at once; those that run are not stopped.
    pub fn set_workers(&mut self, workers: usize) {
        self.workers = workers;
    }

    /// The process starts anew: its counters count from zero. What waits and runs is kept.
    pub fn restart_counters(&mut self) {
        (self.requests, self.successes, self.failures) = (0, 0, 0);
    }

    /// From now on this share of jobs fails, 0..1.
    pub fn set_failure_share(&mut self, share: f64) {
        self.failure_share = share;
    }

    /// Takes a pair for generated, without a request: deltas of the time before.
    pub fn remember(&mut self, pair: Pair) {
        if self.cached.insert(pair) {
            self.cached_order.push_back(pair);
            while self.cached_order.len() > CACHED_MAX {
                if let Some(oldest) = self.cached_order.pop_front() {
                    self.cached.remove(&oldest);
                }
            }
        }
    }

    /// A device asks for a delta at `at_ms`. True if it is there; otherwise it is generated, and
    /// the device asks again later. Only the first to ask for a pair makes a job.
    pub fn ask(&mut self, pair: Pair, at_ms: i64) -> bool {
        if self.cached.contains(&pair) {
            return true;
        }
        if self.underway.insert(pair) {
            self.requests += 1;
            self.queue.push_back(Job { pair, requested_ms: at_ms });
            self.start_jobs(at_ms);
        }
        false
    }

    /// Ends and starts jobs up to `until_ms`.
    pub fn advance(&mut self, until_ms: i64) {
        while let Some((&(end_ms, number), _)) = self.running.first_key_value() {
            if end_ms > until_ms {
                break;
            }
            if let Some(job) = self.running.remove(&(end_ms, number)) {
                self.end_job(job, end_ms);
            }
            self.start_jobs(end_ms);
        }
        let forgotten_ms = until_ms - RECENT_MS;
        while self.recent.front().is_some_and(|(end_ms, _)| *end_ms < forgotten_ms) {
            self.recent.pop_front();
        }
    }

    /// Jobs asked for so far.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// Jobs that wait.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Jobs that run.
    pub fn busy(&self) -> usize {
        self.running.len()
    }

    /// The service's metrics by their names in Headwater. `delta_seconds_p95` is missing while no
    /// job has ended of late.
    pub fn metrics(&self) -> BTreeMap<String, f64> {
        let mut metrics = BTreeMap::from([
            ("delta_requests_total".to_owned(), self.requests as f64),
            ("delta_successes_total".to_owned(), self.successes as f64),
            ("delta_failures_total".to_owned(), self.failures as f64),
            ("delta_queue".to_owned(), self.queue.len() as f64),
            ("delta_workers_busy".to_owned(), self.running.len() as f64),
        ]);
        let mut seconds: Vec<f64> = self.recent.iter().map(|(_, seconds)| *seconds).collect();
        seconds.sort_by(f64::total_cmp);
        if let Some(p95) = seconds.get(seconds.len() * 95 / 100) {
            metrics.insert("delta_seconds_p95".to_owned(), *p95);
        }
        metrics
    }

    fn start_jobs(&mut self, at_ms: i64) {
        while self.running.len() < self.workers
            && let Some(job) = self.queue.pop_front()
        {
            let stretch = 1.0 / (1.0 - self.chance.unit()).sqrt();
            let (shortest, longest) = self.job_s;
            let seconds = (shortest * stretch).min(longest);
            self.started += 1;
            self.running.insert((at_ms + (seconds * 1e3) as i64, self.started), job);
        }
    }

    fn end_job(&mut self, job: Job, end_ms: i64) {
        self.underway.remove(&job.pair);
        if self.chance.happens(self.failure_share) {
            self.failures += 1;
            return;
        }
        self.successes += 1;
        self.recent.push_back((end_ms, (end_ms - job.requested_ms) as f64 / 1e3));
        self.remember(job.pair);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The longest job, by default.
    const JOB_SECONDS_MAX: f64 = 1_200.0;

    fn service(workers: u64, failure_share: f64) -> DeltaService {
        let settings = Settings::new(1, 1_000, 20, 5);
        DeltaService::new(&Settings {
            delta_workers: workers,
            delta_failure_share: failure_share,
            ..settings
        })
    }

    #[test]
    fn a_pair_is_one_job_however_many_devices_ask() {
        let mut service = service(4, 0.0);
        for _ in 0..1_000 {
            assert!(!service.ask((1, Some(1), 2), 0));
        }
        assert_eq!((service.requests(), service.busy(), service.queued()), (1, 1, 0));
        service.advance(JOB_SECONDS_MAX as i64 * 1_000);
        assert!(service.ask((1, Some(1), 2), JOB_SECONDS_MAX as i64 * 1_000));
        assert_eq!((service.requests(), service.busy()), (1, 0));
    }

    #[test]
    fn work_waits_for_workers_and_none_is_lost() {
        let mut service = service(3, 0.1);
        for release in 0..200 {
            service.ask((1, Some(release), 1_000), 0);
        }
        assert_eq!((service.busy(), service.queued()), (3, 197));
        for minute in 1..=120 {
            service.advance(minute * 60_000);
            let metrics = service.metrics();
            let ended = metrics["delta_successes_total"] + metrics["delta_failures_total"];
            let open = metrics["delta_queue"] + metrics["delta_workers_busy"];
            assert_eq!(metrics["delta_requests_total"], ended + open);
            assert!(service.busy() == 3 || service.queued() == 0);
        }
        let metrics = service.metrics();
        assert!(metrics["delta_failures_total"] > 5.0);
        // 200 jobs of some 80 s over three workers take an hour and a half.
        assert_eq!(service.queued(), 0, "{metrics:?}");
    }

    #[test]
    fn a_pair_that_failed_can_be_asked_for_again() {
        let mut service = service(1, 1.0);
        service.ask((1, None, 2), 0);
        service.advance(JOB_SECONDS_MAX as i64 * 1_000);
        assert!(!service.ask((1, None, 2), 2_000_000));
        assert_eq!(service.requests(), 2);
        assert!(!service.metrics().contains_key("delta_seconds_p95"));
    }
}
