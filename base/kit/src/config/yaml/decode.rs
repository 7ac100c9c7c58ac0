//! The tree as serde sees it: strict, with go-yaml's words and the place of each error.

use std::cell::RefCell;
use std::sync::Arc;

use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer,
    MapAccess, SeqAccess, VariantAccess, Visitor,
};
use serde::{Deserialize, forward_to_deserialize_any};

use super::node::{Node, NodeKind};
use super::scalar::{Meaning, mismatch};
use super::{Error, INLINE, Problem, Step};

/// A part of a file that is not decoded yet. Only a [`Document`](super::Document) makes one with
/// something in it; the default one is empty, as `{}`.
#[derive(Debug, Clone)]
pub struct Section {
    node: Node,
    type_name: Option<&'static str>,
}

/// Decodes all of `node`.
pub(super) fn decode<T: DeserializeOwned>(node: &Node) -> Result<T, Problem> {
    T::deserialize(Decoder { node, type_name: None })
}

/// By this name [`Section`] asks the decoder for the node itself.
const SECTION: &str = "<section>";

thread_local! {
    /// How a node gets through serde, which knows no nodes: put here by the decoder, taken at
    /// once by the visitor that it calls.
    static PASSED: RefCell<Option<Section>> = const { RefCell::new(None) };
}

#[derive(Clone, Copy)]
struct Decoder<'n> {
    node: &'n Node,
    /// Set for the leftover keys of a struct: the name of that struct.
    type_name: Option<&'static str>,
}

// === impl Section ===

impl Section {
    /// Decodes it as what it turned out to be. The error's key path starts at this section.
    ///
    /// # Errors
    /// When it is not a `T`.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, SectionError> {
        let decoder = Decoder { node: &self.node, type_name: self.type_name };
        T::deserialize(decoder).map_err(|problem| SectionError(problem.in_file("".into())))
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        match &self.node.kind {
            NodeKind::Scalar(_) => self.node.is_null(),
            NodeKind::Sequence(items) => items.is_empty(),
            NodeKind::Mapping(entries) => entries.is_empty(),
        }
    }
}

impl Default for Section {
    fn default() -> Section {
        Section { node: Node::mapping((1, 1), Vec::new()), type_name: None }
    }
}

/// What is wrong in a [`Section`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SectionError(Error);

impl From<SectionError> for super::Invalid {
    fn from(error: SectionError) -> super::Invalid {
        super::Invalid::new(error.0.key, error.0.message)
    }
}

impl<'de> Deserialize<'de> for Section {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Section, D::Error> {
        struct Take;
        impl Visitor<'_> for Take {
            type Value = Section;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a part of a YAML document")
            }

            fn visit_unit<E: serde::de::Error>(self) -> Result<Section, E> {
                PASSED.take().ok_or_else(|| E::custom("not read by kit::config::yaml"))
            }
        }
        deserializer.deserialize_newtype_struct(SECTION, Take)
    }
}

// === impl Decoder ===

impl<'n> Decoder<'n> {
    fn mismatch(&self, wanted: &dyn serde::de::Expected) -> Problem {
        mismatch(self.node, &wanted.to_string())
    }

    fn integer(&self, wanted: &dyn serde::de::Expected) -> Result<i128, Problem> {
        let NodeKind::Scalar(scalar) = &self.node.kind else { return Err(self.mismatch(wanted)) };
        match scalar.meaning() {
            Meaning::Null => Ok(0),
            Meaning::Int(value) => Ok(value),
            Meaning::Float(value) if value.fract() == 0.0 && value.abs() < 1e18 => {
                Ok(value as i128)
            }
            _ => Err(self.mismatch(wanted)),
        }
    }

    fn entries(&self, wanted: &str) -> Result<&'n [(Node, Node)], Problem> {
        match &self.node.kind {
            NodeKind::Mapping(entries) => Ok(entries),
            NodeKind::Scalar(scalar) if scalar.is_null() => Ok(&[]),
            _ => Err(mismatch(self.node, wanted)),
        }
    }
}

/// The first key that occurs a second time.
fn repeated(entries: &[(Node, Node)]) -> Option<(&Node, &Arc<str>)> {
    let mut seen = std::collections::HashSet::with_capacity(entries.len());
    entries.iter().find_map(|(key, _)| {
        let text = key.text()?;
        (!seen.insert(text)).then_some((key, text))
    })
}

