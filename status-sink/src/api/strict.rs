//! JSON in which every member that is named twice is found, while it is read.
//!
//! JSON lets the last of them win; a client that wrote `state` twice did not mean that. What is
//! done about them is `fieldValidation`'s to say.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value as Json};

/// Duplicates that are named; the rest is cut off.
const DUPLICATES_MAX: usize = 20;

/// A JSON text, and the paths of the members in it that are there more than once.
pub(crate) fn parse(text: &str) -> serde_json::Result<(Json, Vec<String>)> {
    let mut duplicates = Vec::new();
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = Value { duplicates: &mut duplicates }.deserialize(&mut reader)?;
    reader.end()?;
    Ok((value, duplicates))
}

struct Value<'d> {
    duplicates: &'d mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Json, E> {
        Ok(Json::Bool(truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json, E> {
        Ok(Json::Number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
        Ok(Json::Number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Json, E> {
        Ok(Number::from_f64(number).map_or(Json::Null, Json::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::String(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Json, E> {
        Ok(Json::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(Value { duplicates: self.duplicates })? {
            items.push(item);
        }
        Ok(Json::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let mut members = Map::new();
        while let Some(name) = access.next_key::<String>()? {
            let known = self.duplicates.len();
            let member = access.next_value_seed(Value { duplicates: self.duplicates })?;
            for inside in &mut self.duplicates[known..] {
                *inside = format!("{name}.{inside}");
            }
            if members.contains_key(&name) && self.duplicates.len() < DUPLICATES_MAX {
                self.duplicates.push(name.clone());
            }
            members.insert(name, member);
        }
        Ok(Json::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: &[&str]) {
        let (value, duplicates) = parse(text).unwrap();
        assert_eq!(value, serde_json::from_str::<Json>(text).unwrap(), "{text}");
        assert_eq!(duplicates, want, "{text}");
    }

    #[test]
    fn it_reads_what_serde_json_reads_and_finds_what_is_there_twice() {
        check(r#"{"a":[1,-2,0.5,1e3,true,null,"x\u00e9"],"b":{"c":{}}}"#, &[]);
        check(r#"{"status":{"a":1,"a":2},"status":{"b":1}}"#, &["status.a", "status"]);
        check(r#"{"list":[{"x":1},{"x":1,"x":2}]}"#, &["list.x"]);
        check("[]", &[]);
        for wrong in ["", "{", "{} x", r#"{"a":1,}"#, "[1 2]", "nul"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert!(parse(&"[".repeat(100_000)).is_err());
        let many = format!("{{{}\"a\":1}}", "\"a\":1,".repeat(1000));
        assert_eq!(parse(&many).unwrap().1.len(), DUPLICATES_MAX);
    }
}
