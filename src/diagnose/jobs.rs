//! What delta generation does with its jobs, counted job by job: whether more of those that end
//! fail, and whether fewer end while others wait. Both hold whatever is asked of the service: a
//! rollout or a mass unpin brings more jobs, not a larger share of failures, and waiting jobs keep
//! every worker busy, so that what ends then is the service's capacity.
//!
//! A service that has a job now and then keeps hardly any waiting, and what it can do when some
//! wait is hardly known. But whoever has no work begins a job as soon as one comes: how long it
//! takes until one is begun that waits while no worker is at work is known from each job that came.
//!
//! Each is a Shiryaev-Roberts test over a few alternatives, averaged: `R = (1 + R) L` for each new
//! sample of likelihood ratio L, and an alarm where the mean of R over the alternatives reaches the
//! wanted average run length, which is a lower bound of the true one (Pollak, "Average run lengths
//! of an optimal method of detecting a change in distribution", Annals of Statistics 15, 1987;
//! Shin, Ramdas and Rinaldo, "E-detectors", New England Journal of Statistics in Data Science 2,
//! 2024). What is ordinary is taken at the end of its 95 % interval that is nearer to a fault, so
//! that a short history makes the test slower and not louder. Where jobs fail or end in spells,
//! history shows it, and evidence counts for less by as much (quasi-likelihood: McCullagh and
//! Nelder, "Generalized Linear Models", 1989, chapter 9).

use serde::{Deserialize, Serialize};

use crate::series::Time;

/// The 95 % quantile of the normal distribution.
const Z: f64 = 1.644_853_626_951_47;
/// What may be left of the ordinary: of the jobs that succeed, or of those that end. A declared
/// prior: with evidence averaged over them, any loss in between is found nearly as soon.
const LEFT: [f64; 4] = [0.0, 0.1, 0.3, 0.6];
/// A share of failures that cannot rise; nor is any other taken for certain.
const SHARE_MAX: f64 = 0.999;
/// Jobs are added up over this long to see whether they come in spells.
const SPELL_S: f64 = 3_600.0;
/// A service in which no job has waited for so long is no bottleneck: devices ask again within it.
const IDLE_S: f64 = 900.0;

/// One sample's jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Jobs {
    /// Seconds since the sample before.
    pub elapsed_s: f64,
    /// Jobs that ended well.
    pub succeeded: f64,
    /// Jobs that failed, where that is counted.
    pub failed: Option<f64>,
    /// Others waited all the time, where the queue is known.
    pub waited: Option<bool>,
    /// No worker was at work before: one has begun, or else a job waited all the time all the same.
    /// `None` where there was nothing to begin, or it is not known.
    pub begun: Option<bool>,
}

/// A count that is held against what is ordinary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Tally {
    /// Seen.
    count: f64,
    /// Among so many jobs, or in so many seconds.
    exposure: f64,
}

impl Tally {
    fn add(&mut self, count: f64, exposure: f64) {
        self.count += count;
        self.exposure += exposure;
    }

    fn rate(self) -> f64 {
        if self.exposure > 0.0 { self.count / self.exposure } else { 0.0 }
    }
}

/// Evidence for one alternative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Evidence {
    /// The Shiryaev-Roberts statistic.
    ratio: f64,
    /// The logarithm of the likelihood ratio of the best onset (Page's recursion), its sample, and
    /// what was seen since.
    log_best: f64,
    since: Option<Time>,
    seen: Tally,
}

/// A test of a share or of a rate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Test {
    history: Tally,
    /// Seen since evidence is halfway to an alarm: learned when it is less again.
    pending: Tally,
    /// Of the present spell.
    spell: Tally,
    spell_s: f64,
    /// Pearson's statistic over spells, and how many there were.
    dispersion: Tally,
    evidence: [Evidence; 4],
    /// Seconds without anything to see.
    idle_s: f64,
    /// The alarm that stands, with the log-odds that it is over.
    open: Option<Open>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Open {
    onset: Time,
    /// What is ordinary, as it was at the alarm.
    ordinary: f64,
    /// What was seen from the onset to the alarm.
    changed: f64,
    /// The log-odds that it is as before, from the sample on that favours it most.
    back: f64,
    idle_s: f64,
}

/// What an alarm says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Alarm {
    /// The first sample of the new regime.
    pub onset: Time,
    /// Failed among those that ended since, or ended in the seconds since in which others waited.
    pub seen: f64,
    /// Jobs that ended since, or those seconds.
    pub exposure: f64,
    /// The ordinary share, or the ordinary rate a second, at the end of its interval.
    pub ordinary: f64,
}

