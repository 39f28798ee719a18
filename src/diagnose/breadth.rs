//! Breadth: in how many organisations a flow may ordinarily happen, and from where on it cannot be
//! owners acting for themselves. This is what tells a platform fault from a customer's own act.
//!
//! Model: each organisation acts on its own, so the number that acts in one interval has a rate λ;
//! the rate itself varies over the day and the week in a way that is not known, so that it is taken
//! to be exponentially distributed about its mean (the distribution of largest entropy on the
//! positive numbers, Jaynes 1957, Phys. Rev. 106, 620). A Poisson count whose rate is exponential
//! is geometric: P(X > k) = ρ^(k+1) with ρ = m / (1 + m) for a mean of m. Its mean is estimated
//! with a Gamma prior of shape 1 whose weight follows from the *declared prior* (ordinary breadth
//! is at most max(5, 2 % of the organisations) in one interval): before any history P(X > declared)
//! equals the budget. The posterior mean after n quiet intervals with s organisations is (1 + s) /
//! (b + n).

use serde::{Deserialize, Serialize};

/// The declared prior: ordinary breadth is at most this many organisations in one interval …
const DECLARED_ORGANIZATIONS: f64 = 5.0;
/// … or this share of all organisations, whichever is more.
const DECLARED_SHARE: f64 = 0.02;

/// What quiet history says of one flow's breadth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BreadthHistory {
    /// Intervals without an incident.
    pub intervals: f64,
    /// Organisations that acted in them, summed over intervals.
    pub organizations: f64,
}

/// The most organisations that may ordinarily act in a window, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    /// More than this many is not ordinary.
    pub organizations: u64,
    /// The probability that owners acting for themselves reach one more, in a window.
    pub ratio: f64,
    /// In words.
    pub origin: String,
    /// Where breadth alone does not do, because owners may act together for a reason that they
    /// share: the probability that they do so in the order that is seen (`order`).
    pub chance_of_order: Option<f64>,
}

/// What a bound is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// False alarms that one window may cost: a probability, above 0 and below 1.
    pub alpha: f64,
    /// Organisations on the platform, where that is known.
    pub organizations: Option<u64>,
    /// Organisations that could take part: for unpinning, those that have pins. Where fewer could
    /// than the declared prior allows, all of them together are still conspicuous once history says
    /// so.
    pub eligible: Option<u64>,
    /// Length of the window in intervals, at least 1 for one sample.
    pub window_intervals: f64,
}

impl BreadthHistory {
    /// Adds a sample without an incident: `organizations` acted within `intervals`.
    pub fn observe(&mut self, organizations: u64, intervals: f64) {
        self.intervals += intervals;
        self.organizations += organizations as f64;
    }

    /// The bound for a window. It holds unchanged from a handful to any number of organisations.
    pub fn bound(&self, question: Question) -> Bound {
        let Question { alpha, organizations, eligible, window_intervals } = question;
        assert!(alpha > 0.0 && alpha < 1.0, "a probability: {alpha}");
        let declared = declared(organizations);
        let prior_intervals = alpha.powf(-1.0 / (declared + 1.0)) - 1.0;
        let mean_per_interval = (1.0 + self.organizations) / (prior_intervals + self.intervals);
        let mean = mean_per_interval * window_intervals.max(1.0);
        let ratio = mean / (1.0 + mean);
        // The tolerance keeps the exact prior case from rounding up.
        let from_history = (alpha.ln() / ratio.ln() - 1.0 - 1e-9).ceil().max(1.0);
        let everybody = eligible.map(|count| count.saturating_sub(1).max(1) as f64);
        let floor = everybody.map_or(declared, |count| count.min(declared));
        let few = floor < declared;
        let origin = if from_history > floor {
            format!("history: {mean_per_interval:.3} organisations an interval")
        } else if few {
            format!("all of the {} that could take part, against history", floor as u64 + 1)
        } else {
            "declared prior, not history: max(5, 2 % of the organisations)".to_owned()
        };
        let organizations = from_history.max(floor) as u64;
        Bound { organizations, ratio, origin, chance_of_order: None }
    }
}

