//! What a client sent, read as a wish for an object: names, labels, fields, conditions.
//!
//! Fields the kind does not declare are refused, warned about or dropped, as `fieldValidation`
//! says; values of the wrong type are always refused. Everything that is wrong is said at once.

use serde_json::{Map, Value as Json};

use super::failure::{About, Cause, Failure};
use super::options::Validation;
use crate::kind::{ConditionKind, FieldId, FieldSet, Kind, Origin};
use crate::object::{ConditionStatus, Draft, FRESH, LabelSet, Object};
use crate::value::{Text, Value};

/// Bytes of a name or a namespace.
const NAME_BYTES_MAX: usize = 253;

/// Labels of one object.
const LABELS_MAX: usize = 64;

/// Bytes of all annotations of an object (Kubernetes' limit).
const ANNOTATION_BYTES_MAX: usize = 256 * 1024;

/// Conditions of one object.
const CONDITIONS_MAX: usize = 32;

/// Things that are wrong with one object that are listed; the rest is cut off.
const CAUSES_MAX: usize = 20;

/// Members of `metadata` that only the server decides; clients send them back as they got them.
const SERVER_METADATA: [&str; 8] = [
    "uid",
    "generation",
    "creationTimestamp",
    "selfLink",
    "managedFields",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generateName",
];

/// An object's JSON, as a client sent it or as a patch made it.
#[derive(Debug)]
pub(crate) struct Document<'d> {
    kind: &'d Kind,
    json: &'d Map<String, Json>,
}

/// What is read from a document beside the draft.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Read {
    /// What the client is warned of.
    pub(crate) warnings: Vec<String>,
}

/// Which fields of a document are the client's word, not just its copy of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spoken {
    /// All: a field that is not there is to be unknown.
    All,
    /// These, and those that differ.
    These(FieldSet),
}

// === impl Document ===

impl<'d> Document<'d> {
    /// Of an object of `kind`.
    ///
    /// # Errors
    /// 400 when it is no object, or one of another kind.
    pub(crate) fn new(kind: &'d Kind, json: &'d Json) -> Result<Document<'d>, Failure> {
        let Json::Object(json) = json else {
            return Err(Failure::bad_request("the body is not a JSON object"));
        };
        check_member(json, "apiVersion", || kind.api_version())?;
        check_member(json, "kind", || kind.name().to_owned())?;
        Ok(Document { kind, json })
    }

    /// A text of `metadata`; none if it is missing or empty.
    ///
    /// # Errors
    /// 400 when it is no text.
    pub(crate) fn metadata(&self, key: &str) -> Result<Option<&'d str>, Failure> {
        match self.json.get("metadata").and_then(|metadata| metadata.get(key)) {
            None | Some(Json::Null) => Ok(None),
            Some(Json::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
            Some(_) => Err(Failure::bad_request(format!("metadata.{key} is not a string"))),
        }
    }

    /// Writes what the document says into `draft`, which is to follow `current`. With
    /// `only_status`, nothing but `status`.
    ///
    /// # Errors
    /// 400 for unknown fields under `Strict`, 422 for values that cannot be.
    pub(crate) fn fill(
        &self,
        draft: &mut Draft,
        current: Option<&Object>,
        spoken: Spoken,
        only_status: bool,
        validation: Validation,
    ) -> Result<Read, Failure> {
        let mut reader = Reader { kind: self.kind, causes: Vec::new(), unknown: Vec::new() };
        if !only_status {
            reader.metadata(self.json.get("metadata"), draft);
            reader.spec(self.json.get("spec"), draft);
        }
        reader.status(self.json.get("status"), draft, current, spoken);
        let known = ["apiVersion", "kind", "metadata", "spec", "status"];
        let others = self.json.keys().filter(|key| !known.contains(&key.as_str()));
        reader.unknown.extend(others.cloned());
        let name = self.metadata("name")?.unwrap_or_default();
        reader.finish(name, validation)
    }
}

/// A member that must be what `want` says, if it is there.
fn check_member(
    json: &Map<String, Json>,
    key: &str,
    want: impl FnOnce() -> String,
) -> Result<(), Failure> {
    let Some(found) = json.get(key) else { return Ok(()) };
    let want = want();
    if found.as_str() == Some(&want) {
        return Ok(());
    }
    Err(Failure::bad_request(format!("the object's {key} is {found}, this path is for {want}")))
}

/// Sets what is said of fields. False, with the draft half written, if something else is said, or
/// something that cannot be: whoever reads all of the document finds the words for it.
pub(crate) fn set_fields(kind: &Kind, status: &Map<String, Json>, draft: &mut Draft) -> bool {
    status.iter().all(|(name, json)| {
        let id = kind.field_id(name);
        id.zip(scalar(json)).is_some_and(|(id, value)| draft.set(kind, id, value).is_ok())
    })
}

