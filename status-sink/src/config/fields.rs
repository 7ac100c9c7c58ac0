//! From what the file says about fields to checked fields.

use kit::config::Invalid;

use super::check::too_many_fields;
use super::{FieldSpec, MirrorSpec, Ordered, Template};
use crate::kind::{Field, FieldId, Kind, Mirror, Origin, Read};
use crate::value::{Text, Value, ValueType, write_json_text};

/// Names under `.status` that are not for fields.
const RESERVED: [&str; 2] = ["conditions", "observedAt"];

/// Checked fields, but for the mirrors: those need the other kinds.
pub(super) struct Draft {
    pub(super) fields: Vec<Field>,
    pub(super) mirrors: Vec<(FieldId, MirrorSpec)>,
}

/// Checks the fields of one kind.
pub(super) fn check(specs: Ordered<FieldSpec>) -> Result<Draft, Invalid> {
    if let Some(invalid) = too_many_fields(specs.0.len()) {
        return Err(invalid);
    }
    let (mut fields, mut mirrors) = (Vec::with_capacity(specs.0.len()), Vec::new());
    for (at, (name, mut spec)) in specs.0.into_iter().enumerate() {
        let here = |invalid: Invalid| invalid.under(format_args!("fields.{name}"));
        let mirror = spec.mirror.take();
        let field = field(&name, spec, mirror.is_some()).map_err(here)?;
        mirrors.extend(mirror.map(|mirror| (FieldId(at as u16), mirror)));
        fields.push(field);
    }
    Ok(Draft { fields, mirrors })
}

fn field(name: &str, spec: FieldSpec, is_mirror: bool) -> Result<Field, Invalid> {
    let FieldSpec { metric, from_label, label, mirror: _, kind, map, change, description } = spec;
    field_name(name)?;
    let sources = [!metric.is_empty(), !label.is_empty(), is_mirror];
    if sources.iter().filter(|given| **given).count() > 1 {
        let message = "has more than one of `metric`, `label` and `mirror`; keep one";
        return Err(Invalid::new("", message));
    }
    let only_with_metric = [("from_label", !from_label.is_empty()), ("map", !map.is_empty())];
    for (key, given) in only_with_metric {
        if given && metric.is_empty() {
            return Err(Invalid::new(key, "needs a `metric` beside it"));
        }
    }
    if !from_label.is_empty() && !map.is_empty() {
        return Err(Invalid::new("map", "cannot stand beside `from_label`; keep one"));
    }
    let declared = declared_type(&kind)?;
    let (kind, origin) = if !metric.is_empty() {
        let (kind, read) = read(declared, from_label, map)?;
        (kind, Origin::Metric { metric: metric.into(), read })
    } else if !label.is_empty() {
        (declared.unwrap_or(ValueType::Text), Origin::Label(label.into()))
    } else if is_mirror {
        if declared.is_some() {
            return Err(Invalid::new("type", "is the other field's; leave it out"));
        }
        (ValueType::Text, Origin::Mirror(Mirror::unresolved()))
    } else {
        (declared.unwrap_or(ValueType::Text), Origin::Api)
    };
    if !(change.is_finite() && change >= 0.0) || (change > 0.0 && kind != ValueType::Number) {
        return Err(Invalid::new(
            "change",
            "must be a positive number, for a field that is a number",
        ));
    }
    let mut json_key = Vec::new();
    write_json_text(name, &mut json_key);
    json_key.push(b':');
    Ok(Field {
        name: name.into(),
        kind,
        origin,
        change,
        description: description.into(),
        json_key: json_key.into(),
    })
}

fn field_name(name: &str) -> Result<(), Invalid> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic());
    if !starts || !name.chars().all(fits) || name.len() > 63 {
        let message = "must be a name of letters, digits and `_`, such as cpuUsage";
        return Err(Invalid::new("", message));
    }
    if RESERVED.contains(&name) {
        return Err(Invalid::new("", "is a name that every object has already; take another one"));
    }
    Ok(())
}

