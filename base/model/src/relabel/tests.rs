//! What each action does, and which rules are refused.

use super::*;
use crate::Labels;

/// Writes a rule as `key=value` pairs separated by blanks; `␣` stands for a blank.
fn fields(text: &str) -> RuleFields {
    let mut fields = RuleFields::default();
    for pair in text.split_whitespace() {
        let (key, value) = pair.split_once('=').unwrap();
        let value = value.replace('␣', " ");
        match key {
            "from" => fields.source_labels = value.split(',').map(str::to_owned).collect(),
            "separator" => fields.separator = Some(value),
            "regex" => fields.regex = Some(value),
            "modulus" => fields.modulus = value.parse().unwrap(),
            "to" => fields.target_label = value,
            "with" => fields.replacement = Some(value),
            "action" => fields.action = Some(value),
            other => panic!("{other}"),
        }
    }
    fields
}

#[track_caller]
fn check_by(names: NameScheme, rules: &[&str], before: &str, want: &str) {
    let rules: Vec<Rule> =
        rules.iter().map(|rule| Rule::new(fields(rule), names).unwrap()).collect();
    let pairs = before.split_whitespace().map(|pair| pair.split_once('=').unwrap());
    let mut builder = LabelsBuilder::new(&pairs.collect::<Labels>());
    let got = if relabel(&rules, &mut builder) {
        builder.build().iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join(" ")
    } else {
        "dropped".to_owned()
    };
    assert_eq!(got, want, "{rules:?}");
}

#[track_caller]
fn check(rules: &[&str], before: &str, want: &str) {
    check_by(NameScheme::Utf8, rules, before, want);
}

#[track_caller]
fn refused(rule: &str, want: &str) {
    assert_eq!(Rule::new(fields(rule), NameScheme::Utf8).unwrap_err().to_string(), want);
}

#[test]
fn replace_fills_groups_into_label_and_value() {
    check(&["from=a regex=f(.*) to=d with=ch$1-ch$1"], "a=foo b=bar", "a=foo b=bar d=choo-choo");
    check(&["from=a,b regex=f(.*);b(.*) to=c with=$1/$2"], "a=foo b=bar", "a=foo b=bar c=oo/ar");
    check(&["from=a,b separator=- to=c"], "a=x b=y", "a=x b=y c=x-y");
    check(&["from=a,zz to=c"], "a=x", "a=x c=x;");
    check(&["from=a regex=b to=c with=d"], "a=foo", "a=foo");
    check(&["from=a regex=f(.*) to=new_$1 with=v"], "a=foo", "a=foo new_oo=v");
    check(&["from=a regex=(?P<x>.)(.*) to=${x}_y with=${2}"], "a=foo", "a=foo f_y=oo");
    check(&["from=a regex=foo to=b with=$1"], "a=foo b=1", "a=foo");
    check(&["from=zz to=b with="], "b=1", "");
    check(&["to=b with=static"], "a=1", "a=1 b=static");
    check(&["from=zz regex=(.*) to=b with=static"], "a=1", "a=1 b=static");
    check(&["from=zz regex=.+ to=b with=static"], "a=1", "a=1");
    check(&["from=a to=a with=${1}:80"], "a=h", "a=h:80");
    check(&["from=a regex=(.*) to=$1 with=x"], "a=", "");
    check(&["from=a to=b with=a$$b"], "a=1", "a=1 b=a$b");
}

#[test]
fn names_that_the_scheme_forbids_are_not_written() {
    let rules = ["from=a regex=(.*) to=$1 with=v"];
    check_by(NameScheme::Legacy, &rules, "a=not.valid", "a=not.valid");
    check_by(NameScheme::Legacy, &rules, "a=valid", "a=valid valid=v");
    check_by(NameScheme::Utf8, &rules, "a=not.valid", "a=not.valid not.valid=v");
}