fn declared(organizations: Option<u64>) -> f64 {
    let share = organizations.map_or(0.0, |count| (count as f64 * DECLARED_SHARE).floor());
    share.max(DECLARED_ORGANIZATIONS)
}

impl Bound {
    /// The probability that `organizations` acting at once is a fault of the platform and not
    /// owners acting for themselves, by Bayes' rule, when faults are as rare as the budget's false
    /// pages (`alpha`): a platform fault reaches any breadth, owners reach it with ρ^breadth, and
    /// where they may act together, with the chance of the order.
    pub fn platform_probability(&self, organizations: u64, alpha: f64) -> f64 {
        let owners = self.ratio.powf(organizations as f64);
        alpha / (alpha + owners + self.chance_of_order.unwrap_or(0.0))
    }

    /// Breadth alone does not do here: owners may act together, but hardly in such an order.
    pub fn demand_order(&mut self, chance: f64) {
        self.chance_of_order = Some(chance);
        let rarity = if chance < 1e-9 {
            "less than once in 1,000,000,000".to_owned()
        } else {
            format!("once in {:.0}", 1.0 / chance)
        };
        self.origin.push_str("; several at a time follow the order of ids, as chance does ");
        self.origin.push_str(&rarity);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(organizations: u64) -> Question {
        Question {
            alpha: 1e-6,
            organizations: Some(organizations),
            eligible: None,
            window_intervals: 1.0,
        }
    }

    #[test]
    fn before_history_the_bound_is_the_declared_prior_at_any_size() {
        for (organizations, expected) in [(10, 5), (60, 5), (250, 5), (300, 6), (3_000, 60)] {
            let bound = BreadthHistory::default().bound(question(organizations));
            assert_eq!(bound.organizations, expected, "{organizations} organisations");
            assert!(bound.origin.contains("declared prior"), "{}", bound.origin);
        }
    }

    #[test]
    fn a_busy_history_raises_the_bound_and_a_quiet_one_does_not_lower_it() {
        let mut busy = BreadthHistory::default();
        let mut quiet = BreadthHistory::default();
        for _ in 0..5_000 {
            busy.observe(3, 1.0);
            quiet.observe(0, 1.0);
        }
        let bound = busy.bound(question(60));
        assert!(bound.organizations > 40 && bound.origin.contains("history"), "{bound:?}");
        assert_eq!(quiet.bound(question(60)).organizations, 5);
    }

    #[test]
    fn three_owners_at_once_are_conspicuous_only_once_history_is_quiet() {
        let few = Question { eligible: Some(3), ..question(3) };
        assert!(BreadthHistory::default().bound(few).organizations >= 3);
        let mut quiet = BreadthHistory::default();
        quiet.observe(4, 5_000.0);
        assert_eq!(quiet.bound(few).organizations, 2);
    }

    #[test]
    fn a_longer_window_allows_more() {
        let mut history = BreadthHistory::default();
        history.observe(50, 1_000.0);
        let mut last = 0;
        for window_intervals in [1.0, 4.0, 16.0, 64.0, 256.0] {
            let bound = history.bound(Question { window_intervals, ..question(60) });
            assert!(bound.organizations >= last);
            last = bound.organizations;
        }
        assert!(last > 20, "{last}");
    }

    #[test]
    fn the_platform_is_more_probable_from_the_bound_on() {
        let bound = BreadthHistory::default().bound(question(60));
        assert!(bound.platform_probability(bound.organizations + 1, 1e-6) >= 0.5 - 1e-9);
        assert!(bound.platform_probability(1, 1e-6) < 0.01);
        assert!(bound.platform_probability(60, 1e-6) > 0.999_999);
    }
}
