//! An accepted change: its level is the new normal.

use super::*;

#[test]
fn a_level_that_is_older_than_what_is_kept_is_known_from_all_of_it() {
    let mut judged = 0;
    for seed in 0..12 {
        let mut next = noise("normal", seed);
        let mut bench = Bench::new(settings(1e5));
        bench.quiet(2_000, &mut next);
        let (_, change) = bench.until_alarm(400, || 1.0 + next());
        assert!(change.is_some(), "seed {seed}");
        for _ in 0..400 {
            bench.step(1.0 + next());
        }
        if bench.detector.in_change().is_none() {
            // It seemed to return.
            continue;
        }
        judged += 1;
        bench.detector.rebase();
        let expected = bench.step(1.0 + next()).expected.expect("it is warm");
        // The standard error of 400 samples is 0.05, that of the sixteen which are kept 0.25.
        assert!((expected - 1.0).abs() < 0.2, "seed {seed}: {expected}");
    }
    assert!(judged >= 8, "{judged} judged");
}
