//! A fleet database on SQLite or PostgreSQL, filled from a simulated fleet and driven by its row
//! changes. Writes only; what reads such a database is `sample`. Deliberately a single connection:
//! whoever needs two roles opens it twice.

use std::{collections::HashSet, str::FromStr, time::Duration};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use sqlx::{
    Connection as _, PgConnection, SqliteConnection,
    postgres::PgConnectOptions,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};

use self::statements::Statement;
use super::{
    acts::Act,
    fleet::{Device, Fleet, Heartbeat, Release, RowChange, UpdateStatus},
};
use crate::series::Time;

mod statements;

/// Rows that one statement takes at most: enough to be quick, few enough to keep its text small.
const ROWS_PER_STATEMENT_MAX: usize = 5_000;

/// How long SQLite waits for another writer.
const SQLITE_BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// A fleet database that can be filled and driven.
#[derive(Debug)]
pub struct FleetDatabase {
    connection: Connection,
}

#[derive(Debug)]
enum Connection {
    Postgres(PgConnection),
    Sqlite(SqliteConnection),
}

/// A parameter of a statement.
enum Parameter<'a> {
    Integer(i64),
    Text(&'a str),
    Time(Time),
}

impl FleetDatabase {
    /// Connects to an empty database (`postgres://…`, or `sqlite://…`, whose file is made) and
    /// creates the tables.
    pub async fn create(url: &str) -> Result<FleetDatabase> {
        let mut database = FleetDatabase::open(url).await?;
        let schema = Statement {
            postgres: include_str!("schema_postgres.sql"),
            sqlite: include_str!("schema_sqlite.sql"),
        };
        database.script(schema).await.context("cannot create the fleet's tables")?;
        Ok(database)
    }

