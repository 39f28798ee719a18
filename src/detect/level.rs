//! The level of a signal, followed at several speeds at once and weighed by how well each foresaw
//! what came: a steady signal gets a mean of days, a drifting one a mean of minutes, a growing one
//! a slope. Knows nothing of scatter, seasons or alarms.
//!
//! Between two blocks the level stands still (or goes on along its slope), so that what a test sees
//! is a frozen baseline.

use serde::{Deserialize, Serialize};

/// Time constants, in samples: from a quarter of an hour to three days at 15 s. Powers of four: the
/// best constant in between foresees hardly better than its neighbour.
const MEMORIES: [f64; 5] = [64.0, 256.0, 1_024.0, 4_096.0, 16_384.0];

/// Those of the followers that have a slope.
const SLOPE_MEMORIES: [f64; 2] = [1_024.0, 8_192.0];

const FOLLOWERS: usize = MEMORIES.len() + SLOPE_MEMORIES.len();

/// How fast past forecasts stop to count, a block: half of them after 140 blocks (35 hours of
/// quarters of an hour).
const FORGETTING: f64 = 0.995;

/// A level that moves four times as fast is believed beforehand to be less likely by this (in
/// natural logarithms: a third): else a shift is taken for a drift before it can be told from one.
const PRIOR_A_STEP: f64 = 1.0;

/// Errors beyond this many standard deviations count as so many.
const CLIP: f64 = 3.0;

/// Blocks after which the errors' variance can tell what is beyond it.
const SETTLED_BLOCKS: u32 = 8;

/// A level that rests on fewer samples is new.
const SETTLED_SAMPLES: f64 = 64.0;

/// One way to follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(into = "(f64, f64, f64)", from = "(f64, f64, f64)")]
struct Follower {
    /// Exponentially fading mean.
    mean: f64,
    /// The same of that mean: with a slope, the level is twice the one less the other (Brown,
    /// "Statistical Forecasting for Inventory Control", 1959).
    twice: f64,
    /// The logarithm of how well it foresaw.
    merit: f64,
}

impl From<Follower> for (f64, f64, f64) {
    fn from(follower: Follower) -> (f64, f64, f64) {
        (follower.mean, follower.twice, follower.merit)
    }
}

impl From<(f64, f64, f64)> for Follower {
    fn from((mean, twice, merit): (f64, f64, f64)) -> Follower {
        Follower { mean, twice, merit }
    }
}

/// A level followed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Level {
    followers: [Follower; FOLLOWERS],
    /// The level at the end of the last block, and its slope a sample: the followers' mean,
    /// weighed.
    level: f64,
    slope: f64,
    /// Samples of the block before the one under way, and their mean: not followed yet.
    held: u32,
    held_mean: f64,
    /// Samples of the block under way, and the sum of their differences from `level`.
    pending: u32,
    pending_sum: f64,
    /// Mean of the squared errors of blocks, times the block's samples.
    variance: f64,
    /// Blocks.
    blocks: u32,
    /// Samples since the start.
    samples: f64,
    /// The followers' mean time constant, weighed.
    memory: f64,
}

impl Level {
    /// A level that is the mean of so many samples.
    pub fn start(&mut self, level: f64, samples: f64) {
        let fresh = |index| Follower { mean: level, twice: level, merit: prior(index) };
        let followers = std::array::from_fn(fresh);
        *self = Level { followers, level, samples, memory: samples, ..Level::default() };
    }

    /// The level at the present sample.
    pub fn now(&self) -> f64 {
        self.level + self.slope * f64::from(self.held + self.pending)
    }

    /// Samples that the level rests on.
    pub fn samples(&self) -> f64 {
        // A fading mean is as good as a plain one of twice its time constant.
        self.samples.min(2.0 * self.memory)
    }

    /// The variance of the level in that of a sample.
    pub fn error(&self) -> f64 {
        1.0 / self.samples()
    }

    /// A new level may be far off: by so much more than later its errors count.
    pub fn youth(&self) -> f64 {
        1.0 + SETTLED_SAMPLES / self.samples.max(1.0)
    }

