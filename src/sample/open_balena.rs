//! The fleet sample of an open-balena database: all numbers read from rows come from one read-only
//! snapshot, folded into cohorts as they arrive. Statistics views and migration tables are read
//! afterwards (`evidence`, `migrations`); their failure costs a note, never the sample.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use futures_util::TryStreamExt;
use sqlx::{
    AssertSqlSafe, ColumnIndex, Decode, Row, Type, postgres::PgConnection, sqlite::SqliteConnection,
};

use super::{
    database::{self, Isolation, Limits, Postgres, Sqlite},
    evidence::{self, Evidence},
    failure, migrations,
    pace::Pace,
    schema::{self, APPLICATION, Columns, DEVICE, FleetQueries},
    staleness::{self, Staleness},
};
use crate::{
    config::Secret,
    fleet::{Application, Cohort, CohortKey, Snapshot},
    observation::{Failure, FailureReason, Reading},
    series::Time,
};

/// Devices without an application stand under this id.
const NO_APPLICATION: i64 = 0;

/// Longest application name that is kept, in characters: it is the platform's users' text.
const NAME_CHARS_MAX: usize = 200;

/// While something is missing from the schema, it is looked for again every so many samples: a
/// grant given meanwhile is noticed without a restart.
const SAMPLES_BETWEEN_PROBES: u32 = 40;

/// A fleet database.
#[derive(Debug)]
pub(super) struct OpenBalena {
    name: String,
    fleet: Fleet,
    pace: Pace,
    queries: Option<FleetQueries>,
    samples_since_probe: u32,
    /// The highest device id of the previous present sample: what is above it is new.
    device_id_max: Option<i64>,
    /// Seconds that the latest sample's server, a replica, was behind.
    behind_s: Option<f64>,
    staleness: Staleness,
}

#[derive(Debug)]
enum Fleet {
    Postgres(Box<Servers>),
    Sqlite(Box<Sqlite>),
}

/// Together they hold two connections at most.
#[derive(Debug)]
struct Servers {
    fleet: Postgres,
    /// Where evidence is read, if it is another server.
    primary: Option<Postgres>,
    evidence: Evidence,
}

impl OpenBalena {
    /// Reads the URLs; connects to nothing.
    pub(super) fn new(
        name: &str,
        url: &Secret,
        evidence_url: Option<&Secret>,
        interval: Duration,
    ) -> Result<OpenBalena> {
        let fleet = if database::is_sqlite(url) {
            Fleet::Sqlite(Box::new(Sqlite::new(url)?))
        } else {
            let primary = evidence_url.map(Postgres::new).transpose().context("evidence_url")?;
            let (fleet, evidence) = (Postgres::new(url)?, Evidence::new(name));
            Fleet::Postgres(Box::new(Servers { fleet, primary, evidence }))
        };
        Ok(OpenBalena {
            name: name.to_owned(),
            fleet,
            pace: Pace::new(interval),
            queries: None,
            samples_since_probe: 0,
            device_id_max: None,
            behind_s: None,
            staleness: Staleness::default(),
        })
    }

    /// One sample, at `at` on the shell's clock.
    pub(super) async fn sample(&mut self, at: Time) -> Result<Reading, Failure> {
        let started = Instant::now();
        let snapshot = self.snapshot(at).await;
        match &snapshot {
            Ok(_) => self.pace.learn(started.elapsed()),
            Err(failure) if failure.reason == FailureReason::Timeout => {
                self.pace.learn(started.elapsed());
            }
            Err(_) => {}
        }
        let snapshot = match snapshot {
            Ok(snapshot) => snapshot,
            Err(failure) => return Err(self.explain(failure).await),
        };
        self.device_id_max = Some(snapshot.device_id_max);
        let mut reading = Reading { fleet: Some(snapshot), ..Reading::default() };
        if let Some(queries) = &self.queries {
            reading.absent.clone_from(&queries.absent);
            reading.notes.clone_from(&queries.notes);
        }
        let late = self.staleness.note(&self.name, self.behind_s, self.pace.interval());
        reading.notes.extend(late);
        reading.behind_s = self.behind_s;
        let limits = self.pace.evidence_limits();
        match &mut self.fleet {
            Fleet::Postgres(servers) => {
                let Servers { fleet, primary, evidence } = &mut **servers;
                // Statistics are of the server that writes: the primary, if the fleet is read
                // elsewhere.
                let server = primary.as_mut().unwrap_or(fleet);
                evidence.read_into(server, &limits, &mut reading).await;
            }
            Fleet::Sqlite(file) => {
                migrations::read_sqlite_into(&self.name, file, &limits, &mut reading).await;
            }
        }
        Ok(reading)
    }