    /// Connects to a database that has the tables, in whatever role the address says.
    pub async fn open(url: &str) -> Result<FleetDatabase> {
        // The address may hold a password: no error repeats it.
        let refused = "cannot connect to the simulated fleet's database";
        let connection = if url.starts_with("sqlite:") {
            let options = SqliteConnectOptions::from_str(url).context(refused)?;
            let options = options
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                // It is a simulation: a crash of the machine may take it along.
                .synchronous(SqliteSynchronous::Off)
                .busy_timeout(SQLITE_BUSY_TIMEOUT);
            Connection::Sqlite(SqliteConnection::connect_with(&options).await.context(refused)?)
        } else if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            let options = PgConnectOptions::from_str(url).context(refused)?;
            Connection::Postgres(PgConnection::connect_with(&options).await.context(refused)?)
        } else {
            bail!("a simulated fleet lives in sqlite:// or postgres://, not elsewhere");
        };
        Ok(FleetDatabase { connection })
    }

    /// Writes all of `fleet` into empty tables, in one transaction.
    pub async fn fill(&mut self, fleet: &Fleet, at: Time) -> Result<()> {
        self.begin().await?;
        let filled = self.fill_tables(fleet, at).await;
        self.end(filled).await.context("cannot fill the fleet's tables")?;
        if let Connection::Postgres(_) = self.connection {
            let statistics = "ANALYZE";
            let sequences = statements::SET_SEQUENCES;
            self.script(Statement { postgres: sequences, sqlite: "" }).await?;
            self.script(Statement { postgres: statistics, sqlite: "" }).await?;
        }
        Ok(())
    }

    /// Writes changes that were made to the fleet in memory, in their order, in one transaction.
    /// Rows of one kind go together.
    pub async fn apply(&mut self, changes: &[RowChange], at: Time) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        self.begin().await?;
        let applied = self.apply_changes(changes, at).await;
        self.end(applied).await.context("cannot apply changes to the fleet's tables")
    }

    /// Does `act` with the statement that whoever did it would have run, and gives the rows that it
    /// wrote. `changes` are those that the fleet in memory gave for it: they are written where
    /// there is no such statement.
    pub async fn act(&mut self, act: &Act, changes: &[RowChange], at: Time) -> Result<u64> {
        use Parameter::{Integer, Text, Time};
        let (statement, parameters) = match act {
            Act::PinEverythingToRunning => (statements::PIN_EVERYTHING, vec![]),
            Act::UnpinEverything => (statements::UNPIN_EVERYTHING, vec![]),
            Act::PinToRunningBatch { devices } | Act::MigrationBatch { devices, .. } => {
                (statements::PIN_BATCH, vec![Integer(*devices as i64)])
            }
            Act::UnpinBatch { devices } => {
                (statements::UNPIN_BATCH, vec![Integer(*devices as i64)])
            }
            Act::PinApplication { application } => {
                (statements::PIN_APPLICATION, vec![Integer(*application), Time(at)])
            }
            Act::UnpinApplication { application } => {
                (statements::UNPIN_APPLICATION, vec![Integer(*application), Time(at)])
            }
            Act::PinOrganization { organization } => {
                (statements::PIN_ORGANIZATION, vec![Integer(*organization), Time(at)])
            }
            Act::UnpinOrganization { organization } => {
                (statements::UNPIN_ORGANIZATION, vec![Integer(*organization), Time(at)])
            }
            Act::MigrationStarts { key } => {
                (statements::START_MIGRATION, vec![Text(key), Time(at)])
            }
            Act::DeleteEveryNth { nth } => {
                (statements::DELETE_EVERY_NTH, vec![Integer(*nth as i64)])
            }
            Act::DeleteBatch { devices } => {
                (statements::DELETE_BATCH, vec![Integer(*devices as i64)])
            }
            Act::DeleteApplication { application } => {
                (statements::DELETE_APPLICATION, vec![Integer(*application)])
            }
            Act::DeleteOrganization { organization } => {
                (statements::DELETE_ORGANIZATION, vec![Integer(*organization)])
            }
            Act::MoveApplication { application, to } => {
                (statements::MOVE_APPLICATION, vec![Integer(*application), Integer(*to)])
            }
            Act::RetargetApplication { .. }
            | Act::RetargetEverything
            | Act::RepinEverything
            | Act::TargetNewestHostOs
            | Act::TargetNewestHostOsBatch { .. }
            | Act::TargetNewestHostOsOfOrganization { .. }
            | Act::ClearSupervisorTargets
            | Act::ClearSupervisorTargetsBatch { .. }
            | Act::PinPartToRunning { .. }
            | Act::UnpinPart { .. }
            | Act::RepinPart { .. }
            | Act::PinOrganizationBatch { .. }
            | Act::UnpinOrganizationBatch { .. }
            | Act::Provision { .. } => {
                self.apply(changes, at).await?;
                return Ok(changes.len() as u64);
            }
        };
        let failed = || format!("cannot do {act:?} in the fleet's database");
        let rows = self.execute(statement, &parameters).await.with_context(failed)?;
        if let Act::MigrationBatch { key, .. } = act {
            // As the migrator does it: after the batch has committed, in a transaction of its own.
            let counted = [Text(key), Integer(rows as i64), Time(at)];
            self.execute(statements::COUNT_MIGRATION_RUN, &counted).await.with_context(failed)?;
        }
        Ok(rows)
    }

    /// Ends the connection.
    pub async fn close(self) -> Result<()> {
        match self.connection {
            Connection::Postgres(connection) => connection.close().await?,
            Connection::Sqlite(connection) => connection.close().await?,
        }
        Ok(())
    }

    async fn fill_tables(&mut self, fleet: &Fleet, at: Time) -> Result<()> {
        let organizations = fleet.organizations().iter().map(|organization| {
            let (id, name) = (organization.id, &organization.name);
            json!({ "id": id, "name": name, "handle": organization.handle })
        });
        self.write(statements::INSERT_ORGANIZATIONS, organizations, at).await?;
        let applications = fleet.applications().iter().map(|application| {
            json!({
                "id": application.id,
                "organization": application.organization,
                "name": application.name,
                "slug": application.slug,
                "uuid": hexadecimal(1, application.id, 32),
                "is_host": application.is_host,
            })
        });
        self.write(statements::INSERT_APPLICATIONS, applications, at).await?;
        let releases = fleet.releases().values().map(release_row);
        self.write(statements::INSERT_RELEASES, releases, at).await?;
        // Applications and releases refer to each other: the targets come last.
        let targets = fleet.applications().iter();
        let targets = targets.map(|it| json!({ "id": it.id, "release": it.target }));
        self.write(statements::UPDATE_TARGETS, targets, at).await?;
        self.write(statements::INSERT_DEVICES, fleet.devices().map(device_row), at).await
    }

    async fn apply_changes(&mut self, changes: &[RowChange], at: Time) -> Result<()> {
        let mut batch = Batch::default();
        for change in changes {
            if !batch.takes(change) {
                self.flush(std::mem::take(&mut batch), at).await?;
                batch.takes(change);
            }
            batch.add(change);
        }
        self.flush(batch, at).await
    }

    async fn flush(&mut self, batch: Batch, at: Time) -> Result<()> {
        let in_order = [
            (statements::INSERT_RELEASES, batch.releases),
            (statements::INSERT_DEVICES, batch.devices),
            (statements::UPDATE_TARGETS, batch.targets),
            (statements::UPDATE_PINS, batch.pins),
            (statements::UPDATE_HOST_OS_TARGETS, batch.host_os_targets),
            (statements::UPDATE_SUPERVISOR_TARGETS, batch.supervisor_targets),
            (statements::UPDATE_APPLICATIONS_OF_DEVICES, batch.moves),
            (statements::UPDATE_CONNECTIONS, batch.connections),
            (statements::UPDATE_PROGRESS, batch.updates),
            (statements::UPDATE_REPORTS, batch.reports),
        ];
        for (statement, rows) in in_order {
            self.write(statement, rows.into_iter(), at).await?;
        }
        if !batch.deletions.is_empty() {
            let rows = Value::Array(batch.deletions).to_string();
            self.execute(statements::DELETE_DEVICES, &[Parameter::Text(&rows)]).await?;
        }
        Ok(())
    }

    async fn write(
        &mut self,
        statement: Statement,
        mut rows: impl Iterator<Item = Value>,
        at: Time,
    ) -> Result<()> {
        loop {
            let some: Vec<Value> = rows.by_ref().take(ROWS_PER_STATEMENT_MAX).collect();
            if some.is_empty() {
                return Ok(());
            }
            let text = Value::Array(some).to_string();
            self.execute(statement, &[Parameter::Text(&text), Parameter::Time(at)]).await?;
        }
    }

    async fn begin(&mut self) -> Result<()> {
        self.script(Statement { postgres: "BEGIN", sqlite: "BEGIN IMMEDIATE" }).await
    }

    /// Commits what went well and takes back what did not.
    async fn end<T>(&mut self, outcome: Result<T>) -> Result<T> {
        if outcome.is_ok() {
            self.script(Statement { postgres: "COMMIT", sqlite: "COMMIT" }).await?;
        } else {
            // The first error is the one to report; a broken connection rolls back by itself.
            let rollback = Statement { postgres: "ROLLBACK", sqlite: "ROLLBACK" };
            let _ = self.script(rollback).await;
        }
        outcome
    }

    async fn script(&mut self, statement: Statement) -> Result<()> {
        match &mut self.connection {
            Connection::Postgres(connection) => {
                sqlx::raw_sql(statement.postgres).execute(connection).await?;
            }
            Connection::Sqlite(connection) => {
                sqlx::raw_sql(statement.sqlite).execute(connection).await?;
            }
        }
        Ok(())
    }

    async fn execute(&mut self, statement: Statement, parameters: &[Parameter<'_>]) -> Result<u64> {
        match &mut self.connection {
            Connection::Postgres(connection) => {
                let mut query = sqlx::query(statement.postgres);
                for parameter in parameters {
                    query = match parameter {
                        Parameter::Integer(value) => query.bind(*value),
                        Parameter::Text(value) => query.bind((*value).to_owned()),
                        Parameter::Time(value) => query.bind(*value),
                    };
                }
                Ok(query.execute(connection).await?.rows_affected())
            }
            Connection::Sqlite(connection) => {
                let mut query = sqlx::query(statement.sqlite);
                for parameter in parameters {
                    query = match parameter {
                        Parameter::Integer(value) => query.bind(*value),
                        Parameter::Text(value) => query.bind((*value).to_owned()),
                        Parameter::Time(value) => query.bind(*value),
                    };
                }
                Ok(query.execute(connection).await?.rows_affected())
            }
        }
    }
}

