//! The jobs of delta generation in a sample, and the incidents of its tests (`diagnose::jobs`).

use crate::{
    diagnose::{
        jobs::{Alarm, Jobs, Standing},
        services::{Demand, ServiceFacts},
        signatures::DELTAS,
        texts::{count, hms, level},
    },
    incident::Cause,
    pipeline::{Pipeline, Subject, intake::Intake},
    series::{DELTA_FAILURE_RATIO, DELTA_THROUGHPUT, Time},
    values::Values,
};

impl Pipeline {
    /// What the jobs of a sample came to, if it gives the counters; called before these are taken.
    /// Adds the signals that are tested.
    pub(super) fn take_jobs(&self, at: Time, values: &mut Values) -> Option<Jobs> {
        let before = |signal: &str| self.state.signals.get(signal)?.raw;
        let (then, _) = before("delta_successes_total")?;
        let elapsed_s = (at - then).as_seconds_f64();
        // Samples that were missed say nothing of whether jobs waited all the time.
        if elapsed_s <= 0.0 || elapsed_s >= 2.0 * self.settings.interval_s {
            return None;
        }
        let increment = |counter: &str| {
            let (_, was) = before(counter)?;
            let increment = values.get(counter)? - was;
            (increment >= 0.0).then_some(increment)
        };
        let succeeded = increment("delta_successes_total")?;
        let failed = increment("delta_failures_total");
        if failed.is_none() && values.contains_key("delta_failures_total") {
            // It was reset: how many failed is not known.
            return None;
        }
        let queue = before("delta_queue").zip(values.get("delta_queue").copied());
        let waited = queue.map(|((_, was), is)| was.min(is) >= 1.0);
        let ended = succeeded + failed.unwrap_or(0.0);
        if waited == Some(true) {
            values.extend([(DELTA_THROUGHPUT, ended / elapsed_s)]);
        }
        if let Some(failed) = failed.filter(|_| ended > 0.0) {
            values.extend([(DELTA_FAILURE_RATIO, failed / ended)]);
        }
        let busy = before("delta_workers_busy").zip(values.get("delta_workers_busy").copied());
        let begun = busy.filter(|((_, was), _)| *was == 0.0).and_then(|(_, is)| {
            // Who began and ended within the interval worked, too.
            if is > 0.0 || ended > 0.0 {
                Some(true)
            } else {
                waited.filter(|all| *all).map(|_| false)
            }
        });
        Some(Jobs { elapsed_s, succeeded, failed, waited, begun })
    }

    /// Takes the jobs through their tests.
    pub(super) fn watch_jobs(&mut self, intake: &Intake) {
        let Some(jobs) = intake.jobs else { return };
        let alpha = self.page_alpha();
        let found = self.state.jobs.step(intake.at, jobs, alpha);
        let (failures, throughput) =
            (self.state.jobs.failures(alpha), self.state.jobs.throughput(alpha));
        self.show_test(DELTA_FAILURE_RATIO, failures, (0.0, failures.ordinary));
        self.show_test(DELTA_THROUGHPUT, throughput, (throughput.ordinary, f64::INFINITY));
        if let Some(alarm) = found.failures {
            let text = format!(
                "of {} delta jobs that ended since {} UTC {} failed; ordinarily at most {} % do",
                count(alarm.exposure as i64),
                hms(alarm.onset),
                count(alarm.seen as i64),
                level(alarm.ordinary * 100.0),
            );
            self.tell_of_jobs(DELTA_FAILURE_RATIO, alarm, text, intake.at);
        }
        if let Some(alarm) = found.throughput {
            let text = format!(
                "{} delta jobs ended in {} s since {} UTC in which others waited; ordinarily at \
                 least {} do",
                count(alarm.seen as i64),
                count(alarm.exposure as i64),
                hms(alarm.onset),
                level(alarm.ordinary * alarm.exposure),
            );
            self.tell_of_jobs(DELTA_THROUGHPUT, alarm, text, intake.at);
        }
        if let Some(alarm) = found.starts {
            let text = format!(
                "no worker was at work for {} s since {} UTC in which delta jobs waited, and {} \
                 were begun; ordinarily at least {} are",
                count(alarm.exposure as i64),
                hms(alarm.onset),
                count(alarm.seen as i64),
                level(alarm.ordinary * alarm.exposure),
            );
            self.tell_of_jobs(DELTA_THROUGHPUT, alarm, text, intake.at);
        }
        for (signal, over) in
            [(DELTA_FAILURE_RATIO, found.failures_over), (DELTA_THROUGHPUT, found.throughput_over)]
        {
            let own = |subject: &Subject| matches!(subject, Subject::Jobs(of) if of == signal);
            let index = self.state.watches.iter().position(|watch| own(&watch.subject));
            if let (Some(index), true) = (index, over) {
                self.resolve(index, intake.at, "delta jobs end as they ordinarily do again");
            }
        }
    }

