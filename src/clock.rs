//! The shell's clock: the system's, or one that runs from a given instant at a given speed, so that
//! the demo plays a night in minutes with the same code. Nothing below the shell has one.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use tokio::time::Instant;

use crate::series::Time;

/// Where the present comes from.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    /// The machine's clock.
    System,
    /// `origin` at `started`, then `speed` seconds a second.
    Scaled {
        /// When the clock was started, on the monotonic clock.
        started: Instant,
        /// What it showed then.
        origin: Time,
        /// Shown seconds in a real second; above 0.
        speed: f64,
    },
}

impl Clock {
    /// A clock that shows `origin` now and runs `speed` times as fast as real time.
    pub fn scaled(origin: Time, speed: f64) -> Clock {
        assert!(speed > 0.0 && speed.is_finite(), "a clock's speed is positive: {speed}");
        Clock::Scaled { started: Instant::now(), origin, speed }
    }

    /// The present.
    pub fn now(&self) -> Time {
        match self {
            #[expect(clippy::disallowed_methods, reason = "this is the one place that asks")]
            Clock::System => Utc::now(),
            Clock::Scaled { started, origin, speed } => {
                let shown_s = started.elapsed().as_secs_f64() * speed;
                *origin + TimeDelta::microseconds((shown_s * 1e6) as i64)
            }
        }
    }

    /// How long to wait, in real time, for `shown` to pass on this clock.
    pub fn real(&self, shown: Duration) -> Duration {
        match self {
            Clock::System => shown,
            Clock::Scaled { speed, .. } => shown.div_f64(*speed),
        }
    }

    /// Sleeps until this clock shows `at`; returns at once if it already does.
    pub async fn sleep_until(&self, at: Time) {
        let shown = (at - self.now()).to_std().unwrap_or(Duration::ZERO);
        tokio::time::sleep(self.real(shown)).await;
    }
}