/// How a test stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    /// What history shows on average.
    pub mean: f64,
    /// The end of its interval against which is tested.
    pub ordinary: f64,
    /// The logarithm of the evidence over that of the threshold: 1 alarms.
    pub score: f64,
    /// The threshold: the logarithm of the average run length.
    pub threshold: f64,
    /// Jobs, or seconds in which some waited, that history holds.
    pub history: f64,
    /// By how much spells make evidence count for less.
    pub dispersion: f64,
}

/// A likelihood ratio of one sample, given ordinary and changed.
type Ratio = fn(Tally, f64, f64) -> f64;

/// A share: binomial.
fn share_log_ratio(sample: Tally, ordinary: f64, changed: f64) -> f64 {
    let others = sample.exposure - sample.count;
    times_ln(sample.count, changed / ordinary)
        + times_ln(others, (1.0 - changed) / (1.0 - ordinary))
}

/// A rate: Poisson.
fn rate_log_ratio(sample: Tally, ordinary: f64, changed: f64) -> f64 {
    times_ln(sample.count, changed / ordinary) - sample.exposure * (changed - ordinary)
}

fn times_ln(count: f64, ratio: f64) -> f64 {
    if count > 0.0 { count * ratio.ln() } else { 0.0 }
}

impl Test {
    /// Takes a sample. `alpha` is the chance of a false alarm that it may cost; `most` is 1 where
    /// no more than the exposure can be counted.
    fn step(
        &mut self,
        at: Time,
        sample: Tally,
        ordinary: f64,
        changed: impl Fn(f64) -> f64,
        (log_ratio, most): (Ratio, f64),
        alpha: f64,
    ) -> Option<Alarm> {
        let dispersion = self.dispersion();
        if let Some(open) = &mut self.open {
            let back = log_ratio(sample, open.changed, open.ordinary) / dispersion;
            // What spoke for the change before now is no reason to wait the longer.
            open.back = (open.back + back).max(0.0);
            open.idle_s = 0.0;
            return None;
        }
        for (evidence, left) in self.evidence.iter_mut().zip(LEFT) {
            let log = log_ratio(sample, ordinary, changed(left)) / dispersion;
            evidence.ratio = (1.0 + evidence.ratio) * log.exp();
            evidence.log_best = (evidence.log_best + log).max(0.0);
            if evidence.log_best == 0.0 {
                (evidence.since, evidence.seen) = (None, Tally::default());
            } else {
                evidence.since.get_or_insert(at);
                evidence.seen.add(sample.count, sample.exposure);
            }
        }
        if self.mean_evidence() * alpha < 1.0 {
            return None;
        }
        let best = (0..LEFT.len())
            .max_by(|one, other| self.evidence[*one].ratio.total_cmp(&self.evidence[*other].ratio));
        let best = best.unwrap_or_default();
        let Evidence { since, seen, .. } = self.evidence[best];
        let onset = since.unwrap_or(at);
        // Half a count is added: that none was seen does not mean that there can be none.
        let changed = (seen.count + 0.5) / (seen.exposure + most);
        self.open = Some(Open { onset, ordinary, changed, back: 0.0, idle_s: 0.0 });
        self.evidence = Default::default();
        Some(Alarm { onset, seen: seen.count, exposure: seen.exposure, ordinary })
    }

    /// Takes a sample of a test of a rate, if it counts, or was idle.
    fn step_rate(
        &mut self,
        at: Time,
        (count, idle): (Option<f64>, bool),
        jobs: Jobs,
        ordinary: f64,
        alpha: f64,
    ) -> Option<Alarm> {
        let mut alarm = None;
        if let Some(count) = count {
            let sample = Tally { count, exposure: jobs.elapsed_s };
            if ordinary > 0.0 {
                let changed = |left: f64| ordinary * left;
                alarm = self.step(at, sample, ordinary, changed, (rate_log_ratio, 0.0), alpha);
            }
            self.learn(sample, jobs.elapsed_s, alpha, |rate| rate);
        }
        self.idle_s = if idle { self.idle_s + jobs.elapsed_s } else { 0.0 };
        if self.idle_s >= IDLE_S {
            self.clear_onsets();
        }
        self.is_over(jobs.elapsed_s, idle, alpha);
        alarm
    }

