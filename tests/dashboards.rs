//! The shipped dashboards: rules that a linter would check, with the linter itself tested, and
//! every expression, together with the alerting rules, on a real Prometheus: no panel may be empty.

use std::{
    collections::BTreeSet,
    fs,
    net::Ipv4Addr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{Router, extract::State, http::header, routing};
use headwater::{incident::Cause, series};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};

use crate::{
    servers::{
        process::{get_json, wait_for},
        prometheus::Prometheus,
    },
    tidy::{exported_metrics, metrics_named_in},
};

/// Grafana's grid.
const COLUMNS: u64 = 24;

/// Grafana's bound; the uid becomes part of the address.
const UID_LENGTH_MAX: usize = 40;

/// Variables that Grafana itself provides.
const PROVIDED_VARIABLES: &[&str] = &["__all", "__rate_interval"];

fn under_grafana(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("grafana").join(path)
}

fn files_of(path: &str, extension: &str) -> Vec<(String, String)> {
    let entries = fs::read_dir(under_grafana(path)).expect("the folder is there");
    let paths = entries.map(|entry| entry.expect("the folder can be read").path());
    let wanted = paths.filter(|path| path.extension().is_some_and(|found| found == extension));
    let mut files: Vec<_> = wanted
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a text file");
            (path.file_name().expect("a file").to_string_lossy().into_owned(), text)
        })
        .collect();
    files.sort();
    assert!(!files.is_empty(), "nothing in {path}");
    files
}

fn dashboards() -> Vec<(String, Value)> {
    let files = files_of("dashboards", "json");
    let parsed = files.into_iter().map(|(name, text)| {
        let dashboard = serde_json::from_str(&text);
        (name.clone(), dashboard.unwrap_or_else(|error| panic!("{name}: {error}")))
    });
    parsed.collect()
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Panels that show data: rows are headings.
fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    list(dashboard, "/panels").iter().filter(|panel| panel["type"] != "row")
}

/// Every expression of a dashboard: those of its panels and of its annotations.
fn expressions(dashboard: &Value) -> Vec<&str> {
    let targets = panels(dashboard).flat_map(|panel| list(panel, "/targets"));
    let annotations = list(dashboard, "/annotations/list");
    targets.chain(annotations).map(|target| text(target, "/expr")).collect()
}

/// Everything that is wrong with a dashboard, a sentence each.
fn lint(dashboard: &Value) -> Vec<String> {
    let mut findings = Vec::new();
    lint_whole(dashboard, &mut findings);
    lint_grid(dashboard, &mut findings);
    for panel in panels(dashboard) {
        lint_panel(panel, &mut findings);
    }
    lint_names(dashboard, &mut findings);
    findings
}

fn lint_whole(dashboard: &Value, findings: &mut Vec<String>) {
    let uid = text(dashboard, "/uid");
    if !uid.starts_with("headwater-") || uid.len() > UID_LENGTH_MAX {
        findings.push(format!("uid {uid:?} is not headwater-… of at most {UID_LENGTH_MAX} bytes"));
    }
    if !dashboard["id"].is_null() {
        findings.push("id belongs to one installation: it must be null".to_owned());
    }
    if dashboard["editable"] != false {
        findings.push("editable must be false".to_owned());
    }
    if !list(dashboard, "/tags").contains(&json!("headwater")) {
        findings.push("tag headwater is missing".to_owned());
    }
    for key in ["title", "description"] {
        if text(dashboard, &format!("/{key}")).is_empty() {
            findings.push(format!("{key} of the dashboard is missing"));
        }
    }
    let sources = list(dashboard, "/templating/list")
        .iter()
        .filter(|variable| variable["type"] == "datasource" && variable["query"] == "prometheus");
    if sources.count() != 1 {
        findings.push("there must be exactly one data source variable".to_owned());
    }
    for annotation in list(dashboard, "/annotations/list") {
        if annotation["useValueForTime"] != true {
            let name = &annotation["name"];
            findings.push(format!("annotation {name} marks every scrape without useValueForTime"));
        }
    }
}

