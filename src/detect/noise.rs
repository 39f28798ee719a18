//! Noise for the detector's tests, from seeded generators. Not compiled into the program.

use std::f64::consts::TAU;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// A standard normal value (Box and Muller).
pub(crate) fn normal(random: &mut ChaCha8Rng) -> f64 {
    let radius = (-2.0 * (1.0 - random.random::<f64>()).ln()).sqrt();
    radius * (TAU * random.random::<f64>()).cos()
}

/// A Student t with whole degrees of freedom.
pub(crate) fn student(random: &mut ChaCha8Rng, freedom: u32) -> f64 {
    let square: f64 = (0..freedom).map(|_| normal(random).powi(2)).sum();
    normal(random) / (square / f64::from(freedom)).sqrt()
}

/// A Poisson count of a small rate (Knuth's product of uniforms).
pub(crate) fn poisson(random: &mut ChaCha8Rng, rate: f64) -> f64 {
    let end = (-rate).exp();
    let (mut product, mut count) = (random.random::<f64>(), 0.0);
    while product > end {
        product *= random.random::<f64>();
        count += 1.0;
    }
    count
}
