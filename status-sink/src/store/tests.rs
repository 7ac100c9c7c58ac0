//! Snapshots, versions, indexes, mirrors, conditions and reloads.

use std::sync::Arc;

use kit::Clock;

use super::*;
use crate::kind::FieldId;
use crate::object::{Draft, Key};
use crate::scripted::{KINDS, START_MS, Scripted};
use crate::value::Value;

const VM: &str = "VirtualMachine";

fn names(snapshot: &Snapshot) -> Vec<String> {
    snapshot.iter(None).map(|object| object.name().to_owned()).collect()
}

fn field(script: &Scripted, name: &str) -> FieldId {
    script.kind(VM).field_id(name).expect("declared")
}

#[test]
fn a_snapshot_never_changes() {
    let script = Scripted::new();
    script.create(VM, "b", "state=running").unwrap();
    let kind = script.kind(VM);
    let before = script.reader.snapshot(&kind).unwrap();
    script.create(VM, "a", "state=running").unwrap();
    script.update(VM, "b", "state=stopped").unwrap();
    script.delete(VM, "b").unwrap();
    assert_eq!(names(&before), ["b"]);
    let state = field(&script, "state");
    let object = before.get(&Key::new("", "b")).unwrap();
    assert_eq!(object.value(state), &Value::text("running"));
    assert_eq!(before.with_field(state, &Value::text("running")).unwrap().len(), 1);
    let after = script.reader.snapshot(&kind).unwrap();
    assert_eq!(names(&after), ["a"]);
    assert!(after.version() > before.version());
}

#[test]
fn a_kind_can_be_read_as_it_was_at_each_of_its_versions() {
    let script = Scripted::new();
    let kind = script.kind(VM);
    let mut states = vec![(script.reader.version(&kind).unwrap(), vec![])];
    let mut note = |script: &Scripted| {
        let snapshot = script.reader.snapshot(&kind).unwrap();
        let shown = snapshot.iter(None).map(|it| String::from_utf8(it.json(&kind)).unwrap());
        states.push((snapshot.version(), shown.collect::<Vec<_>>()));
    };
    for step in ["create a", "create b", "update a", "delete a", "create a", "update b"] {
        match step.split_once(' ').unwrap() {
            ("create", key) => drop(script.create(VM, key, "state=running").unwrap()),
            ("update", key) => drop(script.update(VM, key, "state=stopped").unwrap()),
            (_, key) => drop(script.delete(VM, key).unwrap()),
        }
        note(&script);
    }
    for (version, want) in &states {
        let snapshot = script.reader.snapshot_at(&kind, *version).unwrap();
        let got = snapshot.iter(None).map(|it| String::from_utf8(it.json(&kind)).unwrap());
        assert_eq!(got.collect::<Vec<_>>(), *want, "at {version}");
        assert_eq!(snapshot.version(), *version);
        let running = snapshot.with_field(field(&script, "state"), &Value::text("running"));
        let counted = want.iter().filter(|json| json.contains("running")).count();
        assert_eq!(running.unwrap().len(), counted);
    }
    let foreign = crate::object::ResourceVersion(states[0].0.0 + 1);
    assert!(script.reader.snapshot_at(&kind, foreign).is_err());
}

#[test]
fn versions_grow_when_the_clock_is_set_back() {
    let script = Scripted::new();
    let first = script.create(VM, "a", "").unwrap().object.version;
    script.clock.set_wall(START_MS - 3_600_000);
    let second = script.create(VM, "b", "").unwrap().object.version;
    assert!(second > first);
    assert_eq!(first.to_string().len(), 19);
    assert!(script.clock.unix_ms() < START_MS);
}

