//! Field selectors: a superset of what Kubernetes has for its own.
//!
//! ```text
//! selector := and { "||" and }
//! and      := term { ( "," | "&&" ) term }
//! term     := "(" selector ")" | "!" place | place
//!           | place ( "exists" | "!exists" )
//!           | place ( "=" | "==" | "!=" | "<" | "<=" | ">" | ">=" ) value
//!           | place ( "in" | "notin" ) "(" value { "," value } ")"
//! place    := "metadata.name" | "metadata.namespace" | "metadata.labels." key
//!           | "status.conditions." type | "status." field | field
//! ```
//! A value is plain text up to the next `,`, `)`, `||` or `&&`, with `\` before a character that
//! would end it; or text in double or single quotes. It must fit the type of its field.

use super::condition::{Condition, Operand, Place, Test};
use super::text::Cursor;
use super::{SelectorError, Vocabulary};
use crate::value::ValueType;

use std::cmp::Ordering::{Equal, Greater, Less};

/// Parentheses in parentheses. Nobody writes more by hand; recursion needs an end.
const NESTING_MAX: usize = 32;

/// Parses all of `cursor`; none if there is nothing but spaces.
pub(super) fn parse(
    cursor: Cursor<'_>,
    vocabulary: &impl Vocabulary,
) -> Result<Option<Condition>, SelectorError> {
    let mut parser = Parser { cursor, vocabulary, nesting: 0 };
    parser.cursor.skip_spaces();
    if parser.cursor.is_at_end() {
        return Ok(None);
    }
    let condition = parser.any()?;
    parser.cursor.skip_spaces();
    if parser.cursor.is_at_end() {
        Ok(Some(condition))
    } else {
        Err(parser.cursor.expected("`,`, `&&`, `||` or the end"))
    }
}

/// A place of an object, and of what sort its values are.
pub(super) fn place(
    cursor: &mut Cursor<'_>,
    vocabulary: &impl Vocabulary,
) -> Result<(Place, ValueType), SelectorError> {
    let (path, start) = cursor.name("the name of a field")?;
    let found = match path {
        "metadata.name" => Some((Place::Name, ValueType::Text)),
        "metadata.namespace" => Some((Place::Namespace, ValueType::Text)),
        _ => deep_place(path, vocabulary),
    };
    found.ok_or_else(|| {
        let known: Vec<&str> = vocabulary.fields().map(|(name, _)| name).collect();
        start.error(format!("no field {path:?}; status has {}", known.join(", ")))
    })
}

fn deep_place(path: &str, vocabulary: &impl Vocabulary) -> Option<(Place, ValueType)> {
    if let Some(key) = path.strip_prefix("metadata.labels.") {
        return (!key.is_empty()).then(|| (Place::Label(key.into()), ValueType::Text));
    }
    if let Some(name) = path.strip_prefix("status.conditions.") {
        return (!name.is_empty()).then(|| (Place::Condition(name.into()), ValueType::Text));
    }
    let (at, sort) = vocabulary.find(path.strip_prefix("status.").unwrap_or(path))?;
    Some((Place::Field(at), sort))
}

struct Parser<'t, 'v, V> {
    cursor: Cursor<'t>,
    vocabulary: &'v V,
    nesting: usize,
}

impl<V: Vocabulary> Parser<'_, '_, V> {
    fn any(&mut self) -> Result<Condition, SelectorError> {
        let mut any = vec![self.all()?];
        while self.cursor.eat("||") {
            any.push(self.all()?);
        }
        Ok(if any.len() == 1 { any.remove(0) } else { Condition::Any(any) })
    }

    fn all(&mut self) -> Result<Condition, SelectorError> {
        let mut all = vec![self.term()?];
        while self.cursor.eat(",") || self.cursor.eat("&&") {
            all.push(self.term()?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Condition::All(all) })
    }

    fn term(&mut self) -> Result<Condition, SelectorError> {
        if self.cursor.eat("(") {
            return self.nested();
        }
        if self.cursor.eat("!") {
            let (place, _) = place(&mut self.cursor, self.vocabulary)?;
            return Ok(Condition::Term(place, Test::Missing));
        }
        let (place, sort) = place(&mut self.cursor, self.vocabulary)?;
        Ok(Condition::Term(place, self.test(sort)?))
    }

