//! Which changes of matching objects are told: all; only those of some fields; only edges.
//!
//! Written behind the condition: `status.state=running@on(status.host,status.state)`,
//! `status.cpuUsage>0.9@edge`. Edges (an object starts or stops matching) are always told, so
//! that a listener's set of objects stays right.

use super::condition::Place;
use super::text::Cursor;
use super::{Edge, SelectorError, Subject, Vocabulary, fields};

/// Which changes of an object that matched and still does are told.
#[derive(Debug, Default)]
pub(super) enum Trigger {
    /// Each.
    #[default]
    Every,
    /// Those in which one of these places changed.
    On(Vec<Place>),
    /// None.
    Edges,
}

/// Splits a field selector into its condition and the text from `@` on.
pub(super) fn split(text: &str) -> (&str, &str) {
    let trimmed = text.trim_end();
    let at = if trimmed.ends_with("@edge") {
        Some(trimmed.len() - "@edge".len())
    } else if trimmed.ends_with(')') {
        trimmed.rfind("@on(")
    } else {
        None
    };
    // An escaped `@` belongs to a value.
    match at.filter(|at| !text[..*at].ends_with('\\')) {
        Some(at) => text.split_at(at),
        None => (text, ""),
    }
}

impl Trigger {
    /// Parses `trigger`, which is the end of `text`.
    pub(super) fn parse(
        text: &str,
        trigger: &str,
        vocabulary: &impl Vocabulary,
    ) -> Result<Trigger, SelectorError> {
        let mut cursor = Cursor::new_at(text, text.len() - trigger.len());
        if trigger.is_empty() {
            return Ok(Trigger::Every);
        }
        if cursor.eat_word("@edge") {
            return Ok(Trigger::Edges);
        }
        let mut places = Vec::new();
        cursor.eat("@on(");
        loop {
            places.push(fields::place(&mut cursor, vocabulary)?.0);
            if cursor.eat(")") {
                break;
            }
            if !cursor.eat(",") {
                return Err(cursor.expected("a comma or a closing parenthesis"));
            }
        }
        cursor.skip_spaces();
        if cursor.is_at_end() { Ok(Trigger::On(places)) } else { Err(cursor.expected("the end")) }
    }

    pub(super) fn is_every_change(&self) -> bool {
        matches!(self, Trigger::Every)
    }

    pub(super) fn is_edges(&self) -> bool {
        matches!(self, Trigger::Edges)
    }

    /// Whether a change that is `edge` to the listener is told.
    pub(super) fn tells<S: Subject>(&self, edge: Edge, old: Option<&S>, new: Option<&S>) -> bool {
        match (self, edge, old, new) {
            (Trigger::Every, ..) | (_, Edge::Enter | Edge::Leave, ..) => true,
            (Trigger::On(places), Edge::Stay, Some(old), Some(new)) => {
                places.iter().any(|place| place.of(old) != place.of(new))
            }
            (Trigger::On(_) | Trigger::Edges, Edge::Stay, ..) => false,
        }
    }
}
