//! Flows between two snapshots: what is gone, what moved, and what nobody can tell apart.

use super::*;

fn at(second: i64) -> Time {
    Time::from_timestamp(1_569_276_720 + second, 0).expect("a time of 2019")
}

/// Applications by (id, organisation, devices, devices that are new), all devices unpinned.
fn snapshot(second: i64, appeared_above: Option<i64>, sizes: &[(i64, i64, u64, u64)]) -> Snapshot {
    let applications = sizes.iter().filter(|(_, _, devices, _)| *devices > 0);
    let applications = applications.map(|&(id, organization, devices, appeared)| {
        let key = CohortKey { pinned: None, running: Some(7) };
        let cohort = Cohort { devices, appeared, ..Cohort::default() };
        let cohorts = BTreeMap::from([(key, cohort)]);
        (id, Application { organization, cohorts, ..Application::default() })
    });
    Snapshot {
        at: at(second),
        device_id_max: 1_000,
        appeared_above,
        applications: applications.collect(),
    }
}

/// Devices removed, in how many applications and organisations, and devices added.
fn removed(
    appeared_above: Option<i64>,
    before: &[(i64, i64, u64, u64)],
    now: &[(i64, i64, u64, u64)],
) -> [f64; 4] {
    let (before, now) = (snapshot(0, None, before), snapshot(15, appeared_above, now));
    let signals = Flows::between(&before, &now).signals();
    let names = [
        "devices_removed",
        "applications_devices_removed",
        "organizations_devices_removed",
        "devices_added",
    ];
    names.map(|name| signals[name])
}

const FLEET: &[(i64, i64, u64, u64)] =
    &[(1, 10, 50, 0), (2, 10, 20, 0), (3, 11, 30, 0), (4, 12, 5, 0)];

#[test]
fn deletions_are_counted_with_their_breadth_also_of_applications_that_vanish() {
    let now = [(1, 10, 40, 0), (3, 11, 30, 0), (4, 12, 4, 0)];
    assert_eq!(removed(Some(1_000), FLEET, &now), [31.0, 3.0, 2.0, 0.0]);
    assert_eq!(removed(Some(1_000), FLEET, &[]), [105.0, 4.0, 3.0, 0.0]);
}

#[test]
fn devices_that_change_application_are_not_gone() {
    // Within an organisation, to another one, and to an application that had none.
    for now in [
        [(1, 10, 0, 0), (2, 10, 70, 0), (3, 11, 30, 0), (4, 12, 5, 0)],
        [(1, 10, 20, 0), (2, 10, 20, 0), (3, 11, 60, 0), (4, 12, 5, 0)],
        [(1, 10, 50, 0), (2, 10, 20, 0), (5, 13, 30, 0), (4, 12, 5, 0)],
    ] {
        assert_eq!(removed(Some(1_000), FLEET, &now), [0.0; 4], "{now:?}");
    }
}

#[test]
fn among_moves_deletions_are_as_narrow_as_the_numbers_allow() {
    // Organisation 10 lost 25 and 11 lost 10, while 6 came to 12: they can all be of 11, or not.
    let now = [(1, 10, 25, 0), (2, 10, 20, 0), (3, 11, 20, 0), (4, 12, 11, 0)];
    assert_eq!(removed(Some(1_000), FLEET, &now), [29.0, 2.0, 2.0, 0.0]);
    // Of 12 everything may have moved.
    let now = [(1, 10, 25, 0), (2, 10, 20, 0), (3, 11, 45, 0)];
    assert_eq!(removed(Some(1_000), FLEET, &now), [15.0, 1.0, 1.0, 0.0]);
    // An organisation's own arrivals account for its own departures first.
    let now = [(1, 10, 40, 0), (2, 10, 30, 0), (3, 11, 30, 0), (4, 12, 0, 0)];
    assert_eq!(removed(Some(1_000), FLEET, &now), [5.0, 1.0, 1.0, 0.0]);
}

#[test]
fn new_devices_account_for_no_departure_where_they_are_known_to_be_new() {
    let now = [(1, 10, 40, 0), (2, 10, 30, 10), (3, 11, 30, 0), (4, 12, 5, 0)];
    assert_eq!(removed(Some(1_000), FLEET, &now), [10.0, 1.0, 1.0, 10.0]);
    // After a restart it is not known: as many as departed may have moved.
    let now = [(1, 10, 40, 0), (2, 10, 33, 0), (3, 11, 30, 0), (4, 12, 5, 0)];
    assert_eq!(removed(None, FLEET, &now), [0.0, 0.0, 0.0, 3.0]);
    let now = [(1, 10, 30, 0), (2, 10, 33, 0), (3, 11, 30, 0), (4, 12, 5, 0)];
    assert_eq!(removed(None, FLEET, &now), [7.0, 1.0, 1.0, 0.0]);
}
