//! A change whose delay is measured.

#[derive(Clone, Copy, Debug)]
pub(crate) enum Change {
    /// A lasting shift, in σ.
    Shift(f64),
    /// A rise a sample, in σ.
    Ramp(f64),
}

impl Change {
    /// By how much a sample is shifted; the first one that is changed is 1.
    pub(crate) fn at(self, sample: u64) -> f64 {
        match self {
            Change::Shift(size) => size,
            Change::Ramp(slope) => slope * sample as f64,
        }
    }
}
