//! What drives what, as it is written in the preset, under `graph:` of a configuration and in the
//! file of `diagnose --graph`: a mapping from each signal that drives others to those that it
//! drives, each with a maximal delay and a relation where they are known. Every mistake is reported
//! with its line.
//!
//! ```yaml
//! orders_cpu: [orders_latency, orders_errors]
//! orders_latency:
//!   checkout_latency: 30s
//!   checkout_requests: { within: 1m, relation: in_proportion }
//! delta_queue:
//!   delta_seconds_p95: forbidden        # an edge of the preset that does not hold here
//! ```

use std::{fs::File, io::Read as _, path::Path};

use chrono::TimeDelta;

use super::{
    FILE_BYTES_MAX,
    mistake::{ConfigError, Mistake, join, suggestion},
    text::parse_duration,
    yaml::{self, Node, Value},
};
use crate::diagnose::declared::{Cycle, Declared, Edge, Relation};

/// Of two signals of which the one does not drive the other.
const FORBIDDEN: &str = "forbidden";

/// Relations as they are written.
const RELATIONS: [(&str, Relation); 3] = [
    ("at_most_one_each", Relation::AtMostOneEach),
    ("in_proportion", Relation::InProportion),
    ("learned", Relation::Learned),
];

/// The platform's own edges, in the form in which anybody writes theirs.
const OPEN_BALENA: &str = include_str!("presets/open_balena.yml");

/// Two signals and what is written of them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Written {
    pub(super) line: usize,
    /// The key's path, for messages.
    pub(super) path: String,
    pub(super) edge: Edge,
    /// The one does not drive the other, whatever the given edges say.
    pub(super) forbidden: bool,
}

impl Written {
    /// An edge of which nothing but its ends is said.
    pub(super) fn drives(parent: &str, child: String, line: usize, path: String) -> Written {
        let (parent, relation) = (parent.to_owned(), Relation::Learned);
        let edge = Edge { parent, child, delay_max: None, relation };
        Written { line, path, edge, forbidden: false }
    }
}

/// What drives what on an open-balena platform.
pub fn open_balena() -> Declared {
    let mut mistakes = Vec::new();
    let written = yaml::parse(OPEN_BALENA, &mut mistakes);
    let written = written.map(|root| read(&root, "", &mut mistakes)).unwrap_or_default();
    // That nothing is wrong with it is a test's business.
    Declared::new(written.into_iter().map(|written| written.edge)).unwrap_or_default()
}

/// Reads the graph in the file at `path`, over these columns. The platform's edges between columns
/// hold unless the file says otherwise of the same two.
pub fn load(path: &Path, columns: &[String]) -> Result<Declared, ConfigError> {
    let file = path.display().to_string();
    let mut text = String::new();
    let read = File::open(path)
        .and_then(|opened| opened.take(FILE_BYTES_MAX).read_to_string(&mut text))
        .map_err(|error| format!("cannot be read: {error}; see --graph"));
    read.map_err(|message| ConfigError::new(&file, vec![Mistake::new(0, "", message)]))?;
    parse(&text, &file, columns, &of_columns(columns))
}

/// The platform's edges between columns of a recording.
pub fn of_columns(columns: &[String]) -> Declared {
    let platform = open_balena();
    let between = |edge: &&Edge| columns.contains(&edge.parent) && columns.contains(&edge.child);
    Declared::new(platform.edges().filter(between).cloned()).unwrap_or_default()
}

/// Reads `text`, which messages call `file`.
fn parse(
    text: &str,
    file: &str,
    columns: &[String],
    given: &Declared,
) -> Result<Declared, ConfigError> {
    let mut mistakes = Vec::new();
    let root = yaml::parse(text, &mut mistakes);
    let written = root.map(|root| read(&root, "", &mut mistakes)).unwrap_or_default();
    for Written { line, edge, .. } in &written {
        for name in [&edge.parent, &edge.child].into_iter().filter(|name| !columns.contains(name)) {
            let similar = suggestion(name, columns.iter().map(String::as_str));
            let message = format!(
                "\"{name}\" is no column of the recording{similar}: name a column, or remove it"
            );
            mistakes.push(Mistake::new(*line, "", message));
        }
    }
    let graph = combine(given, &written, &mut mistakes);
    if mistakes.is_empty() { Ok(graph) } else { Err(ConfigError::new(file, mistakes)) }
}

