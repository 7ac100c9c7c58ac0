//! Which files are refused, with which words, and where.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::*;
use crate::config::{Duration, HttpClientSpec};

#[derive(Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(default, deny_unknown_fields, rename = "config.plain")]
struct Whole {
    global: Global,
    jobs: Vec<Job>,
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(default, deny_unknown_fields, rename = "global.plain")]
struct Global {
    interval: Duration,
    limit: u32,
    honor: bool,
    name: String,
    ratio: f64,
}

#[derive(Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(default, deny_unknown_fields, rename = "job.plain")]
struct Job {
    name: String,
    #[serde(rename = "<inline>")]
    http: HttpClientSpec,
}

#[track_caller]
fn refused(text: &str, want: &str) {
    let error = from_str::<Whole>("f.yml", text).unwrap_err();
    assert_eq!(error.to_string(), want, "{text}");
}

#[track_caller]
fn global(text: &str, want: &Global) {
    let whole: Whole = from_str("f.yml", &format!("global: {{{text}}}")).unwrap();
    assert_eq!(whole.global, *want, "{text}");
}

#[test]
fn what_is_not_known_is_refused_with_its_place() {
    refused("globl: {}", "f.yml:1: globl: field globl not found in type config.plain");
    refused(
        "global:\n  limit: 1\n  limti: 2\n",
        "f.yml:3: global.limti: field limti not found in type global.plain",
    );
    refused("jobs:\n- nam: x\n", "f.yml:2: jobs[0].nam: field nam not found in type job.plain");
    refused("jobs: []\njobs: []\n", "f.yml:2: jobs: field jobs already set in type config.plain");
    refused("labels: {a: 1, a: 2}", "f.yml:1: labels: key \"a\" already set in map");
    refused(
        "jobs:\n- tls_config:\n    ca: x\n    cb: y\n",
        "f.yml:4: jobs[0].tls_config.cb: field cb not found in type config.plain",
    );
}

#[test]
fn values_of_the_wrong_type_are_refused() {
    let start = "yaml: unmarshal errors: cannot unmarshal";
    refused(
        "global: {limit: many}",
        &format!("f.yml:1: global.limit: {start} !!str `many` into u32"),
    );
    refused(
        "global: {honor: 'true'}",
        &format!("f.yml:1: global.honor: {start} !!str `true` into a boolean"),
    );
    refused("global: {name: [a]}", &format!("f.yml:1: global.name: {start} !!seq into a string"));
    refused("jobs: {a: b}", &format!("f.yml:1: jobs: {start} !!map into a sequence"));
    refused(
        "global: {interval: -1h}",
        "f.yml:1: global.interval: not a valid duration string: \"-1h\"",
    );
    refused(
        "global: {name: !!binary '/w==$1'}",
        "f.yml:1: global.name: yaml: !!binary value contains invalid base64 data",
    );
}

#[test]
fn broken_yaml_is_refused_with_its_line() {
    let error = from_str::<Whole>("f.yml", "a: [1\nb: 2\n").unwrap_err();
    assert_eq!((&*error.file, error.key.as_str()), ("f.yml", ""));
    assert!(error.message.starts_with("yaml: "), "{error}");
}

#[test]
fn scalars_mean_what_yaml_1_1_says() {
    let base = Global::default();
    global("", &base);
    global("honor: yes", &Global { honor: true, ..base });
    let base = Global::default();
    global("honor: on, limit: 0x10", &Global { honor: true, limit: 16, ..base });
    let base = Global::default();
    global("limit: 1_000, name: 12", &Global { limit: 1000, name: "12".into(), ..base });
    let base = Global::default();
    global("limit: , name: ~, honor: null, interval:", &base);
    global("ratio: 1e3", &Global { ratio: 1000.0, ..base });
    let base = Global::default();
    global("name: !!binary aGk=", &Global { name: "hi".into(), ..base });
}

#[test]
fn anchors_and_merges_work_and_do_not_explode() {
    let text = "jobs:\n- &a {name: x, bearer_token: t}\n- {<<: *a, name: y}\n";
    let whole: Whole = from_str("f.yml", text).unwrap();
    assert_eq!(whole.jobs[1].name, "y");
    assert_eq!(whole.jobs[1].http.bearer_token.reveal(), "t");

    let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for at in 1..9 {
        let before = format!("*a{}", at - 1);
        bomb += &format!("a{at}: &a{at} [{}]\n", [&*before; 10].join(","));
    }
    let error = from_str::<Whole>("f.yml", &bomb).unwrap_err();
    assert_eq!(error.message, "yaml: document contains excessive aliasing");
}

#[test]
fn a_later_error_is_found_by_its_key() {
    let text = "global:\n  limit: 1\njobs:\n  - name: a\n  -\n    name: b\nlabels:\n  a.b: c\n";
    let document = Document::parse("f.yml", text).unwrap();
    let line = |key: &str| document.locate(Invalid::new(key, "bad")).line;
    assert_eq!(line("jobs[1].name"), 6);
    assert_eq!(line("jobs[1].missing"), 6);
    assert_eq!(line("jobs[0]"), 4);
    assert_eq!(line("labels.a.b"), 8);
    assert_eq!(line("global.limit"), 2);
    assert_eq!(line(""), 1);
}

#[test]
fn what_is_written_in_line_is_read_in_line() {
    let text = "jobs: [{name: a, proxy_url: 'http://p', follow_redirects: false}]";
    let whole: Whole = from_str("f.yml", text).unwrap();
    let written = to_string(&whole).unwrap();
    assert!(!written.contains('<'), "{written}");
    assert_eq!(from_str::<Whole>("g.yml", &written).unwrap(), whole);
}

#[test]
fn a_section_is_decoded_when_its_type_is_known() {
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename = "forwarder")]
    struct Forwarder {
        module: String,
        #[serde(rename = "<inline>")]
        rest: Section,
    }
    #[derive(Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct File {
        path: String,
    }
    let all: Vec<Forwarder> =
        from_str("f", "[{module: file, path: a}, {module: x, pth: b}]").unwrap();
    assert_eq!(all[0].module, "file");
    assert_eq!(all[0].rest.decode::<File>().unwrap().path, "a");
    let invalid: Invalid = all[1].rest.decode::<File>().unwrap_err().into();
    assert_eq!(invalid.to_string(), "pth: field pth not found in type forwarder");
}
