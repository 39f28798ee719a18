//! House rules, as tests: which module may know which, what pure modules must not mention, sizes,
//! and names that must agree between code, rules, dashboards and README. Each check is a function
//! from text to findings and is itself tested on a bad snippet.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Columns of a line of code.
const COLUMNS_MAX: usize = 100;

/// Lines of a file, tests within it included.
const FILE_LINES_MAX: usize = 600;

/// Lines of a function, from its `fn` to its closing brace.
const FUNCTION_LINES_MAX: usize = 70;

/// Longer than allowed for now: a file (or `file::function`) and its lines. Numbers may only fall,
/// and an entry that is no longer needed must go.
const RATCHET: &[(&str, usize)] = &[];

/// Modules that the pure core may know, by module. What is not listed here is shell and may know
/// anything but what stands above it.
const PURE_MODULES: &[(&str, &[&str])] = &[
    ("series", &["series"]),
    ("values", &["values"]),
    ("accounting", &["accounting", "series"]),
    ("fleet", &["fleet", "series"]),
    ("incident", &["incident", "series", "fleet"]),
    ("change_event", &["change_event", "incident", "series"]),
    ("observation", &["observation", "series", "values", "fleet", "accounting"]),
    ("budget", &["budget"]),
    ("detect", &["detect", "series", "incident", "fleet", "accounting"]),
    (
        "diagnose",
        &["diagnose", "series", "values", "incident", "change_event", "fleet", "accounting"],
    ),
    (
        "pipeline",
        &[
            "pipeline",
            "series",
            "values",
            "incident",
            "change_event",
            "observation",
            "fleet",
            "accounting",
            "budget",
            "detect",
            "diagnose",
        ],
    ),
];

/// What no other module may know: they stand at the top. `daemon` and `serve` are wired by
/// `daemon`, `demo` and `cli` alone; the commands take their options from `cli`.
const TOP_MODULES: &[&str] = &["daemon", "serve", "cli", "demo", "check", "backtest", "diagnosis"];

/// Who may know the top modules.
const WIRING_MODULES: &[&str] =
    &["daemon", "serve", "cli", "demo", "check", "backtest", "diagnosis", "main", "lib"];

/// Files of other modules that are pure too: the simulated fleet lives alike in tests and demo.
const PURE_FILES: &[&str] = &[
    "src/recording.rs",
    "src/simulate/acts.rs",
    "src/simulate/chance.rs",
    "src/simulate/customers.rs",
    "src/simulate/delta.rs",
    "src/simulate/fleet.rs",
    "src/simulate/generate.rs",
    "src/simulate/life.rs",
    "src/simulate/night.rs",
    "src/simulate/physics.rs",
];

/// What a pure module must not mention: it has no clock, no task, no socket, no log.
const IMPURE: &[&str] =
    &["tokio", "sqlx", "reqwest", "axum", "tracing", "SystemTime", "Instant", "Utc::now"];

/// What does not stay in a tree that lands.
const LEFTOVERS: &[&str] = &[concat!("FIX", "ME"), concat!("TO", "DO"), concat!("dbg", "!(")];

/// The metrics of the contract, for as long as `src/metrics.rs` names none itself.
const CONTRACT_METRICS: &[&str] = &[
    "headwater_signal_value",
    "headwater_signal_expected",
    "headwater_signal_expected_low",
    "headwater_signal_expected_high",
    "headwater_signal_score",
    "headwater_signal_unexplained",
    "headwater_incident_open",
    "headwater_incident_onset_timestamp_seconds",
    "headwater_incidents_total",
    "headwater_sample_duration_seconds",
    "headwater_sample_failures_total",
    "headwater_sample_irregularities_total",
    "headwater_sample_last_success_timestamp_seconds",
    "headwater_source_up",
    "headwater_notifications_total",
    "headwater_notifications_pending",
    "headwater_sample_interval_seconds",
    "headwater_store_failures_total",
    "headwater_pipeline_lag_seconds",
    "headwater_config_last_reload_successful",
    "headwater_leader",
    "headwater_build_info",
];