#[test]
fn keep_and_drop_decide_and_end_the_rules() {
    check(&["from=a regex=.*o.* action=drop"], "a=foo", "dropped");
    check(&["from=a regex=o action=drop"], "a=foo", "a=foo");
    check(&["from=a regex=f|fo action=drop"], "a=foo", "a=foo");
    check(&["from=a regex=f.. action=keep"], "a=foo", "a=foo");
    check(&["from=a regex=f. action=keep"], "a=foo", "dropped");
    check(&["from=a regex=foo action=DROP", "to=b with=x"], "a=foo", "dropped");
    check(&["from=a,b to=c action=keepequal"], "a=x b=y c=x;y", "a=x b=y c=x;y");
    check(&["from=a to=c action=keepequal"], "a=x c=y", "dropped");
    check(&["from=a to=c action=dropequal"], "a=x c=x", "dropped");
    check(&["from=a to=c action=dropequal"], "a=x", "a=x");
    check(&["from=zz to=c action=dropequal"], "a=x", "dropped");
}

#[test]
fn hashmod_divides_the_last_half_of_the_md5() {
    check(&["from=c to=d modulus=1000 action=hashmod"], "c=baz", "c=baz d=976");
    check(&["from=c to=d modulus=8 action=hashmod"], "c=", "d=6");
    check(&["from=a,b to=d modulus=4 action=hashmod"], "a=x b=y", "a=x b=y d=2");
}

#[test]
fn labels_are_chosen_and_renamed_by_name() {
    check(
        &["regex=(b.*) with=bar_${1} action=labelmap"],
        "a=foo b1=bar b2=baz",
        "a=foo b1=bar b2=baz bar_b1=bar bar_b2=baz",
    );
    check(
        &["regex=__meta_(my.*) with=$1 action=labelmap"],
        "__meta_my_x=1",
        "__meta_my_x=1 my_x=1",
    );
    check(&["regex=a)|(b with=_ action=labelmap"], "ax=1", "_x=1 ax=1");
    check(&["regex=(b.*) action=labelkeep"], "a=foo b1=x b2=y", "b1=x b2=y");
    check(&["regex=(b.*) action=labeldrop"], "a=foo b1=x b2=y", "a=foo");
    check(&["from=a to=a action=lowercase"], "a=FoÉ", "a=foé");
    check(&["from=a to=b action=uppercase"], "a=foé", "a=foé b=FOÉ");
    check(&["from=a to=b action=uppercase"], "a=ß", "a=ß b=ß");
}

#[test]
fn rules_that_prometheus_refuses_are_refused_in_its_words() {
    refused("action=", "action: relabel action cannot be empty");
    refused("action=keepp", r#"action: unknown relabel action "keepp""#);
    refused(
        "to=a action=hashmod",
        "modulus: relabel configuration for hashmod requires non-zero modulus",
    );
    refused(
        "from=a",
        "target_label: relabel configuration for replace action requires 'target_label' value",
    );
    refused(
        "from=a action=labelkeep",
        "action: labelkeep action requires only 'regex', and no other fields",
    );
    refused(
        "from=a to=b regex=x action=keepequal",
        "action: keepequal action requires only 'source_labels' and `target_label`, and no other \
         fields",
    );
    refused(
        "from=a to=b with=x action=lowercase",
        "replacement: 'replacement' can not be set for lowercase action",
    );
    refused("to=a regex=a(", "regex: error parsing regexp: missing closing ): `^(?s:a()$`");
    let legacy = |rule: &str| Rule::new(fields(rule), NameScheme::Legacy);
    let error = legacy("to=a.b").unwrap_err().to_string();
    assert_eq!(error, r#"target_label: "a.b" is invalid 'target_label' for replace action"#);
    assert!(legacy("to=a_${1}_$2").is_ok());
    assert!(legacy("to=${1").is_err());
    assert!(legacy("with=x.$1 action=labelmap").is_err());
}
