//! A night played into a database and a Prometheus: what the demo performs and its daemon watches.
//! Knows no clock: the caller says how far to play.

use std::collections::VecDeque;

use anyhow::Result;
use chrono::TimeDelta;

use super::{
    Settings,
    database::FleetDatabase,
    life::Life,
    night::{Moment, Night},
    prometheus::Scraped,
};
use crate::series::Time;

/// The life before the night of which only the metrics are kept: a Prometheus that has just been
/// installed knows nothing, and the one on call has one that knows more.
const SCRAPED_BEFORE: TimeDelta = TimeDelta::hours(6);

/// Between two scrapes of that time.
const SCRAPE_INTERVAL: TimeDelta = TimeDelta::seconds(15);

/// A night that is being played.
#[derive(Debug)]
pub struct Play {
    life: Life,
    database: FleetDatabase,
    scraped: Scraped,
    ahead: VecDeque<Moment>,
    end: Time,
}

impl Play {
    /// Fills the empty database at `url` with the fleet of `settings` as it is when the night
    /// begins. The night ends `tail` after the alerts of 22:20.
    pub async fn begin(settings: Settings, url: &str, tail: TimeDelta) -> Result<Play> {
        let mut life = Life::new(settings, Night::start() - SCRAPED_BEFORE);
        let scraped = Scraped::default();
        while life.now() < Night::start() {
            scraped.record(life.now(), life.metrics());
            life.live_until(life.now() + SCRAPE_INTERVAL);
        }
        scraped.record(life.now(), life.metrics());
        let night = Night::new(life.fleet(), tail);
        let mut database = FleetDatabase::create(url).await?;
        database.fill(life.fleet(), life.now()).await?;
        Ok(Play { life, database, scraped, ahead: night.moments.into(), end: night.end })
    }

    /// Plays on to `until`, and gives the moments of the night that came to pass, in order. What
    /// happened is in the database, and the metrics are scraped, when this returns.
    pub async fn play_until(&mut self, until: Time) -> Result<Vec<Moment>> {
        let mut passed = Vec::new();
        while let Some(moment) = self.ahead.pop_front_if(|moment| moment.at <= until) {
            self.live_until(moment.at).await?;
            if let Some(act) = &moment.act {
                let changes = self.life.act(act);
                self.database.act(act, &changes, self.life.now()).await?;
            }
            passed.push(moment);
        }
        self.live_until(until).await?;
        self.scraped.record(self.life.now(), self.life.metrics());
        Ok(passed)
    }

    /// The fleet's life so far.
    pub fn life(&self) -> &Life {
        &self.life
    }

    /// The Prometheus that scrapes it.
    pub fn scraped(&self) -> &Scraped {
        &self.scraped
    }

    /// When the night is over.
    pub fn end(&self) -> Time {
        self.end
    }

    async fn live_until(&mut self, until: Time) -> Result<()> {
        let changes = self.life.live_until(until);
        self.database.apply(&changes, self.life.now()).await
    }
}
