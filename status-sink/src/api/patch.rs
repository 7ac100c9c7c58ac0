//! A patch onto an object's JSON: RFC 7386 (merge) and RFC 6902 (a list of operations).
//!
//! Pure. What a patch can make of a document is bounded before it is made: operations by count,
//! copies by size, depth by pointers.

use json_patch::{PatchOperation, patch_unsafe};
use serde_json::Value;

use super::failure::{About, Cause, Failure};

/// Operations of one patch. Our objects have tens of members.
const OPERATIONS_MAX: usize = 1000;

/// Bytes that the copies and moves of one patch may duplicate.
const COPIED_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Levels of a document; deeper ones could exhaust the stack of whoever walks them.
pub(crate) const DEPTH_MAX: usize = 64;

/// How a patch is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PatchForm {
    /// `application/merge-patch+json`
    Merge,
    /// `application/json-patch+json`
    Operations,
    /// `application/apply-patch+yaml`: server-side apply.
    Apply,
}

impl PatchForm {
    /// By the media type of the body.
    ///
    /// # Errors
    /// 415; strategic merge patches are for built-in kinds, here as for CRDs.
    pub(crate) fn of(media_type: &str) -> Result<PatchForm, Failure> {
        match media_type {
            "application/merge-patch+json" => Ok(PatchForm::Merge),
            "application/json-patch+json" => Ok(PatchForm::Operations),
            "application/apply-patch+yaml" => Ok(PatchForm::Apply),
            _ => Err(Failure::unsupported_media_type(
                "application/json-patch+json, application/merge-patch+json, \
                 application/apply-patch+yaml",
            )),
        }
    }
}

/// Applies a merge patch: `null` removes, objects merge, the rest replaces.
pub(crate) fn merge(document: &mut Value, patch: &Value) {
    json_patch::merge(document, patch);
}

/// Applies operations in order; the document is only changed if all can be applied.
///
/// # Errors
/// 400 for a patch that is none, 422 for one that does not fit the document.
pub(crate) fn operate(about: About<'_>, document: &mut Value, patch: Value) -> Result<(), Failure> {
    let operations: Vec<PatchOperation> = serde_json::from_value(patch)
        .map_err(|error| Failure::bad_request(format!("read the JSON patch: {error}")))?;
    if operations.len() > OPERATIONS_MAX {
        let message = format!("the JSON patch has more than {OPERATIONS_MAX} operations");
        return Err(Failure::bad_request(message));
    }
    let mut result = document.clone();
    let mut copied = 0;
    let mut levels = depth(&result);
    for operation in &operations {
        levels = levels.max(deepest(operation, levels));
        copied += copied_bytes(&result, operation);
        if copied > COPIED_BYTES_MAX {
            let message = format!("the JSON patch copies more than {COPIED_BYTES_MAX} bytes");
            return Err(Failure::bad_request(message));
        }
        if holds(&result, operation) {
            continue;
        }
        patch_unsafe(&mut result, std::slice::from_ref(operation)).map_err(|error| {
            let field = operation.path().to_string();
            let message = format!("the JSON patch cannot be applied: {}", error.kind);
            let cause = Cause { reason: "FieldValueInvalid", message, field };
            Failure::invalid(about, vec![cause])
        })?;
        if levels > DEPTH_MAX {
            // The estimate knows no removals; the document does.
            levels = depth(&result);
        }
        if levels > DEPTH_MAX {
            let message = format!("the patched object has more than {DEPTH_MAX} levels");
            return Err(Failure::bad_request(message));
        }
    }
    *document = result;
    Ok(())
}

/// Whether `operation` is a `test` that holds: numbers are the same if their values are
/// (RFC 6902, 4.6), however they are written.
fn holds(document: &Value, operation: &PatchOperation) -> bool {
    let PatchOperation::Test(test) = operation else { return false };
    test.path.resolve(document).is_ok_and(|value| is_same(value, &test.value))
}

fn is_same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            let same = |(key, a): (&String, &Value)| b.get(key).is_some_and(|b| is_same(a, b));
            a.len() == b.len() && a.iter().all(same)
        }
        _ => a == b,
    }
}