/// The keys of the configuration, as the contract has them. Those of what this version does not
/// have yet (PagerDuty, webhooks) join them with it.
const CONFIGURATION_KEYS: &[&str] = &[
    "fleet",
    "listen",
    "external_url",
    "interval",
    "store",
    "retention",
    "false_pages_per_month",
    "false_warnings_per_month",
    "labels",
    "runbook_url",
    "events_token",
    "sources",
    "type",
    "name",
    "url",
    "evidence_url",
    "signals",
    "drives",
    "direction",
    "min_change",
    "min_change_relative",
    "valid_min",
    "valid_max",
    "false_alarms_per_month",
    "notify",
    "alertmanager",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `folder` with one of these endings, by its path from the root.
fn files(folder: &str, extensions: &[&str]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the folder is there") {
            let path = entry.expect("the folder can be read").path();
            let extension = path.extension().and_then(|extension| extension.to_str());
            if path.is_dir() {
                folders.push(path);
            } else if extension.is_some_and(|extension| extensions.contains(&extension)) {
                let text = fs::read_to_string(&path).expect("a text file");
                let from_root = path.strip_prefix(root()).expect("it lies below the root");
                found.insert(from_root.to_string_lossy().into_owned(), text);
            }
        }
    }
    assert!(!found.is_empty(), "nothing in {folder}");
    found
}

/// The module of a file below `src`: its first folder, or its own name.
fn module_of(path: &str) -> &str {
    let below = path.strip_prefix("src/").unwrap_or(path);
    below.split('/').next().unwrap_or(below).trim_end_matches(".rs")
}

/// The lines of code with their numbers, without comments. Text within strings stays.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().filter_map(|(index, line)| {
        let code = match line.find("//") {
            // An address in a string is no comment.
            Some(at) if at == 0 || !line[..at].ends_with(':') => &line[..at],
            _ => line,
        };
        (!code.trim().is_empty()).then_some((index + 1, code))
    })
}

/// The modules of this crate that a file names: `use crate::{a::b, c}` and `crate::a::b` alike.
fn modules_named_in(text: &str) -> BTreeSet<String> {
    let code: String = code_lines(text).flat_map(|(_, line)| [line, "\n"]).collect();
    let mut modules = BTreeSet::new();
    for after in code.split("crate::").skip(1) {
        let Some(list) = after.strip_prefix('{') else {
            modules.insert(word(after).to_owned());
            continue;
        };
        // Within braces, a module stands at the beginning and after each comma of the first level.
        let mut depth = 0;
        let mut expected = true;
        for (at, letter) in list.char_indices() {
            match letter {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => expected = true,
                _ if expected && !letter.is_whitespace() => {
                    modules.insert(word(&list[at..]).to_owned());
                    expected = false;
                }
                _ => {}
            }
        }
    }
    modules
}

/// The identifier at the beginning of a text.
fn word(text: &str) -> &str {
    let end = text.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
    &text[..end.unwrap_or(text.len())]
}

fn allowed_modules(module: &str) -> Option<&'static [&'static str]> {
    PURE_MODULES.iter().find(|(name, _)| *name == module).map(|(_, allowed)| *allowed)
}

fn edge_findings(path: &str, text: &str) -> Vec<String> {
    let module = module_of(path);
    let is_of_tests = path.ends_with("/tests.rs") || path.contains("/tests/");
    let (code, tests) = match text.split_once("#[cfg(test)]\nmod tests {") {
        _ if is_of_tests => ("", text),
        Some((code, tests)) => (code, tests),
        None => (text, ""),
    };
    let forbidden = |other: &String, in_tests: bool| match allowed_modules(module) {
        // Tests of the core run it on the shipped preset.
        Some(_) if in_tests && other == "config" => false,
        Some(allowed) => !allowed.contains(&other.as_str()),
        None => TOP_MODULES.contains(&other.as_str()) && !WIRING_MODULES.contains(&module),
    };
    let found = [(code, false), (tests, true)].into_iter().flat_map(|(part, in_tests)| {
        let named = modules_named_in(part).into_iter();
        named.filter(move |other| forbidden(other, in_tests)).collect::<Vec<_>>()
    });
    found.map(|other| format!("{path}: {module} must not know {other}")).collect()
}

fn purity_findings(path: &str, text: &str) -> Vec<String> {
    if allowed_modules(module_of(path)).is_none() && !PURE_FILES.contains(&path) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (number, line) in code_lines(text) {
        let words = line.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
        let words: BTreeSet<&str> = words.collect();
        for impure in IMPURE {
            let mentioned =
                if impure.contains(':') { line.contains(impure) } else { words.contains(impure) };
            if mentioned {
                findings.push(format!("{path}:{number}: a pure module must not mention {impure}"));
            }
        }
    }
    findings
}

