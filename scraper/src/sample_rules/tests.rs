//! What becomes of one exposed series under each rule.

use model::RuleFields;

use super::*;

/// A rule with this action, source label and regex.
fn rule(action: &str, source: &str, regex: &str) -> Arc<[Rule]> {
    let fields = RuleFields {
        action: Some(action.to_owned()),
        source_labels: if source.is_empty() { vec![] } else { vec![source.to_owned()] },
        regex: Some(regex.to_owned()),
        ..RuleFields::default()
    };
    Arc::new([Rule::new(fields, NameScheme::Utf8).unwrap()])
}

struct Case {
    rules: SampleRules,
}

fn target(labels: &[(&str, &str)]) -> Case {
    Case { rules: SampleRules::of_target(labels.iter().copied().collect()) }
}

impl Case {
    fn with(mut self, change: impl FnOnce(&mut SampleRules)) -> Case {
        change(&mut self.rules);
        self
    }

    #[track_caller]
    fn check(&self, name: &str, labels: &[(&str, &str)], want: &str) {
        let labels: Vec<_> = labels.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
        let got = match self.rules.decide(Exposed { name, labels: &labels }) {
            Ok(Some(labels)) => labels.to_string(),
            Ok(None) => "dropped".to_owned(),
            Err(fault) => fault.to_string(),
        };
        assert_eq!(got, want);
    }
}

#[test]
fn target_labels_are_added_and_conflicts_renamed() {
    let case = target(&[("job", "j"), ("instance", "i")]);
    case.check("m", &[("a", "1")], r#"{__name__="m", a="1", instance="i", job="j"}"#);
    case.check("m", &[("job", "x")], r#"{__name__="m", exported_job="x", instance="i", job="j"}"#);
    case.check(
        "m",
        &[("job", "x"), ("exported_job", "y")],
        r#"{__name__="m", exported_exported_job="x", exported_job="y", instance="i", job="j"}"#,
    );
    case.check("m", &[("job", "")], r#"{__name__="m", instance="i", job="j"}"#);
}

#[test]
fn a_name_that_is_named_again_without_a_value_is_none() {
    let case = target(&[("job", "j")]);
    case.check("m", &[("__name__", "")], "missing metric name (__name__ label)");
    case.check("m", &[("__name__", "m")], "label name \"__name__\" is not unique: invalid sample");
}

#[test]
fn shorter_conflicting_names_are_renamed_first() {
    let case = target(&[("a", "t"), ("exported_a", "t2")]);
    case.check(
        "m",
        &[("exported_a", "x2"), ("a", "x")],
        "{__name__=\"m\", a=\"t\", exported_a=\"t2\", exported_exported_a=\"x\", \
         exported_exported_exported_a=\"x2\"}",
    );
}

#[test]
fn honored_labels_win_even_when_they_are_empty() {
    let case = target(&[("job", "j"), ("instance", "i")]).with(|rules| rules.honor_labels = true);
    case.check("m", &[("job", "x")], r#"{__name__="m", instance="i", job="x"}"#);
    case.check("m", &[("instance", "")], r#"{__name__="m", job="j"}"#);
}

#[test]
fn relabelling_sees_target_labels_and_may_drop() {
    let labels = &[("job", "j")];
    let case = target(labels).with(|rules| rules.relabel = rule("drop", "__name__", "bad|j"));
    case.check("m", &[("a", "1")], r#"{__name__="m", a="1", job="j"}"#);
    case.check("bad", &[], "dropped");
    let case = target(labels).with(|rules| rules.relabel = rule("keep", "job", "j"));
    case.check("m", &[], r#"{__name__="m", job="j"}"#);
    let all = target(labels).with(|rules| rules.relabel = rule("labeldrop", "", ".*"));
    all.check("m", &[], "dropped");
}

#[test]
fn a_series_without_a_valid_name_fails_the_scrape() {
    let case = target(&[("job", "j")]);
    case.check("", &[], "missing metric name (__name__ label)");
    case.check("a.b ü", &[("c.d", "1")], r#"{__name__="a.b ü", c.d="1", job="j"}"#);
    let legacy = target(&[("job", "j")]).with(|rules| rules.names = NameScheme::Legacy);
    legacy.check("a.b", &[], r#"invalid metric name or label names: {__name__="a.b", job="j"}"#);
    legacy.check("a:b", &[], r#"{__name__="a:b", job="j"}"#);
    legacy.check(
        "m",
        &[("a:b", "1")],
        r#"invalid metric name or label names: {__name__="m", a:b="1", job="j"}"#,
    );
}

#[test]
fn a_repeated_label_fails_the_scrape_unless_it_is_overwritten_or_dropped() {
    let case = target(&[("job", "j")]);
    case.check("m", &[("a", "1"), ("a", "2")], "label name \"a\" is not unique: invalid sample");
    case.check("m", &[("__name__", "x")], "label name \"__name__\" is not unique: invalid sample");
    case.check("m", &[("job", "1"), ("job", "2")], r#"{__name__="m", exported_job="1", job="j"}"#);
    case.check("m", &[("a", ""), ("a", "1")], r#"{__name__="m", job="j"}"#);
    let dropping = target(&[("job", "j")]).with(|rules| rules.relabel = rule("labeldrop", "", "a"));
    dropping.check("m", &[("a", "1"), ("a", "2")], r#"{__name__="m", job="j"}"#);
}

#[test]
fn label_limits_count_every_label_after_relabelling() {
    let limited = |limits| target(&[("job", "j")]).with(|rules| rules.limits = limits);
    let none = SampleLimits::default();
    let labels = limited(SampleLimits { labels: 3, ..none });
    labels.check("m", &[("a", "1")], r#"{__name__="m", a="1", job="j"}"#);
    labels.check(
        "m",
        &[("a", "1"), ("b", "2")],
        "label_limit exceeded (metric: m, number of labels: 4, limit: 3)",
    );
    limited(SampleLimits { label_name_bytes: 8, ..none }).check(
        "m",
        &[("ninebytes", "1")],
        "label_name_length_limit exceeded (metric: m, label name: ninebytes, length: 9, limit: 8)",
    );
    limited(SampleLimits { label_value_bytes: 2, ..none }).check(
        "m",
        &[("a", "123")],
        "label_value_length_limit exceeded (metric: m, label name: a, value: \"123\", \
         length: 3, limit: 2)",
    );
}