#[test]
fn the_json_is_what_the_object_says() {
    let mut script = Scripted::new();
    script.scrape("h1", "hci_vm_state{vmid=1,state=running} 1\nhci_vm_cpu_usage_ratio{vmid=1} 0.5");
    let (kind, object) = (script.kind(VM), script.get(VM, "1").unwrap());
    let want = format!(
        r#"{{"apiVersion":"status.rollcall/v1","kind":"VirtualMachine","metadata":{{"name":"1","uid":"{}","resourceVersion":"{}","generation":1,"creationTimestamp":"2026-11-23T19:00:00Z","labels":{{"host":"h1"}}}},"status":{{"state":"running","cpuUsage":0.5,"host":"h1","hostUp":true,"conditions":[{{"type":"Fresh","status":"True","reason":"Reported","lastTransitionTime":"2026-11-23T19:00:00Z"}}]}}}}"#,
        object.uid_text(),
        object.version
    );
    assert_eq!(String::from_utf8_lossy(&object.json(&kind)), want);
    let mut other = Vec::new();
    object.write_json_at(&kind, crate::object::ResourceVersion(7), &mut other);
    let want = want.replace(&object.version.to_string(), "7");
    assert_eq!(String::from_utf8_lossy(&other), want);
}

#[test]
fn lists_are_ordered_by_namespace_and_name_and_can_be_continued() {
    let kinds = "kinds: [{ kind: Disk, namespaced: true, fields: { state: {} } }]";
    let script = Scripted::with_kinds(kinds);
    for key in ["b/1", "a/2", "a-b/1", "a/10", "a/1"] {
        script.create("Disk", key, "state=ok").unwrap();
    }
    let snapshot = script.reader.snapshot(&script.kind("Disk")).unwrap();
    let keys: Vec<&str> = snapshot.iter(None).map(|it| it.key.as_str()).collect();
    assert_eq!(keys, ["a-b/1", "a/1", "a/10", "a/2", "b/1"]);
    let after = Key::from_path("a/1");
    let rest: Vec<&str> = snapshot.iter(Some(&after)).map(|it| it.key.as_str()).collect();
    assert_eq!(rest, ["a/10", "a/2", "b/1"]);
    let of_a: Vec<&str> = snapshot.in_namespace("a", None).map(|it| it.name()).collect();
    assert_eq!(of_a, ["1", "10", "2"]);
    let rest: Vec<&str> = snapshot.in_namespace("a", Some(&after)).map(|it| it.name()).collect();
    assert_eq!(rest, ["10", "2"]);
    assert_eq!(snapshot.in_namespace("c", Some(&after)).count(), 0);
}

#[test]
fn a_write_under_a_condition_that_no_longer_holds_does_not_happen() {
    let script = Scripted::new();
    let kind = script.kind(VM);
    let first = script.create(VM, "1", "state=running").unwrap().object;
    script.update(VM, "1", "state=stopped").unwrap();
    let draft = Draft::of(&first);
    let key = Key::new("", "1");
    let stale = Expect { version: Some(first.version), uid: None };
    let refused = script.writer.update(&kind, &key, stale, &draft, false).unwrap_err();
    assert!(matches!(refused, WriteError::Conflict { .. }));
    let other = Expect { version: None, uid: Some(first.uid + 1) };
    let refused = script.writer.delete(&kind, &key, other, false).unwrap_err();
    assert_eq!(refused, WriteError::OtherUid { uid: first.uid });
}

#[test]
fn a_dry_run_shows_what_would_be_and_changes_nothing() {
    let mut script = Scripted::new();
    let kind = script.kind(VM);
    let object = script.create(VM, "1", "state=running").unwrap().object;
    script.events();
    let mut draft = Draft::of(&object);
    draft.set(&kind, field(&script, "state"), Value::text("stopped")).unwrap();
    let key = Key::new("", "1");
    let would = script.writer.update(&kind, &key, Expect::default(), &draft, true).unwrap();
    assert!(
        would.changed && String::from_utf8_lossy(&would.object.json(&kind)).contains("stopped")
    );
    script.writer.delete(&kind, &key, Expect::default(), true).unwrap();
    script.writer.create(&kind, Key::new("", "2"), &draft, true).unwrap();
    assert_eq!(script.events(), [] as [&str; 0]);
    assert_eq!(script.show(VM, "1"), "state=running");
    assert_eq!(script.show(VM, "2"), "-");
}

