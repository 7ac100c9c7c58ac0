//! Selectors against a small object: `vm-1` in namespace `blue`, running on `h1`.

use super::*;

#[derive(Debug, Clone)]
struct Vm {
    state: Option<&'static str>,
    host: &'static str,
    cpu: Option<f64>,
    ha: bool,
}

struct Fields;

const VM: Vm = Vm { state: Some("running"), host: "h1", cpu: Some(0.5), ha: true };

impl Vocabulary for Fields {
    fn fields(&self) -> impl Iterator<Item = (&str, ValueType)> {
        [
            ("state", ValueType::Text),
            ("host", ValueType::Text),
            ("cpu", ValueType::Number),
            ("ha", ValueType::Bool),
        ]
        .into_iter()
    }
}

impl Subject for Vm {
    fn name(&self) -> &str {
        "vm-1"
    }

    fn namespace(&self) -> Option<&str> {
        Some("blue")
    }

    fn label(&self, key: &str) -> Option<&str> {
        match key {
            "tier" => Some("web"),
            "app.kubernetes.io/name" => Some("shop"),
            "rank" => Some("7"),
            "address" => Some("10.0.0.1:9100"),
            _ => None,
        }
    }

    fn field(&self, at: usize) -> Option<Scalar<'_>> {
        match at {
            0 => self.state.map(Scalar::Text),
            1 => Some(Scalar::Text(self.host)),
            2 => self.cpu.map(Scalar::Number),
            _ => Some(Scalar::Bool(self.ha)),
        }
    }

    fn condition(&self, name: &str) -> Option<&str> {
        (name == "Fresh").then_some("False")
    }

    fn conditions(&self) -> Vec<(&str, &str)> {
        vec![("Fresh", "False")]
    }
}

fn compile(labels: &str, fields: &str) -> Result<Selector, String> {
    Selector::compile(labels, fields, &Fields).map_err(|(which, error)| format!("{which} {error}"))
}

#[track_caller]
fn check(labels: &str, fields: &str, want: bool) {
    let selector = compile(labels, fields).expect("the selector compiles");
    assert_eq!(selector.matches(&VM), want, "{labels} {fields}");
}

#[track_caller]
fn check_refused(labels: &str, fields: &str, want: &str) {
    let error = compile(labels, fields).map(|_| ()).expect_err("the selector is refused");
    assert!(error.starts_with(want), "{labels} {fields}: {error}");
}

#[test]
fn label_selectors_have_the_whole_grammar_of_kubernetes() {
    for (labels, want) in [
        ("", true),
        ("tier=web", true),
        ("tier==web", true),
        ("tier = web , rank = 7", true),
        ("tier=db", false),
        ("tier!=db", true),
        ("missing!=db", true),
        ("missing=", false),
        ("tier in (db, web)", true),
        ("tier in (db)", false),
        ("tier notin (db,cache)", true),
        ("missing notin (db)", true),
        ("tier", true),
        ("missing", false),
        ("!missing", true),
        ("!tier", false),
        ("app.kubernetes.io/name=shop", true),
        ("rank>6,rank<8", true),
        ("rank>7", false),
        ("tier>1", false),
        ("address=10.0.0.1:9100", true),
        ("in=1", false),
    ] {
        check(labels, "", want);
    }
}

#[test]
fn label_selectors_that_mean_nothing_are_refused_with_the_place() {
    check_refused("tier=web,", "", "labelSelector character 10: expected a label after the comma");
    check_refused("tier in web", "", "labelSelector character 9: expected an opening");
    check_refused("tier in (web", "", "labelSelector character 13: expected a comma or a closing");
    check_refused("rank>x", "", "labelSelector character 6: \"x\" is not an integer");
    check_refused("=web", "", "labelSelector character 1: expected the name of a label");
    check_refused("tier=web rank=7", "", "labelSelector character 10: expected a comma");
}

