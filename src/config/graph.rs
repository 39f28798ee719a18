//! The file of `diagnose --graph`: a mapping from each signal that drives others to those that it
//! drives, each with a maximal delay where one is known. Every mistake is reported with its line.
//!
//! ```yaml
//! orders_cpu: [orders_latency, orders_errors]
//! orders_latency:
//!   checkout_latency: 30s
//! ```

use std::{fs::File, io::Read as _, path::Path};

use chrono::TimeDelta;

use super::{
    FILE_BYTES_MAX,
    mistake::{ConfigError, Mistake, join, suggestion},
    text::parse_duration,
    yaml::{self, Node, Value},
};
use crate::diagnose::declared::{Cycle, Declared, Edge};

/// An edge with its line.
type Written = (usize, Edge);

/// Reads the graph in the file at `path`, over these columns. `given` are edges that hold unless
/// the file has its own between the same two.
pub fn load(path: &Path, columns: &[String], given: Vec<Edge>) -> Result<Declared, ConfigError> {
    let file = path.display().to_string();
    let mut text = String::new();
    let read = File::open(path)
        .and_then(|opened| opened.take(FILE_BYTES_MAX).read_to_string(&mut text))
        .map_err(|error| format!("cannot be read: {error}; see --graph"));
    read.map_err(|message| ConfigError::new(&file, vec![Mistake::new(0, "", message)]))?;
    parse(&text, &file, columns, given)
}

/// Reads `text`, which messages call `file`.
fn parse(
    text: &str,
    file: &str,
    columns: &[String],
    given: Vec<Edge>,
) -> Result<Declared, ConfigError> {
    let mut mistakes = Vec::new();
    let written = match yaml::parse(text, &mut mistakes) {
        Some(root) => edges(&root, &mut mistakes),
        None => Vec::new(),
    };
    for (place, (line, edge)) in written.iter().enumerate() {
        for name in [&edge.parent, &edge.child].into_iter().filter(|name| !columns.contains(name)) {
            let similar = suggestion(name, columns.iter().map(String::as_str));
            let message = format!(
                "\"{name}\" is no column of the recording{similar}: name a column, or remove it"
            );
            mistakes.push(Mistake::new(*line, "", message));
        }
        let same = |(_, other): &Written| same_ends(other, edge);
        if let Some((first, _)) = written[..place].iter().find(|other| same(other)) {
            let message = format!("this edge stands on line {first} already: remove one of them");
            mistakes.push(Mistake::new(*line, join(&edge.parent, &edge.child), message));
        }
    }
    if !mistakes.is_empty() {
        return Err(ConfigError::new(file, mistakes));
    }
    let own = |edge: &Edge| written.iter().any(|(_, other)| same_ends(other, edge));
    let mut all: Vec<Edge> = given.into_iter().filter(|edge| !own(edge)).collect();
    all.extend(written.iter().map(|(_, edge)| edge.clone()));
    Declared::new(all).map_err(|Cycle(names)| {
        let is_on_it = |(_, edge): &&Written| {
            let mut steps = names.iter().zip(names.iter().cycle().skip(1));
            steps.any(|(parent, child)| *parent == edge.parent && *child == edge.child)
        };
        let line = written.iter().find(is_on_it).map_or(0, |(line, _)| *line);
        let way: Vec<String> =
            names.iter().chain(names.first()).map(|name| format!("\"{name}\"")).collect();
        let message = format!(
            "{} is a cycle, and no effect drives its cause: remove one of these edges",
            way.join(" -> ")
        );
        ConfigError::new(file, vec![Mistake::new(line, "", message)])
    })
}

fn same_ends(one: &Edge, other: &Edge) -> bool {
    one.parent == other.parent && one.child == other.child
}

/// The edges that are written below the root.
fn edges(root: &Node, mistakes: &mut Vec<Mistake>) -> Vec<Written> {
    let Value::Mapping(entries) = &root.value else {
        let message = format!(
            "{} where signals should stand: write `parent: [child, …]` for each signal that drives \
             others",
            root.value.kind()
        );
        mistakes.push(Mistake::new(root.line, "", message));
        return Vec::new();
    };
    let mut found = Vec::new();
    for entry in entries {
        children(&entry.key, &entry.node, mistakes, &mut found);
    }
    found
}

/// One signal's children: a name, a list of them, or each with its delay.
fn children(parent: &str, node: &Node, mistakes: &mut Vec<Mistake>, found: &mut Vec<Written>) {
    let mut add = |line: usize, child: &str, delay_max| {
        let edge = Edge { parent: parent.to_owned(), child: child.to_owned(), delay_max };
        found.push((line, edge));
    };
    match &node.value {
        Value::Scalar(child) => add(node.line, child, None),
        Value::Mapping(entries) => {
            for entry in entries {
                match delay(&entry.node.value) {
                    Ok(delay_max) => add(entry.line, &entry.key, delay_max),
                    Err(message) => {
                        mistakes.push(Mistake::new(entry.line, join(parent, &entry.key), message));
                    }
                }
            }
        }
        Value::Sequence(items) => {
            for item in items {
                match &item.value {
                    Value::Scalar(_) | Value::Mapping(_) => {
                        children(parent, item, mistakes, found);
                    }
                    other => {
                        let message =
                            format!("{} where a driven signal should stand", other.kind());
                        mistakes.push(Mistake::new(item.line, parent, message));
                    }
                }
            }
        }
        Value::Null => {
            let message = "drives nothing: name what it drives, or remove it";
            mistakes.push(Mistake::new(node.line, parent, message));
        }
    }
}

fn delay(value: &Value) -> Result<Option<TimeDelta>, String> {
    match value {
        Value::Null => Ok(None),
        Value::Scalar(text) => {
            let delay = parse_duration(text).and_then(|delay| TimeDelta::from_std(delay).ok());
            delay.map(Some).ok_or_else(|| {
                format!(
                    "\"{text}\" is no delay: write whole numbers with the units d, h, m, s, ms, as \
                     in 30s, or leave it out"
                )
            })
        }
        other => Err(format!("{} where a delay should stand, as in 30s", other.kind())),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn columns() -> Vec<String> {
        ["cpu", "latency", "errors", "queue"].map(str::to_owned).to_vec()
    }

    fn read(text: &str) -> Result<Declared, ConfigError> {
        parse(text, "graph.yml", &columns(), Vec::new())
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

    #[test]
    fn the_file_s_edge_replaces_a_given_one() {
        let edge = |delay_s| Edge {
            parent: "cpu".to_owned(),
            child: "latency".to_owned(),
            delay_max: Some(TimeDelta::seconds(delay_s)),
        };
        let graph = parse("cpu: {latency: 5s}", "graph.yml", &columns(), vec![edge(60)]);
        assert_eq!(graph, Ok(Declared::new([edge(5)]).expect("no cycle")));
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
                r#"graph.yml:2: "errors" -> "queue" -> "latency" -> "errors" is a cycle, and no effect drives its cause: remove one of these edges"#
            ]],
        );
    }
}
