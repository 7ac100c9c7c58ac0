//! Sets of fields of a JSON document, as trees in Kubernetes' `FieldsV1` form:
//! `{"f:status":{"f:state":{}}}`. A leaf is an empty object.

use serde_json::{Map, Value as Json};

/// Steps from the root: `f:name` into an object, `k:{"type":"…"}` into the conditions.
pub(super) type Path = Vec<String>;

/// A set of fields.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Tree(Map<String, Json>);

// === impl Tree ===

impl Tree {
    /// Every field of `document` that a manager can own.
    pub(super) fn of(document: &Json) -> Tree {
        let mut tree = Map::new();
        for (key, value) in document.as_object().into_iter().flatten() {
            let inner = match key.as_str() {
                "apiVersion" | "kind" => continue,
                "metadata" => metadata(value),
                _ => subtree(value, key == "status"),
            };
            // An empty part of an object says nothing; it is there anyway.
            if inner.as_object().is_some_and(|inner| !inner.is_empty()) {
                tree.insert(format!("f:{key}"), inner);
            }
        }
        Tree(tree)
    }

    /// The fields whose values differ, or that are in only one of the two.
    pub(super) fn of_changes(old: &Json, new: &Json) -> Tree {
        let mut changed = Tree::default();
        for path in Tree::of(new).leaves().into_iter().chain(Tree::of(old).leaves()) {
            if get(old, &path) != get(new, &path) {
                changed.add(Tree::of_path(&path));
            }
        }
        changed
    }

    /// One field.
    pub(super) fn of_path(path: &Path) -> Tree {
        let leaf = Json::Object(Map::new());
        let tree = path
            .iter()
            .rev()
            .fold(leaf, |inner, step| Json::Object(Map::from_iter([(step.clone(), inner)])));
        Tree(if let Json::Object(tree) = tree { tree } else { Map::new() })
    }

    pub(super) fn from_json(tree: Map<String, Json>) -> Tree {
        Tree(tree)
    }

    pub(super) fn into_json(self) -> Json {
        Json::Object(self.0)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The fields without fields of their own.
    pub(super) fn leaves(&self) -> Vec<Path> {
        fn walk(tree: &Map<String, Json>, path: &mut Path, leaves: &mut Vec<Path>) {
            for (step, inner) in tree {
                path.push(step.clone());
                match inner.as_object() {
                    Some(inner) if !inner.is_empty() => walk(inner, path, leaves),
                    _ => leaves.push(path.clone()),
                }
                path.pop();
            }
        }
        let mut leaves = Vec::new();
        walk(&self.0, &mut Vec::new(), &mut leaves);
        leaves
    }

    /// Whether the field at `path`, one above or one below it is in the set.
    pub(super) fn touches(&self, path: &Path) -> bool {
        let mut tree = &self.0;
        for step in path {
            match tree.get(step).map(Json::as_object) {
                Some(Some(inner)) if !inner.is_empty() => tree = inner,
                Some(_) => return true,
                None => return false,
            }
        }
        true
    }

    pub(super) fn add(&mut self, other: Tree) {
        fn add(into: &mut Map<String, Json>, from: Map<String, Json>) {
            for (step, inner) in from {
                match (into.get_mut(&step), inner) {
                    (Some(Json::Object(known)), Json::Object(inner)) => add(known, inner),
                    (_, inner) => {
                        into.insert(step, inner);
                    }
                }
            }
        }
        add(&mut self.0, other.0);
    }

    /// Takes the fields of `other`, and those below them, out of the set.
    pub(super) fn subtract(&mut self, other: &Tree) {
        fn subtract(from: &mut Map<String, Json>, other: &Map<String, Json>) {
            for (step, inner) in other {
                let Some(Json::Object(known)) = from.get_mut(step) else { continue };
                let other = inner.as_object().filter(|inner| !inner.is_empty());
                let gone = match other {
                    Some(other) if !known.is_empty() => {
                        subtract(known, other);
                        known.is_empty()
                    }
                    Some(_) => false,
                    None => true,
                };
                if gone {
                    from.shift_remove(step);
                }
            }
        }
        subtract(&mut self.0, &other.0);
    }
}

/// The value at `path`.
pub(super) fn get<'j>(document: &'j Json, path: &Path) -> Option<&'j Json> {
    path.iter().try_fold(document, |value, step| match step.split_at_checked(2)? {
        ("f:", name) => value.get(name),
        ("k:", key) => value.as_array()?.iter().find(|item| is_keyed(item, key)),
        _ => None,
    })
}

