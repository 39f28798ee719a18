//! What is familiar: causes that are like what an operator has rejected, and changes that come at
//! their time again and again. Nobody is notified of them for as long as they stay what they were.
//! Looks at incidents after every other part has had its say in a step, and before anything of it
//! is told. What is alike is `diagnose::rejections`' to say, and what recurs `recurrence`'s.

use crate::{
    diagnose::{
        causes::unexplained,
        recurrence::{Habit, Occurrence},
        rejections::{Like, MOVES_MAX, Move, Pattern, Rejection, breadth_of},
        signatures::{self, Mark},
        texts::{count, level},
    },
    incident::{Cause, Change, Familiar, Severity},
    pipeline::{
        Pipeline, Subject,
        state::{Bounds, LostSignals, MassWatch, Watch},
    },
    series::{DELTA_FAILURE_RATIO, Direction, Time, seconds},
};

/// Seconds in a day.
const DAY_S: f64 = 86_400.0;

impl Pipeline {
    /// Holds what came in this step against what is familiar.
    pub(super) fn recognise(&mut self, at: Time) {
        for index in 0..self.state.watches.len() {
            self.recognise_cause(index, at);
            self.recognise_symptoms(index, at);
            self.hold_to_what_was_familiar(index, at);
        }
        for index in (0..self.state.watches.len()).rev() {
            self.end_way_back(index, at);
        }
    }

    /// A level that an operator's rejection had made the new normal is back where it was before,
    /// which is the normal again.
    fn end_way_back(&mut self, index: usize, at: Time) {
        let watch = &self.state.watches[index];
        let is_way_back = watch.bounds.is_some_and(|bounds| bounds.is_way_back);
        let (true, Subject::Signal(signal)) = (is_way_back, &watch.subject) else { return };
        if let Some(watched) = self.state.signals.get_mut(signal.as_str()) {
            watched.rebase();
        }
        self.resolve(index, at, "it is back where it was before what was rejected");
    }

    /// An operator says that an incident is none: what is like it will notify nobody. If it was
    /// recorded as familiar, it is this that is wrong.
    pub(super) fn remember_rejection(&mut self, index: usize, at: Time) {
        let watch = &self.state.watches[index];
        let familiar = watch.incident.familiar.clone();
        let rejected = match &familiar {
            Some(familiar) => {
                self.forget(index, familiar);
                "Rejected by an operator: it is not what it was taken for, which is forgotten, and \
                 the next one is told."
            }
            None if self.remember_patterns(index, at) => {
                "Rejected by an operator: the diagnosis is wrong. What is like it, and no larger, \
                 notifies nobody from here on."
            }
            None => "Rejected by an operator: the diagnosis is wrong.",
        };
        self.state.watches[index].incident.note(at, rejected);
    }

    fn forget(&mut self, index: usize, familiar: &Familiar) {
        if let Familiar::Rejected { incident, .. } = familiar {
            self.state.rejections.forget(incident);
            return;
        }
        let Subject::Signal(signal) = &self.state.watches[index].subject else { return };
        let Some(watched) = self.state.signals.get_mut(signal.as_str()) else { return };
        if let Some(direction) = watched.detector.in_change().map(|change| change.direction) {
            watched.occurrences.forget(direction);
        }
    }

