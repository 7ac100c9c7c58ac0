//! From what the file says to checked kinds.
//!
//! In three passes, because a mirror names a field of another kind: first every kind by itself,
//! then the mirrors, then what is said about the fields of whatever type.

use std::sync::Arc;

use kit::config::Invalid;

use super::fields::{self, Draft};
use super::{
    AbsentSpec, ConditionSpec, EVENTS_MAX_DEFAULT, FIELDS_MAX, GROUP_DEFAULT, KindSpec,
    OBJECTS_MAX_DEFAULT, Ordered, Template, VERSION_DEFAULT,
};
use crate::kind::{Absent, ConditionKind, FieldId, KeyTemplate, Kind, Names, Origin};
use crate::object::FRESH;
use crate::selector::Selector;
use crate::value::{Text, Value};

/// Least number of events that are worth keeping: one batch of one host.
const EVENTS_MAX_LEAST: usize = 16;

/// Checks all kinds.
pub(super) fn kinds(specs: Vec<KindSpec>) -> Result<Vec<Arc<Kind>>, Invalid> {
    let mut kinds: Vec<Kind> = Vec::with_capacity(specs.len());
    let mut mirrors = Vec::with_capacity(specs.len());
    for (at, spec) in specs.into_iter().enumerate() {
        let here = |invalid: Invalid| invalid.under(format_args!("kinds[{at}]"));
        let (kind, drafts) = kind(spec).map_err(here)?;
        unique(&kinds, &kind).map_err(here)?;
        kinds.push(kind);
        mirrors.push(drafts);
    }
    for (at, drafts) in mirrors.into_iter().enumerate() {
        for (field, draft) in drafts {
            let key = format!("kinds[{at}].fields.{}.mirror", kinds[at].field(field).name);
            let resolved = fields::mirror(&kinds, at, draft).map_err(|error| error.under(key))?;
            let field = &mut kinds[at].fields[usize::from(field.0)];
            (field.kind, field.origin) = (resolved.0, Origin::Mirror(resolved.1));
        }
    }
    for (at, kind) in kinds.iter().enumerate() {
        conditions_hold(kind).map_err(|invalid| invalid.under(format_args!("kinds[{at}]")))?;
    }
    Ok(kinds.into_iter().map(Arc::new).collect())
}

/// One kind, but for the mirrors among its fields.
fn kind(spec: KindSpec) -> Result<(Kind, Vec<(FieldId, super::MirrorSpec)>), Invalid> {
    let names = names(&spec)?;
    let KindSpec { name, namespace, labels, fields, conditions, index, columns, .. } = spec;
    let Draft { fields, mirrors } = fields::check(fields)?;
    let key = key(&name, &namespace)?;
    let from_series = |origin: &Origin| matches!(origin, Origin::Metric { .. } | Origin::Label(_));
    let has_metric = fields.iter().any(|field| matches!(field.origin, Origin::Metric { .. }));
    let needs_series = fields.iter().any(|field| from_series(&field.origin)) || !labels.is_empty();
    if key.is_none() && needs_series {
        return Err(Invalid::new(
            "name",
            "is missing; say how an object's name is made of labels, such as \"{instance}\"",
        ));
    }
    if (key.is_some() || needs_series) && !has_metric {
        return Err(Invalid::new(
            "fields",
            "no field has a `metric`, so no series would ever name an object; add one, or leave out \
             `name`, `labels` and `label` to let only the API make objects",
        ));
    }
    let columns = field_ids(&fields, &columns, "columns")?;
    let index = field_ids(&fields, &index, "index")?;
    let absent = absent(&fields, spec.absent)?;
    let after = |duration: kit::config::Duration| (!duration.is_zero()).then(|| duration.to_std());
    let kind = Kind {
        namespaced: !namespace.is_empty() || spec.namespaced,
        names,
        key,
        labels: templates(labels, "labels")?,
        conditions: self::conditions(conditions)?,
        index,
        columns,
        absent,
        absent_after: spec.absent_after.to_std(),
        stale_after: after(spec.stale_after),
        ttl: after(spec.ttl),
        events_max: at_least(spec.events_max, EVENTS_MAX_DEFAULT, EVENTS_MAX_LEAST, "events_max")?,
        objects_max: at_least(spec.objects_max, OBJECTS_MAX_DEFAULT, 1, "objects_max")?,
        fields: fields.into(),
    };
    Ok((kind, mirrors))
}

