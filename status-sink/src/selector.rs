//! Which objects, and which of their changes, a client asked for.
//!
//! A selector is compiled once per request against the fields of the kind and then asked many
//! times. Invariant: what compiled can be evaluated on every object; what cannot is refused at
//! compile time, with the character where it goes wrong. An object that lacks a field never makes
//! an error: it matches or it does not.
//!
//! The grammar is at the top of `selector/fields.rs` (field selectors), `selector/labels.rs`
//! (label selectors), `selector/expression.rs` (`cel:`) and `selector/trigger.rs` (`@on(…)`,
//! `@edge`).

mod condition;
mod cost;
mod expression;
mod fields;
mod labels;
mod pattern;
mod subject;
mod text;
mod trigger;
mod view;

use std::fmt;

use self::condition::Condition;
use self::expression::Expression;
use self::labels::LabelSelector;
use self::text::Cursor;
use self::trigger::Trigger;
use crate::value::ValueType;

/// Bytes of one selector. A thousand object names in an `in (…)` fit; a megabyte of terms that
/// every event would have to pass does not.
pub(crate) const SELECTOR_BYTES_MAX: usize = 32 * 1024;

/// What a selector may ask of an object.
pub(crate) trait Subject: Send + Sync + fmt::Debug {
    /// `metadata.name`.
    fn name(&self) -> &str;
    /// `metadata.namespace`; none if the kind is cluster-scoped.
    fn namespace(&self) -> Option<&str>;
    /// A label of `metadata.labels`.
    fn label(&self, key: &str) -> Option<&str>;
    /// The value of declared field `at`.
    fn field(&self, at: usize) -> Option<Scalar<'_>>;
    /// The status (`True`, `False`, `Unknown`) of a condition.
    fn condition(&self, name: &str) -> Option<&str>;
    /// The types of all conditions, and their statuses.
    fn conditions(&self) -> Vec<(&str, &str)>;
}

/// What a selector may name, for one kind.
pub(crate) trait Vocabulary {
    /// The declared fields, in their order: a field's place is what [`Subject::field`] takes.
    fn fields(&self) -> impl Iterator<Item = (&str, ValueType)>;

    /// A declared field by its name.
    fn find(&self, name: &str) -> Option<(usize, ValueType)> {
        let mut fields = self.fields().enumerate();
        fields.find_map(|(at, (known, sort))| (known == name).then_some((at, sort)))
    }
}

/// The value of a field, lent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Scalar<'o> {
    /// A string.
    Text(&'o str),
    /// A number.
    Number(f64),
    /// A truth value.
    Bool(bool),
}

/// Label selector and field selector of one request, ready to be asked.
#[derive(Debug, Default)]
pub(crate) struct Selector {
    labels: LabelSelector,
    condition: Option<Condition>,
    expression: Option<Expression>,
    trigger: Trigger,
}

/// What a change of an object is to a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edge {
    /// It matches now and did not before: ADDED.
    Enter,
    /// It matched and still does: MODIFIED.
    Stay,
    /// It matched and no longer does, or is gone: DELETED.
    Leave,
}

/// Why a selector was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("character {character}: {reason}")]
pub(crate) struct SelectorError {
    /// Where in the selector, counted in characters from 1.
    pub(crate) character: usize,
    /// What is wrong there.
    pub(crate) reason: String,
}

// === impl Scalar ===

impl<'o> Scalar<'o> {
    /// The text, if it is one.
    pub(crate) fn text(self) -> Option<&'o str> {
        match self {
            Scalar::Text(text) => Some(text),
            Scalar::Number(_) | Scalar::Bool(_) => None,
        }
    }
}

// === impl Selector ===

impl Selector {
    /// Compiles the two selectors of a request; an empty one selects everything.
    ///
    /// # Errors
    /// Says which of the two (`labelSelector`, `fieldSelector`) is wrong, and where.
    pub(crate) fn compile(
        labels: &str,
        fields: &str,
        vocabulary: &impl Vocabulary,
    ) -> Result<Selector, (&'static str, SelectorError)> {
        for (parameter, text) in [("labelSelector", labels), ("fieldSelector", fields)] {
            if text.len() > SELECTOR_BYTES_MAX {
                let reason = format!("the selector has more than {SELECTOR_BYTES_MAX} bytes");
                return Err((parameter, SelectorError::at(SELECTOR_BYTES_MAX + 1, reason)));
            }
        }
        let labels = LabelSelector::parse(labels).map_err(|error| ("labelSelector", error))?;
        let selector = Selector { labels, ..Selector::default() };
        selector.with_fields(fields, vocabulary).map_err(|error| ("fieldSelector", error))
    }