    /// Remembers what a rejected incident was about, if it notified anybody of something that can
    /// come again: not of blindness, which is nobody's pattern.
    fn remember_patterns(&mut self, index: usize, at: Time) -> bool {
        let watch = &self.state.watches[index];
        let incident = &watch.incident;
        let patterns: Vec<Pattern> = match &watch.subject {
            _ if incident.notifications.is_empty() => Vec::new(),
            Subject::Signal(own) => {
                let others = incident.symptoms.iter().filter(|other| other.explained == 0.0);
                let others = others.map(|other| other.signal.as_str());
                let signals = std::iter::once(own.as_str()).chain(others);
                let moves = signals.filter_map(|signal| Some((self.moved_now(signal)?.0, true)));
                let moves: Vec<(Move, bool)> = moves.take(MOVES_MAX).collect();
                if moves.is_empty() { Vec::new() } else { vec![Pattern::Levels(moves)] }
            }
            Subject::Jobs(signal) => {
                let moved = self.jobs_moved(signal);
                moved.map(|moved| Pattern::Levels(vec![(moved, false)])).into_iter().collect()
            }
            Subject::Mass(mass) => {
                let told = incident.causes.iter().filter(|record| record.severity > Severity::Info);
                let flow =
                    |(cause, radius): (Cause, &crate::incident::BlastRadius)| Pattern::Flow {
                        family: mass.kind.family(),
                        cause,
                        amount: radius.devices,
                        breadth: breadth_of(radius),
                    };
                told.map(|record| flow((record.cause, &record.blast_radius))).collect()
            }
            Subject::Lost(LostSignals { source, signals }) => {
                vec![Pattern::Lost { source: source.clone(), signals: signals.clone() }]
            }
            Subject::Owner(_) | Subject::Source(_) => Vec::new(),
        };
        let (incident, cause) = (incident.id.clone(), incident.current().cause);
        let remembered = !patterns.is_empty();
        for pattern in patterns {
            let incident = incident.clone();
            let rejection = Rejection { incident, at, used_at: at, cause, pattern };
            self.state.rejections.remember(rejection);
        }
        remembered
    }

    /// A cause that joined in this step.
    fn recognise_cause(&mut self, index: usize, at: Time) {
        let watch = &mut self.state.watches[index];
        let causes = watch.incident.causes.len();
        let seen = std::mem::replace(&mut watch.recognised, causes);
        let record = watch.incident.current();
        // What an older version opened was told already.
        if seen == causes || record.severity == Severity::Info || record.detected_at != at {
            return;
        }
        (watch.bounds, watch.incident.familiar) = (None, None);
        self.say_why_revised(index, at);
        let found = self.precedent(index, at);
        if let Subject::Signal(signal) = &self.state.watches[index].subject {
            let signal = signal.clone();
            self.note_occurrence(&signal);
        }
        let Some((familiar, bounds)) = found else { return };
        let watch = &mut self.state.watches[index];
        watch.bounds = Some(bounds);
        watch.incident.quieten(familiar);
        self.touch(index);
    }

    /// Another cause of what an incident is about than was thought at first. A sequel is none: it
    /// leaves what came before as it is.
    fn say_why_revised(&mut self, index: usize, at: Time) {
        let Watch { incident, subject, .. } = &mut self.state.watches[index];
        let [.., before, now] = incident.causes.as_slice() else { return };
        let (was, is) = (before.cause, now.cause);
        let is_sequel = matches!(subject, Subject::Mass(_)) && before.severity > Severity::Info;
        if was == is || is_sequel {
            return;
        }
        let percent = 100.0 * now.probability;
        let text = format!(
            "The cause is revised: what is seen by now speaks for {is} ({percent:.0} %) and no \
             longer for {was}."
        );
        incident.note(at, text);
    }

    /// Symptoms of a change that nothing explains are changes that nothing explains. Where nobody
    /// was notified of it, one of them may be news.
    fn recognise_symptoms(&mut self, index: usize, at: Time) {
        let watch = &mut self.state.watches[index];
        let symptoms = &watch.incident.symptoms;
        let seen = std::mem::replace(&mut watch.symptoms_recognised, symptoms.len());
        let Subject::Signal(own) = &watch.subject else { return };
        // What was announced is followed by its bounds, and signals of one family move together.
        let announced = watch.announced.is_some();
        let family = signatures::family_of(own).map(|family| family.marks);
        let fresh = symptoms.iter().skip(seen).filter(|symptom| symptom.explained == 0.0);
        let fresh: Vec<String> = fresh.map(|symptom| symptom.signal.clone()).collect();
        for signal in fresh {
            let familiar = self.familiar_level(Cause::Unexplained, &signal, at);
            self.note_occurrence(&signal);
            let silent = self.state.watches[index].incident.notifications.is_empty();
            let sibling = |mark: &Mark| mark.signal == signal;
            let belongs = announced || family.is_some_and(|marks| marks.iter().any(sibling));
            if silent && !belongs && familiar.is_none() {
                self.tell_of_symptom(index, &signal, at);
            }
        }
    }