    /// Learns a sample of an ordinary time.
    fn learn(
        &mut self,
        sample: Tally,
        elapsed_s: f64,
        alpha: f64,
        variance_of_one: impl Fn(f64) -> f64,
    ) {
        if self.open.is_some() {
            self.pending = Tally::default();
            return;
        }
        self.pending.add(sample.count, sample.exposure);
        if self.mean_evidence() * alpha.sqrt() < 1.0 {
            self.history.add(self.pending.count, self.pending.exposure);
            self.pending = Tally::default();
        }
        self.spell.add(sample.count, sample.exposure);
        self.spell_s += elapsed_s;
        if self.spell_s < SPELL_S {
            return;
        }
        let mean = self.history.rate();
        let variance = self.spell.exposure * variance_of_one(mean);
        if variance > 0.0 {
            let off = self.spell.count - self.spell.exposure * mean;
            self.dispersion.add(off * off / variance, 1.0);
        }
        (self.spell, self.spell_s) = (Tally::default(), 0.0);
    }

    /// Everything that waited was done: no loss dates from before that.
    fn clear_onsets(&mut self) {
        for evidence in &mut self.evidence {
            (evidence.log_best, evidence.since, evidence.seen) = (0.0, None, Tally::default());
        }
    }

    /// One spell's worth of the ordinary one is believed before any.
    fn dispersion(&self) -> f64 {
        ((1.0 + self.dispersion.count) / (1.0 + self.dispersion.exposure)).max(1.0)
    }

    fn mean_evidence(&self) -> f64 {
        self.evidence.iter().map(|evidence| evidence.ratio).sum::<f64>() / LEFT.len() as f64
    }

    fn standing(&self, ordinary: f64, alpha: f64) -> Standing {
        let threshold = -alpha.ln();
        let score = if self.open.is_some() {
            1.0
        } else {
            (self.mean_evidence().max(1.0).ln() / threshold).min(1.0)
        };
        Standing {
            mean: self.history.rate(),
            ordinary,
            score,
            threshold,
            history: self.history.exposure,
            dispersion: self.dispersion(),
        }
    }

    /// Whether the alarm that stood is over, and clears it: once evidence for it is half of what an
    /// alarm takes.
    fn is_over(&mut self, elapsed_s: f64, idle: bool, alpha: f64) -> bool {
        let Some(open) = &mut self.open else { return false };
        open.idle_s = if idle { open.idle_s + elapsed_s } else { open.idle_s };
        let over = open.back >= -alpha.ln() / 2.0 || open.idle_s >= IDLE_S;
        if over {
            self.open = None;
        }
        over
    }
}

/// The upper end of a share's interval (Wilson, "Probable inference, the law of succession, and
/// statistical inference", JASA 22, 1927); 1 without any history.
fn share_at_most(history: Tally) -> f64 {
    let Tally { count, exposure: jobs } = history;
    if jobs <= 0.0 {
        return 1.0;
    }
    let (share, z2) = (count / jobs, Z * Z);
    let spread = Z * (share * (1.0 - share) / jobs + z2 / (4.0 * jobs * jobs)).sqrt();
    ((share + z2 / (2.0 * jobs) + spread) / (1.0 + z2 / jobs)).min(1.0)
}

/// The lower end of a rate's interval (Wilson and Hilferty's cube root, as Byar used it: Breslow
/// and Day, "Statistical Methods in Cancer Research" II, 1987, equation 2.11).
fn rate_at_least(history: Tally) -> f64 {
    let Tally { count, exposure } = history;
    if count <= 0.0 || exposure <= 0.0 {
        return 0.0;
    }
    let root = 1.0 - 1.0 / (9.0 * count) - Z / (3.0 * count.sqrt());
    count * root.max(0.0).powi(3) / exposure
}

/// What is known of the service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DeltaJobs {
    failures: Test,
    throughput: Test,
    /// Jobs that are begun while no other is.
    #[serde(default)]
    starts: Test,
    /// All jobs that ended in all seconds, waiting or not: what the service can do at least.
    all: Tally,
}

/// What a sample brought.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Findings {
    /// More of the jobs that end fail.
    pub failures: Option<Alarm>,
    /// Fewer jobs end while others wait.
    pub throughput: Option<Alarm>,
    /// Jobs wait, and no worker begins one.
    pub starts: Option<Alarm>,
    /// The failures are over.
    pub failures_over: bool,
    /// The loss of throughput is over, whichever test found it.
    pub throughput_over: bool,
}

