//! Server-side apply: a manager states what it wants, and owns what it stated.
//!
//! `metadata.managedFields` says who owns which field, in Kubernetes' own form (`FieldsV1`). A
//! field that another manager owns with another value is a conflict, unless the client forces it.
//! What a manager stated before and no longer does is removed, if nobody else owns it.
//!
//! Objects are granular, `status.conditions` is keyed by `type`, other arrays are atomic. Only
//! objects that were applied once carry owners: 51,200 scraped objects have none. A scrape owns
//! nothing and asks nobody: the newer observation wins, as always.

mod fields;

use serde_json::{Map, Value as Json, json};

use self::fields::{Path, Tree};
use super::failure::{About, Cause, Failure};

/// Managers of one object.
const MANAGERS_MAX: usize = 32;

/// Who applies, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Apply<'a> {
    /// `fieldManager`
    pub(crate) manager: &'a str,
    /// Whether conflicts are won.
    pub(crate) force: bool,
    /// Of the kind.
    pub(crate) api_version: &'a str,
    /// Now, in RFC 3339.
    pub(crate) time: &'a str,
    /// What is written to.
    pub(crate) about: About<'a>,
}

/// One entry of `metadata.managedFields`.
#[derive(Debug, Clone, PartialEq)]
struct Manager {
    name: String,
    operation: String,
    time: String,
    fields: Tree,
}

// === impl Apply ===

impl Apply<'_> {
    /// The object after `applied`, when it was `live`; with its owners.
    ///
    /// # Errors
    /// 409 with the conflicts, 422 without a manager's name.
    pub(crate) fn onto(&self, live: Option<&Json>, applied: &Json) -> Result<Json, Failure> {
        if self.manager.is_empty() {
            let message = "Required value: is required for apply patch";
            return Err(Failure::invalid_option("fieldManager", message));
        }
        let owners = applied.pointer("/metadata/managedFields").filter(|it| !it.is_null());
        if owners.is_some_and(|it| it.as_array().is_none_or(|owners| !owners.is_empty())) {
            return Err(Failure::bad_request("metadata.managedFields must be nil"));
        }
        let empty = json!({});
        let live = live.unwrap_or(&empty);
        let mut managers = managers(live);
        let wanted = Tree::of(applied);
        let own = managers.iter().position(|it| it.is(self.manager, "Apply"));
        let before = own.map(|at| managers.remove(at));
        self.settle_conflicts(&mut managers, &wanted, live, applied)?;

        let mut merged = live.clone();
        for path in before.iter().flat_map(|own| own.fields.leaves()) {
            let stated = wanted.touches(&path);
            if !stated && !managers.iter().any(|other| other.fields.touches(&path)) {
                fields::remove(&mut merged, fields::whole_item(&path));
            }
        }
        for path in wanted.leaves() {
            let value = fields::get(applied, &path);
            if let Some(value) = value.filter(|value| !is_held(&merged, &path, value)) {
                fields::set(&mut merged, &path, value.clone());
            }
        }
        let same = before.as_ref().filter(|own| own.fields == wanted && merged == *live);
        let time = same.map_or(self.time, |own| &own.time).to_owned();
        managers.push(Manager {
            name: self.manager.to_owned(),
            operation: "Apply".to_owned(),
            time,
            fields: wanted,
        });
        self.store(&mut merged, managers)?;
        Ok(merged)
    }

    /// Gives what an update changed from `live` to `updated` to the manager, if the object has
    /// owners at all.
    pub(crate) fn note_update(&self, live: &Json, updated: &mut Json) -> Result<(), Failure> {
        let mut managers = managers(live);
        if managers.is_empty() {
            return Ok(());
        }
        if updated.pointer("/metadata/managedFields") == Some(&json!([{}])) {
            // As the API server has it: one empty entry strips all owners, an empty list none.
            return self.store(updated, Vec::new());
        }
        let changed = Tree::of_changes(live, updated);
        if !changed.is_empty() {
            for other in &mut managers {
                other.fields.subtract(&changed);
            }
            let own = managers.iter().position(|it| it.is(self.manager, "Update"));
            let own = own.map(|at| managers.remove(at));
            let mut fields = own.map(|own| own.fields).unwrap_or_default();
            fields.add(changed);
            managers.push(Manager {
                name: self.manager.to_owned(),
                operation: "Update".to_owned(),
                time: self.time.to_owned(),
                fields,
            });
        }
        self.store(updated, managers)
    }

    fn settle_conflicts(
        &self,
        managers: &mut [Manager],
        wanted: &Tree,
        live: &Json,
        applied: &Json,
    ) -> Result<(), Failure> {
        let mut conflicts = Vec::new();
        for other in managers.iter_mut() {
            let contested: Vec<Path> = wanted
                .leaves()
                .into_iter()
                .filter(|path| other.fields.touches(path))
                .filter(|path| fields::get(live, path) != fields::get(applied, path))
                .filter(|path| {
                    fields::get(applied, path).is_none_or(|value| !is_held(live, path, value))
                })
                .collect();
            for path in contested {
                if self.force {
                    other.fields.subtract(&Tree::of_path(&path));
                } else {
                    let message = format!("conflict with {}", other.words(self.api_version));
                    let field = fields::display(&path);
                    conflicts.push(Cause { reason: "FieldManagerConflict", message, field });
                }
            }
        }
        if conflicts.is_empty() {
            return Ok(());
        }
        let list: Vec<String> =
            conflicts.iter().map(|it| format!("{}: {}", it.message, it.field)).collect();
        let s = if conflicts.len() == 1 { "" } else { "s" };
        let why = format!("Apply failed with {} conflict{s}: {}", conflicts.len(), list.join(", "));
        Err(Failure::apply_conflict(why, conflicts))
    }

    fn store(&self, object: &mut Json, mut managers: Vec<Manager>) -> Result<(), Failure> {
        managers.retain(|manager| !manager.fields.is_empty());
        if managers.len() > MANAGERS_MAX {
            let message = format!("more than {MANAGERS_MAX} field managers");
            let field = "metadata.managedFields".to_owned();
            let cause = Cause { reason: "FieldValueInvalid", message, field };
            return Err(Failure::invalid(self.about, vec![cause]));
        }
        let entries: Vec<Json> = managers
            .into_iter()
            .map(|manager| {
                json!({
                    "manager": manager.name,
                    "operation": manager.operation,
                    "apiVersion": self.api_version,
                    "time": manager.time,
                    "fieldsType": "FieldsV1",
                    "fieldsV1": manager.fields.into_json(),
                })
            })
            .collect();
        fields::member(object, "metadata").insert("managedFields".to_owned(), entries.into());
        Ok(())
    }
}

