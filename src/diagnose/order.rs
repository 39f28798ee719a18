//! In which order applications change. An act in batches walks a table by its key; owners who act
//! at the same time because of something that they share (a flaw in what they all build on, a date)
//! come in an order that has nothing to do with ids. Says how probable so much order is by chance;
//! judges nothing.

/// An upper bound of the probability that ids which come in a random order are as orderly as these,
/// or more, upwards or downwards: 1 where they are not orderly at all. `batches` are the ids sample
/// by sample, of which the order within one sample is not known; each id is there once.
///
/// Orderliness is S of Kendall ("A new measure of rank correlation", Biometrika 30, 1938): pairs of
/// different samples that ascend less those that descend. Its moment generating function under a
/// random order is a product, ∏ sinh(iλ) / (i sinh λ) over i up to the number of ids, divided by
/// the same of each sample (MacMahon's distribution of inversions: Stanley, Enumerative
/// Combinatorics 1, proposition 1.7.1), which gives the bound of Chernoff (Annals of Mathematical
/// Statistics 23, 1952) exactly. For a perfect order it is the probability itself.
pub fn chance_of_order(batches: &[Vec<i64>]) -> f64 {
    let surplus = ascending_surplus(batches).unsigned_abs() as f64;
    let sizes: Vec<usize> = batches.iter().map(Vec::len).collect();
    if surplus == 0.0 {
        return 1.0;
    }
    let exponent = |log_rate: f64| {
        let rate = log_rate.exp();
        log_moment(&sizes, rate) - rate * surplus
    };
    // Each rate gives a valid bound; the exponent is convex in it, so that it has one minimum.
    let (mut low, mut high) = (1e-6_f64.ln(), 40f64.ln());
    for _ in 0..50 {
        let third = (high - low) / 3.0;
        if exponent(low + third) <= exponent(high - third) {
            high -= third;
        } else {
            low += third;
        }
    }
    (2.0 * exponent((low + high) / 2.0).exp()).min(1.0)
}

/// Pairs of ids of different samples that ascend, less those that descend.
fn ascending_surplus(batches: &[Vec<i64>]) -> i64 {
    let mut earlier: Vec<i64> = Vec::new();
    let mut surplus = 0;
    for batch in batches {
        for id in batch {
            let below = earlier.partition_point(|other| other < id);
            surplus += 2 * below as i64 - earlier.len() as i64;
        }
        earlier.extend(batch);
        earlier.sort_unstable();
    }
    surplus
}

/// The logarithm of the moment generating function of the surplus, at a rate above 0.
fn log_moment(sizes: &[usize], rate: f64) -> f64 {
    // Of so many ids in no order at all, by the number of them.
    let all: usize = sizes.iter().sum();
    let log_normaliser = (-(-2.0 * rate).exp_m1()).ln();
    let mut log_of = Vec::with_capacity(all + 1);
    let mut sum = 0.0;
    log_of.push(sum);
    for count in 1..=all {
        let count = count as f64;
        let log_sines = (-(-2.0 * count * rate).exp_m1()).ln() - log_normaliser;
        sum += (count - 1.0) * rate + log_sines - count.ln();
        log_of.push(sum);
    }
    log_of[all] - sizes.iter().map(|size| log_of[*size]).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng, seq::SliceRandom};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn one_by_one(ids: &[i64]) -> Vec<Vec<i64>> {
        ids.iter().map(|id| vec![*id]).collect()
    }

    #[test]
    fn a_perfect_order_is_as_rare_as_it_is() {
        let factorial = |count: u64| (1..=count).product::<u64>() as f64;
        let singles = one_by_one(&(1..=10).collect::<Vec<_>>());
        assert!((chance_of_order(&singles) * factorial(10) / 2.0 - 1.0).abs() < 1e-6);
        let downwards = one_by_one(&(1..=10).rev().collect::<Vec<_>>());
        assert_eq!(chance_of_order(&singles), chance_of_order(&downwards));
        let threes = vec![vec![2, 1, 3], vec![5, 6, 4], vec![9, 8, 7]];
        let expected = 2.0 * factorial(3).powi(3) / factorial(9);
        assert!((chance_of_order(&threes) / expected - 1.0).abs() < 1e-6);
    }

    #[test]
    fn nothing_is_said_of_one_sample_or_of_no_order() {
        assert_eq!(chance_of_order(&[]), 1.0);
        assert_eq!(chance_of_order(&[vec![1, 2, 3, 4, 5, 6, 7, 8]]), 1.0);
        assert_eq!(chance_of_order(&one_by_one(&[1, 4, 2, 3])), 1.0);
    }

    #[test]
    fn the_bound_holds_for_random_orders_and_is_not_far_off() {
        let mut random = ChaCha8Rng::seed_from_u64(11);
        const RUNS: u32 = 20_000;
        for level in [0.1, 0.01, 0.001] {
            let mut below = 0;
            for _ in 0..RUNS {
                let mut ids: Vec<i64> = (0..30).collect();
                ids.shuffle(&mut random);
                let mut batches: Vec<Vec<i64>> = vec![Vec::new(); 8];
                for id in ids {
                    batches[random.random_range(0..8)].push(id);
                }
                below += u32::from(chance_of_order(&batches) <= level);
            }
            let achieved = f64::from(below) / f64::from(RUNS);
            let error = (level / f64::from(RUNS)).sqrt();
            assert!(achieved <= level + 3.0 * error, "{achieved} at {level}");
            assert!(achieved >= level / 12.0 - 3.0 * error, "{achieved} at {level}");
        }
    }

    #[test]
    fn an_order_with_exceptions_is_still_seen() {
        let mut ids: Vec<i64> = (0..40).collect();
        for place in [3, 17, 25] {
            ids.swap(place, place + 9);
        }
        assert!(chance_of_order(&one_by_one(&ids)) < 1e-12);
    }
}