impl DeltaJobs {
    /// Takes a sample's jobs. `alpha` is the chance of a false alarm that each test may cost.
    pub fn step(&mut self, at: Time, jobs: Jobs, alpha: f64) -> Findings {
        let mut findings = Findings::default();
        let ended = jobs.succeeded + jobs.failed.unwrap_or(0.0);
        if let Some(failed) = jobs.failed.filter(|_| ended > 0.0) {
            let sample = Tally { count: failed, exposure: ended };
            let ordinary = share_at_most(self.failures.history);
            let changed = |left: f64| (1.0 - (1.0 - ordinary) * left).min(SHARE_MAX);
            if ordinary < SHARE_MAX {
                findings.failures = self.failures.step(
                    at,
                    sample,
                    ordinary,
                    changed,
                    (share_log_ratio, 1.0),
                    alpha,
                );
            }
            self.failures.learn(sample, jobs.elapsed_s, alpha, |share| share * (1.0 - share));
        }
        findings.failures_over = self.failures.is_over(jobs.elapsed_s, ended == 0.0, alpha);
        self.step_capacity(at, jobs, alpha / 2.0, &mut findings);
        if self.lost_since().is_none() && self.failures.open.is_none() {
            self.all.add(ended, jobs.elapsed_s);
        }
        findings
    }

    /// Whether workers are lost: two tests, of which each may cost this chance of a false alarm.
    fn step_capacity(&mut self, at: Time, jobs: Jobs, alpha: f64, findings: &mut Findings) {
        let (before, capacity) = (self.lost_since(), self.capacity());
        let ended = jobs.succeeded + jobs.failed.unwrap_or(0.0);
        let waiting = (jobs.waited == Some(true)).then_some(ended);
        let idle = jobs.waited == Some(false);
        findings.throughput = self.throughput.step_rate(at, (waiting, idle), jobs, capacity, alpha);
        let starts = rate_at_least(self.starts.history);
        let begun = jobs.begun.map(|begun| f64::from(u8::from(begun)));
        let idle = begun.is_none();
        findings.starts = self.starts.step_rate(at, (begun, idle), jobs, starts, alpha);
        findings.throughput_over = before.is_some() && self.lost_since().is_none();
    }

    /// Since when workers are lost, as far as is known.
    fn lost_since(&self) -> Option<Time> {
        let open = |test: &Test| test.open.as_ref().map(|open| open.onset);
        open(&self.throughput).or_else(|| open(&self.starts))
    }

    /// Jobs a second that the service can do at least.
    fn capacity(&self) -> f64 {
        rate_at_least(self.throughput.history).max(rate_at_least(self.all))
    }

    /// Jobs that ordinarily end in a second, whether others wait or not.
    pub fn ended_a_second(&self) -> f64 {
        self.all.rate()
    }

    /// How the test of failures stands.
    pub fn failures(&self, alpha: f64) -> Standing {
        self.failures.standing(share_at_most(self.failures.history), alpha)
    }

    /// How the test of throughput stands, with the score of that which is nearer to an alarm: of
    /// this or of jobs that nobody begins.
    pub fn throughput(&self, alpha: f64) -> Standing {
        let throughput = self.throughput.standing(self.capacity(), alpha / 2.0);
        let starts = self.starts.standing(rate_at_least(self.starts.history), alpha / 2.0);
        Standing { score: throughput.score.max(starts.score), ..throughput }
    }

    /// Of the alarm of a test that stands: what is ordinary, and what was seen from its onset on.
    pub fn changed(&self, failures: bool) -> Option<(f64, f64)> {
        let test = if failures { &self.failures } else { &self.throughput };
        let open = test.open.as_ref().or(self.starts.open.as_ref().filter(|_| !failures));
        open.map(|open| (open.ordinary, open.changed))
    }

    /// Since when the test of failures, or of throughput, has an alarm that stands; `None` while
    /// its history is empty.
    pub fn away_since(&self, of_failures: bool) -> Option<Option<Time>> {
        if of_failures {
            let open = self.failures.open.as_ref().map(|open| open.onset);
            return (open.is_some() || self.failures.history.exposure > 0.0).then_some(open);
        }
        let open = self.lost_since();
        (open.is_some() || self.capacity() > 0.0).then_some(open)
    }

    /// What is now is taken for ordinary: the tests begin anew.
    pub fn accept(&mut self) {
        *self = DeltaJobs::default();
    }
}

#[cfg(test)]
mod tests;