/// The given edges with what was written: an edge takes the place of a given one between the same
/// two signals, and what is forbidden is left out.
pub(super) fn combine(
    given: &Declared,
    written: &[Written],
    mistakes: &mut Vec<Mistake>,
) -> Declared {
    for (place, this) in written.iter().enumerate() {
        let same = |other: &&Written| same_ends(&other.edge, &this.edge);
        if let Some(first) = written[..place].iter().find(same) {
            let message =
                format!("this edge stands on line {} already: remove one of them", first.line);
            mistakes.push(Mistake::new(this.line, this.path.as_str(), message));
        } else if this.forbidden && !given.edges().any(|edge| same_ends(edge, &this.edge)) {
            let message = "there is no such edge that could be forbidden: remove this line";
            mistakes.push(Mistake::new(this.line, this.path.as_str(), message));
        }
    }
    let own = |edge: &&Edge| !written.iter().any(|this| same_ends(&this.edge, edge));
    let given: Vec<Edge> = given.edges().filter(own).cloned().collect();
    let mut added: Vec<&Written> = written.iter().filter(|written| !written.forbidden).collect();
    loop {
        let edges = added.iter().map(|written| written.edge.clone());
        let names = match Declared::new(given.iter().cloned().chain(edges)) {
            Ok(graph) => return graph,
            Err(Cycle(names)) => names,
        };
        let is_on_it = |written: &&&Written| {
            let mut steps = names.iter().zip(names.iter().cycle().skip(1));
            let Edge { parent, child, .. } = &written.edge;
            steps.any(|step| step == (parent, child))
        };
        let first = added.iter().find(is_on_it).map(|first| (first.line, first.path.clone()));
        let way: Vec<String> =
            names.iter().chain(names.first()).map(|name| format!("\"{name}\"")).collect();
        let message = format!(
            "{} is a cycle, and no effect drives its cause: remove one of these edges",
            way.join(" -> ")
        );
        let (line, path) = first.unwrap_or_default();
        mistakes.push(Mistake::new(line, path, message));
        // Without them there may be another one.
        let before = added.len();
        added.retain(|written| !is_on_it(&written));
        if added.len() == before {
            return Declared::default();
        }
    }
}

fn same_ends(one: &Edge, other: &Edge) -> bool {
    one.parent == other.parent && one.child == other.child
}

/// What is written below a node whose own path is `path`.
pub(super) fn read(root: &Node, path: &str, mistakes: &mut Vec<Mistake>) -> Vec<Written> {
    let entries = match &root.value {
        Value::Mapping(entries) => entries,
        Value::Null => return Vec::new(),
        other => {
            let message = format!(
                "{} where signals should stand: write `parent: [child, …]` for each signal that \
                 drives others",
                other.kind()
            );
            mistakes.push(Mistake::new(root.line, path, message));
            return Vec::new();
        }
    };
    let mut found = Vec::new();
    for entry in entries {
        children(&entry.key, path, &entry.node, mistakes, &mut found);
    }
    found
}

/// One signal's children: a name, a list of them, or each with what is said of it.
fn children(
    parent: &str,
    path: &str,
    node: &Node,
    mistakes: &mut Vec<Mistake>,
    found: &mut Vec<Written>,
) {
    let own = join(path, parent);
    let written = |line: usize, child: &str, what: What| {
        let (delay_max, relation) = what.follows.unwrap_or_default();
        let (parent, child) = (parent.to_owned(), child.to_owned());
        let path = join(&own, &child);
        let edge = Edge { parent, child, delay_max, relation };
        Written { line, path, edge, forbidden: what.follows.is_none() }
    };
    match &node.value {
        Value::Scalar(child) => found.push(written(node.line, child, What::default())),
        Value::Mapping(entries) => {
            for entry in entries {
                let at = join(&own, &entry.key);
                if let Some(what) = what(&entry.node, entry.line, &at, mistakes) {
                    found.push(written(entry.line, &entry.key, what));
                }
            }
        }
        Value::Sequence(items) => {
            for item in items {
                match &item.value {
                    Value::Scalar(_) | Value::Mapping(_) => {
                        children(parent, path, item, mistakes, found);
                    }
                    other => {
                        let message =
                            format!("{} where a driven signal should stand", other.kind());
                        mistakes.push(Mistake::new(item.line, own.as_str(), message));
                    }
                }
            }
        }
        Value::Null => {
            let message = "drives nothing: name what it drives, or remove it";
            mistakes.push(Mistake::new(node.line, own, message));
        }
    }
}