/// A value; none for what is no scalar.
fn scalar(json: &Json) -> Option<Value> {
    Some(match json {
        Json::Null => Value::Null,
        Json::Bool(truth) => Value::Bool(*truth),
        Json::Number(number) => number.as_f64().map_or(Value::Null, Value::number),
        Json::String(text) => Value::text(text),
        Json::Array(_) | Json::Object(_) => return None,
    })
}

/// The fields of `status` that a merge patch speaks of.
pub(crate) fn spoken_in_merge(kind: &Kind, patch: &Json) -> FieldSet {
    let members = patch.get("status").and_then(Json::as_object);
    members.into_iter().flatten().filter_map(|(name, _)| kind.field_id(name)).collect()
}

/// The fields of `status` that a JSON patch speaks of.
pub(crate) fn spoken_in_operations(kind: &Kind, patch: &Json) -> FieldSet {
    let operations = patch.as_array().into_iter().flatten();
    let changing = operations.filter(|it| it.get("op").is_none_or(|op| op != "test"));
    let paths = changing.filter_map(|operation| operation.get("path")?.as_str());
    let names = paths.filter_map(|path| path.strip_prefix("/status/")?.split('/').next());
    names.filter_map(|name| kind.field_id(name)).collect()
}

/// Whether `text` can be a name in a path.
pub(crate) fn is_name(text: &str) -> bool {
    let unfit = |c: char| matches!(c, '/' | '%' | '?' | '#') || c.is_whitespace() || c.is_control();
    (1..=NAME_BYTES_MAX).contains(&text.len())
        && !text.contains(unfit)
        && text != "."
        && text != ".."
}

/// The current object as a document to patch.
pub(crate) fn of(kind: &Kind, object: &Object) -> Json {
    serde_json::from_slice(&object.json(kind)).expect("the JSON of an object was written by us")
}

/// Gathers what is wrong while it reads.
struct Reader<'k> {
    kind: &'k Kind,
    causes: Vec<Cause>,
    unknown: Vec<String>,
}