fn lint_grid(dashboard: &Value, findings: &mut Vec<String>) {
    let mut ids = BTreeSet::new();
    let mut taken: BTreeSet<(u64, u64)> = BTreeSet::new();
    for panel in list(dashboard, "/panels") {
        let title = &panel["title"];
        if !ids.insert(panel["id"].as_u64()) || panel["id"].as_u64().is_none() {
            findings.push(format!("id of panel {title} is missing or taken"));
        }
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap_or_default();
        let (x, y, width, height) = (at("x"), at("y"), at("w"), at("h"));
        if width == 0 || height == 0 || x + width > COLUMNS {
            findings.push(format!("panel {title} does not fit into {COLUMNS} columns"));
        }
        let cells = (x..x + width).flat_map(|column| (y..y + height).map(move |row| (column, row)));
        let overlapping = cells.filter(|cell| !taken.insert(*cell)).count();
        if overlapping > 0 {
            findings.push(format!("panel {title} overlaps another"));
        }
    }
}

fn lint_panel(panel: &Value, findings: &mut Vec<String>) {
    let title = &panel["title"];
    for (what, found) in [
        ("title", text(panel, "/title")),
        ("description", text(panel, "/description")),
        ("unit", text(panel, "/fieldConfig/defaults/unit")),
    ] {
        if found.is_empty() {
            findings.push(format!("panel {title} has no {what}"));
        }
    }
    let targets = list(panel, "/targets");
    if targets.is_empty() {
        findings.push(format!("panel {title} shows nothing"));
    }
    for part in targets.iter().chain([panel]) {
        if text(part, "/datasource/uid") != "${datasource}" {
            findings.push(format!("panel {title} does not use ${{datasource}}"));
        }
    }
    for target in targets {
        let expression = text(target, "/expr");
        for metric in metrics_named_in(expression) {
            let after = expression.split(metric.as_str()).nth(1).unwrap_or_default();
            let selector = after.split('}').next().unwrap_or_default();
            if !selector.contains("job=~\"$job\", instance=~\"$instance\"") {
                findings.push(format!("panel {title}: {metric} is not of $job and $instance"));
            }
            let rate = format!("rate({metric}");
            if metric.ends_with("_total") && !expression.contains(&rate) {
                findings.push(format!("panel {title}: the counter {metric} has no rate"));
            }
        }
        if expression.contains("rate(") && !expression.contains("[$__rate_interval]") {
            findings.push(format!("panel {title}: a rate is not over $__rate_interval"));
        }
    }
}

/// Variables, metrics and signals that do not exist.
fn lint_names(dashboard: &Value, findings: &mut Vec<String>) {
    let variables = list(dashboard, "/templating/list");
    let mut declared: BTreeSet<&str> = PROVIDED_VARIABLES.iter().copied().collect();
    declared.extend(variables.iter().map(|variable| text(variable, "/name")));
    let whole = dashboard.to_string();
    for found in whole.split('$').skip(1) {
        let found = found.trim_start_matches('{');
        let end = found.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
        let name = &found[..end.unwrap_or(found.len())];
        if !declared.contains(name) {
            findings.push(format!("variable {name} is not declared"));
        }
    }
    let exported = exported_metrics();
    for metric in metrics_named_in(&whole) {
        if !exported.contains(&metric) {
            findings.push(format!("metric {metric} does not exist"));
        }
    }
    for expression in expressions(dashboard) {
        for after in expression.split("signal=").skip(1) {
            let names = after.trim_start_matches('~').trim_start_matches('"');
            let names = names.split('"').next().unwrap_or_default();
            for name in names.split('|') {
                if !series::BUILT_IN.iter().any(|signal| signal.name == name) {
                    findings.push(format!("signal {name} does not exist"));
                }
            }
        }
    }
}