    /// An unfamiliar change joined an incident of which nobody was notified.
    fn tell_of_symptom(&mut self, index: usize, signal: &str, at: Time) {
        let Some(watched) = self.state.signals.get(signal) else { return };
        let Some(change) = watched.detector.in_change() else { return };
        let after = watched.status.value.unwrap_or(change.after);
        let record = unexplained(&Change { after, ..change.clone() }, at);
        let subject = Subject::Signal(signal.to_owned());
        let before = std::mem::replace(&mut self.state.watches[index].subject, subject);
        let earlier = self.as_symptom(&before);
        let watch = &mut self.state.watches[index];
        let incident = &mut watch.incident;
        incident.symptoms.retain(|symptom| symptom.signal != signal);
        incident.symptoms.extend(earlier);
        incident.note(at, format!("{signal} is no part of what is known: people are notified."));
        incident.familiar = None;
        incident.candidates = vec![(record.cause, 1.0)];
        incident.supersede(at, record);
        (watch.bounds, watch.recognised) = (None, incident.causes.len());
        watch.symptoms_recognised = incident.symptoms.len();
        self.touch(index);
    }

    /// A familiar cause that has become more than what was familiar is told after all.
    fn hold_to_what_was_familiar(&mut self, index: usize, at: Time) {
        if let Subject::Signal(signal) = &self.state.watches[index].subject {
            let signal = signal.clone();
            self.recognise_another_change(index, &signal, at);
            self.note_occurrence(&signal);
        }
        let watch = &self.state.watches[index];
        let (Some(_), Some(bounds)) = (&watch.incident.familiar, watch.bounds) else { return };
        let why = match &watch.subject {
            Subject::Signal(signal) => self.outgrown(signal, bounds, at),
            Subject::Mass(_) => self.precedent(index, at).is_none().then(|| {
                let radius = &self.state.watches[index].incident.current().blast_radius;
                let devices = count(radius.devices as i64);
                format!("By now it is {devices} devices: more than what it was like.")
            }),
            Subject::Jobs(_) | Subject::Lost(_) => self
                .precedent(index, at)
                .is_none()
                .then(|| "By now it is more than what it was like.".to_owned()),
            Subject::Owner(_) | Subject::Source(_) => None,
        };
        let Some(why) = why else { return };
        let watch = &mut self.state.watches[index];
        watch.bounds = None;
        watch.incident.speak_up(at, &why);
        watch.recognised = watch.incident.causes.len();
        self.touch(index);
    }

    /// The signal of a familiar change moves another time: that may be familiar too.
    fn recognise_another_change(&mut self, index: usize, signal: &str, at: Time) {
        let watch = &self.state.watches[index];
        let (Some(_), Some(bounds)) = (&watch.incident.familiar, watch.bounds) else { return };
        let Some((_, Occurrence { onset, .. })) = self.moved_now(signal) else { return };
        if bounds.onset == Some(onset) {
            return;
        }
        let cause = watch.incident.current().cause;
        let found = self.familiar_level(cause, signal, at);
        let watch = &mut self.state.watches[index];
        if let Some((familiar, bounds)) = found {
            watch.incident.note(at, format!("Nobody is notified: {familiar}."));
            (watch.bounds, watch.incident.familiar) = (Some(bounds), Some(familiar));
        } else {
            watch.bounds = None;
            let why = format!("{signal} has moved another time, which is not familiar.");
            watch.incident.speak_up(at, &why);
            watch.recognised = watch.incident.causes.len();
        }
        self.touch(index);
    }

    fn outgrown(&self, signal: &str, bounds: Bounds, at: Time) -> Option<String> {
        let watched = self.state.signals.get(signal)?;
        let (change, size) = (watched.detector.in_change()?, watched.detector.away()?);
        if let Some(most) = bounds.size_max.filter(|most| size > *most) {
            return Some(format!(
                "By now {signal} is {} away from {}; up to {} would be familiar.",
                level(size),
                level(change.before),
                level(most),
            ));
        }
        bounds.until.filter(|until| at > *until).map(|until| {
            let minutes = |since: Time| count((since - change.onset).num_minutes());
            format!(
                "It has lasted for {} min; up to {} min would be familiar.",
                minutes(at),
                minutes(until)
            )
        })
    }