fn text_findings(path: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    if !text.starts_with("//!") {
        findings.push(format!("{path}: it does not begin with what it owns and what not"));
    }
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        // rustfmt wraps code alone: comments are ours to wrap.
        if is_wide(line) && (is_comment(line) || !in_literal(line)) {
            findings.push(format!("{path}:{number}: more than {COLUMNS_MAX} columns"));
        }
        for leftover in LEFTOVERS.iter().filter(|leftover| line.contains(**leftover)) {
            findings.push(format!("{path}:{number}: {leftover} is left over"));
        }
    }
    findings
}

fn is_wide(line: &str) -> bool {
    line.chars().count() > COLUMNS_MAX
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

/// A line with a string that cannot be broken (an address, a snapshot, a macro's arguments), which
/// rustfmt leaves alone too.
fn in_literal(line: &str) -> bool {
    let statement = line.ends_with(';') || line.ends_with('{');
    !statement || line.contains('"')
}

fn size_findings(path: &str, text: &str, ratchet: &[(&str, usize)]) -> Vec<String> {
    let mut sizes = vec![(path.to_owned(), text.lines().count(), FILE_LINES_MAX)];
    for (name, lines) in functions(text) {
        sizes.push((format!("{path}::{name}"), lines, FUNCTION_LINES_MAX));
    }
    let mut findings = Vec::new();
    for (what, lines, most) in sizes {
        let exempt = ratchet.iter().find(|(name, _)| *name == what).map(|(_, lines)| *lines);
        match exempt {
            None if lines > most => findings.push(format!("{what}: {lines} lines, above {most}")),
            Some(allowed) if lines > allowed => {
                findings.push(format!("{what}: {lines} lines, above its exemption of {allowed}"));
            }
            Some(_) if lines <= most => {
                findings.push(format!("{what}: its exemption is no longer needed"));
            }
            _ => {}
        }
    }
    findings
}

/// Functions with their number of lines, by indentation: rustfmt puts the closing brace below the
/// `fn`.
fn functions(text: &str) -> Vec<(&str, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let begun = line.trim_start();
        let indentation = line.len() - begun.len();
        let head = begun.split('(').next().unwrap_or_default();
        let Some((before, name)) = head.split_once("fn ") else { continue };
        let qualifiers = ["pub", "async", "const", "unsafe", "pub(crate)", "pub(super)", "pub("];
        if !before.split_whitespace().all(|word| qualifiers.contains(&word)) {
            continue;
        }
        // A declaration without a body ends with a semicolon, an empty body on its own line.
        let signature = lines[start..].iter().map(|line| line.trim_end());
        let head_end = signature.clone().find(|line| line.ends_with(['{', ';', '}']));
        if !head_end.is_some_and(|line| line.ends_with('{')) {
            continue;
        }
        let closing = format!("{}}}", &line[..indentation]);
        let end = signature.clone().position(|line| line == closing);
        found.push((word(name), end.map_or(1, |length| length + 1)));
    }
    found
}

/// Names of our metrics in a text, a histogram's parts as the histogram.
pub(crate) fn metrics_named_in(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, prefix) in text.match_indices("headwater_") {
        let before = text[..at].chars().next_back();
        if before.is_some_and(|letter| letter.is_alphanumeric() || "_-./".contains(letter)) {
            continue;
        }
        let name = word(&text[at..]);
        let name = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|part| name.strip_suffix(part))
            .unwrap_or(name);
        if name.len() > prefix.len() {
            names.insert(name.to_owned());
        }
    }
    names
}

/// The metrics that exist: those that `src/metrics.rs` registers.
pub(crate) fn exported_metrics() -> BTreeSet<String> {
    let source = fs::read_to_string(root().join("src/metrics.rs")).expect("the file is there");
    let registered = metrics_named_in(&source);
    if registered.is_empty() {
        return CONTRACT_METRICS.iter().map(|&name| name.to_owned()).collect();
    }
    registered
}

