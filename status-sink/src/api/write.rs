//! Creating, replacing, patching and deleting one object.
//!
//! A client that names a version gets 409 if the object has another; one that names none means
//! the object as it is when the write happens: then a write in between is read and the change made
//! anew.

use std::sync::Arc;

use http::{HeaderMap, StatusCode};
use serde_json::{Value as Json, json};

use super::Api;
use super::apply::Apply;
use super::body::{self, Given};
use super::deletion::Preconditions;
use super::document::{self, Document, Spoken};
use super::failure::{Cause, Failure};
use super::options::{Options, Validation, version};
use super::patch::{self, PatchForm};
use super::place::Place;
use crate::kind::FieldSet;
use crate::object::{Draft, Key, Object, ResourceVersion, rfc3339_s};
use crate::store::{Expect, WriteError};

/// Writes in between that a write without a version outlives.
const ATTEMPTS_MAX: usize = 16;

/// Random letters that `generateName` is followed by, and names tried.
const GENERATED_LETTERS: usize = 5;
const GENERATED_TRIES: usize = 8;

/// As the API server says it; clients look for it.
const NAMESPACE_MISMATCH: &str =
    "the namespace of the provided object does not match the namespace sent on the request";

/// Letters that make no words (those of Kubernetes).
const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// What a write has done.
#[derive(Debug)]
pub(crate) struct Done {
    /// 200 or 201.
    pub(crate) code: StatusCode,
    /// The object as it is now.
    pub(crate) object: Arc<Object>,
    /// The version to show, if not the object's: that of an object which a dry run left alone.
    pub(crate) version: Option<ResourceVersion>,
    /// What the client is warned of.
    pub(crate) warnings: Vec<String>,
}

/// How an existing object is to be changed.
#[derive(Debug)]
pub(crate) enum Edit {
    /// It becomes what this says.
    Replace(Json),
    /// RFC 7386.
    Merge(Json),
    /// RFC 6902.
    Operations(Json),
    /// Server-side apply.
    Apply(Json),
}

/// What a write is made of, beside the object.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms<'o> {
    pub(crate) options: &'o Options,
    /// Whether only `status` may change.
    pub(crate) only_status: bool,
    /// Whether an object that is not there is made.
    pub(crate) may_create: bool,
}

// === impl Done ===

impl Done {
    fn created(object: Arc<Object>, warnings: Vec<String>) -> Done {
        Done { code: StatusCode::CREATED, object, version: None, warnings }
    }
}

// === impl Edit ===

impl Edit {
    /// Reads the body of a PATCH, and what the client is warned of.
    ///
    /// # Errors
    /// 400, 415
    pub(crate) fn of_patch(
        headers: &HeaderMap,
        bytes: &[u8],
        validation: Validation,
    ) -> Result<(Edit, Vec<String>), Failure> {
        let form = PatchForm::of(&body::media_type(headers))?;
        if form == PatchForm::Apply {
            return Ok((Edit::Apply(body::yaml(bytes)?), Vec::new()));
        }
        let Given { json, warnings } = body::checked(bytes, validation)?;
        let is_merge = form == PatchForm::Merge;
        Ok((if is_merge { Edit::Merge(json) } else { Edit::Operations(json) }, warnings))
    }
}

// === impl Api ===

