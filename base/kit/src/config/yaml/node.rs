//! The tree of a YAML document: every node knows where it stands.
//!
//! Aliases share the nodes of their anchor; `<<` is resolved here. A document that would unfold
//! to more than [`UNFOLDED_NODES_MAX`] nodes through aliases is refused.

use std::collections::HashMap;
use std::sync::Arc;

use serde_yaml::granit_parser::{Event, Options, Parser, ScalarStyle, Span, Tag};

use super::Problem;

/// Nodes that aliases may add to those in the text: stops the "billion laughs".
const UNFOLDED_NODES_MAX: usize = 1_000_000;

/// How deep a document may be: decoding recurses.
const DEPTH_MAX: usize = 100;

/// The prefix that `!!` stands for.
const CORE_TAGS: &str = "tag:yaml.org,2002:";

/// One value in the file.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// Line and column, from 1.
    pub(super) at: (u32, u32),
    pub(super) kind: NodeKind,
    /// Number of nodes in it, itself included, aliases unfolded.
    weight: usize,
}

#[derive(Debug, Clone)]
pub(super) enum NodeKind {
    Scalar(Scalar),
    Sequence(Arc<[Node]>),
    Mapping(Arc<[(Node, Node)]>),
}

/// A single value as it is written.
#[derive(Debug, Clone)]
pub(super) struct Scalar {
    pub(super) text: Arc<str>,
    /// Written without quotes and not as a block.
    pub(super) plain: bool,
    /// The part of the tag behind `!!`, if it has such a tag.
    pub(super) tag: Option<Arc<str>>,
}

/// Builds the tree of the first document in `text`.
pub(super) fn parse(text: &str) -> Result<Node, Problem> {
    // Another crate of the build may have turned comments on; they are no nodes.
    let mut options = Options::default();
    options.emit_comments = false;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let events = Parser::new_from_str_with_options(text, options);
    let mut builder = Builder { events, anchors: HashMap::new(), unfolded: 0 };
    loop {
        match builder.next()? {
            Some((Event::StreamStart | Event::DocumentStart(..), _)) => {}
            Some((Event::StreamEnd | Event::DocumentEnd, _)) | None => {
                return Ok(Node::null((1, 1)));
            }
            Some((event, span)) => return builder.node(event, span, 0),
        }
    }
}

struct Builder<'t> {
    events: Parser<'t, serde_yaml::granit_parser::StrInput<'t>>,
    anchors: HashMap<usize, Node>,
    unfolded: usize,
}

// === impl Node ===

impl Node {
    pub(super) fn null(at: (u32, u32)) -> Node {
        let scalar = Scalar { text: "".into(), plain: true, tag: None };
        Node { at, kind: NodeKind::Scalar(scalar), weight: 1 }
    }

    pub(super) fn mapping(at: (u32, u32), entries: Vec<(Node, Node)>) -> Node {
        let weight =
            1 + entries.iter().map(|(key, value)| key.weight + value.weight).sum::<usize>();
        Node { at, kind: NodeKind::Mapping(entries.into()), weight }
    }

    fn sequence(at: (u32, u32), items: Vec<Node>) -> Node {
        let weight = 1 + items.iter().map(|item| item.weight).sum::<usize>();
        Node { at, kind: NodeKind::Sequence(items.into()), weight }
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(&self.kind, NodeKind::Scalar(scalar) if scalar.is_null())
    }

    /// The text of a scalar.
    pub(super) fn text(&self) -> Option<&Arc<str>> {
        match &self.kind {
            NodeKind::Scalar(scalar) => Some(&scalar.text),
            NodeKind::Sequence(_) | NodeKind::Mapping(_) => None,
        }
    }

    pub(super) fn has_key(&self, wanted: &str) -> bool {
        let NodeKind::Mapping(entries) = &self.kind else { return false };
        entries.iter().any(|(key, _)| key.text().is_some_and(|text| **text == *wanted))
    }

    /// Where the key path leads, as far as it is written in the file.
    pub(super) fn find(&self, path: &str) -> (u32, u32) {
        let (mut node, mut at) = (self, self.at);
        let mut rest = path;
        while !rest.is_empty() {
            let found = match rest.strip_prefix('[') {
                Some(index) => node.item(index),
                None => node.entry(rest.strip_prefix('.').unwrap_or(rest)),
            };
            let Some((place, child, after)) = found else { break };
            (at, node, rest) = (place, child, after);
        }
        at
    }

    /// `index` is `3].rest`.
    fn item<'p>(&self, index: &'p str) -> Option<((u32, u32), &Node, &'p str)> {
        let (number, rest) = index.split_once(']')?;
        let NodeKind::Sequence(items) = &self.kind else { return None };
        let item = items.get(number.parse::<usize>().ok()?)?;
        Some((item.at, item, rest))
    }

    /// The longest key of this mapping that `path` starts with: keys may have dots in them.
    fn entry<'p>(&self, path: &'p str) -> Option<((u32, u32), &Node, &'p str)> {
        let NodeKind::Mapping(entries) = &self.kind else { return None };
        let matching = entries.iter().filter_map(|(key, value)| {
            let rest = path.strip_prefix(&**key.text()?)?;
            (rest.is_empty() || rest.starts_with(['.', '['])).then_some((key, value, rest))
        });
        let (key, value, rest) = matching.min_by_key(|(_, _, rest)| rest.len())?;
        Some((key.at, value, rest))
    }
}

