//! The resolved values; what users see of mistakes is in `tests/config`.

use proptest::prelude::*;

use super::*;
use crate::series::Direction;

fn environment(name: &str) -> Option<String> {
    let value = match name {
        "DATABASE" => "postgres://headwater:hunter2@db.example.org/resin",
        "TOKEN" => "hunter2",
        "INTERVAL" => "30s",
        _ => return None,
    };
    Some(value.to_owned())
}

fn parse(text: &str) -> Config {
    Config::parse(text, "test.yml", &environment).expect("a valid configuration")
}

fn mistakes(text: &str) -> String {
    Config::parse(text, "test.yml", &environment).expect_err("a mistake").to_string()
}

#[test]
fn an_empty_file_has_the_documented_defaults() {
    let config = parse("# nothing\n");
    assert_eq!(config.fleet, "default");
    assert_eq!(config.listen, SocketAddr::from(([127, 0, 0, 1], 9855)));
    assert_eq!(config.external_url, "http://127.0.0.1:9855");
    assert_eq!(config.runbook_url, "http://127.0.0.1:9855/runbooks");
    assert_eq!(config.interval, Duration::from_secs(15));
    assert_eq!(config.store.expose(), "sqlite://headwater.db");
    assert_eq!(config.retention, Duration::from_secs(90 * 86_400));
    assert_eq!((config.false_pages_per_month, config.false_warnings_per_month), (1.0, 10.0));
    assert!(config.labels.is_empty() && config.events_token.is_none());
    assert!(config.sources.is_empty() && config.notify.alertmanager.is_empty());
    assert!(config.require_sources("test.yml").is_err());
}

#[test]
fn variables_are_replaced_in_values_and_nowhere_else() {
    let config = parse(
        "interval: ${INTERVAL}\n\
         events_token: \"${TOKEN}\"\n\
         labels: { tier: \"a${TOKEN}b$$c\" }\n\
         sources:\n\
         - type: push # ${NOT_SET}\n  \
           signals: [\"${INTERVAL}\"]\n\
         - type: sql\n  \
           url: ${DATABASE}\n  \
           signals:\n    \
             ${KEY}: SELECT '$1'\n",
    );
    assert_eq!(config.interval, Duration::from_secs(30));
    assert_eq!(config.events_token, Some(Secret::new("hunter2")));
    assert_eq!(config.labels["tier"], "ahunter2b$c");
    assert_eq!(config.sources[0].signal_names(), ["30s"]);
    let SourceKind::Sql { url, signals } = &config.sources[1].kind else { panic!("no sql source") };
    assert_eq!(url.expose(), "postgres://headwater:hunter2@db.example.org/resin");
    assert_eq!(signals["${KEY}"], "SELECT '$1'");
}

#[test]
fn scalars_keep_their_spelling() {
    let config = parse("labels: { a: 1.10, b: 0x1F, c: yes, d: 'null', e: 2019-09-23 }\n");
    let values: Vec<&str> = config.labels.values().map(String::as_str).collect();
    assert_eq!(values, ["1.10", "0x1F", "yes", "null", "2019-09-23"]);
}

#[test]
fn the_pipeline_learns_of_signals_and_sources() {
    let settings = parse(
        "false_pages_per_month: 0.5\n\
         sources:\n\
         - { type: open_balena, name: fleet, url: 'sqlite://fleet.db' }\n\
         - { type: push, signals: [b, a] }\n\
         signals:\n  \
           a: { drives: [b, delta_queue], direction: down, min_change: 2.5, min_change_relative: 0.05, \
           valid_min: -1, valid_max: 1e6, false_alarms_per_month: 0.25 }\n",
    )
    .pipeline_settings();
    assert_eq!((settings.interval_s, settings.plain_ids), (15.0, false));
    assert_eq!((settings.false_pages_per_month, settings.false_warnings_per_month), (0.5, 10.0));
    let expected = SignalSettings {
        direction: Some(Direction::Down),
        min_change: Some(2.5),
        min_change_relative: Some(0.05),
        valid_min: Some(-1.0),
        valid_max: Some(1e6),
        false_alarms_per_month: Some(0.25),
    };
    assert_eq!(settings.signals["a"], expected);
    assert!(settings.graph.edges_to("b").iter().any(|edge| edge.parent == "a"));
    let queue: Vec<&str> =
        settings.graph.edges_to("delta_queue").iter().map(|edge| edge.parent.as_str()).collect();
    assert_eq!(queue, ["pending_pairs", "delta_requests_total", "a"], "beside the preset's");
}

/// A configuration without sources serves recordings, whose columns it may name.
#[test]
fn without_sources_any_signal_may_be_configured() {
    let config = parse("signals: { any column: { drives: [another] } }\n");
    assert_eq!(config.graph.edges_to("another")[0].parent, "any column");
}

#[test]
fn a_configuration_can_be_logged_without_its_secrets() {
    let config = parse(
        "events_token: ${TOKEN}\n\
         store: sqlite://hunter2.db\n\
         sources:\n\
         - { type: open_balena, url: \"${DATABASE}\", evidence_url: \"${DATABASE}\" }\n\
         - { type: sql, url: \"${DATABASE}\", signals: { a: SELECT 1 } }\n\
         - { type: prometheus, url: 'http://u:hunter2@prom', signals: { b: up } }\n\
         notify: { alertmanager: ['http://u:hunter2@am'] }\n",
    );
    let logged = format!("{config:?}");
    assert!(!logged.contains("hunter2"), "{logged}");
    assert!(logged.contains("http://u:***@prom/") && logged.contains("http://u:***@am/"));
}

#[test]
fn a_source_name_may_come_with_spaces_but_urls_lose_theirs() {
    let config = parse(
        "external_url: ' https://h.example.org/x/ '\n\
         sources: [{ type: push, name: 'the shop', signals: [a] }]\n",
    );
    assert_eq!(config.external_url, "https://h.example.org/x");
    assert_eq!(config.sources[0].name, "the shop");
}

#[test]
fn nesting_is_bounded() {
    let deep = format!("labels: {}{}", "[".repeat(100), "]".repeat(100));
    assert!(mistakes(&deep).contains("levels deep"));
    let deeper = format!("labels: {}", "[".repeat(100_000));
    assert!(mistakes(&deeper).starts_with("test.yml:1: "));
}

#[test]
fn a_file_that_is_too_large_is_not_read() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), vec![b'#'; FILE_BYTES_MAX as usize + 1]).expect("written");
    let error = Config::load(file.path(), &environment).expect_err("too large").to_string();
    assert!(error.contains("larger than 1048576 bytes"), "{error}");
}

proptest! {
    /// No text makes it panic, and every refusal says something.
    #[test]
    fn any_text_is_read_or_refused(text in "(?s).{0,200}") {
        if let Err(error) = Config::parse(&text, "test.yml", &environment) {
            prop_assert!(!error.mistakes.is_empty());
        }
    }

    /// The same with text that looks like a configuration.
    #[test]
    fn any_value_under_any_key_is_read_or_refused(
        key in prop::sample::select(vec![
            "fleet", "listen", "external_url", "interval", "store", "retention", "labels",
            "false_pages_per_month", "sources", "signals", "graph", "notify", "events_token",
        ]),
        value in "[-\\[\\]{}a-z0-9:, \n\"'$#&*!|>%@./]{0,60}",
    ) {
        if let Err(error) = Config::parse(&format!("{key}: {value}"), "test.yml", &environment) {
            prop_assert!(!error.mistakes.is_empty());
        }
    }
}
