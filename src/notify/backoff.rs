//! How long to wait after a failed attempt: doubling, bounded, and spread by chance from a given
//! seed so that several senders do not fall into step. No clock and no sleeping here.

use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// After the first failure.
const FIRST: Duration = Duration::from_millis(500);

/// Never longer: an Alertmanager that returns must have the causes back before its `group_wait`,
/// usually 30 s, lets the symptoms out that they mute.
const LONGEST: Duration = Duration::from_secs(15);

/// The waits of one sender.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    chance: ChaCha8Rng,
    failures: u32,
}

impl Backoff {
    /// Waits that follow from `seed` alone.
    pub(super) fn new(seed: u64) -> Backoff {
        Backoff { chance: ChaCha8Rng::seed_from_u64(seed), failures: 0 }
    }

    /// An attempt succeeded: the next failure is a first one again.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// An attempt failed: how long to wait now. Between half of the doubled wait and all of it.
    pub(super) fn next(&mut self) -> Duration {
        let doublings = self.failures.min(16);
        self.failures = self.failures.saturating_add(1);
        let whole = (FIRST * 2_u32.pow(doublings)).min(LONGEST);
        whole.mul_f64(self.chance.random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_bound_and_start_again_after_a_success() {
        let mut backoff = Backoff::new(7);
        let waits: Vec<_> = (0..40).map(|_| backoff.next()).collect();
        for (failures, wait) in waits.iter().enumerate() {
            let whole = (FIRST * 2_u32.pow(failures.min(16) as u32)).min(LONGEST);
            assert!(*wait >= whole / 2 && *wait <= whole, "wait {failures} is {wait:?}");
        }
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }

    #[test]
    fn the_seed_alone_decides() {
        let waits = |seed| {
            let mut backoff = Backoff::new(seed);
            (0..5).map(|_| backoff.next()).collect::<Vec<_>>()
        };
        assert_eq!(waits(1), waits(1));
        assert_ne!(waits(1), waits(2));
    }
}
