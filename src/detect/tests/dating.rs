//! When a change is said to have begun.

use super::*;

#[test]
fn nothing_is_dated_before_the_first_sample() {
    for seed in 0..20 {
        let mut next = noise("normal", seed);
        let mut bench = Bench::new(settings(5_000.0));
        let mut sample = 0.0;
        let (_, change) = bench.until_alarm(5_000, || {
            sample += 1.0;
            next() + 0.004 * sample
        });
        let change = change.expect("growth that goes on is seen");
        assert!(change.onset_low >= time(0), "seed {seed}: {change:?}");
    }
}
