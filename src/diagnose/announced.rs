//! Announced maintenance: whether what happens is within the bounds that somebody gave beforehand,
//! or by how much it goes beyond them, in words. Who is told of what follows from that, and what
//! happens, is for others to say.

use crate::{
    change_event::{ApplicationName, ChangeEvent, Expected},
    diagnose::{
        coincidence::{EventHistory, Kept, what},
        texts::{count, counted, quoted},
    },
    incident::Cause,
    series::Time,
};

/// Announcements of something else that are said beside a cause.
const OTHERS_MAX: usize = 3;
/// Applications that a sentence lists by name.
const LISTED_MAX: usize = 3;
/// A name's length in a sentence, in characters.
const NAME_MAX: usize = 60;

/// How far a cause reaches by now.
pub struct Extent<'a> {
    /// Which cause.
    pub cause: Cause,
    /// The first sample in which it shows.
    pub onset: Time,
    /// The latest sample in which it moved something, or in which it is still there.
    pub latest: Time,
    /// Devices that it has changed; `None` if they cannot be counted.
    pub devices: Option<u64>,
    /// The applications in which it has changed any, if that is known.
    pub applications: Option<Vec<Touched<'a>>>,
    /// What else it has changed that no announcement of its cause speaks of.
    pub besides: Option<&'a str>,
    /// So many owners act at a time by themselves, beside any maintenance …
    pub owners_max: u64,
    /// … and change no more devices than this allows.
    pub is_trickle: &'a dyn Fn(u64) -> bool,
}

/// An application in which a cause has changed devices.
pub struct Touched<'a> {
    /// Its id.
    pub id: i64,
    /// Its name (untrusted text).
    pub name: &'a str,
    /// Whose it is.
    pub owner: i64,
    /// How many devices.
    pub devices: u64,
}

/// What announcements say of a cause.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// It was announced, and is within its bounds.
    pub is_within: bool,
    /// What was announced, and how what happens compares.
    pub facts: Vec<Fact>,
    /// The same as a clause for a summary, where what happens is not what was announced.
    pub clause: Option<String>,
}

/// An announcement that has to do with a cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// The announcement.
    pub event: ChangeEvent,
    /// In a clause.
    pub text: String,
}

impl Fact {
    fn new(kept: &Kept, compared: &str) -> Fact {
        let text = format!("{}{compared}", promise(&kept.event));
        Fact { event: kept.event.clone(), text }
    }
}

/// Holds a cause against everything that is announced for its time.
pub fn verdict(history: &EventHistory, extent: &Extent<'_>) -> Verdict {
    let begun = || history.announcements().filter(|kept| kept.event.at <= extent.onset);
    let own = |kept: &&Kept| {
        kept.event.expects().is_some_and(|(expected, _)| expected.cause == extent.cause)
    };
    if let Some(kept) = begun().filter(own).find(|kept| excess(kept, extent).is_none()) {
        let fact = Fact::new(kept, ": this is within it, and nobody is notified");
        return Verdict { is_within: true, facts: vec![fact], clause: None };
    }
    let mut verdict = Verdict::default();
    let until = |kept: &&Kept| kept.event.announcement.as_ref().map(|announced| announced.until);
    if let Some(kept) = begun().filter(own).max_by_key(until)
        && let Some(excess) = excess(kept, extent)
    {
        let title = quoted(&kept.event.title, NAME_MAX);
        verdict.facts.push(Fact::new(kept, &format!("; {excess}")));
        verdict.clause = Some(format!("beyond the announced maintenance \"{title}\": {excess}"));
    }
    let lasting = |kept: &&Kept| !own(kept) && until(kept).is_some_and(|end| extent.onset <= end);
    for kept in begun().filter(lasting).take(OTHERS_MAX) {
        match kept.event.expects() {
            None => verdict.facts.push(Fact::new(kept, "")),
            Some((expected, _)) => {
                let (cause, title) = (extent.cause, quoted(&kept.event.title, NAME_MAX));
                verdict.facts.push(Fact::new(kept, &format!(", and not {cause}")));
                verdict.clause.get_or_insert_with(|| {
                    format!("the announced maintenance \"{title}\" expects {}", expected.cause)
                });
            }
        }
    }
    verdict
}

