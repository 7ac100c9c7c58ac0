//! A field selector, compiled: terms over places of an object, joined by AND and OR.
//!
//! `!=` and `notin` hold where the field is missing; `=` with an empty value does too; every
//! other comparison does not.

use std::cmp::Ordering;

use super::{Scalar, Subject};

/// What must hold.
#[derive(Debug)]
pub(super) enum Condition {
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Term(Place, Test),
}

/// What a term looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Name,
    Namespace,
    Label(Box<str>),
    Condition(Box<str>),
    Field(usize),
}

/// What a term demands of the value.
#[derive(Debug)]
pub(super) enum Test {
    Exists,
    Missing,
    /// One of these: sorted.
    In(Vec<Operand>),
    /// None of these: sorted.
    NotIn(Vec<Operand>),
    /// In one of these orders relative to the operand.
    Order(&'static [Ordering], Operand),
}

/// A value in the selector's text, of the sort of the field it is compared with.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Operand {
    Text(Box<str>),
    Number(f64),
    Bool(bool),
}

// === impl Condition ===

impl Condition {
    pub(super) fn holds<S: Subject>(&self, object: &S) -> bool {
        match self {
            Condition::All(all) => all.iter().all(|condition| condition.holds(object)),
            Condition::Any(any) => any.iter().any(|condition| condition.holds(object)),
            Condition::Term(place, test) => test.holds(place.of(object)),
        }
    }

    /// Values of which `place` must have one for this to hold; none if it may have others.
    pub(super) fn required(&self, place: Place) -> Option<Vec<Scalar<'_>>> {
        match self {
            Condition::Term(at, Test::In(values)) if *at == place => {
                // An empty value also stands for a missing one, which no index knows.
                let is_empty =
                    |value: &Operand| matches!(value, Operand::Text(text) if text.is_empty());
                let values = (!values.iter().any(is_empty)).then_some(values)?;
                Some(values.iter().map(Operand::scalar).collect())
            }
            Condition::Term(..) => None,
            Condition::All(all) => all.iter().find_map(|one| one.required(place.clone())),
            Condition::Any(any) => {
                let mut values = Vec::new();
                for one in any {
                    values.extend(one.required(place.clone())?);
                }
                Some(values)
            }
        }
    }
}

// === impl Place ===

impl Place {
    pub(super) fn of<'o, S: Subject>(&self, object: &'o S) -> Option<Scalar<'o>> {
        match self {
            Place::Field(at) => object.field(*at),
            Place::Name => Some(Scalar::Text(object.name())),
            Place::Namespace => object.namespace().map(Scalar::Text),
            Place::Label(key) => object.label(key).map(Scalar::Text),
            Place::Condition(name) => object.condition(name).map(Scalar::Text),
        }
    }
}

// === impl Test ===

impl Test {
    fn holds(&self, value: Option<Scalar<'_>>) -> bool {
        match self {
            Test::Exists => value.is_some(),
            Test::Missing => value.is_none(),
            Test::In(operands) => is_one_of(value, operands),
            Test::NotIn(operands) => !is_one_of(value, operands),
            Test::Order(wanted, operand) => value
                .and_then(|value| value.compare(operand))
                .is_some_and(|order| wanted.contains(&order)),
        }
    }
}

// === impl Operand ===

impl Operand {
    pub(super) fn scalar(&self) -> Scalar<'_> {
        match self {
            Operand::Text(text) => Scalar::Text(text),
            Operand::Number(number) => Scalar::Number(*number),
            Operand::Bool(truth) => Scalar::Bool(*truth),
        }
    }

    /// The order in which [`Test::In`] keeps its operands.
    pub(super) fn order(&self, other: &Operand) -> Ordering {
        self.scalar().compare(other).unwrap_or(Ordering::Equal)
    }
}

// === impl Scalar ===

impl Scalar<'_> {
    /// How the value stands to `operand`; none if they are of different sorts, or not ordered.
    fn compare(&self, operand: &Operand) -> Option<Ordering> {
        match (self, operand) {
            (Scalar::Text(value), Operand::Text(operand)) => Some((*value).cmp(&**operand)),
            (Scalar::Number(value), Operand::Number(operand)) => value.partial_cmp(operand),
            (Scalar::Bool(value), Operand::Bool(operand)) => Some(value.cmp(operand)),
            _ => None,
        }
    }
}

fn is_one_of(value: Option<Scalar<'_>>, operands: &[Operand]) -> bool {
    let value = value.unwrap_or(Scalar::Text(""));
    let mut low = 0;
    let mut high = operands.len();
    while low < high {
        let middle = low.midpoint(high);
        match value.compare(&operands[middle]) {
            Some(Ordering::Equal) => return true,
            Some(Ordering::Less) => high = middle,
            Some(Ordering::Greater) => low = middle + 1,
            None => return false,
        }
    }
    false
}
