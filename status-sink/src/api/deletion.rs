//! What a client says when it deletes: only this object, only to try, and how its dependents go
//! (there are none).
//!
//! Everything here protects an object from being deleted by mistake: what cannot be read is
//! refused, never ignored.

use serde_json::{Map, Value as Json};

use super::failure::Failure;
use super::options::version;
use crate::object::ResourceVersion;

/// Which object a client means, beyond its name.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Preconditions {
    /// The object as it was at this version.
    pub(crate) version: Option<ResourceVersion>,
    /// The object with this identity, not another of the same name.
    pub(crate) uid: Option<String>,
}

/// The body of a DELETE, `DeleteOptions`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Deletion {
    /// Which object is meant.
    pub(crate) preconditions: Preconditions,
    /// Whether nothing is to happen.
    pub(crate) dry_run: bool,
}

// === impl Preconditions ===

impl Preconditions {
    /// The object with this identity.
    pub(crate) fn of_uid(uid: String) -> Preconditions {
        Preconditions { version: None, uid: Some(uid) }
    }
}

// === impl Deletion ===

impl Deletion {
    /// Reads a body.
    ///
    /// # Errors
    /// 400 for what is no `DeleteOptions`.
    pub(crate) fn read(json: &Json) -> Result<Deletion, Failure> {
        let options =
            members("the body", Some(json))?.ok_or_else(|| no("the body", "an object"))?;
        if options.get("kind").is_some_and(|kind| kind != "DeleteOptions") {
            return Err(no("kind", "DeleteOptions"));
        }
        match text("propagationPolicy", options.get("propagationPolicy"))? {
            None | Some("Background" | "Foreground" | "Orphan") => {}
            Some(_) => return Err(no("propagationPolicy", "Background, Foreground or Orphan")),
        }
        let dry_run = match options.get("dryRun") {
            None | Some(Json::Null) => false,
            Some(Json::Array(runs)) if runs.iter().all(|run| run == "All") => !runs.is_empty(),
            Some(_) => return Err(no("dryRun", "[\"All\"]")),
        };
        let preconditions = members("preconditions", options.get("preconditions"))?;
        let said = |key| text(key, preconditions.and_then(|said| said.get(key)));
        let uid = said("uid")?.map(str::to_owned);
        let version = said("resourceVersion")?.map(version).transpose()?.map(ResourceVersion);
        Ok(Deletion { preconditions: Preconditions { version, uid }, dry_run })
    }
}

fn members<'j>(
    what: &str,
    json: Option<&'j Json>,
) -> Result<Option<&'j Map<String, Json>>, Failure> {
    match json {
        None | Some(Json::Null) => Ok(None),
        Some(Json::Object(members)) => Ok(Some(members)),
        Some(_) => Err(no(what, "an object")),
    }
}

fn text<'j>(what: &str, json: Option<&'j Json>) -> Result<Option<&'j str>, Failure> {
    match json {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(text)) => Ok(Some(text)),
        Some(_) => Err(no(what, "a string")),
    }
}

fn no(what: &str, wanted: &str) -> Failure {
    Failure::bad_request(format!("delete options: {what} is not {wanted}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(body: Json, want: Result<(Option<u64>, Option<&str>, bool), &str>) {
        let got = Deletion::read(&body).map(|it| {
            let Preconditions { version, uid } = it.preconditions;
            (version.map(|version| version.0), uid, it.dry_run)
        });
        let want = want.map(|(version, uid, dry_run)| (version, uid.map(str::to_owned), dry_run));
        match (got, want) {
            (Err(failure), Err(words)) => {
                assert!(failure.message().contains(words), "{body}: {}", failure.message());
            }
            (got, want) => assert_eq!(got.map_err(|_| ""), want, "{body}"),
        }
    }

    #[test]
    fn what_clients_send_is_read() {
        check(json!({}), Ok((None, None, false)));
        check(
            json!({ "kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background",
                "gracePeriodSeconds": 0, "dryRun": ["All"] }),
            Ok((None, None, true)),
        );
        check(json!({ "preconditions": { "uid": "u" } }), Ok((None, Some("u"), false)));
        check(json!({ "preconditions": { "resourceVersion": "7" } }), Ok((Some(7), None, false)));
        check(json!({ "preconditions": null, "dryRun": [] }), Ok((None, None, false)));
    }

    #[test]
    fn what_would_delete_more_than_was_meant_is_refused() {
        check(json!([]), Err("the body is not an object"));
        check(json!(null), Err("the body is not an object"));
        check(json!({ "kind": "Pod" }), Err("kind is not DeleteOptions"));
        check(json!({ "dryRun": ["Some"] }), Err("dryRun is not"));
        check(json!({ "dryRun": "All" }), Err("dryRun is not"));
        check(json!({ "dryRun": true }), Err("dryRun is not"));
        check(json!({ "preconditions": "u" }), Err("preconditions is not an object"));
        check(json!({ "preconditions": { "uid": 5 } }), Err("uid is not a string"));
        check(json!({ "preconditions": { "resourceVersion": 5 } }), Err("is not a string"));
        check(json!({ "preconditions": { "resourceVersion": "x" } }), Err("not a version"));
        check(json!({ "propagationPolicy": "Some" }), Err("propagationPolicy is not"));
    }
}
