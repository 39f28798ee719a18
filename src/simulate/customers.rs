//! What customers do to their own devices: pin, unpin, move pins, ship releases. Most of it touches
//! one device; rarely it covers all applications of an organisation. All of it is lawful.

use super::{
    Settings,
    chance::Chance,
    fleet::{Application, Device, Fleet, RowChange},
    life::heavy_tail_mean,
};

/// Of the acts on pins, the share that moves existing pins to another release.
const REPIN_SHARE: f64 = 0.2;

/// Of the other acts, the share that unpins while the fleet has as many pins as its settings say.
/// It follows the share of pinned devices, so that the fleet neither fills with pins nor runs out.
const UNPIN_SHARE: f64 = 0.5;

/// How often another application is tried when the first has no device for the act.
const ATTEMPTS_MAX: u32 = 4;

/// How busy people are in each hour of the day, in UTC; 1 on average.
const ACTIVITY_BY_HOUR: [f64; 24] = [
    0.6, 0.5, 0.4, 0.4, 0.4, 0.5, 0.7, 1.0, 1.3, 1.5, 1.5, 1.4, 1.3, 1.5, 1.6, 1.6, 1.5, 1.4, 1.2,
    1.0, 0.8, 0.7, 0.6, 0.6,
];

#[derive(Clone, Copy, PartialEq)]
enum Deed {
    Pin,
    Unpin,
    Repin,
}

/// The factor by which people are more or less busy than on average.
pub(super) fn activity(hour: u32) -> f64 {
    ACTIVITY_BY_HOUR[hour as usize % 24]
}

/// Does the acts on pins of so many busy days (a fraction of one), and gives what they changed.
pub(super) fn act_on_pins(
    fleet: &mut Fleet,
    settings: &Settings,
    days: f64,
    chance: &mut Chance,
) -> Vec<RowChange> {
    let organizations = settings.organizations as f64;
    let thousands = fleet.device_count() as f64 / 1e3;
    let a_day = settings.pin_acts_per_organization_per_day * organizations
        + settings.pin_acts_per_thousand_devices_per_day * thousands;
    let at_once_max = settings.physics.acts_at_once_max;
    let a_day = a_day / heavy_tail_mean(at_once_max);
    let mut changes = Vec::new();
    for _ in 0..chance.poisson(a_day * days) {
        let deed = choose_deed(fleet, settings, chance);
        let mut act = if chance.happens(settings.organization_wide_act_share) {
            act_on_organization(fleet, deed, chance)
        } else {
            act_on_application(fleet, deed, chance)
        };
        if at_once_max > 1 {
            let further = chance.heavy_tail(at_once_max) - 1;
            act.extend(act_further(fleet, &act, deed, further, chance));
        }
        // Applied at once: the next act finds the fleet as this one left it.
        for change in &act {
            fleet.apply(change);
        }
        changes.extend(act);
    }
    changes
}

/// An application chosen half by its devices, half evenly over organisations: big customers act
/// more often, small ones are many.
pub(super) fn choose_application(fleet: &Fleet, chance: &mut Chance) -> Option<i64> {
    if chance.happens(0.5) {
        let device = choose_device(fleet, chance)?;
        return Some(device.application);
    }
    let organization = chance.pick(fleet.organizations())?.id;
    let owned = fleet.applications().iter();
    let owned: Vec<i64> = owned
        .filter(|it| it.organization == organization && !it.devices.is_empty())
        .map(|it| it.id)
        .collect();
    chance.pick(&owned).copied()
}

/// A device at random, `None` after too many gaps in the ids.
pub(super) fn choose_device(fleet: &Fleet, chance: &mut Chance) -> Option<Device> {
    const GAPS_MAX: u32 = 64;
    let issued = u64::try_from(fleet.device_id_issued_max()).ok().filter(|issued| *issued > 0)?;
    (0..GAPS_MAX).find_map(|_| fleet.device(chance.below(issued) as i64 + 1).copied())
}