    /// What the current cause of an incident is like.
    fn precedent(&mut self, index: usize, at: Time) -> Option<(Familiar, Bounds)> {
        let watch = &self.state.watches[index];
        let record = watch.incident.current();
        let cause = record.cause;
        let like = match &watch.subject {
            Subject::Signal(signal) => {
                let signal = signal.clone();
                return self.familiar_level(cause, &signal, at);
            }
            Subject::Jobs(signal) => {
                let moved = self.jobs_moved(signal)?;
                self.state.rejections.like_level(cause, &moved, at)
            }
            Subject::Mass(mass) => {
                let MassWatch { kind, .. } = **mass;
                let radius = record.blast_radius.clone();
                let alpha = self.page_alpha();
                self.state.rejections.like_flow((cause, kind.family()), &radius, alpha, at)
            }
            Subject::Lost(LostSignals { source, signals }) => {
                let (source, signals) = (source.clone(), signals.clone());
                self.state.rejections.like_lost(&source, &signals, at)
            }
            Subject::Owner(_) | Subject::Source(_) => None,
        };
        like.map(of_rejection)
    }

    /// What a level's move is like: what was rejected, or, of what would not page, what comes at
    /// this time. Nothing but an operator's word keeps a page back.
    fn familiar_level(
        &mut self,
        cause: Cause,
        signal: &str,
        at: Time,
    ) -> Option<(Familiar, Bounds)> {
        let (moved, occurrence) = self.moved_now(signal)?;
        if let Some(like) = self.state.rejections.like_level(cause, &moved, at) {
            let (familiar, bounds) = of_rejection(like);
            return Some((familiar, Bounds { onset: Some(occurrence.onset), ..bounds }));
        }
        if cause.severity() > Severity::Warning {
            return None;
        }
        let interval_s = self.settings.interval_s;
        let shares = self.warning_shares(at);
        let a_month = self.alarms_a_month(signal, self.warning_alpha(signal, shares));
        let a_day = a_month / crate::pipeline::MONTH_S * DAY_S;
        let watched = self.state.signals.get(signal)?;
        let habit = watched.occurrences.habit(occurrence, interval_s, a_day)?;
        let Habit { text, size_max, lasts_max_s } = habit;
        let until = lasts_max_s.map(|lasts_s| occurrence.onset + seconds(lasts_s + interval_s));
        let (onset, size_max) = (Some(occurrence.onset), Some(size_max));
        let bounds = Bounds { onset, size_max, until, is_way_back: false };
        Some((Familiar::Recurring { text }, bounds))
    }

    fn note_occurrence(&mut self, signal: &str) {
        let Some((_, occurrence)) = self.moved_now(signal) else { return };
        if let Some(watched) = self.state.signals.get_mut(signal) {
            watched.occurrences.observe(occurrence);
        }
    }

    /// The open change of a signal.
    fn moved_now(&self, signal: &str) -> Option<(Move, Occurrence)> {
        let detector = &self.state.signals.get(signal)?.detector;
        let change = detector.in_change()?;
        let size = detector.away().filter(|size| *size > 0.0)?;
        let (onset, direction) = (change.onset, change.direction);
        let moved = Move { signal: signal.to_owned(), direction, before: change.before, size };
        Some((moved, Occurrence { onset, direction, size, lasted_s: None }))
    }

    /// What a test of delta jobs says, as a move: the share that fails, or by what factor fewer
    /// end.
    fn jobs_moved(&self, signal: &str) -> Option<Move> {
        let failures = signal == DELTA_FAILURE_RATIO;
        let (ordinary, changed) = self.state.jobs.changed(failures)?;
        let (direction, size) = if failures {
            (Direction::Up, changed)
        } else {
            (Direction::Down, ordinary / changed.max(f64::MIN_POSITIVE))
        };
        Some(Move { signal: signal.to_owned(), direction, before: ordinary, size })
    }
}

fn of_rejection(like: Like) -> (Familiar, Bounds) {
    let Like { incident, at, size_max, is_way_back } = like;
    let size_max = Some(size_max).filter(|size| size.is_finite());
    (Familiar::Rejected { incident, at }, Bounds { size_max, is_way_back, ..Bounds::default() })
}