impl Api {
    /// Makes the object that `json` says.
    pub(crate) fn create(
        &self,
        place: &Place,
        json: &Json,
        options: &Options,
    ) -> Result<Done, Failure> {
        let place = &in_namespace(place, json)?;
        let document = Document::new(&place.kind, json)?;
        if document.metadata("resourceVersion")?.is_some_and(|version| version != "0") {
            let message = "resourceVersion should not be set on objects to be created";
            return Err(Failure::bad_request(message));
        }
        let mut draft = Draft::new(&place.kind);
        let spoken = Spoken::These(FieldSet::EMPTY);
        let read = document.fill(&mut draft, None, spoken, false, options.validation)?;
        let given = document.metadata("name")?;
        let prefix = document.metadata("generateName")?;
        let name_of = |attempt: usize| match (given, prefix) {
            (Some(name), _) => Ok(name.to_owned()),
            (None, Some(prefix)) => Ok(self.generated(prefix, attempt)),
            (None, None) => {
                Err(wrong_name(place, "", "name or generateName is required".to_owned()))
            }
        };
        for attempt in 0..GENERATED_TRIES {
            let name = name_of(attempt)?;
            if !document::is_name(&name) {
                let message = format!("{name:?} cannot be a name: 1 to 253 bytes without / % ? #");
                return Err(wrong_name(place, &name, message));
            }
            let key = place.key(&name)?;
            match self.writer.create(&place.kind, key, &draft, options.dry_run) {
                Err(WriteError::Exists) if given.is_none() => {}
                Err(error) => return Err(refusal(place, &name, &error)),
                Ok(written) => {
                    return Ok(Done::created(written.object, read.warnings));
                }
            }
        }
        let about = place.about(prefix.unwrap_or_default());
        Err(Failure::already_exists(about))
    }

    /// Changes the object of this name.
    pub(crate) fn edit(
        &self,
        place: &Place,
        name: &str,
        edit: &Edit,
        terms: Terms<'_>,
    ) -> Result<Done, Failure> {
        let key = place.key(name)?;
        for _ in 0..ATTEMPTS_MAX {
            let current = self.reader.get(&place.kind, &key);
            let Some(current) = current else {
                match self.edit_nothing(place, &key, edit, terms) {
                    Some(result) => return result,
                    None => continue,
                }
            };
            let plan = plan(place, name, edit, terms, Some(&current), self.now_s())?;
            let expect = Expect { version: Some(current.version), uid: None };
            let dry_run = terms.options.dry_run;
            match self.writer.update(&place.kind, &key, expect, &plan.draft, dry_run) {
                // Somebody was faster: see what the object is now.
                Err(WriteError::Conflict { .. } | WriteError::NotFound) => {}
                Err(error) => return Err(refusal(place, name, &error)),
                Ok(written) => {
                    let (code, object, warnings) = (StatusCode::OK, written.object, plan.warnings);
                    let version = dry_run.then_some(current.version);
                    return Ok(Done { code, object, version, warnings });
                }
            }
        }
        Err(Failure::conflict(place.about(name), "it changes too often to be changed"))
    }

    /// Deletes the object of this name, if it is the one that `preconditions` mean.
    pub(crate) fn delete(
        &self,
        place: &Place,
        name: &str,
        preconditions: &Preconditions,
        dry_run: bool,
    ) -> Result<Arc<Object>, Failure> {
        let key = place.key(name)?;
        let Preconditions { version, uid } = preconditions;
        let mut expect = Expect { version: *version, uid: None };
        if let Some(uid) = uid {
            let current = self.reader.get(&place.kind, &key);
            let current = current.ok_or_else(|| self.missing(place, name))?;
            if current.uid_text() != *uid {
                let why = format!(
                    "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                    current.uid_text()
                );
                return Err(Failure::conflict(place.about(name), &why));
            }
            expect.uid = Some(current.uid);
        }
        match self.writer.delete(&place.kind, &key, expect, dry_run) {
            Ok(object) => Ok(object),
            Err(WriteError::NotFound) => Err(self.missing(place, name)),
            Err(error) => Err(refusal(place, name, &error)),
        }
    }

    /// No such object; or nobody can say yet.
    pub(crate) fn missing(&self, place: &Place, name: &str) -> Failure {
        if self.reader.is_warm() {
            Failure::not_found(place.about(name))
        } else {
            super::warming_up()
        }
    }

    /// An edit of what is not there: made, if that is allowed. None: somebody else just made it.
    fn edit_nothing(
        &self,
        place: &Place,
        key: &Key,
        edit: &Edit,
        terms: Terms<'_>,
    ) -> Option<Result<Done, Failure>> {
        let name = key.name();
        if !terms.may_create || terms.only_status {
            return Some(Err(self.missing(place, name)));
        }
        let plan = match plan(place, name, edit, terms, None, self.now_s()) {
            Ok(plan) => plan,
            Err(failure) => return Some(Err(failure)),
        };
        let dry_run = terms.options.dry_run;
        match self.writer.create(&place.kind, key.clone(), &plan.draft, dry_run) {
            Err(WriteError::Exists) => None,
            Err(error) => Some(Err(refusal(place, name, &error))),
            Ok(written) => Some(Ok(Done::created(written.object, plan.warnings))),
        }
    }

