//! How long `backtest` takes over a quarter: 22 signals at 15 s over 90 days, 11.4 million values,
//! read from CSV and replayed. By default a tenth of it, held against a tenth of the bounds.
//!
//! The recording is made up from a seed: a fleet of 100,000 devices with a daily life and acts of
//! its owners, the metrics of the services around it, and signals of the user's. Every fifth day
//! the whole fleet loses its pins and has them back an hour later, every second day a user's signal
//! is away for two hours. The incidents that are found are printed: a replay without them would
//! measure little.

mod common;

use std::{f64::consts::TAU, fs::File, io::BufWriter, path::Path, time::Instant};

use anyhow::Result;
use common::{
    command_line::Options,
    noise::{DAY_SLOTS, Noise, Source},
    statistics::{Bound, Figure},
    watch::time,
};
use headwater::{
    backtest,
    recording::{Recording, Writer},
};

/// Days of the whole recording.
const DAYS: u64 = 90;

/// The bounds for all of it, in seconds.
const FLOOR_S: f64 = 20.0;
const GOAL_S: f64 = 5.0;

/// The fleet.
const DEVICES: f64 = 100_000.0;
const PINNED: f64 = 16_000.0;
const ORGANIZATIONS: f64 = 200.0;

/// Days from one loss of all pins to the next, and slots until they are back.
const LOSS_DAYS: u64 = 5;
const LOSS_SLOTS: u64 = 240;

/// Days from one excursion of a user's signal to the next, and its slots.
const EXCURSION_DAYS: u64 = 2;
const EXCURSION_SLOTS: u64 = 480;

/// The slot of the day at which incidents begin.
const INCIDENT_SLOT: u64 = 3_333;

/// The signals of the recording.
const COLUMNS: [&str; 22] = [
    "devices",
    "applications",
    "organizations",
    "devices_online",
    "devices_vpn_connected",
    "devices_heartbeat_online",
    "devices_pinned",
    "devices_pinned_to_running",
    "pending_updates",
    "updates_in_progress",
    "pins_added",
    "pins_removed",
    "organizations_pins_added",
    "organizations_pins_removed",
    "delta_requests_total",
    "delta_queue",
    "delta_seconds_p95",
    "egress_bytes_total",
    "api_requests_total",
    "checkout_seconds_p95",
    "error_share",
    "queue_depth",
];

fn main() -> Result<()> {
    let options = Options::read();
    let days = options.runs(DAYS / 10, DAYS);
    let scratch = tempfile::tempdir()?;
    let path = scratch.path().join("recording.csv");
    write(&path, options.seed, days)?;
    let megabytes = std::fs::metadata(&path)?.len() as f64 / 1e6;
    let values = days * DAY_SLOTS * COLUMNS.len() as u64;
    println!("{days} days, {values} values, {megabytes:.0} MB of CSV, seed {}", options.seed);

    let begun = Instant::now();
    let recording = Recording::read(&path)?;
    let read_s = begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    let settings = backtest::settings(None, backtest::interval_s(&recording));
    let outcomes = backtest::replay(settings, None, &recording, None)?;
    let replay_s = begun.elapsed().as_secs_f64();

    let total = Figure { value: read_s + replay_s, error: 0.0 };
    let share = days as f64 / DAYS as f64;
    let bound = |bound: f64| Bound::Most(bound * share).judge(total);
    println!("read {read_s:.2} s, replay {replay_s:.2} s, both {:.2} s", total.value);
    println!("floor, in seconds: {}; goal: {}", bound(FLOOR_S), bound(GOAL_S));
    let summary = outcomes.summary;
    println!(
        "{} changes, {} incidents, {} pages, {} warnings",
        outcomes.changes.len(),
        summary.incidents,
        summary.pages,
        summary.warnings
    );
    Ok(())
}

fn write(path: &Path, seed: u64, days: u64) -> Result<()> {
    let columns = COLUMNS.map(str::to_owned);
    let mut output = Writer::new(&columns, BufWriter::new(File::create(path)?))?;
    let mut platform = Platform::new(seed);
    for slot in 0..days * DAY_SLOTS {
        output.row(time(slot), platform.sample(slot).into_iter().map(Some))?;
    }
    output.finish()
}