    fn nested(&mut self) -> Result<Condition, SelectorError> {
        self.nesting += 1;
        if self.nesting > NESTING_MAX {
            let reason = format!("more than {NESTING_MAX} parentheses in each other");
            return Err(self.cursor.error(reason));
        }
        let inner = self.any()?;
        if !self.cursor.eat(")") {
            return Err(self.cursor.expected("a closing parenthesis"));
        }
        self.nesting -= 1;
        Ok(inner)
    }

    fn test(&mut self, sort: ValueType) -> Result<Test, SelectorError> {
        let cursor = &mut self.cursor;
        cursor.skip_spaces();
        let operator = *cursor;
        if cursor.eat_word("notin") {
            return Ok(Test::NotIn(self.set(sort)?));
        } else if cursor.eat_word("in") {
            return Ok(Test::In(self.set(sort)?));
        } else if cursor.eat_word("exists") {
            return Ok(Test::Exists);
        } else if cursor.eat_word("!exists") {
            return Ok(Test::Missing);
        } else if cursor.eat("!=") {
            return Ok(Test::NotIn(vec![self.operand(sort, Ends::Term)?]));
        } else if cursor.eat("==") || cursor.eat("=") {
            return Ok(Test::In(vec![self.operand(sort, Ends::Term)?]));
        }
        let wanted: &[_] = match () {
            () if cursor.eat("<=") => &[Less, Equal],
            () if cursor.eat(">=") => &[Greater, Equal],
            () if cursor.eat("<") => &[Less],
            () if cursor.eat(">") => &[Greater],
            () => return Ok(Test::Exists),
        };
        if sort == ValueType::Bool {
            return Err(operator.error("true and false have no order"));
        }
        Ok(Test::Order(wanted, self.operand(sort, Ends::Term)?))
    }

    fn set(&mut self, sort: ValueType) -> Result<Vec<Operand>, SelectorError> {
        if !self.cursor.eat("(") {
            return Err(self.cursor.expected("an opening parenthesis"));
        }
        let mut operands = vec![self.operand(sort, Ends::Item)?];
        while self.cursor.eat(",") {
            operands.push(self.operand(sort, Ends::Item)?);
        }
        if !self.cursor.eat(")") {
            return Err(self.cursor.expected("a comma or a closing parenthesis"));
        }
        operands.sort_unstable_by(Operand::order);
        Ok(operands)
    }

    fn operand(&mut self, sort: ValueType, ends: Ends) -> Result<Operand, SelectorError> {
        self.cursor.skip_spaces();
        let start = self.cursor;
        let text = match self.cursor.peek() {
            Some(quote @ ('"' | '\'')) => self.quoted(quote)?,
            _ => self.plain(ends)?,
        };
        match sort {
            ValueType::Text => Ok(Operand::Text(text.into())),
            ValueType::Number => match text.parse::<f64>() {
                Ok(number) if !number.is_nan() => Ok(Operand::Number(number)),
                _ => Err(start.error(format!("{text:?} is not a number"))),
            },
            ValueType::Bool => match text.as_str() {
                "true" => Ok(Operand::Bool(true)),
                "false" => Ok(Operand::Bool(false)),
                _ => Err(start.error(format!("{text:?} is neither true nor false"))),
            },
        }
    }

    fn quoted(&mut self, quote: char) -> Result<String, SelectorError> {
        let start = self.cursor;
        self.cursor.bump();
        let mut text = String::new();
        while let Some(next) = self.cursor.bump() {
            match next {
                '\\' => text.extend(self.cursor.bump()),
                _ if next == quote => return Ok(text),
                _ => text.push(next),
            }
        }
        Err(start.error("this quote is never closed"))
    }

    fn plain(&mut self, ends: Ends) -> Result<String, SelectorError> {
        let mut text = String::new();
        let mut kept = 0;
        loop {
            let rest = self.cursor.rest();
            let ended = rest.starts_with([',', ')']) || rest.starts_with("||");
            if ended || (ends == Ends::Term && rest.starts_with("&&")) {
                break;
            }
            let before = self.cursor;
            match self.cursor.bump() {
                None => break,
                Some('\\') => {
                    text.push(self.cursor.bump().ok_or_else(|| before.expected("a character"))?);
                    kept = text.len();
                }
                Some('(' | '=') => {
                    return Err(before.error("put `\\` before this, or quotes around the value"));
                }
                Some(next) => {
                    text.push(next);
                    kept = if next.is_whitespace() { kept } else { text.len() };
                }
            }
        }
        text.truncate(kept);
        Ok(text)
    }
}

/// What ends a plain value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ends {
    /// The end of the term it stands in.
    Term,
    /// The end of the item it is in a list.
    Item,
}