#[test]
fn a_mirror_follows_both_its_object_and_what_it_mirrors() {
    let mut script = Scripted::new();
    script.create(VM, "1", "host=h1").unwrap();
    script.create("Host", "h1", "up=true").unwrap();
    script.create("Host", "h2", "up=false").unwrap();
    script.update(VM, "1", "host=h2").unwrap();
    script.update("Host", "h2", "up=true").unwrap();
    script.update("Host", "h1", "up=false").unwrap();
    script.delete("Host", "h2").unwrap();
    assert_eq!(
        script.events(),
        [
            "+1: host=h1",
            "+h1: up=true",
            "1: hostUp=true",
            "+h2: up=false",
            "1: host=h2 hostUp=false",
            "h2: up=true",
            "1: hostUp=true",
            "h1: up=false",
            "-h2",
            "1: no hostUp",
        ]
    );
}

#[test]
fn conditions_follow_the_fields_that_they_are_about() {
    let kinds = KINDS.replace(
        "    stale_after: 15s",
        "    conditions: { Healthy: { when: \"status.state=running\" }, Approved: {} }",
    );
    let mut script = Scripted::with_kinds(&kinds);
    script.create(VM, "1", "state=running").unwrap();
    script.update(VM, "1", "state=stopped").unwrap();
    script.update(VM, "1", "note=x").unwrap();
    assert_eq!(
        script.events(),
        ["+1: state=running Healthy:True", "1: state=stopped Healthy:False", "1: note=x",]
    );
}

#[test]
fn objects_of_one_kind_are_no_more_than_allowed() {
    let kinds = KINDS.replace("    stale_after: 15s", "    objects_max: 2");
    let mut script = Scripted::with_kinds(&kinds);
    script.create(VM, "8", "").unwrap();
    let page = "hci_vm_power{vmid=1} 1\nhci_vm_power{vmid=2} 1";
    script.scrape("h1", page);
    assert_eq!(script.show(VM, "2"), "-");
    assert_eq!(script.create(VM, "9", "").unwrap_err(), WriteError::TooMany { max: 2 });
    script.delete(VM, "8").unwrap();
    script.wait(1.0);
    script.scrape("h1", page);
    assert_eq!(script.show(VM, "2"), "power=on host=h1 hostUp=true");
}

#[test]
fn a_series_without_a_name_for_its_object_is_counted_when_it_begins() {
    let mut script = Scripted::new();
    let long = "x".repeat(254);
    let page = format!(
        "hci_vm_power{{vmid=1}} 1\nhci_vm_power{{}} 1\nhci_vm_power{{vmid={long}}} 1\nother{{}} 1"
    );
    script.scrape("h1", &page);
    script.wait(5.0);
    script.scrape("h1", &page);
    assert_eq!(script.center.metrics.unnamed_series.get(), 2);
    assert_eq!(script.show(VM, "1"), "power=on host=h1 hostUp=true");
}

#[test]
fn a_reload_that_changes_nothing_of_a_kind_leaves_its_objects_and_versions() {
    let mut script = Scripted::new();
    let page = "hci_vm_state{vmid=1,state=running} 1";
    script.scrape("h1", page);
    let before = script.get(VM, "1").unwrap();
    script.events();
    script.reload(&KINDS.replace("index: [state, host]", "index: [power]"));
    script.wait(5.0);
    script.scrape("h1", page);
    assert_eq!(script.events(), [] as [&str; 0]);
    assert!(Arc::ptr_eq(&before, &script.get(VM, "1").unwrap()));
    let snapshot = script.reader.snapshot(&script.kind(VM)).unwrap();
    assert!(snapshot.with_field(field(&script, "state"), &Value::text("running")).is_none());
    assert!(snapshot.with_field(field(&script, "power"), &Value::text("on")).is_some());
}

