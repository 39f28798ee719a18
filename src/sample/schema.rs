//! What an open-balena database has of the tables and columns that the fleet sample reads, and the
//! two queries that follow from it. What is missing costs only what depends on it. Pure; the rows
//! are read in `open_balena`.

use std::collections::{BTreeMap, BTreeSet};

use crate::observation::{Failure, FailureReason};

/// Devices as open-balena-api names them.
pub(super) const DEVICE: &str = crate::accounting::DEVICE;
/// Applications ("fleets" in its pages).
pub(super) const APPLICATION: &str = "application";

const DEVICE_INDISPENSABLE: &[&str] =
    &["id", "belongs to-application", "is pinned on-release", "is running-release"];
const APPLICATION_INDISPENSABLE: &[&str] = &["id", "should be running-release"];

/// Signals of breadth over organisations.
const ORGANIZATION_SIGNALS: &[&str] = &[
    "organizations",
    "organizations_devices_removed",
    "organizations_pins_added",
    "organizations_pins_removed",
    "organizations_pins_moved",
    "organizations_targets_changed",
    "organizations_os_targets_added",
    "organizations_os_targets_removed",
    "organizations_os_targets_moved",
    "organizations_supervisor_targets_added",
    "organizations_supervisor_targets_removed",
    "organizations_supervisor_targets_moved",
];

/// A column of `device` without which some signals are missing.
struct Optional {
    column: &'static str,
    signals: &'static [&'static str],
    /// What is lost, for people.
    cost: &'static str,
}

const DEVICE_OPTIONAL: &[Optional] = &[
    Optional {
        column: "is connected to vpn",
        signals: &["devices_vpn_connected", "devices_vpn_heartbeat_mismatch"],
        cost: "devices_online counts heartbeats only, and the VPN signals are missing",
    },
    Optional {
        column: "api heartbeat state",
        signals: &["devices_heartbeat_online", "devices_vpn_heartbeat_mismatch"],
        cost: "devices_online counts VPN connections only, and the heartbeat signals are missing",
    },
    Optional {
        column: "update status",
        signals: &[],
        cost: "updates_in_progress sees the download progress only",
    },
    Optional {
        column: "download progress",
        signals: &[],
        cost: "updates_in_progress sees the update status only",
    },
    Optional {
        column: "should be operated by-release",
        signals: &[
            "applications_os_targets_added",
            "applications_os_targets_moved",
            "applications_os_targets_removed",
            "devices_os_targeted",
            "organizations_os_targets_added",
            "organizations_os_targets_moved",
            "organizations_os_targets_removed",
            "os_targets_added",
            "os_targets_moved",
            "os_targets_removed",
        ],
        cost: "host OS targets are not watched",
    },
    Optional {
        column: "should be managed by-release",
        signals: &[
            "applications_supervisor_targets_added",
            "applications_supervisor_targets_moved",
            "applications_supervisor_targets_removed",
            "devices_supervisor_targeted",
            "organizations_supervisor_targets_added",
            "organizations_supervisor_targets_moved",
            "organizations_supervisor_targets_removed",
            "supervisor_targets_added",
            "supervisor_targets_moved",
            "supervisor_targets_removed",
        ],
        cost: "supervisor targets are not watched",
    },
];

/// What the application's name for people may be called, best first.
const NAME_COLUMNS: &[&str] = &["app name", "slug", "name"];

/// A table's columns, and whether our role may read each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Columns {
    /// Readable or not, by name. Empty: there is no such table.
    pub(super) readable: BTreeMap<String, bool>,
}

impl Columns {
    fn has(&self, column: &str) -> bool {
        self.readable.get(column) == Some(&true)
    }
}

/// The queries for one database, and what they cannot tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FleetQueries {
    /// One row a cohort; `$1` is the bound above which a device is new.
    pub(super) cohorts: String,
    /// One row an application.
    pub(super) applications: String,
    /// Signals that are missing.
    pub(super) absent: BTreeSet<String>,
    /// What is missing and what would help.
    pub(super) notes: Vec<String>,
}

