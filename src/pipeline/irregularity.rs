//! What can be wrong with the input, by name. Where each is found and what becomes of it is
//! `arrival` (times) and `intake` (values).

/// Something wrong with the input that was handled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Irregularity {
    /// What.
    pub kind: IrregularityKind,
    /// In words.
    pub message: String,
}

/// The bounded set of what can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IrregularityKind {
    /// No sample for longer than samples are apart.
    Gap,
    /// A sample with the time of the one before it: left out.
    Duplicate,
    /// A sample that is older than the one before it: left out.
    OutOfOrder,
    /// The source's clock was set: a leap ahead that nothing follows yet, or samples in a row from
    /// before the latest one.
    ClockStep,
    /// A sample that repeats the one before it, from a source that is behind or that never did so:
    /// missing.
    Stale,
    /// A counter that fell: its interval is missing.
    CounterReset,
    /// A value that is no number, or infinite: missing.
    NotFinite,
    /// A value outside the signal's valid range: missing.
    OutOfRange,
}

impl IrregularityKind {
    /// Every kind, so that each has its metric from the start.
    pub const ALL: [IrregularityKind; 8] = [
        IrregularityKind::Gap,
        IrregularityKind::Duplicate,
        IrregularityKind::OutOfOrder,
        IrregularityKind::ClockStep,
        IrregularityKind::Stale,
        IrregularityKind::CounterReset,
        IrregularityKind::NotFinite,
        IrregularityKind::OutOfRange,
    ];

    /// The label value.
    pub fn label(self) -> &'static str {
        match self {
            IrregularityKind::Gap => "gap",
            IrregularityKind::Duplicate => "duplicate",
            IrregularityKind::OutOfOrder => "out_of_order",
            IrregularityKind::ClockStep => "clock_step",
            IrregularityKind::Stale => "stale",
            IrregularityKind::CounterReset => "counter_reset",
            IrregularityKind::NotFinite => "not_finite",
            IrregularityKind::OutOfRange => "out_of_range",
        }
    }
}
