//! Label selectors, in the whole grammar of Kubernetes:
//! `a=1,b!=2,c in (x,y),d notin (z),e,!f,g>5,h<7`.
//!
//! `!=` and `notin` also match where the label is missing, as they do there. Values are not held
//! to Kubernetes' character set: labels that come from series may be any text.

use super::text::Cursor;
use super::{Scalar, SelectorError};

/// All requirements must hold.
#[derive(Debug, Default)]
pub(super) struct LabelSelector(Vec<Requirement>);

#[derive(Debug)]
struct Requirement {
    key: Box<str>,
    test: Test,
}

#[derive(Debug)]
enum Test {
    Exists,
    Missing,
    In(Vec<Box<str>>),
    NotIn(Vec<Box<str>>),
    Above(i64),
    Below(i64),
}

// === impl LabelSelector ===

impl LabelSelector {
    pub(super) fn parse(text: &str) -> Result<LabelSelector, SelectorError> {
        let mut cursor = Cursor::new(text);
        let mut requirements = Vec::new();
        cursor.skip_spaces();
        while !cursor.is_at_end() {
            requirements.push(requirement(&mut cursor)?);
            cursor.skip_spaces();
            if cursor.is_at_end() {
                break;
            }
            if !cursor.eat(",") {
                return Err(cursor.expected("a comma"));
            }
            cursor.skip_spaces();
            if cursor.is_at_end() {
                return Err(cursor.expected("a label after the comma"));
            }
        }
        Ok(LabelSelector(requirements))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Values of which label `key` must have one, if there is such a requirement.
    pub(super) fn required(&self, key: &str) -> Option<Vec<Scalar<'_>>> {
        self.0.iter().filter(|requirement| *requirement.key == *key).find_map(|requirement| {
            match &requirement.test {
                Test::In(values) => Some(values.iter().map(|value| Scalar::Text(value)).collect()),
                _ => None,
            }
        })
    }

    pub(super) fn matches<'o>(&self, label: impl Fn(&str) -> Option<&'o str>) -> bool {
        self.0.iter().all(|requirement| requirement.test.holds(label(&requirement.key)))
    }
}

// === impl Test ===

impl Test {
    fn holds(&self, value: Option<&str>) -> bool {
        let is_one_of = |values: &[Box<str>]| {
            value.is_some_and(|value| values.binary_search_by(|known| (**known).cmp(value)).is_ok())
        };
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match self {
            Test::Exists => value.is_some(),
            Test::Missing => value.is_none(),
            Test::In(values) => is_one_of(values),
            Test::NotIn(values) => !is_one_of(values),
            Test::Above(bound) => number().is_some_and(|number| number > *bound),
            Test::Below(bound) => number().is_some_and(|number| number < *bound),
        }
    }
}

fn requirement(cursor: &mut Cursor<'_>) -> Result<Requirement, SelectorError> {
    let missing = cursor.eat("!");
    let (key, _) = cursor.name("the name of a label")?;
    let key = key.into();
    if missing {
        return Ok(Requirement { key, test: Test::Missing });
    }
    let test = if cursor.eat_word("notin") {
        Test::NotIn(set(cursor)?)
    } else if cursor.eat_word("in") {
        Test::In(set(cursor)?)
    } else if cursor.eat("!=") {
        Test::NotIn(vec![value(cursor).into()])
    } else if cursor.eat("==") || cursor.eat("=") {
        Test::In(vec![value(cursor).into()])
    } else if cursor.eat(">") {
        Test::Above(integer(cursor)?)
    } else if cursor.eat("<") {
        Test::Below(integer(cursor)?)
    } else {
        Test::Exists
    };
    Ok(Requirement { key, test })
}

fn set(cursor: &mut Cursor<'_>) -> Result<Vec<Box<str>>, SelectorError> {
    if !cursor.eat("(") {
        return Err(cursor.expected("an opening parenthesis"));
    }
    let mut values: Vec<Box<str>> = vec![value(cursor).into()];
    while cursor.eat(",") {
        values.push(value(cursor).into());
    }
    if !cursor.eat(")") {
        return Err(cursor.expected("a comma or a closing parenthesis"));
    }
    values.sort_unstable();
    Ok(values)
}

/// A value; may be empty.
fn value<'t>(cursor: &mut Cursor<'t>) -> &'t str {
    cursor.skip_spaces();
    cursor.take_while(|next| !next.is_whitespace() && !",()=!<>".contains(next))
}

fn integer(cursor: &mut Cursor<'_>) -> Result<i64, SelectorError> {
    cursor.skip_spaces();
    let start = *cursor;
    let text = value(cursor);
    text.parse().map_err(|_| start.error(format!("{text:?} is not an integer")))
}