/// Builds the queries, or says which indispensable column is missing.
pub(super) fn fleet_queries(
    source: &str,
    device: &Columns,
    application: &Columns,
) -> Result<FleetQueries, Failure> {
    require(source, DEVICE, device, DEVICE_INDISPENSABLE)?;
    require(source, APPLICATION, application, APPLICATION_INDISPENSABLE)?;
    let mut absent = BTreeSet::new();
    let mut notes = Vec::new();
    for optional in DEVICE_OPTIONAL {
        if !device.has(optional.column) {
            absent.extend(optional.signals.iter().map(|&signal| signal.to_owned()));
            notes.push(lacking(source, DEVICE, device, optional.column, optional.cost));
        }
    }
    let online_is_known = device.has("is connected to vpn") || device.has("api heartbeat state");
    if !online_is_known {
        absent.insert("devices_online".to_owned());
    }
    if !online_is_known || !(device.has("update status") || device.has("download progress")) {
        absent.insert("updates_in_progress".to_owned());
    }
    if !application.has("organization") {
        absent.extend(ORGANIZATION_SIGNALS.iter().map(|&signal| signal.to_owned()));
        let cost = "breadth over organisations is missing: one owner's act over many applications \
                    cannot be told from a platform's fault";
        notes.push(lacking(source, APPLICATION, application, "organization", cost));
    }
    let name = NAME_COLUMNS.iter().find(|&&column| application.has(column));
    if name.is_none() {
        let cost = "applications are named by their id";
        notes.push(lacking(source, APPLICATION, application, NAME_COLUMNS[0], cost));
    }
    Ok(FleetQueries {
        cohorts: cohorts_sql(device),
        applications: applications_sql(application, name.copied()),
        absent,
        notes,
    })
}

fn require(
    source: &str,
    table: &str,
    columns: &Columns,
    indispensable: &[&str],
) -> Result<(), Failure> {
    if columns.readable.is_empty() {
        let message = format!(
            "source \"{source}\": there is no table \"{table}\" on the role's search_path; check \
             that the url names an open-balena database, and GRANT USAGE on the table's schema"
        );
        return Err(Failure { reason: FailureReason::Schema, message });
    }
    for column in indispensable {
        match columns.readable.get(*column) {
            Some(true) => {}
            Some(false) => {
                let message = format!(
                    "source \"{source}\": the role may not read \"{table}\".\"{column}\"; GRANT \
                     SELECT ON \"{table}\" to it"
                );
                return Err(Failure { reason: FailureReason::Permission, message });
            }
            None => {
                let message = format!(
                    "source \"{source}\": table \"{table}\" has no column \"{column}\", which the \
                     sample cannot do without; check that the url names an open-balena database"
                );
                return Err(Failure { reason: FailureReason::Schema, message });
            }
        }
    }
    Ok(())
}

fn lacking(source: &str, table: &str, columns: &Columns, column: &str, cost: &str) -> String {
    if columns.readable.contains_key(column) {
        format!(
            "source \"{source}\": the role may not read \"{table}\".\"{column}\": {cost}; GRANT \
             SELECT ON \"{table}\" to it"
        )
    } else {
        format!("source \"{source}\": table \"{table}\" has no column \"{column}\": {cost}")
    }
}

/// One scan groups devices by everything that a cohort or a target map is made of. The text is
/// valid for PostgreSQL and SQLite, and for flags that are boolean or integer. Columns carry their
/// table's name: SQLite takes a bare quoted name that it does not know for a string, and would
/// count nonsense.
fn cohorts_sql(device: &Columns) -> String {
    let release = |column: &str| {
        if device.has(column) {
            format!("CAST(device.\"{column}\" AS bigint)")
        } else {
            "CAST(NULL AS bigint)".to_owned()
        }
    };
    // A condition that holds never, where its column is missing.
    let never = || "1 = 0".to_owned();
    let vpn = if device.has("is connected to vpn") {
        "coalesce(CAST(device.\"is connected to vpn\" AS integer), 0) <> 0".to_owned()
    } else {
        never()
    };
    let heartbeat = if device.has("api heartbeat state") {
        "coalesce(CAST(device.\"api heartbeat state\" AS text), '') = 'online'".to_owned()
    } else {
        never()
    };
    let status = if device.has("update status") {
        "coalesce(CAST(device.\"update status\" AS text), '') \
         IN ('downloading', 'downloaded', 'applying changes')"
            .to_owned()
    } else {
        never()
    };
    let progress = if device.has("download progress") {
        "device.\"download progress\" IS NOT NULL".to_owned()
    } else {
        never()
    };
    format!(
        "SELECT application, pinned, running, host_os, supervisor, count(*) AS devices, \
         count(*) FILTER (WHERE vpn OR heartbeat) AS online, \
         count(*) FILTER (WHERE vpn) AS vpn_connected, \
         count(*) FILTER (WHERE heartbeat) AS heartbeat_online, \
         count(*) FILTER (WHERE vpn <> heartbeat) AS mismatch, \
         count(*) FILTER (WHERE (vpn OR heartbeat) AND updating) AS updating, \
         count(*) FILTER (WHERE id > $1) AS appeared, \
         max(id) AS id_max \
         FROM (SELECT CAST(device.\"id\" AS bigint) AS id, {application} AS application, \
         {pinned} AS pinned, {running} AS running, {host_os} AS host_os, \
         {supervisor} AS supervisor, ({vpn}) AS vpn, ({heartbeat}) AS heartbeat, \
         ({status} OR {progress}) AS updating FROM \"{DEVICE}\") AS flags \
         GROUP BY application, pinned, running, host_os, supervisor",
        application = release("belongs to-application"),
        pinned = release("is pinned on-release"),
        running = release("is running-release"),
        host_os = release("should be operated by-release"),
        supervisor = release("should be managed by-release"),
    )
}

