//! The acceptance test: the incident of 2019 on a whole platform of real parts. A fleet that lives
//! in PostgreSQL, its delta service in Prometheus, Alertmanager with a pager, and `headwater run`
//! as it is shipped. Ordinarily on a small fleet that lives fast; with `HEADWATER_LONG=1` (what
//! `tests/run --long` sets) on 100,000 devices in real time, with what the daemon costs when idle.

use chrono::TimeDelta;
use headwater::{
    series::Time,
    simulate::{Settings, acts::Act},
};
use serde_json::Value;

mod daemon;
mod surroundings;

use daemon::Daemon;
use surroundings::{Role, Surroundings, now};

/// Of the migration in the story.
const MIGRATION_KEY: &str = "0109-pin-devices";

/// Sampling intervals from the first batch's commit to the page of a mass pin, at most.
const PIN_DELAY_MAX: f64 = 4.0;

/// From the commit of an operator's statement to the page of a mass unpin, at most.
const UNPIN_DELAY_MAX: f64 = 2.0;

/// Resident memory of the daemon at the end, in MiB, at most.
const MEMORY_MIB_MAX: f64 = 64.0;

/// At an interval of 15 s the daemon takes less than this share of a processor core.
const IDLE_CPU_MAX: f64 = 0.02;

/// How long that is measured.
const IDLE_S: u32 = 120;

/// How large and how long.
struct Scale {
    settings: Settings,
    /// Simulated seconds in a real one.
    speed: f64,
    interval_s: u32,
    warm_up_samples: u32,
    devices_a_batch: u64,
    /// The delta queue must have risen by this much.
    queue_rise: u64,
    is_long: bool,
}

impl Scale {
    fn of_this_run() -> Scale {
        let seed = 20_190_923;
        if std::env::var_os("HEADWATER_LONG").is_some_and(|value| value != "0") {
            return Scale {
                settings: Settings::new(seed, 100_000, 1_500, 200),
                speed: 1.0,
                interval_s: 2,
                warm_up_samples: 45,
                devices_a_batch: 5_000,
                queue_rise: 300,
                is_long: true,
            };
        }
        Scale {
            settings: Settings::new(seed, 20_000, 400, 60),
            speed: 10.0,
            interval_s: 1,
            warm_up_samples: 25,
            devices_a_batch: 5_000,
            queue_rise: 60,
            is_long: false,
        }
    }

