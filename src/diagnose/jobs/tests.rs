//! Delta jobs on services whose truth is known: what is promised of alarms, and how soon a loss is
//! found.

use chrono::{DateTime, TimeDelta};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

const INTERVAL_S: f64 = 15.0;

fn at(sample: u64) -> Time {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(15 * sample as i64)
}

fn poisson(random: &mut ChaCha8Rng, mean: f64) -> f64 {
    let floor = (-mean).exp();
    let (mut product, mut count) = (random.random::<f64>(), 0.0);
    while product > floor {
        product *= random.random::<f64>();
        count += 1.0;
    }
    count
}

/// A service that ends so many jobs a sample while others wait, a share of which fails.
struct Service {
    random: ChaCha8Rng,
    jobs: DeltaJobs,
    sample: u64,
    alpha: f64,
}

impl Service {
    fn new(seed: u64, alpha: f64) -> Service {
        let random = ChaCha8Rng::seed_from_u64(seed);
        Service { random, jobs: DeltaJobs::default(), sample: 0, alpha }
    }

    fn step(&mut self, rate: f64, share: f64, waited: bool) -> Findings {
        let ended = poisson(&mut self.random, rate);
        let failed = (0..ended as u64).filter(|_| self.random.random::<f64>() < share).count();
        let jobs = Jobs {
            elapsed_s: INTERVAL_S,
            succeeded: ended - failed as f64,
            failed: Some(failed as f64),
            waited: Some(waited),
            begun: None,
        };
        self.sample += 1;
        self.jobs.step(at(self.sample), jobs, self.alpha)
    }

    /// Samples to the first alarm of either test, at most so many.
    fn until_alarm(&mut self, most: u64, rate: f64, share: f64) -> u64 {
        for sample in 1..=most {
            let found = self.step(rate, share, true);
            if found.failures.is_some() || found.throughput.is_some() {
                return sample;
            }
        }
        most
    }
}

#[test]
fn quiet_services_keep_the_wanted_run_length() {
    // The budget is an alarm in 1,000 samples for each of both tests; a bound, so few come.
    let alpha = 1e-3;
    for (rate, share) in [(0.5, 0.01), (3.0, 0.05), (0.1, 0.3)] {
        let (mut samples, mut alarms) = (0, 0);
        for seed in 0..40 {
            let mut service = Service::new(seed, alpha);
            while service.sample < 4_000 {
                let before = service.sample;
                service.until_alarm(4_000 - before, rate, share);
                alarms += u64::from(service.sample < 4_000);
                samples += service.sample - before;
            }
        }
        let wanted = 2.0 * alpha * samples as f64;
        assert!((alarms as f64) < 1.2 * wanted, "{alarms} of {wanted} at {rate} {share}");
    }
}

#[test]
fn a_loss_is_found_within_as_many_jobs_as_it_takes_to_prove_it() {
    let alpha = 1e-6;
    for seed in 0..20 {
        let mut service = Service::new(seed, alpha);
        for _ in 0..4_000 {
            service.step(0.5, 0.01, true);
        }
        let mut failing = service.jobs.clone();
        std::mem::swap(&mut service.jobs, &mut failing);
        // 13.8 nats are wanted, and each failure brings some 4: a dozen samples for four jobs.
        let samples = service.until_alarm(1_000, 0.5, 1.0);
        assert!(samples <= 40, "failing: {samples}");
        service.jobs = failing.clone();
        // A job not done in two samples: e^(-t/2).
        let samples = service.until_alarm(1_000, 0.0, 0.0);
        assert!((20..=60).contains(&samples), "dead: {samples}");
        service.jobs = failing;
        let samples = service.until_alarm(4_000, 0.15, 0.01);
        assert!(samples <= 300, "slow: {samples}");
    }
}

#[test]
fn more_demand_is_no_fault() {
    let mut service = Service::new(7, 1e-5);
    for _ in 0..2_000 {
        service.step(0.1, 0.02, false);
    }
    for _ in 0..2_000 {
        // A mass unpin: everything waits, and as many jobs end as workers can do.
        let found = service.step(4.0, 0.02, true);
        assert_eq!((found.failures, found.throughput), (None, None));
    }
}