/// Changes that can be written kind by kind, because no row is among them twice.
#[derive(Default)]
struct Batch {
    releases: Vec<Value>,
    devices: Vec<Value>,
    targets: Vec<Value>,
    pins: Vec<Value>,
    host_os_targets: Vec<Value>,
    supervisor_targets: Vec<Value>,
    moves: Vec<Value>,
    connections: Vec<Value>,
    updates: Vec<Value>,
    reports: Vec<Value>,
    deletions: Vec<Value>,
    devices_touched: HashSet<i64>,
    applications_touched: HashSet<i64>,
}

impl Batch {
    /// Notes the row of `change`; false if the batch has that row already.
    fn takes(&mut self, change: &RowChange) -> bool {
        match *change {
            RowChange::ReleaseInserted(_) => true,
            RowChange::Target { application, .. } => self.applications_touched.insert(application),
            RowChange::DeviceInserted(Device { id: device, .. })
            | RowChange::DeviceDeleted { device }
            | RowChange::Pin { device, .. }
            | RowChange::HostOsTarget { device, .. }
            | RowChange::SupervisorTarget { device, .. }
            | RowChange::Moved { device, .. }
            | RowChange::Connection { device, .. }
            | RowChange::Update { device, .. }
            | RowChange::Reported { device, .. } => self.devices_touched.insert(device),
        }
    }