impl Reader<'_> {
    fn metadata(&mut self, metadata: Option<&Json>, draft: &mut Draft) {
        let Some(members) = self.members("metadata", metadata) else {
            draft.labels = LabelSet::default();
            draft.extra.annotations.clear();
            return;
        };
        let labels = self.texts("metadata.labels", members.get("labels"));
        if labels.len() > LABELS_MAX {
            self.wrong("metadata.labels", format!("more than {LABELS_MAX} labels"));
        }
        draft.labels =
            labels.into_iter().map(|(name, value)| (Text::from(name), Text::from(value))).collect();
        let annotations = self.texts("metadata.annotations", members.get("annotations"));
        let bytes: usize = annotations.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes > ANNOTATION_BYTES_MAX {
            let message = format!("more than {ANNOTATION_BYTES_MAX} bytes");
            self.wrong("metadata.annotations", message);
        }
        draft.extra.annotations =
            annotations.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        draft.extra.annotations.sort_unstable();
        for key in members.keys() {
            let read = ["name", "namespace", "resourceVersion", "labels", "annotations"];
            if !read.contains(&key.as_str()) && !SERVER_METADATA.contains(&key.as_str()) {
                self.unknown.push(format!("metadata.{key}"));
            }
        }
    }

    fn spec(&mut self, spec: Option<&Json>, draft: &mut Draft) {
        draft.extra.spec = match spec {
            None | Some(Json::Null) => None,
            Some(spec @ Json::Object(_)) => Some(spec.to_string().into()),
            Some(_) => {
                self.wrong("spec", "must be an object".to_owned());
                None
            }
        };
    }

    fn status(
        &mut self,
        status: Option<&Json>,
        draft: &mut Draft,
        current: Option<&Object>,
        spoken: Spoken,
    ) {
        let nothing = Map::new();
        let members = self.members("status", status).unwrap_or(&nothing);
        for (id, field) in self.kind.fields() {
            let said = members.get(&*field.name);
            self.field(id, said.unwrap_or(&Json::Null), said.is_some(), draft, spoken);
        }
        // A document without conditions takes those away that it may.
        let none = Json::Array(Vec::new());
        let conditions = members.get("conditions").filter(|said| !said.is_null());
        self.conditions(conditions.unwrap_or(&none), draft, current);
        for key in members.keys() {
            let is_known = self.kind.field_id(key).is_some();
            if !is_known && key != "conditions" && key != "observedAt" {
                self.unknown.push(format!("status.{key}"));
            }
        }
    }

    fn field(
        &mut self,
        id: FieldId,
        json: &Json,
        is_there: bool,
        draft: &mut Draft,
        spoken: Spoken,
    ) {
        let field = self.kind.field(id);
        let path = || format!("status.{}", field.name);
        let Some(value) = scalar(json) else {
            return self.wrong(&path(), format!("must be a {}", field.kind.name()));
        };
        let same = *draft.value(id) == value;
        let is_mirror = matches!(field.origin, Origin::Mirror(_));
        let is_spoken = match spoken {
            Spoken::All => !is_mirror || (is_there && !same),
            Spoken::These(these) => these.contains(id) || !same,
        };
        if is_spoken && let Err(refused) = draft.set(self.kind, id, value) {
            self.wrong(&path(), refused.to_string());
        }
    }

    fn conditions(&mut self, conditions: &Json, draft: &mut Draft, current: Option<&Object>) {
        let Json::Array(items) = conditions else {
            return self.wrong("status.conditions", "must be an array".to_owned());
        };
        if items.len() > CONDITIONS_MAX {
            let message = format!("more than {CONDITIONS_MAX} conditions");
            return self.wrong("status.conditions", message);
        }
        let mut named = Vec::new();
        for (at, item) in items.iter().enumerate() {
            let Some((name, state)) = self.condition(at, item) else { continue };
            named.push(name);
            let known = current.and_then(|object| object.condition(name));
            let same = known.is_some_and(|known| {
                (known.status, &known.reason, &known.message) == (state.0, &state.1, &state.2)
            });
            if !same && self.is_settable(name) {
                draft.set_condition(Text::from(name), Some(state));
            }
        }
        for known in current.map_or(&[][..], Object::conditions) {
            let name = known.name.as_str();
            if !named.contains(&name) && self.is_settable(name) {
                draft.set_condition(known.name.clone(), None);
            }
        }
    }

    fn condition<'j>(
        &mut self,
        at: usize,
        item: &'j Json,
    ) -> Option<(&'j str, (ConditionStatus, Text, Text))> {
        let text = |key: &str| item.get(key).and_then(Json::as_str);
        let path = |key: &str| format!("status.conditions[{at}].{key}");
        let Some(name) = text("type").filter(|name| !name.is_empty()) else {
            self.wrong(&path("type"), "is required".to_owned());
            return None;
        };
        let Some(status) = text("status").and_then(ConditionStatus::from_word) else {
            self.wrong(&path("status"), "must be True, False or Unknown".to_owned());
            return None;
        };
        let part = |key: &str| Text::from(text(key).unwrap_or_default());
        Some((name, (status, part("reason"), part("message"))))
    }

    /// Conditions that we derive are ours: clients only send their copies back.
    fn is_settable(&self, name: &str) -> bool {
        let derived = |it: &&ConditionKind| it.when.is_some() && it.name.as_str() == name;
        name != FRESH && !self.kind.conditions.iter().any(|it| derived(&it))
    }

    fn members<'j>(&mut self, path: &str, json: Option<&'j Json>) -> Option<&'j Map<String, Json>> {
        match json {
            None | Some(Json::Null) => None,
            Some(Json::Object(members)) => Some(members),
            Some(_) => {
                self.wrong(path, "must be an object".to_owned());
                None
            }
        }
    }

    fn texts<'j>(&mut self, path: &str, json: Option<&'j Json>) -> Vec<(&'j str, &'j str)> {
        let mut texts = Vec::new();
        for (name, value) in self.members(path, json).into_iter().flatten() {
            match value {
                Json::String(value) => texts.push((name.as_str(), value.as_str())),
                _ => self.wrong(&format!("{path}[{name}]"), "must be a string".to_owned()),
            }
        }
        texts
    }

    fn wrong(&mut self, field: &str, message: String) {
        let cause = Cause { reason: "FieldValueInvalid", message, field: field.to_owned() };
        self.causes.push(cause);
    }

    fn finish(mut self, name: &str, validation: Validation) -> Result<Read, Failure> {
        if !self.causes.is_empty() {
            self.causes.truncate(CAUSES_MAX);
            let names = &self.kind.names;
            let about = About { group: &names.group, plural: &names.plural, name };
            return Err(Failure::invalid(about, self.causes));
        }
        self.unknown.truncate(CAUSES_MAX);
        let unknown = self.unknown.iter().map(|path| format!("unknown field {path:?}"));
        match validation {
            Validation::Ignore => Ok(Read::default()),
            Validation::Warn => Ok(Read { warnings: unknown.collect() }),
            Validation::Strict if self.unknown.is_empty() => Ok(Read::default()),
            Validation::Strict => {
                let all: Vec<String> = unknown.collect();
                let message = format!("strict decoding error: {}", all.join(", "));
                Err(Failure::bad_request(message))
            }
        }
    }
}