/// What is said of an edge: how soon and how much of the child follows; `None` if nothing does.
#[derive(Clone, Copy)]
struct What {
    follows: Option<(Option<TimeDelta>, Relation)>,
}

impl Default for What {
    fn default() -> What {
        What { follows: Some((None, Relation::Learned)) }
    }
}

/// Nothing, a delay, `forbidden`, or `{ within: 15m, relation: learned }`.
fn what(node: &Node, line: usize, path: &str, mistakes: &mut Vec<Mistake>) -> Option<What> {
    let entries = match &node.value {
        Value::Null => return Some(What::default()),
        Value::Scalar(text) if text == FORBIDDEN => return Some(What { follows: None }),
        Value::Scalar(text) => {
            let delay_max = delay(text, line, path, mistakes)?;
            return Some(What { follows: Some((Some(delay_max), Relation::Learned)) });
        }
        Value::Mapping(entries) => entries,
        other @ Value::Sequence(_) => {
            let message = format!("{} where a delay should stand, as in 30s", other.kind());
            mistakes.push(Mistake::new(line, path, message));
            return None;
        }
    };
    let (mut delay_max, mut relation) = (None, Relation::Learned);
    for entry in entries {
        let at = join(path, &entry.key);
        let text = if let Value::Scalar(text) = &entry.node.value { text.as_str() } else { "" };
        match entry.key.as_str() {
            "within" => delay_max = delay(text, entry.line, &at, mistakes),
            "relation" => match RELATIONS.iter().find(|(name, _)| *name == text) {
                Some((_, known)) => relation = *known,
                None => {
                    let names: Vec<&str> = RELATIONS.iter().map(|(name, _)| *name).collect();
                    let similar = suggestion(text, names.iter().copied());
                    let message =
                        format!("\"{text}\" is no relation{similar}: write {}", names.join(", "));
                    mistakes.push(Mistake::new(entry.line, at, message));
                }
            },
            key => {
                let valid = ["within", "relation"];
                let similar = suggestion(key, valid);
                let message =
                    format!("unknown key{similar}; valid keys here: {}", valid.join(", "));
                mistakes.push(Mistake::new(entry.line, at, message));
            }
        }
    }
    Some(What { follows: Some((delay_max, relation)) })
}

