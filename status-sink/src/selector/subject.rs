//! How objects and kinds answer selectors.

use super::{Scalar, Subject, Vocabulary};
use crate::kind::Kind;
use crate::object::Object;
use crate::value::{Value, ValueType};

impl Subject for Object {
    fn name(&self) -> &str {
        self.key.name()
    }

    fn namespace(&self) -> Option<&str> {
        Some(self.key.namespace()).filter(|namespace| !namespace.is_empty())
    }

    fn label(&self, key: &str) -> Option<&str> {
        self.labels.get(key)
    }

    fn field(&self, at: usize) -> Option<Scalar<'_>> {
        match self.fields.get(at)? {
            Value::Null => None,
            Value::Bool(truth) => Some(Scalar::Bool(*truth)),
            Value::Number(number) => Some(Scalar::Number(*number)),
            Value::Text(text) => Some(Scalar::Text(text.as_str())),
        }
    }

    fn condition(&self, name: &str) -> Option<&str> {
        Some(Object::condition(self, name)?.status.word())
    }

    fn conditions(&self) -> Vec<(&str, &str)> {
        let all = Object::conditions(self).iter();
        all.map(|condition| (condition.name.as_str(), condition.status.word())).collect()
    }
}

impl Vocabulary for Kind {
    fn fields(&self) -> impl Iterator<Item = (&str, ValueType)> {
        self.fields.iter().map(|field| (&*field.name, field.kind))
    }
}

impl From<Scalar<'_>> for Value {
    fn from(scalar: Scalar<'_>) -> Value {
        match scalar {
            Scalar::Text(text) => Value::text(text),
            Scalar::Number(number) => Value::number(number),
            Scalar::Bool(truth) => Value::Bool(truth),
        }
    }
}