/// Puts `value` at `path`, with what is missing on the way.
pub(super) fn set(document: &mut Json, path: &Path, value: Json) {
    let mut place = document;
    for step in path {
        place = match step.split_at_checked(2) {
            Some(("f:", name)) => member_or_insert(place, name),
            Some(("k:", key)) => item_or_insert(place, key),
            _ => return,
        };
    }
    *place = value;
}

/// Removes what is at `path`; objects that this leaves empty stay.
pub(super) fn remove(document: &mut Json, path: &[String]) {
    let Some((last, above)) = path.split_last() else { return };
    let mut place = document;
    for step in above {
        let next = match step.split_at_checked(2) {
            Some(("f:", name)) => place.get_mut(name),
            Some(("k:", key)) => place
                .as_array_mut()
                .and_then(|items| items.iter_mut().find(|item| is_keyed(item, key))),
            _ => None,
        };
        match next {
            Some(next) => place = next,
            None => return,
        }
    }
    match (last.split_at_checked(2), place) {
        (Some(("f:", name)), Json::Object(members)) => {
            members.shift_remove(name);
        }
        (Some(("k:", key)), Json::Array(items)) => items.retain(|item| !is_keyed(item, key)),
        _ => {}
    }
}

/// The path of the item, if `path` is that of its key: without the key there is no item.
pub(super) fn whole_item(path: &[String]) -> &[String] {
    match path {
        [above @ .., item, key] if item.starts_with("k:") && key == "f:type" => {
            &path[..=above.len()]
        }
        path => path,
    }
}

/// `.status.state`
pub(super) fn display(path: &Path) -> String {
    path.iter().fold(String::new(), |text, step| match step.split_at_checked(2) {
        Some(("f:", name)) => format!("{text}.{name}"),
        Some((_, key)) => format!("{text}[{key}]"),
        None => text,
    })
}

/// The object at `name` of an object; made if it is not there.
pub(super) fn member<'j>(document: &'j mut Json, name: &str) -> &'j mut Map<String, Json> {
    let place = member_or_insert(document, name);
    as_object(place)
}

fn metadata(value: &Json) -> Json {
    let mut tree = Map::new();
    for part in ["labels", "annotations"] {
        if let Some(texts @ Json::Object(members)) = value.get(part)
            && !members.is_empty()
        {
            tree.insert(format!("f:{part}"), subtree(texts, false));
        }
    }
    Json::Object(tree)
}

fn subtree(value: &Json, is_status: bool) -> Json {
    let Json::Object(members) = value else { return Json::Object(Map::new()) };
    let inner = members.iter().map(|(key, value)| {
        let inner = match value {
            Json::Array(items) if is_status && key == "conditions" => conditions(items),
            value => subtree(value, false),
        };
        (format!("f:{key}"), inner)
    });
    Json::Object(inner.collect())
}

fn conditions(items: &[Json]) -> Json {
    let keyed = items.iter().filter_map(|item| {
        let key = Json::Object(Map::from_iter([("type".to_owned(), item.get("type")?.clone())]));
        Some((format!("k:{key}"), subtree(item, false)))
    });
    Json::Object(keyed.collect())
}

fn is_keyed(item: &Json, key: &str) -> bool {
    let key: Option<Map<String, Json>> = serde_json::from_str(key).ok();
    key.is_some_and(|key| key.iter().all(|(name, value)| item.get(name) == Some(value)))
}

fn member_or_insert<'j>(place: &'j mut Json, name: &str) -> &'j mut Json {
    as_object(place).entry(name).or_insert(Json::Null)
}

fn item_or_insert<'j>(place: &'j mut Json, key: &str) -> &'j mut Json {
    if !place.is_array() {
        *place = Json::Array(Vec::new());
    }
    let Json::Array(items) = place else { unreachable!("it was made an array") };
    let at = items.iter().position(|item| is_keyed(item, key)).unwrap_or_else(|| {
        items.push(serde_json::from_str(key).unwrap_or_default());
        items.len() - 1
    });
    &mut items[at]
}

fn as_object(place: &mut Json) -> &mut Map<String, Json> {
    if !place.is_object() {
        *place = Json::Object(Map::new());
    }
    match place {
        Json::Object(members) => members,
        _ => unreachable!("it was made an object"),
    }
}