    fn generated(&self, prefix: &str, attempt: usize) -> String {
        let mut chance = self.chance_bits() ^ attempt as u64;
        let letters = (0..GENERATED_LETTERS).map(|_| {
            let letter = LETTERS[(chance % LETTERS.len() as u64) as usize];
            chance /= LETTERS.len() as u64;
            char::from(letter)
        });
        prefix.chars().chain(letters).collect()
    }

    fn now_s(&self) -> u32 {
        u32::try_from(self.clock.unix_ms() / 1000).unwrap_or(0)
    }
}

/// What is to be written.
struct Plan {
    draft: Draft,
    warnings: Vec<String>,
}

/// What `edit` makes of `current` at `now_s`, in seconds since the epoch.
fn plan(
    place: &Place,
    name: &str,
    edit: &Edit,
    terms: Terms<'_>,
    current: Option<&Object>,
    now_s: u32,
) -> Result<Plan, Failure> {
    if let (Edit::Merge(patch), Some(current)) = (edit, current)
        && let Some(draft) = quick(place, name, patch, current)?
    {
        return Ok(Plan { draft, warnings: Vec::new() });
    }
    let live = current.map_or_else(|| json!({}), |current| document::of(&place.kind, current));
    let (api_version, time) = (place.kind.api_version(), rfc3339_s(now_s));
    let apply = Apply {
        manager: terms.options.manager.as_deref().unwrap_or_default(),
        force: terms.options.force,
        api_version: &api_version,
        time: &time,
        about: place.about(name),
    };
    let (mut wanted, spoken) = match edit {
        Edit::Replace(json) => (json.clone(), Spoken::All),
        Edit::Merge(patch) => {
            let mut wanted = live.clone();
            patch::merge(&mut wanted, patch);
            (wanted, Spoken::These(document::spoken_in_merge(&place.kind, patch)))
        }
        Edit::Operations(patch) => {
            let mut wanted = live.clone();
            patch::operate(place.about(name), &mut wanted, patch.clone())?;
            (wanted, Spoken::These(document::spoken_in_operations(&place.kind, patch)))
        }
        Edit::Apply(applied) => {
            check_identity(place, name, &Document::new(&place.kind, applied)?, current)?;
            let wanted = apply.onto(current.map(|_| &live), applied)?;
            (wanted, Spoken::These(document::spoken_in_merge(&place.kind, applied)))
        }
    };
    if !matches!(edit, Edit::Apply(_)) && current.is_some_and(|it| it.managed_fields().is_some()) {
        let by_client = if apply.manager.is_empty() { "unknown" } else { apply.manager };
        Apply { manager: by_client, ..apply }.note_update(&live, &mut wanted)?;
    }
    let document = Document::new(&place.kind, &wanted)?;
    check_identity(place, name, &document, current)?;
    if patch::size(&wanted) > body::OBJECT_BYTES_MAX {
        return Err(Failure::too_large(body::OBJECT_BYTES_MAX));
    }
    let mut draft = current.map_or_else(|| Draft::new(&place.kind), Draft::of);
    let validation = terms.options.validation;
    let read = document.fill(&mut draft, current, spoken, terms.only_status, validation)?;
    if let Some(owners) = wanted.pointer("/metadata/managedFields") {
        let owners = owners.as_array().filter(|owners| !owners.is_empty());
        draft.extra.managed_fields =
            owners.and_then(|owners| serde_json::to_string(owners).ok()).map(Into::into);
    }
    Ok(Plan { draft, warnings: read.warnings })
}

