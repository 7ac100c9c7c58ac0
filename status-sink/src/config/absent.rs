//! How `absent` is written: a word, or a mapping with the key `set`.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use super::AbsentSpec;

const EXPECTED: &str = "`delete`, `keep` or `{ set: { field: value } }`";

struct AbsentVisitor;

impl Serialize for AbsentSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            AbsentSpec::Delete => serializer.serialize_str("delete"),
            AbsentSpec::Keep => serializer.serialize_str("keep"),
            AbsentSpec::Set(values) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("set", values)?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for AbsentSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<AbsentSpec, D::Error> {
        deserializer.deserialize_any(AbsentVisitor)
    }
}

impl<'de> Visitor<'de> for AbsentVisitor {
    type Value = AbsentSpec;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(EXPECTED)
    }

    fn visit_unit<E>(self) -> Result<AbsentSpec, E> {
        Ok(AbsentSpec::default())
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<AbsentSpec, E> {
        match word {
            "delete" => Ok(AbsentSpec::Delete),
            "keep" => Ok(AbsentSpec::Keep),
            _ => Err(E::custom(format_args!("expected {EXPECTED}, got {word:?}"))),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<AbsentSpec, A::Error> {
        let mut set: Option<BTreeMap<String, String>> = None;
        while let Some(key) = map.next_key::<String>()? {
            if key != "set" {
                return Err(de::Error::custom(format_args!(
                    "expected {EXPECTED}, got key {key:?}"
                )));
            }
            set = Some(map.next_value()?);
        }
        set.map(AbsentSpec::Set)
            .ok_or_else(|| de::Error::custom(format_args!("expected {EXPECTED}")))
    }
}