#[test]
fn field_selectors_compare_join_and_nest() {
    for (fields, want) in [
        ("  ", true),
        ("metadata.name=vm-1", true),
        ("metadata.namespace=blue", true),
        ("metadata.labels.tier=web", true),
        ("metadata.labels.app.kubernetes.io/name=shop", true),
        ("status.conditions.Fresh=False", true),
        ("status.state=running", true),
        ("state=running", true),
        ("status.state!=running", false),
        ("status.state==running,status.host=h1", true),
        ("status.state=stopped,status.host=h1", false),
        ("status.state=stopped||status.host=h1", true),
        ("status.state=stopped,status.host=h2||status.ha=true", true),
        ("status.state=running && (status.host=h2 || status.host=h1)", true),
        ("(status.state=stopped||status.host=h1),status.ha=false", false),
        ("status.state in (stopped, running)", true),
        ("status.state notin (stopped, paused)", true),
        ("status.state exists", true),
        ("status.state !exists", false),
        ("status.state", true),
        ("!status.state", false),
        ("status.cpu>0.4", true),
        ("status.cpu >= 0.5", true),
        ("status.cpu<5e-1", false),
        ("status.cpu<=0.5", true),
        ("status.cpu=0.50", true),
        ("status.cpu in (1, 0.5)", true),
        ("status.host<h2", true),
        ("status.ha=true", true),
        ("status.ha!=true", false),
        ("status.state=\"running\"", true),
        ("status.state in ('a,b', 'running')", true),
        (r"status.state=run\ning", true),
        (r"status.state=a\,b", false),
        ("status.state=", false),
        ("status.state!=", true),
    ] {
        check("", fields, want);
    }
}

#[test]
fn a_missing_field_matches_only_what_excludes() {
    let vm = Vm { state: None, cpu: None, ..VM };
    for (fields, want) in [
        ("status.state=running", false),
        ("status.state!=running", true),
        ("status.state notin (running)", true),
        ("status.state=", true),
        ("status.cpu>0", false),
        ("status.cpu<=0", false),
        ("status.cpu!=0", true),
        ("!status.cpu", true),
        ("cel:object.status.cpu > 0.0", false),
        ("cel:!has(object.status.cpu)", true),
    ] {
        assert_eq!(compile("", fields).unwrap().matches(&vm), want, "{fields}");
    }
}

#[test]
fn field_selectors_that_mean_nothing_are_refused_with_the_place() {
    for (fields, want) in [
        ("status.sate=running", "character 1: no field \"status.sate\"; status has state, host"),
        ("status.host=h1,spec.x=1", "character 16: no field \"spec.x\""),
        ("status.cpu>many", "character 12: \"many\" is not a number"),
        ("status.cpu=NaN", "character 12: \"NaN\" is not a number"),
        ("status.ha=yes", "character 11: \"yes\" is neither true nor false"),
        ("status.ha>true", "character 10: true and false have no order"),
        ("(status.ha=true", "character 16: expected a closing parenthesis, found the end"),
        ("status.ha=true)", "character 15: expected `,`, `&&`, `||` or the end, found ')'"),
        ("status.state=\"run", "character 14: this quote is never closed"),
        ("status.state=a=b", "character 15: put `\\` before this"),
        ("status.state in running", "character 17: expected an opening parenthesis"),
        ("status.host=h1||", "character 17: expected the name of a field, found the end"),
        ("status.host=é,x=1", "character 15: no field \"x\""),
    ] {
        check_refused("", fields, &format!("fieldSelector {want}"));
    }
    check_refused("", &"(".repeat(100), "fieldSelector character 34: more than 32 parentheses");
    check_refused("", &"x".repeat(40_000), "fieldSelector character 32769: the selector has more");
}