#[test]
fn a_reload_that_adds_a_field_keeps_the_objects_under_new_versions() {
    let mut script = Scripted::new();
    let page = "hci_vm_state{vmid=1,state=running} 1\nhci_vm_disks{vmid=1} 3";
    script.scrape("h1", page);
    let before = script.get(VM, "1").unwrap();
    let kind = script.kind(VM);
    let with = KINDS.replace(
        "      note:      { type: string }",
        "      disks: { metric: hci_vm_disks }\n      home: { mirror: { kind: Host, name: \"{host}\", field: phase } }",
    );
    script.reload(&with);
    let after = script.get(VM, "1").unwrap();
    assert_eq!((before.uid, before.created_s), (after.uid, after.created_s));
    assert!(after.version > before.version);
    assert_eq!(script.show(VM, "1"), "state=running host=h1 hostUp=true");
    assert!(script.reader.snapshot_at(&kind, before.version).is_err());
    script.wait(5.0);
    script.scrape("h1", page);
    assert_eq!(script.show(VM, "1"), "state=running host=h1 hostUp=true disks=3");
}

#[test]
fn a_kind_that_is_removed_takes_its_objects_with_it() {
    let mut script = Scripted::new();
    let page = "hci_vm_state{vmid=1,state=running} 1";
    script.scrape("h1", page);
    let vm = script.kind(VM);
    let (hosts, _) = KINDS.split_once("  - kind: VirtualMachine").unwrap();
    let (_, host) = KINDS.split_once("  - kind: Host").unwrap();
    script.reload(&format!("{hosts}  - kind: Host{host}"));
    assert!(script.reader.snapshot(&vm).is_none());
    let draft = Draft::new(&vm);
    let refused = script.writer.create(&vm, Key::new("", "2"), &draft, false).unwrap_err();
    assert_eq!(refused, WriteError::NoKind);
    script.scrape("h1", page);
    script.reload(KINDS);
    assert_eq!(script.show(VM, "1"), "-");
    script.wait(5.0);
    script.scrape("h1", page);
    assert_eq!(script.show(VM, "1"), "state=running host=h1 hostUp=true");
    assert_eq!(script.show("Host", "h1"), "up=true");
}

#[test]
fn counts_are_kept_by_events() {
    let mut script = Scripted::new();
    let kind = script.kind(VM);
    let fields = [field(&script, "state"), field(&script, "host")];
    let counts = |script: &Scripted| {
        let (summary, _) = script.reader.summary(&kind, &fields).unwrap();
        let text = |values: &[Value]| values.iter().map(Value::plain).collect::<Vec<_>>().join(" ");
        summary.counts().map(|(values, n)| format!("{} {n}", text(values))).collect::<Vec<_>>()
    };
    script.scrape("h1", "hci_vm_state{vmid=1,state=running} 1\nhci_vm_power{vmid=2} 1");
    assert_eq!(counts(&script), [" h1 1", "running h1 1"]);
    script.scrape("h2", "hci_vm_state{vmid=2,state=running} 1");
    assert_eq!(counts(&script), ["running h1 1", "running h2 1"]);
    script.scrape("h2", "");
    script.scrape("h1", "hci_vm_state{vmid=1,state=stopped} 1");
    assert_eq!(counts(&script), ["stopped h1 1"]);
}

#[test]
fn the_time_of_observation_is_that_of_the_last_good_answer_or_update() {
    let mut script = Scripted::new();
    let kind = script.kind(VM);
    let key = Key::new("", "1");
    let age_s = |script: &Scripted| {
        let at = script.reader.observed_unix_ms(&kind, &key).unwrap();
        (script.clock.unix_ms() - at) / 1000
    };
    script.scrape("h1", "hci_vm_power{vmid=1} 1");
    script.wait(5.0);
    assert_eq!(age_s(&script), 5);
    script.scrape("h1", "hci_vm_power{vmid=1} 1");
    assert_eq!(age_s(&script), 0);
    script.wait(5.0);
    script.fail("h1", "timeout");
    assert_eq!(age_s(&script), 5);
    script.update(VM, "1", "note=x").unwrap();
    assert_eq!(age_s(&script), 0);
}