macro_rules! integers {
    ($($method:ident $visit:ident $type:ty,)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
            let value = self.integer(&visitor)?;
            let fitting = <$type>::try_from(value).map_err(|_| self.mismatch(&visitor))?;
            visitor.$visit(fitting).map_err(|problem: Problem| problem.at(self.node))
        }
    )*};
}

impl<'de> Deserializer<'de> for Decoder<'_> {
    type Error = Problem;

    integers! {
        deserialize_i8 visit_i8 i8,
        deserialize_i16 visit_i16 i16,
        deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64,
        deserialize_u8 visit_u8 u8,
        deserialize_u16 visit_u16 u16,
        deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64,
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        let NodeKind::Scalar(scalar) = &self.node.kind else {
            return match &self.node.kind {
                NodeKind::Sequence(_) => self.deserialize_seq(visitor),
                _ => self.deserialize_map(visitor),
            };
        };
        let value = match scalar.meaning() {
            Meaning::Null => visitor.visit_unit(),
            Meaning::Bool(value) => visitor.visit_bool(value),
            Meaning::Int(value) => match (u64::try_from(value), i64::try_from(value)) {
                (Ok(value), _) => visitor.visit_u64(value),
                (_, Ok(value)) => visitor.visit_i64(value),
                _ => visitor.visit_f64(value as f64),
            },
            Meaning::Float(value) => visitor.visit_f64(value),
            Meaning::Text | Meaning::Binary => return self.deserialize_string(visitor),
        };
        value.map_err(|problem: Problem| problem.at(self.node))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        let NodeKind::Scalar(scalar) = &self.node.kind else { return Err(self.mismatch(&visitor)) };
        match scalar.meaning() {
            Meaning::Bool(value) => visitor.visit_bool(value),
            Meaning::Null => visitor.visit_bool(false),
            _ => Err(self.mismatch(&visitor)),
        }
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        let NodeKind::Scalar(scalar) = &self.node.kind else { return Err(self.mismatch(&visitor)) };
        let value = match scalar.meaning() {
            Meaning::Float(value) => value,
            Meaning::Int(value) => value as f64,
            Meaning::Null => 0.0,
            _ => return Err(self.mismatch(&visitor)),
        };
        visitor.visit_f64(value)
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        let NodeKind::Scalar(scalar) = &self.node.kind else { return Err(self.mismatch(&visitor)) };
        if scalar.is_null() {
            return visitor.visit_str("").map_err(|problem: Problem| problem.at(self.node));
        }
        let bytes =
            scalar.bytes().map_err(|why| Problem::new(format!("yaml: {why}")).at(self.node))?;
        let value = match String::from_utf8(bytes) {
            Ok(text) => visitor.visit_string(text),
            Err(error) => visitor.visit_byte_buf(error.into_bytes()),
        };
        value.map_err(|problem: Problem| problem.at(self.node))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.deserialize_string(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.deserialize_string(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.deserialize_string(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.deserialize_string(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.deserialize_string(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        if self.node.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Problem> {
        if name != SECTION {
            return visitor.visit_newtype_struct(self);
        }
        let section = Section { node: self.node.clone(), type_name: self.type_name };
        PASSED.set(Some(section));
        visitor.visit_unit()
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        let items: &[Node] = match &self.node.kind {
            NodeKind::Sequence(items) => items,
            NodeKind::Scalar(scalar) if scalar.is_null() => &[],
            _ => return Err(self.mismatch(&visitor)),
        };
        visitor.visit_seq(Items { items, next: 0 }).map_err(|problem| problem.at(self.node))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Problem> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Problem> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        let entries = self.entries("a map")?;
        if let Some((key, text)) = repeated(entries) {
            return Err(Problem::new(format!("key {text:?} already set in map")).at(key));
        }
        let entries = entries.iter().map(|(key, value)| (key, value)).collect();
        let access = Entries { entries, next: 0, rest: None };
        visitor.visit_map(access).map_err(|problem| problem.at(self.node))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        let name = self.type_name.unwrap_or(name);
        let all = self.entries(name)?;
        if let Some((key, text)) = repeated(all) {
            let message = format!("field {text} already set in type {name}");
            return Err(Problem::new(message).at(key).inside(Step::Key(text.to_string())));
        }
        let has_inline = fields.contains(&INLINE);
        let (mut entries, mut rest) = (Vec::new(), Vec::new());
        for (key, value) in all {
            match key.text() {
                Some(text) if **text != *INLINE && fields.contains(&&**text) => {
                    entries.push((key, value));
                }
                Some(_) if has_inline => rest.push((key.clone(), value.clone())),
                Some(text) => {
                    let message = format!("field {text} not found in type {name}");
                    return Err(Problem::new(message).at(key).inside(Step::Key(text.to_string())));
                }
                None => return Err(mismatch(key, "a string")),
            }
        }
        let rest = has_inline.then(|| (Node::mapping(self.node.at, rest), name));
        let access = Entries { entries, next: 0, rest };
        visitor.visit_map(access).map_err(|problem| problem.at(self.node))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        let value = match &self.node.kind {
            NodeKind::Scalar(scalar) => {
                visitor.visit_enum(scalar.text.to_string().into_deserializer())
            }
            NodeKind::Mapping(entries) if entries.len() == 1 => {
                visitor.visit_enum(Variant { key: &entries[0].0, value: &entries[0].1 })
            }
            _ => return Err(mismatch(self.node, name)),
        };
        value.map_err(|problem: Problem| problem.at(self.node))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! { i128 u128 unit unit_struct }
}

/// The items of a list, in order.
struct Items<'n> {
    items: &'n [Node],
    next: usize,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Problem;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Problem> {
        let Some(node) = self.items.get(self.next) else { return Ok(None) };
        let step = Step::Item(self.next);
        self.next += 1;
        let value = seed.deserialize(Decoder { node, type_name: None });
        value.map(Some).map_err(|problem| problem.at(node).inside(step))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len() - self.next)
    }
}

/// The entries of a mapping, in order, and at last the leftover ones as one.
struct Entries<'n> {
    entries: Vec<(&'n Node, &'n Node)>,
    next: usize,
    /// The leftover entries of a struct, and that struct's name.
    rest: Option<(Node, &'static str)>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Problem;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Problem> {
        match self.entries.get(self.next) {
            Some((node, _)) => {
                let key = seed.deserialize(Decoder { node, type_name: None });
                key.map(Some).map_err(|problem| problem.at(node))
            }
            None if self.rest.is_some() => seed.deserialize(INLINE.into_deserializer()).map(Some),
            None => Ok(None),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Problem> {
        if let Some((key, node)) = self.entries.get(self.next) {
            self.next += 1;
            let value = seed.deserialize(Decoder { node, type_name: None });
            let step = Step::Key(key.text().map(|text| text.to_string()).unwrap_or_default());
            return value.map_err(|problem| problem.at(node).inside(step));
        }
        match self.rest.take() {
            Some((node, name)) => seed.deserialize(Decoder { node: &node, type_name: Some(name) }),
            None => Err(Problem::custom("no value left")),
        }
    }
}

/// `{ variant: value }`.
struct Variant<'n> {
    key: &'n Node,
    value: &'n Node,
}

impl<'de, 'n> EnumAccess<'de> for Variant<'n> {
    type Error = Problem;
    type Variant = VariantValue<'n>;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, VariantValue<'n>), Problem> {
        let variant = seed.deserialize(Decoder { node: self.key, type_name: None })?;
        Ok((variant, VariantValue { key: self.key, value: self.value }))
    }
}

struct VariantValue<'n> {
    key: &'n Node,
    value: &'n Node,
}

impl VariantValue<'_> {
    fn step(&self) -> Step {
        Step::Key(self.key.text().map(|text| text.to_string()).unwrap_or_default())
    }
}

impl<'de> VariantAccess<'de> for VariantValue<'_> {
    type Error = Problem;

    fn unit_variant(self) -> Result<(), Problem> {
        if self.value.is_null() { Ok(()) } else { Err(mismatch(self.value, "nothing")) }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Problem> {
        let step = self.step();
        let value = seed.deserialize(Decoder { node: self.value, type_name: None });
        value.map_err(|problem| problem.at(self.value).inside(step))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Problem> {
        let step = self.step();
        let value = Decoder { node: self.value, type_name: None }.deserialize_seq(visitor);
        value.map_err(|problem| problem.at(self.value).inside(step))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        let step = self.step();
        let decoder = Decoder { node: self.value, type_name: None };
        let value = decoder.deserialize_struct("variant", fields, visitor);
        value.map_err(|problem| problem.at(self.value).inside(step))
    }
}