fn copied_bytes(document: &Value, operation: &PatchOperation) -> usize {
    let from = match operation {
        PatchOperation::Copy(copy) => &copy.from,
        PatchOperation::Move(it) => &it.from,
        _ => return 0,
    };
    from.resolve(document).map_or(0, size)
}

/// Bytes of a document, about.
pub(crate) fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => 2 + text.len(),
        Value::Array(items) => 2 + items.iter().map(size).sum::<usize>(),
        Value::Object(members) => {
            2 + members.iter().map(|(key, value)| 3 + key.len() + size(value)).sum::<usize>()
        }
        _ => 8,
    }
}

/// Levels of a document after `operation`, from above, when it had `levels` before.
fn deepest(operation: &PatchOperation, levels: usize) -> usize {
    let added = match operation {
        PatchOperation::Add(add) => depth(&add.value),
        PatchOperation::Replace(replace) => depth(&replace.value),
        PatchOperation::Copy(_) | PatchOperation::Move(_) => levels,
        PatchOperation::Remove(_) | PatchOperation::Test(_) => return levels,
    };
    operation.path().count() + added
}

/// Levels of arrays and objects in each other.
pub(crate) fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(document: Value, patch: Value, want: Result<Value, u16>) {
        let mut got = document.clone();
        let about = About { group: "status.rollcall", plural: "notes", name: "a" };
        match operate(about, &mut got, patch) {
            Ok(()) => assert_eq!(Ok(got), want),
            Err(failure) => {
                assert_eq!(Err(failure.code().as_u16()), want, "{}", failure.message());
                assert_eq!(got, document);
            }
        }
    }

    #[test]
    fn operations_are_applied_in_order_or_not_at_all() {
        check(
            json!({"status": {"state": "running"}}),
            json!([
                {"op": "test", "path": "/status/state", "value": "running"},
                {"op": "replace", "path": "/status/state", "value": "stopped"},
                {"op": "add", "path": "/status/host", "value": "h1"},
            ]),
            Ok(json!({"status": {"state": "stopped", "host": "h1"}})),
        );
        check(
            json!({"a": 1}),
            json!([{"op": "add", "path": "/b", "value": 2}, {"op": "remove", "path": "/c"}]),
            Err(422),
        );
        check(json!({"a": 1}), json!([{"op": "test", "path": "/a", "value": 2}]), Err(422));
        let many = json!({"a": [1, {"b": 2.0}]});
        let same = json!([{"op": "test", "path": "/a", "value": [1.0, {"b": 2}]}]);
        check(many.clone(), same, Ok(many.clone()));
        let other = json!([{"op": "test", "path": "/a", "value": [1, {"b": 2, "c": 3}]}]);
        check(many, other, Err(422));
        check(json!({"a": 1}), json!([{"op": "jump", "path": "/a"}]), Err(400));
        check(json!({"a": 1}), json!({"op": "remove", "path": "/a"}), Err(400));
    }

    #[test]
    fn a_patch_cannot_grow_a_document_without_end() {
        let double = json!({"op": "copy", "from": "/a", "path": "/a/-"});
        check(json!({"a": ["xxxxxxxxxxxxxxxx"]}), Value::Array(vec![double; 60]), Err(400));
        let nest = json!({"op": "copy", "from": "", "path": "/a"});
        check(json!({"a": 1}), Value::Array(vec![nest; 12]), Ok(nested(12)));
        let wrap: Vec<Value> = (0..80)
            .flat_map(|_| {
                [
                    json!({"op": "move", "from": "/a", "path": "/b"}),
                    json!({"op": "add", "path": "/a", "value": {}}),
                    json!({"op": "move", "from": "/b", "path": "/a/a"}),
                ]
            })
            .collect();
        check(json!({"a": 1}), Value::Array(wrap), Err(400));
    }

    fn nested(levels: usize) -> Value {
        (0..levels).fold(json!({"a": 1}), |inner, _| json!({ "a": inner }))
    }

    #[test]
    fn a_merge_patch_removes_with_null() {
        let mut document = json!({"metadata": {"labels": {"a": "1", "b": "2"}}, "status": 1});
        merge(&mut document, &json!({"metadata": {"labels": {"a": null}}, "status": {"x": 1}}));
        assert_eq!(document, json!({"metadata": {"labels": {"b": "2"}}, "status": {"x": 1}}));
    }
}