#[test]
fn an_alarm_stands_until_the_service_is_back_and_dates_from_its_first_sample() {
    let mut service = Service::new(3, 1e-6);
    for _ in 0..4_000 {
        service.step(2.0, 0.01, true);
    }
    let broke = service.sample + 1;
    let mut alarm = None;
    for _ in 0..100 {
        alarm = alarm.or(service.step(2.0, 0.9, true).failures);
    }
    let alarm = alarm.expect("it fails");
    assert!((at(broke)..=at(broke + 2)).contains(&alarm.onset), "{alarm:?}");
    assert!(alarm.seen >= 3.0 && alarm.seen <= alarm.exposure, "{alarm:?}");
    assert_eq!(service.jobs.away_since(true), Some(Some(alarm.onset)));
    let over = (0..100).find(|_| service.step(2.0, 0.01, true).failures_over);
    assert!(over.is_some_and(|samples| samples < 20), "{over:?}");
    assert_eq!(service.jobs.away_since(true), Some(None));
}

#[test]
fn nothing_is_said_before_there_is_any_history() {
    let mut service = Service::new(5, 1e-6);
    let first = service.step(3.0, 1.0, true);
    assert_eq!((first.failures, first.throughput), (None, None));
    // A service whose every job fails from its first day on has never been otherwise, and one
    // that succeeds for once is no fault.
    service.step(3.0, 0.0, true);
    assert_eq!(service.until_alarm(500, 3.0, 1.0), 500);
}

#[test]
fn intervals_hold_what_they_promise() {
    // Wilson 1927 for 0 of 10 and 5 of 100, Byar for 10 events.
    let tally = |count, exposure| Tally { count, exposure };
    assert!((share_at_most(tally(0.0, 10.0)) - 0.2129).abs() < 1e-3);
    assert!((share_at_most(tally(5.0, 100.0)) - 0.0985).abs() < 2e-3);
    assert!((rate_at_least(tally(10.0, 1.0)) - 5.41).abs() < 0.03);
    assert_eq!((share_at_most(tally(0.0, 0.0)), rate_at_least(tally(0.0, 9.0))), (1.0, 0.0));
}

#[test]
fn a_job_that_nobody_begins_is_found_where_hardly_any_ever_waits() {
    let alpha = 1e-7;
    for seed in 0..20 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut jobs = DeltaJobs::default();
        let mut sample = 0;
        let mut step = |jobs: &mut DeltaJobs, begun: Option<bool>, ended: f64| {
            sample += 1;
            let waited = Some(begun == Some(false));
            let (failed, succeeded) = (Some(0.0), ended);
            let seen = Jobs { elapsed_s: INTERVAL_S, succeeded, failed, waited, begun };
            jobs.step(at(sample), seen, alpha)
        };
        // A day with a job in about a quarter of an hour, each begun as soon as it comes.
        for _ in 0..5_760 {
            let comes = random.random::<f64>() < 1.0 / 60.0;
            let found = step(&mut jobs, comes.then_some(true), f64::from(u8::from(comes)));
            assert_eq!((found.starts, found.throughput), (None, None));
        }
        let lost = (1..=720).find(|_| {
            let found = step(&mut jobs, Some(false), 0.0);
            assert_eq!(found.throughput, None, "what waiting jobs ordinarily do is not known");
            found.starts.is_some()
        });
        // 16.8 nats and those of the mean, of one start in 15 s: and more, by its interval.
        assert!(lost.is_some_and(|samples| (17..=40).contains(&samples)), "{lost:?}");
        assert!(jobs.away_since(false).flatten().is_some());
        // Workers are back, and their jobs take long.
        assert!((0..61).any(|_| step(&mut jobs, None, 0.0).throughput_over));
        assert_eq!(jobs.away_since(false), Some(None));
    }
}

#[test]
fn idle_services_keep_the_wanted_run_length() {
    let (alpha, mut samples, mut alarms) = (1e-3, 0.0, 0.0);
    for seed in 0..40 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut jobs = DeltaJobs::default();
        for sample in 1..=4_000 {
            // Who looks for work every half a minute.
            let begun = Some(random.random::<f64>() < 0.5);
            let (failed, waited) = (Some(0.0), Some(false));
            let seen = Jobs { elapsed_s: INTERVAL_S, succeeded: 0.0, failed, waited, begun };
            alarms += f64::from(u8::from(jobs.step(at(sample), seen, alpha).starts.is_some()));
            samples += 1.0;
        }
    }
    // Half of the budget is that of throughput.
    assert!(alarms < 1.2 * alpha / 2.0 * samples, "{alarms} in {samples}");
}