#[test]
fn the_dashboards_are_clean() {
    let mut uids = BTreeSet::new();
    for (name, dashboard) in dashboards() {
        assert_eq!(lint(&dashboard), Vec::<String>::new(), "{name}");
        assert!(uids.insert(dashboard["uid"].to_string()), "{name}: its uid is taken");
    }
}

#[test]
fn the_linter_finds_what_it_should() {
    type Fault = fn(&mut Value);
    let faults: &[(&str, Fault)] = &[
        ("uid", |dashboard| dashboard["uid"] = json!("nHz3SXiiz")),
        ("id belongs to one installation", |dashboard| dashboard["id"] = json!(7)),
        ("editable", |dashboard| dashboard["editable"] = json!(true)),
        ("tag headwater", |dashboard| dashboard["tags"] = json!([])),
        ("description of the dashboard", |dashboard| dashboard["description"] = json!("")),
        ("exactly one data source", |dashboard| dashboard["templating"]["list"][0] = json!({})),
        ("useValueForTime", |dashboard| {
            dashboard["annotations"]["list"][0]["useValueForTime"] = json!(false);
        }),
        ("is missing or taken", |dashboard| {
            dashboard["panels"][2]["id"] = dashboard["panels"][1]["id"].clone();
        }),
        ("does not fit", |dashboard| dashboard["panels"][1]["gridPos"]["x"] = json!(20)),
        ("overlaps", |dashboard| dashboard["panels"][1]["gridPos"]["w"] = json!(9)),
        ("has no description", |dashboard| dashboard["panels"][1]["description"] = json!("")),
        ("has no unit", |dashboard| {
            dashboard["panels"][1]["fieldConfig"]["defaults"]["unit"] = Value::Null;
        }),
        ("shows nothing", |dashboard| dashboard["panels"][1]["targets"] = json!([])),
        ("does not use ${datasource}", |dashboard| {
            dashboard["panels"][1]["targets"][0]["datasource"]["uid"] = json!("PBFA97CFB590B2093");
        }),
        ("variable fleet is not declared", |dashboard| {
            dashboard["panels"][1]["title"] = json!("Devices of $fleet");
        }),
        ("is not of $job and $instance", |dashboard| {
            dashboard["panels"][1]["targets"][0]["expr"] = json!("headwater_source_up");
        }),
        ("has no rate", |dashboard| {
            dashboard["panels"][1]["targets"][0]["expr"] = json!("headwater_incidents_total");
        }),
        ("not over $__rate_interval", |dashboard| {
            dashboard["panels"][1]["targets"][0]["expr"] =
                json!("rate(headwater_incidents_total[5m])");
        }),
        ("metric headwater_up does not exist", |dashboard| {
            dashboard["panels"][1]["targets"][0]["expr"] = json!("headwater_up");
        }),
        ("signal pinned does not exist", |dashboard| {
            dashboard["panels"][1]["targets"][0]["expr"] =
                json!("headwater_signal_value{signal=~\"devices|pinned\"}");
        }),
    ];
    let (_, dashboard) = dashboards().remove(0);
    for (finding, inject) in faults {
        let mut faulty = dashboard.clone();
        inject(&mut faulty);
        let findings = lint(&faulty);
        assert!(findings.iter().any(|found| found.contains(finding)), "{finding}: {findings:?}");
    }
}

#[test]
fn the_provisioning_files_are_of_version_1() {
    for (folder, key) in [("datasources", "datasources"), ("dashboards", "providers")] {
        for (name, text) in files_of(&format!("provisioning/{folder}"), "yml") {
            let parsed: Value = serde_saphyr::from_str(&text).expect("YAML");
            assert_eq!(parsed["apiVersion"], 1, "{name}");
            assert_eq!(list(&parsed, &format!("/{key}")).len(), 1, "{name}");
        }
    }
}

