//! A causal graph that was declared: what drives what, within which delay and in what proportion,
//! without cycles. Declared and not learned, because graphs learned from data are close to random
//! in published comparisons (RCAEval). Whether its names are signals, and where it stands in a
//! file, is for whoever reads it; what it explains is the business of `graph` and `rank`.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;

/// How much of the child a change of the parent brings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Relation {
    /// At most one of the child for each of the parent: a pending pair is one delta job.
    AtMostOneEach,
    /// The child grows as its parent does: of the jobs that end, the same share fails.
    InProportion,
    /// Whatever quiet history shows.
    #[default]
    Learned,
}

/// An edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// What drives.
    pub parent: String,
    /// What is driven.
    pub child: String,
    /// The effect follows within this time; `None`: at any time.
    pub delay_max: Option<TimeDelta>,
    /// How much of the child follows.
    pub relation: Relation,
}

/// Edges without a cycle, by their child.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Declared {
    parents: BTreeMap<String, Vec<Edge>>,
}

/// What drives a signal, over one step or more.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ancestor<'a> {
    /// The signal.
    pub name: &'a str,
    /// The delays along the shortest way, added; `None` if one of them is not declared.
    pub delay_max: Option<TimeDelta>,
}

/// Signals that drive one another: each drives the next, and the last the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle(pub Vec<String>);

impl Declared {
    /// The graph of these edges, if nothing drives itself.
    pub fn new(edges: impl IntoIterator<Item = Edge>) -> Result<Declared, Cycle> {
        let mut parents: BTreeMap<String, Vec<Edge>> = BTreeMap::new();
        for edge in edges {
            parents.entry(edge.child.clone()).or_default().push(edge);
        }
        let graph = Declared { parents };
        graph.cycle().map_or(Ok(graph), Err)
    }

    /// The edges to a signal, in the order in which they were declared.
    pub fn edges_to(&self, signal: &str) -> &[Edge] {
        self.parents.get(signal).map_or(&[], Vec::as_slice)
    }

    /// All edges, by the names of what they drive.
    pub fn edges(&self) -> impl Iterator<Item = &Edge> {
        self.parents.values().flatten()
    }

    /// Whether this signal drives any other.
    pub fn is_parent(&self, signal: &str) -> bool {
        self.edges().any(|edge| edge.parent == signal)
    }

    /// Whether `signal` drives `target`, over any number of steps; `None` if the graph says nothing
    /// of one of the two.
    pub fn drives(&self, signal: &str, target: &str) -> Option<bool> {
        (self.knows(signal) && self.knows(target))
            .then(|| self.ancestors(target).iter().any(|ancestor| ancestor.name == signal))
    }

    /// Everything that drives a signal, the nearest first, each once.
    pub fn ancestors(&self, signal: &str) -> Vec<Ancestor<'_>> {
        let start = Ancestor { name: "", delay_max: Some(TimeDelta::zero()) };
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        let mut found: Vec<Ancestor<'_>> = self.steps(signal, start).collect();
        found.retain(|ancestor| seen.insert(ancestor.name));
        let mut next = 0;
        while let Some(ancestor) = found.get(next).copied() {
            let further = self.steps(ancestor.name, ancestor);
            found.extend(further.filter(|one| seen.insert(one.name)));
            next += 1;
        }
        found
    }

    fn steps<'a>(
        &'a self,
        signal: &str,
        from: Ancestor<'a>,
    ) -> impl Iterator<Item = Ancestor<'a>> + use<'a> {
        self.edges_to(signal).iter().map(move |edge| {
            let delays = from.delay_max.zip(edge.delay_max);
            let delay_max = delays.and_then(|(so_far, step)| so_far.checked_add(&step));
            Ancestor { name: &edge.parent, delay_max }
        })
    }

    fn knows(&self, signal: &str) -> bool {
        self.parents.contains_key(signal) || self.is_parent(signal)
    }

    fn cycle(&self) -> Option<Cycle> {
        // Whatever has no parent left is on no cycle, nor is what only such signals drive.
        let mut left: BTreeSet<&str> = self.parents.keys().map(String::as_str).collect();
        loop {
            let is_driven = |child: &&str| {
                self.parents[*child].iter().any(|edge| left.contains(edge.parent.as_str()))
            };
            let driven: BTreeSet<&str> = left.iter().copied().filter(is_driven).collect();
            if driven.len() == left.len() {
                break;
            }
            left = driven;
        }
        // Each of these is driven by another of them: the way up comes back to itself.
        let mut way: Vec<&str> = Vec::new();
        let mut signal = *left.first()?;
        while !way.contains(&signal) {
            way.push(signal);
            let mut parents = self.parents[signal].iter().map(|edge| edge.parent.as_str());
            signal = parents.find(|parent| left.contains(parent))?;
        }
        let downwards = way.iter().rev().take_while(|name| **name != signal).copied();
        Some(Cycle(std::iter::once(signal).chain(downwards).map(str::to_owned).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(parent: &str, child: &str, delay_s: Option<i64>) -> Edge {
        let delay_max = delay_s.map(TimeDelta::seconds);
        Edge {
            parent: parent.to_owned(),
            child: child.to_owned(),
            delay_max,
            relation: Relation::Learned,
        }
    }

    fn ancestors(edges: &[Edge], signal: &str) -> Vec<(String, Option<i64>)> {
        let graph = Declared::new(edges.to_vec()).expect("no cycle");
        let found = graph.ancestors(signal).into_iter();
        found
            .map(|one| (one.name.to_owned(), one.delay_max.map(|most| most.num_seconds())))
            .collect()
    }

    #[test]
    fn ancestors_are_found_over_all_ways_with_their_delays() {
        let edges = [
            edge("a", "b", Some(10)),
            edge("b", "d", Some(5)),
            edge("c", "d", None),
            edge("a", "c", Some(1)),
        ];
        let expected = [("b", Some(5)), ("c", None), ("a", Some(15))];
        assert_eq!(ancestors(&edges, "d"), expected.map(|(name, most)| (name.to_owned(), most)));
        assert_eq!(ancestors(&edges, "a"), []);
        assert_eq!(ancestors(&edges, "unknown"), []);
    }

    #[test]
    fn the_graph_knows_what_drives_what_and_what_it_does_not_know() {
        let graph = Declared::new([edge("a", "b", None), edge("b", "c", None)]).expect("no cycle");
        assert_eq!(graph.drives("a", "c"), Some(true));
        assert_eq!(graph.drives("c", "a"), Some(false));
        assert_eq!(graph.drives("x", "a"), None);
    }

    #[test]
    fn cycles_are_named_in_the_order_of_their_edges() {
        let cycle = |edges: &[Edge]| Declared::new(edges.to_vec()).expect_err("a cycle").0;
        assert_eq!(cycle(&[edge("a", "a", None)]), ["a"]);
        let edges = [
            edge("a", "b", None),
            edge("b", "c", None),
            edge("c", "b", None),
            edge("c", "d", None),
        ];
        assert_eq!(cycle(&edges), ["b", "c"]);
        let edges = [edge("x", "y", None), edge("y", "z", None), edge("z", "x", None)];
        assert_eq!(cycle(&edges), ["x", "y", "z"]);
    }
}
