//! Relabelling: every action and its corners, on series and on targets.

use super::case::{Case, page};
use super::check;

/// What the targets of these cases print.
const PAGE: &str = "\
a{x=\"one\",y=\"two\"} 1
a{x=\"three\"} 2
b{x=\"one\",mixed=\"aBcÄ\"} 3
c 4
";

/// A case that relabels series by these rules.
fn series(name: &'static str, rules: &str) -> Case {
    page(name, PAGE).job(&format!("metric_relabel_configs: [{rules}]"))
}

/// A case that relabels the target by these rules.
fn target(name: &'static str, rules: &str) -> Case {
    page(name, "a{x=\"one\"} 1\n").job(&format!("relabel_configs: [{rules}]"))
}

fn all(make: fn(&'static str, &str) -> Case, cases: &[(&'static str, &str)]) -> Vec<Case> {
    cases.iter().map(|(name, rules)| make(name, rules)).collect()
}

#[tokio::test]
async fn replace_does_what_go_expand_does() {
    check(all(series, &[
        ("a copy", "{source_labels: [x], target_label: z}"),
        ("a constant", "{target_label: z, replacement: k}"),
        ("a constant over a label", "{target_label: x, replacement: k}"),
        ("an empty replacement removes", "{target_label: x, replacement: ''}"),
        ("an empty replacement of nothing", "{target_label: z, replacement: ''}"),
        ("two sources", "{source_labels: [x, y], target_label: z}"),
        ("a source that is not there", "{source_labels: [nope], target_label: z}"),
        ("a source that is not there, matched", "{source_labels: [nope], regex: '', target_label: z, replacement: none}"),
        ("another separator", "{source_labels: [x, y], separator: '-', target_label: z}"),
        ("an empty separator", "{source_labels: [x, y], separator: '', target_label: z}"),
        ("a long separator", "{source_labels: [x, y], separator: ' and ', target_label: z}"),
        ("a capture", "{source_labels: [x], regex: 'o(n)e', target_label: z}"),
        ("two captures", "{source_labels: [x, y], regex: '(.)(.*);(.*)', target_label: z, replacement: '$3-$2-$1'}"),
        ("a capture in braces", "{source_labels: [x], regex: '(o)(.*)', target_label: z, replacement: '${2}x'}"),
        ("a capture that runs into letters", "{source_labels: [x], regex: '(o)(.*)', target_label: z, replacement: '$2x'}"),
        ("a named capture", "{source_labels: [x], regex: '(?P<first>.)(.*)', target_label: z, replacement: '${first}-$first'}"),
        ("an unknown named capture", "{source_labels: [x], regex: '(.*)', target_label: z, replacement: 'v${nope}w'}"),
        ("a capture that is not there", "{source_labels: [x], regex: '(.*)', target_label: z, replacement: 'v$7w-$7'}"),
        ("the whole match", "{source_labels: [x], regex: 'o.*', target_label: z, replacement: '<$0>'}"),
        ("two dollars", "{source_labels: [x], target_label: z, replacement: '$$1'}"),
        ("a dollar at the end", "{source_labels: [x], target_label: z, replacement: 'a$'}"),
        ("a dollar and a dash", "{source_labels: [x], target_label: z, replacement: 'a$-b'}"),
        ("an open brace", "{source_labels: [x], target_label: z, replacement: 'a${1'}"),
        ("empty braces", "{source_labels: [x], target_label: z, replacement: 'a${}b'}"),
        ("a capture that took no part", "{source_labels: [x], regex: '(o)?(t)?.*', target_label: z, replacement: '[$1][$2]'}"),
        ("a regex that matches a part only", "{source_labels: [x], regex: 'n', target_label: z, replacement: k}"),
        ("a regex with its own anchors", "{source_labels: [x], regex: '^one$', target_label: z, replacement: k}"),
        ("alternatives are anchored as one", "{source_labels: [x], regex: 'on|one', target_label: z, replacement: k}"),
        ("a regex without regard to case", "{source_labels: [x], regex: '(?i)ONE', target_label: z, replacement: k}"),
        ("a lazy regex", "{source_labels: [x], regex: '(.*?)(e*)', target_label: z, replacement: '$1-$2'}"),
        ("a class of the unicode", "{source_labels: [mixed], regex: '.*(\\p{Lu})', target_label: z}"),
        ("an ascii class", "{source_labels: [mixed], regex: '(\\w*).*', target_label: z}"),
        ("word boundaries", "{source_labels: [x], regex: '\\b(.*)\\b', target_label: z}"),
        ("a new target name from a capture", "{source_labels: [x], regex: '(.*)', target_label: 'new_$1', replacement: k}"),
        ("a new target name from an empty capture", "{source_labels: [y], regex: '(.*)', target_label: 'l_${1}', replacement: k}"),
        ("the name of the metric", "{source_labels: [__name__], regex: 'a', target_label: __name__, replacement: renamed}"),
        ("the name into a label", "{source_labels: [__name__], target_label: was}"),
        ("two series that become one", "{source_labels: [__name__], regex: 'a|c', target_label: __name__, replacement: same}, {action: labeldrop, regex: 'x|y'}"),
        ("a label that hides a target label", "{target_label: job, replacement: other}"),
        ("a target label that goes", "{target_label: instance, replacement: ''}"),
        ("a reserved label stays", "{source_labels: [x], target_label: __tmp}"),
        ("a bad replacement of the name", "{source_labels: [x], target_label: __name__, regex: '(one)', replacement: ''}"),
        ("an action in capitals", "{action: REPLACE, source_labels: [x], target_label: z}"),
        ("rules one after another", "{source_labels: [x], target_label: p}, {source_labels: [p], target_label: q}, {target_label: p, replacement: ''}"),
    ]))
    .await;
}

#[tokio::test]
async fn the_other_actions_keep_drop_hash_and_rename() {
    check(all(series, &[
        ("keep by label", "{action: keep, source_labels: [x], regex: one}"),
        ("keep by name", "{action: keep, source_labels: [__name__], regex: 'a|c'}"),
        ("keep nothing", "{action: keep, source_labels: [__name__], regex: 'nope'}"),
        ("keep what has no label", "{action: keep, source_labels: [x], regex: ''}"),
        ("keep all", "{action: keep, source_labels: [x]}"),
        ("drop by label", "{action: drop, source_labels: [x], regex: one}"),
        ("drop by two labels", "{action: drop, source_labels: [x, y], regex: 'one;two'}"),
        ("drop what has no label", "{action: drop, source_labels: [y], regex: ''}"),
        ("drop everything", "{action: drop, source_labels: [x]}"),
        ("drop by job", "{action: drop, source_labels: [job], regex: 'case-.*'}"),
        ("rules after a drop are not asked", "{action: drop, source_labels: [x], regex: one}, {target_label: z, replacement: left}"),
        ("keep equal", "{action: keepequal, source_labels: [x], target_label: y}"),
        ("drop equal", "{action: dropequal, source_labels: [y], target_label: nope}"),
        ("a hash", "{action: hashmod, source_labels: [x], target_label: h, modulus: 1000}"),
        ("a hash of two labels", "{action: hashmod, source_labels: [x, y], target_label: h, modulus: 7}"),
        ("a hash with a separator", "{action: hashmod, source_labels: [x, y], separator: '/', target_label: h, modulus: 1000000}"),
        ("a hash of one", "{action: hashmod, source_labels: [x], target_label: h, modulus: 1}"),
        ("a large hash", "{action: hashmod, source_labels: [x], target_label: h, modulus: 18446744073709551615}"),
        ("a hash of the name", "{action: hashmod, source_labels: [__name__], target_label: h, modulus: 65536}"),
        ("map labels", "{action: labelmap, regex: '(x|y)', replacement: 'new_$1'}"),
        ("map a label onto another", "{action: labelmap, regex: 'x', replacement: y}"),
        ("map all labels", "{action: labelmap, regex: '(.+)', replacement: 'm_$1'}"),
        ("map by default", "{action: labelmap, regex: 'm(.+)'}"),
        ("map a part of the name only", "{action: labelmap, regex: 'i', replacement: z}"),
        ("drop labels", "{action: labeldrop, regex: 'x'}"),
        ("drop several labels", "{action: labeldrop, regex: 'x|y|mixed'}"),
        ("drop the job", "{action: labeldrop, regex: 'job|instance'}"),
        ("drop the name", "{action: labeldrop, regex: '__name__'}"),
        ("drop labels by a part of their name", "{action: labeldrop, regex: 'mix'}"),
        ("keep labels", "{action: labelkeep, regex: '__name__|case|y'}"),
        ("keep no name", "{action: labelkeep, regex: 'case|y'}"),
        ("small letters", "{action: lowercase, source_labels: [mixed], target_label: z}"),
        ("capital letters", "{action: uppercase, source_labels: [mixed], target_label: z}"),
        ("capital letters of two", "{action: uppercase, source_labels: [x, mixed], target_label: z}"),
        ("small letters of nothing", "{action: lowercase, source_labels: [nope], target_label: x}"),
        ("small letters in place", "{action: lowercase, source_labels: [mixed], target_label: mixed}"),
        ("an action with a capital letter", "{action: LabelDrop, regex: 'x'}"),
    ]))
    .await;
}

#[tokio::test]
async fn targets_are_relabelled_before_they_are_scraped() {
    let mut cases = all(
        target,
        &[
            ("a label for the target", "{target_label: z, replacement: k}"),
            ("another instance", "{target_label: instance, replacement: me}"),
            ("no instance of its own", "{target_label: instance, replacement: ''}"),
            ("another job", "{target_label: job, replacement: other}"),
            ("no job", "{target_label: job, replacement: ''}"),
            ("the address into a label", "{source_labels: [__address__], target_label: where}"),
            ("the scheme into a label", "{source_labels: [__scheme__], target_label: scheme}"),
            (
                "the path into a label",
                "{source_labels: [__metrics_path__], regex: '/case/.*', target_label: path, replacement: yes}",
            ),
            (
                "the interval into a label",
                "{source_labels: [__scrape_interval__, __scrape_timeout__], target_label: times}",
            ),
            (
                "another path",
                "{source_labels: [__metrics_path__], target_label: __metrics_path__, replacement: '$1/deeper'}",
            ),
            (
                "a path without a slash",
                "{source_labels: [__metrics_path__], regex: '/(.*)', target_label: __metrics_path__}",
            ),
            ("a parameter", "{target_label: __param_p, replacement: 'v w&x'}"),
            ("another timeout", "{target_label: __scrape_timeout__, replacement: 1500ms}"),
            (
                "an interval in other words",
                "{target_label: __scrape_interval__, replacement: 2000ms}",
            ),
            ("a meta label is gone at the end", "{target_label: __meta_mine, replacement: k}"),
            ("a temporary label is not on samples", "{target_label: __tmp_mine, replacement: k}"),
            (
                "a meta label can be used",
                "{target_label: __meta_mine, replacement: k}, {source_labels: [__meta_mine], target_label: mine}",
            ),
            (
                "map labels of the target",
                "{action: labelmap, regex: '__(scheme)__', replacement: 'm_$1'}",
            ),
            (
                "a hash of the job",
                "{action: hashmod, source_labels: [job], target_label: __tmp, modulus: 1}, {action: keep, source_labels: [__tmp], regex: '0'}",
            ),
        ],
    );
    cases.extend([
        target("params of the job", "")
            .job("params: { z: [last], module: [one, two], a: ['sp ace', 'ä&='], e: [''] }"),
        target("params, one replaced", "{target_label: __param_module, replacement: three}")
            .job("params: { module: [one, two] }"),
        target("a param into a label", "{source_labels: [__param_module], target_label: module}")
            .job("params: { module: [one, two] }"),
    ]);
    check(cases).await;
}

#[tokio::test]
async fn targets_that_make_no_sense_are_not_scraped() {
    let gone = all(
        target,
        &[
            ("a target that is dropped", "{action: drop, source_labels: [job]}"),
            ("a target that is not kept", "{action: keep, source_labels: [job], regex: nope}"),
            ("a target without an address", "{target_label: __address__, replacement: ''}"),
            (
                "an address with a slash",
                "{target_label: __address__, replacement: '127.0.0.1:1/x'}",
            ),
            ("a bad interval", "{target_label: __scrape_interval__, replacement: often}"),
            ("an interval of zero", "{target_label: __scrape_interval__, replacement: 0s}"),
            ("no interval", "{target_label: __scrape_interval__, replacement: ''}"),
            ("a bad timeout", "{target_label: __scrape_timeout__, replacement: soon}"),
            ("a timeout of zero", "{target_label: __scrape_timeout__, replacement: 0s}"),
            (
                "a timeout longer than the interval",
                "{target_label: __scrape_timeout__, replacement: 1m}",
            ),
        ],
    );
    let mut cases: Vec<Case> = gone.into_iter().map(Case::not_scraped).collect();
    // One that is scraped, to see the others not being scraped.
    cases.push(target("a target among targets that are dropped", ""));
    check(cases).await;
}