fn applications_sql(application: &Columns, name: Option<&str>) -> String {
    let name = match name {
        Some(column) => format!("CAST(application.\"{column}\" AS text)"),
        None => "CAST(NULL AS text)".to_owned(),
    };
    let organization = if application.has("organization") {
        "CAST(application.\"organization\" AS bigint)"
    } else {
        "CAST(NULL AS bigint)"
    };
    format!(
        "SELECT CAST(application.\"id\" AS bigint) AS id, {name} AS name, \
         {organization} AS organization, \
         CAST(application.\"should be running-release\" AS bigint) AS target \
         FROM \"{APPLICATION}\""
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(names: &[&str]) -> Columns {
        Columns { readable: names.iter().map(|&name| (name.to_owned(), true)).collect() }
    }

    fn all_of_device() -> Columns {
        let optional = DEVICE_OPTIONAL.iter().map(|optional| optional.column);
        columns(&DEVICE_INDISPENSABLE.iter().copied().chain(optional).collect::<Vec<_>>())
    }

    fn all_of_application() -> Columns {
        columns(&["id", "should be running-release", "organization", "app name"])
    }

    #[test]
    fn a_whole_schema_has_nothing_to_note() {
        let queries = fleet_queries("fleet", &all_of_device(), &all_of_application()).unwrap();
        assert!(queries.absent.is_empty() && queries.notes.is_empty(), "{queries:?}");
        assert!(queries.applications.contains("\"app name\""));
    }

    #[test]
    fn each_missing_optional_column_costs_its_own_signals_and_is_noted() {
        for optional in DEVICE_OPTIONAL {
            let mut device = all_of_device();
            device.readable.remove(optional.column);
            let queries = fleet_queries("fleet", &device, &all_of_application()).unwrap();
            let absent: Vec<_> = queries.absent.iter().map(String::as_str).collect();
            assert_eq!(absent, optional.signals, "{}", optional.column);
            assert_eq!(queries.notes.len(), 1);
            assert!(!queries.cohorts.contains(&format!("\"{}\"", optional.column)));
        }
    }

    #[test]
    fn a_forbidden_optional_column_is_noted_with_its_grant() {
        let mut device = all_of_device();
        device.readable.insert("update status".to_owned(), false);
        let queries = fleet_queries("fleet", &device, &all_of_application()).unwrap();
        assert!(queries.notes[0].contains("GRANT SELECT ON \"device\""), "{:?}", queries.notes);
    }

    #[test]
    fn without_both_flags_nobody_can_be_called_online() {
        let mut device = all_of_device();
        device.readable.remove("is connected to vpn");
        device.readable.remove("api heartbeat state");
        let queries = fleet_queries("fleet", &device, &all_of_application()).unwrap();
        assert!(queries.absent.contains("devices_online"));
        assert!(queries.absent.contains("updates_in_progress"));
    }

    #[test]
    fn a_missing_organization_costs_breadth_only() {
        let application = columns(&["id", "should be running-release", "slug"]);
        let queries = fleet_queries("fleet", &all_of_device(), &application).unwrap();
        assert_eq!(queries.absent.len(), ORGANIZATION_SIGNALS.len());
        assert!(queries.applications.contains("CAST(application.\"slug\" AS text) AS name"));
    }

    #[test]
    fn a_missing_indispensable_column_is_named() {
        for column in DEVICE_INDISPENSABLE {
            let mut device = all_of_device();
            device.readable.remove(*column);
            let failure = fleet_queries("fleet", &device, &all_of_application()).expect_err(column);
            assert_eq!(failure.reason, FailureReason::Schema);
            assert!(failure.message.contains(column), "{}", failure.message);
        }
        let failure =
            fleet_queries("fleet", &all_of_device(), &Columns::default()).expect_err("no table");
        assert!(failure.message.contains("no table \"application\""), "{}", failure.message);
    }

    #[test]
    fn a_forbidden_indispensable_column_is_a_matter_of_grants() {
        let mut device = all_of_device();
        device.readable.insert("is running-release".to_owned(), false);
        let failure = fleet_queries("fleet", &device, &all_of_application()).unwrap_err();
        assert_eq!(failure.reason, FailureReason::Permission);
        assert!(failure.message.contains("GRANT SELECT ON \"device\""), "{}", failure.message);
    }
}