#[test]
fn cel_sees_the_object() {
    for (source, want) in [
        ("object.status.state == 'running'", true),
        ("object.status.cpu > 0.4 && object.status.ha", true),
        ("object.status.cpu > 1", false),
        ("object.metadata.name.startsWith('vm-')", true),
        ("object.metadata.namespace == 'blue'", true),
        ("object.metadata.labels['tier'] == 'web'", true),
        ("'zone' in object.metadata.labels", false),
        ("has(object.metadata.labels.tier)", true),
        ("object.status.state in ['stopped', 'running']", true),
        ("['stopped', 'running'].exists(s, s == object.status.state)", true),
        ("object.status.conditions.Fresh == 'False'", true),
        ("object.status.host.matches('^h[0-9]+$')", true),
        ("object.status.host.matches('^x') || object.status.state.matches('ing$')", true),
        ("matches(object.status.host, '^h')", true),
        ("['^h', 'x'].exists(x, x.matches('h'))", true),
        ("object.status.conditions.exists(c, c.type == 'Fresh' && c.status == 'False')", true),
        ("object.status.conditions.all(c, c.status == 'True')", false),
        ("'Fresh' in object.status.conditions", true),
        ("object.status.conditions['Ready'] == 'True'", false),
        ("object != null && old == null", true),
        ("size(object.status.state) == 7", true),
        ("object.status.cpu / 0.0 > 1.0", true),
        ("object.metadata.labels['zone'] == 'x'", false),
    ] {
        check("", &format!("cel:{source}"), want);
    }
}

#[test]
fn cel_that_cannot_be_right_is_refused_with_the_place() {
    for (source, want) in [
        ("object.status.state ==", "character 27"),
        ("object.status.sate == 'x'", "character 18: status has no \"sate\""),
        ("objekt.status.state == 'x'", "character 5: no variable \"objekt\""),
        ("object.status.state", "character 18: the expression is of type string, not bool"),
        ("object.status.state > 1", "character 25"),
        ("true || 1 + 'a' == 'b'", "character 15"),
        ("now() > 1", "character 8: no function \"now\""),
        ("object.spec.x == 1", "character 11: object has no \"spec\""),
        ("object.status.host.matches(object.status.state)", "character 31: the pattern"),
        ("object.status.host.matches('(a{500}){500}')", "character 31: a pattern that is too"),
        (r"object.status.host.matches('\\p{L}{900}')", "character 31: a pattern that is too"),
        ("object.status.host.matches('(')", "character 31: not a pattern: unclosed group"),
        ("object == old", "character 5: a whole cannot be compared"),
        ("true && object.metadata.labels != old.metadata.labels", "character 28: a whole cannot"),
        ("object.status == object.status", "character 11: a whole cannot"),
    ] {
        check_refused("", &format!("cel:{source}"), &format!("fieldSelector {want}"));
    }
}

#[test]
fn cel_that_does_not_end_is_refused() {
    let list = format!("[{}1]", "1,".repeat(60));
    let nested = format!("cel:{list}.all(a, {list}.all(b, {list}.all(c, a + b + c > 0)))");
    check_refused("", &nested, "fieldSelector character 5: the expression may take");
    let doubling = format!("cel:['x']{} == []", ".map(a, a + a)".repeat(60));
    check_refused("", &doubling, "fieldSelector character 5: the expression may take");
    // One of these takes half of what one evaluation may take.
    let pattern = "object.status.host.matches('(x{1,50}){1,9}y')";
    check("", &format!("cel:{pattern}"), false);
    let three = format!("cel:{pattern} || {pattern} || {pattern}");
    check_refused("", &three, "fieldSelector character 5: the expression may take");
    for usual in [r"^\\w+$", r"h\\d+", r"^\\pL\\d$", r"^(?:h\\d{1,3}|10\\.\\d{1,3}\\.\\d{1,3})$"] {
        let one = format!("object.status.host.matches('{usual}')");
        check("", &format!("cel:{}", [one.as_str(); 4].join(" && ")), true);
    }
    let long = format!("cel:{}true", "true && ".repeat(1000));
    check_refused("", &long, "fieldSelector character 2053: the expression has more than 2048");
    let deep = format!("cel:{}object.status.ha", "!".repeat(100));
    check("", &deep, true);
    let wide = format!("cel:{}object.status.cpu > 0.0", "1.0 + ".repeat(90));
    check_refused("", &wide, "fieldSelector character");
}

fn told(fields: &str, old: Option<&Vm>, new: Option<&Vm>) -> Option<Edge> {
    compile("", fields).expect("the selector compiles").edge(old, new)
}