fn choose_deed(fleet: &Fleet, settings: &Settings, chance: &mut Chance) -> Deed {
    // A sample of the fleet says whether it has more pins than usual.
    const LOOKS: u32 = 64;
    let looks = (0..LOOKS).filter_map(|_| choose_device(fleet, chance));
    let pinned = looks.filter(|device| device.pinned.is_some()).count() as f64;
    let share = pinned / f64::from(LOOKS);
    let unpin_share = (UNPIN_SHARE * share / settings.pinned_share).clamp(0.2, 0.8);
    if chance.happens(REPIN_SHARE) {
        Deed::Repin
    } else if chance.happens(unpin_share) {
        Deed::Unpin
    } else {
        Deed::Pin
    }
}

fn act_on_application(fleet: &Fleet, deed: Deed, chance: &mut Chance) -> Vec<RowChange> {
    for _ in 0..ATTEMPTS_MAX {
        let application = choose_application(fleet, chance).and_then(|id| fleet.application(id));
        let Some(application) = application else { continue };
        let candidates = candidates(fleet, application, deed);
        if candidates.is_empty() {
            continue;
        }
        let size = chance.heavy_tail(candidates.len() as u64) as usize;
        let chosen = chance.sample(candidates, size);
        let changes = changes(fleet, application, deed, &chosen, chance);
        if !changes.is_empty() {
            return changes;
        }
    }
    Vec::new()
}

/// The owner of a first act does the same to further applications of his.
fn act_further(
    fleet: &Fleet,
    first: &[RowChange],
    deed: Deed,
    further: u64,
    chance: &mut Chance,
) -> Vec<RowChange> {
    let Some(RowChange::Pin { device, .. }) = first.first() else { return Vec::new() };
    let device = fleet.device(*device);
    let acted_on = device.and_then(|device| fleet.application(device.application));
    let Some(acted_on) = acted_on else { return Vec::new() };
    let owned = fleet.applications().iter();
    let owned: Vec<&Application> = owned
        .filter(|it| it.organization == acted_on.organization && it.id != acted_on.id)
        .collect();
    let mut all = Vec::new();
    for application in chance.sample(owned, further as usize) {
        let candidates = candidates(fleet, application, deed);
        if !candidates.is_empty() {
            let size = chance.heavy_tail(candidates.len() as u64) as usize;
            let chosen = chance.sample(candidates, size);
            all.extend(changes(fleet, application, deed, &chosen, chance));
        }
    }
    all
}

fn act_on_organization(fleet: &Fleet, deed: Deed, chance: &mut Chance) -> Vec<RowChange> {
    let Some(organization) = chance.pick(fleet.organizations()).map(|it| it.id) else {
        return Vec::new();
    };
    let mut all = Vec::new();
    for application in fleet.applications() {
        if application.organization == organization {
            let chosen = candidates(fleet, application, deed);
            all.extend(changes(fleet, application, deed, &chosen, chance));
        }
    }
    all
}

fn candidates(fleet: &Fleet, application: &Application, deed: Deed) -> Vec<i64> {
    let devices = application.devices.iter().filter_map(|id| fleet.device(*id));
    let suits = |device: &&Device| match deed {
        Deed::Pin => device.pinned.is_none() && fleet.runs_an_existing_release(device),
        Deed::Unpin | Deed::Repin => device.pinned.is_some(),
    };
    devices.filter(suits).map(|device| device.id).collect()
}

fn changes(
    fleet: &Fleet,
    application: &Application,
    deed: Deed,
    devices: &[i64],
    chance: &mut Chance,
) -> Vec<RowChange> {
    // Most pins keep a device where it is; some send it to one release of the application.
    let keep = chance.happens(0.6);
    let chosen = application.target.filter(|_| chance.happens(0.5));
    let chosen = chosen.or_else(|| chance.pick(&application.releases).copied());
    let release = |device: &Device| match deed {
        Deed::Unpin => None,
        Deed::Pin if keep => device.running,
        Deed::Pin | Deed::Repin => chosen,
    };
    let rows = devices.iter().filter_map(|id| fleet.device(*id));
    rows.map(|device| RowChange::Pin { device: device.id, release: release(device) })
        .filter(|change| match change {
            RowChange::Pin { device, release } => {
                fleet.device(*device).is_some_and(|row| row.pinned != *release)
            }
            _ => true,
        })
        .collect()
}