/// When everything that expects this cause is over.
pub fn over_at(history: &EventHistory, cause: Cause, onset: Time) -> Option<Time> {
    let begun = history.announcements().filter(|kept| kept.event.at <= onset);
    let ends = begun.filter_map(|kept| {
        let (expected, until) = kept.event.expects()?;
        (expected.cause == cause).then_some(until)
    });
    ends.max()
}

/// By how much a cause goes beyond an announcement of it.
fn excess(kept: &Kept, extent: &Extent<'_>) -> Option<String> {
    let (expected, until) = kept.event.expects()?;
    if extent.latest > until {
        return Some(if extent.onset > until {
            format!("it began after the announced end, {}", moment(until))
        } else {
            format!("it goes on after the announced end, {}", moment(until))
        });
    }
    if let Some(besides) = extent.besides {
        return Some(format!("{besides}, which was not announced"));
    }
    let Some(devices) = extent.devices else {
        return Some("how many devices it changes is not known".to_owned());
    };
    let all = devices.saturating_add(kept.spent);
    if all > expected.devices_max {
        let most = expected.devices_max;
        let (all_text, more) = (counted(all, "device", "devices"), count((all - most) as i64));
        let earlier = match kept.spent {
            0 => String::new(),
            spent => format!(" with the {} of before", count(spent as i64)),
        };
        return Some(format!("{all_text}{earlier}, {more} more than announced"));
    }
    outside(expected.applications.as_deref()?, extent)
}

/// What a cause does in applications that were not announced, beyond what their owners may be doing
/// by themselves at the same time.
fn outside(announced: &[ApplicationName], extent: &Extent<'_>) -> Option<String> {
    let Some(touched) = &extent.applications else {
        return Some("in which applications is not known".to_owned());
    };
    let is_announced = |one: &Touched<'_>| announced.iter().any(|own| own.is(one.id, one.name));
    let others: Vec<&Touched<'_>> = touched.iter().filter(|one| !is_announced(one)).collect();
    let owners: std::collections::BTreeSet<i64> = others.iter().map(|one| one.owner).collect();
    let is_trickle = others.iter().all(|one| (extent.is_trickle)(one.devices));
    if is_trickle && owners.len() as u64 <= extent.owners_max {
        return None;
    }
    let largest = others.iter().max_by_key(|one| (one.devices, std::cmp::Reverse(one.id)))?;
    let devices: u64 = others.iter().map(|one| one.devices).sum();
    let most = if others.len() > 1 { "most of them in application" } else { "in application" };
    Some(format!(
        "{} outside the announced applications, {most} {} (id {})",
        counted(devices, "device", "devices"),
        quoted(largest.name, NAME_MAX),
        largest.id,
    ))
}

/// What was announced, in a clause.
fn promise(event: &ChangeEvent) -> String {
    let subject = what(event);
    let Some(announced) = &event.announcement else { return subject };
    let times = format!("from {} to {}", moment(event.at), moment(announced.until));
    match &announced.expects {
        None => format!("{subject} lasts {times}"),
        Some(expected) => format!("{subject}, {times}, expects {}", bounds(expected)),
    }
}

/// `mass_repin of at most 5,000 devices in applications scooters, 17`.
fn bounds(expected: &Expected) -> String {
    let most = counted(expected.devices_max, "device", "devices");
    let mut text = format!("{} of at most {most}", expected.cause);
    if let Some(applications) = &expected.applications {
        let names = applications.iter().take(LISTED_MAX).map(|application| match application {
            ApplicationName::Id(id) => id.to_string(),
            ApplicationName::Name(name) => quoted(name, NAME_MAX),
        });
        let noun = if applications.len() == 1 { "application" } else { "applications" };
        text += &format!(" in {noun} {}", names.collect::<Vec<_>>().join(", "));
        let more = applications.len().saturating_sub(LISTED_MAX);
        if more > 0 {
            text += &format!(" and {more} more");
        }
    }
    text
}

/// With its day: a maintenance may be announced for any.
fn moment(at: Time) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

#[cfg(test)]
mod tests;