/// An exposition in which something is wrong everywhere, so that no panel has a reason to be empty.
/// Counters grow with every scrape.
fn exposition(scrapes: u64) -> String {
    let mut lines = Vec::new();
    for signal in series::BUILT_IN {
        for family in ["value", "expected", "expected_low", "expected_high", "score", "unexplained"]
        {
            lines.push(format!("headwater_signal_{family}{{signal=\"{}\"}} 5", signal.name));
        }
    }
    for cause in Cause::ALL {
        for (severity, scope) in cause.label_sets() {
            let labels =
                format!("cause=\"{cause}\",severity=\"{severity}\",scope=\"{}\"", scope.label());
            lines.push(format!("headwater_incident_open{{{labels}}} 1"));
            let onset = "headwater_incident_onset_timestamp_seconds";
            lines.push(format!("{onset}{{{labels}}} 1569276840"));
        }
    }
    let source = "source=\"fleet\"";
    lines.extend([
        format!("headwater_source_up{{{source}}} 1"),
        format!("headwater_sample_interval_seconds{{{source}}} 15"),
        format!("headwater_sample_last_success_timestamp_seconds{{{source}}} 1569276840"),
        format!("headwater_sample_failures_total{{{source},reason=\"timeout\"}} {scrapes}"),
        format!("headwater_sample_duration_seconds_bucket{{{source},le=\"0.1\"}} {scrapes}"),
        format!("headwater_sample_duration_seconds_bucket{{{source},le=\"+Inf\"}} {scrapes}"),
        format!(
            "headwater_notifications_total{{notifier=\"alertmanager\",outcome=\"sent\"}} {scrapes}"
        ),
        "headwater_notifications_pending 1".to_owned(),
        format!("headwater_store_failures_total {scrapes}"),
        "headwater_pipeline_lag_seconds 0.1".to_owned(),
        "headwater_build_info{version=\"test\"} 1".to_owned(),
    ]);
    lines.join("\n") + "\n"
}

#[tokio::test]
async fn prometheus_answers_every_expression_and_takes_every_rule() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let address = listener.local_addr().expect("a bound listener has an address");
    let scrapes = Arc::new(AtomicU64::new(0));
    let metrics = async |State(scrapes): State<Arc<AtomicU64>>| {
        let text = exposition(scrapes.fetch_add(1, Ordering::Relaxed));
        ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
    };
    let router = Router::new().route("/metrics", routing::get(metrics)).with_state(scrapes);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, router).await.expect("the server runs") });

    let rules = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("alerts/headwater.rules.yml");
    let rules = fs::read_to_string(rules).expect("the rules are there");
    let configuration = format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
         rule_files: [headwater.rules.yml]\n\
         scrape_configs:\n\
         - {{job_name: headwater, static_configs: [{{targets: ['{address}']}}]}}\n"
    );
    let started = Prometheus::start(&configuration, &[("headwater.rules.yml", &rules)]).await;
    let Some(prometheus) = started else { return };
    for (name, dashboard) in dashboards() {
        for expression in expressions(&dashboard) {
            let expression = expression
                .replace("$job", "headwater")
                .replace("$instance", ".+")
                .replace("$__rate_interval", "10s");
            let what = format!("{name}: {expression}");
            wait_for(&what, async || prometheus.query(&expression).await.pop()).await;
        }
    }
    let evaluated = async || {
        let answer = get_json(&prometheus.url("api/v1/rules")).await;
        let groups = list(&answer, "/data/groups").to_vec();
        let rules: Vec<Value> =
            groups.iter().flat_map(|group| list(group, "/rules")).cloned().collect();
        rules.iter().all(|rule| rule["health"] != "unknown").then_some(rules)
    };
    let rules = wait_for("every rule is evaluated", evaluated).await;
    assert!(rules.len() >= 6, "{rules:?}");
    for rule in rules {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
}