    fn intervals(&self, from: Time, to: Time) -> f64 {
        (to - from).as_seconds_f64() / f64::from(self.interval_s)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_causes_of_the_incident_are_paged_with_their_writers() {
    let scale = Scale::of_this_run();
    let Some(mut around) = Surroundings::start(scale.settings.clone(), scale.speed).await else {
        return;
    };
    let daemon = Daemon::start(&around, scale.interval_s).await;
    daemon.samples_after(&mut around, now(), scale.warm_up_samples, scale.interval_s).await;
    let told: Vec<Value> = around.posts.first_alerts().into_iter().map(|(_, one)| one).collect();
    assert!(told.is_empty(), "an ordinary evening: {told:#?}\n{}", daemon.log());

    an_owner_unpins_an_application(&scale, &mut around, &daemon).await;
    let id = a_migration_pins_everything(&scale, &mut around, &daemon).await;
    an_operator_unpins_everything(&scale, &mut around, &daemon, &id).await;
    the_delta_queue_is_a_symptom(&scale, &mut around, &daemon, &id).await;

    let (resident, peak) = daemon.memory_mib();
    println!("memory of the daemon: {resident:.1} MiB resident, {peak:.1} MiB at its peak");
    println!("processor time of the daemon over the run: {:.2} s", daemon.cpu_s());
    println!("log of the daemon:\n{}", daemon.log());
    assert!(resident < MEMORY_MIB_MAX, "{resident:.1} MiB resident");
    daemon.terminate();
    if scale.is_long {
        an_idle_daemon_costs_little(&mut around).await;
    }
    around.close().await;
}

/// Lawful, however many devices it is: nobody is told.
async fn an_owner_unpins_an_application(scale: &Scale, around: &mut Surroundings, daemon: &Daemon) {
    let fleet = around.life.fleet();
    let is_pinned = |id: &i64| fleet.device(*id).is_some_and(|device| device.pinned.is_some());
    let pins = |one: &headwater::simulate::fleet::Application| {
        one.devices.iter().filter(|id| is_pinned(id)).count()
    };
    let largest = fleet.applications().iter().max_by_key(|one| pins(one));
    let application = largest.expect("a fleet has applications").id;
    let (rows, committed) = around.act(Role::Api, &Act::UnpinApplication { application }).await;
    println!("one application's owner unpinned {rows} devices");
    daemon.samples_after(around, committed, 3, scale.interval_s).await;
    let told: Vec<Value> = around.posts.first_alerts().into_iter().map(|(_, one)| one).collect();
    assert!(told.is_empty(), "an owner's own act: {told:#?}");
    for incident in daemon.incidents().await {
        assert_eq!(incident["severity"], "info", "{incident:#}");
        println!("recorded: {}", incident["summary"]);
    }
}

/// The migration pins every device to what it runs, batch by batch. Returns the incident's id.
async fn a_migration_pins_everything(
    scale: &Scale,
    around: &mut Surroundings,
    daemon: &Daemon,
) -> String {
    let key = MIGRATION_KEY.to_owned();
    around.act(Role::Migrator, &Act::MigrationStarts { key: key.clone() }).await;
    let batch = Act::MigrationBatch { key, devices: scale.devices_a_batch };
    let (mut rows, first_committed) = around.act(Role::Migrator, &batch).await;
    assert_eq!(rows, scale.devices_a_batch);
    // The last run finds nothing left, and the migration backs off.
    while rows > 0 {
        around.tick().await;
        rows = around.act(Role::Migrator, &batch).await.0;
    }
    let page = async |around: &Surroundings| around.posts.first_alert("mass_pin");
    let (arrived, alert) = around.live_until("the page of the mass pin", 30, page).await;
    show(scale, "mass_pin", first_committed, arrived, &alert);
    assert_labels(&alert, "MassPin", "mass_pin");
    let text = text_of(&alert);
    assert!(text.contains(MIGRATION_KEY), "the migration is named: {text}");
    assert!(text.contains("role migrator"), "the role is named: {text}");
    assert_in_time(scale, daemon, "mass_pin", first_committed, (arrived, &alert)).await;
    let (pinned, devices) = (around.count("devices_pinned"), around.count("devices"));
    println!("{pinned} of {devices} devices are pinned");
    daemon.samples_after(around, now(), 2, scale.interval_s).await;
    assert_eq!(around.posts.paged(), ["mass_pin"]);
    label(&alert, "incident").to_owned()
}

/// An operator's rollback clears every pin, by hand.
async fn an_operator_unpins_everything(
    scale: &Scale,
    around: &mut Surroundings,
    daemon: &Daemon,
    id: &str,
) {
    let (rows, committed) = around.act(Role::Ops, &Act::UnpinEverything).await;
    let page = async |around: &Surroundings| around.posts.first_alert("mass_unpin");
    let (arrived, alert) = around.live_until("the page of the mass unpin", 30, page).await;
    show(scale, "mass_unpin", committed, arrived, &alert);
    assert_labels(&alert, "MassUnpin", "mass_unpin");
    assert_eq!(label(&alert, "incident"), id, "one incident with two causes");
    let text = text_of(&alert);
    for part in [
        "role ops",
        "UPDATE \"device\" SET \"is pinned on-release\" = ",
        &format!("{} rows", grouped(rows)),
        "no migration was running",
        "the last sample before mass_pin, which came first",
    ] {
        assert!(text.contains(part), "{part} is named: {text}");
    }
    assert_in_time(scale, daemon, "mass_unpin", committed, (arrived, &alert)).await;
}

/// What follows brings no further page: it stands in the incident.
async fn the_delta_queue_is_a_symptom(
    scale: &Scale,
    around: &mut Surroundings,
    daemon: &Daemon,
    id: &str,
) {
    let before = around.count("delta_queue");
    let symptom = async |around: &Surroundings| {
        let has_risen = around.count("delta_queue") >= before + scale.queue_rise;
        let incident = daemon.incident(id).await;
        let symptoms = incident["symptoms"].as_array().expect("a list of symptoms");
        let found = symptoms.iter().find(|one| one["signal"] == "delta_queue").cloned();
        found.filter(|_| has_risen)
    };
    let symptom = around.live_until("delta_queue as a symptom", 300, symptom).await;
    daemon.samples_after(around, now(), 5, scale.interval_s).await;
    // A connection's table counters come later than its page, and are still added to its evidence.
    let counted = async |_: &Surroundings| {
        let incident = daemon.incident(id).await;
        let mut evidence = incident["evidence"].as_array().expect("a list of facts").iter();
        let last = evidence.rfind(|fact| fact["kind"] == "table").expect("the table is read");
        last["text"].as_str().is_some_and(|text| text.contains("written in all")).then_some(())
    };
    around.live_until("the table's counters", 60, counted).await;
    println!("delta queue: {} after {before}: {symptom:#}", around.count("delta_queue"));
    assert!(symptom["explained"].as_f64().is_some_and(|share| share > 0.0), "{symptom:#}");

    let told = around.posts.first_alerts();
    let told: Vec<&str> = told.iter().map(|(_, alert)| label(alert, "cause")).collect();
    assert_eq!(told, ["mass_pin", "mass_unpin"], "{}", daemon.log());
    assert_eq!(around.posts.paged(), ["mass_pin", "mass_unpin"]);
    assert_eq!(around.alertmanager.alerts().await.len(), 2);
    let incident = daemon.incident(id).await;
    println!("the incident in full: {incident:#}");
    let timeline = incident["timeline"].to_string();
    assert!(!timeline.contains("on their way back"), "nobody has repaired anything: {timeline}");
    let causes = incident["causes"].as_array().expect("a list of causes");
    let causes: Vec<&Value> = causes.iter().map(|record| &record["cause"]).collect();
    assert_eq!(causes, ["mass_pin", "mass_unpin"]);
    let notifications = incident["notifications"].as_array().map(Vec::len);
    assert_eq!(notifications, Some(2), "two causes, two pages");
}

/// The daemon at its ordinary interval on a fleet that lives on.
async fn an_idle_daemon_costs_little(around: &mut Surroundings) {
    let interval_s = 15;
    let daemon = Daemon::start(around, interval_s).await;
    daemon.samples_after(around, now(), 1, interval_s).await;
    let (begun, used) = (now(), daemon.cpu_s());
    daemon.samples_after(around, begun, IDLE_S / interval_s, interval_s).await;
    let share = (daemon.cpu_s() - used) / (now() - begun).as_seconds_f64();
    println!("idle: {:.2} % of a core, {:.1} MiB resident", share * 100.0, daemon.memory_mib().0);
    assert!(share < IDLE_CPU_MAX, "{:.2} % of a core", share * 100.0);
    daemon.terminate();
}

/// The daemon recognised the cause in time, by its own word, and where nothing else keeps the
/// machine busy the page arrived in time as well.
async fn assert_in_time(
    scale: &Scale,
    daemon: &Daemon,
    cause: &str,
    committed: Time,
    (arrived, alert): (Time, &Value),
) {
    let delay_max = if cause == "mass_pin" { PIN_DELAY_MAX } else { UNPIN_DELAY_MAX };
    let incident = daemon.incident(label(alert, "incident")).await;
    let causes = incident["causes"].as_array().expect("a list of causes");
    let record = causes.iter().find(|record| record["cause"] == cause).expect("it was paged");
    let detected = record["detected_at"].as_str().and_then(|text| text.parse::<Time>().ok());
    let delay = scale.intervals(committed, detected.expect("a time"));
    assert!(delay <= delay_max, "{cause}: detected after {delay:.2} intervals");
    if scale.is_long {
        let delay = scale.intervals(committed, arrived);
        assert!(delay <= delay_max, "{cause}: paged after {delay:.2} intervals");
    }
}

fn show(scale: &Scale, cause: &str, committed: Time, arrived: Time, alert: &Value) {
    let delay = scale.intervals(committed, arrived);
    println!("\n{cause}: the POST came {delay:.2} intervals after the commit");
    println!("labels: {}", alert["labels"]);
    println!("summary: {}", annotation(alert, "summary"));
    println!("description:\n{}", annotation(alert, "description"));
}

#[track_caller]
fn assert_labels(alert: &Value, name: &str, cause: &str) {
    let labels = alert["labels"].as_object().expect("an alert has labels");
    for (label, value) in [
        ("alertname", name),
        ("cause", cause),
        ("severity", "critical"),
        ("scope", "platform"),
        ("fleet", "test"),
        ("source", "headwater"),
        ("cluster", "eu"),
    ] {
        assert_eq!(labels[label], value, "label {label}");
    }
    assert_eq!(labels.len(), 8, "and the incident, nothing else: {labels:?}");
    let page = format!("http://headwater.example.org/incidents/{}", label(alert, "incident"));
    assert_eq!(alert["generatorURL"], page);
    assert_eq!(alert["annotations"]["incident_url"], page);
    let runbook = annotation(alert, "runbook_url");
    assert!(runbook.ends_with(&format!("#{cause}")), "{runbook}");
    for time in [&alert["annotations"]["onset"], &alert["startsAt"], &alert["endsAt"]] {
        assert!(time.as_str().is_some_and(|text| text.parse::<Time>().is_ok()), "{time}");
    }
    let detected: Time = alert["startsAt"].as_str().unwrap_or_default().parse().expect("a time");
    assert!(now() - detected < TimeDelta::minutes(5), "it starts at its detection: {detected}");
}

fn label<'a>(alert: &'a Value, name: &str) -> &'a str {
    alert["labels"][name].as_str().unwrap_or_default()
}

fn annotation<'a>(alert: &'a Value, name: &str) -> &'a str {
    alert["annotations"][name].as_str().unwrap_or_default()
}

fn text_of(alert: &Value) -> String {
    format!("{}\n{}", annotation(alert, "summary"), annotation(alert, "description"))
}

fn grouped(rows: u64) -> String {
    headwater::diagnose::texts::count(rows as i64)
}
