//! How far behind a replica is that the fleet is read from: asked of the replica, never guessed
//! from values that stand still. Costs a note; what is read stays what it is.

use std::time::Duration;

use sqlx::postgres::PgConnection;

/// Behind by this part of the interval or less, a replica that was behind has caught up. Below the
/// whole interval, so that one at its edge is not news at every other sample.
const CAUGHT_UP_SHARE: f64 = 0.5;

/// Seconds since the commit of the latest transaction that a replica has replayed. `None` on a
/// primary, on a replica that has replayed none since it was started, and on one that has replayed
/// all that its primary sends: where nothing is written, the latest commit is old and nothing is
/// late.
pub(super) async fn read(connection: &mut PgConnection) -> Result<Option<f64>, sqlx::Error> {
    let sql = "SELECT CASE WHEN pg_is_in_recovery() AND NOT (\
               pg_last_wal_receive_lsn() IS NOT DISTINCT FROM pg_last_wal_replay_lsn() \
               AND EXISTS (SELECT FROM pg_stat_wal_receiver)) \
               THEN CAST(extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) \
               AS double precision) END";
    sqlx::query_scalar(sql).persistent(false).fetch_one(connection).await
}

/// The staleness of one source's replica, from sample to sample.
#[derive(Debug, Default)]
pub(super) struct Staleness {
    /// As it was when the replica fell behind: while it stays behind the text stays the same, so
    /// that it is said once.
    note: Option<String>,
}

impl Staleness {
    /// Takes what the latest sample read in; gives the note that its reading must carry.
    pub(super) fn note(
        &mut self,
        source: &str,
        behind_s: Option<f64>,
        interval: Duration,
    ) -> Option<String> {
        let interval_s = interval.as_secs_f64();
        let behind_s = behind_s.unwrap_or(0.0);
        if behind_s <= interval_s * CAUGHT_UP_SHARE {
            self.note = None;
        } else if behind_s > interval_s && self.note.is_none() {
            self.note = Some(format!(
                "source \"{source}\": the replica is {behind_s:.0} s behind, more than the interval \
                 of {interval_s} s: what happens is seen that much later; look at its replication, \
                 or set the source's url to the primary"
            ));
        }
        self.note.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_is_late_from_one_interval_on_until_it_has_caught_up() {
        let interval = Duration::from_secs(15);
        let mut staleness = Staleness::default();
        let mut note = |behind_s| staleness.note("fleet", behind_s, interval);
        assert_eq!(note(None), None, "a primary");
        assert_eq!(note(Some(15.0)), None);
        let late = note(Some(43.2)).expect("beyond the interval");
        assert!(late.contains("source \"fleet\": the replica is 43 s behind"), "{late}");
        assert_eq!(note(Some(61.0)).as_ref(), Some(&late), "said once");
        assert_eq!(note(Some(14.0)), Some(late), "not caught up yet");
        assert_eq!(note(Some(7.0)), None);
        assert!(note(Some(20.0)).expect("behind again").contains("20 s behind"));
        assert_eq!(note(None), None, "it was promoted");
    }
}