// === impl Manager ===

impl Manager {
    fn is(&self, name: &str, operation: &str) -> bool {
        self.name == name && self.operation == operation
    }

    /// As the API server names a manager in a conflict.
    fn words(&self, api_version: &str) -> String {
        match (self.operation.as_str(), self.time.as_str()) {
            ("Update", "") => format!("{:?} using {api_version}", self.name),
            ("Update", time) => format!("{:?} using {api_version} at {time}", self.name),
            _ => format!("{:?}", self.name),
        }
    }
}

/// Whether `value` is an empty object, and there is an object at `path` already: to state that
/// says nothing about what is in it.
fn is_held(document: &Json, path: &Path, value: &Json) -> bool {
    let is_empty = value.as_object().is_some_and(Map::is_empty);
    is_empty && fields::get(document, path).is_some_and(Json::is_object)
}

/// The owners of an object; entries we did not write are skipped.
fn managers(object: &Json) -> Vec<Manager> {
    let entries = object.pointer("/metadata/managedFields").and_then(Json::as_array);
    let read = |entry: &Json| {
        let text = |key: &str| entry.get(key)?.as_str().map(str::to_owned);
        let fields = entry.get("fieldsV1").and_then(Json::as_object).cloned();
        Some(Manager {
            name: text("manager")?,
            operation: text("operation")?,
            time: text("time").unwrap_or_default(),
            fields: Tree::from_json(fields?),
        })
    };
    entries.into_iter().flatten().filter_map(read).collect()
}

#[cfg(test)]
mod tests;