/// The platform whose signals are recorded.
struct Platform {
    counts: Source,
    acts: Source,
    slow: Source,
    fast: Source,
    pinned: f64,
    /// Cumulative counters.
    delta_requests: f64,
    egress_bytes: f64,
    api_requests: f64,
}

impl Platform {
    fn new(seed: u64) -> Platform {
        Platform {
            counts: Source::new(Noise::Poisson(20.0), seed),
            acts: Source::new(Noise::Poisson(0.1), seed),
            slow: Source::new(Noise::Autoregressive(0.9), seed),
            fast: Source::new(Noise::Normal, seed),
            pinned: PINNED,
            delta_requests: 0.0,
            egress_bytes: 0.0,
            api_requests: 0.0,
        }
    }

    /// Values of all columns, in their order.
    fn sample(&mut self, slot: u64) -> [f64; COLUMNS.len()] {
        let day_share = (slot % DAY_SLOTS) as f64 / DAY_SLOTS as f64;
        let season = (TAU * day_share).sin();
        let [count, more] = [next(&mut self.counts), next(&mut self.counts)];
        let [slow, fast, noise] =
            [next(&mut self.slow), next(&mut self.fast), next(&mut self.fast)];
        let [added, owners_added, removed, owners_removed] = self.act(slot);
        let online = (80_000.0 + 2_000.0 * season + 20.0 * slow).round();
        let pending = if is_away(slot, LOSS_DAYS, LOSS_SLOTS) { 13_000.0 } else { 400.0 } + more;
        self.delta_requests += (count * (1.0 + 0.3 * season)).round();
        self.egress_bytes += (1e8 * (1.0 + 0.3 * season) + 1e6 * slow).round();
        self.api_requests += (9_000.0 * (1.0 + 0.2 * season) + 95.0 * fast).round();
        let away = is_away(slot + DAY_SLOTS, EXCURSION_DAYS, EXCURSION_SLOTS);
        let excursion = if away { 12.0 } else { 0.0 };
        [
            DEVICES,
            1_500.0,
            ORGANIZATIONS,
            online,
            online - more,
            online + count,
            self.pinned,
            (self.pinned * 0.9).round(),
            pending,
            count,
            added,
            removed,
            owners_added,
            owners_removed,
            self.delta_requests,
            (count / 4.0).round(),
            30.0 + slow,
            self.egress_bytes,
            self.api_requests,
            round(0.25 + 0.01 * (slow + excursion)),
            round(0.02 + 0.001 * (fast + noise)),
            (40.0 + more + excursion).round(),
        ]
    }

    /// Pins added and removed at this sample, each with the owners that took part.
    fn act(&mut self, slot: u64) -> [f64; 4] {
        let (now, before) = (
            is_away(slot, LOSS_DAYS, LOSS_SLOTS),
            slot > 0 && is_away(slot - 1, LOSS_DAYS, LOSS_SLOTS),
        );
        let devices = next(&mut self.acts);
        match (before, now) {
            (false, true) => {
                let lost = std::mem::replace(&mut self.pinned, 0.0);
                [0.0, 0.0, lost, ORGANIZATIONS]
            }
            (true, false) => {
                self.pinned = PINNED;
                [PINNED, ORGANIZATIONS, 0.0, 0.0]
            }
            (true, true) => [0.0; 4],
            (false, false) if devices == 0.0 => [0.0; 4],
            // Owners pin and unpin in turn, so that the level stays where it is.
            (false, false) if self.pinned < PINNED => {
                self.pinned += devices;
                [devices, 1.0, 0.0, 0.0]
            }
            (false, false) => {
                self.pinned -= devices;
                [0.0, 0.0, devices, 1.0]
            }
        }
    }
}

/// Something that begins every so many days, the second of them first, is under way.
fn is_away(slot: u64, every_days: u64, slots: u64) -> bool {
    let period = every_days * DAY_SLOTS;
    let begin = DAY_SLOTS + INCIDENT_SLOT;
    (begin..begin + slots).contains(&(slot % period))
}

fn next(source: &mut Source) -> f64 {
    source.sample(0.0).unwrap_or_default()
}

/// As exporters round.
fn round(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}
