//! Applying as `a`, `b` and an updating `edit`, on one small object.

use super::*;

fn apply(manager: &str, force: bool) -> Apply<'_> {
    let about = About { group: "status.rollcall", plural: "virtualmachines", name: "vm-1" };
    let api_version = "status.rollcall/v1";
    Apply { manager, force, api_version, time: "2026-11-23T19:00:00Z", about }
}

fn owners(object: &Json) -> Vec<String> {
    let owned = |manager: &Manager| {
        let paths: Vec<String> = manager.fields.leaves().iter().map(fields::display).collect();
        format!("{} {}: {}", manager.name, manager.operation, paths.join(" "))
    };
    managers(object).iter().map(owned).collect()
}

fn state(state: &str) -> Json {
    json!({ "status": { "state": state } })
}

#[test]
fn who_applies_owns_what_it_states() {
    let applied = json!({
        "apiVersion": "status.rollcall/v1",
        "kind": "VirtualMachine",
        "metadata": { "name": "vm-1", "labels": { "tier": "web" } },
        "status": {
            "state": "running",
            "conditions": [{ "type": "Ready", "status": "True" }],
        },
    });
    let object = apply("a", false).onto(None, &applied).unwrap();
    assert_eq!(object["status"], applied["status"]);
    let conditions = r#".status.conditions[{"type":"Ready"}]"#;
    let want = format!(
        "a Apply: .metadata.labels.tier .status.state {conditions}.type {conditions}.status"
    );
    assert_eq!(owners(&object), [want]);
}

#[test]
fn another_value_for_an_owned_field_is_a_conflict() {
    let object = apply("a", false).onto(None, &state("running")).unwrap();
    let refused = apply("b", false).onto(Some(&object), &state("stopped")).unwrap_err();
    assert_eq!(refused.code(), 409);
    let causes = &refused.status()["details"]["causes"];
    assert_eq!(causes[0]["reason"], "FieldManagerConflict");
    assert_eq!(causes[0]["field"], ".status.state");

    let shared = apply("b", false).onto(Some(&object), &state("running")).unwrap();
    assert_eq!(owners(&shared), ["a Apply: .status.state", "b Apply: .status.state"]);

    let forced = apply("b", true).onto(Some(&object), &state("stopped")).unwrap();
    assert_eq!(forced["status"]["state"], "stopped");
    assert_eq!(owners(&forced), ["b Apply: .status.state"]);
}

#[test]
fn what_is_no_longer_stated_goes_unless_another_owns_it() {
    let both = json!({ "status": { "state": "running", "host": "h1" } });
    let object = apply("a", false).onto(None, &both).unwrap();
    let host = json!({ "status": { "host": "h1" } });
    let shared = apply("b", false).onto(Some(&object), &host).unwrap();
    let left = apply("a", false).onto(Some(&shared), &json!({ "status": {} })).unwrap();
    assert_eq!(left["status"], json!({ "host": "h1" }));
    let alone = apply("a", false).onto(Some(&object), &host).unwrap();
    assert_eq!(alone["status"], json!({ "host": "h1" }));
}

#[test]
fn applying_the_same_again_changes_nothing() {
    let object = apply("a", false).onto(None, &state("running")).unwrap();
    let later = Apply { time: "2026-11-24T00:00:00Z", ..apply("a", false) };
    assert_eq!(later.onto(Some(&object), &state("running")).unwrap(), object);
}

#[test]
fn an_update_takes_what_it_changes_from_its_owner() {
    let object = apply("a", false).onto(None, &state("running")).unwrap();
    let mut updated = object.clone();
    updated["status"]["state"] = "stopped".into();
    apply("edit", false).note_update(&object, &mut updated).unwrap();
    assert_eq!(owners(&updated), ["edit Update: .status.state"]);

    let plain = state("running");
    let mut changed = state("stopped");
    apply("edit", false).note_update(&plain, &mut changed).unwrap();
    assert_eq!(changed, state("stopped"));
}

#[test]
fn a_manager_must_have_a_name() {
    assert_eq!(apply("", false).onto(None, &state("x")).unwrap_err().code(), 422);
}

#[test]
fn conditions_are_merged_by_type() {
    let ready = |status: &str| json!({ "type": "Ready", "status": status });
    let live = json!({ "status": { "conditions": [{ "type": "Fresh", "status": "True" }] } });
    let applied = json!({ "status": { "conditions": [ready("True")] } });
    let merged = apply("a", false).onto(Some(&live), &applied).unwrap();
    let want = json!([{ "type": "Fresh", "status": "True" }, ready("True")]);
    assert_eq!(merged["status"]["conditions"], want);
    let gone = apply("a", false).onto(Some(&merged), &json!({ "status": {} })).unwrap();
    assert_eq!(gone["status"]["conditions"][1], Json::Null);
}