fn declared_type(word: &str) -> Result<Option<ValueType>, Invalid> {
    match word {
        "" => Ok(None),
        "bool" => Ok(Some(ValueType::Bool)),
        "number" => Ok(Some(ValueType::Number)),
        "string" => Ok(Some(ValueType::Text)),
        _ => Err(Invalid::new("type", format!("{word:?} must be bool, number or string"))),
    }
}

/// How the samples of a metric are read.
fn read(
    declared: Option<ValueType>,
    from_label: String,
    map: std::collections::BTreeMap<String, String>,
) -> Result<(ValueType, Read), Invalid> {
    let text_only = |what: &str| match declared {
        None | Some(ValueType::Text) => Ok(ValueType::Text),
        Some(_) => Err(Invalid::new("type", format!("must be string beside `{what}`"))),
    };
    if !from_label.is_empty() {
        return Ok((text_only("from_label")?, Read::FromLabel(from_label.into())));
    }
    if !map.is_empty() {
        let mut texts = Vec::with_capacity(map.len());
        for (value, text) in map {
            let key = || format!("map.{value}");
            let n: f64 =
                value.trim().parse().map_err(|_| Invalid::new(key(), "must be a number"))?;
            texts.push((n, Text::from(text.as_str())));
        }
        return Ok((text_only("map")?, Read::Map(texts.into())));
    }
    match declared.unwrap_or(ValueType::Number) {
        ValueType::Number => Ok((ValueType::Number, Read::Number)),
        ValueType::Bool => Ok((ValueType::Bool, Read::Bool)),
        ValueType::Text => {
            let message = "string needs `map` (texts for sample values) or `from_label` beside it";
            Err(Invalid::new("type", message))
        }
    }
}

/// Finds what a mirror of `kinds[at]` names.
pub(super) fn mirror(
    kinds: &[Kind],
    at: usize,
    spec: MirrorSpec,
) -> Result<(ValueType, Mirror), Invalid> {
    let own = &kinds[at];
    let other = kinds.iter().find(|kind| *kind.names.kind == *spec.kind);
    let other = other.ok_or_else(|| {
        let names: Vec<&str> = kinds.iter().map(Kind::name).collect();
        Invalid::new(
            "kind",
            format!("no such kind: {:?}; there are: {}", spec.kind, names.join(", ")),
        )
    })?;
    if other.namespaced && !own.namespaced {
        let message = format!("{} has namespaces and {} has none", other.name(), own.name());
        return Err(Invalid::new("kind", message));
    }
    let name = Template::parse(&spec.name).map_err(|message| Invalid::new("name", message))?;
    for part in name.labels() {
        let field = own.field_id(part).map(|id| own.field(id));
        let is_text = field.is_some_and(|field| {
            field.kind == ValueType::Text && !matches!(field.origin, Origin::Mirror(_))
        });
        let is_label = own.labels.iter().any(|(name, _)| name.as_str() == part);
        if !is_text && !is_label {
            let message = format!(
                "{part:?} is neither a string field nor a label of {}; add a field \
                 `{part}: {{ label: {part} }}`",
                own.name()
            );
            return Err(Invalid::new("name", message));
        }
    }
    if name.labels().next().is_none() {
        return Err(Invalid::new("name", "names no field of the object, such as \"{host}\""));
    }
    let field = other.field_id(&spec.field).ok_or_else(|| {
        Invalid::new("field", format!("{} has no field {:?}", other.name(), spec.field))
    })?;
    let target = other.field(field);
    if matches!(target.origin, Origin::Mirror(_)) {
        let message = "is a mirror itself; name the field that it mirrors";
        return Err(Invalid::new("field", message));
    }
    Ok((target.kind, Mirror { path: other.path().into(), name, field }))
}

/// A value of this type, from text in the configuration or a label.
pub(crate) fn parse(text: &str, kind: ValueType) -> Option<Value> {
    match kind {
        ValueType::Text => Some(Value::text(text)),
        ValueType::Bool => match text {
            "true" | "1" => Some(Value::Bool(true)),
            "false" | "0" => Some(Value::Bool(false)),
            _ => None,
        },
        ValueType::Number => {
            let n: f64 = text.trim().parse().ok()?;
            n.is_finite().then(|| Value::number(n))
        }
    }
}