fn delay(text: &str, line: usize, path: &str, mistakes: &mut Vec<Mistake>) -> Option<TimeDelta> {
    let delay = parse_duration(text).and_then(|delay| TimeDelta::from_std(delay).ok());
    if delay.is_none() {
        let message = format!(
            "\"{text}\" is no delay: write whole numbers with the units d, h, m, s, ms, as in 30s, \
             or leave it out"
        );
        mistakes.push(Mistake::new(line, path, message));
    }
    delay
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn columns() -> Vec<String> {
        ["cpu", "latency", "errors", "queue"].map(str::to_owned).to_vec()
    }

    fn read(text: &str) -> Result<Declared, ConfigError> {
        parse(text, "graph.yml", &columns(), &Declared::default())
    }

    #[track_caller]
    fn check_refused(text: &str, expected: &Expect) {
        expected.assert_eq(&read(text).expect_err("refused").to_string());
    }

    #[test]
    fn children_are_a_name_a_list_or_have_delays() {
        let graph =
            read("cpu: [queue, errors: 1m]\nqueue: {latency: 30s, errors: }\nerrors: latency\n");
        let graph = graph.expect("valid");
        let delay = |of: &str, by: &str| {
            let ancestors = graph.ancestors(of);
            ancestors.iter().find(|one| one.name == by).expect("an ancestor").delay_max
        };
        assert_eq!(delay("queue", "cpu"), None);
        assert_eq!(delay("latency", "queue"), Some(TimeDelta::seconds(30)));
        assert_eq!(delay("errors", "cpu"), Some(TimeDelta::seconds(60)));
    }

    #[test]
    fn an_empty_file_is_an_empty_graph() {
        assert_eq!(read(""), Ok(Declared::default()));
    }

    fn edge(parent: &str, child: &str, delay_s: i64, relation: Relation) -> Edge {
        let delay_max = Some(TimeDelta::seconds(delay_s));
        Edge { parent: parent.to_owned(), child: child.to_owned(), delay_max, relation }
    }

    fn graph(edges: &[Edge]) -> Declared {
        Declared::new(edges.to_vec()).expect("no cycle")
    }

    #[test]
    fn the_file_s_edge_replaces_a_given_one_and_may_forbid_it() {
        let given = graph(&[
            edge("cpu", "latency", 60, Relation::Learned),
            edge("cpu", "queue", 60, Relation::InProportion),
            edge("queue", "errors", 60, Relation::Learned),
        ]);
        let text = "cpu: {latency: {within: 5s, relation: at_most_one_each}, queue: forbidden}";
        let combined = parse(text, "graph.yml", &columns(), &given);
        let expected = graph(&[
            edge("cpu", "latency", 5, Relation::AtMostOneEach),
            edge("queue", "errors", 60, Relation::Learned),
        ]);
        assert_eq!(combined, Ok(expected));
    }

    #[test]
    fn the_preset_is_valid_and_knows_its_signals() {
        let mut mistakes = Vec::new();
        let root = yaml::parse(OPEN_BALENA, &mut mistakes).expect("it is not empty");
        let written = super::read(&root, "", &mut mistakes);
        let graph = combine(&Declared::default(), &written, &mut mistakes);
        assert_eq!(mistakes, []);
        assert_eq!(graph, open_balena());
        assert_eq!(graph.edges().count(), written.len());
        assert!(written.len() > 40 && written.iter().all(|written| !written.forbidden));
        for edge in graph.edges() {
            for signal in [&edge.parent, &edge.child] {
                assert!(crate::series::built_in(signal).is_some(), "{signal}");
            }
            assert!(edge.delay_max.is_some(), "{edge:?}");
        }
    }

    #[test]
    fn mistakes_name_the_line_the_value_and_the_remedy() {
        check_refused(
            "cpu: [latncy]\nqueue: {latency: soon}\nerrors:\n",
            &expect![[r#"
                graph.yml:1: "latncy" is no column of the recording (did you mean "latency"?): name a column, or remove it
                graph.yml:2: queue.latency: "soon" is no delay: write whole numbers with the units d, h, m, s, ms, as in 30s, or leave it out
                graph.yml:3: errors: drives nothing: name what it drives, or remove it"#]],
        );
        check_refused(
            "cpu: {latency: {within: 5, relation: learnt, delay: 5s}}\nqueue: {errors: forbidden}\n",
            &expect![[r#"
                graph.yml:1: cpu.latency.delay: unknown key; valid keys here: within, relation
                graph.yml:1: cpu.latency.relation: "learnt" is no relation (did you mean "learned"?): write at_most_one_each, in_proportion, learned
                graph.yml:1: cpu.latency.within: "5" is no delay: write whole numbers with the units d, h, m, s, ms, as in 30s, or leave it out
                graph.yml:2: queue.errors: there is no such edge that could be forbidden: remove this line"#]],
        );
        check_refused(
            "- cpu\n",
            &expect![
                "graph.yml:1: a list where signals should stand: write `parent: [child, …]` for each signal that drives others"
            ],
        );
        check_refused(
            "cpu: [latency, latency]\n",
            &expect![
                "graph.yml:1: cpu.latency: this edge stands on line 1 already: remove one of them"
            ],
        );
    }

    #[test]
    fn cycles_are_refused_at_one_of_their_lines() {
        check_refused(
            "cpu: [errors]\nqueue: [latency]\nlatency: [errors]\nerrors: [queue]\n",
            &expect![[
                r#"graph.yml:2: queue.latency: "errors" -> "queue" -> "latency" -> "errors" is a cycle, and no effect drives its cause: remove one of these edges"#
            ]],
        );
    }
}