    /// Says goodbye to servers.
    pub(super) async fn close(&mut self) {
        match &mut self.fleet {
            Fleet::Postgres(servers) => {
                servers.fleet.close().await;
                if let Some(primary) = &mut servers.primary {
                    primary.close().await;
                }
            }
            Fleet::Sqlite(file) => file.close().await,
        }
    }

    /// Says who is in the way, where that can be seen.
    async fn explain(&mut self, mut failure: Failure) -> Failure {
        if failure.reason == FailureReason::Locked
            && let Fleet::Postgres(servers) = &mut self.fleet
        {
            let limits = self.pace.evidence_limits();
            if let Some(holder) = evidence::lock_holder(&mut servers.fleet, &limits).await {
                failure.message = format!("{}; {holder}", failure.message);
            }
        }
        failure
    }

    /// Reads the snapshot, and once more if the schema turns out to have changed since it was
    /// probed.
    async fn snapshot(&mut self, at: Time) -> Result<Snapshot, Failure> {
        self.samples_since_probe = self.samples_since_probe.saturating_add(1);
        let lacking = self.queries.as_ref().is_some_and(|queries| !queries.notes.is_empty());
        if lacking && self.samples_since_probe >= SAMPLES_BETWEEN_PROBES {
            self.queries = None;
        }
        let was_probed = self.queries.is_some();
        match self.attempt(at).await {
            Err(failure) if was_probed && depends_on_schema(failure.reason) => {
                self.queries = None;
                self.attempt(at).await
            }
            answer => answer,
        }
    }

    async fn attempt(&mut self, at: Time) -> Result<Snapshot, Failure> {
        let limits = self.pace.limits();
        let deadline = limits.connect + limits.statement;
        // The server's own limit cuts a statement off first; this is for a server that says
        // nothing.
        let attempt = self.attempt_unlimited(at, &limits);
        match tokio::time::timeout(deadline, attempt).await {
            Ok(answer) => answer,
            Err(_) => {
                let error = failure::timed_out("the fleet sample", deadline);
                Err(failure::of_database(&self.name, "read the fleet", &error))
            }
        }
    }

    async fn attempt_unlimited(&mut self, at: Time, limits: &Limits) -> Result<Snapshot, Failure> {
        let place = match &self.fleet {
            Fleet::Postgres(servers) => servers.fleet.place(),
            Fleet::Sqlite(file) => file.place(),
        };
        let failed = |asked: &str, error: sqlx::Error| {
            failure::of_database(&self.name, &format!("{asked} at {place}"), &error)
        };
        let appeared_above = self.device_id_max;
        // Whatever ends this sample badly, the next one looks at the schema again.
        let known = self.queries.take();
        let was_probed = known.is_some();
        let (queries, folding) = match &mut self.fleet {
            Fleet::Postgres(servers) => {
                let fleet = &mut servers.fleet;
                let begun = fleet.begin(Isolation::Snapshot, limits).await;
                let mut connection = begun.map_err(|error| failed("connect", error))?;
                let answer =
                    read_postgres(&self.name, &mut connection, known, appeared_above).await;
                match answer {
                    Ok(answer) => {
                        let behind = staleness::read(&mut connection).await;
                        self.behind_s =
                            behind.map_err(|error| failed("ask how far it is behind", error))?;
                        let ended = fleet.commit(connection).await;
                        ended.map_err(|error| failed("end the sample", error))?;
                        answer
                    }
                    Err(error) => {
                        fleet.rollback(connection).await;
                        return Err(error.into_failure(failed));
                    }
                }
            }
            Fleet::Sqlite(file) => {
                let begun = file.begin(limits).await;
                let mut connection = begun.map_err(|error| failed("open", error))?;
                // After an error the connection is dropped: opening a file costs next to nothing.
                let answer = read_sqlite(&self.name, &mut connection, known, appeared_above)
                    .await
                    .map_err(|error| error.into_failure(failed))?;
                let ended = file.commit(connection).await;
                ended.map_err(|error| failed("end the sample", error))?;
                answer
            }
        };
        self.queries = Some(queries);
        if !was_probed {
            self.samples_since_probe = 0;
        }
        Ok(folding.finish(at, appeared_above))
    }
}

fn depends_on_schema(reason: FailureReason) -> bool {
    matches!(reason, FailureReason::Schema | FailureReason::Permission)
}

