//! What goes into a detector beside the samples, and what comes out. No arithmetic but what a
//! setting means.

use std::fmt;

use crate::{
    incident::{Change, ChangeKind},
    series::Direction,
};

/// What a detector is asked for. Not part of its state: it may differ from sample to sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// This signal's share of the false-alarm budget: one over its average run length.
    pub false_alarms_per_sample: f64,
    /// Only this direction matters.
    pub direction: Option<Direction>,
    /// Smaller changes do not matter, in the signal's unit.
    pub min_change: Option<f64>,
    /// Smaller changes do not matter, as a share of the level before (0.05 is 5 %).
    pub min_change_relative: Option<f64>,
    /// Read from rows: a lone leap is real. Otherwise an alarm that returns within two samples is a
    /// point.
    pub exact: bool,
    /// Seconds between two samples.
    pub interval_s: f64,
}

impl Settings {
    /// A measured signal of which nothing is configured.
    pub fn of_measured(false_alarms_per_sample: f64, interval_s: f64) -> Settings {
        Settings {
            false_alarms_per_sample,
            direction: None,
            min_change: None,
            min_change_relative: None,
            exact: false,
            interval_s,
        }
    }

    /// The least change that matters to a signal at this level.
    pub(super) fn least_change(&self, level: f64) -> Option<f64> {
        let relative = self.min_change_relative.map(|share| share * level.abs());
        self.min_change.into_iter().chain(relative).reduce(f64::max)
    }
}

/// Where a threshold comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// There is none yet.
    #[default]
    Nowhere,
    /// The theory of N(0,1) innovations, at the budget.
    Theory,
    /// The extremes of the signal's own history, of so many blocks.
    History {
        /// Blocks of history whose maxima are kept.
        blocks: usize,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Nowhere => f.write_str("none yet"),
            Origin::Theory => f.write_str("theory for N(0,1) at the budget"),
            Origin::History { blocks } => {
                write!(f, "extremes of its own history, {blocks} blocks")
            }
        }
    }
}

/// What one sample means. Changes are boxed: they are rare and large, and a verdict is made of
/// every sample. The default is of a detector that cannot say anything yet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// What was expected; while a change is open, the level before it. `None` while warming up.
    pub expected: Option<f64>,
    /// Lower end of the band in which ordinary values lie.
    pub expected_low: Option<f64>,
    /// Upper end of that band.
    pub expected_high: Option<f64>,
    /// The log-likelihood ratio of the best single change against none; while a change is open, the
    /// ratio with which it was raised.
    pub score: f64,
    /// What the score must exceed. `None` while nothing can alarm yet.
    pub threshold: Option<f64>,
    /// Where the threshold comes from.
    pub threshold_origin: Origin,
    /// How new this sample is, in 0..1, where 0.5 is the threshold: 0 while nothing can alarm. A
    /// change that is open has been told already: only what differs from it is new.
    pub anomaly: f64,
    /// Samples that the signal's history holds.
    pub samples: u64,
    /// What cannot be seen yet, and for how long.
    pub cold: Option<String>,
    /// An alarm raised at this sample. One in the opposite direction replaces an open one.
    pub change: Option<Box<Change>>,
    /// An earlier alarm whose signal came back at this sample; a point if that took no more than
    /// two samples on a measured signal.
    pub returned: Option<Box<Change>>,
    /// An earlier alarm, still open, that turned out to be a ramp at this sample.
    pub ramp: Option<Box<Change>>,
}

impl Verdict {
    /// The changes that this sample told: a new one, an open one that is a ramp, and an earlier one
    /// that was a point.
    pub fn told(&self) -> impl Iterator<Item = &Change> {
        let returned = self.returned.as_deref();
        let point = returned.filter(|change| change.kind == ChangeKind::Point);
        [self.change.as_deref(), self.ramp.as_deref(), point].into_iter().flatten()
    }
}

/// Samples as a duration for people.
pub(super) fn duration(samples: u64, interval_s: f64) -> String {
    let seconds = samples as f64 * interval_s;
    if !seconds.is_finite() || seconds < 0.0 {
        return format!("{samples} samples");
    }
    if seconds < 120.0 {
        format!("{seconds:.0} s")
    } else if seconds < 7_200.0 {
        format!("{:.0} min", seconds / 60.0)
    } else {
        format!("{:.1} h", seconds / 3_600.0)
    }
}