    /// What is asked of the service since then, as far back as is remembered.
    pub(super) fn demand(&self, since: Time) -> Demand {
        let requests = self.state.signals.get("delta_requests_total");
        let late = requests.map(|watched| watched.recent.iter().filter(|(at, _)| *at >= since));
        let (count, sum) = late
            .into_iter()
            .flatten()
            .fold((0.0, 0.0), |(count, sum), (_, rate)| (count + 1.0, sum + rate));
        Demand {
            an_hour: (count > 0.0).then(|| sum / count * 3_600.0),
            ordinarily: self.state.jobs.ended_a_second() * 3_600.0,
        }
    }

    fn show_test(&mut self, signal: &str, standing: Standing, (low, high): (f64, f64)) {
        let Some(watched) = self.state.signals.get_mut(signal) else { return };
        let status = &mut watched.status;
        status.expected = Some(standing.mean);
        status.expected_low = Some(low);
        status.expected_high = Some(high).filter(|high| high.is_finite());
        status.score = Some(standing.score);
        status.threshold = Some(standing.threshold);
        status.samples = standing.history as u64;
        status.threshold_origin = format!(
            "budget of pages; history of {} {}, evidence divided by {:.1} for what comes in spells",
            count(standing.history as i64),
            if signal == DELTA_THROUGHPUT { "s in which jobs waited" } else { "jobs" },
            standing.dispersion,
        );
        status.unexplained = Some(0.0);
    }

    /// A test of jobs has raised an alarm: the family's signals say which cause it speaks for.
    fn tell_of_jobs(&mut self, signal: &'static str, alarm: Alarm, statistic: String, at: Time) {
        let findings = self.findings(&DELTAS, (signal, alarm.onset), at);
        let candidates = DELTAS.candidates(None, |mark| {
            let finding = findings.iter().find(|finding| finding.signal == mark.signal)?;
            Some(finding.moved.is_some())
        });
        // Demand that nobody knows of neither fails nor takes capacity away.
        let named = candidates.iter().find(|(cause, _)| *cause != Cause::Unexplained);
        let Some((cause, probability)) = named.copied() else { return };
        let onset = alarm.onset;
        let facts = ServiceFacts {
            cause,
            onset,
            now: at,
            probability,
            findings: &findings,
            statistic,
            counted: Some(self.demand(onset)),
        };
        let record = facts.record();
        let subject = Subject::Jobs(signal.to_owned());
        let near = self.state.watches.iter().position(|watch| match &watch.subject {
            Subject::Jobs(_) => true,
            // What was unexplained, or was seen in a level, is this.
            Subject::Signal(other) => DELTAS.marks.iter().any(|mark| mark.signal == other),
            _ => false,
        });
        let Some(index) = near else {
            self.open(record, candidates, subject);
            return;
        };
        let watch = &mut self.state.watches[index];
        let known = watch.incident.causes.iter().any(|other| other.cause == cause);
        watch.subject = subject;
        if known {
            let statistic = record.evidence.last().map(|fact| fact.text.clone());
            watch.incident.note(at, format!("{}.", statistic.unwrap_or_default()));
        } else {
            watch.incident.candidates = candidates;
            watch.incident.join(record);
        }
        self.touch(index);
    }
}