/// A snapshot that could not be read: the driver's error while something was asked, or ours.
enum ReadError {
    Asked(&'static str, sqlx::Error),
    Failure(Failure),
}

impl ReadError {
    fn into_failure(self, failed: impl Fn(&str, sqlx::Error) -> Failure) -> Failure {
        match self {
            ReadError::Asked(asked, error) => failed(asked, error),
            ReadError::Failure(failure) => failure,
        }
    }
}

const ASKED_COLUMNS: &str = "look at the columns of device and application";
const ASKED_COHORTS: &str = "count the devices";
const ASKED_APPLICATIONS: &str = "read the applications";

async fn read_postgres(
    source: &str,
    connection: &mut PgConnection,
    known: Option<FleetQueries>,
    appeared_above: Option<i64>,
) -> Result<(FleetQueries, Folding), ReadError> {
    let queries = match known {
        Some(queries) => queries,
        None => {
            let asked = |error| ReadError::Asked(ASKED_COLUMNS, error);
            let device = postgres_columns(connection, DEVICE).await.map_err(asked)?;
            let application = postgres_columns(connection, APPLICATION).await.map_err(asked)?;
            schema::fleet_queries(source, &device, &application).map_err(ReadError::Failure)?
        }
    };
    let mut folding = Folding::default();
    let asked = |error| ReadError::Asked(ASKED_COHORTS, error);
    // Prepared statements of a session would not survive a connection pooler.
    let query = sqlx::query(AssertSqlSafe(queries.cohorts.as_str()))
        .persistent(false)
        .bind(appeared_above.unwrap_or(i64::MAX));
    let mut rows = query.fetch(&mut *connection);
    while let Some(row) = rows.try_next().await.map_err(asked)? {
        folding.add_cohort(&cohort_of(&row).map_err(asked)?);
    }
    drop(rows);
    let asked = |error| ReadError::Asked(ASKED_APPLICATIONS, error);
    let query = sqlx::query(AssertSqlSafe(queries.applications.as_str())).persistent(false);
    let mut rows = query.fetch(&mut *connection);
    while let Some(row) = rows.try_next().await.map_err(asked)? {
        folding.add_application(application_of(&row).map_err(asked)?);
    }
    drop(rows);
    Ok((queries, folding))
}

async fn read_sqlite(
    source: &str,
    connection: &mut SqliteConnection,
    known: Option<FleetQueries>,
    appeared_above: Option<i64>,
) -> Result<(FleetQueries, Folding), ReadError> {
    let queries = match known {
        Some(queries) => queries,
        None => {
            let asked = |error| ReadError::Asked(ASKED_COLUMNS, error);
            let device = sqlite_columns(connection, DEVICE).await.map_err(asked)?;
            let application = sqlite_columns(connection, APPLICATION).await.map_err(asked)?;
            schema::fleet_queries(source, &device, &application).map_err(ReadError::Failure)?
        }
    };
    let mut folding = Folding::default();
    let asked = |error| ReadError::Asked(ASKED_COHORTS, error);
    let query = sqlx::query(AssertSqlSafe(queries.cohorts.as_str()))
        .bind(appeared_above.unwrap_or(i64::MAX));
    let mut rows = query.fetch(&mut *connection);
    while let Some(row) = rows.try_next().await.map_err(asked)? {
        folding.add_cohort(&cohort_of(&row).map_err(asked)?);
    }
    drop(rows);
    let asked = |error| ReadError::Asked(ASKED_APPLICATIONS, error);
    let mut rows =
        sqlx::query(AssertSqlSafe(queries.applications.as_str())).fetch(&mut *connection);
    while let Some(row) = rows.try_next().await.map_err(asked)? {
        folding.add_application(application_of(&row).map_err(asked)?);
    }
    drop(rows);
    Ok((queries, folding))
}

/// The columns of the table of this name on the search path, with our right to read each. The
/// catalogue can be read by every role.
pub(super) async fn postgres_columns(
    connection: &mut PgConnection,
    table: &str,
) -> Result<Columns, sqlx::Error> {
    let sql = "SELECT CAST(attname AS text), has_column_privilege(attrelid, attnum, 'SELECT') \
               FROM pg_catalog.pg_attribute \
               WHERE attrelid = CAST(to_regclass(quote_ident($1)) AS oid) \
               AND attnum > 0 AND NOT attisdropped";
    let rows = sqlx::query(sql).persistent(false).bind(table).fetch_all(connection).await?;
    let pairs = rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?)));
    Ok(Columns { readable: pairs.collect::<Result<_, sqlx::Error>>()? })
}

async fn sqlite_columns(
    connection: &mut SqliteConnection,
    table: &str,
) -> Result<Columns, sqlx::Error> {
    let sql = "SELECT name FROM pragma_table_info($1)";
    let rows = sqlx::query(sql).bind(table).fetch_all(connection).await?;
    let pairs = rows.iter().map(|row| Ok((row.try_get(0)?, true)));
    Ok(Columns { readable: pairs.collect::<Result<_, sqlx::Error>>()? })
}

/// One group of devices, as the cohort query gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CohortRow {
    application: Option<i64>,
    key: CohortKey,
    host_os: Option<i64>,
    supervisor: Option<i64>,
    cohort: Cohort,
    device_id_max: i64,
}