// === impl Scalar ===

impl Scalar {
    pub(super) fn is_null(&self) -> bool {
        match self.tag.as_deref() {
            Some(tag) => tag == "null",
            None => self.plain && matches!(&*self.text, "" | "~" | "null" | "Null" | "NULL"),
        }
    }
}

// === impl Builder ===

impl<'t> Builder<'t> {
    fn next(&mut self) -> Result<Option<(Event<'t>, Span)>, Problem> {
        self.events.next_event().transpose().map_err(|error| {
            let mut problem = Problem::new(format!("yaml: {}", error.info()));
            problem.at = Some(place(error.marker().line(), error.marker().col()));
            problem
        })
    }

    fn node(&mut self, event: Event<'t>, span: Span, depth: usize) -> Result<Node, Problem> {
        let at = place(span.start.line(), span.start.col());
        let refuse = |message: &str| {
            Err(Problem { message: message.to_owned(), at: Some(at), path: Vec::new() })
        };
        if depth > DEPTH_MAX {
            return refuse("yaml: document is nested too deeply");
        }
        let (node, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let (plain, tag) =
                    (style == ScalarStyle::Plain, tag.and_then(|tag| core_tag(&tag)));
                let scalar = Scalar { text: text.into(), plain, tag };
                (Node { at, kind: NodeKind::Scalar(scalar), weight: 1 }, anchor)
            }
            Event::SequenceStart(_, anchor, _) => (self.sequence(at, depth)?, anchor),
            Event::MappingStart(_, anchor, _) => (self.mapping(at, depth)?, anchor),
            Event::Alias(id) => {
                let Some(node) = self.anchors.get(&id) else {
                    return refuse("yaml: anchor value contains itself");
                };
                self.unfolded += node.weight;
                if self.unfolded > UNFOLDED_NODES_MAX {
                    return refuse("yaml: document contains excessive aliasing");
                }
                return Ok(node.clone());
            }
            _ => return refuse("yaml: value expected"),
        };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn sequence(&mut self, at: (u32, u32), depth: usize) -> Result<Node, Problem> {
        let mut items = Vec::new();
        while let Some((event, span)) = self.next()? {
            if matches!(event, Event::SequenceEnd) {
                break;
            }
            items.push(self.node(event, span, depth + 1)?);
        }
        Ok(Node::sequence(at, items))
    }

    fn mapping(&mut self, at: (u32, u32), depth: usize) -> Result<Node, Problem> {
        let (mut entries, mut merged) = (Vec::new(), Vec::new());
        while let Some((event, span)) = self.next()? {
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let key = self.node(event, span, depth + 1)?;
            let Some((event, span)) = self.next()? else { break };
            let value = self.node(event, span, depth + 1)?;
            match is_merge(&key) {
                true => merge_from(&value, &mut merged)?,
                false => entries.push((key, value)),
            }
        }
        for (key, value) in merged {
            let known = |(other, _): &(Node, Node)| other.text() == key.text();
            if key.text().is_none() || !entries.iter().any(known) {
                entries.push((key, value));
            }
        }
        Ok(Node::mapping(at, entries))
    }
}

fn is_merge(key: &Node) -> bool {
    match &key.kind {
        NodeKind::Scalar(scalar) => match scalar.tag.as_deref() {
            None => scalar.plain && &*scalar.text == "<<",
            Some(tag) => tag == "merge",
        },
        NodeKind::Sequence(_) | NodeKind::Mapping(_) => false,
    }
}

/// Collects the entries of the mapping, or of the mappings in a list, that `<<` names.
fn merge_from(value: &Node, into: &mut Vec<(Node, Node)>) -> Result<(), Problem> {
    match &value.kind {
        NodeKind::Mapping(entries) => into.extend(entries.iter().cloned()),
        NodeKind::Sequence(items)
            if items.iter().all(|item| matches!(item.kind, NodeKind::Mapping(_))) =>
        {
            items.iter().try_for_each(|item| merge_from(item, into))?;
        }
        _ => {
            return Err(Problem::new(
                "yaml: map merge requires map or sequence of maps as the value",
            )
            .at(value));
        }
    }
    Ok(())
}

fn core_tag(tag: &Tag) -> Option<Arc<str>> {
    tag.suffix_in_namespace(CORE_TAGS).map(|suffix| suffix.as_ref().into())
}

/// Line from 1 and column from 0 to both from 1.
fn place(line: usize, column: usize) -> (u32, u32) {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    (number(line.max(1)), number(column + 1))
}
