//! What cannot be seen, in words: sources that give no samples or the same one again and again, and
//! signals that are gone. When it is told is the pipeline's business.

use crate::{
    diagnose::texts::{count, counted, hms, level, quoted},
    incident::{BlastRadius, Cause, CauseRecord, Change, Evidence, Scope, Severity},
    series::Time,
};

/// What is known of a source that gives no samples.
#[derive(Clone, Copy, Debug)]
pub struct LostFacts<'a> {
    /// The source's name.
    pub source: &'a str,
    /// The first missing sample.
    pub onset: Time,
    /// The present.
    pub now: Time,
    /// The last good sample, if there ever was one.
    pub last_good: Option<Time>,
    /// Samples missed in a row.
    pub missed: u32,
    /// Why, in the sampler's words.
    pub reason: &'a str,
    /// Whether the fleet itself is out of sight.
    pub is_fleet: bool,
    /// How loud.
    pub severity: Severity,
}

/// The record of a blind daemon.
pub fn sampling_lost(facts: LostFacts<'_>) -> CauseRecord {
    let source = quoted(facts.source, 60);
    let since = facts.last_good.map_or_else(
        || "never since the start".to_owned(),
        |at| format!("last at {} UTC", hms(at)),
    );
    let summary = format!(
        "Headwater has no samples of source {source}: {} missed in a row, {since}; {}.",
        count(i64::from(facts.missed)),
        quoted(facts.reason, 300),
    );
    let unseen = if facts.last_good.is_none() {
        "Unseen until it answers: everything that this source should give."
    } else if facts.is_fleet {
        "Unseen meanwhile: mass_pin, mass_unpin, mass_repin, mass_retarget, mass_deletion and every \
         owner's act. This says nothing about the fleet itself."
    } else {
        "Unseen meanwhile: the signals of this source; the fleet's causes are still watched."
    };
    let next_steps = vec![
        format!("Run `headwater check --connect` where the daemon runs: it samples {source} once."),
        "Do not read the silence as good news.".to_owned(),
    ];
    let title = format!("Headwater is blind: no samples of source {source}");
    let between = (facts.onset, facts.now);
    let words = Words { title, summary, meaning: unseen, next_steps };
    let evidence = vec![of_source(quoted(facts.reason, 300))];
    CauseRecord { severity: facts.severity, evidence, ..words.record(Cause::SamplingLost, between) }
}

/// What is known of a source that repeats itself and does not say that it is behind.
#[derive(Clone, Copy, Debug)]
pub struct StandingFacts<'a> {
    /// The source's name.
    pub source: &'a str,
    /// The first repeat.
    pub onset: Time,
    /// The present.
    pub now: Time,
    /// The sample that it repeats.
    pub since: Time,
    /// Repeats that its history makes too improbable, in a row.
    pub repeats: u32,
    /// Changes of its signals that have not been confirmed: they came with the repeated row.
    pub moved: &'a [&'a Change],
}

/// The record of a source that stands still: it is stuck, or what it measures is.
pub fn standing_still(facts: StandingFacts<'_>) -> CauseRecord {
    let source = quoted(facts.source, 60);
    let moves = facts.moved.iter().take(NAMES_MAX).map(|change| {
        let signal = quoted(&change.signal, 80);
        format!("{signal} from {} to {}", level(change.before), level(change.after))
    });
    let moves = listed(moves.collect(), facts.moved.len());
    let news = if facts.moved.is_empty() {
        String::new()
    } else {
        format!(" Its last new values moved {moves}, and nothing has come that would confirm it.")
    };
    let summary = format!(
        "Source {source} has given the same values {} since {} UTC, which was not to be \
         expected of it: it is stuck, or everything that it measures stands still.{news}",
        counted(u64::from(facts.repeats), "more time", "more times"),
        hms(facts.since),
    );
    let next_steps = vec![
        format!("Look at what {source} reads: an exporter, a cache or a replica may be stuck."),
        "If its values are true: reject this incident and they are judged as they are, or accept it \
         and they are the new normal."
            .to_owned(),
    ];
    let meaning = "Its rows are left out meanwhile: a stuck source shows nothing of the present.";
    let title = format!("Source {source} stands still: every sample repeats the one before it");
    let words = Words { title, summary, meaning, next_steps };
    words.record(Cause::SamplingLost, (facts.onset, facts.now))
}

/// What is known of signals that are gone while their source answers.
#[derive(Clone, Copy, Debug)]
pub struct GoneFacts<'a> {
    /// The source's name.
    pub source: &'a str,
    /// Which, by name.
    pub signals: &'a [&'a str],
    /// The first sample without one of them.
    pub onset: Time,
    /// The present.
    pub now: Time,
    /// Samples in a row without them.
    pub absent: u32,
}

/// What is said of something that cannot be seen.
struct Words<'a> {
    title: String,
    summary: String,
    meaning: &'a str,
    next_steps: Vec<String>,
}

impl Words<'_> {
    /// The record of a cause with this onset that is recognised now; its summary proves it.
    fn record(self, cause: Cause, (onset, now): (Time, Time)) -> CauseRecord {
        let Words { title, summary, meaning, next_steps } = self;
        CauseRecord {
            cause,
            severity: cause.severity(),
            scope: Scope::Platform,
            onset,
            detected_at: now,
            superseded_at: None,
            title,
            description: format!("{meaning}\n\nNext:\n- {}\n", next_steps.join("\n- ")),
            evidence: vec![of_source(summary.clone())],
            summary,
            probability: 1.0,
            blast_radius: BlastRadius::default(),
            next_steps,
        }
    }
}

fn of_source(text: String) -> Evidence {
    Evidence { kind: "source".to_owned(), text }
}

/// Names that one sentence lists.
const NAMES_MAX: usize = 5;

/// `a, b and 3 more`: the first of `all` things, in words.
fn listed(mut words: Vec<String>, all: usize) -> String {
    let more = all.saturating_sub(words.len());
    if more > 0 {
        words.push(format!("{} more", count(more as i64)));
    }
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => words.concat(),
    }
}

/// The record of signals that are gone.
pub fn signal_lost(facts: GoneFacts<'_>) -> CauseRecord {
    let source = quoted(facts.source, 60);
    let names = facts.signals.iter().take(NAMES_MAX).map(|signal| quoted(signal, 80));
    let names = listed(names.collect(), facts.signals.len());
    let have = if facts.signals.len() == 1 { "has" } else { "have" };
    let summary = format!(
        "Source {source} answers, but {names} {have} been missing from its last {} samples, since \
         {} UTC, after more than a day of presence.",
        count(i64::from(facts.absent)),
        hms(facts.onset),
    );
    let next_steps = vec![
        format!(
            "Run `headwater check --connect` where the daemon runs: its notes on {source} name the \
             query, table, column or grant that is missing."
        ),
        "If it was taken away on purpose: take it out of the configuration, or accept this \
         incident."
            .to_owned(),
    ];
    let meaning = "What is missing is neither zero nor its last value: what depends on it is not \
                   judged until it is back. This says nothing about the fleet itself.";
    let title = format!("Source {source} no longer gives {names}");
    let words = Words { title, summary, meaning, next_steps };
    words.record(Cause::SignalLost, (facts.onset, facts.now))
}
