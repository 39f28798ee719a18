//! Means with their standard errors, run lengths from censored waits, and whether a bound is met.

/// A measured figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Figure {
    /// The estimate. Infinite if nothing happened that could be counted.
    pub(crate) value: f64,
    /// Its standard error.
    pub(crate) error: f64,
}

impl Figure {
    /// The mean of independent values.
    pub(crate) fn mean(values: &[f64]) -> Figure {
        let count = values.len() as f64;
        let value = values.iter().sum::<f64>() / count;
        let square: f64 = values.iter().map(|each| (each - value).powi(2)).sum();
        Figure { value, error: (square / (count - 1.0).max(1.0) / count).sqrt() }
    }

    /// The quotient of two sums over independent runs, by the delta method.
    pub(crate) fn quotient(parts: &[(f64, f64)]) -> Figure {
        let count = parts.len() as f64;
        let above: f64 = parts.iter().map(|(above, _)| above).sum();
        let below: f64 = parts.iter().map(|(_, below)| below).sum();
        if below == 0.0 {
            return Figure { value: f64::INFINITY, error: 0.0 };
        }
        let value = above / below;
        let square: f64 = parts.iter().map(|(above, below)| (above - value * below).powi(2)).sum();
        let spread = (square / (count - 1.0).max(1.0) * count).sqrt();
        Figure { value, error: spread / below }
    }

    /// The average run length from waits for an alarm, each of at most `most` samples: samples
    /// over alarms, which is right for censored waits as long as alarms come at a constant rate.
    pub(crate) fn run_length(waits: &[Option<u64>], most: u64) -> Figure {
        let parts: Vec<(f64, f64)> = waits
            .iter()
            .map(|wait| (wait.unwrap_or(most) as f64, f64::from(u8::from(wait.is_some()))))
            .collect();
        Figure::quotient(&parts)
    }

    /// This one over another, measured independently.
    pub(crate) fn over(self, other: Figure) -> Figure {
        let value = self.value / other.value;
        let relative = (self.error / self.value).hypot(other.error / other.value);
        Figure { value, error: value * relative }
    }

    /// The figure with its standard error, to so many decimals.
    pub(crate) fn text(self, decimals: usize) -> String {
        if !self.value.is_finite() {
            return "no alarm".to_owned();
        }
        format!("{:.decimals$} ± {:.decimals$}", self.value, self.error)
    }
}

/// What a figure must keep to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Bound {
    /// At most this.
    Most(f64),
    /// At least this.
    Least(f64),
    /// Within these.
    Within(f64, f64),
}

impl Bound {
    /// A bound is met within two standard errors.
    pub(crate) fn met(self, figure: Figure) -> bool {
        let margin = 2.0 * figure.error;
        let most = |bound| figure.value - margin <= bound;
        let least = |bound| figure.value + margin >= bound;
        match self {
            Bound::Most(bound) => most(bound),
            Bound::Least(bound) => least(bound),
            Bound::Within(low, high) => least(low) && most(high),
        }
    }

    /// The bound with what became of it, for a table.
    pub(crate) fn judge(self, figure: Figure) -> String {
        let bound = match self {
            Bound::Most(bound) => format!("≤ {bound}"),
            Bound::Least(bound) => format!("≥ {bound}"),
            Bound::Within(low, high) => format!("{low}-{high}"),
        };
        format!("{bound} {}", if self.met(figure) { "met" } else { "MISSED" })
    }
}