/// Runs one check over every file below `src` and `tests`.
#[track_caller]
fn check(folders: &[&str], findings_of: impl Fn(&str, &str) -> Vec<String>) {
    let mut findings = Vec::new();
    for folder in folders {
        for (path, text) in files(folder, &["rs"]) {
            findings.extend(findings_of(&path, &text));
        }
    }
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

#[test]
fn modules_know_only_what_they_may() {
    check(&["src"], edge_findings);
}

#[test]
fn the_core_is_pure() {
    check(&["src"], purity_findings);
}

#[test]
fn files_say_what_they_own_and_fit() {
    check(&["src", "tests"], text_findings);
}

#[test]
fn files_and_functions_are_short() {
    check(&["src"], |path, text| size_findings(path, text, RATCHET));
    for (what, _) in RATCHET {
        let path = what.split("::").next().unwrap_or(what);
        assert!(root().join(path).is_file(), "the exemption of {what} is of nothing");
    }
}

#[test]
fn rules_and_dashboards_name_only_metrics_that_exist() {
    let exported = exported_metrics();
    for folder in ["alerts", "grafana"] {
        for (path, text) in files(folder, &["yml", "json", "md"]) {
            for name in metrics_named_in(&text) {
                assert!(exported.contains(&name), "{path}: metric {name} does not exist");
            }
        }
    }
}

#[test]
fn the_contract_s_metrics_exist() {
    let exported = exported_metrics();
    for name in CONTRACT_METRICS {
        assert!(exported.contains(*name), "metric {name} of the contract is not registered");
    }
}

#[test]
fn every_cause_and_every_rule_has_its_runbook() {
    let rules = fs::read_to_string(root().join("alerts/headwater.rules.yml")).expect("the rules");
    let runbooks = fs::read_to_string(root().join("alerts/RUNBOOKS.md")).expect("the runbooks");
    let tests = files("alerts/tests", &["yml"]).into_values().collect::<String>();
    let headings: Vec<&str> =
        runbooks.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let alerts: Vec<&str> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(!alerts.is_empty());
    let causes = headwater::incident::Cause::ALL.map(headwater::incident::Cause::id);
    for name in alerts.iter().chain(&causes) {
        assert!(headings.contains(name), "no runbook for {name}");
    }
    for heading in &headings {
        let known = alerts.contains(heading) || causes.contains(heading);
        assert!(known, "the runbook {heading} is of nothing");
    }
    for alert in alerts {
        assert!(tests.contains(alert), "no test of rule {alert}");
        let anchor = format!("#{}", alert.to_lowercase());
        assert!(rules.contains(&anchor) || alert == "HeadwaterIncidentOpen", "no link to {anchor}");
    }
}

#[test]
fn the_rules_know_every_outcome_of_a_notification() {
    use headwater::notify::alertmanager::Outcome;
    let rules = fs::read_to_string(root().join("alerts/headwater.rules.yml")).expect("the rules");
    let unsent = Outcome::ALL.into_iter().filter(|outcome| *outcome != Outcome::Sent);
    let unsent: Vec<_> = unsent.map(Outcome::label).collect();
    let selector = format!("{{outcome=~\"{}\"}}", unsent.join("|"));
    assert!(rules.contains(&selector), "no rule selects {selector}");
}

#[test]
fn the_readme_knows_every_configuration_key() {
    let Ok(readme) = fs::read_to_string(root().join("README.md")) else {
        eprintln!("SKIPPED: there is no README.md yet");
        return;
    };
    let missing = missing_keys(&readme);
    assert!(missing.is_empty(), "README.md does not mention the configuration keys {missing:?}");
}

#[test]
fn the_configurations_in_the_readme_are_valid() {
    let Ok(readme) = fs::read_to_string(root().join("README.md")) else {
        eprintln!("SKIPPED: there is no README.md yet");
        return;
    };
    let configurations = configurations_in(&readme);
    assert!(!configurations.is_empty(), "README.md shows no configuration");
    for configuration in configurations {
        let parsed = headwater::config::Config::parse(&configuration, "README.md", &|name| {
            let url = "postgres://headwater@database.example.org/fleet";
            Some(if name.ends_with("URL") { url } else { "not-a-secret" }.to_owned())
        });
        assert!(parsed.is_ok(), "{}\n{configuration}", parsed.expect_err("not parsed"));
    }
}

/// The YAML blocks of a text that are configurations of ours: they name what we watch.
fn configurations_in(readme: &str) -> Vec<String> {
    let after_fences = readme.split("```yaml\n").skip(1);
    let blocks = after_fences.map(|after| after.split("```").next().unwrap_or(after));
    let ours = blocks.filter(|block| block.lines().any(|line| line.starts_with("sources:")));
    ours.map(str::to_owned).collect()
}

/// Keys that a text mentions neither in a YAML block, `key:`, nor in prose, `` `key` ``.
fn missing_keys(readme: &str) -> Vec<&'static str> {
    let mentioned = |key: &&&str| {
        let in_prose = readme.contains(&format!("`{key}`"));
        let in_yaml = readme.match_indices(&format!("{key}:")).any(|(at, _)| {
            let before = readme[..at].chars().next_back();
            before.is_none_or(|letter| letter.is_whitespace() || "{#".contains(letter))
        });
        in_prose || in_yaml
    };
    CONFIGURATION_KEYS.iter().filter(|key| !mentioned(key)).copied().collect()
}