/// One application, as the other query gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ApplicationRow {
    id: i64,
    name: Option<String>,
    organization: Option<i64>,
    target: Option<i64>,
}

/// Reads a row of either driver: the queries name and type their columns alike on both.
fn cohort_of<'r, R: Row>(row: &'r R) -> Result<CohortRow, sqlx::Error>
where
    &'static str: ColumnIndex<R>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
{
    // `count(*)` is never negative.
    let count = |name: &'static str| row.try_get::<i64, _>(name).map(i64::unsigned_abs);
    Ok(CohortRow {
        application: row.try_get("application")?,
        key: CohortKey { pinned: row.try_get("pinned")?, running: row.try_get("running")? },
        host_os: row.try_get("host_os")?,
        supervisor: row.try_get("supervisor")?,
        cohort: Cohort {
            devices: count("devices")?,
            online: count("online")?,
            vpn_connected: count("vpn_connected")?,
            heartbeat_online: count("heartbeat_online")?,
            mismatch: count("mismatch")?,
            updating: count("updating")?,
            appeared: count("appeared")?,
        },
        device_id_max: row.try_get("id_max")?,
    })
}

fn application_of<'r, R: Row>(row: &'r R) -> Result<ApplicationRow, sqlx::Error>
where
    &'static str: ColumnIndex<R>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
    String: Decode<'r, R::Database> + Type<R::Database>,
{
    Ok(ApplicationRow {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        organization: row.try_get("organization")?,
        target: row.try_get("target")?,
    })
}

/// A snapshot in the making. Cohorts come first: an application without devices is left out.
#[derive(Debug, Default)]
struct Folding {
    applications: BTreeMap<i64, Application>,
    device_id_max: i64,
}

impl Folding {
    fn add_cohort(&mut self, row: &CohortRow) {
        let id = row.application.unwrap_or(NO_APPLICATION);
        let application = self.applications.entry(id).or_default();
        // Groups that differ in host OS or supervisor only are one cohort.
        application.cohorts.entry(row.key).or_default().absorb(&row.cohort);
        let Cohort { devices, appeared, .. } = row.cohort;
        for (release, targets, new) in [
            (row.host_os, &mut application.host_os_targets, &mut application.host_os_appeared),
            (
                row.supervisor,
                &mut application.supervisor_targets,
                &mut application.supervisor_appeared,
            ),
        ] {
            let Some(release) = release else { continue };
            *targets.entry(release).or_insert(0) += devices;
            if appeared > 0 {
                *new.entry(release).or_insert(0) += appeared;
            }
        }
        self.device_id_max = self.device_id_max.max(row.device_id_max);
    }

    fn add_application(&mut self, row: ApplicationRow) {
        if let Some(application) = self.applications.get_mut(&row.id) {
            application.name = row.name.unwrap_or_default().chars().take(NAME_CHARS_MAX).collect();
            application.organization = row.organization.unwrap_or(0);
            application.target = row.target;
        }
    }

    fn finish(self, at: Time, appeared_above: Option<i64>) -> Snapshot {
        let Folding { applications, device_id_max } = self;
        Snapshot { at, device_id_max, appeared_above, applications }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(application: Option<i64>, pinned: Option<i64>, host_os: i64, devices: u64) -> CohortRow {
        CohortRow {
            application,
            key: CohortKey { pinned, running: Some(7) },
            host_os: Some(host_os),
            supervisor: None,
            cohort: Cohort { devices, online: 1, ..Cohort::default() },
            device_id_max: devices as i64,
        }
    }

    #[test]
    fn groups_that_differ_in_host_os_only_are_one_cohort() {
        let mut folding = Folding::default();
        folding.add_cohort(&row(Some(1), Some(5), 90, 10));
        folding.add_cohort(&row(Some(1), Some(5), 91, 20));
        folding.add_cohort(&row(None, None, 90, 3));
        let application = |id, name: &str| ApplicationRow {
            id,
            name: Some(name.to_owned()),
            organization: Some(4),
            target: Some(6),
        };
        folding.add_application(application(1, "gateway"));
        folding.add_application(application(2, "without devices"));
        let snapshot = folding.finish(Time::UNIX_EPOCH, Some(12));
        assert_eq!(snapshot.applications.keys().copied().collect::<Vec<_>>(), [0, 1]);
        let gateway = &snapshot.applications[&1];
        assert_eq!(gateway.cohorts.len(), 1);
        assert_eq!(gateway.devices(), 30);
        assert_eq!(gateway.host_os_targets, [(90, 10), (91, 20)].into());
        assert_eq!((gateway.organization, gateway.target), (4, Some(6)));
        assert_eq!((snapshot.device_id_max, snapshot.appeared_above), (20, Some(12)));
    }
}