    /// The level rests on enough samples for what differs from it to be scatter.
    pub fn is_settled(&self) -> bool {
        self.samples >= SETTLED_SAMPLES
    }

    /// How far means of blocks were from the level that foresaw them: mean squares, times the
    /// samples of a block, which is the variance of a sample where samples are independent. And of
    /// how many blocks, in effect.
    pub fn block_variance(&self) -> (f64, f64) {
        (self.variance, f64::from(self.blocks).min(1.0 / (1.0 - FORGETTING)))
    }

    /// Takes a value, not yet followed.
    pub fn observe(&mut self, value: f64) {
        self.pending += 1;
        self.pending_sum += value - self.level;
    }

    /// Samples of the block under way.
    pub fn pending(&self) -> u32 {
        self.pending
    }

    /// Ends the block. The one before it has stood the test of another block, and is followed.
    pub fn close_block(&mut self) {
        if self.pending == 0 {
            return;
        }
        let mean = self.level + self.pending_sum / f64::from(self.pending);
        let (held, held_mean) = (self.held, self.held_mean);
        (self.held, self.held_mean) = (self.pending, mean);
        (self.pending, self.pending_sum) = (0, 0.0);
        if held > 0 {
            self.follow(f64::from(held), held_mean);
        }
    }

    /// Weighs the followers by their forecasts of a block, and lets them follow it.
    fn follow(&mut self, count: f64, mean: f64) {
        let middle = (count + 1.0) / 2.0;
        let error = mean - self.level - self.slope * middle;
        let square = error * error * count;
        let memory = f64::from(self.blocks + 1).min(1.0 / (1.0 - FORGETTING));
        let limit = CLIP * CLIP * self.variance;
        let clipped = if self.blocks > SETTLED_BLOCKS { square.min(limit) } else { square };
        self.variance += (clipped - self.variance) / memory;
        self.blocks = self.blocks.saturating_add(1);
        self.samples += count;
        let variance = self.variance.max(f64::MIN_POSITIVE);
        let reach = CLIP * (variance / count).sqrt() * self.youth();
        // One odd block bends no follower, however far that is behind.
        let followed = mean - error + error.clamp(-reach, reach);
        for (index, follower) in self.followers.iter_mut().enumerate() {
            let memory = memory_of(index);
            let error = mean - follower.forecast(index, memory, middle);
            let ratio = (error * error * count / variance).min(CLIP * CLIP);
            let prior = prior(index);
            follower.merit = prior + FORGETTING * (follower.merit - prior) - 0.5 * ratio;
            follower.mean += gain(count, memory, self.samples) * (followed - follower.mean);
            let gain = gain_twice(count, memory, self.samples);
            follower.twice += gain * (follower.mean - follower.twice);
        }
        self.weigh();
    }

    fn weigh(&mut self) {
        let best = self.followers.iter().map(|follower| follower.merit).fold(f64::MIN, f64::max);
        let (mut total, mut level, mut slope, mut memories) = (0.0, 0.0, 0.0, 0.0);
        for (index, follower) in self.followers.iter_mut().enumerate() {
            follower.merit -= best;
            let weight = follower.merit.exp();
            let memory = memory_of(index);
            total += weight;
            level += weight * (follower.forecast(index, memory, 0.0) - self.level);
            slope += weight * follower.slope(index, memory);
            memories += weight * memory;
        }
        self.level += level / total;
        self.slope = slope / total;
        self.memory = memories / total;
    }

    /// Forgets what is not followed yet: a change is open.
    pub fn discard_blocks(&mut self) {
        self.level = self.now();
        (self.held, self.held_mean) = (0, 0.0);
        (self.pending, self.pending_sum) = (0, 0.0);
    }

    /// Moves the level, as well known as before.
    pub fn shift(&mut self, by: f64) {
        for follower in &mut self.followers {
            follower.mean += by;
            follower.twice += by;
        }
        self.level += by;
        self.held_mean += by;
    }