#[test]
fn edges_follow_from_what_matched_before_and_matches_now() {
    let stopped = Vm { state: Some("stopped"), ..VM };
    let moved = Vm { host: "h2", ..VM };
    for (fields, old, new, want) in [
        ("", None, Some(&VM), Some(Edge::Enter)),
        ("", Some(&VM), Some(&stopped), Some(Edge::Stay)),
        ("", Some(&VM), None, Some(Edge::Leave)),
        ("state=running", Some(&stopped), Some(&VM), Some(Edge::Enter)),
        ("state=running", Some(&VM), Some(&stopped), Some(Edge::Leave)),
        ("state=running", Some(&VM), Some(&moved), Some(Edge::Stay)),
        ("state=running", Some(&stopped), None, None),
        ("state=paused", Some(&VM), Some(&stopped), None),
        ("state=running@edge", Some(&VM), Some(&moved), None),
        ("state=running@edge", Some(&stopped), Some(&VM), Some(Edge::Enter)),
        ("state=running@on(status.cpu)", Some(&VM), Some(&moved), None),
        ("state=running@on(status.cpu, status.host)", Some(&VM), Some(&moved), Some(Edge::Stay)),
        ("@on(status.host)", Some(&VM), Some(&stopped), None),
        ("@on(status.host)", Some(&VM), None, Some(Edge::Leave)),
        ("cel:object.status.ha@on(status.host)", Some(&VM), Some(&stopped), None),
    ] {
        assert_eq!(told(fields, old, new), want, "{fields} {old:?} {new:?}");
    }
}

#[test]
fn a_condition_over_old_and_new_is_told_once_per_change() {
    let stopped = Vm { state: Some("stopped"), ..VM };
    let crash = "cel:old.status.state == 'running' && object.status.state == 'stopped'";
    for (fields, old, new, want) in [
        (crash, Some(&VM), Some(&stopped), Some(Edge::Stay)),
        (crash, Some(&stopped), Some(&VM), None),
        (crash, Some(&stopped), Some(&stopped), None),
        (crash, None, Some(&stopped), None),
        (crash, Some(&VM), None, None),
        ("cel:old == null && object.status.ha", None, Some(&VM), Some(Edge::Enter)),
        ("cel:object == null && old.status.ha", Some(&VM), None, Some(Edge::Leave)),
    ] {
        assert_eq!(told(fields, old, new), want, "{fields} {old:?} {new:?}");
    }
    assert!(!compile("", crash).unwrap().matches(&VM));
}

#[test]
fn an_expression_does_not_see_a_text_without_end() {
    let long = "x".repeat(5000);
    let vm = Vm { state: Some(long.leak()), ..VM };
    let sees = |source: &str| compile("", source).unwrap().matches(&vm);
    assert!(
        !sees("cel:object.status.state.contains('x')") && !sees("cel:has(object.status.state)")
    );
    assert!(sees("cel:object.status.ha"));
}

#[test]
fn triggers_that_mean_nothing_are_refused_with_the_place() {
    check_refused("", "state=a@on(status.x)", "fieldSelector character 12: no field");
    check_refused("", "state=a@on()", "fieldSelector character 12: expected the name of a field");
    check_refused("", "state=a@on(host,)", "fieldSelector character 17: expected the name");
    let old = "cel:old.status.state == 'a'@edge";
    check_refused("", old, "fieldSelector character 28: `@edge` is not for an expression");
}

#[test]
fn what_an_index_can_answer_is_known() {
    let required = |fields: &str, at| {
        let selector = compile("", fields).unwrap();
        selector.required(at).map(|values| {
            let text = |value: &Scalar<'_>| format!("{value:?}");
            values.iter().map(text).collect::<Vec<_>>().join(" ")
        })
    };
    assert_eq!(required("host=h1,state=x", 1).unwrap(), "Text(\"h1\")");
    assert_eq!(required("host in (h2,h1)", 1).unwrap(), "Text(\"h1\") Text(\"h2\")");
    assert_eq!(required("host=h1||host=h2", 1).unwrap(), "Text(\"h1\") Text(\"h2\")");
    for fields in ["", "host!=h1", "host=h1||state=x", "host=", "host>h1", "state=x"] {
        assert_eq!(required(fields, 1), None, "{fields}");
    }
    assert_eq!(compile("", "metadata.name=a").unwrap().required_name(), Some("a"));
    assert_eq!(compile("", "metadata.name in (a,b)").unwrap().required_name(), None);
}
