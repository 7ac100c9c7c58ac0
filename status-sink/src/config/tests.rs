//! Kinds that are accepted, and what is said of those that are not.

use super::*;

const VM: &str = "kind: VirtualMachine, name: '{vmid}'";
const FIELDS: &str = "fields: { state: { metric: s, from_label: state }, cpu: { metric: c } }";

/// What checking a section with one kind gives: `ok`, or the key and the message.
fn checked(kind: &str) -> String {
    let yaml = format!("kinds: [{{ {kind} }}]");
    let spec: Spec = match kit::config::yaml::from_str("test.yml", &yaml) {
        Ok(spec) => spec,
        Err(error) => return error.to_string(),
    };
    spec.check()
        .map_or_else(|invalid| format!("{}: {}", invalid.key, invalid.message), |_| "ok".into())
}

#[track_caller]
fn check(kind: &str, want: &[&str]) {
    let got = checked(kind);
    assert!(want.iter().all(|words| got.contains(words)), "{kind}: {got}");
}

#[test]
fn a_condition_is_checked_with_the_file() {
    let with = |when: &str| format!("{VM}, {FIELDS}, conditions: {{ Hot: {{ when: {when:?} }} }}");
    check(&with("status.cpu>0.9"), &["ok"]);
    check(&with("status.state in (crashed,paused)"), &["ok"]);
    check(&with("cel:object.status.cpu > 0.9"), &["ok"]);
    check(&with("status.cpuu>0.9"), &["kinds[0].conditions.Hot.when", "cpuu"]);
    check(&with("status.cpu>>"), &["kinds[0].conditions.Hot.when"]);
    check(&with("cel:object.status.cpu >"), &["kinds[0].conditions.Hot.when"]);
}

#[test]
fn a_kind_says_what_is_wrong_with_it() {
    check(&format!("{VM}, {FIELDS}"), &["ok"]);
    check(
        &format!("{VM}, {FIELDS}, absent: {{ set: {{ cpu: x }} }}"),
        &["absent.set.cpu", "number"],
    );
    check(&format!("{VM}, {FIELDS}, events_max: 1"), &["events_max", "at least 16"]);
    check(&format!("{VM}, {FIELDS}, conditions: {{ Fresh: {{}} }}"), &["stale_after"]);
    check("kind: vm", &["kinds[0].kind", "upper camel case"]);
    check("kind: Note, namespace: '{a}'", &["kinds[0].namespace", "needs a `name`"]);
}

#[test]
fn a_name_is_that_of_one_kind() {
    let two = |one: &str, other: &str, want: &[&str]| {
        check(&format!("kind: Host, {one} }}, {{ {other}"), want);
    };
    let short = "short_names: [ho]";
    two(short, "kind: Thing, short_names: [th]", &["ok"]);
    let taken = ["kinds[1].short_names", "is a name of Host already"];
    two(short, "kind: Thing, short_names: [hosts]", &taken);
    two(short, "kind: Thing, short_names: [host]", &taken);
    two(short, "kind: Thing, short_names: [ho]", &taken);
    two("short_names: [thing]", "kind: Thing", &["kinds[1].singular", "a short name of Host"]);
    two("short_names: [things]", "kind: Thing", &["kinds[1].plural", "a short name of Host"]);
}

#[test]
fn only_who_is_fed_by_others_waits_for_them() {
    let warm_up = |yaml: &str, is_fed| {
        let spec: Spec = kit::config::yaml::from_str("test.yml", yaml).unwrap();
        spec.check().unwrap().warm_up(is_fed).as_secs()
    };
    let kinds = format!("kinds: [{{ {VM}, {FIELDS} }}]");
    assert_eq!(warm_up(&kinds, true), 10);
    assert_eq!(warm_up(&kinds, false), 0);
    assert_eq!(warm_up(&format!("warm_up: 3s\n{kinds}"), false), 3);
    assert_eq!(warm_up(&format!("warm_up: 0s\n{kinds}"), true), 0);
    assert_eq!(warm_up("kinds: [{ kind: Note, fields: { a: {} } }]", true), 0);
}
