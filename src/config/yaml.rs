//! The file as a tree in which every key and value knows its line, so that all mistakes of a file
//! can be reported together, each at its place, and scalars keep the spelling in which they were
//! written (`1.10` stays `1.10`). Knows YAML and nothing of Headwater's keys.
//!
//! The tree is built from the events of serde-saphyr's own parser: deserialising into structs would
//! stop at the first mistake. Anchors, aliases, tags and a second document are refused: a
//! configuration that means something else at a distance is not worth the keystrokes.

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, Span, StrInput};

use super::mistake::{Mistake, join};

/// No key of the configuration lies deeper than 5; the rest is room. Bounds the recursion.
const DEPTH_MAX: usize = 16;

/// How messages about the syntax begin.
const NOT_YAML: &str = "not YAML";

/// A value and the line on which it begins.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Counted from 1.
    pub(super) line: usize,
    /// What is there.
    pub(super) value: Value,
}

/// What a node holds.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Nothing, or a plain `null` or `~`.
    Null,
    /// A scalar, as it was written, escapes resolved.
    Scalar(String),
    /// A list.
    Sequence(Vec<Node>),
    /// Keys and values, in the order of the file, keys distinct.
    Mapping(Vec<Entry>),
}

/// A key with its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The key.
    pub(super) key: String,
    /// The key's line.
    pub(super) line: usize,
    /// The value.
    pub(super) node: Node,
}

impl Value {
    /// The kind, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::Null => "nothing",
            Value::Scalar(_) => "a single value",
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "keys with values",
        }
    }
}

/// Parses the one document of `text`; `None` if there is nothing in it or it is not YAML. A mistake
/// of the syntax ends the parse, for what follows it cannot be trusted.
pub(super) fn parse(text: &str, mistakes: &mut Vec<Mistake>) -> Option<Node> {
    let mut builder = Builder { parser: Parser::new_from_str(text), mistakes };
    match builder.document() {
        Ok(node) => node,
        Err(mut mistake) => {
            let line = mistake.line.checked_sub(1).and_then(|index| text.lines().nth(index));
            if mistake.message.starts_with(NOT_YAML) && line.is_some_and(|line| line.contains("${"))
            {
                mistake.message.push_str("; within [ ] and { } a ${NAME} needs quotes");
            }
            mistakes.push(mistake);
            None
        }
    }
}

struct Builder<'text, 'mistakes> {
    parser: Parser<'text, StrInput<'text>>,
    mistakes: &'mistakes mut Vec<Mistake>,
}

impl<'text> Builder<'text, '_> {
    fn document(&mut self) -> Result<Option<Node>, Mistake> {
        let mut document = None;
        loop {
            let (event, line) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentEnd => {}
                Event::DocumentStart(..) if document.is_some() => {
                    return Err(Mistake::new(
                        line,
                        "",
                        "a second document begins here: a configuration is one document, remove \
                         the `---` and what follows",
                    ));
                }
                Event::DocumentStart(..) => {
                    let (first, line) = self.next()?;
                    document = Some(self.node(first, line, "", 0)?);
                }
                _ => break,
            }
        }
        Ok(document.filter(|node| !matches!(node.value, Value::Null)))
    }

    /// The next event with its line. The stream's end repeats itself, so that an unexpected end
    /// needs no case of its own.
    fn next(&mut self) -> Result<(Event<'text>, usize), Mistake> {
        match self.parser.next() {
            None => Ok((Event::StreamEnd, 0)),
            Some(Ok((event, span))) => Ok((event, line_of(&span))),
            Some(Err(error)) => Err(Mistake::new(
                error.marker().line(),
                "",
                format!("{NOT_YAML}: {}", error.info()),
            )),
        }
    }

    /// The node that `event` begins.
    fn node(
        &mut self,
        event: Event<'text>,
        line: usize,
        path: &str,
        depth: usize,
    ) -> Result<Node, Mistake> {
        if depth > DEPTH_MAX {
            let message = format!("nested more than {DEPTH_MAX} levels deep: no key lies there");
            return Err(Mistake::new(line, path, message));
        }
        let value = match event {
            Event::Scalar(_, _, anchor, ref tag)
            | Event::SequenceStart(_, anchor, ref tag)
            | Event::MappingStart(_, anchor, ref tag)
                if anchor != 0 || tag.is_some() =>
            {
                return Err(Mistake::new(
                    line,
                    path,
                    "YAML anchors (&) and tags (!) are not supported: write the value out, in \
                     quotes if it begins with such a character",
                ));
            }
            Event::Scalar(text, ScalarStyle::Plain, ..) if is_null(&text) => Value::Null,
            Event::Scalar(text, ..) => Value::Scalar(text.into_owned()),
            Event::SequenceStart(..) => Value::Sequence(self.sequence(path, depth)?),
            Event::MappingStart(..) => Value::Mapping(self.mapping(path, depth)?),
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                let message = "YAML aliases (*) are not supported: write the value out, in quotes \
                               if it begins with `*`";
                return Err(Mistake::new(line, path, message));
            }
            _ => Value::Null,
        };
        Ok(Node { line, value })
    }

    fn sequence(&mut self, path: &str, depth: usize) -> Result<Vec<Node>, Mistake> {
        let mut items = Vec::new();
        loop {
            let (event, line) = self.next()?;
            if matches!(event, Event::SequenceEnd | Event::StreamEnd) {
                return Ok(items);
            }
            let path = format!("{path}[{}]", items.len());
            items.push(self.node(event, line, &path, depth + 1)?);
        }
    }

    fn mapping(&mut self, path: &str, depth: usize) -> Result<Vec<Entry>, Mistake> {
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let (event, line) = self.next()?;
            let key = match event {
                Event::MappingEnd | Event::StreamEnd => return Ok(entries),
                Event::Scalar(text, _, 0, None) => text.into_owned(),
                _ => return Err(Mistake::new(line, path, "a key must be plain or quoted text")),
            };
            let (event, value_line) = self.next()?;
            let here = join(path, &key);
            let node = self.node(event, value_line, &here, depth + 1)?;
            match entries.iter().find(|entry| entry.key == key) {
                Some(first) => self.mistakes.push(Mistake::new(
                    line,
                    here,
                    format!("this key stands on line {} already: remove one of them", first.line),
                )),
                None => entries.push(Entry { key, line, node }),
            }
        }
    }
}

fn line_of(span: &Span) -> usize {
    span.start.line()
}

/// The core schema's spellings of null.
fn is_null(plain: &str) -> bool {
    matches!(plain, "" | "~" | "null" | "Null" | "NULL")
}