    fn with_fields(
        mut self,
        text: &str,
        vocabulary: &impl Vocabulary,
    ) -> Result<Selector, SelectorError> {
        let (condition, trigger) = trigger::split(text);
        self.trigger = Trigger::parse(text, trigger, vocabulary)?;
        let skipped = condition.len() - condition.trim_start().len();
        if let Some(source) = condition.trim_start().strip_prefix("cel:") {
            let start = text[..skipped + "cel:".len()].chars().count();
            let compiled = Expression::compile(source, vocabulary);
            let compiled = compiled.map_err(|error| error.shifted(start))?;
            if compiled.reads_old() && self.trigger.is_edges() {
                let at = text[..condition.len()].chars().count() + 1;
                let reason = "`@edge` is not for an expression that reads `old`: it is about \
                    changes anyway";
                return Err(SelectorError::at(at, reason));
            }
            self.expression = Some(compiled);
        } else {
            self.condition = fields::parse(Cursor::new(condition), vocabulary)?;
        }
        Ok(self)
    }

    /// Whether every object and every change is asked for.
    pub(crate) fn is_everything(&self) -> bool {
        self.labels.is_empty()
            && self.condition.is_none()
            && self.expression.is_none()
            && self.trigger.is_every_change()
    }

    /// Whether `object` belongs to the answer of a list.
    pub(crate) fn matches<S: Subject>(&self, object: &S) -> bool {
        self.holds(object, None)
    }

    /// What the change from `old` to `new` means for the listener; none if it is not told.
    ///
    /// A condition that reads `old` is about the change itself: each change it is true for is
    /// told, as ADDED if the object is new, as DELETED if it is gone, else as MODIFIED.
    pub(crate) fn edge<S: Subject>(&self, old: Option<&S>, new: Option<&S>) -> Option<Edge> {
        if self.expression.as_ref().is_some_and(Expression::reads_old) {
            let subject = new.or(old)?;
            let told = self.is_of_labels(subject) && self.is_true(new, old);
            let edge = match (old, new) {
                (None, _) => Edge::Enter,
                (Some(_), Some(_)) => Edge::Stay,
                (Some(_), None) => Edge::Leave,
            };
            return (told && self.trigger.tells(edge, old, new)).then_some(edge);
        }
        let before = old.is_some_and(|old| self.holds(old, None));
        let after = new.is_some_and(|new| self.holds(new, None));
        let edge = match (before, after) {
            (false, true) => Edge::Enter,
            (true, true) => Edge::Stay,
            (true, false) => Edge::Leave,
            (false, false) => return None,
        };
        self.trigger.tells(edge, old, new).then_some(edge)
    }

    /// Values of which a matching object's field `at` must have one, if the condition says so:
    /// with an index on the field, only those objects need be asked.
    pub(crate) fn required(&self, at: usize) -> Option<Vec<Scalar<'_>>> {
        self.condition.as_ref()?.required(condition::Place::Field(at))
    }

    /// Values of which a matching object's label `key` must have one, if the selectors say so.
    pub(crate) fn required_labels(&self, key: &str) -> Option<Vec<Scalar<'_>>> {
        let place = condition::Place::Label(key.into());
        let by_field = || self.condition.as_ref()?.required(place);
        self.labels.required(key).or_else(by_field)
    }

    /// The one name a matching object must have, if the condition says so.
    pub(crate) fn required_name(&self) -> Option<&str> {
        match *self.condition.as_ref()?.required(condition::Place::Name)?.as_slice() {
            [Scalar::Text(name)] => Some(name),
            _ => None,
        }
    }

    fn holds<S: Subject>(&self, object: &S, old: Option<&S>) -> bool {
        self.is_of_labels(object)
            && self.condition.as_ref().is_none_or(|condition| condition.holds(object))
            && self.is_true(Some(object), old)
    }

    fn is_of_labels<S: Subject>(&self, object: &S) -> bool {
        self.labels.is_empty() || self.labels.matches(|key| object.label(key))
    }

    fn is_true<S: Subject>(&self, object: Option<&S>, old: Option<&S>) -> bool {
        let Some(expression) = &self.expression else { return true };
        expression.is_true(object.map(|it| it as &dyn Subject), old.map(|it| it as &dyn Subject))
    }
}

// === impl SelectorError ===

impl SelectorError {
    fn at(character: usize, reason: impl Into<String>) -> SelectorError {
        SelectorError { character, reason: reason.into() }
    }

    fn shifted(self, by: usize) -> SelectorError {
        SelectorError { character: self.character + by, ..self }
    }
}

#[cfg(test)]
mod tests;