/// The draft of a merge patch that does no more than set fields of `status`, as most do: made
/// without the JSON of the object. None for any other patch.
fn quick(
    place: &Place,
    name: &str,
    patch: &Json,
    current: &Object,
) -> Result<Option<Draft>, Failure> {
    let Some(members) = patch.as_object() else { return Ok(None) };
    let known = ["apiVersion", "kind", "metadata", "status"];
    let identity = ["name", "namespace", "resourceVersion", "uid"];
    let metadata = members.get("metadata").map(|it| it.as_object().ok_or(()));
    let metadata_is_identity = match metadata {
        None => true,
        Some(Ok(metadata)) => metadata.keys().all(|key| identity.contains(&key.as_str())),
        Some(Err(())) => false,
    };
    let is_plain = current.managed_fields().is_none()
        && metadata_is_identity
        && members.keys().all(|key| known.contains(&key.as_str()));
    let Some(status) = members.get("status").and_then(Json::as_object).filter(|_| is_plain) else {
        return Ok(None);
    };
    let document = Document::new(&place.kind, patch)?;
    check_identity(place, name, &document, Some(current))?;
    let mut draft = Draft::of(current);
    let all_set = document::set_fields(&place.kind, status, &mut draft);
    Ok(all_set.then_some(draft))
}

/// Whether the document is about the object that the path names, in the version it is in.
fn check_identity(
    place: &Place,
    name: &str,
    document: &Document<'_>,
    current: Option<&Object>,
) -> Result<(), Failure> {
    if let Some(said) = document.metadata("name")?.filter(|said| *said != name) {
        let message =
            format!("the name of the object ({said}) does not match the name on the URL ({name})");
        return Err(Failure::bad_request(message));
    }
    if let Some(said) = document.metadata("namespace")?
        && place.namespace.as_deref() != Some(said)
    {
        let message = format!("the namespace of the object ({said}) is not that of the URL");
        return Err(Failure::bad_request(message));
    }
    let why = "the object has been modified; please apply your changes to the latest version and \
               try again";
    if let Some(said) = document.metadata("resourceVersion")? {
        let wanted = version(said)?;
        if wanted != 0 && current.is_none_or(|current| current.version.0 != wanted) {
            return Err(Failure::conflict(place.about(name), why));
        }
    }
    if let (Some(said), Some(current)) = (document.metadata("uid")?, current)
        && said != current.uid_text()
    {
        let why = format!(
            "Precondition failed: UID in precondition: {said}, UID in object meta: {}",
            current.uid_text()
        );
        return Err(Failure::conflict(place.about(name), &why));
    }
    Ok(())
}

/// The place of an object that is to be made: its namespace may stand in the object alone.
fn in_namespace(place: &Place, json: &Json) -> Result<Place, Failure> {
    let said = Document::new(&place.kind, json)?.metadata("namespace")?;
    match (place.kind.namespaced, &place.namespace, said) {
        (true, Some(path), Some(said)) if path != said => {
            Err(Failure::bad_request(NAMESPACE_MISMATCH))
        }
        (true, None, None) => {
            Err(Failure::bad_request("an empty namespace may not be set during creation"))
        }
        (true, None, Some(said)) if !document::is_name(said) => {
            Err(Failure::bad_request(format!("{said:?} cannot be a namespace")))
        }
        (true, None, Some(said)) => Ok(Place { namespace: Some(said.to_owned()), ..place.clone() }),
        (false, _, Some(_)) => {
            Err(Failure::bad_request("namespace may not be set on cluster-scoped objects"))
        }
        _ => Ok(place.clone()),
    }
}

fn wrong_name(place: &Place, name: &str, message: String) -> Failure {
    let field = "metadata.name".to_owned();
    let cause = Cause { reason: "FieldValueInvalid", message, field };
    Failure::invalid(place.about(name), vec![cause])
}

/// Why the store did not take a write.
pub(crate) fn refusal(place: &Place, name: &str, error: &WriteError) -> Failure {
    let about = place.about(name);
    match error {
        WriteError::Exists => Failure::already_exists(about),
        WriteError::NotFound => Failure::not_found(about),
        WriteError::Conflict { .. } | WriteError::OtherUid { .. } => Failure::conflict(
            about,
            "the object has been modified; please apply your changes to the latest version and \
             try again",
        ),
        WriteError::TooMany { .. } => Failure::forbidden(about, &error.to_string()),
        WriteError::NoKind => Failure::no_path(),
    }
}