    fn add(&mut self, change: &RowChange) {
        match *change {
            RowChange::ReleaseInserted(release) => self.releases.push(release_row(&release)),
            RowChange::Target { application, release } => {
                self.targets.push(json!({ "id": application, "release": release }));
            }
            RowChange::DeviceInserted(device) => self.devices.push(device_row(&device)),
            RowChange::DeviceDeleted { device } => self.deletions.push(json!({ "id": device })),
            RowChange::Pin { device, release } => {
                self.pins.push(json!({ "id": device, "release": release }));
            }
            RowChange::HostOsTarget { device, release } => {
                self.host_os_targets.push(json!({ "id": device, "release": release }));
            }
            RowChange::SupervisorTarget { device, release } => {
                self.supervisor_targets.push(json!({ "id": device, "release": release }));
            }
            RowChange::Moved { device, application } => {
                self.moves.push(json!({ "id": device, "application": application }));
            }
            RowChange::Connection { device, vpn_connected, heartbeat } => {
                let online = vpn_connected || heartbeat == Heartbeat::Online;
                let heartbeat = heartbeat.text();
                let row = json!({
                    "id": device, "vpn": vpn_connected, "online": online, "heartbeat": heartbeat,
                });
                self.connections.push(row);
            }
            RowChange::Update { device, running, status, progress } => {
                let status = status.map(UpdateStatus::text);
                let row = json!({
                    "id": device, "running": running, "status": status, "progress": progress,
                });
                self.updates.push(row);
            }
            RowChange::Reported { device, cpu_usage } => {
                self.reports.push(json!({ "id": device, "cpu": cpu_usage }));
            }
        }
    }
}

fn release_row(release: &Release) -> Value {
    let commit = hexadecimal(2, release.id, 40);
    json!({ "id": release.id, "application": release.application, "commit": commit })
}

fn device_row(device: &Device) -> Value {
    json!({
        "id": device.id,
        "uuid": hexadecimal(3, device.id, 32),
        "name": format!("device-{}", device.id),
        "application": device.application,
        "pinned": device.pinned,
        "running": device.running,
        "host_os": device.host_os_target,
        "supervisor": device.supervisor_target,
        "online": device.is_online(),
        "vpn": device.vpn_connected,
        "heartbeat": device.heartbeat.text(),
        "status": device.update_status.map(UpdateStatus::text),
        "progress": device.download_progress,
    })
}

/// Digits that look random and follow from an id: uuids and commits need not be stored. `kind`
/// keeps the tables apart. Distinct ids give distinct digits, because each step can be undone.
fn hexadecimal(kind: u64, id: i64, digits: usize) -> String {
    // The finaliser of SplitMix64: a mixing of 64 bits without collisions.
    let mix = |seed: u64| {
        let mut bits = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    };
    let seed = id as u64 * 4 + kind;
    let mut text =
        format!("{:016x}{:016x}{:016x}", mix(seed), mix(!seed), mix(seed.rotate_left(32)));
    text.truncate(digits);
    text
}