    /// Sets the level to the mean of so many samples; what is known of the speeds stays.
    pub fn restart(&mut self, level: f64, samples: f64) {
        for follower in &mut self.followers {
            (follower.mean, follower.twice) = (level, level);
        }
        (self.level, self.slope, self.samples) = (level, 0.0, samples);
        (self.held, self.held_mean) = (0, 0.0);
        (self.pending, self.pending_sum) = (0, 0.0);
    }
}

/// The merit of a follower before anything is seen, and to which it returns.
fn prior(index: usize) -> f64 {
    let slowest = MEMORIES[MEMORIES.len() - 1];
    -PRIOR_A_STEP * (slowest / memory_of(index)).log(4.0)
}

fn memory_of(index: usize) -> f64 {
    MEMORIES
        .get(index)
        .or_else(|| SLOPE_MEMORIES.get(index - MEMORIES.len()))
        .copied()
        .unwrap_or(1.0)
}

/// The weight of a block of `count` samples: its share of all of them at first.
fn gain(count: f64, memory: f64, samples: f64) -> f64 {
    (count / samples).max(1.0 - (-count / memory).exp()).min(1.0)
}

/// A slope is followed no faster than its own time constant, from a level that is settled.
fn gain_twice(count: f64, memory: f64, samples: f64) -> f64 {
    if samples < memory { 1.0 } else { 1.0 - (-count / memory).exp() }
}

impl Follower {
    fn slope(&self, index: usize, memory: f64) -> f64 {
        if index < MEMORIES.len() { 0.0 } else { (self.mean - self.twice) / memory }
    }

    /// The level so many samples after the last block.
    fn forecast(&self, index: usize, memory: f64, ahead: f64) -> f64 {
        if index < MEMORIES.len() {
            return self.mean;
        }
        2.0 * self.mean - self.twice + self.slope(index, memory) * ahead
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::detect::noise::normal;

    const BLOCK: u32 = 60;

    /// The level after so many blocks, and its mean squared error from the truth over their second
    /// half.
    fn followed(blocks: u32, mut truth: impl FnMut(&mut ChaCha8Rng) -> f64) -> (Level, f64) {
        let mut random = ChaCha8Rng::seed_from_u64(5);
        let mut level = Level::default();
        level.start(truth(&mut random), 60.0);
        let mut squares = 0.0;
        for block in 0..blocks {
            for _ in 0..BLOCK {
                let truth = truth(&mut random);
                if block >= blocks / 2 {
                    squares += (level.now() - truth).powi(2);
                }
                level.observe(truth + normal(&mut random));
            }
            level.close_block();
        }
        (level, squares / f64::from((blocks - blocks / 2) * BLOCK))
    }

    #[test]
    fn steady_signals_get_long_memories_and_drifting_ones_short() {
        let (steady, error) = followed(500, |_| 7.0);
        assert!(steady.memory > 4_000.0 && error < 0.001, "{} {error}", steady.memory);
        let mut walk = 0.0;
        let (drifting, error) = followed(500, |random| {
            walk += 0.03 * normal(random);
            walk
        });
        assert!(drifting.memory < 500.0 && error < 0.5, "{} {error}", drifting.memory);
    }

    #[test]
    fn a_growing_signal_gets_a_slope() {
        let mut value = 0.0;
        let (growing, error) = followed(1_000, |_| {
            value += 0.001;
            value
        });
        assert!((growing.slope - 0.001).abs() < 0.000_3, "{}", growing.slope);
        assert!(error < 0.02, "{error}");
    }

    #[test]
    fn what_is_discarded_is_not_followed() {
        let (mut level, _) = followed(100, |_| 0.0);
        let before = level.now();
        for _ in 0..30 {
            level.observe(50.0);
        }
        level.discard_blocks();
        level.observe(0.0);
        level.close_block();
        assert!((level.now() - before).abs() < 0.01, "{} {before}", level.now());
        level.restart(50.0, 8.0);
        assert_eq!(level.now(), 50.0);
        assert!(!level.is_settled());
    }
}