fn names(spec: &KindSpec) -> Result<Names, Invalid> {
    if !is_camel_case(&spec.kind) {
        let message = "must be a name in upper camel case, such as VirtualMachine";
        return Err(Invalid::new("kind", message));
    }
    let singular = spec.kind.to_ascii_lowercase();
    let or = |given: &str, default: String| if given.is_empty() { default } else { given.into() };
    let plural = or(&spec.plural, format!("{singular}s"));
    let group = or(&spec.group, GROUP_DEFAULT.into());
    let version = or(&spec.version, VERSION_DEFAULT.into());
    let categories = spec.categories.clone().unwrap_or_else(|| vec!["all".into()]);
    let words = [("plural", &plural), ("version", &version)];
    let short = spec.short_names.iter().map(|name| ("short_names", name));
    let category = categories.iter().map(|name| ("categories", name));
    for (key, word) in words.into_iter().chain(short).chain(category) {
        if !is_dns_word(word) {
            let message = format!("{word:?} must be of lower-case letters, digits and `-`");
            return Err(Invalid::new(key, message));
        }
    }
    if !group.contains('.') || !group.split('.').all(is_dns_word) {
        let message =
            format!("{group:?} must be a domain name with a dot, such as {GROUP_DEFAULT}");
        return Err(Invalid::new("group", message));
    }
    let boxed = |words: &[String]| words.iter().map(|word| word.as_str().into()).collect();
    let kind = &spec.kind;
    let head = format!(r#"{{"apiVersion":"{group}/{version}","kind":"{kind}","metadata":"#);
    Ok(Names {
        json_head: head.into_bytes().into(),
        kind: spec.kind.as_str().into(),
        plural: plural.into(),
        singular: singular.into(),
        group: group.into(),
        version: version.into(),
        short: boxed(&spec.short_names),
        categories: boxed(&categories),
    })
}

fn unique(kinds: &[Kind], new: &Kind) -> Result<(), Invalid> {
    let same_group = kinds.iter().filter(|kind| kind.names.group == new.names.group);
    for kind in same_group {
        if kind.names.kind == new.names.kind {
            return Err(Invalid::new("kind", format!("{} is declared twice", new.names.kind)));
        }
        if kind.names.plural == new.names.plural {
            let message = format!(
                "{:?} is the plural of {} already; set another one",
                new.names.plural,
                kind.name()
            );
            return Err(Invalid::new("plural", message));
        }
        let is_of = |names: &Names, name: &str| {
            let own = [&names.plural, &names.singular].into_iter().chain(&names.short);
            own.into_iter().any(|known| **known == *name)
        };
        if let Some(name) = new.names.short.iter().find(|name| is_of(&kind.names, name)) {
            let message = format!("{name:?} is a name of {} already", kind.name());
            return Err(Invalid::new("short_names", message));
        }
        if let Some(name) = kind.names.short.iter().find(|name| is_of(&new.names, name)) {
            let key = if **name == *new.names.plural { "plural" } else { "singular" };
            let message = format!("{name:?} is a short name of {} already", kind.name());
            return Err(Invalid::new(key, message));
        }
    }
    Ok(())
}

fn key(name: &str, namespace: &str) -> Result<Option<KeyTemplate>, Invalid> {
    if name.is_empty() {
        if !namespace.is_empty() {
            let message = "needs a `name` beside it; without one only the API makes objects, and \
                           `namespaced: true` says that they have a namespace";
            return Err(Invalid::new("namespace", message));
        }
        return Ok(None);
    }
    let name = template(name, "name")?;
    if name.labels().next().is_none() {
        let message = "names no label, so all objects would have one name; write \"{instance}\" \
                       for the value of label instance";
        return Err(Invalid::new("name", message));
    }
    let namespace =
        (!namespace.is_empty()).then(|| template(namespace, "namespace")).transpose()?;
    Ok(Some(KeyTemplate { name, namespace }))
}

fn templates(specs: Ordered<String>, key: &str) -> Result<Box<[(Text, Template)]>, Invalid> {
    let mut templates = Vec::with_capacity(specs.0.len());
    for (name, text) in specs.0 {
        if !is_label_key(&name) {
            let message = "must be of letters, digits, `-`, `_`, `.` and one `/`, 63 at most";
            return Err(Invalid::new(format!("{key}.{name}"), message));
        }
        templates.push((Text::from(name.as_str()), template(&text, &format!("{key}.{name}"))?));
    }
    templates.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(templates.into())
}

fn conditions(specs: Ordered<ConditionSpec>) -> Result<Box<[ConditionKind]>, Invalid> {
    let mut conditions = Vec::with_capacity(specs.0.len());
    for (name, ConditionSpec { when, description }) in specs.0 {
        let key = format!("conditions.{name}");
        if !is_camel_case(&name) {
            return Err(Invalid::new(key, "must be a name in upper camel case, such as Ready"));
        }
        if name == FRESH {
            let message = format!("{FRESH} is there by itself; set `stale_after` for it");
            return Err(Invalid::new(key, message));
        }
        conditions.push(ConditionKind {
            name: Text::from(name.as_str()),
            when: (!when.is_empty()).then(|| when.into()),
            description: description.into(),
        });
    }
    Ok(conditions.into())
}

/// Whether the selectors of conditions can be evaluated: only now are the types of mirrors known.
fn conditions_hold(kind: &Kind) -> Result<(), Invalid> {
    for ConditionKind { name, when, .. } in &kind.conditions {
        let Some(when) = when else { continue };
        let compiled = Selector::compile("", when, kind);
        compiled.map_err(|(_, error)| {
            let key = format!("conditions.{}.when", name.as_str());
            Invalid::new(key, format!("{when:?} is no field selector: {error}"))
        })?;
    }
    Ok(())
}

fn absent(fields: &[crate::kind::Field], spec: AbsentSpec) -> Result<Absent, Invalid> {
    let values = match spec {
        AbsentSpec::Delete => return Ok(Absent::Delete),
        AbsentSpec::Keep => return Ok(Absent::Keep),
        AbsentSpec::Set(values) => values,
    };
    let mut set: Vec<(FieldId, Value)> = Vec::with_capacity(values.len());
    for (name, text) in values {
        let key = format!("absent.set.{name}");
        let at = fields.iter().position(|field| *field.name == *name);
        let at = at.ok_or_else(|| unknown_field(fields, key.clone()))?;
        let value = fields::parse(&text, fields[at].kind).ok_or_else(|| {
            Invalid::new(key, format!("{text:?} is not a {}", fields[at].kind.name()))
        })?;
        set.push((FieldId(at as u16), value));
    }
    Ok(Absent::Set(set.into()))
}

fn field_ids(
    fields: &[crate::kind::Field],
    names: &[String],
    key: &str,
) -> Result<Box<[FieldId]>, Invalid> {
    let mut ids = Vec::with_capacity(names.len());
    for (at, name) in names.iter().enumerate() {
        let key = format!("{key}[{at}]");
        let place = fields.iter().position(|field| *field.name == **name);
        let id = FieldId(place.ok_or_else(|| unknown_field(fields, key.clone()))? as u16);
        if ids.contains(&id) {
            return Err(Invalid::new(key, format!("{name:?} is named twice")));
        }
        ids.push(id);
    }
    Ok(ids.into())
}

fn unknown_field(fields: &[crate::kind::Field], key: String) -> Invalid {
    let names: Vec<&str> = fields.iter().map(|field| &*field.name).collect();
    Invalid::new(key, format!("no such field; there are: {}", names.join(", ")))
}

fn template(text: &str, key: &str) -> Result<Template, Invalid> {
    Template::parse(text).map_err(|message| Invalid::new(key, message))
}

fn at_least(
    given: Option<usize>,
    default: usize,
    least: usize,
    key: &str,
) -> Result<usize, Invalid> {
    match given {
        Some(n) if n < least => Err(Invalid::new(key, format!("must be at least {least}"))),
        given => Ok(given.unwrap_or(default)),
    }
}

pub(super) fn too_many_fields(n: usize) -> Option<Invalid> {
    let message = || format!("{n} fields; a kind can have {FIELDS_MAX}");
    (n > FIELDS_MAX).then(|| Invalid::new("fields", message()))
}

fn is_camel_case(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_uppercase())
        && word.chars().all(|c| c.is_ascii_alphanumeric())
        && word.len() <= 63
}

fn is_dns_word(word: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&word.len())
        && word.chars().all(fits)
        && !word.starts_with('-')
        && !word.ends_with('-')
}

fn is_label_key(key: &str) -> bool {
    let (prefix, name) = key.split_once('/').unwrap_or(("x", key));
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !prefix.is_empty()
        && (1..=63).contains(&name.len())
        && prefix.chars().chain(name.chars()).all(fits)
}