#[test]
fn the_checks_find_what_they_should() {
    let edges = |path, text| edge_findings(path, text).len();
    let listed =
        "use crate::{\n    series::{Time, Kind},\n    store,\n};\nfn f() { crate::notify::g() }";
    assert_eq!(edges("src/detect/focus.rs", listed), 2);
    assert_eq!(edges("src/detect/focus.rs", "use crate::{series::Time, fleet};"), 0);
    assert_eq!(edges("src/pipeline.rs", "use crate::{detect, diagnose::Verdict};"), 0);
    assert_eq!(edges("src/detect/mod.rs", "// use crate::store;\n"), 0);
    assert_eq!(edges("src/store/mod.rs", "use crate::daemon;"), 1);
    assert_eq!(edges("src/store/mod.rs", "use crate::{metrics, incident};"), 0);
    assert_eq!(edges("src/daemon.rs", "use crate::serve;"), 0);

    let purity = |path, text| purity_findings(path, text).len();
    assert_eq!(purity("src/pipeline.rs", "use std::time::Instant;\n"), 1);
    assert_eq!(purity("src/fleet.rs", "let now = chrono::Utc::now(); // the time\n"), 1);
    assert_eq!(purity("src/detect/a.rs", "//! An Instant is not used.\nlet instants = 1;"), 0);
    assert_eq!(purity("src/store/mod.rs", "use tokio::sync::watch;"), 0);

    let wide = format!("//! A file.\nlet wide = {};\n", "1 + ".repeat(30));
    assert_eq!(text_findings("src/a.rs", &wide).len(), 1);
    let wide = format!("//! A file.\n    // {}\n// short;\n", "wide ".repeat(20));
    assert_eq!(text_findings("src/a.rs", &wide).len(), 1);
    assert_eq!(text_findings("src/a.rs", "fn f() {}\n").len(), 1);
    let leftover = format!("//! A file.\n// {}: later\n", LEFTOVERS[1]);
    assert_eq!(text_findings("src/a.rs", &leftover).len(), 1);
    assert_eq!(text_findings("src/a.rs", "//! A file.\nfn f() {}\n").len(), 0);

    let body = "        x();\n".repeat(FUNCTION_LINES_MAX - 1);
    let long = format!("impl A {{\n    pub async fn long<T>(a: u8) {{\n{body}    }}\n}}\n");
    assert_eq!(functions(&long), [("long", FUNCTION_LINES_MAX + 1)]);
    let bodiless = "trait A {\n    fn a(&self);\n    fn b(&self) {}\n    fn c() {\n    }\n}\n";
    assert_eq!(functions(bodiless), [("c", 2)]);
    let sizes = |ratchet| size_findings("src/a.rs", &long, ratchet).len();
    assert_eq!(sizes(&[]), 1);
    assert_eq!(sizes(&[("src/a.rs::long", FUNCTION_LINES_MAX + 1)]), 0);
    assert_eq!(sizes(&[("src/a.rs::long", FUNCTION_LINES_MAX)]), 1);
    let short = "fn short() {\n}\n";
    assert_eq!(size_findings("src/a.rs", short, &[("src/a.rs::short", 90)]).len(), 1);
    let many = "\n".repeat(FILE_LINES_MAX + 1);
    assert_eq!(size_findings("src/a.rs", &many, &[]).len(), 1);

    let named = metrics_named_in("rate(headwater_a_seconds_bucket[1m]) + xheadwater_b headwater_");
    assert_eq!(named, BTreeSet::from(["headwater_a_seconds".to_owned()]));
    let readme = "```yaml\nfleet: a\nsources:\n  - type: push\n```\nand `interval`, my_url: x";
    let missing = missing_keys(readme);
    assert_eq!(missing.len(), CONFIGURATION_KEYS.len() - 4);
    assert!(missing.contains(&"url"));
    assert_eq!(configurations_in(readme), ["fleet: a\nsources:\n  - type: push\n"]);
    assert!(configurations_in("```yaml\nscrape_configs: []\n```\n").is_empty());
    assert_eq!(module_of("src/store/mod.rs"), "store");
    assert_eq!(module_of("src/main.rs"), "main");
    assert!(Path::new(&root()).join("src/lib.rs").is_file());
}
